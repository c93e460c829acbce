//! A set of byte strings, observed-remove: a removal removes the additions it observed, and no other.
//!
//! Merge rule: a member is there as long as any dot of an addition is. Add wins: an addition that is concurrent with a removal has a dot that the removal
//! did not observe, and stays.

use alloc::vec::Vec;

use steadfast_types::wire::{Reader, Wire, WireError};

use crate::dots::Dots;
use crate::lattice::Lattice;
use crate::map::Map;
use crate::name::Name;
use crate::vector::Covers;
use crate::version::Version;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set(Map<Dots>);

/// What one command did to a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDelta {
    /// The command's version, which is the dot of every member that it added.
    pub version: Version,
    /// The members it wrote, in order.
    pub changes: Vec<SetChange>,
}

/// What a command did to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetChange {
    /// Which one.
    pub member: Name,
    /// The dots that it had observed.
    pub gone: Dots,
    /// Whether the member was added, not removed.
    pub added: bool,
}

steadfast_types::wire_struct!(SetDelta { version, changes });
steadfast_types::wire_struct!(SetChange { member, gone, added });

impl SetDelta {
    /// A command that does nothing, yet.
    pub fn new(version: Version) -> Self {
        Self { version, changes: Vec::new() }
    }
}

impl Set {
    /// How many members there are.
    #[expect(clippy::len_without_is_empty, reason = "`Lattice` has it, and it means the same")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has a member.
    pub fn contains(&self, member: &[u8]) -> bool {
        self.0.get(member).is_some()
    }

    /// The member at a position, of which there are [`Set::len`]: for a choice at random.
    pub fn at(&self, position: usize) -> Option<&[u8]> {
        self.0.at(position).map(|(member, _)| member)
    }

    /// The members in order of their positions.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.0.iter().map(|(member, _)| member)
    }

    /// The members with the dots that they are there by.
    pub fn dots(&self) -> impl Iterator<Item = (&[u8], &Dots)> {
        self.0.all()
    }

    /// The dots that a member is there by, if it is.
    pub fn dots_of(&self, member: &[u8]) -> Option<&Dots> {
        self.0.get(member)
    }

    /// The next `count` members of a scan, and the cursor to go on with. A scan begins and ends with cursor zero, and gives every member that is there
    /// throughout at least once.
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, impl Iterator<Item = &[u8]>) {
        let (next, members) = self.0.scan(cursor, count);
        (next, members.map(|(member, _)| member))
    }

    /// Adds a member, in the command whose delta this is. Of one that is there the dot becomes a new one, so that the addition wins over a removal that is
    /// concurrent. Returns whether it was not there.
    pub fn add(&mut self, delta: &mut SetDelta, member: &[u8]) -> bool {
        let gone = self.0.change(member, &mut (), |dots| dots.write(delta.version));
        let is_new = gone.is_empty();
        delta.changes.push(SetChange { member: Name::from(member), gone, added: true });
        is_new
    }

    /// Removes a member, in the command whose delta this is. Returns whether it was there; if it was not, nothing happens.
    pub fn remove(&mut self, delta: &mut SetDelta, member: &[u8]) -> bool {
        let gone = self.0.change(member, &mut (), Dots::remove);
        let was_there = !gone.is_empty();
        if was_there {
            delta.changes.push(SetChange { member: Name::from(member), gone, added: false });
        }
        was_there
    }

    /// Removes all members, in the command whose delta this is.
    pub fn clear(&mut self, delta: &mut SetDelta) {
        while let Some(member) = self.len().checked_sub(1).and_then(|last| self.0.at(last)).map(|(member, _)| Name::from(member)) {
            self.remove(delta, &member);
        }
    }

    /// Bytes held outside of itself, approximately.
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

impl Lattice for Set {
    type Delta = SetDelta;

    fn apply(&mut self, delta: &SetDelta) {
        for SetChange { member, gone, added } in &delta.changes {
            self.0.change(member, &mut (), |dots| dots.change(gone, added.then_some(delta.version)));
        }
    }

    fn join(&mut self, other: &Self, mine: &impl Covers, theirs: &impl Covers) {
        self.0.join(&other.0, mine, theirs);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn versions(&self, out: &mut Vec<Version>) {
        self.0.versions(out);
    }
}

impl Wire for Set {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Map::decode(reader).map(Self)
    }
}
