//! Commands as changes of a register: a key that replicas agree on, whose value is the whole state of one Redis key as bytes.
//!
//! A command on such a key runs over a keyspace that holds nothing but it, made of the register's value, and what the key is then is the new value. So every command
//! does here what it does elsewhere, deadlines and all. What is kept of the key is only what commands can see of it: no versions, no dots; there is one
//! order of writes, and nothing to merge. Fields, members and elements keep their places, so walks by cursor go on from one value to the next.
//!
//! A key past its deadline is not there; its value goes with the next write.

use bytes::Bytes;
use steadfast_available::{Keyspace, Kind, Lifetime, Refused, Until};
use steadfast_crdt::{Actor, Cell, Score, Sketch, Text};
use steadfast_types::wire::{Wire, WireError};
use steadfast_types::{wire_enum, wire_struct};

use crate::commands::introspection::keys_of;
use crate::commands::table::{self, Command, Flags};
use crate::engine::call::Call;
use crate::engine::host::Host;
use crate::engine::session::Session;
use crate::protocol::errors::{Failure, INVALID_COMMAND};
use crate::protocol::reply::{Reply, Version};
use crate::protocol::request::Arguments;

/// Only commands of one key can be changes of a register.
pub const NOT_ONE_KEY: Failure = Failure::new("ERR keys that replicas agree on are read and changed one at a time");

/// What a command does to a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The answer, as it goes to the client.
    pub answer: Vec<u8>,
    /// The new value, `None` in it if the key is gone; nothing if the value stays.
    pub change: Option<Option<Bytes>>,
}

