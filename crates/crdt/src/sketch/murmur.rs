//! MurmurHash64A (Austin Appleby, public domain), by which Redis spreads elements over registers.

const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;

/// The seed that Redis has.
const SEED: u64 = 0xadc8_3b19;

fn mixed(word: u64) -> u64 {
    let product = word.wrapping_mul(MULTIPLIER);
    (product ^ product >> 47).wrapping_mul(MULTIPLIER)
}

/// The hash of an element.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let start = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = words.iter().fold(start, |hash, word| (hash ^ mixed(u64::from_le_bytes(*word))).wrapping_mul(MULTIPLIER));
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(MULTIPLIER);
    hash ^ hash >> 47
}
