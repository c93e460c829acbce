//! Until when a key is there: the longest of what was set concurrently, unless the string it was set over was replaced.
//!
//! A deadline is dotted like everything else: setting one removes those that were observed, so that concurrent ones stand side by side, and the longest
//! is shown. [`Until::Ever`] is one too, and longer than all others: so PERSIST beats every concurrent EXPIRE. A SET removes the deadlines it observed;
//! one that it did not observe names the string it was set `over`, and does not count for another.
//!
//! Nothing is forgotten but by a write that says so. An [`Until::Ever`] that everybody has seen says no more than nothing does, but a replica that had forgotten
//! it could not name it when it sets a deadline later; and where it was not forgotten yet, it would go on to beat that one.

use alloc::vec::Vec;

use steadfast_crdt::{Covers, Lattice, Version};
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::wire_struct;

/// Until when a key is there. The greater one is the longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// Up to this millisecond of Unix time, exclusive.
    At(u64),
    /// Until it is deleted.
    Ever,
}

impl Wire for Until {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Until::At(ms) => Some(*ms),
            Until::Ever => None,
        }
        .encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Option::decode(reader)?.map_or(Until::Ever, Until::At))
    }
}

/// One write of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its dot.
    version: Version,
    until: Until,
    /// The version of the string that was shown then, if one was.
    over: Option<Version>,
}

wire_struct!(Written { version, until, over });

/// The deadlines of a key: the writes that no other has observed, in the order of their versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deadline(Vec<Written>);

wire_struct!(Change { added, gone });

/// What a write did to a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    added: Option<Written>,
    gone: Vec<Version>,
}

impl Deadline {
    /// Until when the key is there, given the version of the string that it shows.
    pub(crate) fn shown(&self, text: Option<Version>) -> Until {
        let counting = self.0.iter().filter(|written| written.over == text);
        counting.map(|written| written.until).max().unwrap_or(Until::Ever)
    }

    /// Sets it, over everything that was observed.
    pub(crate) fn set(&mut self, version: Version, until: Until, over: Option<Version>) -> Change {
        let gone = self.0.iter().map(|written| written.version).collect();
        let change = Change { added: Some(Written { version, until, over }), gone };
        self.apply(&change);
        change
    }

    /// Removes everything that was observed.
    pub(crate) fn clear(&mut self) -> Change {
        Change { added: None, gone: self.0.drain(..).map(|written| written.version).collect() }
    }

    /// All writes of it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Written> {
        self.0.iter()
    }

    /// Bytes of its allocation.
    pub(crate) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Written>()
    }

    fn insert(&mut self, written: Written) {
        if let Err(index) = self.0.binary_search_by_key(&written.version, |held| held.version) {
            self.0.reserve_exact(1);
            self.0.insert(index, written);
        }
    }
}

impl Lattice for Deadline {
    type Delta = Change;

    fn apply(&mut self, change: &Change) {
        self.0.retain(|written| !change.gone.contains(&written.version));
        if let Some(written) = change.added {
            self.insert(written);
        }
    }

    fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers) {
        self.0.retain(|written| other.0.contains(written) || !theirs.covers(written.version));
        other.0.iter().filter(|written| !mine.covers(written.version)).for_each(|written| self.insert(*written));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn versions(&self, out: &mut Vec<Version>) {
        out.extend(self.0.iter().map(|written| written.version));
    }
}

impl Wire for Deadline {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let written = Vec::<Written>::decode(reader)?;
        if written.is_sorted_by(|one, next| one.version < next.version) {
            Ok(Deadline(written))
        } else {
            Err(WireError::Invalid("deadline"))
        }
    }
}
