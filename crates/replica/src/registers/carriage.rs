//! Carries the keys from one set of replicas to the next: what a replica that holds some does in an epoch of two sets.
//!
//! Every replica sees to it that each key is carried which it held when it came into the epoch: by itself, or by somebody who says so. Each begins with a
//! share of its own and tells the others what it has carried; so they do a part each while all live, and one that dies leaves its part to
//! the others. When a quorum of both sets say so, every key is carried of which anything was chosen in an earlier epoch: some member of the quorum held it.
//!
//! That a replica has come into the epoch must be durable before it says that it is through: coming back in an earlier one it could take part in what was
//! chosen there, and nobody would carry it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;
use steadfast_register::acceptor::Acceptor;
use steadfast_register::message::Epoch;
use steadfast_register::quorum::Replicas;
use steadfast_types::{Instant, NodeId};

use super::limits::{BATCH, CARRIED_AT_ONCE, LOOKED_AT, SAY_AGAIN};
use super::message::Message;

#[derive(Debug)]
pub(super) struct Carriage {
    node: NodeId,
    replicas: Replicas,
    /// How many shares there are, which one is this node's, and how many it has looked through, that one first.
    shares: u64,
    first: u64,
    done: u64,
    /// The last key that was looked at in this share.
    at: Option<Bytes>,
    /// So many more may be looked at in this tick.
    looks: usize,
    under_way: usize,
    /// Those that could not be carried, to be tried again now, and later.
    again: Vec<Bytes>,
    failed: Vec<Bytes>,
    /// Known to be carried.
    carried: BTreeSet<Bytes>,
    /// Not told the others yet.
    untold: Vec<Bytes>,
    /// Who carried all it held.
    through: BTreeSet<NodeId>,
    says_again: Instant,
    /// Whether it was given out since a quorum is through.
    is_given: bool,
}

/// Which share a key is of (FNV-1a).
fn share_of(key: &[u8], shares: u64) -> u64 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 32) % shares
}

impl Carriage {
    /// `node` is one of the replicas, and in their epoch.
    pub(super) fn new(node: NodeId, replicas: Replicas) -> Self {
        let all: BTreeSet<NodeId> = replicas.all().into_iter().collect();
        let first = all.iter().position(|other| *other == node).unwrap_or_default() as u64;
        Self {
            node,
            shares: all.len().max(1) as u64,
            replicas,
            first,
            done: 0,
            at: None,
            looks: LOOKED_AT,
            under_way: 0,
            again: Vec::new(),
            failed: Vec::new(),
            carried: BTreeSet::new(),
            untold: Vec::new(),
            through: BTreeSet::new(),
            says_again: Instant(0),
            is_given: false,
        }
    }

    fn epoch(&self) -> Epoch {
        self.replicas.epoch
    }

    /// A key to be carried now.
    pub(super) fn next(&mut self, acceptor: &Acceptor) -> Option<Bytes> {
        if self.under_way >= CARRIED_AT_ONCE {
            return None;
        }
        let key = self.again.pop().or_else(|| self.find(acceptor));
        self.under_way += usize::from(key.is_some());
        key
    }

    fn find(&mut self, acceptor: &Acceptor) -> Option<Bytes> {
        while self.done < self.shares {
            let share = (self.first + self.done) % self.shares;
            for (key, held) in acceptor.registers_after(self.at.clone().as_ref()) {
                if self.looks == 0 {
                    return None;
                }
                self.looks -= 1;
                self.at = Some(key.clone());
                if held.accepted.is_some() && share_of(key, self.shares) == share && !self.carried.contains(key) {
                    return Some(key.clone());
                }
            }
            (self.at, self.done) = (None, self.done + 1);
        }
        None
    }

    /// A key that was to be carried was.
    pub(super) fn carried(&mut self, key: Bytes) {
        self.under_way -= 1;
        if self.carried.insert(key.clone()) {
            self.untold.push(key);
        }
    }

    /// A key could not be carried.
    pub(super) fn failed(&mut self, key: Bytes) {
        self.under_way -= 1;
        self.failed.push(key);
    }

    /// Another has carried these.
    pub(super) fn heard(&mut self, epoch: Epoch, keys: Vec<Bytes>) {
        if epoch == self.epoch() {
            self.carried.extend(keys.iter().map(|key| Bytes::copy_from_slice(key)));
        }
    }

    /// One, perhaps this node itself, has carried all it held.
    pub(super) fn is_through(&mut self, node: NodeId, epoch: Epoch) {
        if epoch == self.epoch() {
            self.through.insert(node);
        }
    }

    /// Time passed: what is to be said to whom.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<(NodeId, Message)> {
        self.looks = LOOKED_AT;
        self.again.append(&mut self.failed);
        let (epoch, mut said) = (self.epoch(), Vec::new());
        for keys in mem::take(&mut self.untold).chunks(BATCH) {
            let others = self.replicas.all().into_iter().filter(|node| *node != self.node);
            said.extend(others.map(|node| (node, Message::Carried { epoch, keys: keys.to_vec() })));
        }
        if self.says_again <= now {
            self.is_given = false;
            if self.done == self.shares && self.under_way == 0 && self.again.is_empty() {
                self.says_again = now + SAY_AGAIN;
                said.extend(self.replicas.all().into_iter().map(|node| (node, Message::AllCarried { epoch })));
            }
        }
        said
    }

    /// The epoch, if all its keys were carried: once, and again from time to time.
    pub(super) fn over(&mut self) -> Option<Epoch> {
        let is_over = !self.is_given && self.replicas.is_quorum(&self.through);
        self.is_given |= is_over;
        is_over.then(|| self.epoch())
    }
}
