//! One page as it was read: every access is checked against its bytes.

use bytes::Bytes;

use crate::format::{BRANCH, ELEMENT_BYTES, HEADER_BYTES, LEAF, u16_at, u32_at, u64_at};

/// What a page of a tree holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Keys and pages below.
    Branch,
    /// Keys and values.
    Leaf,
}

/// A branch or leaf page with those that it overflows into.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) kind: Kind,
    pub(crate) count: usize,
    bytes: Bytes,
}

/// An element of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) flags: u32,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

/// The header of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.flags.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..].copy_from_slice(&self.overflow.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Header { id: u64_at(bytes, 0)?, flags: u16_at(bytes, 8)?, count: u16_at(bytes, 10)?, overflow: u32_at(bytes, 12)? })
    }
}

impl Page {
    /// The page in these bytes, header and overflow pages included; or what is wrong with it.
    pub(crate) fn new(bytes: Bytes) -> Result<Self, &'static str> {
        let header = Header::decode(&bytes).ok_or("its header is cut short")?;
        let kind = match header.flags {
            BRANCH => Kind::Branch,
            LEAF => Kind::Leaf,
            _ => return Err("it is neither a branch nor a leaf"),
        };
        let count = usize::from(header.count);
        if HEADER_BYTES + count * ELEMENT_BYTES > bytes.len() {
            return Err("it says that it has more elements than fit");
        }
        Ok(Page { kind, count, bytes })
    }

    /// A key and the page below it.
    pub(crate) fn branch(&self, number: usize) -> Option<(Bytes, u64)> {
        let at = self.element(number)?;
        let (position, length) = (u32_at(&self.bytes, at)?, u32_at(&self.bytes, at + 4)?);
        Some((self.part(at, position, 0, length)?, u64_at(&self.bytes, at + 8)?))
    }

    /// A key and its value.
    pub(crate) fn leaf(&self, number: usize) -> Option<Leaf> {
        let at = self.element(number)?;
        let [flags, position, key, value] = [0, 4, 8, 12].map(|field| u32_at(&self.bytes, at + field));
        let (position, key_length) = (position?, key?);
        Some(Leaf { flags: flags?, key: self.part(at, position, 0, key_length)?, value: self.part(at, position, key_length, value?)? })
    }

    fn element(&self, number: usize) -> Option<usize> {
        (number < self.count).then_some(HEADER_BYTES + number * ELEMENT_BYTES)
    }

    /// Bytes that stand `position` and `skip` after the element at `at`. They can't reach into the elements.
    fn part(&self, at: usize, position: u32, skip: u32, length: u32) -> Option<Bytes> {
        let begin = at.checked_add(position as usize)?;
        if begin < HEADER_BYTES + self.count * ELEMENT_BYTES {
            return None;
        }
        let start = begin.checked_add(skip as usize)?;
        let end = start.checked_add(length as usize)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}
