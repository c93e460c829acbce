//! Keys at revisions: reading them, writing them, transactions over them, and the checks of requests that need no state.
//!
//! The semantics are etcd 3.5's, kept also where they surprise:
//! - a sort by another target than the key without an order sorts only what the limit let through;
//! - a transaction may write one key twice, by a put in one inner transaction and a delete in a later one, or next to a delete of all keys
//!   from some key on: both are one revision's events, in order;
//! - a range in a transaction is refused at a negative revision once something was compacted, while one outside reads the newest.

pub mod check;
pub(crate) mod order;
pub mod pieces;
pub(crate) mod txn;
pub(crate) mod view;
pub(crate) mod write;
