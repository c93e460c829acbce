//! Whole states of ranges of keys: how replicas that have been apart too long for deltas agree.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::{Covers, Version, VersionVector};
use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

use crate::canonical;
use crate::entry::{Entry, plain_digest};
use crate::exchange::Digest;
use crate::keyspace::Keyspace;
use crate::plain::Plain;
use crate::rich::Rich;
use crate::table::{Hash, hash_of};

/// The state of a key on its way.
enum State {
    Plain(Version, Bytes),
    Rich(Box<Rich>),
}

impl Keyspace {
    /// The digest of all keys whose hashes are in a range, both ends included.
    pub fn digest(&mut self, from: Hash, to: Hash) -> Digest {
        let parts = self.table.parts_of(from, to).collect::<Vec<_>>();
        let mut digest = Digest::default();
        for (number, is_whole) in parts {
            let part = self.table.part_number_mut(number);
            if is_whole {
                let (sum, remains) = part.sum_up();
                (digest.sum, digest.remains) = (digest.sum.wrapping_add(sum), digest.remains.wrapping_add(remains));
                digest.keys += part.len() as u64;
            } else {
                for stub in part.stubs(from, to) {
                    digest.sum = digest.sum.wrapping_add(stub.digest());
                    digest.keys += 1;
                }
                for (hash, entry) in part.range_mut(from, to) {
                    let (sum, remains) = entry.digests_mut(hash);
                    (digest.sum, digest.remains) = (digest.sum.wrapping_add(sum), digest.remains.wrapping_add(remains));
                    digest.keys += 1;
                }
            }
        }
        digest
    }

    /// The states of all keys whose hashes are in a range, both ends included; `None` if they take more bytes than `limit`.
    pub fn states(&self, from: Hash, to: Hash, limit: usize) -> Option<Bytes> {
        let mut out = Vec::new();
        self.table.for_each(from, to, |_, entry| {
            put_varint(&mut out, entry.key().len() as u64);
            out.extend_from_slice(entry.key());
            match entry {
                Entry::Plain(plain) => {
                    out.push(0);
                    plain.version().encode(&mut out);
                    put_varint(&mut out, plain.value().len() as u64);
                    out.extend_from_slice(plain.value());
                }
                Entry::Rich(rich) => {
                    out.push(1);
                    rich.encode_state(&mut out);
                }
            }
            out.len() <= limit
        });
        (out.len() <= limit).then(|| out.into())
    }

    /// All keys in a form in which those of replicas that have seen the same are equal.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.table.for_each(0, Hash::MAX, |_, entry| {
            canonical::put_entry(&mut out, entry);
            true
        });
        out
    }

    /// Joins the states that another replica has of all its keys in a range of hashes, where what it has seen is `theirs`. From then on this one has seen
    /// that of the range too.
    ///
    /// # Errors
    /// If the states can't be read. Nothing has changed then.
    pub fn join_states(&mut self, from: Hash, to: Hash, states: Bytes, theirs: &VersionVector) -> Result<(), WireError> {
        let mut states = read_states(from, to, states)?;
        self.seal();
        self.bring_back_differing(from, to, &mut states);
        let context = self.context.within(from, to);
        let held = self.table.hot(from, to).map(|(_, entry)| entry.key().into()).collect::<Vec<Box<[u8]>>>();
        for key in held {
            let mine = context.at(hash_of(&key));
            let other = match (states.remove(&key[..]), self.table.get(hash_of(&key), &key)) {
                (Some(State::Plain(version, _)), Some(Entry::Plain(plain))) if plain.version() == version => continue,
                (state, _) => state.map_or_else(|| Rich::new(&key), |state| state.into_rich(&key)),
            };
            self.join_key(&key, &other, &mine, theirs);
        }
        for (key, state) in states {
            let mine = context.at(hash_of(&key));
            let other = state.into_rich(&key);
            self.join_key(&key, &other, &mine, theirs);
        }
        self.saw_range(from, to, theirs);
        Ok(())
    }

    /// Brings back the keys of a range that are not in memory, but for those of which the other's state is the same: that one is left out.
    fn bring_back_differing(&mut self, from: Hash, to: Hash, states: &mut BTreeMap<Bytes, State>) {
        // What is found to be cold now is not to come back by itself.
        self.table.take_fetched();
        let mut same = BTreeSet::new();
        states.retain(|key, state| {
            let State::Plain(version, _) = state else { return true };
            let hash = hash_of(key);
            let is_same = self.table.is_cold_as(hash, plain_digest(hash, *version));
            same.extend(is_same.then_some(hash));
            !is_same
        });
        for hash in self.table.cold_hashes(from, to) {
            if !same.contains(&hash) {
                self.table.warm(hash, None);
            }
        }
    }

    fn join_key(&mut self, key: &[u8], other: &Rich, mine: &impl Covers, theirs: &VersionVector) {
        let (hash, mut open) = (hash_of(key), self.open(key));
        self.touched_all(hash, &open.rich);
        self.touched_all(hash, other);
        open.rich.join(other, mine, theirs);
        self.close(open);
    }

    /// The other replica's states of a range are those that are here, and it has seen `theirs` of it: this one has seen that too.
    pub fn saw_range(&mut self, from: Hash, to: Hash, theirs: &VersionVector) {
        self.seal();
        theirs.iter().for_each(|version| self.clock.heard(version.time()));
        self.context.saw_range(from, to, theirs);
    }
}

fn read_states(from: Hash, to: Hash, states: Bytes) -> Result<BTreeMap<Bytes, State>, WireError> {
    let (mut reader, mut read) = (Reader::new(states), BTreeMap::new());
    while reader.remaining() > 0 {
        let key = Bytes::decode(&mut reader)?;
        if !(from..=to).contains(&hash_of(&key)) {
            return Err(WireError::Invalid("states: a key of another range"));
        }
        let state = match u8::decode(&mut reader)? {
            0 => State::Plain(Version::decode(&mut reader)?, Bytes::decode(&mut reader)?),
            1 => State::Rich(Box::new(Rich::decode_state(&key, &mut reader)?)),
            _ => return Err(WireError::Invalid("states: a key")),
        };
        read.insert(key, state);
    }
    Ok(read)
}

impl State {
    fn into_rich(self, key: &[u8]) -> Rich {
        match self {
            State::Plain(version, value) => Rich::of_plain(&Plain::new(version, key, &value)),
            State::Rich(rich) => *rich,
        }
    }
}
