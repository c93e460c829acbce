//! Commands for strings and counters.

use std::borrow::Cow;

use crate::commands::expiry::{AT_MILLISECONDS, AT_SECONDS, MILLISECONDS, SECONDS, Unit, parse_deadline, set_deadline};
use crate::engine::call::{Call, Outcome};
use crate::engine::store::{AddError, Deadline, Kind};
use crate::protocol::errors::{
    DECREMENT_OVERFLOW, Failure, NOT_A_NUMBER, NOT_FLOAT, NOT_INTEGER, OFFSET, OVERFLOW, SYNTAX, TOO_LONG, wrong_arity,
};
use crate::protocol::limits::STRING_BYTES;
use crate::protocol::range::places;

pub(super) use crate::commands::lcs::lcs;

/// The string of `key`, if it is there.
pub(super) fn text_of<'c>(call: &'c Call<'_>, key: &[u8]) -> Result<Option<Cow<'c, [u8]>>, Failure> {
    Ok(if call.has(key, Kind::Text)? { call.store.text(key) } else { None })
}

/// Answers the string of `key`, or null.
fn answer_text(call: &mut Call<'_>, key: &[u8]) -> Outcome {
    if call.has(key, Kind::Text)? {
        call.reply.bulk_or_null(call.store.text(key).as_deref());
    } else {
        call.reply.null();
    }
    Ok(())
}

pub(super) fn get(call: &mut Call<'_>) -> Outcome {
    answer_text(call, call.argument(1))
}

/// Options of `SET` and `GETEX`.
#[derive(Debug, Default)]
struct Options {
    if_absent: bool,
    if_present: bool,
    answers_old: bool,
    keeps: bool,
    persists: bool,
    deadline: Option<(usize, Unit)>,
}

impl Options {
    fn parse(call: &Call<'_>, index: usize, is_set: bool) -> Result<Self, Failure> {
        let mut options = Options::default();
        let mut at = index;
        while at < call.len() {
            let has_lifetime = options.keeps || options.persists || options.deadline.is_some();
            let has_more = at + 1 < call.len();
            match call.argument(at).to_ascii_lowercase().as_slice() {
                b"nx" if is_set && !options.if_present => options.if_absent = true,
                b"xx" if is_set && !options.if_absent => options.if_present = true,
                b"get" if is_set => options.answers_old = true,
                b"keepttl" if is_set && !options.persists && options.deadline.is_none() => options.keeps = true,
                b"persist" if !is_set && !options.keeps && options.deadline.is_none() => options.persists = true,
                name if has_more && !has_lifetime => {
                    let unit = match name {
                        b"ex" => SECONDS,
                        b"px" => MILLISECONDS,
                        b"exat" => AT_SECONDS,
                        b"pxat" => AT_MILLISECONDS,
                        _ => return Err(SYNTAX),
                    };
                    options.deadline = Some((at + 1, unit));
                    at += 1;
                }
                _ => return Err(SYNTAX),
            }
            at += 1;
        }
        Ok(options)
    }

    fn deadline(&self, call: &Call<'_>) -> Result<Option<u64>, Failure> {
        self.deadline.map(|(at, unit)| parse_deadline(call, at, unit)).transpose()
    }
}

pub(super) fn set(call: &mut Call<'_>) -> Outcome {
    let (key, value) = (call.argument(1), call.argument(2));
    if call.len() == 3 {
        call.store.set_text(key, value, Deadline::Never);
        call.reply.ok();
        return Ok(());
    }
    let options = Options::parse(call, 3, true)?;
    let deadline = options.deadline(call)?;
    if options.answers_old {
        answer_text(call, key)?;
    }
    if options.if_absent || options.if_present {
        let is_there = call.store.kind(key).is_some();
        if is_there == options.if_absent {
            if !options.answers_old {
                call.reply.null();
            }
            return Ok(());
        }
    }
    let deadline = if options.keeps { Deadline::Keep } else { deadline.map_or(Deadline::Never, Deadline::At) };
    call.store.set_text(key, value, deadline);
    if !options.answers_old {
        call.reply.ok();
    }
    Ok(())
}

pub(super) fn setnx(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let is_absent = call.store.kind(key).is_none();
    if is_absent {
        call.store.set_text(key, call.argument(2), Deadline::Never);
    }
    call.reply.integer(is_absent.into());
    Ok(())
}

pub(super) fn setex(call: &mut Call<'_>) -> Outcome {
    set_for(call, SECONDS)
}

pub(super) fn psetex(call: &mut Call<'_>) -> Outcome {
    set_for(call, MILLISECONDS)
}

fn set_for(call: &mut Call<'_>, unit: Unit) -> Outcome {
    let deadline = parse_deadline(call, 2, unit)?;
    call.store.set_text(call.argument(1), call.argument(3), Deadline::At(deadline));
    call.reply.ok();
    Ok(())
}

pub(super) fn getset(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    answer_text(call, key)?;
    call.store.set_text(key, call.argument(2), Deadline::Never);
    Ok(())
}

pub(super) fn getdel(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    answer_text(call, key)?;
    call.store.remove(key);
    Ok(())
}

