//! `COMMAND`: what the table says, in the shapes that clients read.

use crate::commands::table::{self, Categories, Command, Found, KeySpec, Search, Use};
use crate::engine::call::{Call, Outcome};
use crate::engine::dispatch;
use crate::protocol::errors::{Failure, INVALID_ARGUMENTS, INVALID_COMMAND, INVALID_KEYS, NO_KEY_ARGUMENTS, SYNTAX};
use crate::protocol::glob;
use crate::protocol::number::parse_i64;
use crate::protocol::reply::Reply;
use crate::protocol::request::Arguments;

pub(super) fn command(call: &mut Call<'_>) -> Outcome {
    call.reply.array(table::all().count());
    table::all().for_each(|command| describe(&mut call.reply, command, None));
    Ok(())
}

pub(super) fn count(call: &mut Call<'_>) -> Outcome {
    call.reply.count(table::all().count());
    Ok(())
}

pub(super) fn info(call: &mut Call<'_>) -> Outcome {
    if call.len() == 2 {
        return command(call);
    }
    call.reply.array(call.len() - 2);
    for name in call.arguments.from(2).iter() {
        match find(name) {
            Some((command, parent)) => describe(&mut call.reply, command, parent),
            None => call.reply.null_array(),
        }
    }
    Ok(())
}

pub(super) fn docs(call: &mut Call<'_>) -> Outcome {
    let commands: Vec<_> = match call.len() {
        2 => table::all().map(|command| (command, None)).collect(),
        _ => call.arguments.from(2).iter().filter_map(find).collect(),
    };
    call.reply.map(commands.len());
    for (command, parent) in commands {
        call.reply.bulk(full_name(command, parent).as_bytes());
        document(&mut call.reply, command);
    }
    Ok(())
}

pub(super) fn list(call: &mut Call<'_>) -> Outcome {
    let is_filtered = call.len() == 5 && call.is(2, "filterby");
    let value = call.argument(4);
    let category = std::str::from_utf8(value).ok().and_then(|name| Categories::named(&name.to_ascii_lowercase()));
    let names = || {
        table::all()
            .flat_map(|command| std::iter::once((command, None)).chain(command.subcommands.iter().map(move |sub| (sub, Some(command)))))
    };
    let names: Vec<String> = match call.len() {
        2 => table::all().map(|command| command.name.to_owned()).collect(),
        _ if is_filtered && call.is(3, "module") => Vec::new(),
        _ if is_filtered && call.is(3, "aclcat") => names()
            .filter(|(command, _)| category.is_some_and(|category| command.all_categories().has(category)))
            .map(|(command, parent)| full_name(command, parent))
            .collect(),
        _ if is_filtered && call.is(3, "pattern") => {
            names().map(|(command, parent)| full_name(command, parent)).filter(|name| glob::matches(value, name.as_bytes(), true)).collect()
        }
        _ => return Err(SYNTAX),
    };
    call.reply.array(names.len());
    names.iter().for_each(|name| call.reply.bulk(name.as_bytes()));
    Ok(())
}

pub(super) fn getkeys(call: &mut Call<'_>) -> Outcome {
    let keys = keys_of(call.arguments.from(2))?;
    call.reply.array(keys.len());
    keys.iter().for_each(|(key, _)| call.reply.bulk(key));
    Ok(())
}

pub(super) fn getkeysandflags(call: &mut Call<'_>) -> Outcome {
    let keys = keys_of(call.arguments.from(2))?;
    call.reply.array(keys.len());
    for (key, uses) in keys {
        call.reply.array(2);
        call.reply.bulk(key);
        call.reply.statuses(uses.names());
    }
    Ok(())
}

/// The keys of a whole request, with what is done to them.
pub(crate) fn keys_of(arguments: Arguments<'_>) -> Result<Vec<(&[u8], Use)>, Failure> {
    let name = arguments.get(0).unwrap_or_default();
    let command = table::find(name).ok_or(INVALID_COMMAND)?;
    let command = match arguments.get(1) {
        Some(name) if !command.subcommands.is_empty() => table::find_subcommand(command, name).ok_or(INVALID_COMMAND)?,
        _ => command,
    };
    if command.keys.is_empty() {
        return Err(NO_KEY_ARGUMENTS);
    }
    dispatch::find_command(arguments).map_err(|_| INVALID_ARGUMENTS)?;
    let mut keys = Vec::new();
    for spec in command.keys {
        find_keys(spec, arguments, &mut keys)?;
    }
    Ok(keys)
}

