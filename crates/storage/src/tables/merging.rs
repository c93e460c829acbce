//! Several sorted sources as one, and which of their rows are kept.

use bytes::Bytes;
use core::cmp::Ordering;

use steadfast_types::planted::{Bug, is_planted};

use super::block::{RowRef, compare};
use super::error::ReadError;

/// Rows in order, one at a time.
pub(super) trait RowSource {
    /// The row here; `None` at the end.
    fn row(&self) -> Option<RowRef<'_>>;

    /// Moves to the next row.
    fn advance(&mut self) -> Result<(), ReadError>;
}

/// Sources merged. Of equal rows the one of the earlier source comes first: give the newest source first.
pub(super) struct Merging<S> {
    sources: Vec<S>,
    /// The sources that are not at their end, by their present row.
    order: Vec<usize>,
}

impl<S: RowSource> Merging<S> {
    pub(super) fn new(sources: Vec<S>) -> Self {
        let mut merging = Merging { order: Vec::with_capacity(sources.len()), sources };
        merging.sort();
        merging
    }

    /// Orders the sources anew, after they were moved.
    fn sort(&mut self) {
        self.order.clear();
        self.order.extend((0..self.sources.len()).filter(|&i| self.sources[i].row().is_some()));
        let sources = &self.sources;
        self.order.sort_unstable_by(|&a, &b| order_of(sources, a, b));
    }

    /// The source whose row comes next.
    pub(super) fn head(&self) -> Option<&S> {
        Some(&self.sources[*self.order.first()?])
    }

    /// Moves every source by `step`, then orders them anew.
    pub(super) fn reposition(&mut self, mut step: impl FnMut(&mut S) -> Result<(), ReadError>) -> Result<(), ReadError> {
        self.sources.iter_mut().try_for_each(&mut step)?;
        self.sort();
        Ok(())
    }
}

fn order_of<S: RowSource>(sources: &[S], a: usize, b: usize) -> Ordering {
    let key = |i: usize| sources[i].row().map(|row| (row.key, row.version)).expect("only sources with a row are ordered");
    compare(key(a), key(b)).then(a.cmp(&b))
}

impl<S: RowSource> RowSource for Merging<S> {
    fn row(&self) -> Option<RowRef<'_>> {
        self.head()?.row()
    }

    fn advance(&mut self) -> Result<(), ReadError> {
        let Some(&moved) = self.order.first() else { return Ok(()) };
        self.sources[moved].advance()?;
        if self.sources[moved].row().is_none() {
            self.order.remove(0);
            return Ok(());
        }
        let sources = &self.sources;
        let passed = self.order[1..].partition_point(|&other| order_of(sources, other, moved) == Ordering::Less);
        self.order[..=passed].rotate_left(1);
        Ok(())
    }
}

/// Which rows a flush or a merge keeps: rule 4 of the contract.
///
/// Rows must come in order, and all that are newer than what older sources hold of the same key.
pub(super) struct Retention {
    horizon: u64,
    trim: Option<Bytes>,
    /// No older source has rows of these keys, so that a tombstone hides nothing.
    is_oldest: bool,
    key: Vec<u8>,
    /// The version of the row before, if it was of the same key.
    last_version: Option<u64>,
    /// The newest row at or below the horizon has passed.
    settled: bool,
}

impl Retention {
    pub(super) fn new(horizon: u64, trim: Option<Bytes>, is_oldest: bool) -> Self {
        Retention { horizon, trim, is_oldest, key: Vec::new(), last_version: None, settled: false }
    }

    /// Whether the row before was of this key.
    pub(super) fn is_at(&self, key: &[u8]) -> bool {
        self.last_version.is_some() && self.key == key
    }

    /// Whether the next row is kept.
    pub(super) fn keeps(&mut self, row: RowRef<'_>) -> bool {
        if self.trim.as_ref().is_some_and(|trim| row.key < &trim[..]) {
            return false;
        }
        if !self.is_at(row.key) {
            self.key.clear();
            self.key.extend_from_slice(row.key);
            self.settled = false;
        } else if self.last_version == Some(row.version) {
            return false;
        }
        self.last_version = Some(row.version);
        if row.version > self.horizon {
            return true;
        }
        let newest = !self.settled;
        self.settled = true;
        newest && (row.value.is_some() || !self.is_oldest && !is_planted(Bug::TombstoneDroppedEarly))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Listed(Vec<(&'static str, u64, Option<&'static str>)>, usize);

    impl RowSource for Listed {
        fn row(&self) -> Option<RowRef<'_>> {
            self.0.get(self.1).map(|(key, version, value)| RowRef {
                key: key.as_bytes(),
                version: *version,
                value: value.map(str::as_bytes),
            })
        }
        fn advance(&mut self) -> Result<(), ReadError> {
            self.1 += 1;
            Ok(())
        }
    }

    fn kept(horizon: u64, trim: Option<&'static str>, is_oldest: bool) -> String {
        let newer = Listed(vec![("a", 7, Some("a7")), ("b", 6, None), ("c", 5, Some("new")), ("d", 9, None)], 0);
        let older =
            Listed(vec![("a", 4, Some("a4")), ("a", 2, None), ("b", 3, Some("b3")), ("c", 5, Some("old")), ("d", 1, Some("d1"))], 0);
        let mut merging = Merging::new(vec![newer, older]);
        let mut retention = Retention::new(horizon, trim.map(Bytes::from), is_oldest);
        let mut kept = String::new();
        while let Some(row) = merging.row() {
            if retention.keeps(row) {
                let value = row.value.map_or("-", |value| std::str::from_utf8(value).unwrap());
                kept += &format!("{}{}={value} ", std::str::from_utf8(row.key).unwrap(), row.version);
            }
            merging.advance().unwrap();
        }
        kept
    }

    #[test]
    fn without_a_horizon_only_replaced_rows_go() {
        assert_eq!(kept(0, None, true), "a7=a7 a4=a4 a2=- b6=- b3=b3 c5=new d9=- d1=d1 ");
    }

    #[test]
    fn versions_below_the_newest_at_the_horizon_go() {
        assert_eq!(kept(6, None, false), "a7=a7 a4=a4 b6=- c5=new d9=- d1=d1 ");
        assert_eq!(kept(u64::MAX, None, false), "a7=a7 b6=- c5=new d9=- ");
    }

    #[test]
    fn tombstones_go_where_nothing_older_is_hidden() {
        assert_eq!(kept(6, None, true), "a7=a7 a4=a4 c5=new d9=- d1=d1 ");
        assert_eq!(kept(3, None, true), "a7=a7 a4=a4 b6=- b3=b3 c5=new d9=- d1=d1 ");
    }

    #[test]
    fn keys_below_the_trim_go() {
        assert_eq!(kept(0, Some("c"), true), "c5=new d9=- d1=d1 ");
    }
}
