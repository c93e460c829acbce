//! Available state: keys that every replica takes writes for on its own, and what replicas say to each other so that they agree.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

mod context;
mod deadline;
mod digest;
mod entry;
mod plain;
mod table;
