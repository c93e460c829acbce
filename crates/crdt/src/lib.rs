//! Conflict-free replicated data types: replicas take writes on their own, and agree once they have heard of the same.
//!
//! Every write has a [`Version`], which is at once its dot (who wrote, and when in its order of writes) and what last writer wins goes by. A type keeps
//! with each element the dots of the writes that made it; whether a dot that is missing was never seen or was removed says the causal context
//! ([`Covers`]) of the replica, one for all that it holds. So nothing keeps tombstones for elements (Bigset, arXiv 1605.06424; delta-state
//! replicated data types, arXiv 1603.01529).
#![no_std]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod cell;
pub mod clock;
pub mod dots;
mod elements;
pub mod lattice;
pub mod list;
pub mod long_double;
pub mod map;
pub mod name;
pub mod number;
mod place;
mod ranked;
pub mod real;
pub mod set;
pub mod sketch;
pub mod sorted;
pub mod total;
pub mod vector;
pub mod version;

pub use cell::{Cell, Score, Shown, Text};
pub use dots::Dots;
pub use lattice::Lattice;
pub use list::List;
pub use long_double::LongDouble;
pub use map::{Element, Map, MapDelta};
pub use name::Name;
pub use number::Number;
pub use set::{Set, SetDelta};
pub use sketch::Sketch;
pub use sorted::{Scored, Sorted};
pub use vector::{Covers, VersionVector};
pub use version::{Actor, Time, Version};
