//! The numbers of the format. All are little-endian.
//!
//! ```text
//! page header (16):    id 8, flags 2, count 2, overflow 4 (further pages that belong to it)
//! meta, after it (64): magic 4, version 4, page size 4, flags 4, root bucket (root page 8, sequence 8), free list's page 8,
//!                      pages in use 8, transaction 8, checksum 8 (FNV-1a, 64 bits, of what stands before it)
//! branch element (16): position of the key from here 4, length of the key 4, page 8
//! leaf element (16):   flags 4, position of the key from here 4, length of the key 4, length of the value 4, which follows the key
//! bucket (16):         root page 8, sequence 8; with root page 0 a leaf page follows in place
//! ```
//!
//! Pages 0 and 1 are metas; the valid one with the larger transaction counts. The root bucket's keys are the names of the buckets.

pub(crate) const MAGIC: u32 = 0xED0C_DAED;
pub(crate) const VERSION: u32 = 2;

pub(crate) const HEADER_BYTES: usize = 16;
pub(crate) const ELEMENT_BYTES: usize = 16;
pub(crate) const META_BYTES: usize = 64;
pub(crate) const BUCKET_BYTES: usize = 16;

pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META: u16 = 0x04;
pub(crate) const FREE_LIST: u16 = 0x10;

/// A leaf element's flag: its value is a bucket.
pub(crate) const IS_BUCKET: u32 = 0x01;

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_bytes: u32,
    pub(crate) root: u64,
    pub(crate) free_list: u64,
    /// Pages in use: all ids are below it.
    pub(crate) pages: u64,
    pub(crate) transaction: u64,
}

impl Meta {
    pub(crate) fn encode(&self) -> [u8; META_BYTES] {
        let mut bytes = [0; META_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.page_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.root.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.free_list.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.pages.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.transaction.to_le_bytes());
        let checksum = fnv1a(&bytes[..56]);
        bytes[56..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None` if it is not a meta of the known version, or its checksum is wrong.
    pub(crate) fn decode(bytes: &[u8; META_BYTES]) -> Option<Self> {
        let is_known = (u32_at(bytes, 0)?, u32_at(bytes, 4)?) == (MAGIC, VERSION);
        let is_intact = u64_at(bytes, 56)? == fnv1a(&bytes[..56]);
        let meta = Meta {
            page_bytes: u32_at(bytes, 8)?,
            root: u64_at(bytes, 16)?,
            free_list: u64_at(bytes, 32)?,
            pages: u64_at(bytes, 40)?,
            transaction: u64_at(bytes, 48)?,
        };
        (is_known && is_intact).then_some(meta)
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_is_read_back_and_any_changed_byte_is_noticed() {
        let meta = Meta { page_bytes: 4096, root: 7, free_list: 2, pages: 9, transaction: 1 };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Some(meta));
        for at in 0..META_BYTES {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert_eq!(Meta::decode(&changed), None, "byte {at}");
        }
    }

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
