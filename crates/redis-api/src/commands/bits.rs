//! Commands for the bits of strings. They replace the whole string: concurrent ones do not merge.

use std::borrow::Cow;

use crate::commands::strings::text_of;
use crate::engine::call::{Call, Outcome};
use crate::engine::store::{Deadline, Kind};
use crate::protocol::errors::{BIT, BIT_OFFSET, BIT_WANTED, Failure, NOT_OF_ONE, SYNTAX};
use crate::protocol::limits::STRING_BYTES;
use crate::protocol::number::parse_i64;
use crate::protocol::range::places;

/// The byte of a bit, and the bit in it: the first bit is a byte's highest.
fn parse_offset(call: &Call<'_>) -> Result<(usize, u8), Failure> {
    let offset = parse_i64(call.argument(2)).and_then(|offset| usize::try_from(offset).ok()).ok_or(BIT_OFFSET)?;
    if offset / 8 >= STRING_BYTES { Err(BIT_OFFSET) } else { Ok((offset / 8, 0x80 >> (offset % 8))) }
}

pub(super) fn getbit(call: &mut Call<'_>) -> Outcome {
    let (byte, bit) = parse_offset(call)?;
    let text = text_of(call, call.argument(1))?;
    let is_set = text.is_some_and(|text| text.get(byte).is_some_and(|byte| byte & bit != 0));
    call.reply.integer(is_set.into());
    Ok(())
}

pub(super) fn setbit(call: &mut Call<'_>) -> Outcome {
    let (byte, bit) = parse_offset(call)?;
    let sets = match parse_i64(call.argument(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(BIT),
    };
    let key = call.argument(1);
    let mut text = text_of(call, key)?.map(Cow::into_owned).unwrap_or_default();
    let is_longer = text.len() <= byte;
    text.resize(text.len().max(byte + 1), 0);
    let was_set = text[byte] & bit != 0;
    if is_longer || was_set != sets {
        text[byte] ^= if was_set == sets { 0 } else { bit };
        call.store.set_text(key, &text, Deadline::Keep);
    }
    call.reply.integer(was_set.into());
    Ok(())
}

pub(super) fn bitcount(call: &mut Call<'_>) -> Outcome {
    if !call.has(call.argument(1), Kind::Text)? {
        call.reply.integer(0);
        return Ok(());
    }
    let range = match call.len() {
        2 => None,
        4 | 5 => {
            let range = (call.integer(2)?, call.integer(3)?);
            let in_bits = match call.len() {
                5 if call.is(4, "bit") => true,
                5 if !call.is(4, "byte") => return Err(SYNTAX),
                _ => false,
            };
            Some((range, in_bits))
        }
        _ => return Err(SYNTAX),
    };
    let text = text_of(call, call.argument(1))?.map(Cow::into_owned).unwrap_or_default();
    let count = match range {
        None => count_ones(&text),
        Some(((start, stop), _)) if start < 0 && stop < 0 && start > stop => 0,
        Some(((start, stop), false)) => count_ones(&text[places(start, stop.max(-(text.len() as i64)), text.len())]),
        Some(((start, stop), true)) => {
            let bits = text.len() * 8;
            let range = places(start, stop.max(-(bits as i64)), bits);
            range.filter(|bit| text[bit / 8] & (0x80 >> (bit % 8)) != 0).count()
        }
    };
    call.reply.count(count);
    Ok(())
}

fn count_ones(bytes: &[u8]) -> usize {
    bytes.iter().map(|byte| byte.count_ones() as usize).sum()
}

pub(super) fn bitpos(call: &mut Call<'_>) -> Outcome {
    let wanted = match call.integer(2)? {
        0 => false,
        1 => true,
        _ => return Err(BIT_WANTED),
    };
    let text = text_of(call, call.argument(1))?.map(Cow::into_owned);
    let Some(text) = text else {
        call.reply.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    if call.len() > 6 {
        return Err(SYNTAX);
    }
    let start = if call.len() > 3 { call.integer(3)? } else { 0 };
    let in_bits = match call.len() {
        6 if call.is(5, "bit") => true,
        6 if !call.is(5, "byte") => return Err(SYNTAX),
        _ => false,
    };
    let stop = if call.len() > 4 { Some(call.integer(4)?) } else { None };
    let length = if in_bits { 8 * text.len() } else { text.len() };
    // A stop before the string is one at its beginning.
    let range = places(start, stop.unwrap_or(-1).max(-(length as i64)), length);
    let mut bits = if in_bits { range.clone() } else { 8 * range.start..8 * range.end };
    let end = bits.end;
    let found = bits.find(|bit| (text[bit / 8] & (0x80 >> (bit % 8)) != 0) == wanted);
    match found {
        Some(bit) => call.reply.count(bit),
        // Where no stop is given, what is behind the string is clear.
        None if !wanted && stop.is_none() && !range.is_empty() => call.reply.count(end),
        None => call.reply.integer(-1),
    }
    Ok(())
}

pub(super) fn bitop(call: &mut Call<'_>) -> Outcome {
    let combine: fn(u8, u8) -> u8 = match call.argument(1).to_ascii_lowercase().as_slice() {
        b"and" => |a, b| a & b,
        b"or" => |a, b| a | b,
        b"xor" => |a, b| a ^ b,
        b"not" if call.len() > 4 => return Err(NOT_OF_ONE),
        b"not" => |a, _| !a,
        _ => return Err(SYNTAX),
    };
    let mut texts = Vec::new();
    for key in call.arguments.from(3).iter() {
        texts.push(text_of(call, key)?.map(Cow::into_owned).unwrap_or_default());
    }
    // What is behind a string is clear.
    let length = texts.iter().map(Vec::len).max().unwrap_or_default();
    let (first, others) = texts.split_first_mut().ok_or(SYNTAX)?;
    first.resize(length, 0);
    match others {
        [] if call.is(1, "not") => first.iter_mut().for_each(|byte| *byte = combine(*byte, 0)),
        _ => others.iter().for_each(|other| {
            let other = other.iter().chain(std::iter::repeat(&0));
            first.iter_mut().zip(other).for_each(|(byte, other)| *byte = combine(*byte, *other));
        }),
    }
    let to = call.argument(2);
    if length == 0 {
        call.store.remove(to);
    } else {
        call.store.set_text(to, first, Deadline::Never);
    }
    call.reply.count(length);
    Ok(())
}
