//! `OBJECT` and `MEMORY`: how a key is held. Encodings are Redis's names for what it would choose, as clients and tests look at them.

use crate::engine::call::{Call, Outcome};
use crate::engine::store::{Kind, Store};
use crate::protocol::errors::{NO_FREQUENCY, NOT_POSITIVE, SYNTAX};
use crate::protocol::number::parse_i64;

/// The longest string that Redis keeps within its object.
const EMBEDDED_BYTES: usize = 44;
/// The most elements, and the longest, that Redis keeps in one list of bytes.
const PACKED: (usize, usize) = (128, 64);
/// The most integers that Redis keeps as a sorted array.
const INTEGERS: usize = 512;

pub(super) fn encoding(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(2);
    match call.store.kind(key) {
        None => call.reply.null(),
        Some(kind) => {
            let name = encoding_of(call.store, key, kind);
            call.reply.bulk(name.as_bytes());
        }
    }
    Ok(())
}

fn encoding_of(store: &dyn Store, key: &[u8], kind: Kind) -> &'static str {
    let mut longest = 0;
    match kind {
        Kind::Text => match store.text(key).unwrap_or_default() {
            text if parse_i64(&text).is_some() => "int",
            text if text.len() <= EMBEDDED_BYTES => "embstr",
            _ => "raw",
        },
        Kind::Sketch => "raw",
        Kind::List => "quicklist",
        Kind::Hash => {
            let is_small = store.hash_len(key) <= PACKED.0;
            if is_small {
                store.hash_each(key, &mut |field, value| longest = longest.max(field.len()).max(value.len()));
            }
            if is_small && longest <= PACKED.1 { "listpack" } else { "hashtable" }
        }
        Kind::Sorted => {
            let is_small = store.sorted_len(key) <= PACKED.0;
            if is_small {
                store.sorted_range(key, 0..PACKED.0, &mut |member, _| longest = longest.max(member.len()));
            }
            if is_small && longest <= PACKED.1 { "listpack" } else { "skiplist" }
        }
        Kind::Set => {
            let mut are_integers = store.set_len(key) <= INTEGERS;
            if are_integers {
                store.set_each(key, &mut |member| are_integers &= parse_i64(member).is_some());
            }
            if are_integers { "intset" } else { "hashtable" }
        }
    }
}

pub(super) fn freq(call: &mut Call<'_>) -> Outcome {
    match call.store.kind(call.argument(2)) {
        None => call.reply.null(),
        Some(_) => return Err(NO_FREQUENCY),
    }
    Ok(())
}

pub(super) fn idletime(call: &mut Call<'_>) -> Outcome {
    number_if_there(call, 0)
}

pub(super) fn refcount(call: &mut Call<'_>) -> Outcome {
    number_if_there(call, 1)
}

fn number_if_there(call: &mut Call<'_>, number: i64) -> Outcome {
    match call.store.kind(call.argument(2)) {
        None => call.reply.null(),
        Some(_) => call.reply.integer(number),
    }
    Ok(())
}

pub(super) fn usage(call: &mut Call<'_>) -> Outcome {
    let key = call.argument(2);
    match call.len() {
        3 => {}
        5 if call.is(3, "samples") && call.integer(4)? >= 0 => {}
        5 if call.is(3, "samples") => return Err(NOT_POSITIVE),
        _ => return Err(SYNTAX),
    }
    match call.store.kind(key) {
        None => call.reply.null(),
        Some(_) => call.reply.count(call.store.memory_bytes(key)),
    }
    Ok(())
}
