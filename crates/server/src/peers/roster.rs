//! Whom this node sends to: the members that the replicated state lists, the contacts it began with, and for as long as they are
//! connected, nodes that it knows neither way.
//!
//! Only the replicated state can say that a member was removed. A contact may be newer than the state that a node is about to replay, so that it
//! is missing there means nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;
use steadfast_types::NodeId;
use tokio::sync::{Notify, watch};

use super::handshake::Refusal;
use super::queue::PeerQueue;

/// Nodes that are not known as members and are heard at the same time.
pub const STRANGERS: usize = 16;

/// One peer, as its dialer and all who send to it see it.
#[derive(Debug)]
pub(super) struct Peer {
    /// What waits to be sent.
    pub(super) queue: PeerQueue,
    /// Where it is reached, `host:port`; `None`: not dialled any longer.
    pub(super) address: watch::Sender<Option<String>>,
    /// It was heard of: a dialer that waits for its next try should not.
    pub(super) nudge: Notify,
    /// The same for the dialer of its lane.
    pub(super) lane_nudge: Notify,
}

impl Peer {
    fn at(address: &str) -> Arc<Self> {
        let address = watch::Sender::new(Some(address.to_owned()));
        Arc::new(Peer { queue: PeerQueue::default(), address, nudge: Notify::new(), lane_nudge: Notify::new() })
    }
}

/// All peers.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    peers: BTreeMap<NodeId, Entry>,
    removed: BTreeSet<NodeId>,
}

#[derive(Debug)]
struct Entry {
    peer: Arc<Peer>,
    standing: Standing,
}

/// How a peer came to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The replicated state listed it.
    Member,
    /// The node was told of it at its start.
    Contact,
    /// It came by itself.
    Stranger,
}

/// What a new list of members changed.
#[derive(Debug)]
pub(super) struct Changes {
    /// To be dialled.
    pub(super) added: Vec<(NodeId, Arc<Peer>)>,
    /// No longer members.
    pub(super) removed: Vec<NodeId>,
}

impl Roster {
    /// The peer, if it is one.
    pub(super) fn find(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.entries.read().peers.get(&node).map(|entry| entry.peer.clone())
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(NodeId, Arc<Peer>)> {
        self.entries.read().peers.iter().map(|(node, entry)| (*node, entry.peer.clone())).collect()
    }

    /// How many frames wait for each.
    pub(super) fn queued(&self) -> BTreeMap<NodeId, usize> {
        self.entries.read().peers.iter().map(|(node, entry)| (*node, entry.peer.queue.length())).collect()
    }

    /// Takes the list of members, `local` among them or not, and of those that were removed.
    pub(super) fn set_members(&self, local: NodeId, mut members: BTreeMap<NodeId, String>, gone: BTreeSet<NodeId>) -> Changes {
        members.remove(&local);
        let mut entries = self.entries.write();
        let is_over = |(node, entry): &(&NodeId, &Entry)| gone.contains(node) || entry.is(Standing::Member) && !members.contains_key(node);
        let removed: Vec<NodeId> = entries.peers.iter().filter(is_over).map(|(node, _)| *node).collect();
        removed.iter().for_each(|node| entries.drop_peer(*node));
        entries.removed = gone;
        let added = members.iter().filter_map(|(node, address)| Some((*node, entries.set_member(*node, address)?))).collect();
        Changes { added, removed }
    }

    /// Takes contacts, `local` among them or not; those that are no peers yet are to be dialled.
    pub(super) fn add_contacts(&self, local: NodeId, contacts: BTreeMap<NodeId, String>) -> Vec<(NodeId, Arc<Peer>)> {
        let mut entries = self.entries.write();
        let others = contacts.into_iter().filter(|(node, _)| *node != local);
        others.filter_map(|(node, address)| Some((node, entries.enter(node, &address, Standing::Contact)?))).collect()
    }

    /// Whether frames of `node` are taken. A stranger becomes a peer at the address it stated, to be dialled by the caller.
    pub(super) fn admit(&self, node: NodeId, address: &str) -> Result<Option<Arc<Peer>>, Refusal> {
        let mut entries = self.entries.write();
        if entries.removed.contains(&node) {
            return Err(Refusal::Removed);
        }
        if entries.peers.contains_key(&node) {
            return Ok(None);
        }
        if entries.peers.values().filter(|entry| entry.is(Standing::Stranger)).count() >= STRANGERS {
            return Err(Refusal::Crowded);
        }
        Ok(entries.enter(node, address, Standing::Stranger))
    }

    /// A peer's connection has ended: a stranger is forgotten.
    pub(super) fn dismiss_stranger(&self, node: NodeId) {
        let mut entries = self.entries.write();
        if entries.peers.get(&node).is_some_and(|entry| entry.is(Standing::Stranger)) {
            entries.drop_peer(node);
        }
    }
}

impl Entry {
    fn is(&self, standing: Standing) -> bool {
        self.standing == standing
    }
}

impl Entries {
    /// Makes `node` a member at `address`; the peer if it is new.
    fn set_member(&mut self, node: NodeId, address: &str) -> Option<Arc<Peer>> {
        if let Some(entry) = self.peers.get_mut(&node) {
            entry.standing = Standing::Member;
            entry.peer.address.send_if_modified(|current| {
                let moved = current.as_deref() != Some(address);
                if moved {
                    *current = Some(address.to_owned());
                }
                moved
            });
        }
        self.enter(node, address, Standing::Member)
    }

    /// Makes `node` a peer, if it is none yet.
    fn enter(&mut self, node: NodeId, address: &str, standing: Standing) -> Option<Arc<Peer>> {
        if self.peers.contains_key(&node) {
            return None;
        }
        let peer = Peer::at(address);
        self.peers.insert(node, Entry { peer: peer.clone(), standing });
        Some(peer)
    }

    fn drop_peer(&mut self, node: NodeId) {
        if let Some(entry) = self.peers.remove(&node) {
            entry.peer.address.send_replace(None);
        }
    }
}
