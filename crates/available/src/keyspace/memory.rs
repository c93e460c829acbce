//! Keys that are more than memory holds: those that were not used for a while are *cold*, and only in rows.
//!
//! A key can go out of memory if its rows are durable as the key is now ([`Keyspace::rows_are_durable`]) and nothing of it waits to be forgotten when all
//! replicas have seen it. Of it stays its hash and its digest (twelve bytes, in a list that is up to a quarter larger), and its deadline among the deadlines. Whatever is
//! done with the key brings it back first. A look at keys ([`Keyspace::text`] and the like) reads what is cold and keeps it until the next call that may
//! change the keyspace, which takes it in. Not brought back are keys that are only counted, compared by digests, or named in scans; the states
//! and the digests of ranges are made of rows in passing.
//!
//! A name is not kept of a cold key. So to ask whether a key is there is to read it, unless no key has its hash. And the fields or members of a key that
//! was cold stand in the order of their rows: a walk through them by cursor may miss some if the key was out of memory in between.

use alloc::sync::Arc;

use crate::cold::{ColdRows, Unreadable};
use crate::keyspace::Keyspace;
use crate::table::{Eviction, Hash};

impl Keyspace {
    /// Bytes of memory that the keys take, approximately. It is kept as a sum, and costs nothing to ask for.
    pub fn used_bytes(&self) -> usize {
        self.table.bytes() + self.expiring.len() * 2 * size_of::<(u64, Hash)>() + self.touched_bytes()
    }

    /// From now on keys may go out of memory ([`Keyspace::evict`]): their rows are here, as they are durable, once they are. Which rows are written to is
    /// to be noted ([`Keyspace::note_rows`]).
    pub fn set_cold_rows(&mut self, rows: Arc<dyn ColdRows>) {
        self.table.set_rows(rows);
    }

    /// Lets keys go out of memory until no more than `limit` bytes are used: first those that were not used since the last round. It looks at no more than
    /// about `looks` keys.
    pub fn evict(&mut self, limit: usize, looks: usize) -> Eviction {
        if self.touched.is_none() || !self.table.has_rows() {
            return Eviction::Enough;
        }
        let beside = self.used_bytes() - self.table.bytes();
        self.table.evict(&mut self.rounds, looks, |table| table.bytes() + beside <= limit)
    }

    /// The rows that [`Keyspace::take_touched`] named when it was asked last, and before, are durable as they were then, or later.
    pub fn rows_are_durable(&mut self) {
        self.table.checkpoint_is_durable();
    }

    /// How many keys are cold.
    pub fn cold(&self) -> usize {
        self.table.cold()
    }

    /// Why cold keys can't be read, if they can't. Then they seem not to be there: nothing that was answered or written in this turn is to leave it, and
    /// the process ends.
    pub fn failure(&self) -> Option<&Unreadable> {
        self.table.failure()
    }
}
