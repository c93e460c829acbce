//! The simplest keys there can be: one replica, ordered maps, every walk in one go.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use steadfast_redis_api::engine::store::{AddError, Bound, Deadline, Each, EachPair, EachScore, Kind, Store};
use steadfast_redis_api::protocol::number::parse_i64;

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(Vec<u8>),
    Sketch(BTreeSet<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Sorted(BTreeMap<Vec<u8>, f64>),
    List(Vec<Vec<u8>>),
}

#[derive(Clone, Debug)]
struct Entry {
    value: Value,
    deadline: Option<u64>,
    revision: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub now_ms: u64,
    keys: BTreeMap<Vec<u8>, Entry>,
    revision: u64,
}

/// The part of a key of one kind, there or made.
macro_rules! part {
    ($name:ident, $name_mut:ident, $variant:ident, $type:ty) => {
        fn $name(&self, key: &[u8]) -> Option<&$type> {
            match &self.shown(key)?.value {
                Value::$variant(part) => Some(part),
                other => panic!("{:?} is {other:?}", key.escape_ascii().to_string()),
            }
        }

        fn $name_mut(&mut self, key: &[u8]) -> &mut $type {
            match &mut self.open(key, || Value::$variant(Default::default())).value {
                Value::$variant(part) => part,
                other => panic!("{:?} is {other:?}", key.escape_ascii().to_string()),
            }
        }
    };
}

impl Model {
    fn shown(&self, key: &[u8]) -> Option<&Entry> {
        self.keys.get(key).filter(|entry| entry.deadline.is_none_or(|at| at > self.now_ms))
    }

    fn open(&mut self, key: &[u8], new: impl FnOnce() -> Value) -> &mut Entry {
        if self.shown(key).is_none() {
            self.keys.insert(key.to_vec(), Entry { value: new(), deadline: None, revision: 0 });
        }
        self.revision += 1;
        let entry = self.keys.get_mut(key).expect("just made");
        entry.revision = self.revision;
        entry
    }

    fn drop_if_empty(&mut self, key: &[u8]) {
        let is_empty = self.shown(key).is_some_and(|entry| match &entry.value {
            Value::Text(_) | Value::Sketch(_) => false,
            Value::Hash(part) => part.is_empty(),
            Value::Set(part) => part.is_empty(),
            Value::Sorted(part) => part.is_empty(),
            Value::List(part) => part.is_empty(),
        });
        if is_empty {
            self.keys.remove(key);
        }
    }

    fn in_order(&self, key: &[u8]) -> Vec<(&Vec<u8>, f64)> {
        let mut members: Vec<_> = self.sorted(key).into_iter().flatten().map(|(member, score)| (member, *score)).collect();
        members.sort_by(|(a, x), (b, y)| x.partial_cmp(y).expect("no NaN").then(a.cmp(b)));
        members
    }

    part!(hash, hash_mut, Hash, BTreeMap<Vec<u8>, Vec<u8>>);
    part!(set, set_mut, Set, BTreeSet<Vec<u8>>);
    part!(sorted, sorted_mut, Sorted, BTreeMap<Vec<u8>, f64>);
    part!(list, list_mut, List, Vec<Vec<u8>>);
    part!(sketch, sketch_mut, Sketch, BTreeSet<Vec<u8>>);
    part!(string, string_mut, Text, Vec<u8>);
}

fn add_integers(present: Option<&[u8]>, by: i64) -> Result<i64, AddError> {
    let present = present.map_or(Some(0), parse_i64).ok_or(AddError::NotNumber)?;
    present.checked_add(by).ok_or(AddError::Overflow)
}

/// In 64-bit floats, so exact only for what these hold exactly.
fn add_floats(present: Option<&[u8]>, by: &[u8]) -> Result<Vec<u8>, AddError> {
    let parse = |text: &[u8]| {
        let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with(' '))?;
        text.parse::<f64>().ok().filter(|value| !value.is_nan())
    };
    let present = present.map_or(Some(0.0), parse).ok_or(AddError::NotNumber)?;
    let sum = present + parse(by).ok_or(AddError::NotNumber)?;
    if sum.is_finite() { Ok(format!("{sum}").into_bytes()) } else { Err(AddError::Overflow) }
}

