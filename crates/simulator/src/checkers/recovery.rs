//! What recovery may do, whatever becomes of the nodes that drive it.
//!
//! 1. *Decided by a quorum, once*: who leaves the members leaves by a plan, which strong state had with its replacement or removal begun before the
//!    change was made, and which names enough distinct witnesses. Judged from the log: a change of the configuration and the record lie in it in order.
//! 2. *A seat votes once*: a voter that was replaced and the one in its place never both vote in a term for different candidates, and a node that lost
//!    its disk never votes again under its old id.
//!
//! How much of it may go on at once: [`super::brakes`].

use std::collections::{BTreeMap, BTreeSet};

use steadfast_consensus::Message;
use steadfast_consensus::message::Body;
use steadfast_health::recovery::plan::{Kind, Plan};
use steadfast_health::recovery::step::StepName;
use steadfast_proof::Violation;
use steadfast_types::{Configuration, NodeId, Term};

/// Fewer witnesses than these name nobody's end, as long as there are others.
pub const WITNESSES: usize = 2;

/// The cause of a plan for one that does not answer its leader, and of which nobody else has ever heard.
pub const UNHEARD_OF: &str = "unheard of";

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The members, as each node last applied them.
    applied: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// Whose seat each has, if not its own.
    seats: BTreeMap<NodeId, NodeId>,
    votes: BTreeMap<(NodeId, Term), (NodeId, NodeId)>,
    /// Whose disks are lost.
    wiped: BTreeSet<NodeId>,
    /// Members that an operator removes.
    by_hand: BTreeSet<NodeId>,
    /// Voters that plans have replaced, by those who have their places.
    pub replaced: BTreeMap<NodeId, NodeId>,
}

impl Recovery {
    /// A process begins: what it applies now may be older than what it had.
    pub fn began(&mut self, node: NodeId) {
        self.applied.remove(&node);
    }

    /// A node's disk is lost.
    pub fn wiped(&mut self, node: NodeId) {
        self.wiped.insert(node);
    }

    /// Whether it is.
    pub fn is_wiped(&self, node: NodeId) -> bool {
        self.wiped.contains(&node)
    }

    /// An operator removes this member.
    pub fn removed_by_hand(&mut self, node: NodeId) {
        self.by_hand.insert(node);
    }

    /// Whether a node has other members now than when it was last asked about.
    pub fn is_news(&self, node: NodeId, configuration: &Configuration) -> bool {
        self.applied.get(&node) != Some(&configuration.members())
    }

    /// `node` has applied this configuration, and has these plans in its state.
    ///
    /// # Errors
    /// Somebody left without a decision.
    pub fn applied(&mut self, node: NodeId, configuration: &Configuration, plans: &[Plan]) -> Result<(), Violation> {
        let now = configuration.members();
        let before = self.applied.insert(node, now.clone()).unwrap_or_default();
        for gone in before.difference(&now).filter(|gone| !self.by_hand.contains(gone)) {
            // An earlier plan for it may have failed in the middle of this: then it is another's spare that has come.
            let has_come = |kind| match kind {
                Kind::ReplaceVoter { spare } => now.contains(&spare),
                Kind::RemoveNode => true,
                Kind::RestartService => false,
            };
            let begun = |plan: &&Plan| plan.id.subject.node() == *gone && plan.has_begun(StepName::Replace) && has_come(plan.kind);
            let Some(plan) = plans.iter().rfind(begun) else {
                let text = format!("{gone} is no member any more for {node}, by no decision in strong state");
                return Err(Violation::new("decided once", text));
            };
            let witnesses: BTreeSet<&str> = plan.cause.split_whitespace().collect();
            if witnesses.len() < WITNESSES && plan.cause != UNHEARD_OF {
                return Err(Violation::new("decided once", format!("{gone} was removed on the word of {:?} alone", plan.cause)));
            }
            if let Kind::ReplaceVoter { spare } = plan.kind {
                let seat = self.seat(*gone);
                self.seats.insert(spare, seat);
                self.replaced.insert(*gone, spare);
            }
        }
        Ok(())
    }

    fn seat(&self, node: NodeId) -> NodeId {
        self.seats.get(&node).copied().unwrap_or(node)
    }

    /// `from` sends `message` to `to`.
    ///
    /// # Errors
    /// It is a vote that its seat does not have any more.
    pub fn observe(&mut self, from: NodeId, to: NodeId, message: &Message) -> Result<(), Violation> {
        let candidate = match &message.body {
            Body::VoteRequest { .. } => from,
            Body::VoteReply { granted: true, .. } => to,
            _ => return Ok(()),
        };
        if self.wiped.contains(&from) {
            let text = format!("{from}, whose disk is lost, votes for {candidate} in term {}", message.term);
            return Err(Violation::new("a seat votes once", text));
        }
        let seat = self.seat(from);
        let vote = *self.votes.entry((seat, message.term)).or_insert((from, candidate));
        match vote.0 != from && vote.1 != candidate {
            true => Err(Violation::new(
                "a seat votes once",
                format!("{} voted for {} in term {}, and {from}, which has its place, for {candidate}", vote.0, vote.1, message.term),
            )),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOTE: fn(u64) -> Message = |term| Message { term: Term(term), body: Body::VoteReply { granted: true, suspect: false } };

    #[test]
    fn who_leaves_without_a_decision_is_missed() {
        let voters = |ids: &[u64]| Configuration::of_voters(ids.iter().copied().map(NodeId));
        let mut recovery = Recovery::default();
        recovery.applied(NodeId(1), &voters(&[1, 2, 3]), &[]).unwrap();
        assert!(!recovery.is_news(NodeId(1), &voters(&[1, 2, 3])) && recovery.is_news(NodeId(1), &voters(&[1, 2])));
        recovery.applied(NodeId(1), &voters(&[1, 2, 3, 4]), &[]).unwrap();
        recovery.applied(NodeId(1), &voters(&[1, 2, 4]), &[]).unwrap_err();
        recovery.removed_by_hand(NodeId(4));
        recovery.applied(NodeId(1), &voters(&[1, 2]), &[]).unwrap();
        // After a crash the state is an older one.
        recovery.began(NodeId(1));
        recovery.applied(NodeId(1), &voters(&[1]), &[]).unwrap();
    }

    #[test]
    fn a_seat_that_votes_twice_is_found() {
        let mut recovery = Recovery::default();
        recovery.seats.insert(NodeId(9), NodeId(3));
        recovery.observe(NodeId(3), NodeId(1), &VOTE(5)).unwrap();
        recovery.observe(NodeId(3), NodeId(1), &VOTE(5)).unwrap();
        recovery.observe(NodeId(9), NodeId(1), &VOTE(5)).unwrap();
        recovery.observe(NodeId(9), NodeId(2), &VOTE(6)).unwrap();
        recovery.observe(NodeId(9), NodeId(2), &VOTE(5)).unwrap_err();
        recovery.wiped(NodeId(3));
        recovery.observe(NodeId(3), NodeId(1), &VOTE(7)).unwrap_err();
    }
}
