//! Election safety: at most one leader a term (Raft paper, figure 3), judged by what nodes say on the wire and not by what they believe.

use std::collections::BTreeMap;

use steadfast_consensus::Message;
use steadfast_consensus::message::Body;
use steadfast_types::{NodeId, Term};

use steadfast_proof::Violation;

/// Who acted as the leader of each term.
#[derive(Debug, Default)]
pub struct Leaders {
    by_term: BTreeMap<Term, NodeId>,
}

impl Leaders {
    /// `from` sent `message`.
    ///
    /// # Errors
    /// It is a leader's message, and another node has led this term.
    pub fn observe(&mut self, from: NodeId, message: &Message) -> Result<(), Violation> {
        if !matches!(message.body, Body::Append { .. } | Body::Heartbeat { .. } | Body::ReadIndexReply { .. } | Body::TimeoutNow {}) {
            return Ok(());
        }
        let leader = *self.by_term.entry(message.term).or_insert(from);
        if leader == from {
            return Ok(());
        }
        Err(Violation::new("one leader a term", format!("term {} has two leaders: {leader} and {from}", message.term)))
    }

    /// The leader of the latest term that had one.
    pub fn latest(&self) -> Option<NodeId> {
        self.by_term.last_key_value().map(|(_, leader)| *leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_types::LogIndex;

    #[test]
    fn two_leaders_of_one_term_are_found() {
        let heartbeat = |term| Message { term: Term(term), body: Body::Heartbeat { commit: LogIndex(0), round: 0 } };
        let vote = Message { term: Term(1), body: Body::VoteReply { granted: true, suspect: false } };
        let mut leaders = Leaders::default();
        leaders.observe(NodeId(1), &heartbeat(1)).unwrap();
        leaders.observe(NodeId(1), &heartbeat(1)).unwrap();
        leaders.observe(NodeId(2), &vote).unwrap();
        leaders.observe(NodeId(2), &heartbeat(2)).unwrap();
        leaders.observe(NodeId(2), &heartbeat(1)).unwrap_err();
        assert_eq!(leaders.latest(), Some(NodeId(2)));
    }
}
