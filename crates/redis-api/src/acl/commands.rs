//! Which commands a user may run: all or none, and then what was said of categories and single commands, the last word standing.

use crate::commands::table::{self, Categories, Command, Found};
use crate::commands::unsupported;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Category(Categories),
    /// A command with all its subcommands, by name; or one that Redis has and this server has not.
    Command(&'static str),
    /// A subcommand, by the names of both.
    Subcommand(&'static str, &'static str),
}

impl Subject {
    fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        if let Some(category) = name.strip_prefix('@') {
            return Categories::named(category).map(Subject::Category);
        }
        match name.split_once('|') {
            None => {
                let known = table::find(name.as_bytes()).map(|command| command.name);
                known.or_else(|| unsupported::reason(name.as_bytes()).map(|(name, _)| name)).map(Subject::Command)
            }
            Some((parent, name)) => {
                let parent = table::find(parent.as_bytes())?;
                table::find_subcommand(parent, name.as_bytes()).map(|command| Subject::Subcommand(parent.name, command.name))
            }
        }
    }

    fn has(self, found: Found) -> bool {
        match self {
            Subject::Category(category) => found.command.all_categories().has(category),
            Subject::Command(name) => found.parent.unwrap_or(found.command).name == name,
            Subject::Subcommand(parent, name) => found.command.name == name && found.parent.is_some_and(|found| found.name == parent),
        }
    }

    /// Whether nothing is left of what was said of another subject, once something is said of this one.
    fn replaces(self, other: Self) -> bool {
        match (self, other) {
            (Subject::Command(name), Subject::Subcommand(parent, _)) => name == parent,
            _ => self == other,
        }
    }

    fn name(self) -> String {
        match self {
            Subject::Category(category) => category.names().map(|name| format!("@{name}")).collect(),
            Subject::Command(name) => name.to_owned(),
            Subject::Subcommand(parent, name) => format!("{parent}|{name}"),
        }
    }
}

/// See the module. There is at most one rule for each category, command and subcommand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// What nothing is said of.
    all: bool,
    rules: Vec<(bool, Subject)>,
}

impl Commands {
    /// All commands, or none.
    pub fn all(all: bool) -> Self {
        Commands { all, rules: Vec::new() }
    }

    /// Whether it is all of them.
    pub fn is_all(&self) -> bool {
        self.all && self.rules.is_empty()
    }

    /// Says that the user may run a command or a category, or may not: its name without the sign. Whether there is one of this name.
    pub(super) fn say(&mut self, is_allowed: bool, name: &[u8]) -> bool {
        if name.eq_ignore_ascii_case(b"@all") {
            *self = Commands::all(is_allowed);
            return true;
        }
        let Some(subject) = Subject::parse(name) else { return false };
        self.rules.retain(|(_, held)| !subject.replaces(*held));
        self.rules.push((is_allowed, subject));
        true
    }

    /// Whether the user may run a command.
    pub fn allow(&self, found: Found) -> bool {
        self.rules.iter().rev().find(|(_, subject)| subject.has(found)).map_or(self.all, |(is_allowed, _)| *is_allowed)
    }

    /// The rules that make it.
    pub fn rules(&self) -> String {
        let sign = |is_allowed: bool| if is_allowed { '+' } else { '-' };
        let mut text = format!("{}@all", sign(self.all));
        self.rules.iter().for_each(|(is_allowed, subject)| text.push_str(&format!(" {}{}", sign(*is_allowed), subject.name())));
        text
    }
}

/// The full names of the commands of a category.
pub fn of_category(category: Categories) -> Vec<&'static str> {
    let with_subcommands = |command: &'static Command| {
        let own = std::iter::once(Found { command, parent: None });
        own.chain(command.subcommands.iter().map(move |subcommand| Found { command: subcommand, parent: Some(command) }))
    };
    table::all().flat_map(with_subcommands).filter(|found| found.command.all_categories().has(category)).map(Found::full_name).collect()
}
