//! Commands about the server as a whole.

use crate::engine::call::{Call, Outcome};
use crate::protocol::errors::SYNTAX;

pub(super) use crate::commands::info::info;

pub(super) fn dbsize(call: &mut Call<'_>) -> Outcome {
    call.reply.count(call.store.len());
    Ok(())
}

pub(super) fn flushall(call: &mut Call<'_>) -> Outcome {
    let is_known = call.len() == 1 || (call.len() == 2 && (call.is(1, "sync") || call.is(1, "async")));
    if !is_known {
        return Err(SYNTAX);
    }
    call.store.clear();
    call.reply.ok();
    Ok(())
}

pub(super) fn flushdb(call: &mut Call<'_>) -> Outcome {
    flushall(call)
}

pub(super) fn time(call: &mut Call<'_>) -> Outcome {
    const US: u64 = 1_000_000;
    let now_us = call.host.now_us();
    call.reply.array(2);
    call.reply.bulk_integer((now_us / US) as i64);
    call.reply.bulk_integer((now_us % US) as i64);
    Ok(())
}
