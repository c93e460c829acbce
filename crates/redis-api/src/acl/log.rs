//! What was denied lately: the same thing within a minute is one entry that counts.

use std::collections::VecDeque;

/// So many entries are kept, Redis's default.
const ENTRIES: usize = 128;

/// The same again within so many microseconds is counted with the first.
const SAME_US: u64 = 60_000_000;

/// Of what was named as much is kept.
const OBJECT_BYTES: usize = 1024;

/// Why something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The user may not run the command.
    Command,
    /// The user may not do this to the key.
    Key,
    /// The password was wrong, or was not looked at.
    Auth,
}

impl Reason {
    /// As the log shows it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Auth => "auth",
        }
    }
}

/// Something that was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How often.
    pub count: u64,
    /// Why.
    pub reason: Reason,
    /// Whether it was in a transaction.
    pub is_in_transaction: bool,
    /// The command, or the key.
    pub object: Vec<u8>,
    /// To whom.
    pub user: String,
    /// When last, in microseconds since 1970.
    pub at_us: u64,
    /// Over which connection last, as `CLIENT LIST` shows it.
    pub client: String,
}

/// The entries, the last one first.
#[derive(Clone, Debug, Default)]
pub struct Log(VecDeque<Entry>);

impl Log {
    /// Something was denied.
    pub fn add(&mut self, mut entry: Entry) {
        entry.object.truncate(OBJECT_BYTES);
        let is_same = |held: &Entry| {
            held.reason == entry.reason
                && held.is_in_transaction == entry.is_in_transaction
                && held.object == entry.object
                && held.user == entry.user
                && entry.at_us.saturating_sub(held.at_us) <= SAME_US
        };
        if let Some(held) = self.0.iter().position(is_same).and_then(|at| self.0.remove(at)) {
            entry.count += held.count;
        }
        self.0.push_front(entry);
        self.0.truncate(ENTRIES);
    }

    /// The last ones, the last one first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.0.iter()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str, at_us: u64) -> Entry {
        let (reason, user, client) = (Reason::Command, "bob".to_owned(), String::new());
        Entry { count: 1, reason, is_in_transaction: false, object: object.into(), user, at_us, client }
    }

    #[test]
    fn the_same_within_a_minute_is_counted_and_comes_first() {
        let mut log = Log::default();
        log.add(entry("get", 0));
        log.add(entry("set", 1));
        log.add(entry("get", SAME_US));
        log.add(entry("set", SAME_US + 2));
        let seen: Vec<_> = log.iter().map(|entry| (entry.object.as_slice(), entry.count)).collect();
        assert_eq!(seen, [(&b"set"[..], 1), (b"get", 2), (b"set", 1)]);
    }

    #[test]
    fn it_is_bounded() {
        let mut log = Log::default();
        (0..1000).for_each(|number| log.add(entry(&format!("{number}{}", "x".repeat(5000)), 0)));
        assert_eq!(log.iter().len(), ENTRIES);
        assert!(log.iter().all(|entry| entry.object.len() == OBJECT_BYTES));
    }
}
