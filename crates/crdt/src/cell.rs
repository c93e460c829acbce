//! A register and counters in one: strings, fields of hashes, scores of sorted sets, sketches.
//!
//! Merge rule. A write of a value (and a removal) replaces the values and the additions that its writer had seen, and nothing else. Shown is the value of the
//! greatest version (last writer wins), plus every addition that no write of a value and no removal has observed. So an addition that was
//! acknowledged is lost only to who had seen it.
//!
//! How it is kept. Values are **siblings**: usually one, more after concurrent writes. What an actor adds is its **run**: where it started, its last
//! write (the run's dot), and the total. Who replaces a run of somebody else, who may be taking it further at this moment, keeps what it had seen
//! of it as its **cut**; of a run that turns up again, only what is beyond the cuts counts. An actor who learns that its run was cut begins another.
//! A removal that cut something stays as a sibling without a value.
//!
//! Invariants:
//! 1. Siblings are in the order of their versions, runs and cuts in that of their starts. A version is in one place only.
//! 2. Of the runs of an actor only the one that started last goes on.
//! 3. A sibling cuts at most one run of an actor: with a run, all that started before it were observed to their ends.
//! 4. Equal contents have equal forms: what fits into a compact form is in it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use steadfast_types::wire::Wire;

use crate::lattice::Lattice;
use crate::total::Total;
use crate::vector::Covers;
use crate::version::Version;

pub mod delta;
mod number;
mod parts;
mod sketch;
mod value;
mod wire;

pub use delta::{Delta, Removed, Run};
pub use number::NotFinite;
pub(crate) use parts::{Parts, Sibling};
pub use sketch::Sketched;
pub use value::{Score, Shown, Text};

/// What a cell may hold.
pub trait Value: Clone + core::fmt::Debug + PartialEq + Wire {
    /// What additions to it come to.
    type Total: Total;

    /// Bytes held on the heap.
    fn heap_bytes(&self) -> usize;
}

/// A register and counters in one; see the module for its merge rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell<V: Value>(Form<V>);

/// How the contents are kept: without a box in the common cases.
#[derive(Clone, Debug, PartialEq)]
enum Form<V: Value> {
    /// Nothing at all.
    Empty,
    /// One sibling that cut nothing.
    Value(Version, V),
    /// One run with a small total: its start, its last write, the total.
    Run(Version, Version, <V::Total as Total>::Small),
    /// Anything else.
    Many(Box<Parts<V>>),
}

impl<V: Value> Default for Cell<V> {
    fn default() -> Self {
        Self(Form::Empty)
    }
}

impl<V: Value> Cell<V> {
    /// A cell to which one value was written.
    pub fn of(version: Version, value: V) -> Self {
        Self(Form::Value(version, value))
    }

    /// The one value and its version, if there is nothing else to the cell: [`Cell::of`] makes it again.
    pub fn plain(&self) -> Option<(Version, &V)> {
        match &self.0 {
            Form::Value(version, value) => Some((*version, value)),
            _ => None,
        }
    }

    /// Like [`Cell::plain`], and takes the value out.
    ///
    /// # Errors
    /// The cell itself, if there is more to it.
    pub fn into_plain(self) -> Result<(Version, V), Self> {
        match self.0 {
            Form::Value(version, value) => Ok((version, value)),
            form => Err(Self(form)),
        }
    }

    /// Whether a reader sees anything: a value, or additions.
    pub fn is_shown(&self) -> bool {
        match &self.0 {
            Form::Empty => false,
            Form::Value(..) | Form::Run(..) => true,
            Form::Many(parts) => parts.is_shown(),
        }
    }

    /// The value of the greatest version, and that version; additions are not in it.
    pub fn base(&self) -> Option<(Version, &V)> {
        match &self.0 {
            Form::Empty | Form::Run(..) => None,
            Form::Value(version, value) => Some((*version, value)),
            Form::Many(parts) => parts.values().next_back(),
        }
    }

    /// All values that nobody replaced, in the order of their versions: several after concurrent writes.
    pub fn values(&self) -> impl Iterator<Item = (Version, &V)> {
        let (plain, parts) = match &self.0 {
            Form::Value(version, value) => (Some((*version, value)), None),
            Form::Many(parts) => (None, Some(parts)),
            Form::Empty | Form::Run(..) => (None, None),
        };
        plain.into_iter().chain(parts.into_iter().flat_map(|parts| parts.values()))
    }

    /// Whether anything was added that no value has replaced.
    pub fn has_additions(&self) -> bool {
        match &self.0 {
            Form::Empty | Form::Value(..) => false,
            Form::Run(..) => true,
            Form::Many(parts) => !parts.runs.is_empty(),
        }
    }

    /// Writes a value in place of all that is here.
    pub fn set(&mut self, version: Version, value: V) -> Delta<V> {
        let removed = self.replace(version, Some(value.clone()));
        Delta::Write { version, value: Some(value), removed }
    }

    /// Removes all that is here. `None` if nothing is shown: then there is nothing to remove, and nothing changes.
    pub fn clear(&mut self, version: Version) -> Option<Delta<V>> {
        if !self.is_shown() {
            return None;
        }
        let removed = self.replace(version, None);
        Some(Delta::Write { version, value: None, removed })
    }

