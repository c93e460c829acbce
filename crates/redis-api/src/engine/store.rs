//! The keys as commands see them, at one moment of one replica.
//!
//! This is all that commands ask of a keyspace, so that they can be tried over a model. What is asked for a key of one kind is only asked
//! when [`Store::kind`] says the key is of that kind, or is not there; so no method but the writes of whole keys has to mind the other kinds.
//! A key with no element left is gone. Keys past their deadline are not there.
//!
//! What a command writes to the elements of one key goes to the store in one call: the key is looked up once, and the whole command is one write, of
//! one version. A version names what one write did to one *element* (it is the element's dot), so elements of one command may share it: a removal names
//! the dots of an element with it, and digests mix the element into each dot. An element that a command names twice is written twice under one
//! dot, the second time over the first; nobody sees what is in between, as a write is applied as a whole. Keys do not share versions: each
//! key's write is one of its own (`MSET`).

use std::borrow::Cow;
use std::ops::Range;

use steadfast_crdt::{Version, VersionVector};

/// What a key shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string or counter.
    Text,
    /// Registers of a HyperLogLog.
    Sketch,
    /// Fields with values.
    Hash,
    /// Members.
    Set,
    /// Members in order of their scores.
    Sorted,
    /// Elements in their places.
    List,
}

/// What becomes of a key's deadline when a string is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// It stays.
    Keep,
    /// There is none.
    Never,
    /// It is this, in milliseconds since 1970.
    At(u64),
}

/// Why a number was not added; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// What is there is no number.
    NotNumber,
    /// The sum does not fit, or is no number.
    Overflow,
}

/// A bound of members in a sorted set, by score or by the members' bytes where all scores are equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound<'a> {
    /// Members with scores below this.
    BelowScore(f64),
    /// Members with scores up to this.
    UpToScore(f64),
    /// Members before this one.
    BelowMember(&'a [u8]),
    /// Members up to this one.
    UpToMember(&'a [u8]),
}

/// Called with what a walk finds.
pub type Each<'a> = &'a mut dyn FnMut(&[u8]);

/// Called with what a walk finds in pairs.
pub type EachPair<'a> = &'a mut dyn FnMut(&[u8], &[u8]);

/// Called with members and their scores.
pub type EachScore<'a> = &'a mut dyn FnMut(&[u8], f64);

/// Elements of a command, by name.
pub type Names<'i, 'a> = &'i mut dyn Iterator<Item = &'a [u8]>;

/// Elements of a command with what they are to hold.
pub type Pairs<'i, 'a> = &'i mut dyn Iterator<Item = (&'a [u8], &'a [u8])>;

/// Members of a command with their scores.
pub type Scores<'i, 'a> = &'i mut dyn Iterator<Item = (&'a [u8], f64)>;

/// Whether a member that has the first score, or is not there, may get the second one.
pub type MayScore<'a> = &'a dyn Fn(Option<f64>, f64) -> bool;

/// What became of members that were given scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scored {
    /// So many are new.
    pub added: usize,
    /// So many had another score.
    pub changed: usize,
}

