//! Commands that Redis has and this server has not, each with the reason.

use crate::engine::call::{Call, Outcome};
use crate::protocol::errors;

/// Why, and what of.
const REASONS: &[(&str, &[&str])] = &[
    (
        "no connection waits for another's write; poll instead",
        &["blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin"],
    ),
    (
        "there are no channels",
        &["psubscribe", "publish", "pubsub", "punsubscribe", "spublish", "ssubscribe", "subscribe", "sunsubscribe", "unsubscribe"],
    ),
    (
        "a script's effects could not be merged; use MULTI, or read and write back",
        &["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro", "function", "script"],
    ),
    (
        "streams are not a type of available state",
        &[
            "xack",
            "xadd",
            "xautoclaim",
            "xclaim",
            "xdel",
            "xgroup",
            "xinfo",
            "xlen",
            "xpending",
            "xrange",
            "xread",
            "xreadgroup",
            "xrevrange",
            "xsetid",
            "xtrim",
        ],
    ),
    (
        "there are no geographical indexes",
        &[
            "geoadd",
            "geodist",
            "geohash",
            "geopos",
            "georadius",
            "georadius_ro",
            "georadiusbymember",
            "georadiusbymember_ro",
            "geosearch",
            "geosearchstore",
        ],
    ),
    ("each node holds all keys, there are no slots", &["asking", "cluster", "migrate", "readonly", "readwrite", "restore-asking"]),
    ("replicas find each other on their own", &["failover", "psync", "replconf", "replicaof", "role", "slaveof", "sync"]),
    ("all writes are journalled, there is nothing to save", &["bgrewriteaof", "bgsave", "lastsave", "save"]),
    ("values are not handed out in Redis's file format", &["dump", "restore"]),
    ("there is one database", &["move", "swapdb"]),
    ("modules are not loaded", &["module"]),
    ("use the node's own metrics and logs", &["latency", "monitor", "slowlog"]),
    ("the node is stopped where it was started", &["shutdown"]),
    ("it is for developing Redis itself", &["debug", "lolwut", "pfdebug", "pfselftest"]),
    ("sort in the application", &["sort", "sort_ro"]),
    ("read the string and write it back", &["bitfield", "bitfield_ro"]),
];

/// The name in lower case, and why there is no such command here, if Redis has one.
pub fn reason(name: &[u8]) -> Option<(&'static str, &'static str)> {
    REASONS
        .iter()
        .find_map(|(reason, names)| names.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name)).map(|known| (*known, *reason)))
}

/// All names of such commands.
pub fn names() -> impl Iterator<Item = &'static str> {
    REASONS.iter().flat_map(|(_, names)| names.iter().copied())
}

/// A subcommand that Redis has and this server has not.
pub(super) fn refuse(call: &mut Call<'_>) -> Outcome {
    let reason = if call.is(0, "memory") { "use the node's own metrics" } else { "connections are neither tracked nor held up" };
    let name = format!("{} {}", String::from_utf8_lossy(call.argument(0)), call.command.name);
    Err(errors::unsupported(&name, reason))
}
