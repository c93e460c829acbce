//! Reading a table file: lookups and cursors.
//!
//! Nothing of a file is read before it is needed. Its group index is then kept, as it is small (an entry for each quarter of a mebibyte),
//! unless long keys make it large; all else goes through the block cache.

use bytes::Bytes;
use core::cmp::Ordering;
use std::sync::{Arc, OnceLock};
use steadfast_types::disk::{Disk, DiskFile};

use super::block::{Block, BlockCursor, Malformed, RowRef, compare, prefix, shared_length};
use super::error::ReadError;
use super::file_writer::{FOOTER_BYTES, MAGIC};
use super::filter;
use super::format::{FORMAT, content, file_name, take_length, take_u32, take_varint};
use super::manifest::FileMeta;
use super::memtable::Found;
use super::store::{BlockPlace, Store};

/// A group index longer than this is not kept beside the cache, bytes.
const KEPT_INDEX_BYTES: usize = 64 << 10;

/// A file of the tables.
pub(super) struct TableFile {
    pub(super) meta: FileMeta,
    footer: OnceLock<Footer>,
    groups: OnceLock<Groups>,
}

/// The index of the groups, with eight bytes of each key beside it that decide nearly every comparison of a search.
#[derive(Clone)]
struct Groups {
    block: Block,
    /// How many bytes all keys of the index have in common.
    common: usize,
    prefixes: Arc<[u64]>,
}

impl Groups {
    fn new(block: Block) -> Result<Self, Malformed> {
        let last = block.restarts().checked_sub(1).ok_or(Malformed)?;
        let common = shared_length(block.entry(0)?.key, block.entry(last)?.key);
        let prefixes = (0..=last).map(|number| Ok(prefix(block.entry(number)?.key, common))).collect::<Result<_, _>>()?;
        Ok(Groups { block, common, prefixes })
    }

    /// The number of the first group whose last row is not before the target.
    fn search(&self, target: (&[u8], u64)) -> Result<usize, Malformed> {
        let first = self.block.entry(0)?;
        if shared_length(first.key, target.0) < self.common {
            return Ok(if target.0 < first.key { 0 } else { self.block.restarts() });
        }
        let wanted = prefix(target.0, self.common);
        let low = self.prefixes.partition_point(|&prefix| prefix < wanted);
        let ties = self.prefixes[low..].partition_point(|&prefix| prefix == wanted);
        self.block.search_among(low..low + ties, target)
    }
}

#[derive(Clone, Copy)]
struct Footer {
    groups_offset: u64,
    groups_length: usize,
}

/// Where a group lies.
#[derive(Clone, Copy)]
struct Group {
    offset: u64,
    data_length: usize,
    index_length: usize,
}

/// Splits the content of a group's last block into index and filter.
fn split_index(content: &[u8]) -> Option<(usize, &[u8])> {
    let end = content.len().checked_sub(4)?;
    let length = take_u32(content, end)? as usize;
    Some((length, content.get(length..end)?))
}

impl TableFile {
    pub(super) fn new(meta: FileMeta) -> Arc<Self> {
        Arc::new(TableFile { meta, footer: OnceLock::new(), groups: OnceLock::new() })
    }

    /// Its last row's key and version.
    pub(super) fn last(&self) -> (&[u8], u64) {
        (&self.meta.last_key, self.meta.last_version)
    }

    fn place(&self, offset: u64, length: usize) -> BlockPlace {
        BlockPlace { id: self.meta.id, birth: self.meta.birth, offset, length }
    }

    fn malformed(&self) -> ReadError {
        ReadError::Damaged(format!("{} has a malformed block", file_name(self.meta.id)))
    }

    fn footer<D: Disk>(&self, store: &Store<D>) -> Result<Footer, ReadError> {
        if let Some(footer) = self.footer.get() {
            return Ok(*footer);
        }
        let footer = self.read_footer(store)?;
        Ok(*self.footer.get_or_init(|| footer))
    }