impl Store for Model {
    fn kind(&self, key: &[u8]) -> Option<Kind> {
        self.shown(key).map(|entry| match entry.value {
            Value::Text(_) => Kind::Text,
            Value::Sketch(_) => Kind::Sketch,
            Value::Hash(_) => Kind::Hash,
            Value::Set(_) => Kind::Set,
            Value::Sorted(_) => Kind::Sorted,
            Value::List(_) => Kind::List,
        })
    }
    fn remove(&mut self, key: &[u8]) -> bool {
        let is_there = self.shown(key).is_some();
        self.keys.remove(key);
        is_there
    }
    fn copy(&mut self, from: &[u8], to: &[u8]) {
        self.revision += 1;
        let entry = Entry { revision: self.revision, ..self.shown(from).expect("it is there").clone() };
        self.keys.insert(to.to_vec(), entry);
    }
    fn deadline(&self, key: &[u8]) -> Option<u64> {
        self.shown(key)?.deadline
    }
    fn set_deadline(&mut self, key: &[u8], at_ms: Option<u64>) {
        self.open(key, || panic!("it is there")).deadline = at_ms;
    }
    fn len(&self) -> usize {
        self.keys.keys().filter(|key| self.shown(key).is_some()).count()
    }
    fn clear(&mut self) {
        self.keys.clear();
    }
    fn scan(&self, _cursor: u64, _count: usize, each: Each<'_>) -> u64 {
        self.keys.keys().filter(|key| self.shown(key).is_some()).for_each(|key| each(key));
        0
    }
    fn random_key(&self, random: u64) -> Option<Vec<u8>> {
        let keys: Vec<_> = self.keys.keys().filter(|key| self.shown(key).is_some()).collect();
        keys.get((random % keys.len().max(1) as u64) as usize).map(|key| key.to_vec())
    }
    fn fingerprint(&mut self, key: &[u8]) -> u64 {
        self.shown(key).map_or(0, |entry| entry.revision)
    }
    fn memory_bytes(&self, key: &[u8]) -> usize {
        key.len() + 64
    }

    fn text(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.string(key).map(|text| Cow::Borrowed(text.as_slice()))
    }
    fn set_text(&mut self, key: &[u8], value: &[u8], deadline: Deadline) {
        let kept = self.deadline(key);
        self.keys.remove(key);
        self.open(key, || Value::Text(value.to_vec())).deadline = match deadline {
            Deadline::Keep => kept,
            Deadline::Never => None,
            Deadline::At(at) => Some(at),
        };
    }
    fn add_integer(&mut self, key: &[u8], by: i64) -> Result<i64, AddError> {
        let sum = add_integers(self.string(key).map(Vec::as_slice), by)?;
        *self.string_mut(key) = sum.to_string().into_bytes();
        Ok(sum)
    }
    fn add_float(&mut self, key: &[u8], by: &[u8]) -> Result<Vec<u8>, AddError> {
        let sum = add_floats(self.string(key).map(Vec::as_slice), by)?;
        self.string_mut(key).clone_from(&sum);
        Ok(sum)
    }

    fn hash_len(&self, key: &[u8]) -> usize {
        self.hash(key).map_or(0, BTreeMap::len)
    }
    fn hash_get(&self, key: &[u8], field: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.hash(key)?.get(field).map(|value| Cow::Borrowed(value.as_slice()))
    }
    fn hash_set(&mut self, key: &[u8], field: &[u8], value: &[u8]) -> bool {
        self.hash_mut(key).insert(field.to_vec(), value.to_vec()).is_none()
    }
    fn hash_remove(&mut self, key: &[u8], field: &[u8]) -> bool {
        let was_there = self.hash_get(key, field).is_some();
        if was_there {
            self.hash_mut(key).remove(field);
            self.drop_if_empty(key);
        }
        was_there
    }
    fn hash_add_integer(&mut self, key: &[u8], field: &[u8], by: i64) -> Result<i64, AddError> {
        let sum = add_integers(self.hash_get(key, field).as_deref(), by)?;
        self.hash_set(key, field, sum.to_string().as_bytes());
        Ok(sum)
    }
    fn hash_add_float(&mut self, key: &[u8], field: &[u8], by: &[u8]) -> Result<Vec<u8>, AddError> {
        let sum = add_floats(self.hash_get(key, field).as_deref(), by)?;
        self.hash_set(key, field, &sum);
        Ok(sum)
    }
    fn hash_each(&self, key: &[u8], each: EachPair<'_>) {
        self.hash(key).into_iter().flatten().for_each(|(field, value)| each(field, value));
    }
    fn hash_at(&self, key: &[u8], index: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        self.hash(key)?.iter().nth(index).map(|(field, value)| (field.clone(), value.clone()))
    }
    fn hash_scan(&self, key: &[u8], _cursor: u64, _count: usize, each: EachPair<'_>) -> u64 {
        self.hash_each(key, each);
        0
    }

