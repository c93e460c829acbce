//! A set of keys as disjoint intervals: what the spans of many permissions permit together.

use alloc::vec::Vec;
use bytes::Bytes;

use crate::command::KeySpan;

/// Keys from `start` on, below `end`; without an end if that is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interval {
    start: Bytes,
    end: Option<Bytes>,
}

/// The union of spans: ascending intervals with gaps between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals(Vec<Interval>);

/// The key just above `key`.
fn above(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

impl Interval {
    /// `None` if no key is in it. No key is empty, so a span that begins with the empty key is a mistake, and holds nothing.
    fn of(span: &KeySpan) -> Option<Self> {
        if span.key.is_empty() || span.is_empty() {
            return None;
        }
        let end = if span.is_unbounded() {
            None
        } else if span.is_single() {
            Some(above(&span.key))
        } else {
            Some(span.range_end.clone())
        };
        Some(Interval { start: span.key.clone(), end })
    }

    fn reaches(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| end.as_ref() >= key)
    }
}

impl<'a> FromIterator<&'a KeySpan> for Intervals {
    fn from_iter<I: IntoIterator<Item = &'a KeySpan>>(spans: I) -> Self {
        let mut sorted: Vec<Interval> = spans.into_iter().filter_map(Interval::of).collect();
        sorted.sort_by(|a, b| a.start.cmp(&b.start));
        let mut union: Vec<Interval> = Vec::new();
        for next in sorted {
            match union.last_mut() {
                Some(last) if last.reaches(&next.start) => {
                    let is_longer = next.end.as_ref().is_none_or(|end| !last.reaches(end));
                    if is_longer {
                        last.end = next.end;
                    }
                }
                _ => union.push(next),
            }
        }
        Intervals(union)
    }
}

impl Intervals {
    /// Whether every key of `span` is in the set; of a span that holds no key, whether its start is.
    pub fn cover(&self, span: &KeySpan) -> bool {
        let next = self.0.partition_point(|interval| interval.start <= span.key);
        let Some(interval) = next.checked_sub(1).map(|at| &self.0[at]) else { return false };
        match &interval.end {
            None => true,
            Some(_) if span.is_unbounded() => false,
            Some(end) if span.is_single() || span.is_empty() => *end > span.key,
            Some(end) => *end >= span.range_end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;
    use proptest::prelude::*;

    /// Keys of up to two letters, of three: few enough to count, enough for prefixes and for neighbours.
    fn every_key() -> Vec<Bytes> {
        let letters = [0u8, b'a', b'b'];
        let one = letters.iter().map(|a| Bytes::copy_from_slice(&[*a]));
        let two = letters.iter().flat_map(|a| letters.iter().map(|b| Bytes::copy_from_slice(&[*a, *b])));
        // Between `k` and everything else above it stands `k` with a zero byte: one more letter than a span can name.
        let deeper = letters.iter().flat_map(|a| letters.iter().map(|b| Bytes::copy_from_slice(&[*a, *b, 0])));
        one.chain(two).chain(deeper).chain([Bytes::from_static(b"\xff\xff")]).collect()
    }

    fn some_key() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(prop::sample::select(vec![0u8, b'a', b'b']), 1..3).prop_map(Bytes::from)
    }

    fn some_span() -> impl Strategy<Value = KeySpan> {
        let end = prop_oneof![Just(Bytes::new()), Just(Bytes::from_static(&[0])), some_key(), some_key()];
        (some_key(), end).prop_map(|(key, range_end)| KeySpan { key, range_end })
    }

    fn span(key: &'static str, end: &'static str) -> KeySpan {
        KeySpan { key: key.into(), range_end: end.into() }
    }

    fn set(spans: &[KeySpan]) -> Intervals {
        spans.iter().collect()
    }

    proptest! {
        #[test]
        fn a_span_is_covered_if_each_of_its_keys_is(granted in prop::collection::vec(some_span(), 0..6), asked in some_span()) {
            let union = set(&granted);
            let holds = |key: &Bytes| granted.iter().any(|span| span.contains(key));
            let expected = if asked.is_empty() { holds(&asked.key) } else { every_key().iter().filter(|key| asked.contains(key)).all(holds) };
            prop_assert_eq!(union.cover(&asked), expected, "{:?} of {:?}", asked, granted);
        }

        #[test]
        fn intervals_are_ascending_and_apart(granted in prop::collection::vec(some_span(), 0..8)) {
            let union = set(&granted);
            for pair in union.0.windows(2) {
                let end = pair[0].end.as_ref().expect("only the last has no end");
                prop_assert!(pair[0].start < *end && *end < pair[1].start, "{:?}", union);
            }
        }
    }

    #[test]
    fn neighbours_join_and_gaps_stay() {
        let union = set(&[span("a", "c"), span("c", "e"), span("f", "\0")]);
        assert!(union.cover(&span("a", "e")) && union.cover(&span("b", "d")) && union.cover(&span("g", "\0")));
        assert!(!union.cover(&span("a", "f")) && !union.cover(&span("d", "g")) && !union.cover(&span("a", "\0")));
        assert!(!union.cover(&span("e", "")) && union.cover(&span("f", "")));
        let keys = set(&[span("a", ""), span("a\0", "b")]);
        assert!(keys.cover(&span("a", "b")), "a key and what follows it");
    }

    #[test]
    fn mistaken_grants_hold_nothing() {
        let union = set(&[span("b", "a"), span("", "z"), span("", "\0"), span("c", "c")]);
        assert_eq!(union, Intervals::default());
        for asked in [span("a", ""), span("\0", "\0"), span("b", ""), span("c", "")] {
            assert!(!union.cover(&asked), "{asked:?}: {}", String::from_utf8_lossy(&asked.key));
        }
    }
}
