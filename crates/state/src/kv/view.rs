//! Reading keys as of one revision: what ranges and comparisons see.
//!
//! 1. Everything a view answers is as of its `revision`, or an earlier one the request names.
//! 2. A range never holds more rows than it may have to answer with: the rest is only counted.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_types::Revision;
use steadfast_types::tables::{Row, TablesError, TablesReader};

use super::order::{self, Filter};
use crate::command::{CommandError, Compare, KeySpan, KeyValue, Operand, Range, RangeResult, Relation, SortOrder, SortTarget};
use crate::rows::{KEYS, decode_key_row, version_of};

/// The keys as of a revision.
pub(crate) struct View<'a, R> {
    /// Where the rows are.
    pub(crate) tables: &'a R,
    /// The newest revision that can be seen.
    pub(crate) revision: Revision,
    /// The compact revision: nothing below it can be read.
    pub(crate) compact: Revision,
}

/// Which rows of a span a range has to hold while it scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    /// None: it only counts.
    None,
    /// So many from the start.
    First(usize),
    /// So many from the end.
    Last(usize),
}

impl<R: TablesReader> View<'_, R> {
    /// The key now, if it is there.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, TablesError> {
        self.get_at(key, self.revision)
    }

    /// The key at a revision, if it was there. The caller knows that it is not compacted.
    pub(crate) fn get_at(&self, key: &[u8], revision: Revision) -> Result<Option<KeyValue>, TablesError> {
        let row = self.tables.get(KEYS, key, version_of(revision))?;
        row.map(|row| Ok(decode_key_row(row)?.0)).transpose()
    }

    /// The rows of a span at a revision, ascending.
    pub(crate) fn rows(&self, keys: &KeySpan, at: Revision) -> impl Iterator<Item = Result<Row, TablesError>> + use<'_, R> {
        let version = version_of(at);
        let single = keys.is_single().then(|| self.tables.get(KEYS, &keys.key, version).transpose()).flatten();
        let several = if keys.is_single() { None } else { keys.bounds().map(|bounds| self.tables.scan(KEYS, bounds, version)) };
        single.into_iter().chain(several.into_iter().flatten())
    }

    /// The revision a range reads at.
    ///
    /// # Errors
    /// It is compacted, or yet to come.
    pub(crate) fn revision_of(&self, range: &Range) -> Result<Revision, CommandError> {
        if range.revision > self.revision {
            return Err(CommandError::FutureRevision);
        }
        let at = if range.revision.0 <= 0 { self.revision } else { range.revision };
        if at < self.compact { Err(CommandError::Compacted) } else { Ok(at) }
    }

    /// Whether a range inside a transaction may run: unlike [`View::revision_of`], a negative revision is compacted as soon as anything is.
    pub(crate) fn check_inner_range(&self, range: &Range) -> Result<(), CommandError> {
        if range.revision.0 == 0 {
            return Ok(());
        }
        if range.revision > self.revision {
            return Err(CommandError::FutureRevision);
        }
        if range.revision < self.compact { Err(CommandError::Compacted) } else { Ok(()) }
    }

    /// Answers a range.
    ///
    /// # Errors
    /// The revision is compacted or yet to come, or the tables are damaged.
    pub(crate) fn range(&self, range: &Range) -> Result<RangeResult, CommandError> {
        let at = self.revision_of(range)?;
        let filter = Filter::of(range);
        let holding = holding(range, &filter);
        let limit = usize::try_from(range.limit).unwrap_or(0);
        let (held, count) = self.scan(&range.keys, at, holding, &filter)?;
        let mut kvs = order::sorted(held, range);
        let more = limit > 0 && kvs.len() > limit;
        if more {
            kvs.truncate(limit);
        }
        if range.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeResult { kvs, more, count })
    }

    /// The rows to hold, ascending, and how many keys the span has. Only rows that pass the filter count as held.
    fn scan(&self, keys: &KeySpan, at: Revision, holding: Holding, filter: &Filter) -> Result<(Vec<KeyValue>, i64), TablesError> {
        let mut held = VecDeque::new();
        let mut count = 0i64;
        for row in self.rows(keys, at) {
            let row = row?;
            count += 1;
            match holding {
                Holding::None => {}
                Holding::First(most) => {
                    if held.len() < most {
                        held.extend(filter.keep(decode_key_row(row)?.0));
                    }
                }
                Holding::Last(most) => {
                    held.extend(filter.keep(decode_key_row(row)?.0));
                    if held.len() > most {
                        held.pop_front();
                    }
                }
            }
        }
        Ok((held.into(), count))
    }

    /// Whether a comparison holds for every key of its span.
    ///
    /// # Errors
    /// The tables are damaged.
    pub(crate) fn holds(&self, compare: &Compare) -> Result<bool, TablesError> {
        let mut any = false;
        for row in self.rows(&compare.keys, self.revision) {
            any = true;
            if !stands(compare, &decode_key_row(row?)?.0) {
                return Ok(false);
            }
        }
        // A missing key compares as zeros; its value with nothing.
        Ok(any || (!matches!(compare.operand, Operand::Value(_)) && stands(compare, &KeyValue::default())))
    }
}

/// What a range must hold: one more than its limit, to know whether there is more, from the end that its order starts at; everything if what
/// comes first is only known at the end.
fn holding(range: &Range, filter: &Filter) -> Holding {
    if range.count_only {
        return Holding::None;
    }
    let all = Holding::First(usize::MAX);
    let one_more = match usize::try_from(range.limit) {
        Ok(limit) if limit > 0 => limit.saturating_add(1),
        Ok(_) | Err(_) => return all,
    };
    match (range.sort_order, range.sort_target) {
        (SortOrder::None, _) if !filter.is_any() => Holding::First(one_more),
        (SortOrder::None, SortTarget::Key) | (SortOrder::Ascend, SortTarget::Key) => Holding::First(one_more),
        (SortOrder::Descend, SortTarget::Key) => Holding::Last(one_more),
        (SortOrder::None | SortOrder::Ascend | SortOrder::Descend, _) => all,
    }
}

/// Whether the key's attribute stands to the operand as asked.
fn stands(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.operand {
        Operand::Version(version) => kv.version.cmp(version),
        Operand::CreateRevision(revision) => kv.create_revision.cmp(revision),
        Operand::ModRevision(revision) => kv.mod_revision.cmp(revision),
        Operand::Value(value) => kv.value.cmp(value),
        Operand::Lease(lease) => kv.lease.cmp(lease),
    };
    match compare.relation {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Greater => order.is_gt(),
        Relation::Less => order.is_lt(),
    }
}
