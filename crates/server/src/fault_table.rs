//! The fault table: which faults this node injects into itself, so that a drill can break a live cluster without touching the machine.
//!
//! There is one only if the node was started with `--faults`; otherwise [`Faults`] is empty, the admin port has no route for it, and the
//! places that ask it see `None`. What it can do:
//!
//! 1. *Network between servers*: what is received from a peer is ignored, what is sent to it is discarded, both with the signs of life, so that
//!    connections break as they do when packets are lost. Each direction is its own: answers to a peer's own greeting and signs still pass, so a
//!    one-way loss is one of messages. Everything sent can be held back for a time.
//! 2. *Gossip*, of servers and agents: the same for each packet, by datagram or by stream, and each answer by stream is judged on its own, by who
//!    sends it and to whom it goes. So a member that loses what comes from all others is still heard by them. A part of all datagrams can be lost
//!    at random, in each direction; streams lose none, for the system sends again.
//! 3. *Disk*: the log writer waits before it writes and syncs.
//! 4. *Clock*: the clock jumps ahead. A node reads one clock, which is monotonic (`clock.rs`); no protocol reads the wall clock, so setting
//!    that does nothing to a node, and a jump of this one is what a suspended machine sees. It can't go back: the system's never does.
//!
//! Left out: lost or reordered writes and damaged sectors; those are done to the files of a stopped node. Nor is a node cut off from those whom it
//! asks for its cluster at its first start: it has no table then.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use steadfast_types::NodeId;

/// The longest delay or jump, milliseconds: an hour. More is a slip of the pen.
pub const LONGEST_MS: u64 = 3_600_000;

/// Peers that one table names, at most: more than a drill on one machine has.
pub const NAMED_PEERS: usize = 256;

/// The largest table as text, bytes.
pub const TABLE_BYTES: usize = 64 * 1024;

/// A table as the admin port takes it. What is left out is no fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRequest {
    /// Peers, servers or agents, whose frames and packets are ignored: names, peer addresses, or ids in hexadecimal.
    pub drop_from: Vec<String>,
    /// Peers that nothing is sent to.
    pub drop_to: Vec<String>,
    /// How long everything for peers is held back.
    pub delay_ms: u64,
    /// Of a hundred datagrams of gossip, how many are lost, in each direction.
    pub loss_percent: u8,
    /// How long the log writer waits before each sync.
    pub slow_sync_ms: u64,
    /// How far the clock jumps ahead, now, once, from where it is; it stays there until the node is started again.
    pub clock_jump_ms: u64,
}

/// A table that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// It is not of the form.
    #[error("the faults are no JSON object of drop_from, drop_to, delay_ms, loss_percent, slow_sync_ms and clock_jump_ms: {0}")]
    Malformed(String),
    /// A peer is not known.
    #[error("{field}: no member has the name, peer address or id {peer:?}; `steadfast member list` shows them")]
    UnknownPeer {
        /// In which field.
        field: &'static str,
        /// Who.
        peer: String,
    },
    /// There are too many.
    #[error("{field} names {count} peers; at most {NAMED_PEERS} are taken")]
    TooMany {
        /// In which field.
        field: &'static str,
        /// How many.
        count: usize,
    },
    /// More is lost than there is.
    #[error("loss_percent: {0} of a hundred can't be lost; give at most 100")]
    TooMuch(
        /// How much.
        u8,
    ),
    /// A time is too long.
    #[error("{field}: {ms} ms is more than {LONGEST_MS} ms; give less")]
    TooLong {
        /// In which field.
        field: &'static str,
        /// How long.
        ms: u64,
    },
}

/// What is injected now.
#[derive(Debug, Default)]
pub struct FaultTable {
    rules: RwLock<Rules>,
    /// Milliseconds.
    delay: AtomicU64,
    loss_percent: AtomicU8,
    /// Milliseconds.
    slow_sync: AtomicU64,
    /// Microseconds, the sum of all jumps.
    clock_ahead: AtomicU64,
}

#[derive(Debug, Default)]
struct Rules {
    drop_from: BTreeSet<NodeId>,
    drop_to: BTreeSet<NodeId>,
    request: FaultRequest,
}

impl FaultTable {
    /// Puts these faults in the place of those before. `resolve`: the member of a name, peer address or id.
    ///
    /// # Errors
    /// It can't be used, and nothing has changed.
    pub fn set(&self, request: FaultRequest, resolve: &dyn Fn(&str) -> Option<NodeId>) -> Result<(), FaultError> {
        let drop_from = peers("drop_from", &request.drop_from, resolve)?;
        let drop_to = peers("drop_to", &request.drop_to, resolve)?;
        let times = [("delay_ms", request.delay_ms), ("slow_sync_ms", request.slow_sync_ms), ("clock_jump_ms", request.clock_jump_ms)];
        if let Some((field, ms)) = times.into_iter().find(|(_, ms)| *ms > LONGEST_MS) {
            return Err(FaultError::TooLong { field, ms });
        }
        if request.loss_percent > 100 {
            return Err(FaultError::TooMuch(request.loss_percent));
        }
        self.delay.store(request.delay_ms, Ordering::Relaxed);
        self.loss_percent.store(request.loss_percent, Ordering::Relaxed);
        self.slow_sync.store(request.slow_sync_ms, Ordering::Relaxed);
        self.clock_ahead.fetch_add(request.clock_jump_ms * 1000, Ordering::Relaxed);
        *self.rules.write() = Rules { drop_from, drop_to, request };
        Ok(())
    }

    /// No more faults; the clock stays where it has jumped to.
    pub fn clear(&self) {
        self.set(FaultRequest::default(), &|_| None).expect("no faults can always be had");
    }

    /// What was set last.
    pub fn request(&self) -> FaultRequest {
        self.rules.read().request.clone()
    }
}

