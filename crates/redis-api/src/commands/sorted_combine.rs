//! Unions, intersections and differences of sorted sets, and of sets, whose members all have the score 1.

use std::collections::BTreeMap;

use crate::commands::combine::Combine;
use crate::commands::sets::{end_of_keys, parse_limit};
use crate::commands::sorted::{Scored, answer_members};
use crate::commands::sorted_pop::as_syntax;
use crate::commands::sorted_range::store_members;
use crate::engine::call::{Call, Outcome};
use crate::engine::store::{Kind, Store};
use crate::protocol::errors::{Failure, NOT_INTEGER, SYNTAX, WEIGHT, WRONG_TYPE};
use crate::protocol::number::{parse_f64, parse_i64};

/// What becomes of the scores of a member that several have.
#[derive(Clone, Copy, Debug)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // Infinities of both signs give 0.
            Aggregate::Sum => Some(a + b).filter(|sum| !sum.is_nan()).unwrap_or_default(),
            // What is no number, infinity by 0, changes nothing.
            Aggregate::Min if b < a => b,
            Aggregate::Max if b > a => b,
            Aggregate::Min | Aggregate::Max => a,
        }
    }
}

/// A set or sorted set, or none, and what its scores are multiplied by.
#[derive(Clone, Copy, Debug)]
struct Operand<'a> {
    key: &'a [u8],
    kind: Option<Kind>,
    weight: f64,
}

impl Operand<'_> {
    fn len(&self, store: &dyn Store) -> usize {
        match self.kind {
            Some(Kind::Set) => store.set_len(self.key),
            Some(_) => store.sorted_len(self.key),
            None => 0,
        }
    }

    fn weighted(&self, score: f64) -> f64 {
        Some(score * self.weight).filter(|score| !score.is_nan()).unwrap_or_default()
    }

    fn score(&self, store: &dyn Store, member: &[u8]) -> Option<f64> {
        let score = match self.kind? {
            Kind::Set => store.set_has(self.key, member).then_some(1.0),
            _ => store.sorted_score(self.key, member),
        };
        score.map(|score| score * self.weight)
    }

    fn each(&self, store: &dyn Store, each: &mut dyn FnMut(&[u8], f64)) {
        match self.kind {
            None => {}
            Some(Kind::Set) => store.set_each(self.key, &mut |member| each(member, self.weighted(1.0))),
            Some(_) => store.sorted_range(self.key, 0..store.sorted_len(self.key), &mut |member, score| each(member, self.weighted(score))),
        }
    }
}

