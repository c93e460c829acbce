//! Strong keys: one node's part of all registers ([`steadfast_register`]) as a pure state machine.
//!
//! A node holds registers if the [`Assignment`] says so, and asks for what its clients want in any case. The process around it and the simulator run the
//! same [`Registers`]: requests, messages and time come in by its calls, and what is to be done comes out of [`Registers::outputs`].
//!
//! # What the shell does
//! 1. At the start: [`Registers::load`] for each row and [`Registers::replay`] for each record of the journal, in any order that gives what is newer later.
//! 2. [`Registers::set_now`] before anything else in a turn; [`Registers::tick`] when [`Registers::next_deadline`] is there.
//! 3. It takes the outputs after each turn. Records go into the journal, in order; when they are *durable*, it says [`Registers::durable`] with their number,
//!    at once or for several turns together. Messages and answers of the same outputs may go at once: those that rest on records are
//!    withheld here until these are durable.
//! 4. It says what strong state says of the replicas ([`Registers::set_assignment`]), and writes into strong state that an epoch is over
//!    ([`Outputs::carried`], [`Assignment::moved`]).
//!
//! # Contract
//! - **The actor** is this node's alone, in all its lives; a node whose records were lost takes one that nobody ever was. Within its records the node gives
//!   no ballot twice: it sets versions aside before it gives them, and a later life begins after those.
//! - **Each request ends** with one [`Answer`], unless it is forgotten: done, certainly nothing, or unknown. Other replicas and other epochs are none of
//!   the client's business: a request goes on with those that there are.
//! - **An assignment is not told to a node before it is decided**, and those it is told grow. Epochs may be passed over.
//! - Messages may get lost, be repeated and overtake each other.

mod assignment;
mod carriage;
mod ledger;
pub mod limits;
mod machine;
mod message;
mod requests;
mod rows;
mod sweep;

pub use assignment::Assignment;
pub use machine::{Counts, Outputs, Registers};
pub use message::{Message, Record};
pub use requests::{Answer, Functions, Outcome, Reason, RequestId};
pub use rows::Row;
pub use steadfast_register::proposer::Change;
