//! Replicas agree: equal state hashes at equal applied indexes, and equal changes at equal revisions, over all nodes and process lives.
//!
//! A node that restarts from an older state replays the log, and so reports the same changes again; they must be the same ones.

use std::collections::BTreeMap;

use steadfast_types::{LogIndex, NodeId, Revision};

use steadfast_proof::Violation;
use steadfast_proof::history::{Change, Revised};
use steadfast_proof::time::Time;

const CHECKER: &str = "state agreement";

/// What replicas reported.
#[derive(Debug, Default)]
pub struct StateAgreement {
    hashes: BTreeMap<LogIndex, (u64, NodeId)>,
    changes: BTreeMap<Revision, (Revised, NodeId)>,
}

impl StateAgreement {
    /// `node` has applied the log up to `applied` and its state's hash is `hash`.
    ///
    /// # Errors
    /// Another node's hash differs.
    pub fn applied(&mut self, node: NodeId, applied: LogIndex, hash: u64) -> Result<(), Violation> {
        let &mut (first, by) = self.hashes.entry(applied).or_insert((hash, node));
        if first == hash {
            return Ok(());
        }
        Err(Violation::new(CHECKER, format!("at applied index {applied} the hash is {first:016x} on {by} and {hash:016x} on {node}")))
    }

    /// `node` reports at `now` the changes of a revision, all of them.
    ///
    /// # Errors
    /// They differ from what was reported before.
    pub fn changed(&mut self, now: Time, node: NodeId, revision: Revision, changes: Vec<Change>) -> Result<(), Violation> {
        match self.changes.get(&revision) {
            None => {
                self.changes.insert(revision, (Revised { seen: now, changes }, node));
                Ok(())
            }
            Some((known, _)) if known.changes == changes => Ok(()),
            Some((known, by)) => {
                Err(Violation::new(CHECKER, format!("revision {revision} is {:?} on {by} and {changes:?} on {node}", known.changes)))
            }
        }
    }

    /// All changes by revision.
    pub fn into_changes(self) -> BTreeMap<Revision, Revised> {
        self.changes.into_iter().map(|(revision, (revised, _))| (revision, revised)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_differ_are_found() {
        let (a, b) = (NodeId(1), NodeId(2));
        let mut agreement = StateAgreement::default();
        agreement.applied(a, LogIndex(5), 1).unwrap();
        agreement.applied(b, LogIndex(6), 2).unwrap();
        agreement.applied(b, LogIndex(5), 1).unwrap();
        agreement.applied(a, LogIndex(6), 3).unwrap_err();

        let change = |value: &'static str| vec![Change { key: "k".into(), value: Some(value.into()), lease: 0 }];
        agreement.changed(Time(1), a, Revision(2), change("x")).unwrap();
        agreement.changed(Time(2), b, Revision(2), change("x")).unwrap();
        agreement.changed(Time(2), b, Revision(2), change("y")).unwrap_err();
        assert_eq!(agreement.into_changes(), [(Revision(2), Revised { seen: Time(1), changes: change("x") })].into());
    }
}
