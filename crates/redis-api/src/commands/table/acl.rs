//! The commands of access control.

use crate::commands::table::{Command, Flags, Group};
use crate::commands::{acl, help};
use crate::engine::call::Handler;

const FLAGS: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE);
const OPERATORS: Flags = FLAGS.or(Flags::ADMIN);

const fn subcommand(
    name: &'static str,
    arity: i32,
    complexity: &'static str,
    summary: &'static str,
    run: Handler,
    flags: Flags,
) -> Command {
    Command::new(name, arity, Group::Server, "6.0.0", complexity, summary, Some(run)).flags(flags)
}

pub(super) static COMMANDS: &[Command] = &[Command::new("acl", -2, Group::Server, "6.0.0", "", "About users and their rights.", None)
    .subcommands(&[
        subcommand("cat", -2, "O(1)", "Categories, or the commands of one.", acl::cat, FLAGS),
        subcommand("deluser", -3, "O(1)", "Removes users and closes their connections.", acl::deluser, OPERATORS),
        Command::new("dryrun", -4, Group::Server, "7.0.0", "O(1)", "Whether a user may run a command.", Some(acl::dryrun)).flags(OPERATORS),
        subcommand("genpass", -2, "O(1)", "A password that nobody guesses.", acl::genpass, FLAGS),
        subcommand("getuser", 3, "O(N)", "The rules of a user.", acl::getuser, OPERATORS),
        subcommand("help", 2, "O(1)", "The subcommands.", help::help, Flags::LOADING.or(Flags::STALE)),
        subcommand("list", 2, "O(N)", "All users with their rules.", acl::list, OPERATORS),
        subcommand("load", 2, "O(N)", "Not supported: there is no file.", acl::no_file, OPERATORS),
        subcommand("log", -2, "O(N)", "What was denied lately.", acl::log, OPERATORS),
        subcommand("save", 2, "O(N)", "Not supported: there is no file.", acl::no_file, OPERATORS),
        subcommand("setuser", -3, "O(N)", "Makes or changes a user.", acl::setuser, OPERATORS),
        subcommand("users", 2, "O(N)", "The names of all users.", acl::users, OPERATORS),
        subcommand("whoami", 2, "O(1)", "The connection's user.", acl::whoami, FLAGS),
    ])];
