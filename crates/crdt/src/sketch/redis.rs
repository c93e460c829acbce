//! The strings in which Redis keeps sketches: GET on such a key gives one, and SET of one makes such a key.
//!
//! A header of 16 bytes ("HYLL", the encoding, three bytes of nothing, the estimate with its highest bit set if it is out of date), then the registers: dense, as
//! 6 bits each, or sparse, as runs of zeros (`00nnnnnn`, `01nnnnnn nnnnnnnn`) and of equal ranks (`1rrrrrnn`), all counts and ranks less one.

use alloc::vec::Vec;

use super::{DENSE_BYTES, REGISTERS, Register, Sketch, rank_in};

const MAGIC: &[u8] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const HEADER_BYTES: usize = 16;

impl Sketch {
    /// The sketch as Redis keeps it when it is dense.
    pub fn to_redis(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + DENSE_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[DENSE, 0, 0, 0]);
        out.extend_from_slice(&self.count().to_le_bytes());
        out.extend_from_slice(&self.packed());
        out
    }

    /// Whether Redis takes a string for a sketch (one that may be damaged beyond its header).
    pub fn is_redis(text: &[u8]) -> bool {
        text.len() >= HEADER_BYTES
            && text.starts_with(MAGIC)
            && (text[4] == SPARSE || text[4] == DENSE && text.len() == HEADER_BYTES + DENSE_BYTES)
    }

    /// The sketch that Redis kept in a string; `None` if that is no sketch, or is damaged.
    pub fn from_redis(text: &[u8]) -> Option<Self> {
        if !Self::is_redis(text) {
            return None;
        }
        let (encoding, registers) = (text[4], &text[HEADER_BYTES..]);
        if encoding == SPARSE {
            return from_sparse(registers);
        }
        let mut sketch = Self::default();
        for index in 0..REGISTERS {
            if let rank @ 1.. = rank_in(registers, index) {
                sketch.raise(Register::new(index, rank)?);
            }
        }
        Some(sketch)
    }
}

fn from_sparse(mut code: &[u8]) -> Option<Sketch> {
    let (mut sketch, mut index) = (Sketch::default(), 0);
    while let [first, rest @ ..] = code {
        code = rest;
        let count = match first >> 6 {
            0 => usize::from(first & 0x3f) + 1,
            1 => {
                let (second, rest) = rest.split_first()?;
                code = rest;
                (usize::from(first & 0x3f) << 8 | usize::from(*second)) + 1
            }
            _ => {
                let (rank, count) = ((first >> 2 & 0x1f) + 1, usize::from(first & 3) + 1);
                for index in index..index + count {
                    sketch.raise(Register::new(index, rank)?);
                }
                count
            }
        };
        index += count;
    }
    (index == REGISTERS).then_some(sketch)
}
