//! Counters that every replica takes further on its own.

use alloc::vec::Vec;

use crate::cell::{Cell, Delta, NoValue};
use crate::lattice::Lattice;
use crate::number::Number;
use crate::vector::Covers;
use crate::version::Version;

/// What is in a counter besides what was added: nothing.
pub type Counted = NoValue<Number>;

/// A counter that only grows.
///
/// Merge rule: of each actor the total of its latest addition that was heard of; the value is the sum over the actors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GCounter(Cell<Counted>);

impl GCounter {
    /// Adds.
    pub fn add(&mut self, version: Version, by: u64) -> Delta<Counted> {
        self.0.add(version, &Number::Int(by.into()))
    }

    /// How much was added.
    pub fn value(&self) -> u128 {
        sum(&self.0).max(0).unsigned_abs()
    }
}

/// A counter that grows and shrinks, and that can be reset.
///
/// Merge rule: the sum of all additions, those below zero too, that no reset has observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PnCounter(Cell<Counted>);

impl PnCounter {
    /// Adds.
    pub fn add(&mut self, version: Version, by: i64) -> Delta<Counted> {
        self.0.add(version, &by.into())
    }

    /// Takes out all that was added here until now. `None` if there is nothing.
    pub fn reset(&mut self, version: Version) -> Option<Delta<Counted>> {
        self.0.clear(version)
    }

    /// The sum.
    pub fn value(&self) -> i128 {
        sum(&self.0)
    }

    /// Forgets what nobody needs any more; see [`Cell::collect`].
    pub fn collect(&mut self, stable: &impl Covers) {
        self.0.collect(stable);
    }
}

fn sum(cell: &Cell<Counted>) -> i128 {
    match cell.additions() {
        Some(Number::Int(sum)) => sum,
        // Nobody adds real numbers here.
        Some(Number::Float(_)) | None => 0,
    }
}

/// A type that is a cell, with fewer ways to write.
macro_rules! lattice_of_cell {
    ([$($generics:tt)*] $name:ty, $value:ty) => {
        impl<$($generics)*> Lattice for $name {
            type Delta = Delta<$value>;

            fn apply(&mut self, delta: &Self::Delta) {
                self.0.apply(delta);
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

        impl<$($generics)*> steadfast_types::wire::Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }

            fn decode(reader: &mut steadfast_types::wire::Reader) -> Result<Self, steadfast_types::wire::WireError> {
                Cell::decode(reader).map(Self)
            }
        }
    };
}

pub(crate) use lattice_of_cell;

lattice_of_cell!([] GCounter, Counted);
lattice_of_cell!([] PnCounter, Counted);
