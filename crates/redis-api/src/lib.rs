//! The Redis protocol: frames, commands, answers and errors as Redis 7.0.15 gives them, over available state.
//!
//! [`protocol`] takes requests off a connection's bytes and writes answers; [`commands`] has the table of commands and one file for each
//! family; [`engine`] runs them for a connection; [`acl`] says who may run which. Time, chance, settings and connections are handed in by [`engine::host::Host`], keys by
//! [`engine::store::Store`].
#![warn(missing_docs)]

extern crate alloc;

pub mod acl;
pub mod commands;
pub mod engine;
pub mod protocol;
