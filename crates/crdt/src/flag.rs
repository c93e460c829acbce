//! A flag that is on or off.

use alloc::vec::Vec;

use crate::cell::{Cell, Delta, Plain};
use crate::counter::lattice_of_cell;
use crate::lattice::Lattice;
use crate::vector::Covers;
use crate::version::Version;

/// A flag that is on or off, and off at first.
///
/// Merge rule: enable wins. Disabling takes back what it has observed, so one enabling that is concurrent with it is enough for the flag to be on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flag(Cell<Plain<bool>>);

impl Flag {
    /// Turns it on. Of a flag that is on too: so that whoever disables it at this moment does not win.
    pub fn enable(&mut self, version: Version) -> Delta<Plain<bool>> {
        self.0.set(version, Plain(true))
    }

    /// Turns it off. `None` if it is.
    pub fn disable(&mut self, version: Version) -> Option<Delta<Plain<bool>>> {
        self.0.clear(version)
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.0.is_shown()
    }
}

lattice_of_cell!([] Flag, Plain<bool>);
