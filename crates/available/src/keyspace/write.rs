//! How a command changes a key that is, or becomes, more than a plain string; and what is kept account of.

use alloc::boxed::Box;
use alloc::vec::Vec;

use steadfast_crdt::{Lattice, Version};

use crate::container::Kind;
use crate::deadline::Until;
use crate::delta::Change;
use crate::entry::Entry;
use crate::keyspace::{Keyspace, Refused};
use crate::rich::Rich;
use crate::table::{At, Hash, hash_of};

/// What of a key is in the sums over all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    is_key: bool,
    /// When it expires.
    pub(super) expires: Option<u64>,
    bytes: usize,
}

impl Account {
    pub(super) fn of(entry: &Entry) -> Self {
        let Entry::Rich(rich) = entry else { return Account { is_key: true, expires: None, bytes: entry.bytes() } };
        Self::of_rich(rich)
    }

    fn of_rich(rich: &Rich) -> Self {
        let is_key = rich.kind().is_some();
        let expires = match rich.until() {
            Until::At(ms) => Some(ms),
            // Nothing but deadlines is left.
            Until::Ever if !is_key && !rich.deadline.is_empty() => Some(0),
            Until::Ever => None,
        };
        Account { is_key, expires, bytes: rich.bytes() }
    }
}

/// A change under way: the key is out of the table.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) rich: Box<Rich>,
    hash: Hash,
    at: Result<At, At>,
    before: Account,
}

impl Keyspace {
    /// Takes a key out of the table to change it, there or not.
    pub(super) fn open(&mut self, key: &[u8]) -> Open {
        let hash = hash_of(key);
        let at = self.table.find(hash, key);
        match at {
            Err(_) => Open { rich: Box::new(Rich::new(key)), hash, at, before: Account::default() },
            Ok(place) => {
                let (part, index) = self.table.change(place);
                let before = Account::of(part.entry(index));
                Open { rich: part.entry_mut(index).take(), hash, at, before }
            }
        }
    }

    /// Puts it back, and takes account of what changed.
    pub(super) fn close(&mut self, mut open: Open) {
        open.rich.changed();
        let is_empty = open.rich.is_empty();
        let entry = Entry::from(open.rich);
        let after = if is_empty { Account::default() } else { Account::of(&entry) };
        match open.at {
            Ok(at) => {
                let (part, index) = self.table.change(at);
                *part.entry_mut(index) = entry;
                if is_empty {
                    self.table.remove(at);
                }
                // The digest of what was there before is not known any more.
                self.table.lose_digest(at);
            }
            Err(at) if !is_empty => self.table.insert(at, open.hash, entry),
            Err(_) => {}
        }
        self.account(open.hash, open.before, after);
    }

    /// Takes account of a change.
    pub(super) fn account(&mut self, hash: Hash, before: Account, after: Account) {
        if before.is_key && !after.is_key {
            self.gone.add(hash);
        }
        self.shown = self.shown + usize::from(after.is_key) - usize::from(before.is_key);
        self.table.account(before.bytes, after.bytes);
        if before.expires == after.expires {
            return;
        }
        if let Some(ms) = before.expires
            // All keys of the hash are in memory: one of them was just changed.
            && !self.table.hot(hash, hash).any(|(_, entry)| Account::of(entry).expires == Some(ms))
        {
            self.expiring.remove(&(ms, hash));
        }
        self.expiring.extend(after.expires.map(|ms| (ms, hash)));
    }

    /// Runs a command that changes a key of one kind, there or not. The command gets the key, with nothing of it hidden, and its version; what it did is the
    /// changes that it adds.
    pub(super) fn write<R>(
        &mut self,
        key: &[u8],
        kind: Kind,
        command: impl FnOnce(&mut Rich, Version, &mut Vec<Change>) -> Result<R, Refused>,
    ) -> Result<R, Refused> {
        if self.visible(key).is_some_and(|entry| entry.kind() != Some(kind)) {
            return Err(Refused::WrongKind);
        }
        self.rewrite(key, command)
    }

    /// The same, of whatever kind the key is.
    pub(super) fn rewrite<R>(
        &mut self,
        key: &[u8],
        command: impl FnOnce(&mut Rich, Version, &mut Vec<Change>) -> Result<R, Refused>,
    ) -> Result<R, Refused> {
        let mut open = self.open(key);
        let result = self.run(&mut open.rich, key, command);
        self.close(open);
        result
    }

    fn run<R>(
        &mut self,
        rich: &mut Rich,
        key: &[u8],
        command: impl FnOnce(&mut Rich, Version, &mut Vec<Change>) -> Result<R, Refused>,
    ) -> Result<R, Refused> {
        let mut changes = Vec::new();
        let is_there = rich.kind().is_some() && Until::At(self.now) < rich.until();
        if !is_there && !rich.is_empty() {
            let version = self.draw()?;
            rich.remove(version, &mut changes);
            self.wrote(key, version, changes.drain(..));
        }
        let version = self.draw()?;
        let result = command(rich, version, &mut changes);
        if rich.kind().is_none() {
            // The last element is gone, and the key with it.
            rich.remove_deadline(&mut changes);
        }
        self.wrote(key, version, changes);
        result
    }
}
