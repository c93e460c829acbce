//! `CONSISTENCY`, `SESSION` and `REPLICATION`: what a connection relies on, what it has seen, and what its writes wait for. Redis has no such commands.

use crate::engine::admission::is_of_data;
use crate::engine::call::{Call, Outcome};
use crate::engine::dispatch;
use crate::engine::level::{Chosen, Level, Replication};
use crate::engine::session::Next;
use crate::engine::token;
use crate::protocol::errors::{self, Failure, NEGATIVE_TIMEOUT, SYNTAX, TIMEOUT};
use crate::protocol::number::parse_i64;

fn parse_level(call: &Call<'_>, index: usize) -> Result<Level, Failure> {
    Level::named(call.argument(index)).ok_or_else(|| errors::not_a_level(call.argument(index)))
}

/// A number of milliseconds.
pub(super) fn parse_timeout(call: &Call<'_>, index: usize) -> Result<u64, Failure> {
    let timeout = parse_i64(call.argument(index)).ok_or(TIMEOUT)?;
    u64::try_from(timeout).map_err(|_| NEGATIVE_TIMEOUT)
}

/// `TIMEOUT ms` at the end, if it is there.
fn parse_last(call: &Call<'_>, index: usize, usual: u64) -> Result<u64, Failure> {
    match call.len().checked_sub(index) {
        Some(0) => Ok(usual),
        Some(2) if call.is(index, "timeout") => parse_timeout(call, index + 1),
        _ => Err(SYNTAX),
    }
}

pub(super) fn set_level(call: &mut Call<'_>) -> Outcome {
    let what = parse_level(call, 2)?;
    call.session.level = Chosen { what, timeout_ms: parse_last(call, 3, call.session.level.timeout_ms)? };
    call.reply.ok();
    Ok(())
}

pub(super) fn get_level(call: &mut Call<'_>) -> Outcome {
    call.reply.bulk(call.session.level.what.name().as_bytes());
    Ok(())
}

/// Runs one command at a level, and with a token, of its own.
pub(super) fn with_level(call: &mut Call<'_>) -> Outcome {
    let level = parse_level(call, 2)?;
    let (seen, at) = if call.is(3, "token") { (Some(token::parse(call.argument(4))?), 5) } else { (None, 3) };
    let arguments = call.arguments.from(at);
    if arguments.is_empty() {
        return Err(errors::wrong_arity("consistency|with"));
    }
    let found = dispatch::find_command(arguments)?;
    if !is_of_data(found.command) {
        return Err(errors::not_of_data(found.full_name()));
    }
    dispatch::permit(found, arguments, call.session, call.host)?;
    let before = (call.session.level, seen.as_ref().map(|_| call.session.token.clone()));
    call.session.level.what = level;
    if let Some(seen) = seen {
        call.session.token.join(&seen);
    }
    let mut answer = Vec::new();
    let outcome = dispatch::admit_and_run(found.command, call.session, arguments, call.store, call.host, &mut answer);
    call.session.level = before.0;
    if let Some(token) = before.1 {
        call.session.token = token;
    }
    outcome?;
    call.reply.raw(&answer);
    Ok(())
}

pub(super) fn show_token(call: &mut Call<'_>) -> Outcome {
    let mut seen = call.store.seen();
    seen.join(&call.session.token);
    call.reply.bulk(&token::text(&seen));
    Ok(())
}

pub(super) fn wait_for_token(call: &mut Call<'_>) -> Outcome {
    let seen = token::parse(call.argument(2))?;
    let timeout_ms = parse_timeout(call, 3)?;
    call.session.token.join(&seen);
    if call.store.has_seen(&seen) {
        call.reply.integer(1);
    } else {
        call.session.awaited = seen;
        call.session.next = Next::Behind { timeout_ms };
    }
    Ok(())
}

pub(super) fn set_replication(call: &mut Call<'_>) -> Outcome {
    let (what, at) = match call.argument(2).to_ascii_lowercase().as_slice() {
        b"async" => (Replication::Async, 3),
        b"sync" => (Replication::Sync, 3),
        b"semi-sync" => {
            let replicas = parse_i64(call.argument(3)).and_then(|replicas| u64::try_from(replicas).ok()).filter(|replicas| *replicas > 0);
            (Replication::SemiSync(replicas.ok_or_else(|| errors::not_a_count_of_replicas(call.argument(3)))?), 4)
        }
        other => return Err(errors::not_a_replication(other)),
    };
    call.session.replication = Chosen { what, timeout_ms: parse_last(call, at, call.session.replication.timeout_ms)? };
    call.reply.ok();
    Ok(())
}

pub(super) fn get_replication(call: &mut Call<'_>) -> Outcome {
    call.reply.bulk(call.session.replication.what.name().as_bytes());
    Ok(())
}
