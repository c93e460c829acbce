//! Deltas on their way out.

use alloc::vec::Vec;

use steadfast_types::NodeId;
use steadfast_types::wire::Wire;

use super::Exchange;
use super::message::{Message, Rest};
use super::peer::Judgement;

impl Exchange {
    pub(super) fn push_to_all(&mut self) {
        let peers = self.peers.keys().copied().collect::<Vec<_>>();
        peers.into_iter().for_each(|id| self.push(id));
    }

    /// Looks again at all that is kept for a peer.
    pub(super) fn push_again(&mut self, id: NodeId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            (peer.cursor, peer.passed) = (self.kept.first(), false);
            self.push(id);
        }
    }

    /// Sends a peer what it lacks and the window allows.
    pub(super) fn push(&mut self, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.actor.is_some()) else { return };
        while peer.in_flight() < self.limits.window_bytes {
            let mut frame = Vec::new();
            peer.cursor = peer.cursor.max(self.kept.first());
            while let Some(entry) = self.kept.get(peer.cursor) {
                let delta = &entry.delta;
                match peer.judge(delta, self.own) {
                    Judgement::Send if !frame.is_empty() && frame.len() + delta.bytes() > self.limits.frame_bytes => break,
                    Judgement::Send => {
                        delta.encode(&mut frame);
                        peer.sent.saw(delta.version());
                        self.out.counters.deltas_sent += 1;
                    }
                    Judgement::Known => {}
                    Judgement::Pass => peer.passed = true,
                }
                peer.cursor += 1;
            }
            if frame.is_empty() {
                return;
            }
            peer.sent_bytes += self.out.send(id, &Message::Deltas(Rest(frame.into())));
        }
    }
}
