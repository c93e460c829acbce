//! After everything healed, the cluster makes progress within a stated time and all replicas become equal.

use std::collections::BTreeMap;

use steadfast_types::{LogIndex, NodeId, Revision};

use crate::Violation;

/// Within how many election timeouts after healing a write through any node must succeed: one until the last leader is given up, up to two
/// for the randomised wait, and a few for elections that fail because of what is still under way.
pub const PROGRESS_ELECTION_TIMEOUTS: u32 = 10;

/// Within how many further election timeouts all replicas must be equal.
pub const AGREEMENT_ELECTION_TIMEOUTS: u32 = 10;

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// What it has applied.
    pub applied: LogIndex,
    /// Its store's revision.
    pub revision: Revision,
    /// Its state's hash.
    pub hash: u64,
    /// Whether its votes are marked, since it may have lost what it acknowledged.
    pub suspect: bool,
}

/// Checks that all replicas (of which there are `expected`) are equal, and none suspect.
///
/// # Errors
/// One is missing or suspect, or two differ.
pub fn check(expected: usize, replicas: &BTreeMap<NodeId, Replica>) -> Result<(), Violation> {
    let violation = |message| Err(Violation::new("convergence", message));
    if replicas.len() != expected {
        return violation(format!("only {} of {expected} nodes run: {replicas:?}", replicas.len()));
    }
    if let Some((id, _)) = replicas.iter().find(|(_, replica)| replica.suspect) {
        return violation(format!("{id} is still suspect: {replicas:?}"));
    }
    let mut all = replicas.values();
    let first = all.next();
    if all.all(|replica| Some(replica) == first) { Ok(()) } else { violation(format!("replicas differ: {replicas:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_a_different_and_a_suspect_replica_are_found() {
        let replica = Replica { applied: LogIndex(5), revision: Revision(3), hash: 7, suspect: false };
        let mut replicas = BTreeMap::from([(NodeId(1), replica), (NodeId(2), replica)]);
        check(2, &replicas).unwrap();
        check(3, &replicas).unwrap_err();
        replicas.insert(NodeId(3), Replica { hash: 8, ..replica });
        check(3, &replicas).unwrap_err();
        replicas.values_mut().for_each(|other| *other = Replica { suspect: true, ..replica });
        check(3, &replicas).unwrap_err();
    }
}
