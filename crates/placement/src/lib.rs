//! Placement: which nodes hold which keys, and how that changes while everything serves.
//!
//! A key has a hash, and the leading bits of the hash are its *slot*. The members of the cluster stand on a ring, each at as many places as it has virtual
//! nodes; a slot is held by the next [`Layout::replicas`] members that follow its place on the ring, in as many zones as can be (consistent hashing, as in
//! Dynamo, DeCandia et al., SOSP 2007, with its partitions of equal size). A [`Ring`] is the record in strong state that says who the members are; whoever has
//! the record computes from it, with nothing else, who holds what: a [`Placement`].
//!
//! # How a ring changes
//! 1. **Plan.** A [`Change`] gives a ring of the next epoch, which has two layouts: the one that serves, and the next one. [`Placement::moves`] says who
//!    gains what from whom. Nothing moves but what the change itself asks for: a member that joins is the only one that gains, what a member held that
//!    leaves is all that is gained.
//! 2. **Streaming.** The holders of both layouts take writes. Who gains slots streams them from those that hold them, and reports them ([`Ring::report`])
//!    once it has all that was in them. From then on it is one of their [`Placement::holders`], and may be asked.
//! 3. **Done.** When everything that is gained was reported, [`Ring::finish`] gives the ring of the next epoch, whose layout is the next one alone. Only
//!    then do those drop slots who lost them.
//!
//! A change in the middle aims at another layout; what was reported so far, and is still wanted, counts. A member that is lost is no holder from that
//! moment on; what it was to stream comes from others, what it was to gain goes to others.
//!
//! # What the shell does
//! - It keeps the record in strong state and writes it by compare-and-write, so that epochs follow each other. All functions here give a new record
//!   or an error; then nothing has changed, and the same call on the same record fails the same way.
//! - A node acts on the newest ring that it knows. Two nodes may know different ones, so what a node *has* is for itself to say: data streams by what peers
//!   tell each other that they hold, the ring says what they shall hold. A node that is asked for what it does not hold (any more) says so, with its
//!   epoch, and whoever asked looks for a newer ring.
//!
//! # Invariants
//! 1. Every slot has as many owners as the layout wants replicas, or all members; in different zones as far as there are zones.
//! 2. The placement is a function of the record alone.
//! 3. From a change to its end no slot loses an owner of the layout that serves, but for members that are lost; and what these owned nobody drops who has it.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

mod assignment;
mod layout;
pub mod limits;
mod moves;
mod placement;
mod ring;
mod slots;

pub use assignment::Assignment;
pub use layout::{Invalid, Layout, Member};
pub use moves::{Gain, Moves};
pub use placement::Placement;
pub use ring::{Change, Epoch, NotPossible, Ring, State};
pub use slots::{SLOTS, Slot, SlotSet, slot_of};
