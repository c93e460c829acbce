//! The commands of connections.

use crate::commands::table::{Categories, Command, Flags, Group};
use crate::commands::{client, connection, help, unsupported};

pub(super) static COMMANDS: &[Command] = &[
    Command::new("auth", -2, Group::Connection, "1.0.0", "O(N)", "Says who the connection is.", Some(connection::auth))
        .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE.or(Flags::FAST.or(Flags::NO_AUTH.or(Flags::ALLOW_BUSY))))))
        .categories(Categories::CONNECTION),
    Command::new("client", -2, Group::Connection, "2.4.0", "", "About connections.", None).subcommands(&[
        Command::new("caching", 3, Group::Connection, "6.0.0", "O(1)", "Not supported.", Some(unsupported::refuse))
            .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))
            .categories(Categories::CONNECTION),
        Command::new("getname", 2, Group::Connection, "2.6.9", "O(1)", "The connection's name.", Some(client::getname))
            .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))
            .categories(Categories::CONNECTION),
        Command::new("getredir", 2, Group::Connection, "6.0.0", "O(1)", "Where invalidations go: nowhere.", Some(client::getredir))
            .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))
            .categories(Categories::CONNECTION),
        Command::new("help", 2, Group::Connection, "5.0.0", "O(1)", "The subcommands.", Some(help::help))
            .flags(Flags::LOADING.or(Flags::STALE))
            .categories(Categories::CONNECTION),
        Command::new("id", 2, Group::Connection, "5.0.0", "O(1)", "The connection's number.", Some(client::id))
            .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))
            .categories(Categories::CONNECTION),
        Command::new("info", 2, Group::Connection, "6.2.0", "O(1)", "This connection.", Some(client::info))
            .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))
            .categories(Categories::CONNECTION)
            .tips(&["nondeterministic_output"]),
        Command::new("kill", -3, Group::Connection, "2.4.0", "O(N)", "Closes connections.", Some(client::kill))
            .flags(Flags::ADMIN.or(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE))))
            .categories(Categories::CONNECTION),
        Command::new("list", -2, Group::Connection, "2.4.0", "O(N)", "All connections.", Some(client::list))
            .flags(Flags::ADMIN.or(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE))))
            .categories(Categories::CONNECTION)
            .tips(&["nondeterministic_output"]),
        Command::new(
            "no-evict",
            3,
            Group::Connection,
            "7.0.0",
            "O(1)",
            "Accepted without effect: connections are not evicted.",
            Some(client::no_evict),
        )
        .flags(Flags::ADMIN.or(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE))))
        .categories(Categories::CONNECTION),
        Command::new("pause", -3, Group::Connection, "2.9.50", "O(1)", "Not supported.", Some(unsupported::refuse))
            .flags(Flags::ADMIN.or(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE))))
            .categories(Categories::CONNECTION),
        Command::new("reply", 3, Group::Connection, "3.2.0", "O(1)", "Whether commands are answered.", Some(client::reply))
            .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))
            .categories(Categories::CONNECTION),
        Command::new("setname", 3, Group::Connection, "2.6.9", "O(1)", "Names the connection.", Some(client::setname))
            .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))
            .categories(Categories::CONNECTION),
        Command::new("tracking", -3, Group::Connection, "6.0.0", "O(1)", "Not supported.", Some(unsupported::refuse))
            .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))
            .categories(Categories::CONNECTION),
        Command::new(
            "trackinginfo",
            2,
            Group::Connection,
            "6.2.0",
            "O(1)",
            "Whether the connection tracks keys.",
            Some(client::trackinginfo),
        )
        .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE)))
        .categories(Categories::CONNECTION),
        Command::new("unblock", -3, Group::Connection, "5.0.0", "O(log N)", "Not supported.", Some(unsupported::refuse))
            .flags(Flags::ADMIN.or(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE))))
            .categories(Categories::CONNECTION),
        Command::new("unpause", 2, Group::Connection, "6.2.0", "O(N)", "Not supported.", Some(unsupported::refuse))
            .flags(Flags::ADMIN.or(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE))))
            .categories(Categories::CONNECTION),
    ]),
    Command::new("echo", 2, Group::Connection, "1.0.0", "O(1)", "Answers what it is given.", Some(connection::echo))
        .flags(Flags::LOADING.or(Flags::STALE.or(Flags::FAST)))
        .categories(Categories::CONNECTION),
    Command::new(
        "hello",
        -1,
        Group::Connection,
        "6.0.0",
        "O(1)",
        "Chooses the protocol version and may authenticate.",
        Some(connection::hello),
    )
    .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE.or(Flags::FAST.or(Flags::NO_AUTH.or(Flags::ALLOW_BUSY))))))
    .categories(Categories::CONNECTION),
    Command::new("ping", -1, Group::Connection, "1.0.0", "O(1)", "Answers that the server is there.", Some(connection::ping))
        .flags(Flags::FAST)
        .categories(Categories::CONNECTION)
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("quit", -1, Group::Connection, "1.0.0", "O(1)", "Closes the connection.", Some(connection::quit))
        .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE.or(Flags::FAST.or(Flags::NO_AUTH.or(Flags::ALLOW_BUSY))))))
        .categories(Categories::CONNECTION),
    Command::new("reset", 1, Group::Connection, "6.2.0", "O(1)", "Makes the connection as it was when it began.", Some(connection::reset))
        .flags(Flags::NOSCRIPT.or(Flags::LOADING.or(Flags::STALE.or(Flags::FAST.or(Flags::NO_AUTH.or(Flags::ALLOW_BUSY))))))
        .categories(Categories::CONNECTION),
    Command::new("select", 2, Group::Connection, "1.0.0", "O(1)", "Chooses a database: there is only 0.", Some(connection::select))
        .flags(Flags::LOADING.or(Flags::STALE.or(Flags::FAST)))
        .categories(Categories::CONNECTION),
];
