//! Replicas agree: equal state hashes at equal applied indexes, and equal changes at equal revisions, over all nodes and process lives.
//!
//! A node that restarts from an older state replays the log, and so reports the same changes again; they must be the same ones.

use std::collections::BTreeMap;

use steadfast_types::{LogIndex, NodeId, Revision};

use steadfast_proof::Violation;
use steadfast_proof::auth::Era;
use steadfast_proof::history::{Change, Revised};
use steadfast_proof::time::Time;

const CHECKER: &str = "state agreement";

/// What replicas reported.
#[derive(Debug, Default)]
pub struct StateAgreement {
    hashes: BTreeMap<LogIndex, (u64, NodeId)>,
    changes: BTreeMap<Revision, (Revised, NodeId)>,
    /// By auth revision, and whether requests are checked: enabling raises no revision.
    eras: BTreeMap<(u64, bool), (Era, NodeId)>,
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

    /// `node` reports that users and roles are these from now on.
    ///
    /// # Errors
    /// They differ from what was reported before.
    pub fn rights_changed(&mut self, node: NodeId, era: Era) -> Result<(), Violation> {
        let (known, by) = self.eras.entry((era.rights.revision, era.rights.enabled)).or_insert_with(|| (era.clone(), node));
        if known.rights == era.rights && known.revision == era.revision {
            return Ok(());
        }
        Err(Violation::new(CHECKER, format!("users and roles are {known:?} on {by} and {era:?} on {node}")))
    }

    /// All changes by revision, and all states of users and roles in their order.
    pub fn into_parts(self) -> (BTreeMap<Revision, Revised>, Vec<Era>) {
        let changes = self.changes.into_iter().map(|(revision, (revised, _))| (revision, revised)).collect();
        (changes, self.eras.into_values().map(|(era, _)| era).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_proof::auth::Rights;

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

        let era = |revision: i64| Era { rights: Rights::default(), revision: Revision(revision), began: (Time(1), Time(1)) };
        agreement.rights_changed(a, era(2)).unwrap();
        agreement.rights_changed(b, Era { began: (Time(2), Time(2)), ..era(2) }).unwrap();
        agreement.rights_changed(b, era(3)).unwrap_err();
        let changes = [(Revision(2), Revised { seen: Time(1), changes: change("x") })].into();
        assert_eq!(agreement.into_parts(), (changes, vec![era(2)]));
    }
}
