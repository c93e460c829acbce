//! The bounds of the interface, each with its reason. All of them fit into what etcd takes by default.

use steadfast_types::limits;

/// A key, bytes: some words that name a record.
pub const KEY_BYTES: usize = 1024;

/// A value, bytes: a record is a plan or a state, not a file; and a page of the largest ones fits into memory.
pub const VALUE_BYTES: usize = 256 * 1024;

/// Comparisons in a batch, and as many writes: etcd's default for a transaction.
pub const BATCH_OPERATIONS: usize = limits::TRANSACTION_OPERATIONS;

/// Keys and values of a batch together, bytes: with its framing it stays below the largest request ([`limits::REQUEST_BYTES`]).
pub const BATCH_BYTES: usize = 1024 * 1024;

/// Records on a page: with the largest values 32 MiB.
pub const PAGE_RECORDS: usize = 128;

/// What one revision changed of the watched keys, bytes of keys and values, as a watch tells it at once. No batch of this interface is so large
/// but one that deletes more keys than fit.
pub const CHANGES_BYTES: usize = 64 * 1024 * 1024;

/// How often [`crate::settle`] asks again after lost answers, and [`crate::Records::update`] after conflicts: more than ever happens to a store
/// that moves, few enough that a caller is told when it does not.
pub const ATTEMPTS: usize = 1000;
