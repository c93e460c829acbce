//! One replica of available state as a pure state machine: its keys, what it says to the others, and who waits for what.
//!
//! The process around it and the simulator run the same one. Commands run on [`Replica::keys`]; what they changed since the last turn's end is one delta.
//! Messages, time and connections come in by the other calls. What is to be done comes out of [`Replica::outputs`]: records for the
//! journal, then events, then messages, then answers for those who wait.
//!
//! # What the shell does
//! 1. [`Replica::set_now`] before anything else in a turn.
//! 2. After any number of commands, and before it waits for anything: [`Replica::end_turn`]. Every other call that is not a look ends the turn by itself.
//! 3. It takes the outputs in their order. Records are written (not necessarily synced) before messages go out and before answers to clients:
//!    so a process that is killed, on a machine that goes on, loses nothing that others have seen or clients were told.
//! 4. After a crash of the *machine* the replica comes back as another actor (see [`steadfast_available::exchange`], "Identity").
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

mod identity;
pub mod registers;
mod replica;
pub mod strong_keys;
mod waits;

pub use identity::Identity;
pub use replica::{Outputs, Replica};
pub use waits::{Answer, Until, WaitId};
