//! Deltas that came before something they depend on.
//!
//! Invariant: they take at most `limit` bytes. What does not fit is dropped, and is asked for again when there is room.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use steadfast_crdt::{Actor, Covers, Time, VersionVector};

use super::delta::Delta;

#[derive(Debug)]
pub(crate) struct Waiting {
    deltas: BTreeMap<(Actor, Time), Delta>,
    bytes: usize,
    limit: usize,
}

impl Waiting {
    pub(crate) fn new(limit: usize) -> Self {
        Self { deltas: BTreeMap::new(), bytes: 0, limit }
    }

    /// Whether it is there now, because it came already or because there was room.
    pub(crate) fn insert(&mut self, delta: Delta) -> bool {
        let at = (delta.writer, delta.last);
        if self.deltas.contains_key(&at) {
            return true;
        }
        let fits = self.bytes + delta.bytes() <= self.limit;
        if fits {
            self.bytes += delta.bytes();
            self.deltas.insert(at, delta);
        }
        fits
    }

    /// Takes out one that waits for nothing any more, and drops what was seen by other ways.
    pub(crate) fn take_ready(&mut self, seen: &VersionVector) -> Option<Delta> {
        let mut from = (Actor::default(), Time::default());
        loop {
            let (at, delta) = self.deltas.range(from..).next()?;
            let at = *at;
            if seen.includes(&delta.dependencies) || seen.of(delta.writer) > delta.previous() {
                let delta = self.remove(at)?;
                if !seen.covers(delta.version()) {
                    return Some(delta);
                }
                from = at;
            } else {
                // Whatever else there is of this writer comes after that.
                from = (Actor::new(at.0.place() + 1)?, Time::default());
            }
        }
    }

    /// Drops what these did not write. Whether there was anything.
    pub(crate) fn drop_others(&mut self, is_kept: impl Fn(Actor) -> bool) -> bool {
        let others = self.deltas.keys().copied().filter(|(writer, _)| !is_kept(*writer)).collect::<Vec<_>>();
        others.iter().for_each(|at| _ = self.remove(*at));
        !others.is_empty()
    }

    fn remove(&mut self, at: (Actor, Time)) -> Option<Delta> {
        let delta = self.deltas.remove(&at)?;
        self.bytes -= delta.bytes();
        Some(delta)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.deltas.len()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.bytes <= self.limit / 2
    }
}
