//! Files in the format of [bbolt](https://github.com/etcd-io/bbolt), version 2: the storage of etcd, and so the form of its snapshots.
//!
//! A [`Writer`] takes buckets with their keys in ascending order and writes a whole file in one go; a [`Reader`] goes through the buckets of a
//! file in order. Both hold a few pages in memory, however large the file is.
//!
//! The reader believes nothing: every number in the file is checked before it is used, and a file made to harm gives an [`Error`], never a
//! panic, an endless loop, or more memory than [`PAGE_BYTES_LIMIT`] for each level of a tree (of which there are at most [`DEPTH_LIMIT`]). The
//! format has a checksum for its first pages only; that the rest is what was written is for the caller to know (etcd's snapshots end with a
//! SHA-256).
//!
//! Left out: changing a file; buckets within buckets, which etcd does not use.

mod format;
mod page;
mod reader;
mod writer;

pub use reader::{Cursor, DEPTH_LIMIT, Error, PAGE_BYTES_LIMIT, ReadAt, Reader};
pub use writer::{WriteError, Writer};

/// The page size of files that [`Writer`] makes, bytes.
pub const PAGE_BYTES: usize = 4096;

/// The longest key, bytes: bbolt's limit.
pub const KEY_BYTES: usize = 32768;
