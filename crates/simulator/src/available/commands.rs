//! The commands that clients send, what each does in terms of the model, and what an answer says that a key shows.

use bytes::Bytes;
use steadfast_types::Rng;

use super::model::{Cells, Effect, Shown};

/// What a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Counter,
    Set,
    Hash,
    Sorted,
    List,
    /// Deadlines, changes of kind, sketches: the model does not know it, but replicas must agree.
    Free,
}

/// All kinds.
pub(crate) const KINDS: [Kind; 7] = [Kind::Text, Kind::Counter, Kind::Set, Kind::Hash, Kind::Sorted, Kind::List, Kind::Free];

/// What a command does.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// It reads the whole key.
    Reads,
    Writes(Cells),
    /// It removes what it answers.
    Pops,
    /// What the model does not judge.
    Anything,
}

/// A command to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) key: Bytes,
    pub(crate) words: Vec<Bytes>,
    pub(crate) does: Does,
}

fn text(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

fn words(line: &str) -> Vec<Bytes> {
    line.split(' ').map(text).collect()
}

impl Kind {
    /// What its keys' names begin with.
    pub(crate) fn letter(self) -> char {
        match self {
            Kind::Text => 't',
            Kind::Counter => 'c',
            Kind::Set => 's',
            Kind::Hash => 'h',
            Kind::Sorted => 'z',
            Kind::List => 'l',
            Kind::Free => 'f',
        }
    }

    /// The kind of a key.
    pub(crate) fn of(key: &[u8]) -> Kind {
        KINDS.into_iter().find(|kind| key.first() == Some(&(kind.letter() as u8))).unwrap_or(Kind::Free)
    }

    /// What reads the whole of a key.
    pub(crate) fn read(self, key: &Bytes) -> Command {
        let name = String::from_utf8_lossy(key);
        let line = match self {
            Kind::Text | Kind::Counter => format!("GET {name}"),
            Kind::Set => format!("SMEMBERS {name}"),
            Kind::Hash => format!("HGETALL {name}"),
            Kind::Sorted => format!("ZRANGE {name} 0 -1 WITHSCORES"),
            Kind::List => format!("LRANGE {name} 0 -1"),
            Kind::Free => format!("TYPE {name}"),
        };
        let does = if self == Kind::Free { Does::Anything } else { Does::Reads };
        Command { key: key.clone(), words: words(&line), does }
    }

    /// What an answer to [`Kind::read`] shows; `None` if it can't be.
    pub(crate) fn shown(self, answer: &[u8]) -> Option<Shown> {
        let items = items(answer)?;
        let count = items.len();
        let cells: Shown = match self {
            Kind::Text | Kind::Counter => items.into_iter().map(|value| (Bytes::new(), value)).collect(),
            Kind::Set | Kind::List => items.into_iter().map(|member| (member, Bytes::new())).collect(),
            Kind::Hash | Kind::Sorted => {
                let mut items = items.into_iter();
                std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()
            }
            Kind::Free => return Some(Shown::new()),
        };
        let width = if matches!(self, Kind::Hash | Kind::Sorted) { 2 } else { 1 };
        // What is shown twice is one cell and too many items.
        (cells.len() * width == count).then_some(cells)
    }
}

/// The byte strings of an answer: none, one, or those of an array; `None` if it is an error, or cut short.
pub(crate) fn items(answer: &[u8]) -> Option<Vec<Bytes>> {
    let end = answer.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = (std::str::from_utf8(&answer[1..end]).ok()?, &answer[end + 2..]);
    match (answer[0], line.parse::<i64>()) {
        (b'$' | b'*', Ok(-1)) => Some(Vec::new()),
        (b'$', Ok(length)) => Some(vec![Bytes::copy_from_slice(rest.get(..usize::try_from(length).ok()?)?)]),
        (b'*', Ok(count)) => {
            let (mut items, mut rest) = (Vec::new(), rest);
            for _ in 0..count {
                let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
                let length = std::str::from_utf8(rest.get(1..end)?).ok()?.parse::<usize>().ok()?;
                items.push(Bytes::copy_from_slice(rest.get(end + 2..end + 2 + length)?));
                rest = rest.get(end + 4 + length..)?;
            }
            Some(items)
        }
        (b':' | b'+', _) => Some(vec![Bytes::copy_from_slice(line.as_bytes())]),
        _ => None,
    }
}

/// Draws a command on a key. `unique` is a number that no other command has.
pub(crate) fn draw(kind: Kind, key: &Bytes, unique: u64, rng: &mut Rng) -> Command {
    let name = String::from_utf8_lossy(key).into_owned();
    let (line, does) = match kind {
        Kind::Text => text_command(&name, unique, rng),
        Kind::Counter => counter_command(&name, rng),
        Kind::Set => set_command(&name, rng),
        Kind::Hash => hash_command(&name, unique, rng),
        Kind::Sorted => sorted_command(&name, rng),
        Kind::List => list_command(&name, unique, rng),
        Kind::Free => (free_command(&name, unique, rng), Does::Anything),
    };
    Command { key: key.clone(), words: words(&line), does }
}

fn one(cell: &str, effect: Effect) -> Does {
    Does::Writes(Cells::Some(vec![(text(cell), effect)]))
}

fn delete(name: &str) -> (String, Does) {
    (format!("DEL {name}"), Does::Writes(Cells::Whole(None)))
}

fn text_command(name: &str, unique: u64, rng: &mut Rng) -> (String, Does) {
    match rng.u8(0..8) {
        0 => delete(name),
        1 => (format!("GETDEL {name}"), Does::Writes(Cells::Whole(None))),
        2 => (format!("GETSET {name} v{unique}"), Does::Writes(Cells::Whole(Some(text(format!("v{unique}")))))),
        _ => (format!("SET {name} v{unique}"), Does::Writes(Cells::Whole(Some(text(format!("v{unique}")))))),
    }
}

fn counter_command(name: &str, rng: &mut Rng) -> (String, Does) {
    let by = rng.i64(1..100);
    match rng.u8(0..10) {
        0 => delete(name),
        1 => (format!("SET {name} {by}"), Does::Writes(Cells::Whole(Some(text(by.to_string()))))),
        2 => (format!("DECRBY {name} {by}"), one("", Effect::Add(-by))),
        _ => (format!("INCRBY {name} {by}"), one("", Effect::Add(by))),
    }
}

fn set_command(name: &str, rng: &mut Rng) -> (String, Does) {
    let member = format!("m{}", rng.u8(0..6));
    match rng.u8(0..12) {
        0 => delete(name),
        1 => (format!("SPOP {name} 1"), Does::Pops),
        2..=5 => (format!("SREM {name} {member}"), one(&member, Effect::Remove)),
        6 => {
            let cells = (0..4).map(|number| (text(format!("m{number}")), Effect::Write(Bytes::new()))).collect();
            (format!("SADD {name} m0 m1 m2 m3"), Does::Writes(Cells::Some(cells)))
        }
        _ => (format!("SADD {name} {member}"), one(&member, Effect::Write(Bytes::new()))),
    }
}

fn hash_command(name: &str, unique: u64, rng: &mut Rng) -> (String, Does) {
    let (field, counter, by) = (format!("f{}", rng.u8(0..3)), format!("n{}", rng.u8(0..3)), rng.i64(1..100));
    match rng.u8(0..12) {
        0 => delete(name),
        1 | 2 => (format!("HDEL {name} {field}"), one(&field, Effect::Remove)),
        3 => (format!("HDEL {name} {counter}"), one(&counter, Effect::Remove)),
        4 => (format!("HSET {name} {counter} {by}"), one(&counter, Effect::Write(text(by.to_string())))),
        5..=7 => (format!("HINCRBY {name} {counter} {by}"), one(&counter, Effect::Add(by))),
        _ => (format!("HSET {name} {field} v{unique}"), one(&field, Effect::Write(text(format!("v{unique}"))))),
    }
}

fn sorted_command(name: &str, rng: &mut Rng) -> (String, Does) {
    let (member, by) = (format!("m{}", rng.u8(0..4)), rng.i64(1..100));
    match rng.u8(0..10) {
        0 => delete(name),
        1 | 2 => (format!("ZREM {name} {member}"), one(&member, Effect::Remove)),
        3..=5 => (format!("ZADD {name} {by} {member}"), one(&member, Effect::Write(text(by.to_string())))),
        _ => (format!("ZINCRBY {name} {by} {member}"), one(&member, Effect::Add(by))),
    }
}

fn list_command(name: &str, unique: u64, rng: &mut Rng) -> (String, Does) {
    let push = |unique| one(&format!("e{unique}"), Effect::Write(Bytes::new()));
    match rng.u8(0..12) {
        0 if rng.bool() => delete(name),
        0 | 1 => (format!("LPOP {name}"), Does::Pops),
        2 => (format!("RPOP {name} 2"), Does::Pops),
        3..=6 => (format!("LPUSH {name} e{unique}"), push(unique)),
        _ => (format!("RPUSH {name} e{unique}"), push(unique)),
    }
}

fn free_command(name: &str, unique: u64, rng: &mut Rng) -> String {
    let (ms, number) = (rng.u32(1..20_000), rng.u8(0..5));
    match rng.u8(0..22) {
        0 => format!("SET {name} v{unique} PX {ms}"),
        1 => format!("PEXPIRE {name} {ms}"),
        2 => format!("PERSIST {name}"),
        3 => format!("SET {name} v{unique} KEEPTTL"),
        4 => format!("INCR {name}"),
        5 => format!("INCRBYFLOAT {name} 0.{unique}"),
        6 => format!("SADD {name} m{number}"),
        7 => format!("HSET {name} f{number} v{unique}"),
        8 => format!("ZADD {name} {number} m{unique}"),
        9 => format!("RPUSH {name} e{unique}"),
        10 => format!("LSET {name} 0 e{unique}"),
        11 => format!("PFADD {name} e{unique}"),
        12 => format!("RENAME {name} f{number}"),
        13 => format!("COPY {name} f{number} REPLACE"),
        14 => format!("APPEND {name} x"),
        15 => format!("SETRANGE {name} {number} y"),
        16 => format!("LINSERT {name} BEFORE e{unique} z"),
        17 => format!("HINCRBYFLOAT {name} n 1.5"),
        18 => format!("SET {name} {number}"),
        19 => format!("PFMERGE {name} f{number}"),
        _ => format!("DEL {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let of = |items: &[&str]| items.iter().map(|item| text(*item)).collect::<Vec<_>>();
        assert_eq!(items(b"$-1\r\n"), Some(vec![]));
        assert_eq!(items(b"$2\r\nab\r\n"), Some(of(&["ab"])));
        assert_eq!(items(b"*2\r\n$1\r\na\r\n$0\r\n\r\n"), Some(of(&["a", ""])));
        assert_eq!(items(b":7\r\n"), Some(of(&["7"])));
        assert_eq!((items(b"-ERR no\r\n"), items(b"*1\r\n$3\r\na")), (None, None));
        assert_eq!(Kind::List.shown(b"*2\r\n$1\r\na\r\n$1\r\na\r\n"), None);
        assert_eq!(Kind::Hash.shown(b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"), Some([(text("a"), text("b"))].into()));
    }
}
