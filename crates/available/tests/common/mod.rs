//! Commands on a keyspace, chosen at random.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use steadfast_available::{Keyspace, Kind, Lifetime, Refused, Until};
use steadfast_crdt::{Actor, LongDouble, Score, Text};

/// When it begins to be, in milliseconds of Unix time.
pub(crate) const START: u64 = 1_800_000_000_000;

#[derive(Clone, Debug)]
pub(crate) enum Command {
    Set(u8, u8),
    SetKeeping(u8, u8),
    SetUntil(u8, u8, u64),
    AddInt(u8, i64),
    AddFloat(u8, u8),
    Delete(u8),
    Expire(u8, u64),
    Persist(u8),
    Rename(u8, u8),
    Copy(u8, u8),
    Clear,
    Add(u8, Vec<u8>),
    Remove(u8, Vec<u8>),
    SetFields(u8, Vec<u8>, u8),
    AddToField(u8, u8, i64),
    RemoveField(u8, u8),
    SetScore(u8, u8, i8),
    AddToScore(u8, u8, i8),
    RemoveScore(u8, u8),
    Push(u8, bool, Vec<u8>),
    Pop(u8, bool),
    SetItem(u8, u8, u8),
    Count(u8, Vec<u8>),
    ExpireSome(usize),
}

/// Commands on `keys` keys with few elements, so that they meet.
pub(crate) fn commands(keys: u8) -> impl Strategy<Value = Command> {
    let key = || 0..keys;
    let element = || 0..4_u8;
    let elements = || proptest::collection::vec(0..4_u8, 1..3);
    let strings = prop_oneof![
        6 => (key(), any::<u8>()).prop_map(|(key, value)| Command::Set(key, value)),
        1 => (key(), any::<u8>()).prop_map(|(key, value)| Command::SetKeeping(key, value)),
        1 => (key(), any::<u8>(), 1..40_u64).prop_map(|(key, value, ms)| Command::SetUntil(key, value, ms)),
        4 => (key(), -5..5_i64).prop_map(|(key, by)| Command::AddInt(key, by)),
        1 => (key(), any::<u8>()).prop_map(|(key, by)| Command::AddFloat(key, by)),
    ];
    let whole = prop_oneof![
        6 => key().prop_map(Command::Delete),
        3 => (key(), 1..40_u64).prop_map(|(key, ms)| Command::Expire(key, ms)),
        2 => key().prop_map(Command::Persist),
        2 => (key(), key()).prop_map(|(from, to)| Command::Rename(from, to)),
        2 => (key(), key()).prop_map(|(from, to)| Command::Copy(from, to)),
        1 => Just(Command::Clear),
        2 => (1..3_usize).prop_map(Command::ExpireSome),
    ];
    let containers = prop_oneof![
        (key(), elements()).prop_map(|(key, members)| Command::Add(key, members)),
        (key(), elements()).prop_map(|(key, members)| Command::Remove(key, members)),
        (key(), elements(), any::<u8>()).prop_map(|(key, fields, value)| Command::SetFields(key, fields, value)),
        (key(), element(), -5..5_i64).prop_map(|(key, field, by)| Command::AddToField(key, field, by)),
        (key(), element()).prop_map(|(key, field)| Command::RemoveField(key, field)),
        (key(), element(), any::<i8>()).prop_map(|(key, member, score)| Command::SetScore(key, member, score)),
        (key(), element(), any::<i8>()).prop_map(|(key, member, by)| Command::AddToScore(key, member, by)),
        (key(), element()).prop_map(|(key, member)| Command::RemoveScore(key, member)),
        (key(), any::<bool>(), elements()).prop_map(|(key, front, values)| Command::Push(key, front, values)),
        (key(), any::<bool>()).prop_map(|(key, front)| Command::Pop(key, front)),
        (key(), element(), any::<u8>()).prop_map(|(key, index, value)| Command::SetItem(key, index, value)),
        (key(), elements()).prop_map(|(key, values)| Command::Count(key, values)),
    ];
    prop_oneof![3 => strings, 2 => whole, 4 => containers]
}