    fn set_len(&self, key: &[u8]) -> usize {
        self.set(key).map_or(0, BTreeSet::len)
    }
    fn set_has(&self, key: &[u8], member: &[u8]) -> bool {
        self.set(key).is_some_and(|set| set.contains(member))
    }
    fn set_add(&mut self, key: &[u8], member: &[u8]) -> bool {
        !self.set_has(key, member) && self.set_mut(key).insert(member.to_vec())
    }
    fn set_remove(&mut self, key: &[u8], member: &[u8]) -> bool {
        let was_there = self.set_has(key, member);
        if was_there {
            self.set_mut(key).remove(member);
            self.drop_if_empty(key);
        }
        was_there
    }
    fn set_each(&self, key: &[u8], each: Each<'_>) {
        self.set(key).into_iter().flatten().for_each(|member| each(member));
    }
    fn set_at(&self, key: &[u8], index: usize) -> Option<Vec<u8>> {
        self.set(key)?.iter().nth(index).cloned()
    }
    fn set_scan(&self, key: &[u8], _cursor: u64, _count: usize, each: Each<'_>) -> u64 {
        self.set_each(key, each);
        0
    }

    fn sorted_len(&self, key: &[u8]) -> usize {
        self.sorted(key).map_or(0, BTreeMap::len)
    }
    fn sorted_score(&self, key: &[u8], member: &[u8]) -> Option<f64> {
        self.sorted(key)?.get(member).copied()
    }
    fn sorted_set(&mut self, key: &[u8], member: &[u8], score: f64) -> bool {
        let present = self.sorted_score(key, member);
        if present != Some(score) {
            self.sorted_mut(key).insert(member.to_vec(), score);
        }
        present.is_none()
    }
    fn sorted_add(&mut self, key: &[u8], member: &[u8], by: f64) -> Result<f64, AddError> {
        let sum = self.sorted_score(key, member).unwrap_or_default() + by;
        self.sorted_set(key, member, sum);
        Ok(sum)
    }
    fn sorted_remove(&mut self, key: &[u8], member: &[u8]) -> bool {
        let was_there = self.sorted_score(key, member).is_some();
        if was_there {
            self.sorted_mut(key).remove(member);
            self.drop_if_empty(key);
        }
        was_there
    }
    fn sorted_rank(&self, key: &[u8], member: &[u8]) -> Option<usize> {
        self.in_order(key).iter().position(|(found, _)| *found == member)
    }
    fn sorted_count(&self, key: &[u8], bound: Bound<'_>) -> usize {
        let is_within = |(member, score): &(&Vec<u8>, f64)| match bound {
            Bound::BelowScore(bound) => *score < bound,
            Bound::UpToScore(bound) => *score <= bound,
            Bound::BelowMember(bound) => member.as_slice() < bound,
            Bound::UpToMember(bound) => member.as_slice() <= bound,
        };
        self.in_order(key).iter().take_while(|entry| is_within(entry)).count()
    }
    fn sorted_range(&self, key: &[u8], places: Range<usize>, each: EachScore<'_>) {
        self.in_order(key).iter().take(places.end).skip(places.start).for_each(|(member, score)| each(member, *score));
    }
    fn sorted_scan(&self, key: &[u8], _cursor: u64, _count: usize, each: EachScore<'_>) -> u64 {
        self.sorted_range(key, 0..usize::MAX, each);
        0
    }

    fn list_len(&self, key: &[u8]) -> usize {
        self.list(key).map_or(0, Vec::len)
    }
    fn list_get(&self, key: &[u8], index: usize) -> Option<Cow<'_, [u8]>> {
        self.list(key)?.get(index).map(|value| Cow::Borrowed(value.as_slice()))
    }
    fn list_insert(&mut self, key: &[u8], index: usize, value: &[u8]) {
        self.list_mut(key).insert(index, value.to_vec());
    }
    fn list_set(&mut self, key: &[u8], index: usize, value: &[u8]) {
        self.list_mut(key)[index] = value.to_vec();
    }
    fn list_remove(&mut self, key: &[u8], index: usize) {
        self.list_mut(key).remove(index);
        self.drop_if_empty(key);
    }
    fn list_range(&self, key: &[u8], places: Range<usize>, each: Each<'_>) {
        self.list(key).into_iter().flatten().take(places.end).skip(places.start).for_each(|value| each(value));
    }

    fn sketch_add(&mut self, key: &[u8], elements: &mut dyn Iterator<Item = &[u8]>) -> bool {
        let sketch = self.sketch_mut(key);
        elements.fold(false, |changed, element| sketch.insert(element.to_vec()) || changed)
    }
    fn sketch_count(&self, keys: &mut dyn Iterator<Item = &[u8]>) -> u64 {
        keys.filter_map(|key| self.sketch(key)).flatten().collect::<BTreeSet<_>>().len() as u64
    }
    fn sketch_merge(&mut self, key: &[u8], from: &mut dyn Iterator<Item = &[u8]>) {
        let merged: BTreeSet<Vec<u8>> = from.filter_map(|key| self.sketch(key)).flatten().cloned().collect();
        self.sketch_mut(key).extend(merged);
    }
}
