//! Available state as the keys of commands.

use std::borrow::Cow;
use std::iter::once;
use std::ops::{self, Range};

use steadfast_available::{Keyspace, Kind as Shown, Lifetime, Refused, Until};
use steadfast_crdt::{Cell, LongDouble, Score, Sketch, Text, Version, VersionVector};
use steadfast_types::Rng;

use crate::engine::store::{AddError, Bound, Deadline, Each, EachPair, EachScore, Kind, MayScore, Names, Pairs, Scored, Scores, Store};

/// What an operation gave that fails only when clocks have no more times, in the year 2093: then nothing that was written could be told apart.
fn done<T>(result: Result<T, Refused>) -> T {
    result.expect("the kind of the key was looked at, and the clock has times left")
}

/// What a look at a key of a known kind gave.
fn look<T>(result: Result<Option<T>, Refused>) -> Option<T> {
    result.ok().flatten()
}

fn add_error(refused: Refused) -> AddError {
    match refused {
        Refused::NotANumber => AddError::NotNumber,
        Refused::OutOfRange => AddError::Overflow,
        Refused::WrongKind | Refused::NoMoreTimes => done(Err(refused)),
    }
}

fn text(cell: &Cell<Text>) -> Cow<'_, [u8]> {
    cell.shown().map(|shown| shown.text()).unwrap_or_default()
}

fn score(cell: &Cell<Score>) -> f64 {
    cell.shown().map_or(0.0, Score::get)
}

impl Store for Keyspace {
    fn kind(&self, key: &[u8]) -> Option<Kind> {
        self.kind(key).map(|kind| match kind {
            Shown::Sorted => Kind::Sorted,
            Shown::Set => Kind::Set,
            Shown::Hash => Kind::Hash,
            Shown::List => Kind::List,
            Shown::Sketch => Kind::Sketch,
            Shown::Text => Kind::Text,
        })
    }
    fn remove(&mut self, key: &[u8]) -> bool {
        done(self.delete(key))
    }
    fn copy(&mut self, from: &[u8], to: &[u8]) {
        done(self.copy(from, to));
    }
    fn deadline(&self, key: &[u8]) -> Option<u64> {
        match self.until(key)? {
            Until::At(ms) => Some(ms),
            Until::Ever => None,
        }
    }
    fn set_deadline(&mut self, key: &[u8], at_ms: Option<u64>) {
        done(match at_ms {
            Some(ms) => self.set_until(key, Until::At(ms)),
            None => self.persist(key),
        });
    }
    fn len(&self) -> usize {
        self.len()
    }
    fn clear(&mut self) {
        done(self.clear());
    }
    fn scan(&self, cursor: u64, count: usize, each: Each<'_>) -> u64 {
        let (next, keys) = self.scan(cursor, count);
        keys.iter().for_each(|key| each(key));
        next
    }
    fn random_key(&self, random: u64) -> Option<Vec<u8>> {
        self.random_key(&mut Rng::with_seed(random)).map(Cow::into_owned)
    }
    fn fingerprint(&mut self, key: &[u8]) -> u64 {
        self.fingerprint(key)
    }
    fn seen(&self) -> VersionVector {
        self.seen()
    }
    fn has_seen(&self, all: &VersionVector) -> bool {
        self.has_seen(all)
    }
    fn is_even(&self) -> bool {
        self.context().is_even()
    }
    fn last_write(&self) -> Option<Version> {
        self.last_write()
    }
    fn memory_bytes(&self, key: &[u8]) -> usize {
        self.bytes_of(key).unwrap_or_default()
    }

