//! Commands for the bits of strings. They replace the whole string: concurrent ones do not merge.

use std::borrow::Cow;

use crate::commands::strings::text_of;
use crate::engine::call::{Call, Outcome};
use crate::engine::store::{Deadline, Kind};
use crate::protocol::errors::{BIT, BIT_OFFSET, Failure, SYNTAX};
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
