//! Sessions, on the side that answers: it keeps nothing of them.

use alloc::vec::Vec;

use steadfast_types::wire::WireError;
use steadfast_types::{Instant, NodeId};

use super::limits::{ITEMS, WISH_TICKS};
use super::message::{Ask, Contexts, Message, Reply, Turn};
use super::range::HashRange;
use super::session::{Room, pieces as pieces_of, states};
use super::{Digest, Exchange, Replica};

impl Exchange {
    pub(super) fn on_request(&mut self, replica: &mut impl Replica, from: NodeId, turn: Turn<Ask>, now: Instant) -> Result<(), WireError> {
        if turn.contexts.0.iter().any(|context| self.fence_if_behind(replica, context)) {
            return Ok(());
        }
        if turn.items.is_empty() || turn.items.len() > ITEMS {
            return Err(WireError::Invalid("request"));
        }
        self.peers.entry(from).and_modify(|peer| peer.wish_ticks = WISH_TICKS);
        let before = replica.vector().clone();
        let (mut contexts, mut items, mut room) = (Contexts::default(), Vec::new(), self.limits.frame_bytes);
        for ask in turn.items {
            let reply = match ask {
                Ask::Compare { range, digest, pieces, whole } => {
                    let theirs = turn.contexts.of(range, pieces.iter())?;
                    self.out.counters.ranges_compared += 1;
                    let mine = replica.digest(range);
                    let same = if mine == digest && !whole { pieces_of(replica, range, &mut contexts) } else { None };
                    if let Some(pieces) = same {
                        self.saw(replica, theirs);
                        Some(Reply::Same { range, pieces })
                    } else {
                        self.out.counters.ranges_differing += u64::from(mine != digest);
                        {
                            let room = Room { bytes: room, is_empty: items.is_empty() };
                            self.differs(replica, range, (mine, digest), room, &mut contexts)
                        }
                    }
                }
                Ask::Give { range, pieces } => {
                    self.join(replica, range, &turn.contexts, pieces)?;
                    Some(Reply::Taken { range })
                }
            };
            // What there is no room for is asked again.
            let Some(reply) = reply else { continue };
            if let Reply::States { pieces, .. } = &reply {
                room = room.saturating_sub(pieces.iter().map(|piece| piece.states.len()).sum());
            }
            items.push(reply);
        }
        self.out.send(from, &Message::Answer(Turn { session: turn.session, contexts, items }));
        if *replica.vector() != before {
            self.deliver_waiting(replica, now);
            self.acknowledge(replica, from, false, false);
            self.push_to_all();
        }
        Ok(())
    }

    /// What to say of a range in which the two differ; `None` if there is no room for that in this message.
    fn differs(
        &self,
        replica: &mut impl Replica,
        range: HashRange,
        (mine, theirs): (Digest, Digest),
        room: Room,
        contexts: &mut Contexts,
    ) -> Option<Reply> {
        let is_small = mine.keys.max(theirs.keys) <= self.limits.leaf_keys;
        if !is_small && !range.is_single() {
            return Some(Reply::Differs { range });
        }
        match states(replica, range, room.limit(range), contexts) {
            Some(pieces) => Some(Reply::States { range, digest: mine, pieces }),
            None => room.is_empty.then_some(Reply::Differs { range }),
        }
    }
}
