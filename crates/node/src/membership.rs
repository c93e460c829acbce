//! The leader's judgement of a membership change: what it means for the configuration, or why not.
//!
//! A new voter has nothing yet and may never start, so it does not count in the quorum at once: consensus knows it as a learner until it has
//! caught up, and then the leader makes it a voter by itself ([`awaited`], see `autopilot.rs`). To everyone else it is a member that will vote.

use steadfast_consensus::{FollowerStatus, Status};
use steadfast_state::command::{Command, Member};
use steadfast_types::{Configuration, NodeId};

use crate::{MembershipChange, Refusal};

/// A new voter counts once it misses no more than so many entries.
const CAUGHT_UP: u64 = 64;

/// The configuration to move to, and the commands that go with it; the last one's outcome is the change's.
///
/// # Errors
/// The change makes no sense, or would leave too few live voters.
pub(crate) fn plan(
    change: &MembershipChange,
    members: &[Member],
    status: &Status,
    me: NodeId,
) -> Result<(Configuration, Vec<Command>), Refusal> {
    let mut target = Configuration { outgoing: Default::default(), ..status.configuration.clone() };
    if status.configuration.is_joint() {
        return Err(Refusal::ChangeUnderWay);
    }
    let commands = match change {
        MembershipChange::Add { id, peer_urls, learner } => {
            if members.iter().any(|m| m.id == *id) {
                return Err(Refusal::MemberExists);
            }
            if members.iter().any(|m| m.peer_urls.iter().any(|url| peer_urls.contains(url))) {
                return Err(Refusal::PeerUrlExists);
            }
            if target.contains(*id) {
                return Err(Refusal::MemberExists);
            }
            target.learners.insert(*id);
            vec![Command::MemberAdd(Member { id: *id, peer_urls: peer_urls.clone(), learner: *learner, ..Member::default() })]
        }
        MembershipChange::Remove(id) => {
            if !target.voters.remove(id) && !target.learners.remove(id) {
                return Err(Refusal::MemberNotFound);
            }
            if target.voters.is_empty() || !survives(&target, status, me) {
                return Err(Refusal::NotEnoughMembers);
            }
            vec![Command::MemberRemove { id: *id }]
        }
        MembershipChange::Promote(id) => {
            if !target.contains(*id) {
                return Err(Refusal::MemberNotFound);
            }
            let will_vote = members.iter().any(|member| member.id == *id && !member.learner);
            if will_vote || !target.learners.remove(id) {
                return Err(Refusal::MemberNotLearner);
            }
            if !in_sync(*id, status) {
                return Err(Refusal::LearnerNotReady);
            }
            target.voters.insert(*id);
            vec![Command::MemberPromote { id: *id }]
        }
        MembershipChange::Replace { voter, learner } => {
            if !members.iter().any(|member| member.id == *learner && member.learner) || !target.learners.remove(learner) {
                return Err(Refusal::MemberNotLearner);
            }
            if !target.voters.remove(voter) {
                return Err(Refusal::MemberNotFound);
            }
            if *voter == me || status.followers.iter().any(|follower| follower.id == *voter && follower.active) {
                return Err(Refusal::VoterAnswers);
            }
            if !status.followers.iter().any(|follower| follower.id == *learner && follower.active && is_caught_up(follower, status)) {
                return Err(Refusal::LearnerNotReady);
            }
            target.voters.insert(*learner);
            if !survives(&target, status, me) {
                return Err(Refusal::NotEnoughMembers);
            }
            vec![Command::MemberRemove { id: *voter }, Command::MemberPromote { id: *learner }]
        }
    };
    Ok((target, commands))
}

/// The configuration in which a new voter that has caught up counts as one, if there is such a voter.
pub(crate) fn awaited(members: &[Member], status: &Status, me: NodeId) -> Option<Configuration> {
    let caught_up =
        |id: NodeId| status.followers.iter().any(|follower| follower.id == id && follower.active && is_caught_up(follower, status));
    let will_vote = |id: &&NodeId| members.iter().any(|member| member.id == **id && !member.learner);
    if status.configuration.is_joint() {
        return None;
    }
    let id = *status.configuration.learners.iter().filter(will_vote).find(|id| caught_up(**id))?;
    let target = with_vote(&status.configuration, id);
    survives(&target, status, me).then_some(target)
}

/// The same members, and this learner votes.
pub(crate) fn with_vote(configuration: &Configuration, learner: NodeId) -> Configuration {
    let mut target = configuration.clone();
    target.learners.remove(&learner);
    target.voters.insert(learner);
    target
}

/// Whether this follower misses next to nothing.
pub(crate) fn is_caught_up(follower: &FollowerStatus, status: &Status) -> bool {
    follower.matched.0 + CAUGHT_UP >= status.last.index.0
}

/// Whether the live voters are a majority of the target's.
pub(crate) fn survives(target: &Configuration, status: &Status, me: NodeId) -> bool {
    let live = |id: &&NodeId| **id == me || status.followers.iter().any(|f| f.id == **id && f.active);
    2 * target.voters.iter().filter(live).count() > target.voters.len()
}

/// Whether a learner has at least nine tenths of what is committed: etcd's rule.
fn in_sync(id: NodeId, status: &Status) -> bool {
    status.followers.iter().any(|f| f.id == id && f.active && f.matched.0 >= status.commit.0 / 10 * 9)
}

#[cfg(test)]
mod tests;