/// What is to run on the register: of `CONSISTENCY WITH strong …`, which only says how, the rest.
fn bare(arguments: Arguments<'_>) -> Arguments<'_> {
    let is = |index: usize, word: &str| arguments.get(index).is_some_and(|argument| argument.eq_ignore_ascii_case(word.as_bytes()));
    match () {
        () if !(is(0, "consistency") && is(1, "with")) => arguments,
        () if is(3, "token") => arguments.from(5),
        () => arguments.from(3),
    }
}

/// Whether a request, whose one key is a register, promises to change nothing.
pub fn reads(arguments: Arguments<'_>) -> bool {
    command_of(bare(arguments)).is_ok_and(|command| !command.flags.has(Flags::WRITE))
}

/// What a request makes of a register's value; `now_ms` is the time in milliseconds since 1970, `version` the protocol that the client speaks. The same is made of
/// the same, but for what `host` says by chance. That the connection may do this was looked at before.
///
/// # Errors
/// If the value is not one that this function gave.
pub fn apply(
    arguments: Arguments<'_>,
    value: Option<&Bytes>,
    now_ms: u64,
    version: Version,
    host: &mut dyn Host,
) -> Result<Effect, WireError> {
    let state = value.map(|value| State::from_wire(value.clone())).transpose()?;
    let mut answer = Vec::new();
    let change = match run(bare(arguments), state, now_ms, version, host, &mut answer) {
        Ok(change) => change.map(|state| state.map(|state| Bytes::from(state.to_wire()))).filter(|new| new.as_ref() != value),
        Err(failure) => {
            answer.clear();
            Reply::new(&mut answer, version).error(failure.text());
            None
        }
    };
    Ok(Effect { answer, change })
}

/// Runs a request on a key, and gives what is there afterwards if it may have changed.
fn run(
    arguments: Arguments<'_>,
    state: Option<State>,
    now_ms: u64,
    version: Version,
    host: &mut dyn Host,
    answer: &mut Vec<u8>,
) -> Result<Option<Option<State>>, Failure> {
    let command = command_of(arguments)?;
    let handler = command.run.ok_or(INVALID_COMMAND)?;
    let key = key_of(arguments)?;
    let mut store = Keyspace::new(Actor::default());
    store.set_now(now_ms);
    if let Some(state) = state.filter(|state| state.deadline_ms.is_none_or(|at| at > now_ms)) {
        done(state.put(&mut store, key));
    }
    let mut session = Session::new(0, true);
    session.version = version;
    let reply = Reply::new(answer, version);
    handler(&mut Call { command, arguments, now_ms, store: &mut store, host, session: &mut session, reply })?;
    Ok(command.flags.has(Flags::WRITE).then(|| State::of(&store, key)))
}

fn command_of(arguments: Arguments<'_>) -> Result<&'static Command, Failure> {
    let command = arguments.get(0).and_then(table::find).ok_or(INVALID_COMMAND)?;
    let command = match arguments.get(1) {
        Some(name) if !command.subcommands.is_empty() => table::find_subcommand(command, name).ok_or(INVALID_COMMAND)?,
        _ => command,
    };
    command.takes(arguments.len()).then_some(command).ok_or(INVALID_COMMAND)
}

/// The register that a request is about.
///
/// # Errors
/// If it names no key, or several.
pub fn key(arguments: Arguments<'_>) -> Result<&[u8], Failure> {
    key_of(bare(arguments))
}

/// The one key that a request names, however often.
fn key_of(arguments: Arguments<'_>) -> Result<&[u8], Failure> {
    let keys = keys_of(arguments)?;
    let (key, _) = keys.first().ok_or(NOT_ONE_KEY)?;
    keys.iter().all(|(other, _)| other == key).then_some(*key).ok_or(NOT_ONE_KEY)
}

/// What fails only when clocks have no more times, in the year 2093, or the key is of another kind than was just seen.
fn done<T>(result: Result<T, Refused>) -> T {
    result.expect("the kind of the key is known, and the clock has times left")
}

/// All that commands can see of a key.
#[derive(Clone, Debug, PartialEq)]
struct State {
    deadline_ms: Option<u64>,
    content: Content,
}

wire_struct!(State { deadline_ms, content });

/// By its kind, in the order of its places.
#[derive(Clone, Debug, PartialEq)]
enum Content {
    Text { text: Bytes },
    Sketch { sketch: Sketch },
    Hash { fields: Vec<(Bytes, Bytes)> },
    Set { members: Vec<Bytes> },
    Sorted { members: Vec<(Bytes, Score)> },
    List { elements: Vec<Bytes> },
}

wire_enum!(Content {
    1 => Text { text },
    2 => Sketch { sketch },
    3 => Hash { fields },
    4 => Set { members },
    5 => Sorted { members },
    6 => List { elements },
});

fn text(cell: &Cell<Text>) -> Bytes {
    cell.shown().map(|shown| Bytes::from(shown.text().into_owned())).unwrap_or_default()
}

impl State {
    /// A key's state; `None` if it is not there.
    fn of(store: &Keyspace, key: &[u8]) -> Option<Self> {
        let bytes = Bytes::copy_from_slice;
        let content = match store.kind(key)? {
            Kind::Text => Content::Text { text: bytes(&done(store.text(key))?.text()) },
            Kind::Sketch => Content::Sketch { sketch: done(store.sketch(key))?.sketch()?.into_owned() },
            Kind::Hash => {
                Content::Hash { fields: done(store.fields(key))?.iter().map(|(field, value)| (bytes(field), text(value))).collect() }
            }
            Kind::Set => Content::Set { members: done(store.members(key))?.iter().map(bytes).collect() },
            Kind::Sorted => {
                let members = done(store.scores(key))?.members().iter();
                Content::Sorted { members: members.map(|(member, score)| (bytes(member), score.shown().unwrap_or_default())).collect() }
            }
            Kind::List => {
                let items = done(store.items(key))?;
                Content::List { elements: items.range(0..items.len()).map(text).collect() }
            }
        };
        let deadline_ms = match store.until(key) {
            Some(Until::At(ms)) => Some(ms),
            Some(Until::Ever) | None => None,
        };
        Some(Self { deadline_ms, content })
    }

    /// Makes the key this, which is not there yet.
    fn put(self, store: &mut Keyspace, key: &[u8]) -> Result<(), Refused> {
        match self.content {
            Content::Text { text } => store.set(key, &text, Lifetime::Until(Until::Ever))?,
            Content::Sketch { sketch } => store.write_sketch(key, |cell, delta, version| {
                *delta = cell.merge_sketch(version, &sketch);
                if !cell.is_shown() {
                    *delta = cell.add_elements(version, []);
                }
            })?,
            Content::Hash { fields } => store.write_fields(key, |all, delta, version| {
                for (field, value) in &fields {
                    all.write(delta, field, |cell| cell.set(version, Text::from(&**value)));
                }
            })?,
            Content::Set { members } => store.write_members(key, |all, delta, _| {
                for member in &members {
                    all.add(delta, member);
                }
            })?,
            Content::Sorted { members } => store.write_scores(key, |all, delta, version| {
                for (member, score) in &members {
                    all.write(delta, member, |cell| cell.set(version, *score));
                }
            })?,
            Content::List { elements } => store.write_items(key, |all, delta, version| {
                let writes = elements.iter().map(|element| move |cell: &mut Cell<Text>| cell.set(version, Text::from(&**element)));
                all.insert(delta, version, 0, writes);
            })?,
        }
        if let Some(ms) = self.deadline_ms {
            store.set_until(key, Until::At(ms))?;
        }
        Ok(())
    }
}
