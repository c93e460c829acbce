//! Ranges of sorted sets, by places, scores or members.

use std::ops::Range;

use crate::commands::sorted::{Scored, answer_members, is_there};
use crate::engine::call::{Call, Outcome};
use crate::engine::store::{Bound, Kind, Store};
use crate::protocol::errors::{Failure, LEX_RANGE, LIMIT_NEEDS_RANGE, SCORE_RANGE, SCORES_WITH_LEX, SYNTAX};
use crate::protocol::range::{LexBound, ScoreBound, parse_lex, parse_score, places};

/// What a range's ends are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// A range, lower end first.
#[derive(Clone, Copy, Debug)]
enum Ends<'a> {
    Rank(i64, i64),
    Score(ScoreBound, ScoreBound),
    Lex(LexBound<'a>, LexBound<'a>),
}

impl<'a> Ends<'a> {
    /// The range whose lower end is the argument at `low`, its upper one that at `high`.
    fn parse(call: &Call<'a>, by: By, low: usize, high: usize) -> Result<Self, Failure> {
        let (low, high) = match by {
            By::Rank => return Ok(Ends::Rank(call.integer(low)?, call.integer(high)?)),
            By::Score | By::Lex => (call.argument(low), call.argument(high)),
        };
        match by {
            By::Lex => parse_lex(low).zip(parse_lex(high)).map(|(low, high)| Ends::Lex(low, high)).ok_or(LEX_RANGE),
            _ => parse_score(low).zip(parse_score(high)).map(|(low, high)| Ends::Score(low, high)).ok_or(SCORE_RANGE),
        }
    }

    /// The places of its members in the order of scores; ranks count from the end if `is_reverse`.
    fn places(&self, store: &dyn Store, key: &[u8], is_reverse: bool) -> Range<usize> {
        let length = store.sorted_len(key);
        let (start, end) = match *self {
            Ends::Rank(start, stop) => {
                let range = places(start, stop, length);
                return if is_reverse { length - range.end..length - range.start } else { range };
            }
            Ends::Score(low, high) => {
                let below = |score, counts_equal| {
                    store.sorted_count(key, if counts_equal { Bound::UpToScore(score) } else { Bound::BelowScore(score) })
                };
                (below(low.score, low.is_exclusive), below(high.score, !high.is_exclusive))
            }
            Ends::Lex(low, high) => (before_lex(store, key, low, false), before_lex(store, key, high, true)),
        };
        start..end.max(start)
    }
}

/// How many members are before a bound; the bound's own counts if it is within a range that ends there.
fn before_lex(store: &dyn Store, key: &[u8], bound: LexBound<'_>, is_end: bool) -> usize {
    match bound {
        LexBound::Lowest => 0,
        LexBound::Highest => store.sorted_len(key),
        LexBound::Inclusive(member) if is_end => store.sorted_count(key, Bound::UpToMember(member)),
        LexBound::Inclusive(member) => store.sorted_count(key, Bound::BelowMember(member)),
        LexBound::Exclusive(member) if is_end => store.sorted_count(key, Bound::BelowMember(member)),
        LexBound::Exclusive(member) => store.sorted_count(key, Bound::UpToMember(member)),
    }
}

