//! The directory of the table files, with the block cache and the open files in front of it. Both are bounded.

use bytes::Bytes;
use core::hash::{BuildHasherDefault, Hasher};
use core::sync::atomic::{AtomicU64, Ordering};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use std::sync::{Arc, OnceLock};
use steadfast_types::disk::{Disk, DiskError};
use steadfast_types::tables::TablesError;

use super::error::ReadError;
use super::format::{content, file_name, read_fully};
use super::options::TablesOptions;

/// About what the cache keeps beside each block, bytes.
const BLOCK_OVERHEAD: u64 = 128;

type Blocks = Cache<(u64, u64), Bytes, BlockWeight, BuildHasherDefault<Mixer>>;
type Handles<F> = Cache<u64, Arc<F>, quick_cache::UnitWeighter, BuildHasherDefault<Mixer>>;

/// What every reader of files needs. File ids are never used twice, so that nothing here is ever stale.
pub(super) struct Store<D: Disk> {
    pub(super) disk: D,
    blocks: Blocks,
    handles: Handles<D::File>,
    next_file: AtomicU64,
    /// The first damage that any reader or job came across.
    damage: OnceLock<String>,
}

#[derive(Clone)]
struct BlockWeight;

impl Weighter<(u64, u64), Bytes> for BlockWeight {
    fn weight(&self, _: &(u64, u64), block: &Bytes) -> u64 {
        block.len() as u64 + BLOCK_OVERHEAD
    }
}

/// A hash without a random seed, so that the same calls always evict the same blocks: what is read from the disk then is the same too.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

impl<D: Disk> Store<D> {
    pub(super) fn new(disk: D, options: &TablesOptions, next_file: u64) -> Self {
        // Few shards: a block must fit into one, and there are few readers.
        let sized = |items: usize, weight: u64| {
            let mut builder = OptionsBuilder::new();
            builder.shards(if weight >= 8 << 20 { 4 } else { 1 });
            builder.estimated_items_capacity(items.max(16)).weight_capacity(weight.max(1)).build().expect("both capacities are given")
        };
        let blocks = sized(options.cache_bytes / options.block_bytes.max(1), options.cache_bytes as u64);
        let handles = sized(options.open_files, options.open_files as u64);
        Store {
            disk,
            blocks: Cache::with_options(blocks, BlockWeight, BuildHasherDefault::default(), DefaultLifecycle::default()),
            handles: Cache::with_options(handles, quick_cache::UnitWeighter, BuildHasherDefault::default(), DefaultLifecycle::default()),
            next_file: AtomicU64::new(next_file),
            damage: OnceLock::new(),
        }
    }

    /// A number for a new file or run.
    pub(super) fn next_id(&self) -> u64 {
        self.next_file.fetch_add(1, Ordering::Relaxed)
    }

    /// The number that the next file or run will have.
    pub(super) fn peek_id(&self) -> u64 {
        self.next_file.load(Ordering::Relaxed)
    }

    /// What a reader is told of `error`, which is remembered for the node.
    pub(super) fn damaged(&self, error: &ReadError) -> TablesError {
        TablesError(self.damage.get_or_init(|| error.to_string()).clone())
    }

    /// The first damage that was found, if any was.
    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// Bytes in the block cache.
    pub(super) fn cached_bytes(&self) -> u64 {
        self.blocks.weight()
    }

    /// File `id`, open.
    pub(super) fn handle(&self, id: u64) -> Result<Arc<D::File>, DiskError> {
        if let Some(handle) = self.handles.get(&id) {
            return Ok(handle);
        }
        let handle = Arc::new(self.disk.open(&file_name(id))?);
        self.handles.insert(id, handle.clone());
        Ok(handle)
    }

    /// Removes a file that nobody reads any more.
    pub(super) fn remove(&self, id: u64) -> Result<(), DiskError> {
        self.handles.remove(&id);
        self.disk.remove(&file_name(id))
    }

    /// Reads exactly `length` bytes, unchecked.
    pub(super) fn read(&self, id: u64, offset: u64, length: usize) -> Result<Bytes, ReadError> {
        let mut bytes = vec![0; length];
        let read = read_fully(&*self.handle(id)?, offset, &mut bytes)?;
        if read < length {
            return Err(ReadError::Damaged(format!("{} ends at byte {}", file_name(id), offset + read as u64)));
        }
        Ok(bytes.into())
    }

    /// The content of the block at `offset`, checked, from the cache if it is there.
    pub(super) fn block(&self, place: BlockPlace) -> Result<Bytes, ReadError> {
        let key = (place.id, place.offset);
        if let Some(block) = self.blocks.get(&key) {
            return Ok(block);
        }
        let block = place.checked(self.read(place.id, place.offset, place.length)?)?;
        self.blocks.insert(key, block.clone());
        Ok(block)
    }
}

/// Where a block lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockPlace {
    pub(super) id: u64,
    /// The number that the file's checksums were made with.
    pub(super) birth: u64,
    pub(super) offset: u64,
    /// With the checksum.
    pub(super) length: usize,
}

impl BlockPlace {
    /// The content of the block that was read from here.
    pub(super) fn checked(self, bytes: Bytes) -> Result<Bytes, ReadError> {
        let length = content(self.birth, self.offset, &bytes).ok_or_else(|| self.damaged())?.len();
        Ok(bytes.slice(..length))
    }

    pub(super) fn damaged(self) -> ReadError {
        ReadError::Damaged(format!("{}: the block at byte {} is damaged", file_name(self.id), self.offset))
    }
}