    /// What [`Cell::set`] and [`Cell::clear`] do, for whoever writes the delta's bytes itself ([`Delta::put_write`]) and so needs no copy of the value.
    pub fn replace(&mut self, version: Version, value: Option<V>) -> Removed<V::Total> {
        let removed = match &self.0 {
            Form::Empty => Removed::default(),
            Form::Value(before, _) => Removed::one(*before),
            Form::Run(start, last, small) => {
                let mut removed = Removed::default();
                removed.run(version, Run { start: *start, last: *last, total: V::Total::from_small(*small) });
                removed
            }
            Form::Many(_) => match core::mem::take(self).0 {
                Form::Many(parts) => parts.removed_by(version),
                _ => unreachable!("just matched"),
            },
        };
        self.0 = if removed.cut.is_empty() {
            value.map_or(Form::Empty, |value| Form::Value(version, value))
        } else {
            Form::of(Parts::of(Sibling { version, value, cut: removed.cut.clone() }))
        };
        removed
    }

    /// Adds to the actor's own run, or begins one. `step` takes the run's total further, and gives what the delta says of it.
    pub(crate) fn advance(&mut self, version: Version, step: impl FnOnce(Option<&mut V::Total>) -> V::Total) -> Delta<V> {
        Delta::Add(self.change(|parts| parts.advance(version, step)))
    }

    /// Forgets cuts of which no one needs to know any more, and removals that are left without any. Nobody sees a difference, nor does a join.
    ///
    /// `stable` covers a version only if every replica has seen it, *and* all that those replicas wrote before they saw it was seen here. The meet
    /// of the contexts that the replicas told along with their writes is so, if each is taken for known once all that it covers was seen here.
    pub fn collect(&mut self, stable: &impl Covers) {
        if self.has_cuts() {
            self.change(|parts| parts.collect(stable));
        }
    }

    /// Whether [`Cell::collect`] may have something to forget, now or later: whether there are cuts.
    pub fn has_cuts(&self) -> bool {
        matches!(&self.0, Form::Many(parts) if parts.siblings.iter().any(|sibling| !sibling.cut.is_empty()))
    }

    /// About how many bytes it holds on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Empty | Form::Run(..) => 0,
            Form::Value(_, value) => value.heap_bytes(),
            Form::Many(parts) => parts.heap_bytes(),
        }
    }

    /// Changes the contents, whatever their form, and gives them the form that is right then.
    fn change<R>(&mut self, change: impl FnOnce(&mut Parts<V>) -> R) -> R {
        if let Form::Many(parts) = &mut self.0 {
            let result = change(parts);
            if parts.is_compact() {
                self.0 = Form::of(core::mem::take(parts));
            }
            return result;
        }
        let mut parts = core::mem::take(self).0.into_parts();
        let result = change(&mut parts);
        self.0 = Form::of(parts);
        result
    }
}

impl<V: Value> Form<V> {
    /// The form that is right for the contents.
    fn of(mut parts: Parts<V>) -> Self {
        if !parts.is_compact() {
            return Self::Many(Box::new(parts));
        }
        match (&mut parts.siblings[..], &mut parts.runs[..]) {
            ([Sibling { version, value, .. }], _) => value.take().map_or(Self::Empty, |value| Self::Value(*version, value)),
            (_, [Run { start, last, total }]) => total.small().map_or(Self::Empty, |small| Self::Run(*start, *last, small)),
            _ => Self::Empty,
        }
    }

    fn into_parts(self) -> Parts<V> {
        match self {
            Self::Empty => Parts::default(),
            Self::Value(version, value) => Parts::of(Sibling { version, value: Some(value), cut: Vec::new() }),
            Self::Run(start, last, small) => Parts::of_run(Run { start, last, total: V::Total::from_small(small) }),
            Self::Many(parts) => *parts,
        }
    }
}

impl<V: Value> Lattice for Cell<V> {
    type Delta = Delta<V>;

    fn apply(&mut self, delta: &Delta<V>) {
        match (&mut self.0, delta) {
            (Form::Value(held, held_value), Delta::Write { version, value: Some(value), removed }) if removed.is_only(*held) => {
                (*held, *held_value) = (*version, value.clone());
            }
            (_, delta) => self.change(|parts| parts.apply(delta)),
        }
    }

    fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers) {
        if let (Form::Value(version, _), Form::Value(other, _)) = (&self.0, &other.0)
            && version == other
        {
            return;
        }
        self.change(|parts| parts.join(other.0.clone().into_parts(), mine, theirs));
    }

    fn is_empty(&self) -> bool {
        matches!(self.0, Form::Empty)
    }

    fn versions(&self, out: &mut Vec<Version>) {
        match &self.0 {
            Form::Empty => {}
            Form::Value(version, _) | Form::Run(_, version, _) => out.push(*version),
            Form::Many(parts) => {
                out.extend(parts.siblings.iter().map(|sibling| sibling.version));
                out.extend(parts.runs.iter().map(|run| run.last));
            }
        }
    }
}
