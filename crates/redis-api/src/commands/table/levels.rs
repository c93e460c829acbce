//! The commands of levels, tokens and acknowledgements, which Redis has not.

use crate::commands::table::{Categories, Command, Flags, Group};
use crate::commands::{help, levels};

const FLAGS: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST);

const fn subcommand(name: &'static str, arity: i32, summary: &'static str, run: crate::engine::call::Handler) -> Command {
    Command::new(name, arity, Group::Consistency, "7.0.15", "O(1)", summary, Some(run)).flags(FLAGS).categories(Categories::CONNECTION)
}

pub(super) static COMMANDS: &[Command] = &[
    Command::new("consistency", -2, Group::Consistency, "7.0.15", "", "What the connection relies on.", None).subcommands(&[
        subcommand("get", 2, "The connection's level.", levels::get_level),
        subcommand("help", 2, "The subcommands.", help::help),
        subcommand("set", -3, "Chooses the connection's level: eventual, session, causal or strong.", levels::set_level),
        subcommand("with", -4, "Runs one command at a level, and with a token, of its own.", levels::with_level),
    ]),
    Command::new("replication", -2, Group::Consistency, "7.0.15", "", "What the connection's writes wait for.", None).subcommands(&[
        subcommand("get", 2, "Which replicas the connection's writes wait for.", levels::get_replication),
        subcommand("help", 2, "The subcommands.", help::help),
        subcommand(
            "set",
            -3,
            "Chooses which other replicas hold a write before it is answered: async, semi-sync k or sync.",
            levels::set_replication,
        ),
    ]),
    Command::new("session", -2, Group::Consistency, "7.0.15", "", "What the connection has seen.", None).subcommands(&[
        subcommand("help", 2, "The subcommands.", help::help),
        subcommand("token", 2, "What the connection has seen, to be carried to another replica.", levels::show_token),
        subcommand("wait", 4, "Waits until this replica has seen what a token says.", levels::wait_for_token),
    ]),
];
