//! What a write to a cell did.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use smallvec::SmallVec;
use steadfast_types::wire::{Reader, Wire, WireError, put_varint};

use super::Value;
use crate::total::Total;
use crate::version::{Actor, Version};

/// What an actor added, without having learned in between that somebody replaced it.
#[derive(Clone, Debug, PartialEq)]
pub struct Run<T> {
    /// Its first write, by which it is known.
    pub start: Version,
    /// Its last write: the dot that it stands under.
    pub last: Version,
    /// What its writes come to.
    pub total: T,
}

/// What a write had observed, and so replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Removed<T> {
    /// The versions of the siblings, and of runs that are not cut: the writer's own, and those whose actor has begun another.
    pub gone: SmallVec<[Version; 1]>,
    /// Runs of others as they were seen; also those that the replaced siblings had cut.
    pub cut: Vec<Run<T>>,
}

/// What a write to a cell did.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta<V: Value> {
    /// A value was written, or none is there any more; what was observed is gone.
    Write {
        /// The write's version.
        version: Version,
        /// The value; `None` of a removal.
        value: Option<V>,
        /// What it replaced.
        removed: Removed<V::Total>,
    },
    /// A run went on to this, or began. The total is that of the whole run, or, of totals that join, what is new in it.
    Add(Run<V::Total>),
}

impl<V: Value> Delta<V> {
    /// The write's version.
    pub fn version(&self) -> Version {
        match self {
            Self::Write { version, .. } => *version,
            Self::Add(run) => run.last,
        }
    }

    /// Appends the wire form of a write, as [`Wire::encode`] does of a [`Delta::Write`].
    pub fn put_write(out: &mut Vec<u8>, version: Version, value: Option<&V>, removed: &Removed<V::Total>) {
        out.push(if value.is_some() { WRITE } else { CLEAR });
        version.encode(out);
        if let Some(value) = value {
            value.encode(out);
        }
        put_varint(out, removed.gone.len() as u64);
        removed.gone.iter().for_each(|gone| put_before(out, version, *gone));
        removed.cut.encode(out);
    }
}

impl<T> Default for Removed<T> {
    fn default() -> Self {
        Self { gone: SmallVec::new(), cut: Vec::new() }
    }
}

impl<T: Total> Removed<T> {
    /// Of one sibling.
    pub(crate) fn one(version: Version) -> Self {
        Self { gone: SmallVec::from_buf([version]), cut: Vec::new() }
    }

    /// Whether it is that of this sibling.
    pub(crate) fn is_only(&self, version: Version) -> bool {
        self.cut.is_empty() && self.gone[..] == [version]
    }

    /// Whether this dot is among what is gone.
    pub(crate) fn has(&self, version: Version) -> bool {
        self.gone.contains(&version) || self.cut.iter().any(|run| run.last == version)
    }

    /// A run is replaced by a write of this version.
    pub(crate) fn run(&mut self, by: Version, run: Run<T>) {
        let last = run.last;
        if run.start.actor() == by.actor() || !self.cut(run) {
            self.gone.push(last);
        }
    }

    /// A run that the write keeps in its cut, unless it makes no difference: whether it is in it.
    pub(crate) fn cut(&mut self, run: Run<T>) -> bool {
        // Of each actor only the run that began last can still go on; who has seen it has seen the ends of those before.
        if let Some(index) = self.cut.iter().position(|cut| cut.start.actor() == run.start.actor()) {
            let cut = &mut self.cut[index];
            if cut.start > run.start {
                return false;
            }
            if cut.start == run.start {
                let (mut earlier, later) = if cut.last < run.last { (cut.clone(), run) } else { (run, cut.clone()) };
                earlier.total.advance(&later.total);
                *cut = Run { total: earlier.total, ..later };
                return true;
            }
            let before = self.cut.remove(index);
            self.gone.push(before.last);
        }
        let index = self.cut.partition_point(|cut| cut.start < run.start);
        self.cut.insert(index, run);
        true
    }
}

const WRITE: u8 = 1;
const CLEAR: u8 = 2;
const ADD: u8 = 3;

/// Appends a version as its distance to a greater one, which is short if they are near in time.
pub(super) fn put_before(out: &mut Vec<u8>, version: Version, before: Version) {
    put_varint(out, version.number() - before.number());
}

pub(super) fn take_before(reader: &mut Reader, version: Version) -> Result<Version, WireError> {
    let number = version.number().checked_sub(reader.varint()?);
    number.map(Version::from_number).ok_or(WireError::Invalid("cell: versions in this order"))
}

impl<T: Total> Wire for Run<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.last.encode(out);
        put_before(out, self.last, self.start);
        self.total.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let last = Version::decode(reader)?;
        let start = take_before(reader, last)?;
        if start.actor() != last.actor() {
            return Err(WireError::Invalid("run: of two actors"));
        }
        Ok(Self { start, last, total: T::decode(reader)? })
    }
}

/// Runs in the order of their starts, if `before` is given of different actors, and all before it.
pub(super) fn take_runs<T: Total>(reader: &mut Reader, before: Option<Version>) -> Result<Vec<Run<T>>, WireError> {
    let runs = Vec::<Run<T>>::decode(reader)?;
    let in_order = runs.windows(2).all(|pair| pair[0].start < pair[1].start);
    let is_cut = before.is_none_or(|version| {
        let actors: BTreeSet<Actor> = runs.iter().map(|run| run.start.actor()).collect();
        actors.len() == runs.len() && runs.iter().all(|run| run.last < version)
    });
    if in_order && is_cut { Ok(runs) } else { Err(WireError::Invalid("runs in this order")) }
}

impl<V: Value> Wire for Delta<V> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Write { version, value, removed } => Self::put_write(out, *version, value.as_ref(), removed),
            Self::Add(run) => {
                out.push(ADD);
                run.encode(out);
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let kind = u8::decode(reader)?;
        if kind == ADD {
            return Run::decode(reader).map(Self::Add);
        }
        let version = Version::decode(reader)?;
        let value = match kind {
            WRITE => Some(V::decode(reader)?),
            CLEAR => None,
            _ => return Err(WireError::Invalid("cell: delta")),
        };
        let mut gone = SmallVec::new();
        for _ in 0..reader.varint()? {
            gone.push(take_before(reader, version)?);
        }
        Ok(Self::Write { version, value, removed: Removed { gone, cut: take_runs(reader, Some(version))? } })
    }
}
