//! What a key can be besides a string, and the order in which kinds are shown.

use steadfast_crdt::cell::{self, Sketched};
use steadfast_crdt::{Cell, Covers, Element, Lattice, List, Map, MapDelta, Score, Set, SetDelta, Sorted, Text, Version};
use steadfast_types::wire::Wire;
use steadfast_types::wire_enum;

use crate::delta::Change;
use crate::digest::hash_bytes;

/// The fields of a hash, with what each holds.
pub type Fields = Map<Cell<Text>>;

/// The members of a sorted set, with their scores.
pub type Scores = Sorted<Cell<Score>>;

/// The elements of a list.
pub type Items = List<Cell<Text>>;

/// What one command did to the fields of a hash, or to the elements of a list.
pub type TextsDelta = MapDelta<cell::Delta<Text>>;

/// What one command did to the members of a sorted set.
pub type ScoresDelta = MapDelta<cell::Delta<Score>>;

/// The kinds of keys, in the order in which one is shown if concurrent creations left several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A sorted set.
    Sorted,
    /// A set.
    Set,
    /// A hash.
    Hash,
    /// A list.
    List,
    /// A sketch of how many different things were counted (HyperLogLog).
    Sketch,
    /// A string, or a counter.
    Text,
}

/// The state of one kind of a key.
#[derive(Clone, Debug)]
pub(crate) enum Container {
    Sorted(Scores),
    Set(Set),
    Hash(Fields),
    List(Items),
    Sketch(Cell<Sketched>),
}

wire_enum!(Container { 1 => Sorted(scores), 2 => Set(set), 3 => Hash(fields), 4 => List(items), 5 => Sketch(sketch) });

