//! Commands for lists.

use std::iter::once;

use crate::commands::sets::end_of_keys;
use crate::commands::sorted_pop::{as_syntax, parse_ends};
use crate::engine::call::{Call, Outcome};
use crate::engine::store::Kind;
use crate::protocol::errors::{
    Failure, INDEX, NEGATIVE_COUNT, NEGATIVE_MAXLEN, NO_SUCH_KEY, NOT_POSITIVE, OUT_OF_RANGE, RANK_ZERO, SYNTAX, wrong_arity,
};
use crate::protocol::number::parse_i64;
use crate::protocol::range::places;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

fn is_there(call: &Call<'_>) -> Result<bool, Failure> {
    call.has(call.argument(1), Kind::List)
}

fn length(call: &Call<'_>) -> Result<usize, Failure> {
    Ok(if is_there(call)? { call.store.list_len(call.argument(1)) } else { 0 })
}

pub(super) fn lpush(call: &mut Call<'_>) -> Outcome {
    push(call, End::Front, false)
}

pub(super) fn rpush(call: &mut Call<'_>) -> Outcome {
    push(call, End::Back, false)
}

pub(super) fn lpushx(call: &mut Call<'_>) -> Outcome {
    push(call, End::Front, true)
}

pub(super) fn rpushx(call: &mut Call<'_>) -> Outcome {
    push(call, End::Back, true)
}

fn push(call: &mut Call<'_>, end: End, only_if_there: bool) -> Outcome {
    let key = call.argument(1);
    if !is_there(call)? && only_if_there {
        call.reply.integer(0);
        return Ok(());
    }
    let values = call.arguments.from(2);
    match end {
        // The last one pushed is the first.
        End::Front => call.store.list_insert(key, 0, &mut (0..values.len()).rev().filter_map(|index| values.get(index))),
        End::Back => call.store.list_insert(key, usize::MAX, &mut values.iter()),
    }
    let length = length(call)?;
    call.reply.count(length);
    Ok(())
}

/// Takes at most `count` elements from an end of a list that is there.
fn pop(call: &mut Call<'_>, key: &[u8], end: End, count: usize) -> Vec<Vec<u8>> {
    let length = call.store.list_len(key);
    let count = count.min(length);
    let range = match end {
        End::Front => 0..count,
        End::Back => length - count..length,
    };
    let mut values = Vec::with_capacity(count);
    call.store.list_range(key, range.clone(), &mut |value| values.push(value.to_vec()));
    call.store.list_remove(key, &mut range.rev());
    if end == End::Back {
        values.reverse();
    }
    values
}

pub(super) fn lpop(call: &mut Call<'_>) -> Outcome {
    pop_from_one(call, End::Front)
}

pub(super) fn rpop(call: &mut Call<'_>) -> Outcome {
    pop_from_one(call, End::Back)
}

fn pop_from_one(call: &mut Call<'_>, end: End) -> Outcome {
    let key = call.argument(1);
    let count = match call.len() {
        2 => None,
        3 => Some(parse_i64(call.argument(2)).and_then(|count| usize::try_from(count).ok()).ok_or(NOT_POSITIVE)?),
        _ => return Err(wrong_arity(call.command.name)),
    };
    match (is_there(call)?, count) {
        (false, None) => call.reply.null(),
        (false, Some(_)) => call.reply.null_array(),
        (true, None) => {
            let values = pop(call, key, end, 1);
            call.reply.bulk_or_null(values.first().map(Vec::as_slice));
        }
        (true, Some(count)) => {
            let values = pop(call, key, end, count);
            call.reply.array(values.len());
            values.iter().for_each(|value| call.reply.bulk(value));
        }
    }
    Ok(())
}

pub(super) fn lmpop(call: &mut Call<'_>) -> Outcome {
    let last = end_of_keys(call, 1).map_err(as_syntax)?;
    let (is_right, count) = parse_ends(call, last, ["left", "right"])?;
    for key in call.arguments.iter().take(last).skip(2) {
        if call.has(key, Kind::List)? {
            let values = pop(call, key, if is_right { End::Back } else { End::Front }, count);
            call.reply.array(2);
            call.reply.bulk(key);
            call.reply.array(values.len());
            values.iter().for_each(|value| call.reply.bulk(value));
            return Ok(());
        }
    }
    call.reply.null_array();
    Ok(())
}

fn parse_end(call: &Call<'_>, index: usize) -> Result<End, Failure> {
    match () {
        () if call.is(index, "left") => Ok(End::Front),
        () if call.is(index, "right") => Ok(End::Back),
        () => Err(SYNTAX),
    }
}

pub(super) fn lmove(call: &mut Call<'_>) -> Outcome {
    let (from, to) = (parse_end(call, 3)?, parse_end(call, 4)?);
    move_one(call, from, to)
}

pub(super) fn rpoplpush(call: &mut Call<'_>) -> Outcome {
    move_one(call, End::Back, End::Front)
}

fn move_one(call: &mut Call<'_>, from: End, to: End) -> Outcome {
    let (source, target) = (call.argument(1), call.argument(2));
    if !is_there(call)? {
        call.reply.null();
        return Ok(());
    }
    call.has(target, Kind::List)?;
    let values = pop(call, source, from, 1);
    let place = if to == End::Front { 0 } else { usize::MAX };
    call.store.list_insert(target, place, &mut values.iter().map(Vec::as_slice));
    call.reply.bulk_or_null(values.first().map(Vec::as_slice));
    Ok(())
}

