//! Available state: keys that every replica takes writes for on its own, and what replicas say to each other so that they agree.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod exchange;

pub use exchange::Exchange;
