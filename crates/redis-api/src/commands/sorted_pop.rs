//! Taking members from the ends of sorted sets.

use crate::commands::sets::end_of_keys;
use crate::commands::sorted::{Scored, is_there};
use crate::engine::call::{Call, Outcome};
use crate::engine::store::Kind;
use crate::protocol::errors::{Failure, NO_COUNT, NOT_POSITIVE, SYNTAX};
use crate::protocol::number::parse_i64;
use crate::protocol::reply::Version;

/// Takes at most `count` members from the end with the highest scores, or the other.
fn pop(call: &mut Call<'_>, key: &[u8], is_highest: bool, count: usize) -> Scored {
    let length = call.store.sorted_len(key);
    let count = count.min(length);
    let range = if is_highest { length - count..length } else { 0..count };
    let mut members = Vec::with_capacity(count);
    call.store.sorted_range(key, range, &mut |member, score| members.push((member.to_vec(), score)));
    if is_highest {
        members.reverse();
    }
    call.store.sorted_remove(key, &mut members.iter().map(|(member, _)| member.as_slice()));
    members
}

pub(super) fn zpopmin(call: &mut Call<'_>) -> Outcome {
    pop_from_one(call, false)
}

pub(super) fn zpopmax(call: &mut Call<'_>) -> Outcome {
    pop_from_one(call, true)
}

fn pop_from_one(call: &mut Call<'_>, is_highest: bool) -> Outcome {
    let count = match call.len() {
        2 => 1,
        3 => parse_i64(call.argument(2)).and_then(|count| usize::try_from(count).ok()).ok_or(NOT_POSITIVE)?,
        _ => return Err(SYNTAX),
    };
    let members = if is_there(call)? { pop(call, call.argument(1), is_highest, count) } else { Scored::new() };
    let nests = call.len() == 3 && call.reply.version() == Version::Three;
    call.reply.array(if nests { members.len() } else { 2 * members.len() });
    for (member, score) in &members {
        if nests {
            call.reply.array(2);
        }
        call.reply.bulk(member);
        call.reply.double(*score);
    }
    Ok(())
}

/// Options of commands that take from the first key that is not empty: which end it is, and how many to take.
pub(super) fn parse_ends(call: &Call<'_>, end: usize, ends: [&str; 2]) -> Result<(bool, usize), Failure> {
    let is_second = match ends.iter().position(|name| call.is(end, name)) {
        Some(position) => position == 1,
        None => return Err(SYNTAX),
    };
    if call.len() - end == 1 {
        return Ok((is_second, 1));
    }
    if call.len() - end == 2 || !call.is(end + 1, "count") {
        return Err(SYNTAX);
    }
    let count =
        parse_i64(call.argument(end + 2)).and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0).ok_or(NO_COUNT)?;
    if call.len() - end > 3 {
        return Err(SYNTAX);
    }
    Ok((is_second, count))
}

pub(super) fn zmpop(call: &mut Call<'_>) -> Outcome {
    let end = end_of_keys(call, 1).map_err(as_syntax)?;
    let (is_highest, count) = parse_ends(call, end, ["min", "max"])?;
    for key in call.arguments.iter().take(end).skip(2) {
        if !call.has(key, Kind::Sorted)? {
            continue;
        }
        let members = pop(call, key, is_highest, count);
        call.reply.array(2);
        call.reply.bulk(key);
        call.reply.array(members.len());
        for (member, score) in &members {
            call.reply.array(2);
            call.reply.bulk(member);
            call.reply.double(*score);
        }
        return Ok(());
    }
    call.reply.null_array();
    Ok(())
}

/// Here too many keys are a syntax error.
pub(super) fn as_syntax(failure: Failure) -> Failure {
    if failure == crate::protocol::errors::TOO_MANY_KEYS { SYNTAX } else { failure }
}