/// A whole query: which range, in which order, which part of it, and what is answered.
#[derive(Debug)]
struct Query<'a> {
    ends: Ends<'a>,
    is_reverse: bool,
    limit: Option<(i64, i64)>,
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// The query whose range's ends are the arguments at `index` and after it, then options. What the command's name fixes is given.
    fn parse(call: &Call<'a>, index: usize, by: Option<By>, is_reverse: Option<bool>, is_store: bool) -> Result<Self, Failure> {
        let (fixed_by, fixed_direction) = (by, is_reverse);
        let (mut by, mut is_reverse, mut limit, mut with_scores) = (by.unwrap_or(By::Rank), is_reverse.unwrap_or(false), None, false);
        let mut at = index + 2;
        while at < call.len() {
            if call.is(at, "withscores") && !is_store {
                with_scores = true;
            } else if call.is(at, "limit") && at + 2 < call.len() {
                limit = Some((call.integer(at + 1)?, call.integer(at + 2)?));
                at += 2;
            } else if fixed_direction.is_none() && call.is(at, "rev") {
                is_reverse = true;
            } else if fixed_by.is_none() && call.is(at, "bylex") {
                by = By::Lex;
            } else if fixed_by.is_none() && call.is(at, "byscore") {
                by = By::Score;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        if limit.is_some() && by == By::Rank {
            return Err(LIMIT_NEEDS_RANGE);
        }
        if with_scores && by == By::Lex {
            return Err(SCORES_WITH_LEX);
        }
        let is_swapped = is_reverse && by != By::Rank;
        let (low, high) = if is_swapped { (index + 1, index) } else { (index, index + 1) };
        Ok(Query { ends: Ends::parse(call, by, low, high)?, is_reverse, limit, with_scores })
    }

    /// What it finds.
    fn run(&self, store: &dyn Store, key: &[u8]) -> Scored {
        let mut range = self.ends.places(store, key, self.is_reverse);
        if let Some((offset, count)) = self.limit {
            let skipped = usize::try_from(offset).unwrap_or(usize::MAX).min(range.len());
            let kept = usize::try_from(count).unwrap_or(usize::MAX).min(range.len() - skipped);
            range = match self.is_reverse {
                true => range.end - skipped - kept..range.end - skipped,
                false => range.start + skipped..range.start + skipped + kept,
            };
        }
        let mut members = Vec::with_capacity(range.len());
        store.sorted_range(key, range, &mut |member, score| members.push((member.to_vec(), score)));
        if self.is_reverse {
            members.reverse();
        }
        members
    }
}

fn answer(call: &mut Call<'_>, by: Option<By>, is_reverse: Option<bool>) -> Outcome {
    let query = Query::parse(call, 2, by, is_reverse, false)?;
    let members = if is_there(call)? { query.run(call.store, call.argument(1)) } else { Scored::new() };
    answer_members(&mut call.reply, &members, query.with_scores);
    Ok(())
}

pub(super) fn zrange(call: &mut Call<'_>) -> Outcome {
    answer(call, None, None)
}

pub(super) fn zrevrange(call: &mut Call<'_>) -> Outcome {
    answer(call, Some(By::Rank), Some(true))
}

pub(super) fn zrangebyscore(call: &mut Call<'_>) -> Outcome {
    answer(call, Some(By::Score), Some(false))
}

pub(super) fn zrevrangebyscore(call: &mut Call<'_>) -> Outcome {
    answer(call, Some(By::Score), Some(true))
}

pub(super) fn zrangebylex(call: &mut Call<'_>) -> Outcome {
    answer(call, Some(By::Lex), Some(false))
}

pub(super) fn zrevrangebylex(call: &mut Call<'_>) -> Outcome {
    answer(call, Some(By::Lex), Some(true))
}

pub(super) fn zrangestore(call: &mut Call<'_>) -> Outcome {
    let (to, from) = (call.argument(1), call.argument(2));
    let query = Query::parse(call, 3, None, None, true)?;
    let members = if call.has(from, Kind::Sorted)? { query.run(call.store, from) } else { Scored::new() };
    store_members(call, to, &members);
    Ok(())
}

/// Makes `to` hold these members and answers how many there are.
pub(super) fn store_members(call: &mut Call<'_>, to: &[u8], members: &[(Vec<u8>, f64)]) {
    call.store.remove(to);
    call.store.sorted_set(to, &mut members.iter().map(|(member, score)| (member.as_slice(), *score)), &|_, _| true);
    call.reply.count(members.len());
}

fn count(call: &mut Call<'_>, by: By) -> Outcome {
    let ends = Ends::parse(call, by, 2, 3)?;
    let count = if is_there(call)? { ends.places(call.store, call.argument(1), false).len() } else { 0 };
    call.reply.count(count);
    Ok(())
}

pub(super) fn zcount(call: &mut Call<'_>) -> Outcome {
    count(call, By::Score)
}

pub(super) fn zlexcount(call: &mut Call<'_>) -> Outcome {
    count(call, By::Lex)
}

fn remove(call: &mut Call<'_>, by: By) -> Outcome {
    let key = call.argument(1);
    let ends = Ends::parse(call, by, 2, 3)?;
    let range = if is_there(call)? { ends.places(call.store, key, false) } else { 0..0 };
    let mut members = Vec::with_capacity(range.len());
    if !range.is_empty() {
        call.store.sorted_range(key, range, &mut |member, _| members.push(member.to_vec()));
    }
    call.store.sorted_remove(key, &mut members.iter().map(Vec::as_slice));
    call.reply.count(members.len());
    Ok(())
}

pub(super) fn zremrangebyrank(call: &mut Call<'_>) -> Outcome {
    remove(call, By::Rank)
}

pub(super) fn zremrangebyscore(call: &mut Call<'_>) -> Outcome {
    remove(call, By::Score)
}

pub(super) fn zremrangebylex(call: &mut Call<'_>) -> Outcome {
    remove(call, By::Lex)
}