/// What is to be combined, and how.
struct Query<'a> {
    how: Combine,
    operands: Vec<Operand<'a>>,
    aggregate: Aggregate,
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// The query whose number of keys is the argument at `index`.
    fn parse(call: &Call<'a>, index: usize, how: Combine, is_store: bool) -> Result<Self, Failure> {
        let count = parse_i64(call.argument(index)).ok_or(NOT_INTEGER)?;
        let too_few = || Failure::of(format!("ERR at least 1 input key is needed for '{}' command", call.command.name));
        let count = usize::try_from(count).ok().filter(|&count| count > 0).ok_or_else(too_few)?;
        let mut at = index + 1;
        if count > call.len() - at {
            return Err(SYNTAX);
        }
        let mut query = Query { how, operands: Vec::new(), aggregate: Aggregate::Sum, with_scores: false };
        for key in call.arguments.from(at).iter().take(count) {
            query.operands.push(Operand { key, kind: kind_of(call, key)?, weight: 1.0 });
        }
        at += count;
        while at < call.len() {
            if how != Combine::Diff && call.is(at, "weights") && call.len() - at > count {
                for (operand, weight) in query.operands.iter_mut().zip(call.arguments.from(at + 1).iter()) {
                    operand.weight = parse_f64(weight).ok_or(WEIGHT)?;
                }
                at += count;
            } else if how != Combine::Diff && call.is(at, "aggregate") && at + 1 < call.len() {
                at += 1;
                query.aggregate = match call.argument(at).to_ascii_lowercase().as_slice() {
                    b"sum" => Aggregate::Sum,
                    b"min" => Aggregate::Min,
                    b"max" => Aggregate::Max,
                    _ => return Err(SYNTAX),
                };
            } else if !is_store && call.is(at, "withscores") {
                query.with_scores = true;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(query)
    }

    /// The members in the order of their scores.
    fn run(&self, store: &dyn Store, limit: usize) -> Scored {
        let mut found: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
        match self.how {
            Combine::Union => {
                for operand in self.by_length(store) {
                    operand.each(store, &mut |member, score| match found.get_mut(member) {
                        Some(present) => *present = self.aggregate.of(*present, score),
                        None => drop(found.insert(member.to_vec(), score)),
                    });
                }
            }
            Combine::Inter => self.intersect(store, limit, &mut found),
            Combine::Diff => {
                let Some((first, others)) = self.operands.split_first() else { return Scored::new() };
                first.each(store, &mut |member, score| {
                    if others.iter().all(|other| other.score(store, member).is_none()) {
                        found.insert(member.to_vec(), score);
                    }
                });
            }
        }
        let mut members: Scored = found.into_iter().collect();
        // Both zeros are the same score.
        members.sort_by(|(_, a), (_, b)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        members
    }

    fn intersect(&self, store: &dyn Store, limit: usize, found: &mut BTreeMap<Vec<u8>, f64>) {
        let operands = self.by_length(store);
        let Some((smallest, others)) = operands.split_first() else { return };
        smallest.each(store, &mut |member, score| {
            let with = |sum: f64, other: &&Operand<'_>| other.score(store, member).map(|score| self.aggregate.of(sum, score));
            if found.len() < limit
                && let Some(score) = others.iter().try_fold(score, with)
            {
                found.insert(member.to_vec(), score);
            }
        });
    }

    /// The smallest first.
    fn by_length(&self, store: &dyn Store) -> Vec<&Operand<'a>> {
        let mut operands: Vec<_> = self.operands.iter().collect();
        operands.sort_by_key(|operand| operand.len(store));
        operands
    }
}

fn kind_of(call: &Call<'_>, key: &[u8]) -> Result<Option<Kind>, Failure> {
    match call.store.kind(key) {
        kind @ (None | Some(Kind::Set | Kind::Sorted)) => Ok(kind),
        Some(_) => Err(WRONG_TYPE),
    }
}

fn answer(call: &mut Call<'_>, how: Combine) -> Outcome {
    let query = Query::parse(call, 1, how, false)?;
    let members = query.run(call.store, usize::MAX);
    answer_members(&mut call.reply, &members, query.with_scores);
    Ok(())
}

fn store(call: &mut Call<'_>, how: Combine) -> Outcome {
    let query = Query::parse(call, 2, how, true)?;
    let members = query.run(call.store, usize::MAX);
    store_members(call, call.argument(1), &members);
    Ok(())
}

pub(super) fn zunion(call: &mut Call<'_>) -> Outcome {
    answer(call, Combine::Union)
}

pub(super) fn zinter(call: &mut Call<'_>) -> Outcome {
    answer(call, Combine::Inter)
}

pub(super) fn zdiff(call: &mut Call<'_>) -> Outcome {
    answer(call, Combine::Diff)
}

pub(super) fn zunionstore(call: &mut Call<'_>) -> Outcome {
    store(call, Combine::Union)
}

pub(super) fn zinterstore(call: &mut Call<'_>) -> Outcome {
    store(call, Combine::Inter)
}

pub(super) fn zdiffstore(call: &mut Call<'_>) -> Outcome {
    store(call, Combine::Diff)
}

pub(super) fn zintercard(call: &mut Call<'_>) -> Outcome {
    let end = end_of_keys(call, 1).map_err(as_syntax)?;
    let mut operands = Vec::new();
    for key in call.arguments.iter().take(end).skip(2) {
        operands.push(Operand { key, kind: kind_of(call, key)?, weight: 1.0 });
    }
    let limit = parse_limit(call, end)?;
    let query = Query { how: Combine::Inter, operands, aggregate: Aggregate::Sum, with_scores: false };
    let count = query.run(call.store, limit).len();
    call.reply.count(count);
    Ok(())
}