    fn read_footer<D: Disk>(&self, store: &Store<D>) -> Result<Footer, ReadError> {
        let damaged = |what: &str| ReadError::Damaged(format!("{}: {what}", file_name(self.meta.id)));
        let length = store.handle(self.meta.id)?.length()?;
        if length != self.meta.length {
            return Err(damaged(&format!("has {length} bytes, should have {}", self.meta.length)));
        }
        let offset = length.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| damaged("is too short"))?;
        let bytes = store.read(self.meta.id, offset, FOOTER_BYTES)?;
        let footer = content(self.meta.birth, offset, &bytes).ok_or_else(|| damaged("its footer is damaged"))?;
        if !footer.starts_with(MAGIC) || take_u32(footer, 8) != Some(FORMAT) {
            return Err(damaged("is of an unknown format"));
        }
        let groups_offset = u64::from_le_bytes(footer[20..28].try_into().expect("the footer has a fixed length"));
        let groups_length = take_u32(footer, 28).expect("the footer has a fixed length") as usize;
        if groups_offset.checked_add(groups_length as u64) != Some(offset) {
            return Err(damaged("its footer makes no sense"));
        }
        Ok(Footer { groups_offset, groups_length })
    }

    /// The index of the groups.
    fn groups<D: Disk>(&self, store: &Store<D>) -> Result<Groups, ReadError> {
        if let Some(groups) = self.groups.get() {
            return Ok(groups.clone());
        }
        let footer = self.footer(store)?;
        let place = self.place(footer.groups_offset, footer.groups_length);
        if footer.groups_length > KEPT_INDEX_BYTES {
            return Block::parse(store.block(place)?).and_then(Groups::new).map_err(|_| self.malformed());
        }
        let bytes = place.checked(store.read(place.id, place.offset, place.length)?)?;
        let groups = Block::parse(bytes).and_then(Groups::new).map_err(|_| self.malformed())?;
        Ok(self.groups.get_or_init(|| groups).clone())
    }

    fn group(&self, groups: &Block, number: usize) -> Result<Group, ReadError> {
        let parse = |bytes: &[u8]| {
            let mut at = 0;
            Some(Group {
                offset: take_varint(bytes, &mut at)?,
                data_length: take_length(bytes, &mut at)?,
                index_length: take_length(bytes, &mut at)?,
            })
        };
        let entry = groups.entry(number).map_err(|_| self.malformed())?;
        entry.value.and_then(parse).filter(|group| group.fits(self.meta.length)).ok_or_else(|| self.malformed())
    }

    /// The index in the content of a group's last block.
    fn index_in(&self, content: &Bytes) -> Result<Block, ReadError> {
        let (length, _) = split_index(content).ok_or_else(|| self.malformed())?;
        Block::parse(content.slice(..length)).map_err(|_| self.malformed())
    }

    /// The content of a group's last block.
    fn group_end<D: Disk>(&self, store: &Store<D>, group: Group) -> Result<Bytes, ReadError> {
        store.block(self.place(group.offset + group.data_length as u64, group.index_length))
    }

    /// Where the data block of this number lies: offset in its group, length.
    fn block_place(&self, group: Group, index: &Block, number: usize) -> Result<(usize, usize), ReadError> {
        let parse = |bytes: &[u8]| {
            let mut at = 0;
            let place = (take_length(bytes, &mut at)?, take_length(bytes, &mut at)?);
            (place.0.checked_add(place.1)? <= group.data_length).then_some(place)
        };
        let entry = index.entry(number).map_err(|_| self.malformed())?;
        entry.value.and_then(parse).ok_or_else(|| self.malformed())
    }

    /// The newest row of `key` at or below version `at`. `hash` is the key's.
    pub(super) fn get<D: Disk>(&self, store: &Store<D>, key: &[u8], hash: u64, at: u64) -> Result<Option<Found>, ReadError> {
        let loaded;
        let groups = match self.groups.get() {
            Some(groups) => groups,
            None => {
                loaded = self.groups(store)?;
                &loaded
            }
        };
        let number = groups.search((key, at)).map_err(|_| self.malformed())?;
        if number == groups.block.restarts() {
            return Ok(None);
        }
        let group = self.group(&groups.block, number)?;
        let content = self.group_end(store, group)?;
        let (_, filter) = split_index(&content).ok_or_else(|| self.malformed())?;
        if !filter::may_contain(filter, hash) {
            return Ok(None);
        }
        self.get_in_group(store, group, &self.index_in(&content)?, key, at)
    }

    fn get_in_group<D: Disk>(
        &self,
        store: &Store<D>,
        group: Group,
        index: &Block,
        key: &[u8],
        at: u64,
    ) -> Result<Option<Found>, ReadError> {
        let number = index.search((key, at)).map_err(|_| self.malformed())?;
        if number == index.restarts() {
            return Ok(None);
        }
        let (offset, length) = self.block_place(group, index, number)?;
        let bytes = store.block(self.place(group.offset + offset as u64, length))?;
        let block = Block::parse(bytes).map_err(|_| self.malformed())?;
        let cursor = BlockCursor::seek(block, (key, at)).map_err(|_| self.malformed())?;
        Ok(cursor.row().filter(|row| row.key == key).map(|row| Found { version: row.version, value: cursor.value() }))
    }
}

