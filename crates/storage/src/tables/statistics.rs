//! How the tables are doing, in numbers.

use std::collections::BTreeMap;
use steadfast_types::disk::Disk;
use steadfast_types::tables::TableId;

use super::LsmTables;
use super::options::RUNS_BEHIND;

/// Whether background work keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// It does.
    Normal,
    /// It does not: a second memtable is full while the first is still being flushed, or files pile up unmerged. The caller stops
    /// applying until jobs are done; otherwise memory grows, or reads slow down.
    Behind,
}

/// Sizes and counts; see the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes of all table files in use.
    pub disk_bytes: u64,
    /// Table files in use.
    pub files: usize,
    /// For each table, how many runs a lookup may have to look into.
    pub runs: BTreeMap<TableId, usize>,
    /// Rows in files, superseded ones and tombstones included.
    pub rows: u64,
    /// Rows in memory, not yet durable.
    pub memtable_rows: usize,
    /// Bytes in memory, not yet durable.
    pub memtable_bytes: usize,
    /// Bytes in the block cache.
    pub cache_bytes: u64,
}

impl<D: Disk> LsmTables<D> {
    /// Whether the caller must wait for jobs before it applies more.
    pub fn pressure(&self) -> Pressure {
        let is_full = self.frozen.is_some() && self.active.bytes() >= self.shared.options.memtable_bytes;
        let most_runs = self.shared.view().version.tables.values().map(Vec::len).max();
        if is_full || most_runs.is_some_and(|runs| runs > RUNS_BEHIND) { Pressure::Behind } else { Pressure::Normal }
    }

    /// Bytes in memory, not yet durable.
    pub fn memtable_bytes(&self) -> usize {
        let view = self.shared.view();
        self.active.bytes() + view.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    /// Sizes and counts as of now.
    pub fn statistics(&self) -> Statistics {
        let view = self.shared.view();
        let memtables = || [Some(&view.active), view.frozen.as_ref()].into_iter().flatten();
        Statistics {
            disk_bytes: view.version.parts().map(|part| part.file.meta.length).sum(),
            files: view.version.parts().count(),
            runs: view.version.tables.iter().map(|(table, runs)| (*table, runs.len())).collect(),
            rows: view.version.parts().map(|part| part.file.meta.rows).sum(),
            memtable_rows: memtables().map(|memtable| memtable.count()).sum(),
            memtable_bytes: memtables().map(|memtable| memtable.bytes()).sum(),
            cache_bytes: self.shared.store.cached_bytes(),
        }
    }
}
