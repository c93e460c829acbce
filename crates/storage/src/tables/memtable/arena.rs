//! Rows laid end to end in large chunks: a row costs its bytes, and none of the buffers that its key and value came in stay alive.
//!
//! A row is: the key's length (varint), the version (8 bytes), the value's length plus one (varint; 0: a tombstone), the key, the value.

use steadfast_types::wire::put_varint;

use super::super::block::RowRef;
use super::super::format::{take_length, take_varint};

const CHUNK_BITS: u32 = 18;
const CHUNK: usize = 1 << CHUNK_BITS;
/// Larger rows get a chunk of their own, so that a chunk's unused end stays small.
const LARGE_ROW: usize = CHUNK / 8;

/// Where a row begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Address(u32);

#[derive(Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<u8>>,
    /// The chunk that small rows go to.
    open: usize,
    bytes: usize,
}

impl Arena {
    /// The bytes of all rows, overwritten ones included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, row: RowRef<'_>) -> Address {
        let length = encoded_length(row);
        self.bytes += length;
        let chunk = if length > LARGE_ROW { self.add_chunk(length) } else { self.chunk_with_room(length) };
        let offset = self.chunks[chunk].len();
        encode(row, &mut self.chunks[chunk]);
        let number = u32::try_from(chunk).ok().filter(|&number| number < 1 << (32 - CHUNK_BITS));
        Address(number.expect("rows in memory are bounded: the caller heeds `pressure`") << CHUNK_BITS | offset as u32)
    }

    fn chunk_with_room(&mut self, length: usize) -> usize {
        let room = self.chunks.get(self.open).is_some_and(|chunk| chunk.capacity() - chunk.len() >= length);
        if !room {
            // The first chunks are small, so that a memtable of few rows is.
            let capacity = (4096 << self.chunks.len().min(6)).max(length).min(CHUNK);
            self.open = self.add_chunk(capacity);
        }
        self.open
    }

    fn add_chunk(&mut self, capacity: usize) -> usize {
        self.chunks.push(Vec::with_capacity(capacity));
        self.chunks.len() - 1
    }

    /// Writes `row` over the one at `address` if both take the same space; whether it did.
    pub(super) fn overwrite(&mut self, address: Address, row: RowRef<'_>) -> bool {
        if encoded_length(self.row(address)) != encoded_length(row) {
            return false;
        }
        let (chunk, offset) = address.split();
        let mut encoded = Vec::with_capacity(encoded_length(row));
        encode(row, &mut encoded);
        self.chunks[chunk][offset..offset + encoded.len()].copy_from_slice(&encoded);
        true
    }

    pub(super) fn row(&self, address: Address) -> RowRef<'_> {
        let (chunk, offset) = address.split();
        decode(&self.chunks[chunk][offset..]).expect("an address is where a row was put")
    }
}

impl Address {
    fn split(self) -> (usize, usize) {
        ((self.0 >> CHUNK_BITS) as usize, self.0 as usize & (CHUNK - 1))
    }
}

fn varint_length(value: usize) -> usize {
    (value | 1).ilog2() as usize / 7 + 1
}

fn encoded_length(row: RowRef<'_>) -> usize {
    let value = row.value.map_or(0, |value| value.len() + 1);
    varint_length(row.key.len()) + 8 + varint_length(value) + row.key.len() + row.value.map_or(0, <[u8]>::len)
}

fn encode(row: RowRef<'_>, out: &mut Vec<u8>) {
    put_varint(out, row.key.len() as u64);
    out.extend_from_slice(&row.version.to_le_bytes());
    put_varint(out, row.value.map_or(0, |value| value.len() as u64 + 1));
    out.extend_from_slice(row.key);
    out.extend_from_slice(row.value.unwrap_or_default());
}

fn decode(bytes: &[u8]) -> Option<RowRef<'_>> {
    let mut at = 0;
    let key_length = take_length(bytes, &mut at)?;
    let version = u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
    at += 8;
    let value_tag = take_varint(bytes, &mut at)? as usize;
    let key = bytes.get(at..at + key_length)?;
    at += key_length;
    let value = match value_tag.checked_sub(1) {
        Some(length) => Some(bytes.get(at..at + length)?),
        None => None,
    };
    Some(RowRef { key, version, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_all_sizes_come_back() {
        let mut arena = Arena::default();
        let mut rows = Vec::new();
        for length in [0usize, 1, 126, 127, 128, 5000, LARGE_ROW, CHUNK, 3 * CHUNK] {
            for key_length in [1, 127, 128, 1000] {
                let (key, value) = (vec![7; key_length], vec![9; length]);
                let address = arena.push(RowRef { key: &key, version: length as u64, value: Some(&value) });
                rows.push((address, key, value));
            }
        }
        let tombstone = arena.push(RowRef { key: b"gone", version: 3, value: None });
        for (address, key, value) in &rows {
            assert_eq!(arena.row(*address), RowRef { key, version: value.len() as u64, value: Some(value) });
        }
        assert_eq!(arena.row(tombstone), RowRef { key: b"gone", version: 3, value: None });
    }

    #[test]
    fn only_rows_of_equal_length_are_overwritten() {
        let mut arena = Arena::default();
        let address = arena.push(RowRef { key: b"a", version: 1, value: Some(b"xyz") });
        assert!(!arena.overwrite(address, RowRef { key: b"a", version: 2, value: Some(b"long") }));
        assert!(arena.overwrite(address, RowRef { key: b"a", version: u64::MAX, value: Some(b"new") }));
        assert_eq!(arena.row(address), RowRef { key: b"a", version: u64::MAX, value: Some(b"new") });
    }
}
