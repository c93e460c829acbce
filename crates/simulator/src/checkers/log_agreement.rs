//! Log matching and state machine safety (Raft paper, figure 3), judged by the entries that leaders send.
//!
//! Two rules, over all nodes and process lives:
//! 1. Two entries with the same index and term are the same entry.
//! 2. An entry at or below a leader's commit index is, at its index, the only entry that any leader of that or a later term ever sends; two
//!    committed entries of the same index are the same.

use std::collections::BTreeMap;

use steadfast_consensus::Message;
use steadfast_consensus::message::Body;
use steadfast_types::wire::Wire;
use steadfast_types::{Entry, LogIndex, LogPosition, NodeId, Term};
use xxhash_rust::xxh3::xxh3_64;

use steadfast_proof::Violation;

const CHECKER: &str = "log agreement";

/// What was seen of the log.
#[derive(Debug, Default)]
pub struct LogAgreement {
    /// The payload's hash of every entry, and who sent it first.
    entries: BTreeMap<(LogIndex, Term), (u64, NodeId)>,
    committed: BTreeMap<LogIndex, Committed>,
    commit: LogIndex,
}

#[derive(Clone, Copy, Debug)]
struct Committed {
    entry: Term,
    /// The term of the leader that first said so.
    by: Term,
}

impl LogAgreement {
    /// `from` sent `message`.
    ///
    /// # Errors
    /// An entry in it contradicts one seen earlier.
    pub fn observe(&mut self, from: NodeId, message: &Message) -> Result<(), Violation> {
        let Body::Append { previous, entries, commit } = &message.body else { return Ok(()) };
        self.position(from, message.term, *previous)?;
        for entry in entries {
            self.matching(from, entry)?;
            self.position(from, message.term, entry.position())?;
        }
        for position in entries.iter().map(Entry::position).chain([*previous]).filter(|position| position.index <= *commit) {
            self.commit(from, message.term, position)?;
        }
        self.commit = self.commit.max(*commit);
        Ok(())
    }

    /// The highest commit index that any leader has announced.
    pub fn commit_index(&self) -> LogIndex {
        self.commit
    }

    /// Rule 1.
    fn matching(&mut self, from: NodeId, entry: &Entry) -> Result<(), Violation> {
        let hash = xxh3_64(&entry.payload.to_wire());
        let &mut (first, by) = self.entries.entry((entry.index, entry.term)).or_insert((hash, from));
        if first == hash {
            return Ok(());
        }
        Err(Violation::new(CHECKER, format!("entry {} is one thing for {by} and another for {from}", entry.position())))
    }

    /// Rule 2, for what leaders of later terms send.
    fn position(&self, from: NodeId, term: Term, position: LogPosition) -> Result<(), Violation> {
        match self.committed.get(&position.index) {
            Some(committed) if committed.entry != position.term && term >= committed.by => {
                let known = LogPosition::new(committed.entry, position.index);
                Err(Violation::new(
                    CHECKER,
                    format!("{from} leads term {term} and sends {position}, but {known} was committed in term {}", committed.by),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Rule 2, for what is committed.
    fn commit(&mut self, from: NodeId, term: Term, position: LogPosition) -> Result<(), Violation> {
        let committed = self.committed.entry(position.index).or_insert(Committed { entry: position.term, by: term });
        if committed.entry != position.term {
            let known = LogPosition::new(committed.entry, position.index);
            return Err(Violation::new(
                CHECKER,
                format!("{from} commits {position} in term {term}, but {known} was committed in term {}", committed.by),
            ));
        }
        committed.by = committed.by.min(term);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_types::Payload;

    fn append(term: u64, entries: &[(u64, u64, &'static str)], commit: u64) -> Message {
        let entries = entries
            .iter()
            .map(|(term, index, text)| Entry { term: Term(*term), index: LogIndex(*index), payload: Payload::Batch((*text).into()) })
            .collect();
        Message { term: Term(term), body: Body::Append { previous: LogPosition::default(), entries, commit: LogIndex(commit) } }
    }

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[test]
    fn one_position_with_two_contents_is_found() {
        let mut log = LogAgreement::default();
        log.observe(A, &append(1, &[(1, 1, "x")], 0)).unwrap();
        log.observe(B, &append(2, &[(1, 1, "x"), (2, 2, "y")], 0)).unwrap();
        log.observe(B, &append(3, &[(1, 1, "z")], 0)).unwrap_err();
    }

    #[test]
    fn an_uncommitted_entry_may_be_replaced_and_a_committed_one_not() {
        let mut log = LogAgreement::default();
        log.observe(A, &append(1, &[(1, 1, "x"), (1, 2, "y")], 1)).unwrap();
        log.observe(B, &append(2, &[(2, 2, "z")], 1)).unwrap();
        assert_eq!(log.commit_index(), LogIndex(1));
        log.observe(B, &append(3, &[(3, 1, "z")], 0)).unwrap_err();
        // A deposed leader of an earlier term may still send what it has.
        log.observe(A, &append(3, &[(3, 3, "z")], 3)).unwrap();
        log.observe(B, &append(2, &[(2, 3, "old")], 0)).unwrap();
        log.observe(B, &append(2, &[(2, 3, "old")], 3)).unwrap_err();
    }
}
