//! The commands of keys of any type.

use crate::commands::table::{Categories, Command, Flags, Group, Use, range};
use crate::commands::{help, keys, object};

pub(super) static COMMANDS: &[Command] = &[
    Command::new("copy", -3, Group::Generic, "6.2.0", "O(N)", "Copies a key to another.", Some(keys::copy))
        .flags(Flags::WRITE.or(Flags::DENYOOM))
        .categories(Categories::KEYSPACE)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS)), range(2, 0, 1, Use::OW.or(Use::UPDATE))]),
    Command::new("del", -2, Group::Generic, "1.0.0", "O(N)", "Deletes keys.", Some(keys::del))
        .flags(Flags::WRITE)
        .categories(Categories::KEYSPACE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .keys(&[range(1, -1, 1, Use::RM.or(Use::DELETE))]),
    Command::new("exists", -2, Group::Generic, "1.0.0", "O(N)", "How many of the keys exist.", Some(keys::exists))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .keys(&[range(1, -1, 1, Use::RO)]),
    Command::new("expire", -3, Group::Generic, "1.0.0", "O(1)", "Sets a key's time to live in seconds.", Some(keys::expire))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::UPDATE))]),
    Command::new("expireat", -3, Group::Generic, "1.2.0", "O(1)", "Sets a key's deadline in seconds since 1970.", Some(keys::expireat))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::UPDATE))]),
    Command::new("expiretime", 2, Group::Generic, "7.0.0", "O(1)", "A key's deadline in seconds since 1970.", Some(keys::expiretime))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("keys", 2, Group::Generic, "1.0.0", "O(N)", "The keys that match a pattern.", Some(keys::keys))
        .flags(Flags::READONLY)
        .categories(Categories::KEYSPACE.or(Categories::DANGEROUS))
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"]),
    Command::new("object", -2, Group::Generic, "2.2.3", "", "About what a key holds.", None).subcommands(&[
        Command::new("encoding", 3, Group::Generic, "2.2.3", "O(1)", "In which form a value is held.", Some(object::encoding))
            .flags(Flags::READONLY)
            .categories(Categories::KEYSPACE)
            .tips(&["nondeterministic_output"])
            .keys(&[range(2, 0, 1, Use::RO)]),
        Command::new("freq", 3, Group::Generic, "4.0.0", "O(1)", "How often a key is used.", Some(object::freq))
            .flags(Flags::READONLY)
            .categories(Categories::KEYSPACE)
            .tips(&["nondeterministic_output"])
            .keys(&[range(2, 0, 1, Use::RO)]),
        Command::new("help", 2, Group::Generic, "6.2.0", "O(1)", "The subcommands.", Some(help::help))
            .flags(Flags::LOADING.or(Flags::STALE))
            .categories(Categories::KEYSPACE),
        Command::new("idletime", 3, Group::Generic, "2.2.3", "O(1)", "How long ago a key was used.", Some(object::idletime))
            .flags(Flags::READONLY)
            .categories(Categories::KEYSPACE)
            .tips(&["nondeterministic_output"])
            .keys(&[range(2, 0, 1, Use::RO)]),
        Command::new("refcount", 3, Group::Generic, "2.2.3", "O(1)", "How many share a value.", Some(object::refcount))
            .flags(Flags::READONLY)
            .categories(Categories::KEYSPACE)
            .tips(&["nondeterministic_output"])
            .keys(&[range(2, 0, 1, Use::RO)]),
    ]),
    Command::new("persist", 2, Group::Generic, "2.2.0", "O(1)", "Removes a key's deadline.", Some(keys::persist))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::UPDATE))]),
    Command::new("pexpire", -3, Group::Generic, "2.6.0", "O(1)", "Sets a key's time to live in milliseconds.", Some(keys::pexpire))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::UPDATE))]),
    Command::new(
        "pexpireat",
        -3,
        Group::Generic,
        "2.6.0",
        "O(1)",
        "Sets a key's deadline in milliseconds since 1970.",
        Some(keys::pexpireat),
    )
    .flags(Flags::WRITE.or(Flags::FAST))
    .categories(Categories::KEYSPACE)
    .keys(&[range(1, 0, 1, Use::RW.or(Use::UPDATE))]),
    Command::new(
        "pexpiretime",
        2,
        Group::Generic,
        "7.0.0",
        "O(1)",
        "A key's deadline in milliseconds since 1970.",
        Some(keys::pexpiretime),
    )
    .flags(Flags::READONLY.or(Flags::FAST))
    .categories(Categories::KEYSPACE)
    .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("pttl", 2, Group::Generic, "2.6.0", "O(1)", "How many milliseconds a key has to live.", Some(keys::pttl))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("randomkey", 1, Group::Generic, "1.0.0", "O(1)", "Some key.", Some(keys::randomkey))
        .flags(Flags::READONLY)
        .categories(Categories::KEYSPACE)
        .tips(&["request_policy:all_shards", "nondeterministic_output"]),
    Command::new("rename", 3, Group::Generic, "1.0.0", "O(1)", "Gives a key another name.", Some(keys::rename))
        .flags(Flags::WRITE)
        .categories(Categories::KEYSPACE)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::DELETE))), range(2, 0, 1, Use::OW.or(Use::UPDATE))]),
    Command::new("renamenx", 3, Group::Generic, "1.0.0", "O(1)", "Gives a key another name that is free.", Some(keys::renamenx))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .keys(&[range(1, 0, 1, Use::RW.or(Use::ACCESS.or(Use::DELETE))), range(2, 0, 1, Use::OW.or(Use::INSERT))]),
    Command::new("scan", -2, Group::Generic, "2.8.0", "O(1)", "Walks through the keys.", Some(keys::scan))
        .flags(Flags::READONLY)
        .categories(Categories::KEYSPACE)
        .tips(&["nondeterministic_output", "request_policy:special"]),
    Command::new("touch", -2, Group::Generic, "3.2.1", "O(N)", "How many of the keys exist.", Some(keys::touch))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .keys(&[range(1, -1, 1, Use::RO)]),
    Command::new("ttl", 2, Group::Generic, "1.0.0", "O(1)", "How many seconds a key has to live.", Some(keys::ttl))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .tips(&["nondeterministic_output"])
        .keys(&[range(1, 0, 1, Use::RO.or(Use::ACCESS))]),
    Command::new("type", 2, Group::Generic, "1.0.0", "O(1)", "What a key holds.", Some(keys::kind))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .keys(&[range(1, 0, 1, Use::RO)]),
    Command::new("unlink", -2, Group::Generic, "4.0.0", "O(1)", "Deletes keys.", Some(keys::unlink))
        .flags(Flags::WRITE.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .keys(&[range(1, -1, 1, Use::RM.or(Use::DELETE))]),
    Command::new("wait", 3, Group::Generic, "3.0.0", "O(1)", "Waits until other replicas hold the connection's writes.", Some(keys::wait))
        .flags(Flags::NOSCRIPT)
        .categories(Categories::CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
];
