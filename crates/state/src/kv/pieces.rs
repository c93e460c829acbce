//! Ranges read in pieces, so that no answer has to be held whole: what `RangeStream` is made of.
//!
//! The first piece fixes the revision, and the others are as of it, however long they take to be asked for; a compaction that passes it ends the
//! read. Together they are what one read of the range would have given, in the order of the keys.

use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_types::Revision;
use steadfast_types::tables::TablesReader;

use super::order::Filter;
use super::view::View;
use crate::command::{CommandError, KeyValue, Range, SortOrder, SortTarget};
use crate::rows::decode_key_row;

/// A piece ends with the key that fills it.
const PIECE_BYTES: usize = 512 * 1024;

/// A piece ends after so many rows, also if they are only counted.
const PIECE_ROWS: usize = 50_000;

/// What is still to be read of a range.
#[derive(Clone, Debug)]
pub struct RangePieces {
    /// From the next key on; at the revision of the first piece, once that was read.
    range: Range,
    /// How many keys may still be given.
    left: usize,
    /// How many keys there were so far.
    count: i64,
    /// Whether there were more than could be given.
    more: bool,
}

/// A part of a range's answer.
#[derive(Clone, Debug)]
pub struct RangePiece {
    /// The current revision when it was read.
    pub revision: Revision,
    /// The next keys.
    pub kvs: Vec<KeyValue>,
    /// What comes after it.
    pub rest: Rest,
}

/// What comes after a piece.
#[derive(Clone, Debug)]
pub enum Rest {
    /// More pieces.
    Pieces(RangePieces),
    /// Nothing: the whole range is read.
    End {
        /// See [`RangeResult::more`](crate::command::RangeResult::more).
        more: bool,
        /// See [`RangeResult::count`](crate::command::RangeResult::count).
        count: i64,
    },
}

impl RangePieces {
    /// All of a range. `None`: its order is not that of the keys, so that what comes first is only known at the end.
    pub fn new(range: Range) -> Option<Self> {
        let is_in_order = matches!((range.sort_order, range.sort_target), (SortOrder::None | SortOrder::Ascend, SortTarget::Key));
        let left = usize::try_from(range.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        is_in_order.then_some(RangePieces { range, left, count: 0, more: false })
    }

    /// The revision that it is as of; 0 or less: the newest when the first piece is read.
    pub(crate) fn revision(&self) -> Revision {
        self.range.revision
    }
}

impl<R: TablesReader> View<'_, R> {
    /// The next piece.
    ///
    /// # Errors
    /// As [`View::range`].
    pub(crate) fn piece(&self, pieces: &RangePieces, (most_bytes, most_rows): (usize, usize)) -> Result<RangePiece, CommandError> {
        let at = self.revision_of(&pieces.range)?;
        let filter = Filter::of(&pieces.range);
        let (mut rest, mut kvs, mut bytes) = (pieces.clone(), Vec::new(), 0);
        rest.range.revision = at;
        for (rows, row) in self.rows(&pieces.range.keys, at).enumerate() {
            let row = row?;
            if bytes >= most_bytes || rows >= most_rows {
                rest.range.keys.key = row.key;
                return Ok(RangePiece { revision: self.revision, kvs, rest: Rest::Pieces(rest) });
            }
            rest.count += 1;
            if rest.range.count_only || rest.more {
                continue;
            }
            let Some(mut kv) = filter.keep(decode_key_row(row)?.0) else { continue };
            if rest.left == 0 {
                rest.more = true;
                continue;
            }
            rest.left -= 1;
            if rest.range.keys_only {
                kv.value = Bytes::new();
            }
            bytes += size_of::<KeyValue>() + kv.key.len() + kv.value.len();
            kvs.push(kv);
        }
        Ok(RangePiece { revision: self.revision, kvs, rest: Rest::End { more: rest.more, count: rest.count } })
    }

