//! Where the rows of keys are that are not in memory.

use alloc::format;
use alloc::string::String;
use core::fmt::Debug;

use bytes::Bytes;
use steadfast_types::wire::WireError;

use crate::table::Hash;

/// The rows of the keyspace as they are durable: what a key is read from that is not in memory.
///
/// A key leaves memory when its rows are durable as they should be, and they do not change before it is back. So a reader never sees a key half
/// written, whatever else is written to the tables meanwhile.
pub trait ColdRows: Debug + Send + Sync {
    /// The value of a row, if there is one of this name.
    ///
    /// # Errors
    /// If the rows can't be read.
    fn row(&self, name: &[u8]) -> Result<Option<Bytes>, Unreadable>;

    /// Calls with the names and values of rows, in the order of names, from the first one that is not before `from` to the last one of a key with the hash
    /// `to`, or until the call says `false`.
    ///
    /// # Errors
    /// If the rows can't be read.
    fn rows(&self, from: &[u8], to: Hash, each: &mut dyn FnMut(&[u8], Bytes) -> bool) -> Result<(), Unreadable>;
}

/// Keys that are not in memory can't be read. What commands answered since then is not to be believed, and nothing of it to be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys that are not in memory can't be read: {0}")]
pub struct Unreadable(pub String);

impl From<WireError> for Unreadable {
    fn from(error: WireError) -> Self {
        Unreadable(format!("a row is none that this program knows ({error})"))
    }
}
