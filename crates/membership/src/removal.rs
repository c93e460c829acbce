//! Who is to be removed from the cluster, decided from what is seen and nothing else.
//!
//! To notice that a member failed and to remove it are two things. The first is quick, local and taken back when the member answers. The second changes
//! strong state once, with its witnesses named; whoever decides it calls [`decide`] and proposes what comes out, under the
//! record's revision, so that of several deciders one succeeds.
//!
//! Invariants:
//! 1. Only a member that has been failed without a break for [`RemovalConfig::failed_for`] is removed: what comes back in between starts anew.
//! 2. While more than [`RemovalConfig::most_failing`] of the members are failing, nobody is removed: such a thing is the network's or the
//!    decider's fault more often than theirs, and to act on it would make it worse. The notice is not held back.
//! 3. A decider that is not well itself decides nothing.

use alloc::vec::Vec;

use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::time::Duration;
use steadfast_types::{Instant, NodeId};

use crate::member::{Incarnation, State};
use crate::membership::{Membership, OwnHealth};

/// When members are removed, and when not.
#[derive(Clone, Debug)]
pub struct RemovalConfig {
    /// How long a member must have been failed without a break: longer than the longest wait before a return
    /// ([`crate::Config::return_backoff_max`]), so that one whose link flaps is not removed for being patient.
    pub failed_for: Duration,
    /// The share of members, as a fraction, that may be failing or removed within the window for any to be removed; one always may.
    pub most_failing: (usize, usize),
    /// How far back removals count.
    pub window: Duration,
    /// Own health above this score is not good enough to decide.
    pub worst_own_score: u8,
}

impl Default for RemovalConfig {
    fn default() -> Self {
        RemovalConfig {
            failed_for: Duration::from_secs(45),
            most_failing: (1, 3),
            window: Duration::from_secs(300),
            worst_own_score: 3,
        }
    }
}

/// A member as the decider sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Which.
    pub id: NodeId,
    /// In which incarnation.
    pub incarnation: Incarnation,
    /// In which state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// On whose word.
    pub witnesses: Vec<NodeId>,
}

/// What a decider knows.
#[derive(Clone, Debug)]
pub struct View {
    /// All members that strong state has, as they are seen.
    pub members: Vec<Observed>,
    /// When members were removed lately.
    pub removed_at: Vec<Instant>,
    /// The decider's own health.
    pub own_health: OwnHealth,
}

impl View {
    /// What `membership` sees of the members that `is_member`.
    #[must_use]
    pub fn of(membership: &Membership, removed_at: Vec<Instant>, is_member: impl Fn(NodeId) -> bool) -> Self {
        let observed = membership.table().iter().filter(|member| is_member(member.profile.id)).map(|member| Observed {
            id: member.profile.id,
            incarnation: member.incarnation,
            state: member.state,
            since: member.since,
            witnesses: member.witnesses.to_vec(),
        });
        View { members: observed.collect(), removed_at, own_health: membership.own_health() }
    }
}

/// A removal to propose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Who.
    pub id: NodeId,
    /// In which incarnation: a later one is somebody who came back.
    pub incarnation: Incarnation,
    /// On whose word.
    pub witnesses: Vec<NodeId>,
    /// How long it has been failed.
    pub failed_for: Duration,
}

/// Why nobody is removed although somebody could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brake {
    /// The decider is not well, or has just paused.
    OwnHealth(OwnHealth),
    /// Too many at once.
    TooMany {
        /// So many are failing or were removed within the window.
        failing: usize,
        /// Of so many.
        members: usize,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Propose these; none: nothing is due.
    Remove(Vec<Removal>),
    /// These would be due, and are held.
    Hold(Brake, Vec<Removal>),
}

/// What to do about the members that failed.
#[must_use]
pub fn decide(view: &View, config: &RemovalConfig, now: Instant) -> Decision {
    let due: Vec<Removal> = view.members.iter().filter_map(|member| removal_of(member, config, now)).collect();
    match brake(view, config, now) {
        Some(brake) if !due.is_empty() && !is_planted(Bug::RemovalWithoutBrakes) => Decision::Hold(brake, due),
        Some(_) | None => Decision::Remove(due),
    }
}

fn removal_of(member: &Observed, config: &RemovalConfig, now: Instant) -> Option<Removal> {
    let failed_for = now.since(member.since);
    let is_due = member.state == State::Failed && failed_for >= config.failed_for;
    is_due.then(|| Removal { id: member.id, incarnation: member.incarnation, witnesses: member.witnesses.clone(), failed_for })
}

fn brake(view: &View, config: &RemovalConfig, now: Instant) -> Option<Brake> {
    if view.own_health.is_quiet || view.own_health.score > config.worst_own_score {
        return Some(Brake::OwnHealth(view.own_health));
    }
    let removed = view.removed_at.iter().filter(|at| now.since(**at) < config.window).count();
    let failing = removed + view.members.iter().filter(|member| member.state == State::Failed).count();
    let members = removed + view.members.len();
    let (part, whole) = config.most_failing;
    (failing > 1 && failing * whole > members * part).then_some(Brake::TooMany { failing, members })
}
