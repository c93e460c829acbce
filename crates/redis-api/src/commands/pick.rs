//! Choosing elements by chance.

use std::collections::BTreeSet;

use crate::engine::call::{Call, Outcome};
use crate::engine::host::Host;
use crate::engine::store::{Kind, Store};
use crate::protocol::errors::{Failure, OUT_OF_RANGE, SYNTAX};
use crate::protocol::limits::REPEATED_PICKS;
use crate::protocol::reply::Version;

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

/// What is answered with an element, if it is asked for.
#[derive(Debug)]
pub(super) enum Second {
    None,
    Value(Vec<u8>),
    Score(f64),
}

/// The element of a key at a place.
type At = fn(&dyn Store, &[u8], usize) -> (Vec<u8>, Second);

/// Answers elements of a key that are chosen by chance: one, or as many as the second argument says, all different, or if it is negative, ones that may
/// repeat. A third argument, if it may have one, asks for what goes with them.
pub(super) fn answer(call: &mut Call<'_>, kind: Kind, option: Option<&str>, at: At) -> Outcome {
    let key = call.argument(1);
    if option.is_none() && call.len() > 3 {
        return Err(SYNTAX);
    }
    let count = if call.len() > 2 { Some(parse_count(call, 2)?) } else { None };
    let with_second = match call.len() {
        2 | 3 => false,
        4 if option.is_some_and(|option| call.is(3, option)) => true,
        _ => return Err(SYNTAX),
    };
    let length = if call.has(key, kind)? { length(call.store, key, kind) } else { 0 };
    let places = match count {
        None if length == 0 => {
            call.reply.null();
            return Ok(());
        }
        None => {
            let place = one(call.host, length);
            call.reply.bulk(&at(call.store, key, place).0);
            return Ok(());
        }
        Some(_) if length == 0 => Vec::new(),
        Some(count @ 0..) => distinct(call.host, usize::try_from(count).unwrap_or(usize::MAX), length),
        Some(count) => (0..count.unsigned_abs()).map(|_| one(call.host, length)).collect(),
    };
    let nests = with_second && call.reply.version() == Version::Three;
    call.reply.array(if with_second && !nests { 2 * places.len() } else { places.len() });
    for (name, second) in places.into_iter().map(|place| at(call.store, key, place)) {
        if nests {
            call.reply.array(2);
        }
        call.reply.bulk(&name);
        match second {
            _ if !with_second => {}
            Second::None => {}
            Second::Value(value) => call.reply.bulk(&value),
            Second::Score(score) => call.reply.double(score),
        }
    }
    Ok(())
}

/// How many elements a key of this kind has.
fn length(store: &dyn Store, key: &[u8], kind: Kind) -> usize {
    match kind {
        Kind::Hash => store.hash_len(key),
        Kind::Set => store.set_len(key),
        Kind::Sorted => store.sorted_len(key),
        Kind::List => store.list_len(key),
        Kind::Text | Kind::Sketch => 0,
    }
}

/// A count that may be negative, but not without bound.
fn parse_count(call: &Call<'_>, index: usize) -> Result<i64, Failure> {
    let count = call.integer(index)?;
    if count < 0 && count.unsigned_abs() > REPEATED_PICKS { Err(OUT_OF_RANGE) } else { Ok(count) }
}
