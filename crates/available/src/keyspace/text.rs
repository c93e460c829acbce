//! Writing strings and counters.

use steadfast_crdt::Version;
use steadfast_crdt::cell::Text;
use steadfast_crdt::long_double::LongDouble;

use crate::container::Kind;
use crate::deadline::Until;
use crate::delta::Change;
use crate::entry::{Entry, plain_digest};
use crate::keyspace::{Keyspace, Refused};
use crate::plain::Plain;
use crate::table::{At, Hash, hash_of};

/// What a write of a string does to the key's deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The key keeps the deadline it has.
    Keep,
    /// The key is there until then.
    Until(Until),
}

impl Keyspace {
    /// Writes a string, whatever the key was.
    ///
    /// # Errors
    /// If there are no more times.
    pub fn set(&mut self, key: &[u8], value: &[u8], lifetime: Lifetime) -> Result<(), Refused> {
        if !matches!(lifetime, Lifetime::Until(Until::At(_))) {
            let hash = hash_of(key);
            let found = self.table.find(hash, key);
            if found.is_err() || found.is_ok_and(|at| matches!(self.table.entry(at), Entry::Plain(_))) {
                let version = self.draw()?;
                let observed = self.put_plain(found, hash, key, version, value);
                self.touched_text(hash, key, observed);
                self.body.write_plain(key, version, observed, value);
                return Ok(());
            }
        }
        self.rewrite(key, |rich, version, changes| {
            let until = match lifetime {
                Lifetime::Keep => rich.until(),
                Lifetime::Until(until) => until,
            };
            rich.remove_containers(version, changes);
            changes.push(Change::Text(rich.text.set(version, Text::from(value))));
            match until {
                Until::At(_) => changes.push(Change::Deadline(rich.deadline.set(version, until, Some(version)))),
                Until::Ever => rich.remove_deadline(changes),
            }
            Ok(())
        })
    }

    /// Puts a plain string where there is nothing, or one. Returns the version that it replaced.
    pub(super) fn put_plain(&mut self, found: Result<At, At>, hash: Hash, key: &[u8], version: Version, value: &[u8]) -> Option<Version> {
        let at = match found {
            Ok(at) => at,
            Err(at) => {
                let plain = Plain::new(version, key, value);
                self.table.account(0, plain.bytes());
                self.shown += 1;
                self.table.insert(at, hash, Entry::Plain(plain));
                return None;
            }
        };
        let (part, index) = self.table.change(at);
        let Entry::Plain(plain) = part.entry_mut(index) else { return None };
        let (before, bytes) = (plain.version(), plain.bytes());
        plain.replace(version, value);
        let bytes_now = plain.bytes();
        part.adjust(plain_digest(hash, before), plain_digest(hash, version));
        self.table.account(bytes, bytes_now);
        Some(before)
    }

    /// Adds a whole number to the whole number that a string is, zero if it is not there, and returns the sum.
    ///
    /// # Errors
    /// If the key is of another kind, or its string is no whole number of 64 bits, or the sum would be none.
    pub fn add_int(&mut self, key: &[u8], by: i64) -> Result<i64, Refused> {
        if let Ok(at) = self.table.find(hash_of(key), key)
            && matches!(self.table.entry(at), Entry::Rich(rich) if rich.is_only_text())
        {
            return self.add_in_place(at, key, by);
        }
        self.write(key, Kind::Text, |rich, version, changes| {
            let before = rich.text.int().ok_or(Refused::NotANumber)?;
            let after = before.checked_add(by).ok_or(Refused::OutOfRange)?;
            changes.push(Change::Text(rich.text.add_int(version, by)));
            Ok(after)
        })
    }

    /// Adds to a string that is shown, and without a deadline: nothing but its total changes.
    fn add_in_place(&mut self, at: At, key: &[u8], by: i64) -> Result<i64, Refused> {
        let version = self.draw()?;
        let (part, index) = self.table.change(at);
        let Entry::Rich(rich) = part.entry_mut(index) else { return Err(Refused::WrongKind) };
        let before = rich.text.int().ok_or(Refused::NotANumber)?;
        let after = before.checked_add(by).ok_or(Refused::OutOfRange)?;
        let bytes = rich.bytes();
        let delta = rich.text.add_int(version, by);
        rich.changed();
        let bytes_now = rich.bytes();
        part.lose_digest();
        self.table.account(bytes, bytes_now);
        self.wrote(key, version, [Change::Text(delta)]);
        Ok(after)
    }

    /// Adds a real number to the number that a string is, zero if it is not there, and returns the sum as it is shown.
    ///
    /// # Errors
    /// If the key is of another kind, or its string is no number, or the sum would be none or infinite.
    pub fn add_float(&mut self, key: &[u8], by: &LongDouble) -> Result<LongDouble, Refused> {
        self.write(key, Kind::Text, |rich, version, changes| {
            rich.text.float().ok_or(Refused::NotANumber)?;
            let delta = rich.text.add_float(version, by).map_err(|_| Refused::OutOfRange)?;
            changes.push(Change::Text(delta));
            rich.text.float().ok_or(Refused::NotANumber)
        })
    }
}