    /// The next piece, of the usual size.
    pub(crate) fn next_piece(&self, pieces: &RangePieces) -> Result<RangePiece, CommandError> {
        self.piece(pieces, (PIECE_BYTES, PIECE_ROWS))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::command::{Command, KeySpan, Put};
    use crate::reader::StateReader;
    use crate::state::State;
    use crate::state::tests::{ANSWER, apply_all};
    use steadfast_types::tables::memory::{MemoryReader, MemoryTables};

    /// Thirty keys, some of which were written again.
    fn written(again: &[usize]) -> StateReader<MemoryReader> {
        let mut state = State::open(MemoryTables::default()).unwrap();
        let put =
            |key: usize, value: &'static str| Command::Put(Put { key: format!("k{key:02}").into(), value: value.into(), ..Put::default() });
        let puts = (0..30).map(|key| put(key, "value")).chain(again.iter().map(|key| put(*key, "another value")));
        puts.for_each(|put| drop(apply_all(&mut state, vec![put], ANSWER)));
        state.reader()
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_range(
            again in prop::collection::vec(0usize..30, 0..10),
            (first, end) in (0usize..31, prop::option::of(0usize..31)),
            (limit, revision, bound) in (-1i64..40, -1i64..42, 0i64..42),
            (keys_only, count_only, ascends, most_rows, most_bytes) in (any::<bool>(), any::<bool>(), any::<bool>(), 1usize..40, 1usize..2000),
        ) {
            let reader = written(&again);
            let range_end = end.map_or_else(Bytes::new, |end| format!("k{end:02}").into());
            let range = Range {
                keys: KeySpan { key: format!("k{first:02}").into(), range_end },
                limit,
                revision: Revision(revision),
                sort_order: if ascends { SortOrder::Ascend } else { SortOrder::None },
                keys_only,
                count_only,
                min_mod_revision: Revision(bound),
                ..Range::default()
            };
            let whole = reader.range(&range);
            let (mut kvs, mut revisions, mut pieces) = (vec![], vec![], RangePieces::new(range).unwrap());
            let end = loop {
                let piece = reader.read(crate::reader::Oldest::named(pieces.revision()), |view| view.piece(&pieces, (most_bytes, most_rows)));
                let piece = match piece {
                    Ok(piece) => piece,
                    Err(error) => break Err(error),
                };
                kvs.extend(piece.kvs);
                revisions.push(piece.revision);
                match piece.rest {
                    Rest::Pieces(rest) => pieces = rest,
                    Rest::End { more, count } => break Ok((more, count)),
                }
            };
            match whole {
                Ok(whole) => {
                    prop_assert_eq!((kvs, end), (whole.result.kvs, Ok((whole.result.more, whole.result.count))));
                    prop_assert!(revisions.iter().all(|revision| *revision == whole.revision));
                }
                Err(error) => prop_assert_eq!((end, kvs.len()), (Err(error), 0)),
            }
        }
    }

    #[test]
    fn the_first_piece_fixes_the_revision() {
        let mut state = State::open(MemoryTables::default()).unwrap();
        let put = |key: &'static str| Command::Put(Put { key: key.into(), ..Put::default() });
        for key in ["a", "b"] {
            apply_all(&mut state, vec![put(key)], ANSWER);
        }
        let (reader, all) = (state.reader(), KeySpan { key: "a".into(), range_end: "z".into() });
        let pieces = RangePieces::new(Range { keys: all, ..Range::default() }).unwrap();
        let next = |pieces: &RangePieces| reader.read(crate::reader::Oldest::named(pieces.revision()), |view| view.piece(pieces, (1, 1)));
        let Rest::Pieces(rest) = next(&pieces).unwrap().rest else { panic!("there is another key") };
        apply_all(&mut state, vec![put("c")], ANSWER);
        let second = next(&rest).unwrap();
        assert!(matches!(second.rest, Rest::End { more: false, count: 2 }), "{second:?}");
        apply_all(&mut state, vec![Command::Compact { revision: Revision(4) }], ANSWER);
        assert_eq!(next(&rest).unwrap_err(), CommandError::Compacted);
    }

    #[test]
    fn an_order_that_is_not_the_keys_has_no_pieces() {
        let pieces = |sort_order, sort_target| RangePieces::new(Range { sort_order, sort_target, ..Range::default() }).is_some();
        assert!(pieces(SortOrder::None, SortTarget::Key) && pieces(SortOrder::Ascend, SortTarget::Key));
        assert!(!pieces(SortOrder::Descend, SortTarget::Key) && !pieces(SortOrder::None, SortTarget::Value));
    }
}