fn find_keys<'a>(spec: &KeySpec, arguments: Arguments<'a>, keys: &mut Vec<(&'a [u8], Use)>) -> Result<(), Failure> {
    let first = usize::from(spec.first);
    let uses = actual_uses(spec, arguments);
    let (places, step) = match spec.search {
        Search::Range { last, step } => {
            let last = if last >= 0 { first as i64 + i64::from(last) } else { arguments.len() as i64 + i64::from(last) };
            (first..(last + 1).max(0) as usize, usize::from(step))
        }
        Search::Counted => {
            let count = arguments.get(first).and_then(parse_i64).filter(|&count| count > 0).ok_or(INVALID_KEYS)?;
            let end = usize::try_from(count).ok().and_then(|count| (first + 1).checked_add(count)).ok_or(INVALID_KEYS)?;
            (first + 1..end, 1)
        }
    };
    if places.end > arguments.len() {
        return Err(INVALID_KEYS);
    }
    keys.extend(places.step_by(step).filter_map(|place| arguments.get(place)).map(|key| (key, uses)));
    Ok(())
}

/// What `SET` does depends on whether it answers the old value.
fn actual_uses(spec: &KeySpec, arguments: Arguments<'_>) -> Use {
    match spec.uses.has(Use::VARIABLE_FLAGS) {
        false => spec.uses,
        true if arguments.from(3).iter().any(|option| option.eq_ignore_ascii_case(b"get")) => Use::RW.or(Use::ACCESS).or(Use::UPDATE),
        true => Use::OW.or(Use::UPDATE),
    }
}

/// The command of this name, which may be that of a subcommand (`config|get`), with the command it belongs to.
fn find(name: &[u8]) -> Option<(&'static Command, Option<&'static Command>)> {
    match name.iter().position(|&byte| byte == b'|') {
        None => table::find(name).map(|command| (command, None)),
        Some(bar) => {
            let parent = table::find(&name[..bar])?;
            table::find_subcommand(parent, &name[bar + 1..]).map(|command| (command, Some(parent)))
        }
    }
}

fn full_name(command: &'static Command, parent: Option<&'static Command>) -> String {
    Found { command, parent }.full_name().to_owned()
}

fn describe(reply: &mut Reply<'_>, command: &'static Command, parent: Option<&'static Command>) {
    reply.array(10);
    reply.bulk(full_name(command, parent).as_bytes());
    reply.integer(command.arity.into());
    reply.statuses(command.flags.names());
    let (first, last, step) = command.legacy_range();
    for place in [first, last, step] {
        reply.integer(place);
    }
    let categories: Vec<String> = command.all_categories().names().map(|name| format!("@{name}")).collect();
    reply.statuses(categories.iter().map(String::as_str));
    reply.set(command.tips.len());
    command.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(command.keys.len());
    command.keys.iter().for_each(|spec| describe_keys(reply, spec));
    match command.subcommands.len() {
        0 => reply.set(0),
        length => reply.array(length),
    }
    command.subcommands.iter().for_each(|subcommand| describe(reply, subcommand, Some(command)));
}

fn describe_keys(reply: &mut Reply<'_>, spec: &KeySpec) {
    reply.map(3);
    reply.bulk(b"flags");
    reply.statuses(spec.uses.names());
    typed(reply, "begin_search", "index", &[("index", spec.first.into())]);
    match spec.search {
        Search::Range { last, step } => {
            typed(reply, "find_keys", "range", &[("lastkey", last.into()), ("keystep", step.into()), ("limit", 0)]);
        }
        Search::Counted => typed(reply, "find_keys", "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]),
    }
}

fn typed(reply: &mut Reply<'_>, name: &str, kind: &str, fields: &[(&str, i64)]) {
    reply.bulk(name.as_bytes());
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields.len());
    for &(name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    }
}

fn document(reply: &mut Reply<'_>, command: &'static Command) {
    let facts =
        [("summary", command.summary), ("since", command.since), ("group", command.group.name()), ("complexity", command.complexity)];
    let facts = || facts.into_iter().filter(|(_, value)| !value.is_empty());
    let deprecated = if command.deprecated.is_some() { 3 } else { 0 };
    reply.map(facts().count() + deprecated + usize::from(!command.subcommands.is_empty()));
    for (name, value) in facts() {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if let Some((since, instead)) = command.deprecated {
        reply.bulk(b"doc_flags");
        reply.statuses(std::iter::once("deprecated"));
        for (name, value) in [("deprecated_since", since), ("replaced_by", instead)] {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
    }
    if !command.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        for subcommand in command.subcommands {
            reply.bulk(full_name(subcommand, Some(command)).as_bytes());
            document(reply, subcommand);
        }
    }
}
