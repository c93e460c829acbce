//! Registers: what was written last, or all that was written last.

use alloc::vec::Vec;
use core::fmt::Debug;

use steadfast_types::wire::Wire;

use crate::cell::{Cell, Delta, Plain};
use crate::counter::lattice_of_cell;
use crate::lattice::Lattice;
use crate::vector::Covers;
use crate::version::Version;

/// A register with one value.
///
/// Merge rule: a write replaces what its writer had seen; of concurrent writes the one of the greatest version is shown (last writer wins). A removal removes
/// what it has observed, so a write that is concurrent with it stays.
#[derive(Clone, Debug, PartialEq)]
pub struct LwwRegister<T: Wire + Clone + Debug + PartialEq>(Cell<Plain<T>>);

/// A register with all values of which none was written in knowledge of another.
///
/// Merge rule: a write replaces what its writer had seen; concurrent writes all stay, until one that has seen them.
#[derive(Clone, Debug, PartialEq)]
pub struct MvRegister<T: Wire + Clone + Debug + PartialEq>(Cell<Plain<T>>);

impl<T: Wire + Clone + Debug + PartialEq> LwwRegister<T> {
    /// Writes a value.
    pub fn set(&mut self, version: Version, value: T) -> Delta<Plain<T>> {
        self.0.set(version, Plain(value))
    }

    /// Removes the value. `None` if there is none.
    pub fn clear(&mut self, version: Version) -> Option<Delta<Plain<T>>> {
        self.0.clear(version)
    }

    /// The value.
    pub fn get(&self) -> Option<&T> {
        self.0.base().map(|(_, value)| &value.0)
    }
}

impl<T: Wire + Clone + Debug + PartialEq> MvRegister<T> {
    /// Writes a value in place of all.
    pub fn set(&mut self, version: Version, value: T) -> Delta<Plain<T>> {
        self.0.set(version, Plain(value))
    }

    /// Removes all values. `None` if there are none.
    pub fn clear(&mut self, version: Version) -> Option<Delta<Plain<T>>> {
        self.0.clear(version)
    }

    /// The values, in the order of their versions.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values().map(|(_, value)| &value.0)
    }
}

impl<T: Wire + Clone + Debug + PartialEq> Default for LwwRegister<T> {
    fn default() -> Self {
        Self(Cell::default())
    }
}

impl<T: Wire + Clone + Debug + PartialEq> Default for MvRegister<T> {
    fn default() -> Self {
        Self(Cell::default())
    }
}

lattice_of_cell!([T: Wire + Clone + Debug + PartialEq] LwwRegister<T>, Plain<T>);
lattice_of_cell!([T: Wire + Clone + Debug + PartialEq] MvRegister<T>, Plain<T>);