impl Container {
    /// Its kind.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Container::Sorted(_) => Kind::Sorted,
            Container::Set(_) => Kind::Set,
            Container::Hash(_) => Kind::Hash,
            Container::List(_) => Kind::List,
            Container::Sketch(_) => Kind::Sketch,
        }
    }

    /// An empty one of a kind; `None` if that is a string's.
    pub(crate) fn empty(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Sorted => Some(Container::Sorted(Scores::default())),
            Kind::Set => Some(Container::Set(Set::default())),
            Kind::Hash => Some(Container::Hash(Fields::default())),
            Kind::List => Some(Container::List(Items::default())),
            Kind::Sketch => Some(Container::Sketch(Cell::default())),
            Kind::Text => None,
        }
    }

    /// Whether a reader sees anything.
    pub(crate) fn is_shown(&self) -> bool {
        match self {
            Container::Sorted(scores) => scores.len() > 0,
            Container::Set(set) => set.len() > 0,
            Container::Hash(fields) => fields.len() > 0,
            Container::List(items) => items.len() > 0,
            Container::Sketch(sketch) => sketch.is_shown(),
        }
    }

    /// Whether nothing is known of it.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Container::Sorted(scores) => scores.is_empty(),
            Container::Set(set) => set.is_empty(),
            Container::Hash(fields) => fields.is_empty(),
            Container::List(items) => items.is_empty(),
            Container::Sketch(sketch) => sketch.is_empty(),
        }
    }

    /// Removes everything that is there.
    pub(crate) fn clear(&mut self, version: Version) -> Option<Change> {
        if !self.is_shown() {
            return None;
        }
        match self {
            Container::Sorted(scores) => {
                let mut delta = ScoresDelta::default();
                scores.write_each(&mut delta, |cell| cell.clear(version));
                Some(Change::Sorted(delta))
            }
            Container::Set(set) => {
                let mut delta = SetDelta::new(version);
                set.clear(&mut delta);
                Some(Change::Set(delta))
            }
            Container::Hash(fields) => {
                let mut delta = TextsDelta::default();
                fields.write_each(&mut delta, |cell| cell.clear(version));
                Some(Change::Hash(delta))
            }
            Container::List(items) => {
                let mut delta = TextsDelta::default();
                items.write_each(&mut delta, 0..items.len(), |cell| cell.clear(version));
                Some(Change::List(delta))
            }
            Container::Sketch(sketch) => sketch.clear(version).map(Change::Sketch),
        }
    }

    /// Adds what a reader sees of another one of the same kind.
    pub(crate) fn recreate(&mut self, source: &Self, version: Version) -> Option<Change> {
        let text = |cell: &Cell<Text>| cell.shown().map(|shown| Text::from(&*shown.text()));
        match (self, source) {
            (Container::Sorted(scores), Container::Sorted(source)) => {
                let mut delta = ScoresDelta::default();
                for (member, score) in source.members().iter() {
                    scores.write(&mut delta, member, |cell| score.shown().map(|score| cell.set(version, score)));
                }
                Some(Change::Sorted(delta))
            }
            (Container::Set(set), Container::Set(source)) => {
                let mut delta = SetDelta::new(version);
                source.iter().for_each(|member| _ = set.add(&mut delta, member));
                Some(Change::Set(delta))
            }
            (Container::Hash(fields), Container::Hash(source)) => {
                let mut delta = TextsDelta::default();
                for (field, value) in source.iter() {
                    fields.write(&mut delta, field, |cell| text(value).map(|value| cell.set(version, value)));
                }
                Some(Change::Hash(delta))
            }
            (Container::List(items), Container::List(source)) => {
                let mut delta = TextsDelta::default();
                let values = source.range(0..source.len()).filter_map(text);
                items.insert(&mut delta, version, 0, values.map(|value| move |cell: &mut Cell<Text>| cell.set(version, value)));
                Some(Change::List(delta))
            }
            (Container::Sketch(sketch), Container::Sketch(source)) => {
                source.sketch().and_then(|source| sketch.merge_sketch(version, &source)).map(Change::Sketch)
            }
            _ => None,
        }
    }

    /// Does what another replica did to one of the same kind.
    pub(crate) fn apply(&mut self, change: &Change) {
        match (self, change) {
            (Container::Sorted(scores), Change::Sorted(delta)) => scores.apply(delta),
            (Container::Set(set), Change::Set(delta)) => set.apply(delta),
            (Container::Hash(fields), Change::Hash(delta)) => fields.apply(delta),
            (Container::List(items), Change::List(delta)) => items.apply(delta),
            (Container::Sketch(sketch), Change::Sketch(delta)) => sketch.apply(delta),
            _ => {}
        }
    }

    /// Takes in another replica's state of the same kind.
    pub(crate) fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers) {
        match (self, other) {
            (Container::Sorted(scores), Container::Sorted(other)) => scores.join(other, mine, theirs),
            (Container::Set(set), Container::Set(other)) => set.join(other, mine, theirs),
            (Container::Hash(fields), Container::Hash(other)) => fields.join(other, mine, theirs),
            (Container::List(items), Container::List(other)) => items.join(other, mine, theirs),
            (Container::Sketch(sketch), Container::Sketch(other)) => sketch.join(other, mine, theirs),
            _ => {}
        }
    }

    /// Forgets what is stable and needed no more.
    pub(crate) fn collect(&mut self, stable: &impl Covers) {
        match self {
            Container::Sorted(scores) => scores.tidy(|cell| cell.collect(stable)),
            Container::Set(_) => {}
            Container::Hash(fields) => fields.tidy(|cell| cell.collect(stable)),
            Container::List(items) => items.tidy(|cell| cell.collect(stable)),
            Container::Sketch(sketch) => sketch.collect(stable),
        }
    }

    /// Calls with each dot, and a number for the element that bears it.
    pub(crate) fn for_each_dot(&self, mut call: impl FnMut(u64, Version)) {
        let mut versions = alloc::vec::Vec::new();
        let mut element = |name: &[u8], state: &dyn Fn(&mut alloc::vec::Vec<Version>)| {
            state(&mut versions);
            let element = hash_bytes(name);
            versions.drain(..).for_each(|version| call(element, version));
        };
        match self {
            Container::Sorted(scores) => scores.members().all().for_each(|(name, cell)| element(name, &|out| cell.versions(out))),
            Container::Set(set) => set.dots().for_each(|(name, dots)| element(name, &|out| dots.versions(out))),
            Container::Hash(fields) => fields.all().for_each(|(name, cell)| element(name, &|out| cell.versions(out))),
            Container::List(items) => items.all().for_each(|(place, cell)| element(place, &|out| cell.versions(out))),
            Container::Sketch(sketch) => element(&[], &|out| sketch.versions(out)),
        }
    }

    /// Calls for each element that keeps something until everybody has seen it: with a number for the element, and one for its whole state.
    pub(crate) fn for_each_remains(&self, mut call: impl FnMut(u64, u64)) {
        match self {
            Container::Sorted(scores) => {
                let kept = scores.members().all().filter(|(_, cell)| cell.has_cuts());
                kept.for_each(|(member, cell)| call(hash_bytes(member), hash_bytes(&cell.to_wire())));
            }
            Container::Set(_) => {}
            Container::Hash(fields) => {
                let kept = fields.all().filter(|(_, cell)| cell.has_cuts());
                kept.for_each(|(field, cell)| call(hash_bytes(field), hash_bytes(&cell.to_wire())));
            }
            Container::List(items) => {
                let kept = items.all().filter(|(_, cell)| cell.has_cuts());
                kept.for_each(|(place, cell)| call(hash_bytes(place), hash_bytes(&cell.to_wire())));
            }
            Container::Sketch(sketch) if sketch.has_cuts() => call(hash_bytes(&[]), hash_bytes(&sketch.to_wire())),
            Container::Sketch(_) => {}
        }
    }

    /// Calls with each element of which anything is known, and whether it has cuts.
    pub(crate) fn for_each_element(&self, mut call: impl FnMut(&[u8], bool)) {
        match self {
            Container::Sorted(scores) => scores.members().all().for_each(|(member, cell)| call(member, cell.has_cuts())),
            Container::Set(set) => set.dots().for_each(|(member, _)| call(member, false)),
            Container::Hash(fields) => fields.all().for_each(|(field, cell)| call(field, cell.has_cuts())),
            Container::List(items) => items.all().for_each(|(place, cell)| call(place, cell.has_cuts())),
            Container::Sketch(sketch) => call(&[], sketch.has_cuts()),
        }
    }

    /// Whether an element has cuts.
    pub(crate) fn has_cuts(&self, element: &[u8]) -> bool {
        match self {
            Container::Sorted(scores) => scores.members().remembered(element).is_some_and(Cell::has_cuts),
            Container::Set(_) => false,
            Container::Hash(fields) => fields.remembered(element).is_some_and(Cell::has_cuts),
            Container::List(items) => items.remembered(element).is_some_and(Cell::has_cuts),
            Container::Sketch(sketch) => sketch.has_cuts(),
        }
    }

    /// Appends the state of an element. `false` if nothing is known of it.
    pub(crate) fn put_element(&self, element: &[u8], out: &mut alloc::vec::Vec<u8>) -> bool {
        fn put<S: Lattice + Wire>(state: Option<&S>, out: &mut alloc::vec::Vec<u8>) -> bool {
            state.filter(|state| !state.is_empty()).map(|state| state.encode(out)).is_some()
        }
        match self {
            Container::Sorted(scores) => put(scores.members().remembered(element), out),
            Container::Set(set) => put(set.dots_of(element), out),
            Container::Hash(fields) => put(fields.remembered(element), out),
            Container::List(items) => put(items.remembered(element), out),
            Container::Sketch(sketch) => put(Some(sketch), out),
        }
    }

    /// Bytes held outside of itself, approximately.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Container::Sorted(scores) => scores.heap_bytes(),
            Container::Set(set) => set.heap_bytes(),
            Container::Hash(fields) => fields.heap_bytes(),
            Container::List(items) => items.heap_bytes(),
            Container::Sketch(sketch) => Element::heap_bytes(sketch),
        }
    }
}
