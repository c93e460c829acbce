//! What a replica knows of a peer that it is connected to.
//!
//! Invariants:
//! 1. `sent` includes `known`: what the peer has, or will have unless it drops some of it (then it asks again) or the connection ends.
//! 2. Every delta before `cursor` is in `sent`, or was passed over for a reason that is remembered (`passed`).
//! 3. What is in flight is below the window when a frame is sent, so never more than the window and a frame.

use alloc::collections::{BTreeMap, BTreeSet};

use steadfast_crdt::{Actor, Covers, Time, Version, VersionVector};

use super::delta::Delta;
use super::limits::GRACE_TICKS;
use super::message::Hello;
use super::stability::SetId;

/// What to do with a delta for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Send,
    /// It has it.
    Known,
    /// It can't use it, or gets it from somebody else.
    Pass,
}

/// How long a peer has had nothing new of a writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    at: Option<Time>,
    ticks: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// As whom it writes, once it was accepted.
    pub(crate) actor: Option<Actor>,
    /// It said this and was refused; it may be accepted later.
    pub(crate) refused: Option<Hello>,
    /// What it told over this connection.
    pub(crate) known: VersionVector,
    pub(crate) sent: VersionVector,
    pub(crate) cursor: u64,
    pub(crate) passed: bool,
    /// Whom it is connected to.
    pub(crate) links: BTreeSet<Actor>,
    pub(crate) stalls: BTreeMap<Actor, Stall>,
    /// Bytes of deltas that were sent over this connection.
    pub(crate) sent_bytes: u64,
    /// Those of them that it acknowledged.
    pub(crate) acknowledged_bytes: u64,
    /// Bytes of deltas that came over this connection.
    pub(crate) received_bytes: u64,
    /// Some of them were dropped and have to be asked for.
    pub(crate) dropped: bool,
    /// What was seen here when they were asked for last.
    pub(crate) asked_at: VersionVector,
    /// How many ticks from now it may be asked for a session.
    pub(crate) wish_ticks: u32,
    /// It has a gossip, a root or a wish to answer.
    pub(crate) awaiting: bool,
    /// What it is to answer asks whether something is lost (`let_go`).
    pub(crate) asked: bool,
    /// It answered that under the set of replicas that is known here.
    pub(crate) agrees: bool,
    /// The last that it was told.
    pub(crate) told_vector: VersionVector,
    pub(crate) told_set: SetId,
    /// The set of replicas that it spoke under last.
    pub(crate) set: SetId,
    pub(crate) told_links: BTreeSet<Actor>,
    pub(crate) told_generation: u64,
}

impl Peer {
    pub(crate) fn in_flight(&self) -> u64 {
        self.sent_bytes - self.acknowledged_bytes
    }

    /// It said what it has seen. Whether what was passed over has to be looked at again.
    pub(crate) fn heard(&mut self, vector: &VersionVector) -> bool {
        self.known.join(vector);
        let is_news = !self.sent.includes(vector);
        self.sent.join(vector);
        assert!(self.sent.includes(&self.known), "a peer has what it says it has");
        is_news && self.passed
    }

    /// It has everything of this write's actor up to it.
    pub(crate) fn has(&mut self, version: Version) {
        self.known.saw(version);
        self.sent.saw(version);
    }

    /// Whether it is for us to give it what a writer wrote: nobody else will.
    pub(crate) fn depends_on_us(&self, writer: Actor, own: Actor) -> bool {
        writer == own || !self.links.contains(&writer) || self.stalls.get(&writer).is_some_and(|stall| stall.ticks >= GRACE_TICKS)
    }

    pub(crate) fn judge(&self, delta: &Delta, own: Actor) -> Judgement {
        if self.sent.covers(delta.version()) || self.actor == Some(delta.writer) {
            Judgement::Known
        } else if self.sent.of(delta.writer) == delta.previous() && self.depends_on_us(delta.writer, own) {
            Judgement::Send
        } else {
            Judgement::Pass
        }
    }

    /// A tick has passed, and this is what is here. Whether it has now waited long enough for something from somebody else.
    pub(crate) fn notice_stalls(&mut self, here: &VersionVector) -> bool {
        let mut has_waited = false;
        self.stalls.retain(|writer, _| self.known.of(*writer) < here.of(*writer));
        for version in here.iter().filter(|version| !self.known.covers(*version)) {
            let at = self.known.of(version.actor());
            let stall = self.stalls.entry(version.actor()).or_insert(Stall { at, ticks: 0 });
            stall.ticks = if stall.at == at { stall.ticks.saturating_add(1) } else { 0 };
            stall.at = at;
            has_waited |= stall.ticks == GRACE_TICKS;
        }
        has_waited
    }
}