pub(super) fn llen(call: &mut Call<'_>) -> Outcome {
    let length = length(call)?;
    call.reply.count(length);
    Ok(())
}

/// The place that an index means, if there is one.
fn place(index: i64, length: usize) -> Option<usize> {
    let place = if index < 0 { index.checked_add(length as i64)? } else { index };
    usize::try_from(place).ok().filter(|&place| place < length)
}

pub(super) fn lindex(call: &mut Call<'_>) -> Outcome {
    let length = length(call)?;
    if length == 0 {
        call.reply.null();
        return Ok(());
    }
    let (key, place) = (call.argument(1), place(call.integer(2)?, length));
    let value = place.and_then(|place| call.store.list_get(key, place));
    call.reply.bulk_or_null(value.as_deref());
    Ok(())
}

pub(super) fn lset(call: &mut Call<'_>) -> Outcome {
    if !is_there(call)? {
        return Err(NO_SUCH_KEY);
    }
    let place = place(call.integer(2)?, length(call)?).ok_or(INDEX)?;
    call.store.list_set(call.argument(1), place, call.argument(3));
    call.reply.ok();
    Ok(())
}

pub(super) fn lrange(call: &mut Call<'_>) -> Outcome {
    let (start, stop) = (call.integer(2)?, call.integer(3)?);
    let range = places(start, stop, length(call)?);
    call.reply.array(range.len());
    if !range.is_empty() {
        let reply = &mut call.reply;
        call.store.list_range(call.arguments.get(1).unwrap_or_default(), range, &mut |value| reply.bulk(value));
    }
    Ok(())
}

pub(super) fn ltrim(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let (start, stop) = (call.integer(2)?, call.integer(3)?);
    let length = length(call)?;
    let kept = places(start, stop, length);
    if kept.is_empty() && length > 0 {
        call.store.remove(key);
    } else {
        call.store.list_remove(key, &mut (kept.end..length).rev().chain((0..kept.start).rev()));
    }
    call.reply.ok();
    Ok(())
}

pub(super) fn linsert(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let after = match () {
        () if call.is(2, "after") => 1,
        () if call.is(2, "before") => 0,
        () => return Err(SYNTAX),
    };
    if !is_there(call)? {
        call.reply.integer(0);
        return Ok(());
    }
    let found = matching(call, key, call.argument(3), usize::MAX).into_iter().next();
    match found {
        None => call.reply.integer(-1),
        Some(place) => {
            call.store.list_insert(key, place + after, &mut once(call.argument(4)));
            call.reply.count(call.store.list_len(key));
        }
    }
    Ok(())
}

/// The places of elements that are `value`, among the first `most` of a list that is there.
fn matching(call: &Call<'_>, key: &[u8], value: &[u8], most: usize) -> Vec<usize> {
    let length = call.store.list_len(key);
    let (mut at, mut found) = (0, Vec::new());
    call.store.list_range(key, 0..length.min(most), &mut |element| {
        if element == value {
            found.push(at);
        }
        at += 1;
    });
    found
}

pub(super) fn lrem(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let count = call.integer(2)?;
    let mut found = if is_there(call)? { matching(call, key, call.argument(3), usize::MAX) } else { Vec::new() };
    let most = if count == 0 { found.len() } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX).min(found.len()) };
    let removed = if count < 0 { found.split_off(found.len() - most) } else { found[..most].to_vec() };
    call.store.list_remove(key, &mut removed.iter().rev().copied());
    call.reply.count(removed.len());
    Ok(())
}

pub(super) fn lpos(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let (mut rank, mut count, mut most) = (1, None, 0);
    let mut at = 3;
    while at < call.len() {
        let has_more = at + 1 < call.len();
        if call.is(at, "rank") && has_more {
            rank = call.integer(at + 1)?;
            match rank {
                0 => return Err(RANK_ZERO),
                i64::MIN => return Err(OUT_OF_RANGE),
                _ => {}
            }
        } else if call.is(at, "count") && has_more {
            count = Some(parse_i64(call.argument(at + 1)).and_then(|count| usize::try_from(count).ok()).ok_or(NEGATIVE_COUNT)?);
        } else if call.is(at, "maxlen") && has_more {
            most = parse_i64(call.argument(at + 1)).and_then(|most| usize::try_from(most).ok()).ok_or(NEGATIVE_MAXLEN)?;
        } else {
            return Err(SYNTAX);
        }
        at += 2;
    }
    let length = length(call)?;
    let mut found = if length > 0 { matching(call, key, call.argument(2), usize::MAX) } else { Vec::new() };
    if rank < 0 {
        found.reverse();
    }
    let looked_at = |place: &usize| most == 0 || (if rank < 0 { length - place } else { place + 1 }) <= most;
    let wanted = match count {
        None => 1,
        Some(0) => usize::MAX,
        Some(count) => count,
    };
    let found: Vec<usize> = found.into_iter().filter(looked_at).skip(rank.unsigned_abs() as usize - 1).take(wanted).collect();
    match count {
        None => match found.first() {
            Some(&place) => call.reply.count(place),
            None => call.reply.null(),
        },
        Some(_) => {
            call.reply.array(found.len());
            found.iter().for_each(|&place| call.reply.count(place));
        }
    }
    Ok(())
}
