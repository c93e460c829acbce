//! Blocks of sorted rows: the unit that is read, checked and cached.
//!
//! Rows stand by key ascending, then version descending. A row is: how many bytes of the row before's key it shares, how many follow, the
//! version, the value's length plus one (0: a tombstone), the rest of the key, the value; all numbers varints. Every `interval`th row
//! shares nothing and is listed at the block's end, for binary search. Index blocks have an interval of one, so that their entries are
//! addressed by number.

use bytes::Bytes;
use core::cmp::Ordering;
use core::ops::Range;
use steadfast_types::wire::put_varint;

use super::format::{take_length, take_u32, take_varint};

/// A row where it stands, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowRef<'a> {
    pub(super) key: &'a [u8],
    pub(super) version: u64,
    /// `None`: a tombstone.
    pub(super) value: Option<&'a [u8]>,
}

/// The order of rows: key ascending, version descending.
pub(super) fn compare(a: (&[u8], u64), b: (&[u8], u64)) -> Ordering {
    a.0.cmp(b.0).then(b.1.cmp(&a.1))
}

/// Builds a block row by row.
pub(super) struct BlockBuilder {
    rows: Vec<u8>,
    restarts: Vec<u32>,
    interval: usize,
    since_restart: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    pub(super) fn new(interval: usize) -> Self {
        BlockBuilder { rows: Vec::new(), restarts: Vec::new(), interval, since_restart: 0, last_key: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.restarts.is_empty()
    }

    /// About how long the block is so far, bytes.
    pub(super) fn length(&self) -> usize {
        self.rows.len() + 4 * self.restarts.len() + 4
    }

    pub(super) fn add(&mut self, row: RowRef<'_>) {
        let shared = if self.restarts.is_empty() || self.since_restart == self.interval {
            self.restarts.push(u32::try_from(self.rows.len()).expect("a block is closed long before 4 GiB"));
            self.since_restart = 0;
            0
        } else {
            shared_length(&self.last_key, row.key)
        };
        self.since_restart += 1;
        let rest = &row.key[shared..];
        put_varint(&mut self.rows, shared as u64);
        put_varint(&mut self.rows, rest.len() as u64);
        put_varint(&mut self.rows, row.version);
        put_varint(&mut self.rows, row.value.map_or(0, |value| value.len() as u64 + 1));
        self.rows.extend_from_slice(rest);
        self.rows.extend_from_slice(row.value.unwrap_or_default());
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(rest);
    }

    /// Appends the finished block to `out` and starts over.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.rows);
        for restart in &self.restarts {
            out.extend_from_slice(&restart.to_le_bytes());
        }
        out.extend_from_slice(&u32::try_from(self.restarts.len()).expect("fewer than rows").to_le_bytes());
        self.rows.clear();
        self.restarts.clear();
        self.since_restart = 0;
        self.last_key.clear();
    }
}

/// How many bytes two keys have in common at their start.
pub(super) fn shared_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The eight bytes of `key` from `skip` on, as a number of the same order; a shorter key is filled up with zeros.
pub(super) fn prefix(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or_default();
    if let Some(eight) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*eight);
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}

/// A block whose checksum was good and whose content still is not a block: a fault of the writer, or a very lucky damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A block in memory, shared.
#[derive(Clone, Debug)]
pub(super) struct Block {
    bytes: Bytes,
    rows_end: usize,
    restarts: usize,
}

/// A row's place in its block.
struct Place {
    shared: usize,
    rest: Range<usize>,
    version: u64,
    value: Option<Range<usize>>,
    end: usize,
}

impl Block {
    /// Takes the content of a checked block.
    pub(super) fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        let count_at = bytes.len().checked_sub(4).ok_or(Malformed)?;
        let restarts = take_u32(&bytes, count_at).ok_or(Malformed)? as usize;
        let rows_end = restarts.checked_mul(4).and_then(|length| count_at.checked_sub(length)).ok_or(Malformed)?;
        Ok(Block { bytes, rows_end, restarts })
    }

    /// How many restarts there are; in an index block, how many entries.
    pub(super) fn restarts(&self) -> usize {
        self.restarts
    }

    /// The bytes of the block.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn place(&self, mut at: usize) -> Option<Place> {
        let rows = &self.bytes[..self.rows_end];
        let shared = take_length(rows, &mut at)?;
        let rest_length = take_length(rows, &mut at)?;
        let version = take_varint(rows, &mut at)?;
        let value_length = take_length(rows, &mut at)?;
        let rest = at..at.checked_add(rest_length)?;
        let (value, end) = match value_length.checked_sub(1) {
            Some(length) => {
                let value = rest.end..rest.end.checked_add(length)?;
                (Some(value.clone()), value.end)
            }
            None => (None, rest.end),
        };
        (end <= rows.len()).then_some(Place { shared, rest, version, value, end })
    }

    fn restart_place(&self, number: usize) -> Result<Place, Malformed> {
        let offset = take_u32(&self.bytes, self.rows_end + 4 * number).ok_or(Malformed)?;
        self.place(offset as usize).filter(|place| place.shared == 0).ok_or(Malformed)
    }

    /// The row at restart `number`, whose key stands there whole.
    pub(super) fn entry(&self, number: usize) -> Result<RowRef<'_>, Malformed> {
        let place = self.restart_place(number)?;
        Ok(RowRef { key: &self.bytes[place.rest], version: place.version, value: place.value.map(|value| &self.bytes[value]) })
    }

    /// The number of the first restart that is not before the target.
    pub(super) fn search(&self, target: (&[u8], u64)) -> Result<usize, Malformed> {
        self.search_among(0..self.restarts, target)
    }

    /// As `search`, among some of the restarts: those before come before the target, those after do not.
    pub(super) fn search_among(&self, among: Range<usize>, target: (&[u8], u64)) -> Result<usize, Malformed> {
        let Range { start: mut low, end: mut high } = among;
        while low < high {
            let middle = usize::midpoint(low, high);
            let entry = self.entry(middle)?;
            match compare((entry.key, entry.version), target) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Ok(low)
    }
}

