//! Choosing elements by chance.

use std::collections::BTreeSet;

use crate::engine::call::Call;
use crate::engine::host::Host;
use crate::protocol::errors::{Failure, OUT_OF_RANGE};
use crate::protocol::limits::REPEATED_PICKS;

/// A place below `length`, which is not 0.
pub(super) fn one(host: &mut dyn Host, length: usize) -> usize {
    // The upper half of a product of two 64-bit numbers: as good as even.
    ((u128::from(host.random()) * length as u128) >> 64) as usize
}

/// So many different places below `length`, at most all (Floyd's algorithm: no more memory than what is picked).
pub(super) fn distinct(host: &mut dyn Host, count: usize, length: usize) -> Vec<usize> {
    let mut picked = BTreeSet::new();
    for last in length - count.min(length)..length {
        let place = one(host, last + 1);
        picked.insert(if picked.contains(&place) { last } else { place });
    }
    picked.into_iter().collect()
}

/// How many elements the argument at `index` asks for: different ones, or if it is negative, ones that may repeat. The places of the elements,
/// of `length` many.
pub(super) fn places(call: &mut Call<'_>, index: usize, length: usize) -> Result<Vec<usize>, Failure> {
    let count = parse_count(call, index)?;
    Ok(match count {
        _ if length == 0 => Vec::new(),
        0.. => distinct(call.host, usize::try_from(count).unwrap_or(usize::MAX), length),
        _ => (0..count.unsigned_abs()).map(|_| one(call.host, length)).collect(),
    })
}

/// A count that may be negative, but not without bound.
pub(super) fn parse_count(call: &Call<'_>, index: usize) -> Result<i64, Failure> {
    let count = call.integer(index)?;
    if count < 0 && count.unsigned_abs() > REPEATED_PICKS { Err(OUT_OF_RANGE) } else { Ok(count) }
}
