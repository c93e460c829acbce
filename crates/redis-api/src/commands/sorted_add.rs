//! Adding to sorted sets.

use crate::commands::sorted::is_there;
use crate::engine::call::{Call, Outcome};
use crate::engine::store::{AddError, Scored};
use crate::protocol::errors::{Failure, GT_LT_NX, INCR_PAIRS, NOT_FLOAT, SCORE_NOT_A_NUMBER, SYNTAX, XX_AND_NX};
use crate::protocol::number::parse_f64;

/// Options of `ZADD`.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    if_absent: bool,
    if_present: bool,
    if_greater: bool,
    if_less: bool,
    counts_changed: bool,
    increments: bool,
}

impl Options {
    /// The options, and where the first score is.
    fn parse(call: &Call<'_>) -> Result<(Self, usize), Failure> {
        let mut options = Options::default();
        let mut at = 2;
        while let Some(option) = call.arguments.get(at) {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => options.if_absent = true,
                b"xx" => options.if_present = true,
                b"gt" => options.if_greater = true,
                b"lt" => options.if_less = true,
                b"ch" => options.counts_changed = true,
                b"incr" => options.increments = true,
                _ => break,
            }
            at += 1;
        }
        let arguments = call.len() - at;
        if arguments == 0 || !arguments.is_multiple_of(2) {
            return Err(SYNTAX);
        }
        if options.if_absent && options.if_present {
            return Err(XX_AND_NX);
        }
        if (options.if_greater && (options.if_absent || options.if_less)) || (options.if_less && options.if_absent) {
            return Err(GT_LT_NX);
        }
        if options.increments && arguments > 2 { Err(INCR_PAIRS) } else { Ok((options, at)) }
    }

    /// Whether a member with this score, or none, may get that one.
    fn allow(self, present: Option<f64>, score: f64) -> bool {
        match present {
            None => !self.if_present,
            Some(present) => !(self.if_absent || self.if_greater && score <= present || self.if_less && score >= present),
        }
    }
}

pub(super) fn zadd(call: &mut Call<'_>) -> Outcome {
    let (options, at) = Options::parse(call)?;
    let pairs = call.pairs(at)?.map(|(score, member)| Ok((parse_f64(score).ok_or(NOT_FLOAT)?, member)));
    let pairs: Vec<(f64, &[u8])> = pairs.collect::<Result<_, Failure>>()?;
    is_there(call)?;
    if options.increments {
        let (by, member) = pairs[0];
        return increment(call, member, by, options);
    }
    let members = &mut pairs.into_iter().map(|(score, member)| (member, score));
    let Scored { added, changed } = call.store.sorted_set(call.argument(1), members, &|present, score| options.allow(present, score));
    call.reply.count(if options.counts_changed { added + changed } else { added });
    Ok(())
}

pub(super) fn zincrby(call: &mut Call<'_>) -> Outcome {
    let by = call.float(2)?;
    is_there(call)?;
    increment(call, call.argument(3), by, Options::default())
}

fn present_score(call: &Call<'_>, member: &[u8]) -> Result<Option<f64>, Failure> {
    Ok(if is_there(call)? { call.store.sorted_score(call.argument(1), member) } else { None })
}

fn increment(call: &mut Call<'_>, member: &[u8], by: f64, options: Options) -> Outcome {
    let present = present_score(call, member)?;
    let sum = present.unwrap_or_default() + by;
    if options.if_absent && present.is_some() {
        call.reply.null();
        return Ok(());
    }
    if sum.is_nan() {
        return Err(SCORE_NOT_A_NUMBER);
    }
    if !options.allow(present, sum) {
        call.reply.null();
        return Ok(());
    }
    let sum = call.store.sorted_add(call.argument(1), member, by).map_err(|error| match error {
        AddError::NotNumber | AddError::Overflow => SCORE_NOT_A_NUMBER,
    })?;
    call.reply.double(sum);
    Ok(())
}
