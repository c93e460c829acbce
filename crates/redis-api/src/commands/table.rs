//! The one table of commands: what Redis says of each, and what runs it.
//!
//! Names, arities, flags, categories and positions of keys are Redis 7.0's, so that clients which route by them are right.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::engine::call::Handler;

mod acl;
mod bits;
mod connection;
mod facts;
mod hashes;
mod keys;
mod levels;
mod lists;
mod server;
mod sets;
mod sketches;
mod sorted;
mod strings;
mod transactions;

pub use facts::{Categories, Flags, Group, KeySpec, Search, Use};
use facts::{counted, range};

/// A command, or a subcommand.
#[derive(Debug)]
pub struct Command {
    /// Its name in lower case.
    pub name: &'static str,
    /// How many arguments it takes with its names; if negative, at least so many.
    pub arity: i32,
    /// What clients and the engine should know of it.
    pub flags: Flags,
    /// The categories of access control that do not follow from its flags.
    pub categories: Categories,
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// Hints for clients.
    pub tips: &'static [&'static str],
    /// What it is about.
    pub group: Group,
    /// The version of Redis that had it first.
    pub since: &'static str,
    /// Its cost.
    pub complexity: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Since which version not to use it, and what to use.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Its subcommands.
    pub subcommands: &'static [Command],
    /// What runs it; nothing if it has but subcommands.
    pub run: Option<Handler>,
}

impl Command {
    const fn new(
        name: &'static str,
        arity: i32,
        group: Group,
        since: &'static str,
        complexity: &'static str,
        summary: &'static str,
        run: Option<Handler>,
    ) -> Self {
        Command {
            name,
            arity,
            flags: Flags::NONE,
            categories: Categories::NONE,
            keys: &[],
            tips: &[],
            group,
            since,
            complexity,
            summary,
            deprecated: None,
            subcommands: &[],
            run,
        }
    }

    const fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    const fn categories(mut self, categories: Categories) -> Self {
        self.categories = categories;
        self
    }

    const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    const fn keys(mut self, keys: &'static [KeySpec]) -> Self {
        self.keys = keys;
        self
    }

    const fn deprecated(mut self, since: &'static str, instead: &'static str) -> Self {
        self.deprecated = Some((since, instead));
        self
    }

    const fn subcommands(mut self, subcommands: &'static [Command]) -> Self {
        self.subcommands = subcommands;
        self
    }

    /// Whether it takes so many arguments, its names counted.
    pub fn takes(&self, arguments: usize) -> bool {
        let arguments = arguments as i64;
        let arity = i64::from(self.arity);
        if arity >= 0 { arguments == arity } else { arguments >= -arity }
    }

    /// All categories, those that follow from its flags with them.
    pub fn all_categories(&self) -> Categories {
        let implied = [
            (Flags::WRITE, Categories::WRITE),
            (Flags::READONLY, Categories::READ),
            (Flags::ADMIN, Categories::ADMIN.or(Categories::DANGEROUS)),
            (Flags::FAST, Categories::FAST),
        ];
        let mut all = self.categories;
        for (flag, category) in implied {
            if self.flags.has(flag) {
                all = all.or(category);
            }
        }
        if self.flags.has(Flags::FAST) { all } else { all.or(Categories::SLOW) }
    }

    /// The first key's place, the last one's (from the end if negative) and the step, as older clients know them: zeros if it has no keys.
    pub fn legacy_range(&self) -> (i64, i64, i64) {
        let mut whole: Option<(i64, i64, i64)> = None;
        for spec in self.keys {
            let Search::Range { last, step } = spec.search else { break };
            let first = i64::from(spec.first);
            let last = if last >= 0 { first + i64::from(last) } else { i64::from(last) };
            whole = match whole {
                None => Some((first, last, step.into())),
                Some((start, end, 1)) if end == first - 1 && step == 1 => Some((start, last, 1)),
                Some(_) => break,
            };
        }
        whole.unwrap_or_default()
    }
}

/// A command that a request names; if it is a subcommand, with the command that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// What is run.
    pub command: &'static Command,
    /// What it belongs to.
    pub parent: Option<&'static Command>,
}

impl Found {
    /// Its full name: `get`, or `config|get`.
    pub fn full_name(self) -> &'static str {
        type Names = HashMap<(&'static str, &'static str), String>;
        static OF_SUBCOMMANDS: LazyLock<Names> = LazyLock::new(|| {
            let names = |parent: &'static Command| {
                parent.subcommands.iter().map(|command| ((parent.name, command.name), format!("{}|{}", parent.name, command.name)))
            };
            all().flat_map(names).collect()
        });
        let name = self.parent.and_then(|parent| OF_SUBCOMMANDS.get(&(parent.name, self.command.name)));
        name.map_or(self.command.name, String::as_str)
    }
}

/// All commands, by group.
pub fn all() -> impl Iterator<Item = &'static Command> + Clone {
    static GROUPS: [&[Command]; 13] = [
        connection::COMMANDS,
        server::COMMANDS,
        acl::COMMANDS,
        keys::COMMANDS,
        strings::COMMANDS,
        bits::COMMANDS,
        hashes::COMMANDS,
        sets::COMMANDS,
        sorted::COMMANDS,
        lists::COMMANDS,
        sketches::COMMANDS,
        transactions::COMMANDS,
        levels::COMMANDS,
    ];
    GROUPS.iter().copied().flatten()
}

/// No command's name is longer.
const NAME_BYTES: usize = 24;

/// Calls `found` with `name` in lower case, unless it is too long for a command's.
fn lowered<T>(name: &[u8], found: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    let mut lower = [0; NAME_BYTES];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    found(lower)
}

/// The command of this name, in any case.
pub fn find(name: &[u8]) -> Option<&'static Command> {
    static BY_NAME: LazyLock<HashMap<&'static [u8], &'static Command>> =
        LazyLock::new(|| all().map(|command| (command.name.as_bytes(), command)).collect());
    lowered(name, |name| BY_NAME.get(name).copied())
}

/// The subcommand of this name, in any case.
pub fn find_subcommand(command: &'static Command, name: &[u8]) -> Option<&'static Command> {
    command.subcommands.iter().find(|subcommand| subcommand.name.as_bytes().eq_ignore_ascii_case(name))
}
