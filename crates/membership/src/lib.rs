//! Who is in the cluster, and who of them still answers: gossip and failure detection as a pure state machine.
//!
//! # Contract
//!
//! The shell owns a [`Membership`], hands it what comes, and after each input takes what came out with [`Membership::take_outputs`]. Nothing in here reads a
//! clock, a socket or a global generator.
//!
//! Inputs: [`Membership::tick`], [`Membership::receive_datagram`], [`Membership::receive_stream`], [`Membership::join`], [`Membership::leave`],
//! [`Membership::set_metadata`]. Each takes the time, and does first what was due until then. [`Membership::next_deadline`] says when the next `tick` is
//! wanted: a shell that comes much later was paused, and the core notices.
//!
//! [`Outputs`], in any order:
//! 1. `datagrams`: send each to its address, at most 1,400 bytes. Lost, doubled, late and damaged ones are in the model.
//! 2. `streams`: open a connection, send the one message, take one message in answer, close. A message that comes in by stream is handed to
//!    [`Membership::receive_stream`] with an address that means this very connection, and what goes to that address is its answer.
//! 3. `events`: what happened. What holds now is in [`Membership::table`] and [`Membership::state`].
//!
//! What the shell owes: a first incarnation above all of its earlier lives ([`Incarnation::of_life`], counted durably); the same [`Config`]
//! everywhere; seals around packets where the cluster has keys. A packet of another cluster or another format is refused with an error, and changes nothing.
//!
//! # How a member is found dead
//!
//! 1. Each interval everybody pings one other, in rounds (`probe`). Who does not answer is pinged by three relays, and by stream.
//! 2. If a relay says that it got no answer either, an inquiry begins (`inquiry`): in rounds, other members at random are asked to ping. Only when at
//!    least three distinct members found it silent, and nobody reached it in the last rounds, is it declared failed. The verdict names its
//!    witnesses, and gossip takes it to all (`telling`, `gossip`).
//! 3. A member that hears that it was declared failed says that it lives, in a new incarnation, once it is heard again (`join`); each time again it waits longer.
//! 4. What gossip did not bring, digests find (`sync`).
//! 5. To remove it from the cluster is another decision ([`removal`]).
//!
//! [`Config::plain_swim`] and [`Config::lifeguard`] turn the same core into what memberlist does (`suspicion`): the scorecard compares them.
//!
//! Left out: members that lie; a member that lies about its witnesses can condemn whom it likes.

#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod config;
pub mod limits;
pub mod member;
pub mod message;
pub mod removal;

mod gossip;
mod health;
mod inquiry;
mod join;
mod membership;
mod news;
mod output;
mod probe;
mod suspicion;
mod sync;
mod table;
mod telling;
mod timers;

pub use config::{AntiEntropy, Config, Judgement};
pub use member::{Incarnation, Profile, Record, Role, State};
pub use membership::{Membership, OwnHealth};
pub use message::{Packet, PacketError};
pub use output::{Event, Outputs};
pub use table::{MemberView, Table};
