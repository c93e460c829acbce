//! Reading keys. What is past its deadline is not there.

use steadfast_crdt::cell::Shown;

use crate::container::{Container, Kind};
use crate::deadline::Until;
use crate::entry::Entry;
use crate::keyspace::{Keyspace, Refused};
use crate::table::hash_of;

impl Keyspace {
    /// What kind of key it is; `None` if it is not there.
    pub fn kind(&self, key: &[u8]) -> Option<Kind> {
        self.visible(key).and_then(Entry::kind)
    }

    /// Whether it is there.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.visible(key).is_some()
    }

    /// Until when it is there; `None` if it is not.
    pub fn until(&self, key: &[u8]) -> Option<Until> {
        self.visible(key).map(Entry::until)
    }

    /// Bytes of memory that a key takes, approximately; `None` if it is not there.
    pub fn bytes_of(&self, key: &[u8]) -> Option<usize> {
        self.visible(key).map(|entry| entry.bytes() + size_of::<Entry>())
    }

    /// A number that each write to a key changes; a write to a key that is not there, and that is not there afterwards either, may change it too.
    pub fn fingerprint(&mut self, key: &[u8]) -> u64 {
        let (hash, is_there) = (hash_of(key), self.contains(key));
        match self.table.find(hash, key) {
            Ok(at) => {
                // A key that is past its deadline is not what it was before.
                self.table.digest_at(at, hash) ^ u64::from(!is_there)
            }
            Err(_) => u64::from(self.gone.count(hash)),
        }
    }

    /// The string of a key: bytes, or a number that it was counted to.
    ///
    /// # Errors
    /// If the key is of another kind.
    pub fn text(&self, key: &[u8]) -> Result<Option<Shown<'_>>, Refused> {
        match self.visible(key) {
            None => Ok(None),
            Some(Entry::Plain(plain)) => Ok(Some(Shown::Bytes(plain.value()))),
            Some(Entry::Rich(rich)) if rich.kind() == Some(Kind::Text) => Ok(rich.text.shown()),
            Some(Entry::Rich(_)) => Err(Refused::WrongKind),
        }
    }

    pub(super) fn container(&self, key: &[u8], kind: Kind) -> Result<Option<&Container>, Refused> {
        match self.visible(key) {
            None => Ok(None),
            Some(Entry::Rich(rich)) if rich.kind() == Some(kind) => Ok(rich.container(kind)),
            Some(_) => Err(Refused::WrongKind),
        }
    }
}
