//! Registers that agree: each key by a Paxos of its own, without a log and without a leader (CASPaxos, Rystsov, arXiv 1802.07000).
//!
//! A register's value changes by functions: whoever asks hands in "what to make of the value that is there", and the function is applied to the value
//! that the others agree on. An [`acceptor::Acceptor`] is what a replica holds of its registers, a [`proposer::Proposer`] carries requests through, a
//! [`removal::Removal`] makes the room of deleted registers free again. All are pure: messages in, messages and records out, time and randomness handed in.
//!
//! **Not sound yet, and used by nothing:** in one of some ten thousand random worlds (`tests/registers.rs`) clients get answers that no order explains.
//!
//! # Contract
//! - **Durable before sent**: what [`acceptor::Acceptor::receive`] hands out as a record must be durable before its answer goes out, and records are durable
//!   in the order given. After a crash the acceptor is made anew of all records that are durable ([`acceptor::Acceptor::restore`]).
//! - **Ballots are versions** of the hybrid logical clock, greater than all that the proposer has heard of. A proposer that starts anew has an actor that
//!   never was one before, or a clock that is later than any ballot it ever gave.
//! - **One change once**: a request's function may be applied several times, to different values, but at most one of these takes effect, and the answer
//!   given is that of the one that did. What a request that was given up came to is not known; at how many replicas it was, is.
//! - **Epochs**: who the replicas of a key are is decided elsewhere (strong state), epoch by epoch. Of two consecutive epochs either one set's majorities are quorums of
//!   both, or the transition has quorums of both ([`quorum::Replicas::next`]). An epoch begins after a majority of each set of the one before the
//!   last refuse that one.
//!
//! Numbered invariants, asserted where they could break:
//! 1. An acceptor accepts nothing below what it promised, and its promise never goes back.
//! 2. A proposer sends one value for a ballot.
//! 3. A value is chosen once a quorum accepted it at one ballot; every value that is accepted at a greater ballot was made of it.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod acceptor;
pub mod limits;
pub mod message;
pub mod proposer;
pub mod quorum;
pub mod removal;
