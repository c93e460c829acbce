//! Commands for sets.

use std::iter::once;

use crate::commands::combine::{Combine, combine, operands};
use crate::commands::pick::{self, Second};
use crate::commands::scan;
use crate::engine::call::{Call, Outcome};
use crate::engine::store::Kind;
use crate::protocol::errors::{Failure, NEGATIVE_LIMIT, NO_KEYS, NOT_POSITIVE, SYNTAX, TOO_MANY_KEYS};
use crate::protocol::number::parse_i64;

fn is_there(call: &Call<'_>) -> Result<bool, Failure> {
    call.has(call.argument(1), Kind::Set)
}

fn length(call: &Call<'_>) -> Result<usize, Failure> {
    Ok(if is_there(call)? { call.store.set_len(call.argument(1)) } else { 0 })
}

pub(super) fn sadd(call: &mut Call<'_>) -> Outcome {
    is_there(call)?;
    let (key, members) = (call.argument(1), call.arguments.from(2));
    let added = call.store.set_add(key, &mut members.iter());
    call.reply.count(added);
    Ok(())
}

pub(super) fn srem(call: &mut Call<'_>) -> Outcome {
    let is_there = is_there(call)?;
    let (key, members) = (call.argument(1), call.arguments.from(2));
    let removed = if is_there { call.store.set_remove(key, &mut members.iter()) } else { 0 };
    call.reply.count(removed);
    Ok(())
}

pub(super) fn scard(call: &mut Call<'_>) -> Outcome {
    let length = length(call)?;
    call.reply.count(length);
    Ok(())
}

pub(super) fn sismember(call: &mut Call<'_>) -> Outcome {
    let is_member = is_there(call)? && call.store.set_has(call.argument(1), call.argument(2));
    call.reply.integer(is_member.into());
    Ok(())
}

pub(super) fn smismember(call: &mut Call<'_>) -> Outcome {
    let is_there = is_there(call)?;
    let (key, members) = (call.argument(1), call.arguments.from(2));
    call.reply.array(members.len());
    for member in members.iter() {
        call.reply.integer((is_there && call.store.set_has(key, member)).into());
    }
    Ok(())
}

pub(super) fn smembers(call: &mut Call<'_>) -> Outcome {
    let is_there = is_there(call)?;
    let key = call.argument(1);
    call.reply.set(if is_there { call.store.set_len(key) } else { 0 });
    if is_there {
        let reply = &mut call.reply;
        call.store.set_each(key, &mut |member| reply.bulk(member));
    }
    Ok(())
}

pub(super) fn smove(call: &mut Call<'_>) -> Outcome {
    let (from, to, member) = (call.argument(1), call.argument(2), call.argument(3));
    if call.store.kind(from).is_none() {
        call.reply.integer(0);
        return Ok(());
    }
    is_there(call)?;
    call.has(to, Kind::Set)?;
    let moves = call.store.set_has(from, member);
    if moves && from != to {
        call.store.set_remove(from, &mut once(member));
        call.store.set_add(to, &mut once(member));
    }
    call.reply.integer(moves.into());
    Ok(())
}

pub(super) fn spop(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let count = match call.len() {
        2 => None,
        3 => Some(parse_i64(call.argument(2)).and_then(|count| usize::try_from(count).ok()).ok_or(NOT_POSITIVE)?),
        _ => return Err(SYNTAX),
    };
    let length = length(call)?;
    let places = pick::distinct(call.host, count.unwrap_or(1), length);
    let members: Vec<Vec<u8>> = places.into_iter().filter_map(|place| call.store.set_at(key, place)).collect();
    call.store.set_remove(key, &mut members.iter().map(Vec::as_slice));
    match count {
        None => call.reply.bulk_or_null(members.first().map(Vec::as_slice)),
        Some(_) => {
            call.reply.set(members.len());
            members.iter().for_each(|member| call.reply.bulk(member));
        }
    }
    Ok(())
}

pub(super) fn srandmember(call: &mut Call<'_>) -> Outcome {
    pick::answer(call, Kind::Set, None, |store, key, place| (store.set_at(key, place).unwrap_or_default(), Second::None))
}

pub(super) fn sscan(call: &mut Call<'_>) -> Outcome {
    scan::answer_elements(call, Kind::Set, |store, walk, each| {
        let mut page = Vec::new();
        let next = store.set_scan(walk.key, walk.cursor, walk.count, &mut |member| page.push(member.to_vec()));
        // Whole numbers come as Redis has a few of them: in their order.
        if page.iter().all(|member| parse_i64(member).is_some()) {
            page.sort_by_cached_key(|member| parse_i64(member));
        }
        page.iter().for_each(|member| each(member, None));
        next
    })
}

fn answer_combined(call: &mut Call<'_>, how: Combine) -> Outcome {
    let operands = operands(call, call.arguments.from(1).iter())?;
    let members = combine(call.store, how, &operands, usize::MAX);
    call.reply.set(members.len());
    members.iter().for_each(|member| call.reply.bulk(member));
    Ok(())
}

fn store_combined(call: &mut Call<'_>, how: Combine) -> Outcome {
    let to = call.argument(1);
    let operands = operands(call, call.arguments.from(2).iter())?;
    let members = combine(call.store, how, &operands, usize::MAX);
    call.store.remove(to);
    if !members.is_empty() {
        call.store.set_add(to, &mut members.iter().map(Vec::as_slice));
    }
    call.reply.count(members.len());
    Ok(())
}

pub(super) fn sunion(call: &mut Call<'_>) -> Outcome {
    answer_combined(call, Combine::Union)
}

pub(super) fn sinter(call: &mut Call<'_>) -> Outcome {
    answer_combined(call, Combine::Inter)
}

pub(super) fn sdiff(call: &mut Call<'_>) -> Outcome {
    answer_combined(call, Combine::Diff)
}

pub(super) fn sunionstore(call: &mut Call<'_>) -> Outcome {
    store_combined(call, Combine::Union)
}

pub(super) fn sinterstore(call: &mut Call<'_>) -> Outcome {
    store_combined(call, Combine::Inter)
}

pub(super) fn sdiffstore(call: &mut Call<'_>) -> Outcome {
    store_combined(call, Combine::Diff)
}

/// The place after the keys that the number at `index` counts.
pub(super) fn end_of_keys(call: &Call<'_>, index: usize) -> Result<usize, Failure> {
    let count = parse_i64(call.argument(index)).and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0).ok_or(NO_KEYS)?;
    if count > call.len() - index - 1 { Err(TOO_MANY_KEYS) } else { Ok(index + 1 + count) }
}

/// A limit from the argument at `at` on, if there is one: 0 is none.
pub(super) fn parse_limit(call: &Call<'_>, mut at: usize) -> Result<usize, Failure> {
    let mut limit = 0;
    while at < call.len() {
        if !call.is(at, "limit") || at + 1 == call.len() {
            return Err(SYNTAX);
        }
        limit = parse_i64(call.argument(at + 1)).and_then(|limit| usize::try_from(limit).ok()).ok_or(NEGATIVE_LIMIT)?;
        at += 2;
    }
    Ok(if limit == 0 { usize::MAX } else { limit })
}

pub(super) fn sintercard(call: &mut Call<'_>) -> Outcome {
    let end = end_of_keys(call, 1)?;
    let limit = parse_limit(call, end)?;
    let operands = operands(call, call.arguments.iter().take(end).skip(2))?;
    let count = combine(call.store, Combine::Inter, &operands, limit).len();
    call.reply.count(count);
    Ok(())
}
