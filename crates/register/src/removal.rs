//! Makes the room of deleted registers free again, as CASPaxos orders it (Rystsov, arXiv 1802.07000, section 3.1): a register may go once *all* replicas hold
//! the same deletion, so that nothing older is anywhere, and once nothing older that is still on its way can make it anew.
//!
//! For the latter the paper has every proposer's counter and age raised first. Here ballots of all proposers are times, so a replica that forgets a register
//! promises what it had promised for it for all keys of which it holds nothing, in the same record: promising more than was asked is always allowed, and
//! what is older than the deletion is refused. So two steps are left: ask all replicas, tell all replicas. If somebody does not answer, nothing is lost but the room: the
//! shell begins again later.
//!
//! *All* replicas are those of one epoch, and each answers while it is in that epoch: otherwise one that comes or goes could bring an older value back. What
//! a replica said stays true (it had accepted the deletion), so late and repeated answers do no harm; an answer to another removal at most makes this one
//! take longer. Why all this is right is argued on the crate's page.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_types::{NodeId, wire_enum};

use crate::acceptor::Acceptor;
use crate::message::{Ballot, Epoch, Record};
use crate::quorum::Replicas;

/// Keys and the ballots of their deletions.
pub type Deleted = Vec<(Bytes, Ballot)>;

/// What the node that removes asks of the replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// At which ballots are these deleted where you are?
    Deleted {
        /// The epoch whose replicas are asked.
        epoch: Epoch,
        /// The keys.
        keys: Vec<Bytes>,
    },
    /// All replicas accepted these deletions.
    Remove {
        /// The epoch whose replicas they are.
        epoch: Epoch,
        /// The deletions.
        deleted: Deleted,
    },
}

wire_enum!(Ask { 1 => Deleted { epoch, keys }, 2 => Remove { epoch, deleted } });

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Those that are deleted here.
    Deleted {
        /// The epoch that it is in.
        epoch: Epoch,
        /// The deletions.
        deleted: Deleted,
    },
    /// Those that could be were removed.
    Removed {},
}

wire_enum!(Said { 1 => Deleted { epoch, deleted }, 2 => Removed {} });

/// Answers what a removing node asks. As with [`Acceptor::receive`], the answer may go out when all records that were handed out until then are durable.
/// `None` if it is in another epoch: a removal is of one epoch.
pub fn answer(ask: Ask, acceptor: &mut Acceptor) -> Option<(Vec<Record>, Said)> {
    let (Ask::Deleted { epoch, .. } | Ask::Remove { epoch, .. }) = &ask;
    (*epoch == acceptor.epoch()).then(|| match ask {
        Ask::Deleted { epoch, keys } => {
            let ballot = |key: &Bytes| acceptor.held(key).filter(|(_, value)| value.bytes.is_none()).map(|(ballot, _)| *ballot);
            (Vec::new(), Said::Deleted { epoch, deleted: keys.into_iter().filter_map(|key| Some((key.clone(), ballot(&key)?))).collect() })
        }
        Ask::Remove { deleted, .. } => {
            (deleted.iter().filter_map(|(key, ballot)| acceptor.remove(key, *ballot)).collect(), Said::Removed {})
        }
    })
}

/// A removal of some keys, which have the same replicas.
#[derive(Debug)]
pub struct Removal {
    epoch: Epoch,
    replicas: BTreeSet<NodeId>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Asking { keys: Vec<Bytes>, said: BTreeMap<NodeId, BTreeMap<Bytes, Ballot>> },
    Removing { deleted: Deleted, spread: Vec<Bytes>, removed: BTreeSet<NodeId> },
}

/// What is to be done for a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// These have to be asked, or asked again if they do not answer.
    Ask(Vec<NodeId>, Ask),
    /// Nothing more.
    Over {
        /// Keys whose deletion not everybody holds yet: before another removal it has to be written to all, by a request that keeps the value
        /// ([`crate::quorum::Replicas::everyone`]).
        spread: Vec<Bytes>,
    },
}

impl Removal {
    /// A removal of deleted keys from all their replicas in an epoch: the current and, while they move, the next ones.
    pub fn new(keys: Vec<Bytes>, replicas: &Replicas) -> Self {
        let (epoch, replicas) = (replicas.epoch, replicas.all().into_iter().collect());
        Self { epoch, replicas, step: Step::Asking { keys, said: BTreeMap::new() } }
    }

    /// What is to be done now.
    pub fn progress(&self) -> Progress {
        let missing = |has: &dyn Fn(&NodeId) -> bool| -> Vec<NodeId> { self.replicas.iter().copied().filter(|node| !has(node)).collect() };
        match &self.step {
            Step::Asking { keys, said } => {
                Progress::Ask(missing(&|node| said.contains_key(node)), Ask::Deleted { epoch: self.epoch, keys: keys.clone() })
            }
            Step::Removing { deleted, spread, removed } => match missing(&|node| removed.contains(node)) {
                left if left.is_empty() || deleted.is_empty() => Progress::Over { spread: spread.clone() },
                left => Progress::Ask(left, Ask::Remove { epoch: self.epoch, deleted: deleted.clone() }),
            },
        }
    }

    /// A replica answered.
    pub fn receive(&mut self, from: NodeId, answer: Said) -> Progress {
        match (&mut self.step, answer) {
            (Step::Asking { keys, said }, Said::Deleted { epoch, deleted }) if epoch == self.epoch && self.replicas.contains(&from) => {
                said.insert(from, deleted.into_iter().collect());
                if said.len() == self.replicas.len() {
                    let ballots = |key: &Bytes| said.values().map(|deleted| deleted.get(key)).collect::<BTreeSet<_>>();
                    let same = |key: &Bytes| ballots(key).iter().copied().flatten().next().copied().filter(|_| ballots(key).len() == 1);
                    let deleted: Deleted = keys.iter().filter_map(|key| Some((key.clone(), same(key)?))).collect();
                    let is_partly = |key: &&Bytes| ballots(key).len() > 1;
                    let spread = keys.iter().filter(is_partly).cloned().collect();
                    self.step = Step::Removing { deleted, spread, removed: BTreeSet::new() };
                }
            }
            (Step::Removing { removed, .. }, Said::Removed {}) if self.replicas.contains(&from) => drop(removed.insert(from)),
            _ => {}
        }
        self.progress()
    }
}
