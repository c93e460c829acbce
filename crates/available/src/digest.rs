//! Digests: what replicas compare to find the keys in which they differ.
//!
//! A key's digest is made of its hash and of the versions that its state is made of, each with the element that bears it; the digest of a range of
//! hashes is the sum over its keys. So it does not depend on how the keys came about or in which order they are held. Chance is guarded against, malice
//! is not: replicas trust each other.

use steadfast_crdt::Version;

/// Spreads the bits of a number over the whole of it (the finalizer of SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A number for a name.
pub(crate) fn hash_bytes(name: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name)
}

/// The digest of one version. What bears it says `of`.
pub(crate) fn digest_of(of: u64, version: Version) -> u64 {
    mix(mix(of).wrapping_add(version.number()))
}
