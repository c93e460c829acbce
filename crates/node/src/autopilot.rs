//! Membership without hands: what the leader changes by itself.
//!
//! 1. A new voter that has caught up begins to count; always.
//! 2. A voter that was silent for too long leaves, if another takes its place: a learner in sync, in the same change; or a voter that was added,
//!    which shows in an even number of them. So it never lowers how many members may fail, and a cluster that has no replacement keeps the voter.
//! 3. A learner that was in sync for long enough becomes a voter, unless it is a spare: that one waits for a voter's place.
//!
//! 2 and 3 are a policy's, which is off unless somebody asks for it. None is done that would leave fewer live voters than a majority.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_consensus::{FollowerStatus, Status};
use steadfast_state::command::{Batch, Command, Member, Origin, Proposal};
use steadfast_types::disk::Disk;
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;
use steadfast_types::{Configuration, Instant, NodeId};

use crate::membership::{is_caught_up, survives, with_vote};
use crate::node::Node;
use crate::{Notice, membership};

/// What is done without being asked for. The leader's policy counts, so it should be the same on all members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Autopilot {
    /// A learner that was in sync for so long becomes a voter; `None`: when somebody promotes it.
    pub promote_after: Option<Duration>,
    /// A voter that was silent for so long may be replaced; `None`: when somebody removes it.
    pub replace_after: Option<Duration>,
}

/// How a member stands, for what is decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It answers and misses next to nothing.
    InSync,
    /// It does not answer.
    Silent,
    /// It answers, and is behind.
    Behind,
}

/// Since when each member stands as it does. A leader's memory: it counts from when it began to lead.
#[derive(Debug, Default)]
pub(crate) struct Watchman {
    since: BTreeMap<NodeId, (Standing, Instant)>,
}

impl Watchman {
    fn look(&mut self, now: Instant, status: &Status) {
        let known = std::mem::take(&mut self.since);
        let standing = |follower: &FollowerStatus| match follower {
            _ if !follower.active => Standing::Silent,
            _ if is_caught_up(follower, status) => Standing::InSync,
            _ => Standing::Behind,
        };
        let enter = |follower: &FollowerStatus| {
            let standing = standing(follower);
            let since = known.get(&follower.id).filter(|(before, _)| *before == standing).map_or(now, |(_, since)| *since);
            (follower.id, (standing, since))
        };
        self.since = status.followers.iter().map(enter).collect();
    }

    /// How long `id` has stood so; `None`: it does not.
    fn time_as(&self, id: NodeId, standing: Standing, now: Instant) -> Option<Duration> {
        self.since.get(&id).filter(|(is, _)| *is == standing).map(|(_, since)| now.since(*since))
    }
}

/// A change that nobody asked for.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    target: Configuration,
    commands: Vec<Command>,
    /// What it does, for people; empty: nothing that anybody would want to know.
    why: String,
}

/// What is to be changed now. `spares`: see [`crate::Input::Spares`].
fn decide(
    policy: Autopilot,
    watchman: &Watchman,
    (members, spares): (&[Member], Option<&BTreeSet<NodeId>>),
    status: &Status,
    me: NodeId,
    now: Instant,
) -> Option<Change> {
    if status.configuration.is_joint() {
        return None;
    }
    if let Some(target) = membership::awaited(members, status, me) {
        return Some(Change { target, commands: Vec::new(), why: String::new() });
    }
    let is_safe = |change: &Change| survives(&change.target, status, me);
    let learners = || members.iter().filter(|member| member.learner && status.configuration.learners.contains(&member.id));
    let is_free = |id: &NodeId| spares.is_some_and(|spares| !spares.contains(id));
    replaced(policy, watchman, &status.configuration, learners().map(|member| member.id), now)
        .or_else(|| promoted(policy, watchman, &status.configuration, learners().map(|member| member.id).filter(is_free), now))
        .filter(is_safe)
}

fn replaced(
    policy: Autopilot,
    watchman: &Watchman,
    configuration: &Configuration,
    mut learners: impl Iterator<Item = NodeId>,
    now: Instant,
) -> Option<Change> {
    let after = policy.replace_after?;
    let silent_for = |id: &NodeId| Some((watchman.time_as(*id, Standing::Silent, now)?, *id));
    let (time, dead) = configuration.voters.iter().filter_map(silent_for).max().filter(|(time, _)| *time >= after)?;
    let mut target = configuration.clone();
    target.voters.remove(&dead);
    let mut commands = vec![Command::MemberRemove { id: dead }];
    let seconds = time.as_secs();
    let why = match learners.find(|id| watchman.time_as(*id, Standing::InSync, now).is_some()) {
        Some(learner) => {
            target = with_vote(&target, learner);
            commands.push(Command::MemberPromote { id: learner });
            format!("learner {learner} takes the place of voter {dead}, which was silent for {seconds} s")
        }
        None if configuration.voters.len().is_multiple_of(2) => {
            format!("voter {dead}, which was silent for {seconds} s, leaves: there are enough voters without it")
        }
        None => return None,
    };
    Some(Change { target, commands, why })
}

fn promoted(
    policy: Autopilot,
    watchman: &Watchman,
    configuration: &Configuration,
    mut learners: impl Iterator<Item = NodeId>,
    now: Instant,
) -> Option<Change> {
    let after = policy.promote_after?;
    let learner = learners.find(|id| watchman.time_as(*id, Standing::InSync, now).is_some_and(|time| time >= after))?;
    let target = with_vote(configuration, learner);
    let why = format!("learner {learner} becomes a voter: it was in sync for {} s", after.as_secs());
    Some(Change { target, commands: vec![Command::MemberPromote { id: learner }], why })
}

impl<S, D: Disk> Node<S, D> {
    /// Every heartbeat interval.
    pub(crate) fn steer_membership(&mut self) {
        let policy = self.options.autopilot;
        let is_asked = !self.raft.configuration().learners.is_empty() || policy.replace_after.is_some();
        if !self.raft.is_established_leader() || !is_asked {
            return self.watchman.since.clear();
        }
        let status = self.raft.status();
        self.watchman.look(self.now, &status);
        // What the members are must be known: all changes are applied here.
        if self.state.applied().index < self.configuration_at || self.last_applied_term != self.raft.term() {
            return;
        }
        let Some(change) = decide(policy, &self.watchman, (&self.members(), self.spares.as_ref()), &status, self.options.id, self.now)
        else {
            return;
        };
        let proposals = change.commands.into_iter().map(|command| Proposal { origin: Origin::default(), command }).collect();
        // What stands in the way now will not for ever; the next time is soon.
        if self.raft.propose_configuration(change.target, Batch { proposals }.to_wire().into()).is_ok() && !change.why.is_empty() {
            self.out.notices.push(Notice::Autopilot(change.why));
        }
    }
}

#[cfg(test)]
mod tests;
