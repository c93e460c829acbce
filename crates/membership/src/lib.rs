//! Who is in the cluster, and who of them still answers: gossip and failure detection as a pure state machine.
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
mod output;
mod probe;
mod suspicion;
mod sync;
mod table;
mod timers;

pub use config::{AntiEntropy, Config, Judgement};
pub use member::{Incarnation, Profile, Record, Role, State};
pub use membership::{Membership, OwnHealth};
pub use message::{Packet, PacketError};
pub use output::{Event, Outputs};
pub use table::{MemberView, Table};
