//! Ranges as commands of sorted sets and lists name them.

use std::ops::Range;

use crate::protocol::number::parse_f64;

/// One end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    /// The score.
    pub score: f64,
    /// Whether the score itself is outside: `(1.5`.
    pub is_exclusive: bool,
}

/// The end of a range of scores that `text` is: `1.5`, `(1.5`, `-inf`.
pub fn parse_score(text: &[u8]) -> Option<ScoreBound> {
    let (is_exclusive, text) = match text {
        [b'(', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    // Here alone Redis takes blanks before the number, nothing for 0, and numbers too great for a float.
    let text = text.trim_ascii_start();
    let score = if text.is_empty() { 0.0 } else { parse_f64(text).or_else(|| too_great(text))? };
    Some(ScoreBound { score, is_exclusive })
}

fn too_great(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse::<f64>().ok().filter(|score| !score.is_nan())
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before all members: `-`.
    Lowest,
    /// After all members: `+`.
    Highest,
    /// This member and those beyond: `[a`.
    Inclusive(&'a [u8]),
    /// Those beyond this member: `(a`.
    Exclusive(&'a [u8]),
}

/// The end of a range of members that `text` is.
pub fn parse_lex(text: &[u8]) -> Option<LexBound<'_>> {
    match text {
        [b'-'] => Some(LexBound::Lowest),
        [b'+'] => Some(LexBound::Highest),
        [b'[', member @ ..] => Some(LexBound::Inclusive(member)),
        [b'(', member @ ..] => Some(LexBound::Exclusive(member)),
        _ => None,
    }
}

/// The places from `start` to `stop`, both within, of `length` many; negative ones count from the end.
pub fn places(start: i64, stop: i64, length: usize) -> Range<usize> {
    let length = length as i64;
    let from_end = |place: i64| if place < 0 { place.saturating_add(length) } else { place };
    let start = from_end(start).max(0);
    let stop = from_end(stop).min(length - 1);
    if start > stop { 0..0 } else { start as usize..(stop + 1) as usize }
}
