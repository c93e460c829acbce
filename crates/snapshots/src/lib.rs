//! Strong state in the form of etcd 3.5's backend: snapshots that etcd can be restored from, snapshots of etcd that a cluster can begin with, and
//! the hashes that etcd takes of its backend.
//!
//! [`export()`] writes a state that is held still as a bbolt file; [`import()`] reads such a file, etcd's or ours, into empty tables. Both, and
//! [`hash_kv`], go through the writes in one order, that of etcd's bucket `key`: by revision. Memory is bounded however large the state is; what
//! must be sorted is sorted in temporary files.
//!
//! A snapshot that was *saved* ends with a SHA-256 of all before it, see [`seal`].

mod export;
mod hash;
mod import;
mod order;
mod schema;
pub mod seal;
mod users;

pub use export::{Cluster, ExportError, export};
pub use hash::{HashKvError, hash_kv};
pub use import::{Hashed, ImportError, ImportOptions, Imported, Summary, import, summarize};
pub use order::SORT_BYTES;
