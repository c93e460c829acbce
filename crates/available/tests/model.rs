//! One replica beside a simple model of what Redis would do.

mod common;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use common::{Answer, Command, START, actor, commands, name, run, value};
use proptest::prelude::*;
use steadfast_available::{Hash, Keyspace, Kind, Refused, Until};

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(Vec<u8>),
    Set(BTreeSet<u8>),
    Hash(BTreeMap<u8, Vec<u8>>),
    Sorted(BTreeMap<u8, i64>),
    List(Vec<Vec<u8>>),
    Sketch(BTreeSet<u8>),
}

impl Value {
    fn kind(&self) -> Kind {
        match self {
            Value::Text(_) => Kind::Text,
            Value::Set(_) => Kind::Set,
            Value::Hash(_) => Kind::Hash,
            Value::Sorted(_) => Kind::Sorted,
            Value::List(_) => Kind::List,
            Value::Sketch(_) => Kind::Sketch,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Value::Text(_) | Value::Sketch(_) => false,
            Value::Set(set) => set.is_empty(),
            Value::Hash(hash) => hash.is_empty(),
            Value::Sorted(sorted) => sorted.is_empty(),
            Value::List(list) => list.is_empty(),
        }
    }
}

#[derive(Debug, Default)]
struct Model {
    keys: BTreeMap<u8, (Value, Option<u64>)>,
    now: u64,
}

