//! Commands for hashes.

use std::iter::once;

use crate::commands::pick::{self, Second};
use crate::commands::scan;
use crate::engine::call::{Call, Outcome};
use crate::engine::store::{AddError, Kind};
use crate::protocol::errors::{Failure, HASH_NOT_FLOAT, HASH_NOT_INTEGER, NOT_A_NUMBER, NOT_FLOAT, OVERFLOW, wrong_arity};
use crate::protocol::number::parse_f64;

fn is_there(call: &Call<'_>) -> Result<bool, Failure> {
    call.has(call.argument(1), Kind::Hash)
}

pub(super) fn hset(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let mut pairs = call.pairs(2).map_err(|_| wrong_arity(call.command.name))?;
    is_there(call)?;
    let added = call.store.hash_set(key, &mut pairs);
    call.reply.count(added);
    Ok(())
}

pub(super) fn hmset(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let mut pairs = call.pairs(2).map_err(|_| wrong_arity(call.command.name))?;
    is_there(call)?;
    call.store.hash_set(key, &mut pairs);
    call.reply.ok();
    Ok(())
}

pub(super) fn hsetnx(call: &mut Call<'_>) -> Outcome {
    let (key, field) = (call.argument(1), call.argument(2));
    let is_new = !is_there(call)? || call.store.hash_get(key, field).is_none();
    if is_new {
        call.store.hash_set(key, &mut once((field, call.argument(3))));
    }
    call.reply.integer(is_new.into());
    Ok(())
}

pub(super) fn hget(call: &mut Call<'_>) -> Outcome {
    if is_there(call)? {
        call.reply.bulk_or_null(call.store.hash_get(call.argument(1), call.argument(2)).as_deref());
    } else {
        call.reply.null();
    }
    Ok(())
}

pub(super) fn hmget(call: &mut Call<'_>) -> Outcome {
    let is_there = is_there(call)?;
    let (key, fields) = (call.argument(1), call.arguments.from(2));
    call.reply.array(fields.len());
    for field in fields.iter() {
        let value = if is_there { call.store.hash_get(key, field) } else { None };
        call.reply.bulk_or_null(value.as_deref());
    }
    Ok(())
}

pub(super) fn hgetall(call: &mut Call<'_>) -> Outcome {
    let is_there = is_there(call)?;
    let key = call.argument(1);
    call.reply.map(if is_there { call.store.hash_len(key) } else { 0 });
    if is_there {
        let reply = &mut call.reply;
        call.store.hash_each(key, &mut |field, value| {
            reply.bulk(field);
            reply.bulk(value);
        });
    }
    Ok(())
}

pub(super) fn hkeys(call: &mut Call<'_>) -> Outcome {
    answer_all(call, |field, _| field)
}

pub(super) fn hvals(call: &mut Call<'_>) -> Outcome {
    answer_all(call, |_, value| value)
}

fn answer_all(call: &mut Call<'_>, choose: for<'a> fn(&'a [u8], &'a [u8]) -> &'a [u8]) -> Outcome {
    let is_there = is_there(call)?;
    let key = call.argument(1);
    call.reply.array(if is_there { call.store.hash_len(key) } else { 0 });
    if is_there {
        let reply = &mut call.reply;
        call.store.hash_each(key, &mut |field, value| reply.bulk(choose(field, value)));
    }
    Ok(())
}

pub(super) fn hlen(call: &mut Call<'_>) -> Outcome {
    let length = if is_there(call)? { call.store.hash_len(call.argument(1)) } else { 0 };
    call.reply.count(length);
    Ok(())
}

pub(super) fn hstrlen(call: &mut Call<'_>) -> Outcome {
    let value = if is_there(call)? { call.store.hash_get(call.argument(1), call.argument(2)) } else { None };
    let length = value.map_or(0, |value| value.len());
    call.reply.count(length);
    Ok(())
}

pub(super) fn hexists(call: &mut Call<'_>) -> Outcome {
    let exists = is_there(call)? && call.store.hash_get(call.argument(1), call.argument(2)).is_some();
    call.reply.integer(exists.into());
    Ok(())
}

pub(super) fn hdel(call: &mut Call<'_>) -> Outcome {
    let is_there = is_there(call)?;
    let (key, fields) = (call.argument(1), call.arguments.from(2));
    let removed = if is_there { call.store.hash_remove(key, &mut fields.iter()) } else { 0 };
    call.reply.count(removed);
    Ok(())
}

pub(super) fn hincrby(call: &mut Call<'_>) -> Outcome {
    let by = call.integer(3)?;
    is_there(call)?;
    let sum = call.store.hash_add_integer(call.argument(1), call.argument(2), by).map_err(|error| match error {
        AddError::NotNumber => HASH_NOT_INTEGER,
        AddError::Overflow => OVERFLOW,
    })?;
    call.reply.integer(sum);
    Ok(())
}

pub(super) fn hincrbyfloat(call: &mut Call<'_>) -> Outcome {
    let by = call.argument(3);
    let is_infinite = parse_f64(by).ok_or(NOT_FLOAT)?.is_infinite();
    is_there(call)?;
    if is_infinite {
        return Err(Failure::new("ERR value is NaN or Infinity"));
    }
    let sum = call.store.hash_add_float(call.argument(1), call.argument(2), by).map_err(|error| match error {
        AddError::NotNumber => HASH_NOT_FLOAT,
        AddError::Overflow => NOT_A_NUMBER,
    })?;
    call.reply.bulk(&sum);
    Ok(())
}

pub(super) fn hrandfield(call: &mut Call<'_>) -> Outcome {
    pick::answer(call, Kind::Hash, Some("withvalues"), |store, key, place| {
        let (field, value) = store.hash_at(key, place).unwrap_or_default();
        (field, Second::Value(value))
    })
}

pub(super) fn hscan(call: &mut Call<'_>) -> Outcome {
    scan::answer_elements(call, Kind::Hash, |store, walk, each| {
        store.hash_scan(walk.key, walk.cursor, walk.count, &mut |field, value| each(field, Some(value)))
    })
}
