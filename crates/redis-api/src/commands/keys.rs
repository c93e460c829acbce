//! Commands for keys of any type.

use crate::commands::scan::{Options, parse_cursor};
use crate::engine::call::{Call, Outcome};
use crate::engine::session::Next;
use crate::engine::store::Kind;
use crate::protocol::errors::{DATABASE, NEGATIVE_TIMEOUT, NO_SUCH_KEY, NOT_POSITIVE, SAME_OBJECT, SYNTAX, TIMEOUT};
use crate::protocol::glob;
use crate::protocol::number::parse_i64;

pub(super) use crate::commands::expiry::{expire, expireat, expiretime, persist, pexpire, pexpireat, pexpiretime, pttl, ttl};

pub(super) fn del(call: &mut Call<'_>) -> Outcome {
    let keys = call.arguments.from(1);
    let removed = keys.iter().filter(|key| call.store.remove(key)).count();
    call.reply.count(removed);
    Ok(())
}

pub(super) fn unlink(call: &mut Call<'_>) -> Outcome {
    del(call)
}

pub(super) fn exists(call: &mut Call<'_>) -> Outcome {
    let keys = call.arguments.from(1);
    let found = keys.iter().filter(|key| call.store.kind(key).is_some()).count();
    call.reply.count(found);
    Ok(())
}

pub(super) fn touch(call: &mut Call<'_>) -> Outcome {
    exists(call)
}

/// The name of a type, as `TYPE` answers it.
pub(super) fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Sketch => "string",
        Kind::Hash => "hash",
        Kind::Set => "set",
        Kind::Sorted => "zset",
        Kind::List => "list",
    }
}

pub(super) fn kind(call: &mut Call<'_>) -> Outcome {
    let name = call.store.kind(call.argument(1)).map_or("none", type_name);
    call.reply.simple(name);
    Ok(())
}

pub(super) fn rename(call: &mut Call<'_>) -> Outcome {
    let (from, to) = (call.argument(1), call.argument(2));
    if call.store.kind(from).is_none() {
        return Err(NO_SUCH_KEY);
    }
    if from != to {
        call.store.copy(from, to);
        call.store.remove(from);
    }
    call.reply.ok();
    Ok(())
}

pub(super) fn renamenx(call: &mut Call<'_>) -> Outcome {
    let (from, to) = (call.argument(1), call.argument(2));
    if call.store.kind(from).is_none() {
        return Err(NO_SUCH_KEY);
    }
    let is_free = call.store.kind(to).is_none();
    if is_free {
        call.store.copy(from, to);
        call.store.remove(from);
    }
    call.reply.integer(is_free.into());
    Ok(())
}

pub(super) fn copy(call: &mut Call<'_>) -> Outcome {
    let (from, to) = (call.argument(1), call.argument(2));
    let mut replaces = false;
    let mut at = 3;
    while at < call.len() {
        if call.is(at, "replace") {
            replaces = true;
        } else if call.is(at, "db") && at + 1 < call.len() {
            at += 1;
            if call.integer(at)? != 0 {
                return Err(DATABASE);
            }
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    if from == to {
        return Err(SAME_OBJECT);
    }
    let copies = call.store.kind(from).is_some() && (replaces || call.store.kind(to).is_none());
    if copies {
        call.store.copy(from, to);
    }
    call.reply.integer(copies.into());
    Ok(())
}

pub(super) fn randomkey(call: &mut Call<'_>) -> Outcome {
    let random = call.host.random();
    let key = call.store.random_key(random);
    call.reply.bulk_or_null(key.as_deref());
    Ok(())
}

pub(super) fn keys(call: &mut Call<'_>) -> Outcome {
    let pattern = call.argument(1);
    let mut found = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = call.store.scan(cursor, usize::MAX, &mut |key| {
            if pattern == b"*" || glob::matches(pattern, key, false) {
                found.push(key.to_vec());
            }
        });
        if cursor == 0 {
            break;
        }
    }
    call.reply.array(found.len());
    found.iter().for_each(|key| call.reply.bulk(key));
    Ok(())
}

pub(super) fn scan(call: &mut Call<'_>) -> Outcome {
    let cursor = parse_cursor(call.argument(1))?;
    let options = Options::parse(call, 2, true)?;
    let mut found = Vec::new();
    let next = call.store.scan(cursor, options.count, &mut |key| {
        if options.matches(key) {
            found.push(key.to_vec());
        }
    });
    found.retain(|key| options.has_type(call.store.kind(key)));
    options.answer(call, next, &found);
    Ok(())
}

pub(super) fn wait(call: &mut Call<'_>) -> Outcome {
    let replicas = call.integer(1)?;
    let timeout_ms = parse_i64(call.argument(2)).ok_or(TIMEOUT)?;
    if timeout_ms < 0 {
        return Err(NEGATIVE_TIMEOUT);
    }
    let replicas = u64::try_from(replicas).map_err(|_| NOT_POSITIVE)?;
    call.session.next = Next::Wait { replicas, timeout_ms: timeout_ms as u64 };
    Ok(())
}
