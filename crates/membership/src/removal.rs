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
        RemovalConfig { failed_for: Duration::from_secs(45), most_failing: (1, 3), window: Duration::from_secs(300), worst_own_score: 3 }
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn view(members: usize, failed: usize) -> View {
        let observed = |number: usize| Observed {
            id: NodeId(number as u64),
            incarnation: Incarnation(1),
            state: if number < failed { State::Failed } else { State::Alive },
            since: Instant(0),
            witnesses: vec![NodeId(9)],
        };
        let own_health = OwnHealth { score: 0, is_quiet: false };
        View { members: (0..members).map(observed).collect(), removed_at: vec![], own_health }
    }

    fn removed(view: &View, at_s: u64) -> Option<usize> {
        match decide(view, &RemovalConfig::default(), Instant(at_s * 1_000_000)) {
            Decision::Remove(removals) => Some(removals.len()),
            Decision::Hold(_, _) => None,
        }
    }

    #[test]
    fn who_has_been_failed_long_enough_is_removed_with_its_witnesses() {
        assert_eq!(removed(&view(9, 1), 44), Some(0));
        let Decision::Remove(removals) = decide(&view(9, 1), &RemovalConfig::default(), Instant(45_000_000)) else {
            panic!("nothing holds it")
        };
        assert_eq!((removals[0].id, &removals[0].witnesses[..]), (NodeId(0), &[NodeId(9)][..]));
    }

    #[cfg(not(planted))]
    #[test]
    fn more_than_a_third_are_held() {
        assert_eq!(removed(&view(9, 3), 60), Some(3));
        assert_eq!(removed(&view(9, 4), 60), None);
        assert_eq!(removed(&view(2, 1), 60), Some(1), "one may always be removed");
        let few = View { removed_at: vec![Instant(50_000_000); 3], ..view(6, 1) };
        assert_eq!(removed(&few, 60), None, "those that were removed lately count");
        assert_eq!(removed(&few, 400), Some(1));
    }

    #[cfg(not(planted))]
    #[test]
    fn who_is_not_well_decides_nothing() {
        for own_health in [OwnHealth { score: 4, is_quiet: false }, OwnHealth { score: 0, is_quiet: true }] {
            assert_eq!(removed(&View { own_health, ..view(9, 1) }, 60), None);
        }
    }
}
