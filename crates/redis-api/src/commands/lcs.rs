//! The longest common subsequence of two strings, by the classic table of lengths of prefixes.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::engine::call::{Call, Outcome};
use crate::engine::store::Kind;
use crate::protocol::errors::{Failure, LCS_BOTH, LCS_TYPE, SYNTAX};
use crate::protocol::limits::LCS_BYTES;

/// Bytes that are the same in both strings, one after another: where they are in each.
type Match = (RangeInclusive<usize>, RangeInclusive<usize>);

pub(super) fn lcs(call: &mut Call<'_>) -> Outcome {
    let (mut shows_length, mut shows_matches, mut with_lengths, mut shortest) = (false, false, false, 0);
    let a = operand(call, 1)?;
    let b = operand(call, 2)?;
    let mut at = 3;
    while at < call.len() {
        if call.is(at, "idx") {
            shows_matches = true;
        } else if call.is(at, "len") {
            shows_length = true;
        } else if call.is(at, "withmatchlen") {
            with_lengths = true;
        } else if call.is(at, "minmatchlen") && at + 1 < call.len() {
            at += 1;
            shortest = call.integer(at)?.max(0) as usize;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    if shows_length && shows_matches {
        return Err(LCS_BOTH);
    }
    let (common, matches) = compare(&a, &b)?;
    if shows_matches {
        answer_matches(
            call,
            common.len(),
            matches.into_iter().filter(|(in_a, _)| in_a.clone().count() >= shortest).collect(),
            with_lengths,
        );
    } else if shows_length {
        call.reply.count(common.len());
    } else {
        call.reply.bulk(&common);
    }
    Ok(())
}

fn operand(call: &Call<'_>, index: usize) -> Result<Vec<u8>, Failure> {
    let key = call.argument(index);
    let is_there = call.has(key, Kind::Text).map_err(|_| LCS_TYPE)?;
    Ok(if is_there { call.store.text(key).map(Cow::into_owned).unwrap_or_default() } else { Vec::new() })
}

/// The subsequence, and where it is, from the end.
fn compare(a: &[u8], b: &[u8]) -> Result<(Vec<u8>, Vec<Match>), Failure> {
    let width = b.len() + 1;
    let cells = (a.len() + 1).checked_mul(width).filter(|cells| cells.saturating_mul(size_of::<u32>()) <= LCS_BYTES);
    let too_long = || Failure::new("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    let mut lengths = vec![0_u32; cells.ok_or_else(too_long)?];
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            lengths[i * width + j] = match a[i - 1] == b[j - 1] {
                true => lengths[(i - 1) * width + j - 1] + 1,
                false => lengths[(i - 1) * width + j].max(lengths[i * width + j - 1]),
            };
        }
    }
    let (mut i, mut j) = (a.len(), b.len());
    let mut common = Vec::new();
    let mut matches: Vec<Match> = Vec::new();
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            common.push(a[i - 1]);
            (i, j) = (i - 1, j - 1);
            match matches.last_mut() {
                Some((in_a, in_b)) if *in_a.start() == i + 1 && *in_b.start() == j + 1 => {
                    (*in_a, *in_b) = (i..=*in_a.end(), j..=*in_b.end())
                }
                _ => matches.push((i..=i, j..=j)),
            }
        } else if lengths[(i - 1) * width + j] > lengths[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    common.reverse();
    Ok((common, matches))
}

fn answer_matches(call: &mut Call<'_>, length: usize, matches: Vec<Match>, with_lengths: bool) {
    call.reply.map(2);
    call.reply.bulk(b"matches");
    call.reply.array(matches.len());
    for (in_a, in_b) in matches {
        call.reply.array(2 + usize::from(with_lengths));
        for range in [&in_a, &in_b] {
            call.reply.array(2);
            call.reply.count(*range.start());
            call.reply.count(*range.end());
        }
        if with_lengths {
            call.reply.count(in_a.count());
        }
    }
    call.reply.bulk(b"len");
    call.reply.count(length);
}
