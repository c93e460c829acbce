//! The contents of one simulated file, by sector: what is durable, and every version written since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use steadfast_types::Rng;
use xxhash_rust::xxh3::Xxh3;

/// What a disk writes as one: a sector is written wholly or not at all.
pub const SECTOR_BYTES: usize = 512;

/// A sector's bytes; `None` is all zeros, so that preallocated files cost nothing.
type Block = Option<Box<[u8; SECTOR_BYTES]>>;

#[derive(Debug, Default)]
struct Sector {
    durable: Block,
    /// What the cache still shows after a failed sync lost it.
    shown: Option<Block>,
    /// Each version since the last sync, oldest first.
    pending: Vec<Block>,
}

impl Sector {
    fn current(&self) -> &Block {
        self.pending.last().or(self.shown.as_ref()).unwrap_or(&self.durable)
    }
}

#[derive(Debug, Default)]
pub(super) struct Inode {
    length: u64,
    durable_length: u64,
    /// Each length since the last sync, oldest first.
    pending_lengths: Vec<u64>,
    sectors: BTreeMap<u64, Sector>,
    /// The sectors with pending versions.
    dirty: BTreeSet<u64>,
    open: Arc<()>,
    /// Where the last write ended.
    newest: Option<u64>,
}

impl Inode {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// A token that an open handle holds.
    pub(super) fn opened(&self) -> Arc<()> {
        Arc::clone(&self.open)
    }

