//! Deltas: what this replica tells the others, and what they tell it.

use steadfast_crdt::{Covers, Version, VersionVector, cell};
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::wire::WireError;

use crate::context::Context;
use crate::delta::{Change, Write, writes_of};
use crate::entry::Entry;
use crate::exchange::Delta;
use crate::keyspace::Keyspace;
use crate::table::{Hash, hash_of};

/// So many keys are looked at in one step of a collection, about.
const COLLECTED: usize = 4096;

/// Why a delta was not applied. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApplied {
    /// Something that it depends on was not seen yet.
    #[error("something before it was not seen yet")]
    Early,
    /// It can't be read.
    #[error("unreadable: {0}")]
    Unreadable(#[from] WireError),
}

impl Keyspace {
    /// What was seen of which keys. What was written since the last delta was taken is not yet in it.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Everything that a reader may have been shown a part of, this replica's own writes with it.
    pub fn seen(&self) -> VersionVector {
        let mut seen = self.context.everything();
        self.last_write().into_iter().for_each(|version| seen.saw(version));
        seen
    }

    /// Whether all of this was seen, of all keys.
    pub fn has_seen(&self, all: &VersionVector) -> bool {
        let own = |version: Version| self.last_write().is_some_and(|last| last.actor() == version.actor() && version <= last);
        all.iter().all(|version| self.context.vector().covers(version) || own(version))
    }

    /// This replica's last write.
    pub fn last_write(&self) -> Option<Version> {
        self.body.last().or_else(|| Some(Version::new(self.context.vector().of(self.actor)?, self.actor)))
    }

    /// What was written since the last one was taken: `None` if nothing was. To be asked until there is none.
    pub fn take_delta(&mut self) -> Option<Delta> {
        self.seal();
        if self.ready.is_empty() { None } else { Some(self.ready.remove(0)) }
    }

    /// Ends the turn's delta: what is heard from now on is nothing that its writes had seen.
    pub(super) fn seal(&mut self) {
        let dependencies = core::mem::take(&mut self.dependencies);
        if let Some((last, body)) = self.body.take() {
            self.context.saw(last);
            self.ready.push(Delta { writer: last.actor(), last: last.time(), dependencies, body });
        }
    }

    /// Applies another replica's delta. Of its changes those that were seen are left out. Returns whether it had not been seen as a whole.
    ///
    /// # Errors
    /// If something that it depends on was not seen yet, or it can't be read. Nothing has changed then.
    pub fn apply(&mut self, delta: &Delta) -> Result<bool, NotApplied> {
        if self.context.vector().covers(delta.version()) {
            return Ok(false);
        }
        if !self.context.vector().includes(&delta.dependencies) {
            return Err(NotApplied::Early);
        }
        self.replay(delta)?;
        Ok(true)
    }

    /// Applies a delta from the own journal, where it stands after all that it depends on.
    ///
    /// # Errors
    /// If it can't be read. Nothing has changed then.
    pub fn replay(&mut self, delta: &Delta) -> Result<(), WireError> {
        let writes = writes_of(delta)?;
        self.seal();
        for write in &writes {
            let hash = hash_of(&write.key);
            let is_counted_again = is_planted(Bug::CounterAppliedTwice) && matches!(write.change, Change::Text(cell::Delta::Add(_)));
            if is_counted_again || !self.context.at(hash).covers(write.version) {
                self.apply_write(hash, write);
            }
        }
        self.context.saw(delta.version());
        self.clock.heard(delta.last);
        Ok(())
    }

    fn apply_write(&mut self, hash: Hash, write: &Write) {
        if let Some(touched) = &mut self.touched {
            touched.note_change(hash, &write.key, &write.change);
        }
        let found = self.table.find(hash, &write.key);
        let held = found.ok().map(|at| self.table.entry(at));
        match (held, &write.change) {
            (Some(Entry::Plain(plain)), Change::New(_) | Change::Over { .. } | Change::Gone(_))
                if is_planted(Bug::WallClockWins) && plain.version() > write.version => {}
            (None, Change::New(value) | Change::Over { value, .. }) => {
                self.put_plain(found, hash, &write.key, write.version, value);
            }
            (Some(Entry::Plain(plain)), Change::Over { observed, value }) if plain.version() == *observed => {
                self.put_plain(found, hash, &write.key, write.version, value);
            }
            (None, Change::Gone(_)) => {}
            _ => {
                let mut open = self.open(&write.key);
                open.rich.apply(write.version, &write.change);
                self.close(open);
            }
        }
    }

    /// Forgets what was kept for the case that a replica has not seen `stable`, a part of the keys at a time. A version may be in it if every replica has seen
    /// it, and all that those replicas wrote before they saw it was applied here. Returns whether the last part is done.
    pub fn collect(&mut self, stable: &VersionVector) -> bool {
        self.seal();
        let from = self.collected;
        let (mut looked, mut last) = (0, Hash::MAX);
        let mut keys = alloc::vec::Vec::new();
        // Of what is not in memory nothing waits to be forgotten.
        for (hash, entry) in self.table.hot(from, Hash::MAX) {
            if looked >= COLLECTED && hash > last {
                break;
            }
            looked += 1;
            last = hash;
            if let Entry::Rich(rich) = entry
                && rich.may_collect()
            {
                keys.push(alloc::boxed::Box::<[u8]>::from(rich.key()));
            }
        }
        let is_done = looked < COLLECTED;
        self.collected = if is_done { 0 } else { last.wrapping_add(1) };
        for key in keys {
            let mut open = self.open(&key);
            self.collect_key(hash_of(&key), &mut open.rich, stable);
            self.close(open);
        }
        is_done
    }
}
