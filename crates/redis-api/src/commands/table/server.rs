//! The commands of the server.

use crate::commands::table::{Categories, Command, Flags, Group, Use, range};
use crate::commands::{config, help, introspection, object, server, unsupported};

pub(super) static COMMANDS: &[Command] = &[
    Command::new("command", -1, Group::Server, "2.8.13", "O(N)", "All commands.", Some(introspection::command))
        .flags(Flags::LOADING.or(Flags::STALE))
        .categories(Categories::CONNECTION)
        .tips(&["nondeterministic_output_order"])
        .subcommands(&[
            Command::new("count", 2, Group::Server, "2.8.13", "O(1)", "How many commands there are.", Some(introspection::count))
                .flags(Flags::LOADING.or(Flags::STALE))
                .categories(Categories::CONNECTION),
            Command::new("docs", -2, Group::Server, "7.0.0", "O(N)", "What commands do.", Some(introspection::docs))
                .flags(Flags::LOADING.or(Flags::STALE))
                .categories(Categories::CONNECTION)
                .tips(&["nondeterministic_output_order"]),
            Command::new("getkeys", -4, Group::Server, "2.8.13", "O(N)", "The keys of a command.", Some(introspection::getkeys))
                .flags(Flags::LOADING.or(Flags::STALE))
                .categories(Categories::CONNECTION),
            Command::new(
                "getkeysandflags",
                -4,
                Group::Server,
                "7.0.0",
                "O(N)",
                "The keys of a command and what it does to them.",
                Some(introspection::getkeysandflags),
            )
            .flags(Flags::LOADING.or(Flags::STALE))
            .categories(Categories::CONNECTION),
            Command::new("help", 2, Group::Server, "5.0.0", "O(1)", "The subcommands.", Some(help::help))
                .flags(Flags::LOADING.or(Flags::STALE))
                .categories(Categories::CONNECTION),
            Command::new("info", -2, Group::Server, "2.8.13", "O(N)", "The facts of commands.", Some(introspection::info))
                .flags(Flags::LOADING.or(Flags::STALE))
                .categories(Categories::CONNECTION)
                .tips(&["nondeterministic_output_order"]),
            Command::new("list", -2, Group::Server, "7.0.0", "O(N)", "The names of commands.", Some(introspection::list))
                .flags(Flags::LOADING.or(Flags::STALE))
                .categories(Categories::CONNECTION)
                .tips(&["nondeterministic_output_order"]),
        ]),
    Command::new("config", -2, Group::Server, "2.0.0", "", "About settings.", None).subcommands(&[
        Command::new("get", -3, Group::Server, "2.0.0", "O(N)", "Settings whose names match.", Some(config::get))
            .flags(Flags::ADMIN.or(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))),
        Command::new("help", 2, Group::Server, "5.0.0", "O(1)", "The subcommands.", Some(help::help))
            .flags(Flags::LOADING.or(Flags::STALE)),
        Command::new("resetstat", 2, Group::Server, "2.0.0", "O(1)", "Sets counts in INFO back to zero.", Some(config::resetstat))
            .flags(Flags::ADMIN.or(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))),
        Command::new("rewrite", 2, Group::Server, "2.8.0", "O(1)", "Writes settings to their file.", Some(config::rewrite))
            .flags(Flags::ADMIN.or(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))),
        Command::new("set", -4, Group::Server, "2.0.0", "O(N)", "Changes settings.", Some(config::set))
            .flags(Flags::ADMIN.or(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE))))
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    ]),
    Command::new("dbsize", 1, Group::Server, "1.0.0", "O(1)", "How many keys there are.", Some(server::dbsize))
        .flags(Flags::READONLY.or(Flags::FAST))
        .categories(Categories::KEYSPACE)
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"]),
    Command::new("flushall", -1, Group::Server, "1.0.0", "O(N)", "Deletes all keys.", Some(server::flushall))
        .flags(Flags::WRITE)
        .categories(Categories::KEYSPACE.or(Categories::DANGEROUS))
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("flushdb", -1, Group::Server, "1.0.0", "O(N)", "Deletes all keys.", Some(server::flushdb))
        .flags(Flags::WRITE)
        .categories(Categories::KEYSPACE.or(Categories::DANGEROUS))
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("info", -1, Group::Server, "1.0.0", "O(1)", "Facts of the server.", Some(server::info))
        .flags(Flags::LOADING.or(Flags::STALE))
        .categories(Categories::DANGEROUS)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    Command::new("memory", -2, Group::Server, "4.0.0", "", "About memory.", None).subcommands(&[
        Command::new("doctor", 2, Group::Server, "4.0.0", "O(1)", "Not supported.", Some(unsupported::refuse)).tips(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
        Command::new("help", 2, Group::Server, "4.0.0", "O(1)", "The subcommands.", Some(help::help))
            .flags(Flags::LOADING.or(Flags::STALE)),
        Command::new("malloc-stats", 2, Group::Server, "4.0.0", "", "Not supported.", Some(unsupported::refuse)).tips(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
        Command::new("purge", 2, Group::Server, "4.0.0", "", "Not supported.", Some(unsupported::refuse))
            .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        Command::new("stats", 2, Group::Server, "4.0.0", "O(1)", "Not supported.", Some(unsupported::refuse)).tips(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
        Command::new("usage", -3, Group::Server, "4.0.0", "O(N)", "How many bytes a key takes.", Some(object::usage))
            .flags(Flags::READONLY)
            .keys(&[range(2, 0, 1, Use::RO)]),
    ]),
    Command::new("time", 1, Group::Server, "2.6.0", "O(1)", "The server's time.", Some(server::time))
        .flags(Flags::LOADING.or(Flags::STALE.or(Flags::FAST)))
        .tips(&["nondeterministic_output"]),
];