/// A key's name: most are short, and some are not.
pub(crate) fn name(key: u8) -> Vec<u8> {
    if key % 7 == 3 { vec![key; 300] } else { vec![b'k', key] }
}

/// A string: half of them are numbers.
pub(crate) fn value(value: u8) -> Vec<u8> {
    if value.is_multiple_of(2) { (value / 2).to_string().into_bytes() } else { vec![b'v'; usize::from(value % 5) + 1] }
}

pub(crate) fn actor(place: u16) -> Actor {
    Actor::new(place).unwrap()
}

/// What a command answers that depends on what was there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Done,
    Was(bool),
    Number(i64),
    Text(Vec<u8>),
    Refused(Refused),
}

/// Runs a command.
pub(crate) fn run(keys: &mut Keyspace, command: &Command) -> Answer {
    use Command::*;
    let now = keys.now();
    let done = |result: Result<(), Refused>| result.map(|()| Answer::Done);
    let answer = match command {
        Set(key, bytes) => done(keys.set(&name(*key), &value(*bytes), Lifetime::Until(Until::Ever))),
        SetKeeping(key, bytes) => done(keys.set(&name(*key), &value(*bytes), Lifetime::Keep)),
        SetUntil(key, bytes, ms) => done(keys.set(&name(*key), &value(*bytes), Lifetime::Until(Until::At(now + ms)))),
        AddInt(key, by) => keys.add_int(&name(*key), *by).map(Answer::Number),
        AddFloat(key, by) => {
            let by = LongDouble::parse(format!("{}.25", by).as_bytes()).unwrap();
            keys.add_float(&name(*key), &by).map(|sum| Answer::Text(sum.to_string().into_bytes()))
        }
        Delete(key) => keys.delete(&name(*key)).map(Answer::Was),
        Expire(key, ms) => keys.set_until(&name(*key), Until::At(now + ms)).map(Answer::Was),
        Persist(key) => keys.persist(&name(*key)).map(Answer::Was),
        Rename(from, to) => keys.rename(&name(*from), &name(*to)).map(Answer::Was),
        Copy(from, to) => keys.copy(&name(*from), &name(*to)).map(Answer::Was),
        Clear => done(keys.clear()),
        ExpireSome(limit) => keys.expire_some(*limit).map(|_| Answer::Done),
        Add(key, members) => keys.write_members(&name(*key), |set, delta, _| {
            Answer::Number(members.iter().filter(|member| set.add(delta, &[**member])).count() as i64)
        }),
        Remove(key, members) => keys.write_members(&name(*key), |set, delta, _| {
            Answer::Number(members.iter().filter(|member| set.remove(delta, &[**member])).count() as i64)
        }),
        SetFields(key, fields, bytes) => keys.write_fields(&name(*key), |hash, delta, version| {
            fields.iter().for_each(|field| hash.write(delta, &[*field], |cell| cell.set(version, Text::from(value(*bytes)))));
            Answer::Number(hash.len() as i64)
        }),
        AddToField(key, field, by) => {
            keys.write_fields(&name(*key), |hash, delta, version| match hash.get(&[*field]).map_or(Some(0), |cell| cell.int()) {
                None => Answer::Refused(Refused::NotANumber),
                Some(before) => {
                    hash.write(delta, &[*field], |cell| cell.add_int(version, *by));
                    Answer::Number(before + by)
                }
            })
        }
        RemoveField(key, field) => keys.write_fields(&name(*key), |hash, delta, version| {
            let was = hash.get(&[*field]).is_some();
            hash.write(delta, &[*field], |cell| cell.clear(version));
            Answer::Was(was)
        }),
        SetScore(key, member, score) => keys.write_scores(&name(*key), |sorted, delta, version| {
            let score = Score::new(f64::from(*score)).unwrap();
            sorted.write(delta, &[*member], |cell| cell.set(version, score));
            Answer::Number(sorted.rank(&[*member]).unwrap() as i64)
        }),
        AddToScore(key, member, by) => keys.write_scores(&name(*key), |sorted, delta, version| {
            let by = Score::new(f64::from(*by)).unwrap();
            sorted.write(delta, &[*member], |cell| cell.add_score(version, by).ok());
            Answer::Number(sorted.get(&[*member]).unwrap().shown().unwrap().get() as i64)
        }),
        RemoveScore(key, member) => keys.write_scores(&name(*key), |sorted, delta, version| {
            let was = sorted.get(&[*member]).is_some();
            sorted.write(delta, &[*member], |cell| cell.clear(version));
            Answer::Was(was)
        }),
        Push(key, front, values) => keys.write_items(&name(*key), |list, delta, version| {
            let index = if *front { 0 } else { list.len() };
            let texts = values.iter().map(|bytes| Text::from(value(*bytes)));
            list.insert(delta, version, index, texts.map(|text| move |cell: &mut steadfast_crdt::Cell<Text>| cell.set(version, text)));
            Answer::Number(list.len() as i64)
        }),
        Pop(key, front) => keys.write_items(&name(*key), |list, delta, version| {
            let index = if *front { 0 } else { list.len().saturating_sub(1) };
            let text = list.get(index).and_then(|cell| cell.shown()).map(|shown| shown.text().into_owned());
            list.write(delta, index, |cell| cell.clear(version));
            Answer::Text(text.unwrap_or_default())
        }),
        SetItem(key, index, bytes) => keys.write_items(&name(*key), |list, delta, version| {
            list.write(delta, usize::from(*index), |cell| cell.set(version, Text::from(value(*bytes))));
            Answer::Number(list.len() as i64)
        }),
        Count(key, values) => keys.write_sketch(&name(*key), |sketch, delta, version| {
            let elements = values.iter().map(core::slice::from_ref);
            *delta = sketch.add_elements(version, elements);
            Answer::Was(delta.is_some())
        }),
    };
    answer.unwrap_or_else(Answer::Refused)
}

