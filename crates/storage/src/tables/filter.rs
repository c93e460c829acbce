//! Bloom filters over keys, versions left out: ten bits a key, of which seven are probed; about one false answer in a hundred.

use xxhash_rust::xxh3::xxh3_64;

const BITS_PER_KEY: usize = 10;
const PROBES: u32 = 7;

/// The hash that filters go by; computed once per lookup, whatever the number of filters asked. Part of the file format.
pub(super) fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// Appends the filter of these keys' hashes to `out`.
pub(super) fn build(hashes: &[u64], out: &mut Vec<u8>) {
    let bits = (hashes.len() * BITS_PER_KEY).next_multiple_of(8).max(64);
    let start = out.len();
    out.resize(start + bits / 8, 0);
    let filter = &mut out[start..];
    for &hash in hashes {
        for bit in probes(hash, bits as u32) {
            filter[bit / 8] |= 1 << (bit % 8);
        }
    }
}

/// Whether the key of this hash may be among those the filter was built from; never no if it is.
pub(super) fn may_contain(filter: &[u8], hash: u64) -> bool {
    // A filter this long cannot have been built; answering yes is always correct.
    let Ok(bits) = u32::try_from(filter.len() * 8) else { return true };
    probes(hash, bits).all(|bit| filter.get(bit / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
}

/// Double hashing (Kirsch and Mitzenmacher, 2006): the halves of one hash make all probes.
fn probes(hash: u64, bits: u32) -> impl Iterator<Item = usize> {
    let (first, step) = (hash as u32, (hash >> 32) as u32 | 1);
    (0..PROBES).map(move |i| {
        let mixed = first.wrapping_add(step.wrapping_mul(i));
        ((u64::from(mixed) * u64::from(bits)) >> 32) as usize
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_know_their_keys_and_few_others() {
        for count in [0u64, 1, 10, 1000] {
            let hashes: Vec<u64> = (0..count).map(|i| hash(&i.to_le_bytes())).collect();
            let mut filter = Vec::new();
            build(&hashes, &mut filter);
            assert!(hashes.iter().all(|&hash| may_contain(&filter, hash)));
            let wrong = (0..10_000u64).filter(|i| may_contain(&filter, hash(&(i + 1_000_000).to_le_bytes()))).count();
            assert!(wrong < 250, "{wrong} of 10000 for {count} keys");
        }
    }
}