    pub(super) fn is_open(&self) -> bool {
        Arc::strong_count(&self.open) > 1
    }

    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let available = self.length.saturating_sub(offset).min(buffer.len() as u64) as usize;
        for (sector, within, part) in pieces(offset, available) {
            match self.sectors.get(&sector).and_then(|sector| sector.current().as_ref()) {
                Some(block) => buffer[part.clone()].copy_from_slice(&block[within..within + part.len()]),
                None => buffer[part].fill(0),
            }
        }
        available
    }

    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8]) {
        self.newest = (offset + bytes.len() as u64).checked_sub(1).map(|last| last / SECTOR_BYTES as u64);
        for (sector, within, part) in pieces(offset, bytes.len()) {
            let bytes = &bytes[part];
            self.rewrite(sector, |block| block[within..within + bytes.len()].copy_from_slice(bytes));
        }
        let end = offset + bytes.len() as u64;
        if end > self.length {
            self.length = end;
            self.pending_lengths.push(end);
        }
    }

    pub(super) fn set_length(&mut self, length: u64) {
        if length < self.length {
            self.zero_from(length);
        }
        if length != self.length {
            self.length = length;
            self.pending_lengths.push(length);
        }
    }

    pub(super) fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            let sector = self.sectors.get_mut(&sector).expect("a dirty sector exists");
            sector.durable = sector.pending.pop().expect("a dirty sector has a version");
            sector.pending.clear();
            sector.shown = None;
        }
        self.durable_length = self.length;
        self.pending_lengths.clear();
    }

    /// Each dirty sector becomes durable or is lost; either way the cache takes it for clean from now on.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        for sector in std::mem::take(&mut self.dirty) {
            let sector = self.sectors.get_mut(&sector).expect("a dirty sector exists");
            let last = sector.pending.pop().expect("a dirty sector has a version");
            sector.pending.clear();
            if rng.bool() {
                sector.durable.clone_from(&last);
            }
            sector.shown = Some(last);
        }
        if rng.bool() {
            self.durable_length = self.length;
        }
        self.pending_lengths.clear();
    }

    /// Keeps each pending sector with probability `kept`, in a random one of its versions; the length likewise.
    pub(super) fn power_failure(&mut self, kept: f64, rng: &mut Rng) {
        for sector in std::mem::take(&mut self.dirty) {
            let sector = self.sectors.get_mut(&sector).expect("a dirty sector exists");
            if rng.f64() < kept {
                let version = rng.usize(0..sector.pending.len());
                sector.durable = sector.pending.swap_remove(version);
            }
            sector.pending.clear();
        }
        if !self.pending_lengths.is_empty() && rng.f64() < kept {
            self.durable_length = self.pending_lengths[rng.usize(0..self.pending_lengths.len())];
        }
        self.pending_lengths.clear();
        self.sectors.values_mut().for_each(|sector| sector.shown = None);
        self.length = self.durable_length;
        self.zero_from(self.length);
        self.settle();
    }

    /// Damages what is durable of one sector. Whether it is there and holds something.
    pub(super) fn corrupt(&mut self, sector: u64, rng: &mut Rng) -> bool {
        let another = self.any_sector(rng).and_then(|another| self.sectors[&another].durable.clone());
        let Some(Sector { durable: Some(block), .. }) = self.sectors.get_mut(&sector) else { return false };
        match (rng.u8(0..6), another) {
            (0, _) => block.fill(0),
            // A write of another sector was misdirected here.
            (1, Some(another)) => *block = another,
            _ => {
                for _ in 0..rng.usize(1..=8) {
                    block[rng.usize(0..SECTOR_BYTES)] ^= 1 << rng.u8(0..8);
                }
            }
        }
        true
    }

    /// A random sector that holds something durable.
    pub(super) fn any_sector(&self, rng: &mut Rng) -> Option<u64> {
        let full: Vec<u64> = self.sectors.iter().filter(|(_, sector)| sector.durable.is_some()).map(|(number, _)| *number).collect();
        rng.choice(full)
    }

    /// The sector that was written last, if it is durable.
    pub(super) fn newest_sector(&self) -> Option<u64> {
        self.newest.filter(|sector| self.sectors.get(sector).is_some_and(|sector| sector.durable.is_some()))
    }

    pub(super) fn hash(&self, hasher: &mut Xxh3) {
        hasher.update(&self.length.to_le_bytes());
        for (number, sector) in &self.sectors {
            if let Some(block) = sector.current() {
                hasher.update(&number.to_le_bytes());
                hasher.update(&block[..]);
            }
        }
    }

    /// Makes a new version of a sector from its current one.
    fn rewrite(&mut self, number: u64, change: impl FnOnce(&mut [u8; SECTOR_BYTES])) {
        let sector = self.sectors.entry(number).or_default();
        let was_zero = sector.current().is_none();
        let mut block = sector.current().clone().unwrap_or_else(|| Box::new([0; SECTOR_BYTES]));
        change(&mut block);
        let block = if block.iter().all(|byte| *byte == 0) { None } else { Some(block) };
        if block.is_none() && was_zero && sector.pending.is_empty() {
            return; // Zeros over zeros: nothing that a crash could tell.
        }
        sector.pending.push(block);
        self.dirty.insert(number);
    }

    /// Zeroes everything from `offset` on, so that a file cut and grown again shows zeros there.
    fn zero_from(&mut self, offset: u64) {
        let first = offset / SECTOR_BYTES as u64;
        let within = (offset % SECTOR_BYTES as u64) as usize;
        let later: Vec<u64> = self.sectors.range(first..).map(|(number, _)| *number).collect();
        for number in later {
            let from = if number == first { within } else { 0 };
            if self.sectors[&number].current().is_some() {
                self.rewrite(number, |block| block[from..].fill(0));
            }
        }
    }

    /// Makes everything current durable: after a crash there is no cache.
    fn settle(&mut self) {
        self.sync();
        self.sectors.retain(|_, sector| sector.durable.is_some());
    }
}

/// The pieces of `length` bytes at `offset` by sector: sector number, offset within it, and the range of the caller's bytes.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let position = offset + done as u64;
        let within = (position % SECTOR_BYTES as u64) as usize;
        let take = (SECTOR_BYTES - within).min(length - done);
        let part = done..done + take;
        done += take;
        Some((position / SECTOR_BYTES as u64, within, part))
    })
}