impl Group {
    fn fits(self, file_length: u64) -> bool {
        let length = self.data_length.checked_add(self.index_length);
        length.and_then(|length| self.offset.checked_add(length as u64)).is_some_and(|end| end <= file_length)
    }
}

/// How a cursor reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Block by block through the cache: a scan.
    Cached,
    /// A group at a time beside the cache: a merge, which reads every row once.
    Bulk,
}

/// A place in a file, moving forward.
pub(super) struct FileCursor {
    file: Arc<TableFile>,
    access: Access,
    groups: Groups,
    group_number: usize,
    group: Group,
    index: Block,
    block_number: usize,
    /// The group's bytes, if reading in bulk.
    group_bytes: Bytes,
    /// `None`: at the end.
    rows: Option<BlockCursor>,
}

impl FileCursor {
    /// At the first row not before the target.
    pub(super) fn seek<D: Disk>(store: &Store<D>, file: Arc<TableFile>, access: Access, target: (&[u8], u64)) -> Result<Self, ReadError> {
        let groups = file.groups(store)?;
        let number = groups.search(target).map_err(|_| file.malformed())?;
        let mut cursor = FileCursor {
            access,
            group_number: number,
            group: Group { offset: 0, data_length: 0, index_length: 0 },
            index: groups.block.clone(),
            groups,
            block_number: 0,
            group_bytes: Bytes::new(),
            rows: None,
            file,
        };
        if number == cursor.groups.block.restarts() {
            return Ok(cursor);
        }
        cursor.enter_group(store)?;
        cursor.block_number = cursor.index.search(target).map_err(|_| cursor.file.malformed())?;
        if cursor.block_number < cursor.index.restarts() {
            let block = cursor.load_block(store)?;
            cursor.rows = Some(BlockCursor::seek(block, target).map_err(|_| cursor.file.malformed())?);
        }
        Ok(cursor)
    }

    pub(super) fn row(&self) -> Option<RowRef<'_>> {
        self.rows.as_ref()?.row()
    }

    pub(super) fn value(&self) -> Option<Bytes> {
        self.rows.as_ref()?.value()
    }

    pub(super) fn advance<D: Disk>(&mut self, store: &Store<D>) -> Result<(), ReadError> {
        let Some(rows) = &mut self.rows else { return Ok(()) };
        rows.advance().map_err(|_| self.file.malformed())?;
        if rows.row().is_some() {
            return Ok(());
        }
        self.next_block(store)
    }

    /// Moves forward to the first row not before the target; inside the present block if it lies there.
    pub(super) fn skip_to<D: Disk>(&mut self, store: &Store<D>, target: (&[u8], u64)) -> Result<(), ReadError> {
        if self.row().is_none_or(|row| compare((row.key, row.version), target) != Ordering::Less) {
            return Ok(());
        }
        *self = FileCursor::seek(store, self.file.clone(), self.access, target)?;
        Ok(())
    }

    fn next_block<D: Disk>(&mut self, store: &Store<D>) -> Result<(), ReadError> {
        self.block_number += 1;
        if self.block_number == self.index.restarts() {
            self.group_number += 1;
            if self.group_number == self.groups.block.restarts() {
                self.rows = None;
                return Ok(());
            }
            self.enter_group(store)?;
        }
        let block = self.load_block(store)?;
        let rows = self.rows.as_mut().expect("the cursor stood in a block");
        rows.enter(block).map_err(|_| self.file.malformed())
    }

    fn enter_group<D: Disk>(&mut self, store: &Store<D>) -> Result<(), ReadError> {
        self.group = self.file.group(&self.groups.block, self.group_number)?;
        self.block_number = 0;
        let Group { offset, data_length, index_length } = self.group;
        self.index = match self.access {
            Access::Cached => self.file.index_in(&self.file.group_end(store, self.group)?)?,
            Access::Bulk => {
                self.group_bytes = store.read(self.file.meta.id, offset, data_length + index_length)?;
                let place = self.file.place(offset + data_length as u64, index_length);
                self.file.index_in(&place.checked(self.group_bytes.slice(data_length..))?)?
            }
        };
        Ok(())
    }

    fn load_block<D: Disk>(&self, store: &Store<D>) -> Result<Block, ReadError> {
        let (offset, length) = self.file.block_place(self.group, &self.index, self.block_number)?;
        let place = self.file.place(self.group.offset + offset as u64, length);
        let bytes = match self.access {
            Access::Cached => store.block(place)?,
            Access::Bulk => place.checked(self.group_bytes.slice(offset..offset + length))?,
        };
        Block::parse(bytes).map_err(|_| self.file.malformed())
    }
}