fn int(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl Model {
    fn drop_expired(&mut self) {
        let now = self.now;
        self.keys.retain(|_, (_, until)| until.is_none_or(|until| now < until));
    }

    fn edit(&mut self, key: u8, empty: Value, edit: impl FnOnce(&mut Value) -> Answer) -> Answer {
        let kind = empty.kind();
        let (held, _) = self.keys.entry(key).or_insert((empty, None));
        let answer = if held.kind() == kind { edit(held) } else { Answer::Refused(Refused::WrongKind) };
        if held.is_empty() {
            self.keys.remove(&key);
        }
        answer
    }

    fn run(&mut self, command: &Command) -> Answer {
        use Command::*;
        self.drop_expired();
        let (now, was) = (self.now, |was| Answer::Was(was));
        match command {
            Set(key, bytes) => _ = self.keys.insert(*key, (Value::Text(value(*bytes)), None)),
            SetKeeping(key, bytes) => {
                let until = self.keys.get(key).and_then(|(_, until)| *until);
                self.keys.insert(*key, (Value::Text(value(*bytes)), until));
            }
            SetUntil(key, bytes, ms) => _ = self.keys.insert(*key, (Value::Text(value(*bytes)), Some(now + ms))),
            AddInt(key, by) => match self.keys.entry(*key).or_insert((Value::Text(b"0".to_vec()), None)) {
                (Value::Text(text), _) => match int(text) {
                    None => return Answer::Refused(Refused::NotANumber),
                    Some(before) => {
                        *text = (before + by).to_string().into_bytes();
                        return Answer::Number(before + by);
                    }
                },
                _ => return Answer::Refused(Refused::WrongKind),
            },
            AddFloat(key, by) => match self.keys.entry(*key).or_insert((Value::Text(b"0".to_vec()), None)) {
                (Value::Text(text), _) => match std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()) {
                    None => return Answer::Refused(Refused::NotANumber),
                    Some(before) => {
                        *text = (before + f64::from(*by) + 0.25).to_string().into_bytes();
                        return Answer::Text(text.clone());
                    }
                },
                _ => return Answer::Refused(Refused::WrongKind),
            },
            Delete(key) => return was(self.keys.remove(key).is_some()),
            Expire(key, ms) => return was(self.keys.get_mut(key).map(|(_, until)| *until = Some(now + ms)).is_some()),
            Persist(key) => return was(self.keys.get_mut(key).and_then(|(_, until)| until.take()).is_some()),
            Rename(from, to) => match self.keys.remove(from) {
                None => return was(false),
                Some(held) => {
                    self.keys.insert(*to, held);
                    return was(true);
                }
            },
            Copy(from, to) => match self.keys.get(from).cloned() {
                None => return was(false),
                Some(held) => {
                    self.keys.insert(*to, held);
                    return was(true);
                }
            },
            Clear => self.keys.clear(),
            ExpireSome(_) => {}
            Add(key, members) => {
                return self.edit(*key, Value::Set(BTreeSet::new()), |held| {
                    let Value::Set(set) = held else { unreachable!() };
                    Answer::Number(members.iter().filter(|member| set.insert(**member)).count() as i64)
                });
            }
            Remove(key, members) => {
                return self.edit(*key, Value::Set(BTreeSet::new()), |held| {
                    let Value::Set(set) = held else { unreachable!() };
                    Answer::Number(members.iter().filter(|member| set.remove(member)).count() as i64)
                });
            }
            SetFields(key, fields, bytes) => {
                return self.edit(*key, Value::Hash(BTreeMap::new()), |held| {
                    let Value::Hash(hash) = held else { unreachable!() };
                    hash.extend(fields.iter().map(|field| (*field, value(*bytes))));
                    Answer::Number(hash.len() as i64)
                });
            }
            AddToField(key, field, by) => {
                return self.edit(*key, Value::Hash(BTreeMap::new()), |held| {
                    let Value::Hash(hash) = held else { unreachable!() };
                    match hash.get(field).map_or(Some(0), |text| int(text)) {
                        None => Answer::Refused(Refused::NotANumber),
                        Some(before) => {
                            hash.insert(*field, (before + by).to_string().into_bytes());
                            Answer::Number(before + by)
                        }
                    }
                });
            }
            RemoveField(key, field) => {
                return self.edit(*key, Value::Hash(BTreeMap::new()), |held| {
                    let Value::Hash(hash) = held else { unreachable!() };
                    was(hash.remove(field).is_some())
                });
            }
            SetScore(key, member, score) => {
                return self.edit(*key, Value::Sorted(BTreeMap::new()), |held| {
                    let Value::Sorted(sorted) = held else { unreachable!() };
                    sorted.insert(*member, i64::from(*score));
                    let place = (i64::from(*score), *member);
                    Answer::Number(sorted.iter().filter(|(member, score)| (**score, **member) < place).count() as i64)
                });
            }
            AddToScore(key, member, by) => {
                return self.edit(*key, Value::Sorted(BTreeMap::new()), |held| {
                    let Value::Sorted(sorted) = held else { unreachable!() };
                    let score = sorted.entry(*member).or_default();
                    *score += i64::from(*by);
                    Answer::Number(*score)
                });
            }
            RemoveScore(key, member) => {
                return self.edit(*key, Value::Sorted(BTreeMap::new()), |held| {
                    let Value::Sorted(sorted) = held else { unreachable!() };
                    was(sorted.remove(member).is_some())
                });
            }
            Push(key, front, values) => {
                return self.edit(*key, Value::List(Vec::new()), |held| {
                    let Value::List(list) = held else { unreachable!() };
                    let index = if *front { 0 } else { list.len() };
                    list.splice(index..index, values.iter().map(|bytes| value(*bytes)));
                    Answer::Number(list.len() as i64)
                });
            }
            Pop(key, front) => {
                return self.edit(*key, Value::List(Vec::new()), |held| {
                    let Value::List(list) = held else { unreachable!() };
                    let index = if *front { 0 } else { list.len().saturating_sub(1) };
                    Answer::Text(if list.is_empty() { Vec::new() } else { list.remove(index) })
                });
            }
            SetItem(key, index, bytes) => {
                return self.edit(*key, Value::List(Vec::new()), |held| {
                    let Value::List(list) = held else { unreachable!() };
                    if let Some(item) = list.get_mut(usize::from(*index)) {
                        *item = value(*bytes);
                    }
                    Answer::Number(list.len() as i64)
                });
            }
            Count(key, values) => {
                let is_new = !self.keys.contains_key(key);
                return self.edit(*key, Value::Sketch(BTreeSet::new()), |held| {
                    let Value::Sketch(seen) = held else { unreachable!() };
                    was(values.iter().filter(|value| seen.insert(**value)).count() > 0 || is_new)
                });
            }
        }
        Answer::Done
    }
}