/// A place in a block, moving forward.
#[derive(Clone, Debug)]
pub(super) struct BlockCursor {
    block: Block,
    next: usize,
    key: Vec<u8>,
    version: u64,
    value: Option<Range<usize>>,
    /// Whether there is a row here.
    valid: bool,
}

impl BlockCursor {
    /// At the first row.
    #[cfg(test)]
    pub(super) fn first(block: Block) -> Result<Self, Malformed> {
        let mut cursor = BlockCursor { block, next: 0, key: Vec::new(), version: 0, value: None, valid: false };
        cursor.advance()?;
        Ok(cursor)
    }

    /// At the first row that is not before the target.
    pub(super) fn seek(block: Block, target: (&[u8], u64)) -> Result<Self, Malformed> {
        let after = block.search(target)?;
        let mut cursor = BlockCursor { next: 0, key: Vec::with_capacity(64), version: 0, value: None, valid: false, block };
        if after > 0 {
            cursor.next = take_u32(&cursor.block.bytes, cursor.block.rows_end + 4 * (after - 1)).ok_or(Malformed)? as usize;
        }
        cursor.advance()?;
        while cursor.valid && compare((&cursor.key, cursor.version), target) == Ordering::Less {
            cursor.advance()?;
        }
        Ok(cursor)
    }

    /// Enters another block, keeping the key's memory.
    pub(super) fn enter(&mut self, block: Block) -> Result<(), Malformed> {
        self.block = block;
        self.next = 0;
        self.key.clear();
        self.advance()
    }

    /// The row here, unless the block is at its end.
    pub(super) fn row(&self) -> Option<RowRef<'_>> {
        self.valid.then(|| RowRef {
            key: &self.key,
            version: self.version,
            value: self.value.clone().map(|value| &self.block.bytes[value]),
        })
    }

    /// The value here; shares the block only if it is a good part of it, so that a small value never keeps a whole block in memory.
    pub(super) fn value(&self) -> Option<Bytes> {
        let value = self.value.clone()?;
        if value.len() * 4 >= self.block.bytes.len() {
            return Some(self.block.bytes.slice(value));
        }
        Some(Bytes::copy_from_slice(&self.block.bytes[value]))
    }

    /// Moves to the next row.
    pub(super) fn advance(&mut self) -> Result<(), Malformed> {
        if self.next >= self.block.rows_end {
            self.valid = false;
            return Ok(());
        }
        let place = self.block.place(self.next).ok_or(Malformed)?;
        if place.shared > self.key.len() {
            return Err(Malformed);
        }
        self.key.truncate(place.shared);
        self.key.extend_from_slice(&self.block.bytes[place.rest]);
        self.version = place.version;
        self.value = place.value;
        self.next = place.end;
        self.valid = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rows: usize, interval: usize) -> (Block, Vec<(String, u64)>) {
        let mut builder = BlockBuilder::new(interval);
        let mut expected = Vec::new();
        for i in 0..rows {
            let key = format!("key-{:04}", i / 3 * 2);
            let version = 10 - (i % 3) as u64;
            builder.add(RowRef { key: key.as_bytes(), version, value: (i % 4 > 0).then_some(b"value") });
            expected.push((key, version));
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes);
        (Block::parse(bytes.into()).unwrap(), expected)
    }

    #[test]
    fn rows_come_back_in_order() {
        for interval in [1, 2, 8] {
            let (block, expected) = sample(50, interval);
            let mut cursor = BlockCursor::first(block).unwrap();
            for (i, (key, version)) in expected.iter().enumerate() {
                let row = cursor.row().unwrap();
                assert_eq!((row.key, row.version, row.value.is_some()), (key.as_bytes(), *version, i % 4 > 0));
                cursor.advance().unwrap();
            }
            assert_eq!(cursor.row(), None);
        }
    }

    #[test]
    fn seeking_finds_the_first_row_not_before_the_target() {
        let (block, expected) = sample(50, 4);
        for number in 0..40 {
            for version in [0, 8, 9, 10, 11, u64::MAX] {
                let target = format!("key-{number:04}");
                let found = BlockCursor::seek(block.clone(), (target.as_bytes(), version)).unwrap();
                let wanted = expected.iter().find(|(k, v)| compare((k.as_bytes(), *v), (target.as_bytes(), version)) != Ordering::Less);
                assert_eq!(found.row().map(|row| (row.key, row.version)), wanted.map(|(k, v)| (k.as_bytes(), *v)));
            }
        }
    }

    #[test]
    fn no_bytes_make_a_block_panic() {
        let (block, _) = sample(20, 4);
        let bytes = block.bytes().to_vec();
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let Ok(block) = Block::parse(damaged.into()) else { continue };
                let _ = BlockCursor::seek(block.clone(), (b"key-0008", 9));
                let Ok(mut cursor) = BlockCursor::first(block) else { continue };
                while cursor.row().is_some() && cursor.advance().is_ok() {}
            }
        }
    }
}
