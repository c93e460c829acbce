//! Commands for sorted sets: single members, counts and scans. Adding, ranges, popping and combining have files of their own.

use crate::commands::pick::{self, Second};
use crate::commands::scan;
use crate::engine::call::{Call, Outcome};
use crate::engine::store::Kind;
use crate::protocol::errors::Failure;
use crate::protocol::number::put_f64;
use crate::protocol::reply::{Reply, Version};

pub(super) use crate::commands::sorted_add::{zadd, zincrby};
pub(super) use crate::commands::sorted_combine::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
pub(super) use crate::commands::sorted_pop::{zmpop, zpopmax, zpopmin};
pub(super) use crate::commands::sorted_range::{
    zcount, zlexcount, zrange, zrangebylex, zrangebyscore, zrangestore, zremrangebylex, zremrangebyrank, zremrangebyscore, zrevrange,
    zrevrangebylex, zrevrangebyscore,
};

/// Members with their scores.
pub(super) type Scored = Vec<(Vec<u8>, f64)>;

pub(super) fn is_there(call: &Call<'_>) -> Result<bool, Failure> {
    call.has(call.argument(1), Kind::Sorted)
}

/// Answers members, with their scores if they are wanted: in pairs of their own, or in version 2 one after another.
pub(super) fn answer_members(reply: &mut Reply<'_>, members: &[(Vec<u8>, f64)], with_scores: bool) {
    let nests = with_scores && reply.version() == Version::Three;
    reply.array(if with_scores && !nests { 2 * members.len() } else { members.len() });
    for (member, score) in members {
        if nests {
            reply.array(2);
        }
        reply.bulk(member);
        if with_scores {
            reply.double(*score);
        }
    }
}

pub(super) fn zcard(call: &mut Call<'_>) -> Outcome {
    let length = if is_there(call)? { call.store.sorted_len(call.argument(1)) } else { 0 };
    call.reply.count(length);
    Ok(())
}

pub(super) fn zscore(call: &mut Call<'_>) -> Outcome {
    let score = if is_there(call)? { call.store.sorted_score(call.argument(1), call.argument(2)) } else { None };
    answer_score(&mut call.reply, score);
    Ok(())
}

fn answer_score(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

pub(super) fn zmscore(call: &mut Call<'_>) -> Outcome {
    let is_there = is_there(call)?;
    let (key, members) = (call.argument(1), call.arguments.from(2));
    call.reply.array(members.len());
    for member in members.iter() {
        let score = if is_there { call.store.sorted_score(key, member) } else { None };
        answer_score(&mut call.reply, score);
    }
    Ok(())
}

pub(super) fn zrank(call: &mut Call<'_>) -> Outcome {
    answer_rank(call, false)
}

pub(super) fn zrevrank(call: &mut Call<'_>) -> Outcome {
    answer_rank(call, true)
}

fn answer_rank(call: &mut Call<'_>, is_reverse: bool) -> Outcome {
    let key = call.argument(1);
    let rank = if is_there(call)? { call.store.sorted_rank(key, call.argument(2)) } else { None };
    match rank {
        None => call.reply.null(),
        Some(rank) if is_reverse => call.reply.count(call.store.sorted_len(key) - 1 - rank),
        Some(rank) => call.reply.count(rank),
    }
    Ok(())
}

pub(super) fn zrem(call: &mut Call<'_>) -> Outcome {
    let is_there = is_there(call)?;
    let (key, members) = (call.argument(1), call.arguments.from(2));
    let removed = if is_there { call.store.sorted_remove(key, &mut members.iter()) } else { 0 };
    call.reply.count(removed);
    Ok(())
}

pub(super) fn zrandmember(call: &mut Call<'_>) -> Outcome {
    pick::answer(call, Kind::Sorted, Some("withscores"), |store, key, place| {
        let (member, score) = store.sorted_at(key, place).unwrap_or_default();
        (member, Second::Score(score))
    })
}

pub(super) fn zscan(call: &mut Call<'_>) -> Outcome {
    scan::answer_elements(call, Kind::Sorted, |store, walk, each| {
        let mut page = Vec::new();
        let next = store.sorted_scan(walk.key, walk.cursor, walk.count, &mut |member, score| page.push((score, member.to_vec())));
        // They come as Redis has a few of them: in the order of scores.
        page.sort_by(|(score, member), (other_score, other)| score.total_cmp(other_score).then_with(|| member.cmp(other)));
        for (score, member) in page {
            let mut text = Vec::new();
            put_f64(&mut text, score);
            each(&member, Some(&text));
        }
        next
    })
}
