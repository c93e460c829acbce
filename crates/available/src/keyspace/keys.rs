//! Whole keys: removal, deadlines, copies.

use alloc::vec::Vec;

use crate::deadline::Until;
use crate::delta::Change;
use crate::entry::Entry;
use crate::keyspace::write::Account;
use crate::keyspace::{Keyspace, Refused};
use crate::rich::Rich;
use crate::table::hash_of;

impl Keyspace {
    /// Removes a key. Returns whether it was there.
    ///
    /// # Errors
    /// If there are no more times.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Refused> {
        let hash = hash_of(key);
        let Ok(at) = self.table.find(hash, key) else { return Ok(false) };
        if let Entry::Plain(plain) = self.table.entry(at) {
            let (observed, bytes) = (plain.version(), plain.bytes());
            let version = self.draw()?;
            self.table.remove(at);
            self.gone.add(hash);
            self.shown -= 1;
            self.table.account(bytes, 0);
            self.wrote(key, version, [Change::Gone(observed)]);
            return Ok(true);
        }
        let was_there = self.contains(key);
        let version = self.draw()?;
        let (mut open, mut changes) = (self.open(key), Vec::new());
        open.rich.remove(version, &mut changes);
        self.wrote(key, version, changes);
        self.close(open);
        Ok(was_there)
    }

    /// Removes all keys.
    ///
    /// # Errors
    /// If there are no more times.
    pub fn clear(&mut self) -> Result<(), Refused> {
        let version = self.draw()?;
        let table = self.table.take_all();
        self.shown = 0;
        self.gone.add_all();
        self.expiring.clear();
        let mut changes = Vec::new();
        let read = table.into_each(|hash, entry| match entry {
            Entry::Plain(plain) => self.wrote(plain.key(), version, [Change::Gone(plain.version())]),
            Entry::Rich(mut rich) => {
                rich.remove(version, &mut changes);
                self.wrote(rich.key(), version, changes.drain(..));
                rich.changed();
                // What cuts a counter that may go on elsewhere stays.
                if let (false, Err(at)) = (rich.is_empty(), self.table.find(hash, rich.key())) {
                    let entry = Entry::from(rich);
                    let after = Account::of(&entry);
                    self.table.insert(at, hash, entry);
                    self.account(hash, Account::default(), after);
                }
            }
        });
        read.unwrap_or_else(|error| self.table.fail(error));
        Ok(())
    }

    /// The key is there until then: the time that is set is over every one that was set before. Returns whether the key is there.
    ///
    /// # Errors
    /// If there are no more times.
    pub fn set_until(&mut self, key: &[u8], until: Until) -> Result<bool, Refused> {
        if !self.contains(key) {
            return Ok(false);
        }
        self.rewrite(key, |rich, version, changes| {
            let over = rich.over();
            changes.push(Change::Deadline(rich.deadline.set(version, until, over)));
            Ok(true)
        })
    }

    /// Removes a key's deadline. Returns whether it had one.
    ///
    /// # Errors
    /// If there are no more times.
    pub fn persist(&mut self, key: &[u8]) -> Result<bool, Refused> {
        match self.until(key) {
            Some(Until::At(_)) => self.set_until(key, Until::Ever),
            _ => Ok(false),
        }
    }

    /// Makes a key what another one is, deadline included, whatever it was. Its elements are new ones. Returns whether the other one is there.
    ///
    /// # Errors
    /// If there are no more times.
    pub fn copy(&mut self, from: &[u8], to: &[u8]) -> Result<bool, Refused> {
        if !self.contains(from) {
            return Ok(false);
        }
        if from == to {
            return Ok(true);
        }
        let source = match self.visible(from) {
            Some(Entry::Plain(plain)) => Rich::of_plain(plain),
            Some(Entry::Rich(rich)) => (**rich).clone(),
            None => return Ok(false),
        };
        self.delete(to)?;
        self.rewrite(to, |rich, version, changes| {
            rich.recreate(&source, version, changes);
            Ok(true)
        })
    }

    /// Gives a key another name, which may be that of a key that is there: that one is removed. Returns whether the key is there.
    ///
    /// # Errors
    /// If there are no more times.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<bool, Refused> {
        Ok(self.copy(from, to)? && (from == to || self.delete(from)?))
    }
}
