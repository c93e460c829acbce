//! Keys that are not in memory: how they are brought back, read in passing, and let go of.
//!
//! Nobody else looks at stubs: whoever finds a key has it in memory, and what is not found is not there.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::OnceCell;

use crate::assembly::{plain_of, read_keys};
use crate::cold::{ColdRows, Unreadable};
use crate::entry::Entry;
use crate::names::read_names;
use crate::rows::{PLAIN, text_row};
use crate::table::fetched::Fetched;
use crate::table::marks::Checkpoints;
use crate::table::stubs::{Stub, Swept};
use crate::table::{Hash, Table};

/// What the table knows of keys that are not in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Tier {
    /// Where their rows are. Without it all keys are in memory.
    rows: Option<Arc<dyn ColdRows>>,
    /// Those that were read while the table could not be changed.
    fetched: Fetched,
    /// Why some can't be read.
    failed: OnceCell<Unreadable>,
    /// How many they are.
    pub(super) cold: usize,
    /// Where the clock's hand is.
    hand: Hash,
    pub(super) checkpoints: Checkpoints,
}

/// What a sum over keys says of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    keys: usize,
    digest: u64,
}

impl Tally {
    fn add(&mut self, digest: u64) {
        (self.keys, self.digest) = (self.keys + 1, self.digest.wrapping_add(digest));
    }

    fn of_stubs(stubs: &[Stub]) -> Self {
        let mut tally = Tally::default();
        stubs.iter().for_each(|stub| tally.add(stub.digest()));
        tally
    }
}

impl Tier {
    fn failed(&self, error: Unreadable) {
        let _ = self.failed.set(error);
    }

    /// What an empty table knows in the place of this one.
    pub(super) fn emptied(&self) -> Self {
        Tier { rows: self.rows.clone(), failed: self.failed.clone(), checkpoints: self.checkpoints, ..Tier::default() }
    }
}

fn not_these() -> Unreadable {
    Unreadable("the rows are not what they were when the keys went out of memory".to_string())
}

impl Table {
    /// From now on keys may be cold: these are their rows.
    pub(crate) fn set_rows(&mut self, rows: Arc<dyn ColdRows>) {
        self.tier.rows = Some(rows);
    }

    /// Whether keys may be cold.
    pub(crate) fn has_rows(&self) -> bool {
        self.tier.rows.is_some()
    }

    /// Why keys that are not in memory can't be read.
    pub(crate) fn failure(&self) -> Option<&Unreadable> {
        self.tier.failed.get()
    }

    /// Keys that are not in memory can't be read.
    pub(crate) fn fail(&self, error: Unreadable) {
        self.tier.failed(error);
    }

    /// How many keys are cold.
    pub(crate) fn cold(&self) -> usize {
        self.tier.cold
    }

    /// A checkpoint begins: what is changed from now on is not in it.
    pub(crate) fn checkpoint_begins(&mut self) {
        self.tier.checkpoints.begun += 1;
    }

    /// The last checkpoint that began is durable.
    pub(crate) fn checkpoint_is_durable(&mut self) {
        self.tier.checkpoints.durable = self.tier.checkpoints.begun;
    }

    /// Whether the keys of a hash are cold.
    fn is_cold(&self, hash: Hash) -> bool {
        self.parts[self.part_of(hash)].is_cold(hash)
    }

    /// The one key of a hash is cold, and has this digest.
    pub(crate) fn is_cold_as(&self, hash: Hash, digest: u64) -> bool {
        matches!(self.parts[self.part_of(hash)].stubs(hash, hash), [stub] if stub.digest() == digest)
    }

    /// The hashes of a range of which the keys are cold.
    pub(crate) fn cold_hashes(&self, from: Hash, to: Hash) -> Vec<Hash> {
        let stubs = self.parts_of(from, to).flat_map(|(part, _)| self.parts[part].stubs(from, to));
        let mut hashes = stubs.map(|stub| stub.hash).collect::<Vec<_>>();
        hashes.dedup();
        hashes
    }

    /// Brings back the keys of a hash, if they are cold. `key` is one that may be among them.
    pub(crate) fn warm(&mut self, hash: Hash, key: Option<&[u8]>) {
        if self.tier.cold == 0 {
            return;
        }
        self.take_fetched();
        if self.is_cold(hash) {
            let entries = self.read(hash, key);
            self.put_back(hash, entries);
        }
    }

    /// Takes in what was read while the table could not be changed.
    pub(crate) fn take_fetched(&mut self) {
        if !self.tier.fetched.is_empty() {
            self.tier.fetched.take().into_iter().for_each(|(hash, entries)| self.put_back(hash, entries.into()));
        }
    }

    fn put_back(&mut self, hash: Hash, entries: Vec<Entry>) {
        // There are none if they could not be read.
        self.tier.cold -= entries.len();
        self.own += entries.iter().map(Entry::bytes).sum::<usize>();
        if !entries.is_empty() {
            let part = self.part_of(hash);
            self.in_part(part, |part| part.warm(hash, entries));
        }
    }

