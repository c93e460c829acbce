//! Commands for sketches, which count distinct elements in little memory (HyperLogLog).

use crate::engine::call::{Call, Outcome};
use crate::engine::store::Kind;
use crate::protocol::errors::{Failure, WRONG_TYPE};

/// A string is no sketch here, although in Redis a sketch is a string.
fn check(call: &Call<'_>, key: &[u8]) -> Result<bool, Failure> {
    match call.store.kind(key) {
        None => Ok(false),
        Some(Kind::Sketch) => Ok(true),
        Some(Kind::Text) => Err(Failure::new("WRONGTYPE Key is not a valid HyperLogLog string value.")),
        Some(_) => Err(WRONG_TYPE),
    }
}

pub(super) fn pfadd(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let is_new = !check(call, key)?;
    let changed = call.store.sketch_add(key, &mut call.arguments.from(2).iter());
    call.reply.integer((is_new || changed).into());
    Ok(())
}

/// Those of the arguments from `index` on that are there.
fn present<'a>(call: &Call<'a>, index: usize) -> Result<Vec<&'a [u8]>, Failure> {
    let mut keys = Vec::new();
    for key in call.arguments.from(index).iter() {
        if check(call, key)? {
            keys.push(key);
        }
    }
    Ok(keys)
}

pub(super) fn pfcount(call: &mut Call<'_>) -> Outcome {
    let keys = present(call, 1)?;
    let count = if keys.is_empty() { 0 } else { call.store.sketch_count(&mut keys.into_iter()) };
    call.reply.integer(count as i64);
    Ok(())
}

pub(super) fn pfmerge(call: &mut Call<'_>) -> Outcome {
    check(call, call.argument(1))?;
    let keys = present(call, 2)?;
    call.store.sketch_merge(call.argument(1), &mut keys.into_iter());
    call.reply.ok();
    Ok(())
}
