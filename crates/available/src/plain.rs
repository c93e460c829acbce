//! A key that is nothing but a string, written once and seen by all who write: most keys are. It is one allocation.

use alloc::boxed::Box;
use alloc::vec::Vec;

use steadfast_crdt::Version;

/// Bytes of the version, which stands first.
const VERSION: usize = size_of::<Version>();

/// Where a length of the key from this one on stands in four bytes more.
const LONG: usize = u8::MAX as usize;

/// The version (eight bytes), the key's length (one byte, or five), the key, the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plain(Box<[u8]>);

impl Plain {
    pub(crate) fn new(version: Version, key: &[u8], value: &[u8]) -> Self {
        let long = key.len() >= LONG;
        let mut bytes = Vec::with_capacity(VERSION + if long { 5 } else { 1 } + key.len() + value.len());
        bytes.extend_from_slice(&version.number().to_le_bytes());
        if long {
            bytes.push(LONG as u8);
            bytes.extend_from_slice(&u32::try_from(key.len()).expect("keys are shorter than four gigabytes").to_le_bytes());
        } else {
            bytes.push(key.len() as u8);
        }
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        Plain(bytes.into_boxed_slice())
    }

    pub(crate) fn version(&self) -> Version {
        Version::from_number(u64::from_le_bytes(self.0[..VERSION].try_into().expect("eight bytes")))
    }

    /// The key, and the value.
    fn split(&self) -> (&[u8], &[u8]) {
        let after = &self.0[VERSION + 1..];
        match self.0[VERSION] as usize {
            LONG => {
                let (length, after) = after.split_at(4);
                after.split_at(u32::from_le_bytes(length.try_into().expect("four bytes")) as usize)
            }
            length => after.split_at(length),
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.split().0
    }

    pub(crate) fn value(&self) -> &[u8] {
        self.split().1
    }

    /// Writes another value over this one; in place, if it is as long.
    pub(crate) fn replace(&mut self, version: Version, value: &[u8]) {
        let (key, old) = self.split();
        if old.len() == value.len() {
            let start = self.0.len() - value.len();
            self.0[..VERSION].copy_from_slice(&version.number().to_le_bytes());
            self.0[start..].copy_from_slice(value);
        } else {
            *self = Plain::new(version, key, value);
        }
    }

    /// Bytes of its allocation, as allocators round them.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len().next_multiple_of(16)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_key_is_its_parts(key in proptest::collection::vec(any::<u8>(), 0..600), old in ".{0,9}", new in ".{0,9}", number: u64) {
            let mut plain = Plain::new(Version::from_number(number), &key, old.as_bytes());
            prop_assert_eq!((plain.version().number(), plain.key(), plain.value()), (number, &key[..], old.as_bytes()));
            plain.replace(Version::from_number(!number), new.as_bytes());
            prop_assert_eq!((plain.version().number(), plain.key(), plain.value()), (!number, &key[..], new.as_bytes()));
        }
    }
}
