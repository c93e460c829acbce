//! What a part keeps of keys that are not in memory: of each its hash and its digest, in twelve bytes.
//!
//! The name is not among it. So all keys of one hash, of which there is nearly always one, are cold together or not at all: whoever asks for one of
//! them has all of them read, and what is not among those is not there.

use alloc::vec::Vec;
use core::ops::Range;

use crate::entry::Entry;
use crate::table::Hash;
use crate::table::marks::Checkpoints;
use crate::table::part::Part;

/// A key that is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stub {
    pub(crate) hash: Hash,
    digest: [u32; 2],
}

impl Stub {
    fn new(hash: Hash, digest: u64) -> Self {
        Stub { hash, digest: [(digest >> u32::BITS) as u32, digest as u32] }
    }

    pub(crate) fn digest(self) -> u64 {
        u64::from(self.digest[0]) << u32::BITS | u64::from(self.digest[1])
    }
}

/// What the clock's hand did in a part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Swept {
    /// Keys that were looked at.
    pub(super) looked: usize,
    /// Keys that are not in memory any more.
    pub(super) evicted: usize,
    /// Bytes of their own allocations.
    pub(super) bytes: usize,
    /// Keys that stay because their rows are not durable.
    pub(super) changed: usize,
}

impl Part {
    fn stub_indexes(&self, from: Hash, to: Hash) -> Range<usize> {
        self.cold.partition_point(|stub| stub.hash < from)..self.cold.partition_point(|stub| stub.hash <= to)
    }

    /// The cold keys of a range of hashes.
    pub(crate) fn stubs(&self, from: Hash, to: Hash) -> &[Stub] {
        &self.cold[self.stub_indexes(from, to)]
    }

    /// Whether the keys of a hash are cold.
    pub(crate) fn is_cold(&self, hash: Hash) -> bool {
        !self.cold.is_empty() && self.cold.binary_search_by_key(&hash, |stub| stub.hash).is_ok()
    }

    /// Takes in the keys of a hash, which were cold.
    pub(super) fn warm(&mut self, hash: Hash, entries: Vec<Entry>) {
        let cold = self.stub_indexes(hash, hash);
        self.cold.drain(cold);
        if self.cold.len() < self.cold.capacity() / 2 {
            self.cold.shrink_to_fit();
        }
        let index = self.hashes.partition_point(|held| *held < hash);
        self.make_room(entries.len());
        self.hashes.splice(index..index, core::iter::repeat_n(hash, entries.len()));
        self.entries.splice(index..index, entries);
    }

    /// The clock's hand passes: keys go out of memory that were not used since it passed last, whose rows are durable as the keys are now, and of which
    /// nothing waits to be forgotten.
    pub(super) fn sweep(&mut self, checkpoints: Checkpoints) -> Swept {
        let mut swept = Swept { looked: self.hashes.len(), ..Swept::default() };
        let mut goes = Vec::new();
        let mut index = 0;
        while let Some(&hash) = self.hashes.get(index) {
            let end = index + self.hashes[index..].iter().take_while(|held| **held == hash).count();
            if !self.marks.is_clean(hash, checkpoints) {
                swept.changed += end - index;
            } else if !self.marks.is_used(hash)
                && self.entries[index..end].iter_mut().all(|entry| entry.digests_mut(hash).1 == 0 && entry.kind().is_some())
            {
                goes.push(index..end);
            }
            index = end;
        }
        self.marks.pass();
        if !goes.is_empty() {
            self.make_cold(&goes, &mut swept);
        }
        swept
    }

    fn make_cold(&mut self, goes: &[Range<usize>], swept: &mut Swept) {
        swept.evicted = goes.iter().map(Range::len).sum();
        self.cold.reserve_exact(swept.evicted);
        for index in goes.iter().cloned().flatten() {
            let (hash, entry) = (self.hashes[index], &mut self.entries[index]);
            swept.bytes += entry.bytes();
            self.cold.push(Stub::new(hash, entry.digest_mut(hash)));
        }
        self.cold.sort_by_key(|stub| stub.hash);
        let (mut index, mut next) = (0, goes.iter().cloned().flatten().peekable());
        let mut stays = || {
            index += 1;
            next.next_if_eq(&(index - 1)).is_none()
        };
        let mut kept = Vec::with_capacity(self.hashes.len() - swept.evicted);
        let mut hashes = Vec::with_capacity(kept.capacity());
        for (hash, entry) in core::mem::take(&mut self.hashes).into_iter().zip(core::mem::take(&mut self.entries)) {
            if stays() {
                hashes.push(hash);
                kept.push(entry);
            }
        }
        (self.hashes, self.entries) = (hashes, kept);
    }
}