/// What a reader sees of a key.
fn read(keys: &Keyspace, key: u8) -> Option<Value> {
    let name = name(key);
    let text = |cell: &steadfast_crdt::Cell<steadfast_crdt::Text>| cell.shown().unwrap().text().into_owned();
    Some(match keys.kind(&name)? {
        Kind::Text => Value::Text(keys.text(&name).unwrap().unwrap().text().into_owned()),
        Kind::Set => Value::Set(keys.members(&name).unwrap().unwrap().iter().map(|member| member[0]).collect()),
        Kind::Hash => Value::Hash(keys.fields(&name).unwrap().unwrap().iter().map(|(field, cell)| (field[0], text(cell))).collect()),
        Kind::Sorted => {
            let sorted = keys.scores(&name).unwrap().unwrap();
            let scores = sorted.range(0..sorted.len());
            Value::Sorted(scores.map(|(member, cell)| (member[0], cell.shown().unwrap().get() as i64)).collect())
        }
        Kind::List => {
            let list = keys.items(&name).unwrap().unwrap();
            Value::List(list.range(0..list.len()).map(text).collect())
        }
        Kind::Sketch => {
            let sketch = keys.sketch(&name).unwrap().unwrap().sketch().unwrap().into_owned();
            let seen = (0..4).filter(|value: &u8| sketch.has(steadfast_crdt::sketch::Register::of(&[*value])));
            Value::Sketch(seen.collect())
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn one_replica_does_what_the_model_does(steps in proptest::collection::vec((commands(5), 0..15_u64), 1..80)) {
        let (mut keys, mut model) = (Keyspace::new(actor(1)), Model { now: START, ..Model::default() });
        for (command, ms) in steps {
            model.now += ms;
            keys.set_now(model.now);
            let fingerprints = [0, 1, 2, 3, 4].map(|key| (read(&keys, key), keys.fingerprint(&name(key))));
            let expected = model.run(&command);
            prop_assert_eq!(run(&mut keys, &command), expected, "{:?}", command);
            model.drop_expired();
            for key in 0..5 {
                prop_assert_eq!(read(&keys, key), model.keys.get(&key).map(|(value, _)| value.clone()), "{} after {:?}", key, command);
                let until = model.keys.get(&key).map(|(_, until)| until.map_or(Until::Ever, Until::At));
                prop_assert_eq!(keys.until(&name(key)), until, "{} after {:?}", key, command);
            }
            for (key, (value, fingerprint)) in (0..).zip(fingerprints) {
                let (now, changed) = (read(&keys, key), keys.fingerprint(&name(key)));
                prop_assert!(now == value || changed != fingerprint);
            }
            let mut copy = Keyspace::new(actor(2));
            let states = keys.states(0, Hash::MAX, usize::MAX).unwrap();
            copy.join_states(0, Hash::MAX, states, keys.context().vector()).unwrap();
            prop_assert_eq!(copy.digest(0, Hash::MAX), keys.digest(0, Hash::MAX));
            prop_assert_eq!((copy.canonical(), copy.len(), copy.expiring()), (keys.canonical(), keys.len(), keys.expiring()));
            let mut names = keys.keys().map(Cow::into_owned).collect::<Vec<_>>();
            names.sort();
            let mut expected = model.keys.keys().map(|key| name(*key)).collect::<Vec<_>>();
            expected.sort();
            prop_assert_eq!(names, expected);
        }
        // Once what is overdue is deleted, the counts are those of the model.
        while keys.expire_some(1).unwrap() > 0 {}
        prop_assert_eq!(keys.len(), model.keys.len());
        prop_assert_eq!(keys.expiring(), model.keys.values().filter(|(_, until)| until.is_some()).count());
        keys.clear().unwrap();
        prop_assert!(keys.is_empty() && keys.keys().next().is_none());
    }
}