pub(super) fn getex(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    let options = Options::parse(call, 2, false)?;
    if !call.has(key, Kind::Text)? {
        call.reply.null();
        return Ok(());
    }
    let deadline = options.deadline(call)?;
    answer_text(call, key)?;
    if let Some(at_ms) = deadline {
        set_deadline(call, key, at_ms as i64);
    } else if options.persists && call.store.deadline(key).is_some() {
        call.store.set_deadline(key, None);
    }
    Ok(())
}

pub(super) fn mget(call: &mut Call<'_>) -> Outcome {
    let keys = call.arguments.from(1);
    call.reply.array(keys.len());
    for key in keys.iter() {
        let is_text = call.store.kind(key) == Some(Kind::Text);
        let text = if is_text { call.store.text(key) } else { None };
        call.reply.bulk_or_null(text.as_deref());
    }
    Ok(())
}

pub(super) fn mset(call: &mut Call<'_>) -> Outcome {
    let pairs = call.pairs(1).map_err(|_| wrong_arity("mset"))?;
    pairs.for_each(|(key, value)| call.store.set_text(key, value, Deadline::Never));
    call.reply.ok();
    Ok(())
}

pub(super) fn msetnx(call: &mut Call<'_>) -> Outcome {
    let pairs = call.pairs(1).map_err(|_| wrong_arity("msetnx"))?;
    let are_absent = call.pairs(1)?.all(|(key, _)| call.store.kind(key).is_none());
    if are_absent {
        pairs.for_each(|(key, value)| call.store.set_text(key, value, Deadline::Never));
    }
    call.reply.integer(are_absent.into());
    Ok(())
}

pub(super) fn append(call: &mut Call<'_>) -> Outcome {
    let (key, more) = (call.argument(1), call.argument(2));
    let mut text = text_of(call, key)?.map(Cow::into_owned).unwrap_or_default();
    if text.len() + more.len() > STRING_BYTES {
        return Err(TOO_LONG);
    }
    text.extend_from_slice(more);
    call.store.set_text(key, &text, Deadline::Keep);
    call.reply.count(text.len());
    Ok(())
}

pub(super) fn strlen(call: &mut Call<'_>) -> Outcome {
    let length = text_of(call, call.argument(1))?.map_or(0, |text| text.len());
    call.reply.count(length);
    Ok(())
}

pub(super) fn getrange(call: &mut Call<'_>) -> Outcome {
    let (start, stop) = (call.integer(2)?, call.integer(3)?);
    let text = text_of(call, call.argument(1))?.map(Cow::into_owned).unwrap_or_default();
    // A range from before the string to before the string is empty, although its ends would be clamped to the first byte.
    let is_before = start < 0 && stop < 0 && start > stop;
    let range = if is_before { 0..0 } else { places(start, stop.max(-(text.len() as i64)), text.len()) };
    call.reply.bulk(&text[range]);
    Ok(())
}

pub(super) fn substr(call: &mut Call<'_>) -> Outcome {
    getrange(call)
}

pub(super) fn setrange(call: &mut Call<'_>) -> Outcome {
    let (key, more) = (call.argument(1), call.argument(3));
    let offset = usize::try_from(call.integer(2)?).map_err(|_| OFFSET)?;
    let text = text_of(call, key)?;
    if more.is_empty() {
        let length = text.map_or(0, |text| text.len());
        call.reply.count(length);
        return Ok(());
    }
    if offset > STRING_BYTES - more.len().min(STRING_BYTES) {
        return Err(TOO_LONG);
    }
    let mut text = text.map(Cow::into_owned).unwrap_or_default();
    text.resize(text.len().max(offset + more.len()), 0);
    text[offset..offset + more.len()].copy_from_slice(more);
    call.store.set_text(key, &text, Deadline::Keep);
    call.reply.count(text.len());
    Ok(())
}

pub(super) fn incr(call: &mut Call<'_>) -> Outcome {
    add(call, 1)
}

pub(super) fn decr(call: &mut Call<'_>) -> Outcome {
    add(call, -1)
}

pub(super) fn incrby(call: &mut Call<'_>) -> Outcome {
    add(call, call.integer(2)?)
}

pub(super) fn decrby(call: &mut Call<'_>) -> Outcome {
    let by = call.integer(2)?.checked_neg().ok_or(DECREMENT_OVERFLOW)?;
    add(call, by)
}

fn add(call: &mut Call<'_>, by: i64) -> Outcome {
    let key = call.argument(1);
    call.has(key, Kind::Text)?;
    let sum = call.store.add_integer(key, by).map_err(|error| match error {
        AddError::NotNumber => NOT_INTEGER,
        AddError::Overflow => OVERFLOW,
    })?;
    call.reply.integer(sum);
    Ok(())
}

pub(super) fn incrbyfloat(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(1);
    call.has(key, Kind::Text)?;
    let sum = call.store.add_float(key, call.argument(2)).map_err(|error| match error {
        AddError::NotNumber => NOT_FLOAT,
        AddError::Overflow => NOT_A_NUMBER,
    })?;
    call.reply.bulk(&sum);
    Ok(())
}