/// What readers see of a key, in one order.
pub(crate) fn shown(keys: &Keyspace, key: u8) -> Option<String> {
    let name = name(key);
    let text = |cell: &steadfast_crdt::Cell<Text>| cell.shown().unwrap().text().into_owned();
    let kind = keys.kind(&name)?;
    let shown = match kind {
        Kind::Text => format!("{:?}", keys.text(&name).unwrap().unwrap().text()),
        Kind::Set => format!("{:?}", keys.members(&name).unwrap().unwrap().iter().collect::<BTreeSet<_>>()),
        Kind::Hash => {
            let fields = keys.fields(&name).unwrap().unwrap();
            format!("{:?}", fields.iter().map(|(field, cell)| (field, text(cell))).collect::<BTreeMap<_, _>>())
        }
        Kind::Sorted => {
            let sorted = keys.scores(&name).unwrap().unwrap();
            format!("{:?}", sorted.range(0..sorted.len()).map(|(member, cell)| (member, cell.shown().unwrap().get())).collect::<Vec<_>>())
        }
        Kind::List => {
            let list = keys.items(&name).unwrap().unwrap();
            format!("{:?}", list.range(0..list.len()).map(text).collect::<Vec<_>>())
        }
        Kind::Sketch => format!("{:?}", keys.sketch(&name).unwrap().unwrap().sketch().unwrap().count()),
    };
    Some(format!("{kind:?} {:?} {shown}", keys.until(&name)))
}

/// The names that scans give, each as often as they do.
pub(crate) fn scanned(keys: &Keyspace, count: usize) -> Vec<Vec<u8>> {
    let (mut names, mut cursor) = (Vec::new(), 0);
    loop {
        let (next, step) = keys.scan(cursor, count);
        names.extend(step.iter().map(|name| name.to_vec()));
        cursor = next;
        if cursor == 0 {
            names.sort();
            return names;
        }
    }
}
