//! What the tables' files have in common: names, format numbers, checksums, and numbers read out of a slice.

use steadfast_types::disk::{Disk, DiskError, DiskFile};

/// The format written, of table files and of the manifest alike. Older ones are read, newer ones refused.
pub(super) const FORMAT: u32 = 1;

/// The manifest's name; whatever it names makes the tables.
pub(super) const MANIFEST: &str = "tables-manifest";

/// The next manifest while it is being written.
pub(super) const MANIFEST_NEW: &str = "tables-manifest.new";

/// How many bytes a checksum takes, at the end of what it covers.
pub(super) const CHECKSUM_BYTES: usize = 4;

const FILE_PREFIX: &str = "table-";

/// The name of table file `id`.
pub(super) fn file_name(id: u64) -> String {
    format!("{FILE_PREFIX}{id:016x}")
}

/// The id in a table file's name.
pub(super) fn file_id(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix(FILE_PREFIX)?, 16).ok()
}

/// CRC32C of a block together with the place it belongs to, so that a misdirected write or read is found out as well.
pub(super) fn checksum(birth: u64, offset: u64, bytes: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&birth.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), bytes)
}

/// The varint at `at`, moving `at` behind it. The wire codec's numbers, from a plain slice: blocks are searched too often to clone
/// reference counts on the way.
pub(super) fn take_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    let mut value = u64::from(first & 0x7f);
    for shift in (7..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The varint at `at` as a length or an offset in memory.
pub(super) fn take_length(bytes: &[u8], at: &mut usize) -> Option<usize> {
    usize::try_from(take_varint(bytes, at)?).ok()
}

/// The four bytes at `at` as a number.
pub(super) fn take_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
}

/// Splits a checked block into its content, or says that it is damaged.
pub(super) fn content(birth: u64, offset: u64, bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.len().checked_sub(CHECKSUM_BYTES)?;
    (take_u32(bytes, end)? == checksum(birth, offset, &bytes[..end])).then(|| &bytes[..end])
}

/// Reads until `buffer` is full or the file ends; how much was read.
///
/// # Errors
/// The disk failed.
pub(super) fn read_fully(file: &impl DiskFile, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(offset + read as u64, &mut buffer[read..])? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

/// The whole of a file of at most `limit` bytes; `None` if it is longer.
///
/// # Errors
/// The disk failed.
pub(super) fn read_whole<D: Disk>(disk: &D, name: &str, limit: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let file = disk.open(name)?;
    let length = file.length()?;
    if length > limit {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length).expect("the limit fits into memory")];
    let read = read_fully(&file, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_the_wire_codec_are_read_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            steadfast_types::wire::put_varint(&mut bytes, value);
            let mut at = 0;
            assert_eq!(take_varint(&bytes, &mut at), Some(value));
            assert_eq!(at, bytes.len());
            assert_eq!(take_varint(&bytes[..bytes.len() - 1], &mut 0), None);
        }
    }

    #[test]
    fn a_block_in_the_wrong_place_fails_its_checksum() {
        let mut block = b"rows".to_vec();
        block.extend_from_slice(&checksum(7, 4096, b"rows").to_le_bytes());
        assert_eq!(content(7, 4096, &block), Some(&b"rows"[..]));
        assert_eq!(content(7, 8192, &block), None);
        assert_eq!(content(8, 4096, &block), None);
    }

    #[test]
    fn file_names_are_read_back() {
        assert_eq!(file_id(&file_name(0xabc)), Some(0xabc));
        assert_eq!(file_id("log-0001"), None);
    }
}
