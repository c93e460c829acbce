//! Keys, and the sets of keys that can be read, watched and deleted at once.

use std::fmt;

use bytes::Bytes;

use crate::error::OutOfBounds;
use crate::limits::KEY_BYTES;

/// The name of a record; never empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// A key of these bytes.
    ///
    /// # Errors
    /// None, or more than [`KEY_BYTES`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, OutOfBounds> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(OutOfBounds::EmptyKey),
            1..=KEY_BYTES => Ok(Key(bytes)),
            _ => Err(OutOfBounds::KeyBytes(bytes.len())),
        }
    }

    /// A key that a store answered with: others may have written longer ones.
    pub fn found(bytes: Bytes) -> Self {
        Key(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// What some keys begin with. The empty prefix is of all keys.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Bytes);

impl Prefix {
    /// The prefix of these bytes.
    ///
    /// # Errors
    /// More than [`KEY_BYTES`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, OutOfBounds> {
        let bytes = bytes.into();
        if bytes.len() > KEY_BYTES { Err(OutOfBounds::KeyBytes(bytes.len())) } else { Ok(Prefix(bytes)) }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The key `name` under it.
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn key(&self, name: impl AsRef<[u8]>) -> Result<Key, OutOfBounds> {
        Key::new([&self.0, name.as_ref()].concat())
    }

    /// The prefix `name` under it.
    ///
    /// # Errors
    /// As [`Prefix::new`].
    pub fn prefix(&self, name: impl AsRef<[u8]>) -> Result<Prefix, OutOfBounds> {
        Prefix::new([&self.0, name.as_ref()].concat())
    }

    /// What is left of a key under it; `None` if the key is not.
    pub fn strip<'a>(&self, key: &'a Key) -> Option<&'a [u8]> {
        key.0.strip_prefix(self.0.as_ref())
    }

    /// The first key after all that begin with it; `None` if there is none.
    pub fn end(&self) -> Option<Bytes> {
        let last = self.0.iter().rposition(|&byte| byte < 0xff)?;
        let mut end = self.0[..=last].to_vec();
        end[last] += 1;
        Some(end.into())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"…", self.0.escape_ascii())
    }
}

/// Some keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keys {
    /// This one.
    One(Key),
    /// All that begin so.
    Under(Prefix),
}

impl Keys {
    /// Whether the key is one of them.
    pub fn contains(&self, key: &Key) -> bool {
        match self {
            Keys::One(one) => one == key,
            Keys::Under(prefix) => prefix.strip(key).is_some(),
        }
    }

    /// The first that there could be, and the first after them, in etcd's notation: no end for one key, a zero byte for all keys from the first.
    pub fn bounds(&self) -> (Bytes, Bytes) {
        const ZERO: Bytes = Bytes::from_static(&[0]);
        match self {
            Keys::One(key) => (key.0.clone(), Bytes::new()),
            Keys::Under(prefix) if prefix.0.is_empty() => (ZERO, ZERO),
            Keys::Under(prefix) => (prefix.0.clone(), prefix.end().unwrap_or(ZERO)),
        }
    }
}

impl From<Key> for Keys {
    fn from(key: Key) -> Self {
        Keys::One(key)
    }
}

impl From<Prefix> for Keys {
    fn from(prefix: Prefix) -> Self {
        Keys::Under(prefix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bounds_hold_what_the_keys_contain(prefix in prop::collection::vec(prop::sample::select(vec![0u8, 1, 0xfe, 0xff]), 0..4),
                                             key in prop::collection::vec(prop::sample::select(vec![0u8, 1, 0xfe, 0xff]), 1..5)) {
            let keys = Keys::Under(Prefix::new(prefix).unwrap());
            let (first, end) = keys.bounds();
            let inside = key.as_slice() >= first.as_ref() && (end.as_ref() == [0] || key.as_slice() < end.as_ref());
            prop_assert_eq!(keys.contains(&Key::new(key).unwrap()), inside);
        }
    }

    #[test]
    fn keys_have_their_bounds() {
        assert_eq!(Key::new(""), Err(OutOfBounds::EmptyKey));
        assert!(Key::new(vec![b'k'; KEY_BYTES]).is_ok());
        assert_eq!(Key::new(vec![b'k'; KEY_BYTES + 1]), Err(OutOfBounds::KeyBytes(KEY_BYTES + 1)));
        assert!(Prefix::new(vec![b'k'; KEY_BYTES + 1]).is_err());
        let plans = Prefix::new("plans/").unwrap();
        assert_eq!(plans.strip(&plans.key("7").unwrap()), Some(b"7".as_slice()));
        assert_eq!(plans.strip(&Key::new("plan").unwrap()), None);
    }
}