    /// The keys of a hash that are cold, to look at.
    pub(super) fn fetched(&self, hash: Hash, key: Option<&[u8]>) -> &[Entry] {
        self.tier.fetched.get_or_read(hash, || self.read(hash, key))
    }

    /// Reads the keys of a hash, in their order; none, if they can't be read.
    fn read(&self, hash: Hash, key: Option<&[u8]>) -> Vec<Entry> {
        let Some(rows) = &self.tier.rows else { return Vec::new() };
        let stubs = self.parts[self.part_of(hash)].stubs(hash, hash);
        read_hash(&**rows, hash, key, stubs).unwrap_or_else(|error| {
            self.tier.failed(error);
            Vec::new()
        })
    }

    /// Calls with all keys of a range of hashes, in the order of hashes, until the call says `false`. Those that are cold are read in passing.
    pub(crate) fn for_each(&self, from: Hash, to: Hash, mut each: impl FnMut(Hash, &Entry) -> bool) {
        let mut hot = self.hot(from, to).peekable();
        let mut goes_on = true;
        self.read_cold(from, to, |hash, entry| {
            while goes_on && let Some((hash, entry)) = hot.next_if(|(held, _)| *held < hash) {
                goes_on = each(hash, entry);
            }
            goes_on = goes_on && each(hash, &entry);
            goes_on
        });
        while goes_on && let Some((hash, entry)) = hot.next() {
            goes_on = each(hash, entry);
        }
    }

    /// Takes all keys out, one after the other.
    pub(crate) fn into_each(mut self, mut each: impl FnMut(Hash, Entry)) -> Result<(), Unreadable> {
        self.read_cold(0, Hash::MAX, |hash, entry| {
            each(hash, entry);
            true
        });
        core::mem::take(&mut self.parts).into_iter().flat_map(|part| part.into_hot()).for_each(|(hash, entry)| each(hash, entry));
        self.failure().cloned().map_or(Ok(()), Err)
    }

    /// Reads the cold keys of a range of hashes one after the other, until the call says `false`.
    fn read_cold(&self, from: Hash, to: Hash, mut each: impl FnMut(Hash, Entry) -> bool) {
        let mut expected = Tally::default();
        if self.tier.cold > 0 {
            let stubs = self.parts_of(from, to).flat_map(|(part, _)| self.parts[part].stubs(from, to));
            stubs.for_each(|stub| expected.add(stub.digest()));
        }
        let (Some(rows), true) = (&self.tier.rows, expected.keys > 0) else { return };
        let (mut found, mut is_whole) = (Tally::default(), true);
        let result = read_keys(
            &**rows,
            from,
            to,
            |hash| self.is_cold(hash),
            |hash, mut entry| {
                found.add(entry.digest_mut(hash));
                is_whole = each(hash, entry);
                is_whole
            },
        );
        let result = result.and_then(|()| if is_whole && found != expected { Err(not_these()) } else { Ok(()) });
        result.unwrap_or_else(|error| self.tier.failed(error));
    }

    /// The names of the cold keys of a range of hashes that a reader sees at this time.
    pub(crate) fn cold_names(&self, from: Hash, to: Hash, now: u64) -> Vec<Box<[u8]>> {
        let Some(rows) = &self.tier.rows else { return Vec::new() };
        read_names(&**rows, (from, to), now, |hash| self.is_cold(hash)).unwrap_or_else(|error| {
            self.tier.failed(error);
            Vec::new()
        })
    }

    /// The clock's hand goes over a part. Says also whether it has gone round.
    pub(super) fn sweep(&mut self) -> (Swept, bool) {
        let (number, after) = self.part_from(self.tier.hand);
        self.tier.hand = after.unwrap_or(0);
        let checkpoints = self.tier.checkpoints;
        let swept = self.in_part(number, |part| part.sweep(checkpoints));
        self.own -= swept.bytes;
        self.tier.cold += swept.evicted;
        (swept, after.is_none())
    }
}

/// Reads the keys of a hash of which these are the stubs, in their order.
fn read_hash(rows: &dyn ColdRows, hash: Hash, key: Option<&[u8]>, stubs: &[Stub]) -> Result<Vec<Entry>, Unreadable> {
    if let ([stub], Some(key)) = (stubs, key)
        && let Some(value) = rows.row(&text_row(hash, key))?
        && value.first() == Some(&PLAIN)
    {
        // Most keys are one row, which is found sooner by its name. If the key has others too, its digest is another one.
        let mut entry = Entry::Plain(plain_of(key, value)?);
        if entry.digest_mut(hash) == stub.digest() {
            return Ok(Vec::from([entry]));
        }
    }
    let (mut entries, mut found) = (Vec::new(), Tally::default());
    read_keys(
        rows,
        hash,
        hash,
        |_| true,
        |_, mut entry| {
            found.add(entry.digest_mut(hash));
            entries.push(entry);
            true
        },
    )?;
    entries.sort_by(|one, other| one.key().cmp(other.key()));
    if found == Tally::of_stubs(stubs) { Ok(entries) } else { Err(not_these()) }
}
