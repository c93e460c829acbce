//! The sizes that shape the tables, each with its reason.

/// How the tables use memory and disk. Changing them between two starts is safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablesOptions {
    /// Rows in memory beyond which they are frozen and flushed, bytes. While a flush runs, as much again may be there. Larger means fewer
    /// merges; smaller means a shorter replay after a crash.
    pub memtable_bytes: usize,
    /// Blocks of files kept in memory, bytes.
    pub cache_bytes: usize,
    /// Rows per block, bytes: what one read of a cold row costs. A little below a power of two suits allocators.
    pub block_bytes: usize,
    /// Blocks under one index and filter, bytes: what a merge reads at once, and the memory it takes for each of its inputs.
    pub group_bytes: usize,
    /// The length at which a file is closed and the next begun, bytes.
    pub file_bytes: u64,
    /// How much one merge job writes, bytes: space that is used twice while it runs, and how long it runs.
    pub slice_bytes: u64,
    /// Runs of about the same size that are merged into one: more means less writing and more places for a read to look.
    pub fan_in: usize,
    /// Files held open.
    pub open_files: usize,
}

impl Default for TablesOptions {
    fn default() -> Self {
        TablesOptions {
            memtable_bytes: 16 << 20,
            cache_bytes: 16 << 20,
            block_bytes: 4000,
            group_bytes: 256 << 10,
            file_bytes: 32 << 20,
            slice_bytes: 64 << 20,
            fan_in: 4,
            open_files: 256,
        }
    }
}

/// Runs of one table beyond which merging counts as having fallen behind: a read then looks into too many files.
pub const RUNS_BEHIND: usize = 40;

/// The longest manifest, bytes. Each file takes about a hundred bytes and its first and last key: enough for a million files of usual
/// keys, or for some gigabytes of rows whose keys are as long as a request may be.
pub const MANIFEST_BYTES: usize = 256 << 20;
