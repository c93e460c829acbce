//! Replicas agree: equal state hashes at equal applied indexes, and equal changes at equal revisions, over all nodes and process lives.
//!
//! A node that restarts from an older state replays the log, and so reports the same changes again; they must be the same ones.

use std::collections::BTreeMap;

use steadfast_types::{LogIndex, NodeId, Revision};

use super::Violation;
use crate::history::Change;

const CHECKER: &str = "state agreement";

/// What replicas reported.
#[derive(Debug, Default)]
pub struct StateAgreement {
    hashes: BTreeMap<LogIndex, (u64, NodeId)>,
    changes: BTreeMap<Revision, (Vec<Change>, NodeId)>,
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

    /// `node` reports the changes of a revision, all of them.
    ///
    /// # Errors
    /// They differ from what was reported before.
    pub fn changed(&mut self, node: NodeId, revision: Revision, changes: Vec<Change>) -> Result<(), Violation> {
        match self.changes.get(&revision) {
            None => {
                self.changes.insert(revision, (changes, node));
                Ok(())
            }
            Some((known, _)) if *known == changes => Ok(()),
            Some((known, by)) => {
                Err(Violation::new(CHECKER, format!("revision {revision} is {known:?} on {by} and {changes:?} on {node}")))
            }
        }
    }

    /// All changes by revision.
    pub fn into_changes(self) -> BTreeMap<Revision, Vec<Change>> {
        self.changes.into_iter().map(|(revision, (changes, _))| (revision, changes)).collect()
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

        let change = |value: &'static str| vec![Change { key: "k".into(), value: Some(value.into()) }];
        agreement.changed(a, Revision(2), change("x")).unwrap();
        agreement.changed(b, Revision(2), change("x")).unwrap();
        agreement.changed(b, Revision(2), change("y")).unwrap_err();
        assert_eq!(agreement.into_changes(), [(Revision(2), change("x"))].into());
    }
}
