//! The commands, one file for each family, and the table that names them all.

pub mod table;
pub mod unsupported;

mod bits;
mod client;
mod combine;
mod config;
mod connection;
mod expiry;
mod hashes;
mod help;
mod info;
pub(crate) mod introspection;
mod keys;
mod lcs;
mod lists;
mod object;
mod pick;
mod scan;
mod server;
mod sets;
mod sketches;
mod sorted;
mod sorted_add;
mod sorted_combine;
mod sorted_pop;
mod sorted_range;
mod strings;
pub(crate) mod transactions;