fn peers(field: &'static str, words: &[String], resolve: &dyn Fn(&str) -> Option<NodeId>) -> Result<BTreeSet<NodeId>, FaultError> {
    if words.len() > NAMED_PEERS {
        return Err(FaultError::TooMany { field, count: words.len() });
    }
    let known = |peer: &String| resolve(peer).ok_or_else(|| FaultError::UnknownPeer { field, peer: peer.clone() });
    words.iter().map(known).collect()
}

/// The table if there is one, for the places that inject faults. Each question is cheap, and free without a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults(Option<&'static FaultTable>);

impl Faults {
    /// A table, empty, that lives as long as the process: its clock reads it.
    pub fn enabled() -> Self {
        Faults(Some(Box::leak(Box::default())))
    }

    /// The table itself.
    pub fn table(self) -> Option<&'static FaultTable> {
        self.0
    }

    /// Whether what comes from some peers, or goes to some, is lost.
    pub fn drops_any(self) -> bool {
        self.0.is_some_and(|table| {
            let rules = table.rules.read();
            !rules.drop_from.is_empty() || !rules.drop_to.is_empty()
        })
    }

    /// Whether what comes from this peer is lost.
    pub fn drops_from(self, peer: NodeId) -> bool {
        self.0.is_some_and(|table| table.rules.read().drop_from.contains(&peer))
    }

    /// Whether what goes to this peer is lost.
    pub fn drops_to(self, peer: NodeId) -> bool {
        self.0.is_some_and(|table| table.rules.read().drop_to.contains(&peer))
    }

    /// How long frames are held back.
    pub fn delay(self) -> Option<Duration> {
        self.0.and_then(|table| milliseconds(&table.delay))
    }

    /// Of a hundred datagrams, how many are lost.
    pub fn loss_percent(self) -> u8 {
        self.0.map_or(0, |table| table.loss_percent.load(Ordering::Relaxed))
    }

    /// How long a sync waits.
    pub fn sync_delay(self) -> Option<Duration> {
        self.0.and_then(|table| milliseconds(&table.slow_sync))
    }

    /// How far ahead of the system's the clock is, microseconds.
    pub fn clock_ahead_micros(self) -> u64 {
        self.0.map_or(0, |table| table.clock_ahead.load(Ordering::Relaxed))
    }
}

fn milliseconds(value: &AtomicU64) -> Option<Duration> {
    let value = value.load(Ordering::Relaxed);
    (value > 0).then(|| Duration::from_millis(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(word: &str) -> Option<NodeId> {
        [("n2", NodeId(2)), ("127.0.0.1:1", NodeId(3))].into_iter().find(|(name, _)| *name == word).map(|(_, node)| node)
    }

    fn request(text: &str) -> FaultRequest {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn without_a_table_nothing_is_injected() {
        let faults = Faults::default();
        assert!(!faults.drops_from(NodeId(2)) && !faults.drops_to(NodeId(2)) && !faults.drops_any() && faults.loss_percent() == 0);
        assert_eq!((faults.delay(), faults.sync_delay(), faults.clock_ahead_micros()), (None, None, 0));
    }

    #[test]
    fn a_table_replaces_the_one_before_and_the_clock_stays_ahead() {
        let faults = Faults::enabled();
        let table = faults.table().unwrap();
        table.set(request(r#"{"drop_from":["n2"],"drop_to":["127.0.0.1:1"],"delay_ms":5,"clock_jump_ms":7}"#), &resolve).unwrap();
        assert!(faults.drops_from(NodeId(2)) && !faults.drops_from(NodeId(3)));
        assert!(faults.drops_to(NodeId(3)) && !faults.drops_to(NodeId(2)));
        assert_eq!((faults.delay(), faults.clock_ahead_micros()), (Some(Duration::from_millis(5)), 7000));
        assert!(faults.drops_any());
        table.set(request(r#"{"loss_percent":30,"slow_sync_ms":9,"clock_jump_ms":1}"#), &resolve).unwrap();
        assert!(!faults.drops_from(NodeId(2)) && !faults.drops_any() && faults.delay().is_none() && faults.loss_percent() == 30);
        assert_eq!(faults.sync_delay(), Some(Duration::from_millis(9)));
        table.clear();
        assert_eq!((faults.sync_delay(), faults.clock_ahead_micros()), (None, 8000));
    }

    #[test]
    fn what_can_not_be_used_is_named_and_changes_nothing() {
        let faults = Faults::enabled();
        let table = faults.table().unwrap();
        let error = table.set(request(r#"{"drop_to":["n9"],"delay_ms":5}"#), &resolve).unwrap_err();
        assert!(error.to_string().starts_with("drop_to: no member has the name, peer address or id \"n9\""), "{error}");
        let error = table.set(request(r#"{"slow_sync_ms":3600001}"#), &resolve).unwrap_err();
        assert_eq!(error, FaultError::TooLong { field: "slow_sync_ms", ms: 3_600_001 });
        let many = FaultRequest { drop_from: vec!["n2".to_owned(); NAMED_PEERS + 1], ..FaultRequest::default() };
        assert_eq!(table.set(many, &resolve), Err(FaultError::TooMany { field: "drop_from", count: NAMED_PEERS + 1 }));
        assert_eq!(table.set(request(r#"{"loss_percent":101}"#), &resolve), Err(FaultError::TooMuch(101)));
        assert_eq!((table.request(), faults.delay(), faults.loss_percent()), (FaultRequest::default(), None, 0));
        assert!(
            serde_json::from_str::<FaultRequest>(r#"{"drop":[]}"#).is_err()
                && serde_json::from_str::<FaultRequest>(r#"{"delay_ms":-1}"#).is_err()
        );
    }
}