/// The keys of one replica at one moment.
pub trait Store {
    /// What a key shows; nothing if it is not there.
    fn kind(&self, key: &[u8]) -> Option<Kind>;
    /// Removes a key. Whether it was there.
    fn remove(&mut self, key: &[u8]) -> bool;
    /// Puts what `from` shows in the place of `to`, with its deadline. `from` is there and is not `to`.
    fn copy(&mut self, from: &[u8], to: &[u8]);
    /// The deadline of a key that is there, if it has one, in milliseconds since 1970.
    fn deadline(&self, key: &[u8]) -> Option<u64>;
    /// Sets the deadline of a key that is there, or removes it.
    fn set_deadline(&mut self, key: &[u8], at_ms: Option<u64>);
    /// How many keys there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Removes all keys.
    fn clear(&mut self);
    /// Walks through at least `count` keys from `cursor`, 0 at first, and gives the next cursor, 0 at the end.
    fn scan(&self, cursor: u64, count: usize, each: Each<'_>) -> u64;
    /// Some key; `random` is uniform.
    fn random_key(&self, random: u64) -> Option<Vec<u8>>;
    /// A number that changes with each change of a key; 0 if it is not there.
    fn fingerprint(&mut self, key: &[u8]) -> u64;
    /// Everything that a reader may have been shown a part of, this replica's own writes with it.
    fn seen(&self) -> VersionVector;
    /// Whether all of this was seen, of all keys.
    fn has_seen(&self, all: &VersionVector) -> bool;
    /// Whether as much was seen of every key as of any other. It is not while the replica catches up range by range: then one key may show an effect
    /// whose cause another key does not show yet.
    fn is_even(&self) -> bool;
    /// This replica's last write.
    fn last_write(&self) -> Option<Version>;
    /// About how many bytes a key takes.
    fn memory_bytes(&self, key: &[u8]) -> usize;

    /// The string of a key.
    fn text(&self, key: &[u8]) -> Option<Cow<'_, [u8]>>;
    /// Makes a key this string, whatever it held.
    fn set_text(&mut self, key: &[u8], value: &[u8], deadline: Deadline);
    /// Adds to a string that is an integer, or 0. The sum.
    ///
    /// # Errors
    /// If it is no integer, or the sum does not fit.
    fn add_integer(&mut self, key: &[u8], by: i64) -> Result<i64, AddError>;
    /// Adds to a string that is a float, or 0; `by` is a number in decimal. The sum as it is shown.
    ///
    /// # Errors
    /// If either is no number, or the sum is none.
    fn add_float(&mut self, key: &[u8], by: &[u8]) -> Result<Vec<u8>, AddError>;

    /// How many fields a hash has.
    fn hash_len(&self, key: &[u8]) -> usize;
    /// The value of a field.
    fn hash_get(&self, key: &[u8], field: &[u8]) -> Option<Cow<'_, [u8]>>;
    /// Sets fields. How many are new.
    fn hash_set<'a>(&mut self, key: &[u8], fields: Pairs<'_, 'a>) -> usize;
    /// Removes fields. How many were there.
    fn hash_remove<'a>(&mut self, key: &[u8], fields: Names<'_, 'a>) -> usize;
    /// Adds to a field that is an integer, or 0. The sum.
    ///
    /// # Errors
    /// As [`add_integer`](Store::add_integer).
    fn hash_add_integer(&mut self, key: &[u8], field: &[u8], by: i64) -> Result<i64, AddError>;
    /// Adds to a field that is a float, or 0. The sum as it is shown.
    ///
    /// # Errors
    /// As [`add_float`](Store::add_float).
    fn hash_add_float(&mut self, key: &[u8], field: &[u8], by: &[u8]) -> Result<Vec<u8>, AddError>;
    /// All fields and values.
    fn hash_each(&self, key: &[u8], each: EachPair<'_>);
    /// The field at a place below the number of fields; places are for choosing by chance.
    fn hash_at(&self, key: &[u8], index: usize) -> Option<(Vec<u8>, Vec<u8>)>;
    /// Walks through at least `count` fields from `cursor`, as [`scan`](Store::scan) does.
    fn hash_scan(&self, key: &[u8], cursor: u64, count: usize, each: EachPair<'_>) -> u64;

    /// How many members a set has.
    fn set_len(&self, key: &[u8]) -> usize;
    /// Whether a set has a member.
    fn set_has(&self, key: &[u8], member: &[u8]) -> bool;
    /// Adds members. How many are new.
    fn set_add<'a>(&mut self, key: &[u8], members: Names<'_, 'a>) -> usize;
    /// Removes members. How many were there.
    fn set_remove<'a>(&mut self, key: &[u8], members: Names<'_, 'a>) -> usize;
    /// All members.
    fn set_each(&self, key: &[u8], each: Each<'_>);
    /// The member at a place below the number of members; places are for choosing by chance.
    fn set_at(&self, key: &[u8], index: usize) -> Option<Vec<u8>>;
    /// Walks through at least `count` members from `cursor`, as [`scan`](Store::scan) does.
    fn set_scan(&self, key: &[u8], cursor: u64, count: usize, each: Each<'_>) -> u64;

    /// How many members a sorted set has.
    fn sorted_len(&self, key: &[u8]) -> usize;
    /// The score of a member.
    fn sorted_score(&self, key: &[u8], member: &[u8]) -> Option<f64>;
    /// Sets the scores of those members that may get them. What became of them.
    fn sorted_set<'a>(&mut self, key: &[u8], members: Scores<'_, 'a>, may: MayScore<'_>) -> Scored;
    /// Adds to the score of a member, or 0. The sum.
    ///
    /// # Errors
    /// If the sum is no number.
    fn sorted_add(&mut self, key: &[u8], member: &[u8], by: f64) -> Result<f64, AddError>;
    /// Removes members. How many were there.
    fn sorted_remove<'a>(&mut self, key: &[u8], members: Names<'_, 'a>) -> usize;
    /// The member at a place below the number of members; places are for choosing by chance.
    fn sorted_at(&self, key: &[u8], index: usize) -> Option<(Vec<u8>, f64)>;
    /// The place of a member in the order of scores and members.
    fn sorted_rank(&self, key: &[u8], member: &[u8]) -> Option<usize>;
    /// How many members are within a bound.
    fn sorted_count(&self, key: &[u8], bound: Bound<'_>) -> usize;
    /// The members at these places, in order.
    fn sorted_range(&self, key: &[u8], places: Range<usize>, each: EachScore<'_>);
    /// Walks through at least `count` members from `cursor`, as [`scan`](Store::scan) does.
    fn sorted_scan(&self, key: &[u8], cursor: u64, count: usize, each: EachScore<'_>) -> u64;

    /// How many elements a list has.
    fn list_len(&self, key: &[u8]) -> usize;
    /// The element at a place.
    fn list_get(&self, key: &[u8], index: usize) -> Option<Cow<'_, [u8]>>;
    /// Puts elements, in their order, before the one that is at a place, or at the end if there are no more than so many.
    fn list_insert<'a>(&mut self, key: &[u8], index: usize, values: Names<'_, 'a>);
    /// Replaces the element at a place that is there.
    fn list_set(&mut self, key: &[u8], index: usize, value: &[u8]);
    /// Removes the elements at places that are there, given from the last one to the first.
    fn list_remove(&mut self, key: &[u8], places: &mut dyn Iterator<Item = usize>);
    /// The elements at these places, in order.
    fn list_range(&self, key: &[u8], places: Range<usize>, each: Each<'_>);

    /// Counts elements in a sketch, which is there afterwards. Whether it changed.
    fn sketch_add(&mut self, key: &[u8], elements: &mut dyn Iterator<Item = &[u8]>) -> bool;
    /// About how many distinct elements the sketches have counted together.
    fn sketch_count(&self, keys: &mut dyn Iterator<Item = &[u8]>) -> u64;
    /// Adds what sketches have counted to the one of `key`, which is there afterwards.
    fn sketch_merge(&mut self, key: &[u8], from: &mut dyn Iterator<Item = &[u8]>);
}