    fn text(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        look(self.text(key)).map(|shown| shown.text())
    }
    fn set_text(&mut self, key: &[u8], value: &[u8], deadline: Deadline) {
        let lifetime = match deadline {
            Deadline::Keep => Lifetime::Keep,
            Deadline::Never => Lifetime::Until(Until::Ever),
            Deadline::At(ms) => Lifetime::Until(Until::At(ms)),
        };
        done(self.set(key, value, lifetime));
    }
    fn add_integer(&mut self, key: &[u8], by: i64) -> Result<i64, AddError> {
        self.add_int(key, by).map_err(add_error)
    }
    fn add_float(&mut self, key: &[u8], by: &[u8]) -> Result<Vec<u8>, AddError> {
        let by = LongDouble::parse(by).ok_or(AddError::NotNumber)?;
        self.add_float(key, &by).map(|sum| sum.to_string().into_bytes()).map_err(add_error)
    }

    fn hash_len(&self, key: &[u8]) -> usize {
        look(self.fields(key)).map_or(0, |fields| fields.len())
    }
    fn hash_get(&self, key: &[u8], field: &[u8]) -> Option<Cow<'_, [u8]>> {
        look(self.fields(key))?.get(field).map(text)
    }
    fn hash_set<'a>(&mut self, key: &[u8], fields: Pairs<'_, 'a>) -> usize {
        done(self.write_fields(key, |hash, delta, version| {
            let mut set = |(field, value): (&[u8], &[u8])| {
                let mut is_new = false;
                hash.write(delta, field, |cell| {
                    is_new = !cell.is_shown();
                    cell.set(version, Text::from(value))
                });
                is_new
            };
            fields.map(|pair| usize::from(set(pair))).sum()
        }))
    }
    fn hash_remove<'a>(&mut self, key: &[u8], mut fields: Names<'_, 'a>) -> usize {
        let hash = look(self.fields(key));
        let Some(first) = hash.and_then(|hash| Iterator::find(&mut fields, |field| hash.get(field).is_some())) else { return 0 };
        done(self.write_fields(key, |hash, delta, version| {
            let before = hash.len();
            once(first).chain(fields).for_each(|field| hash.write(delta, field, |cell| cell.clear(version)));
            before - hash.len()
        }))
    }
    fn hash_add_integer(&mut self, key: &[u8], field: &[u8], by: i64) -> Result<i64, AddError> {
        let present = look(self.fields(key)).and_then(|fields| fields.get(field)).map_or(Some(0), Cell::int).ok_or(AddError::NotNumber)?;
        let sum = present.checked_add(by).ok_or(AddError::Overflow)?;
        done(self.write_fields(key, |fields, delta, version| fields.write(delta, field, |cell| cell.add_int(version, by))));
        Ok(sum)
    }
    fn hash_add_float(&mut self, key: &[u8], field: &[u8], by: &[u8]) -> Result<Vec<u8>, AddError> {
        let by = LongDouble::parse(by).ok_or(AddError::NotNumber)?;
        let field_of =
            |keys: &Keyspace| look(keys.fields(key)).and_then(|fields| fields.get(field)).map_or(Some(LongDouble::default()), Cell::float);
        let present = field_of(self).ok_or(AddError::NotNumber)?;
        present.plus(&by).ok_or(AddError::Overflow)?;
        done(self.write_fields(key, |fields, delta, version| fields.write(delta, field, |cell| cell.add_float(version, &by).ok())));
        Ok(field_of(self).unwrap_or_default().to_string().into_bytes())
    }
    fn hash_each(&self, key: &[u8], each: EachPair<'_>) {
        for (field, value) in look(self.fields(key)).into_iter().flat_map(|fields| fields.iter()) {
            each(field, &text(value));
        }
    }
    fn hash_at(&self, key: &[u8], index: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        look(self.fields(key))?.at(index).map(|(field, value)| (field.to_vec(), text(value).into_owned()))
    }
    fn hash_scan(&self, key: &[u8], cursor: u64, count: usize, each: EachPair<'_>) -> u64 {
        let Some(fields) = look(self.fields(key)) else { return 0 };
        let (next, found) = fields.scan(cursor, count);
        found.for_each(|(field, value)| each(field, &text(value)));
        next
    }

    fn set_len(&self, key: &[u8]) -> usize {
        look(self.members(key)).map_or(0, |set| set.len())
    }
    fn set_has(&self, key: &[u8], member: &[u8]) -> bool {
        look(self.members(key)).is_some_and(|set| set.contains(member))
    }
    fn set_add<'a>(&mut self, key: &[u8], members: Names<'_, 'a>) -> usize {
        done(self.write_members(key, |set, delta, _| members.map(|member| usize::from(set.add(delta, member))).sum()))
    }
    fn set_remove<'a>(&mut self, key: &[u8], mut members: Names<'_, 'a>) -> usize {
        let set = look(self.members(key));
        let Some(first) = set.and_then(|set| Iterator::find(&mut members, |member| set.contains(member))) else { return 0 };
        done(self.write_members(key, |set, delta, _| once(first).chain(members).map(|member| usize::from(set.remove(delta, member))).sum()))
    }
    fn set_each(&self, key: &[u8], each: Each<'_>) {
        look(self.members(key)).into_iter().flat_map(|set| set.iter()).for_each(each);
    }
    fn set_at(&self, key: &[u8], index: usize) -> Option<Vec<u8>> {
        look(self.members(key))?.at(index).map(<[u8]>::to_vec)
    }
    fn set_scan(&self, key: &[u8], cursor: u64, count: usize, each: Each<'_>) -> u64 {
        let Some(set) = look(self.members(key)) else { return 0 };
        let (next, found) = set.scan(cursor, count);
        found.for_each(each);
        next
    }

    fn sorted_len(&self, key: &[u8]) -> usize {
        look(self.scores(key)).map_or(0, |scores| scores.len())
    }
    fn sorted_score(&self, key: &[u8], member: &[u8]) -> Option<f64> {
        look(self.scores(key))?.get(member).map(score)
    }
    fn sorted_set<'a>(&mut self, key: &[u8], mut members: Scores<'_, 'a>, may: MayScore<'_>) -> Scored {
        let sorted = look(self.scores(key));
        let allowed =
            Iterator::find(&mut members, |(member, wanted)| may(sorted.and_then(|sorted| sorted.get(member)).map(score), *wanted));
        let Some(first) = allowed else { return Scored::default() };
        done(self.write_scores(key, |scores, delta, version| {
            let mut scored = Scored::default();
            for (member, wanted) in once(first).chain(members) {
                let present = scores.get(member).map(score);
                if may(present, wanted) {
                    // Not a number is refused before. Of the two zeros one is kept, as they are the same score.
                    scores.write(delta, member, |cell| cell.set(version, Score::new(wanted + 0.0).unwrap_or_default()));
                    scored.added += usize::from(present.is_none());
                    scored.changed += usize::from(present.is_some_and(|present| present != wanted));
                }
            }
            scored
        }))
    }
    fn sorted_add(&mut self, key: &[u8], member: &[u8], by: f64) -> Result<f64, AddError> {
        let by = Score::new(by).ok_or(AddError::NotNumber)?;
        let sum = self.sorted_score(key, member).unwrap_or_default() + by.get();
        Score::new(sum).ok_or(AddError::NotNumber)?;
        done(self.write_scores(key, |scores, delta, version| scores.write(delta, member, |cell| cell.add_score(version, by).ok())));
        Ok(self.sorted_score(key, member).unwrap_or(sum))
    }
    fn sorted_remove<'a>(&mut self, key: &[u8], mut members: Names<'_, 'a>) -> usize {
        let sorted = look(self.scores(key));
        let Some(first) = sorted.and_then(|sorted| Iterator::find(&mut members, |member| sorted.get(member).is_some())) else { return 0 };
        done(self.write_scores(key, |scores, delta, version| {
            let before = scores.len();
            once(first).chain(members).for_each(|member| scores.write(delta, member, |cell| cell.clear(version)));
            before - scores.len()
        }))
    }
    fn sorted_at(&self, key: &[u8], index: usize) -> Option<(Vec<u8>, f64)> {
        look(self.scores(key))?.members().at(index).map(|(member, cell)| (member.to_vec(), score(cell)))
    }
    fn sorted_rank(&self, key: &[u8], member: &[u8]) -> Option<usize> {
        look(self.scores(key))?.rank(member)
    }
    fn sorted_count(&self, key: &[u8], bound: Bound<'_>) -> usize {
        let Some(scores) = look(self.scores(key)) else { return 0 };
        let all = ops::Bound::Unbounded;
        match bound {
            Bound::BelowScore(score) => scores.ranks_by_score(all, ops::Bound::Excluded(score)).end,
            Bound::UpToScore(score) => scores.ranks_by_score(all, ops::Bound::Included(score)).end,
            Bound::BelowMember(member) => scores.ranks_by_member(ops::Bound::Unbounded, ops::Bound::Excluded(member)).end,
            Bound::UpToMember(member) => scores.ranks_by_member(ops::Bound::Unbounded, ops::Bound::Included(member)).end,
        }
    }
    fn sorted_range(&self, key: &[u8], places: Range<usize>, each: EachScore<'_>) {
        let Some(scores) = look(self.scores(key)) else { return };
        let end = places.end.min(scores.len());
        scores.range(places.start.min(end)..end).for_each(|(member, cell)| each(member, score(cell)));
    }
    fn sorted_scan(&self, key: &[u8], cursor: u64, count: usize, each: EachScore<'_>) -> u64 {
        let Some(scores) = look(self.scores(key)) else { return 0 };
        let (next, found) = scores.members().scan(cursor, count);
        found.for_each(|(member, cell)| each(member, score(cell)));
        next
    }

    fn list_len(&self, key: &[u8]) -> usize {
        look(self.items(key)).map_or(0, |items| items.len())
    }
    fn list_get(&self, key: &[u8], index: usize) -> Option<Cow<'_, [u8]>> {
        look(self.items(key))?.get(index).map(text)
    }
    fn list_insert<'a>(&mut self, key: &[u8], index: usize, values: Names<'_, 'a>) {
        done(self.write_items(key, |items, delta, version| {
            items.insert(delta, version, index, values.map(|value| move |cell: &mut Cell<Text>| cell.set(version, Text::from(value))));
        }));
    }
    fn list_set(&mut self, key: &[u8], index: usize, value: &[u8]) {
        done(self.write_items(key, |items, delta, version| items.write(delta, index, |cell| cell.set(version, Text::from(value)))));
    }
    fn list_remove(&mut self, key: &[u8], places: &mut dyn Iterator<Item = usize>) {
        done(self.write_items(key, |items, delta, version| {
            places.for_each(|place| items.write(delta, place, |cell| cell.clear(version)));
        }));
    }
    fn list_range(&self, key: &[u8], places: Range<usize>, each: Each<'_>) {
        let Some(items) = look(self.items(key)) else { return };
        let end = places.end.min(items.len());
        items.range(places.start.min(end)..end).for_each(|cell| each(&text(cell)));
    }

    fn sketch_add(&mut self, key: &[u8], elements: &mut dyn Iterator<Item = &[u8]>) -> bool {
        done(self.write_sketch(key, |cell, delta, version| {
            *delta = cell.add_elements(version, elements);
            delta.is_some()
        }))
    }
    fn sketch_count(&self, keys: &mut dyn Iterator<Item = &[u8]>) -> u64 {
        merged(self, keys).count()
    }
    fn sketch_merge(&mut self, key: &[u8], from: &mut dyn Iterator<Item = &[u8]>) {
        let merged = merged(self, from);
        done(self.write_sketch(key, |cell, delta, version| {
            *delta = cell.merge_sketch(version, &merged);
            if !cell.is_shown() {
                *delta = cell.add_elements(version, []);
            }
        }));
    }
}

/// What all sketches of these keys have counted.
fn merged(keys: &Keyspace, names: &mut dyn Iterator<Item = &[u8]>) -> Sketch {
    let mut all = Sketch::default();
    for sketch in names.filter_map(|name| look(keys.sketch(name))).filter_map(|cell| cell.sketch()) {
        all.merge(&sketch);
    }
    all
}
