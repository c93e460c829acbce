//! etcd's notation of a key range as bounds of the tables.

use bytes::Bytes;
use core::ops::Bound;
use steadfast_types::tables::KeyRange;

use crate::command::KeySpan;

/// The `range_end` that means "all keys from `key` on".
const FROM_KEY: &[u8] = &[0];

impl KeySpan {
    /// The span of one key.
    pub fn single(key: Bytes) -> Self {
        KeySpan { key, range_end: Bytes::new() }
    }

    /// Whether it names one key and not a range.
    pub fn is_single(&self) -> bool {
        self.range_end.is_empty()
    }

    /// Whether it has no upper end.
    pub fn is_unbounded(&self) -> bool {
        self.range_end.as_ref() == FROM_KEY
    }

    /// Whether no key can be in it: its end is not above its start.
    pub fn is_empty(&self) -> bool {
        !self.is_single() && !self.is_unbounded() && self.range_end <= self.key
    }

    /// Whether `key` is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.is_single() {
            return self.key == key;
        }
        self.key.as_ref() <= key && (self.is_unbounded() || key < self.range_end.as_ref())
    }

    /// The bounds for a scan; `None` if the span is empty.
    pub(crate) fn bounds(&self) -> Option<KeyRange> {
        if self.is_empty() {
            return None;
        }
        let start = Bound::Included(self.key.clone());
        Some(if self.is_single() {
            (start, Bound::Included(self.key.clone()))
        } else if self.is_unbounded() {
            (start, Bound::Unbounded)
        } else {
            (start, Bound::Excluded(self.range_end.clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(key: &'static str, end: &'static str) -> KeySpan {
        KeySpan { key: Bytes::from_static(key.as_bytes()), range_end: Bytes::from_static(end.as_bytes()) }
    }

    #[test]
    fn spans_hold_the_keys_etcd_says() {
        assert!(span("a", "").contains(b"a") && !span("a", "").contains(b"aa"));
        assert!(span("a", "c").contains(b"a") && span("a", "c").contains(b"bz") && !span("a", "c").contains(b"c"));
        assert!(span("b", "\0").contains(b"zzz") && !span("b", "\0").contains(b"a"));
        assert!(span("\0", "\0").contains(b"\0") && span("\0", "\0").contains(b"x"));
        assert!(span("c", "a").is_empty() && span("a", "a").is_empty() && !span("a", "a").contains(b"a"));
        assert_eq!(span("c", "a").bounds(), None);
        assert_eq!(span("c", "\0").bounds(), Some((Bound::Included("c".into()), Bound::Unbounded)));
    }
}
