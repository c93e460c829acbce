//! Ids and counters as newtypes, so that no number is mistaken for another.

use core::fmt;

use crate::wire::{Reader, Wire, WireError};

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl Wire for $name {
            fn encode(&self, out: &mut alloc::vec::Vec<u8>) {
                self.0.encode(out);
            }
            fn decode(reader: &mut Reader) -> Result<Self, WireError> {
                <$inner>::decode(reader).map($name)
            }
        }
    };
}

newtype!(
    /// A member of a cluster. Chosen at random when a data directory is made, so that an emptied directory is a new identity.
    NodeId(u64), "{:x}"
);
newtype!(
    /// A cluster; two clusters never talk to each other.
    ClusterId(u64), "{:x}"
);
newtype!(
    /// A Raft term. Term 0 is before the first election.
    Term(u64), "{}"
);
newtype!(
    /// The position of an entry in the replicated log. The first entry has index 1; index 0 is the empty log.
    LogIndex(u64), "{}"
);
newtype!(
    /// A revision of the key space, as etcd counts them: the empty store is at revision 1, each writing transaction adds one.
    Revision(i64), "{}"
);
newtype!(
    /// A lease, as etcd numbers them: positive, chosen by the client or the server.
    LeaseId(i64), "{:x}"
);

impl LogIndex {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Self {
        LogIndex(self.0 + 1)
    }

    /// The index before this one; 0 stays 0.
    #[must_use]
    pub fn previous(self) -> Self {
        LogIndex(self.0.saturating_sub(1))
    }
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Term(self.0 + 1)
    }
}

/// An entry's index with its term: together they name one entry and, by log matching (Raft paper, section 5.3), everything before it.
///
/// The order is the one elections compare logs by: term first, then index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The entry's term.
    pub term: Term,
    /// The entry's index.
    pub index: LogIndex,
}

impl LogPosition {
    /// The position of entry `index` of `term`.
    pub fn new(term: Term, index: LogIndex) -> Self {
        LogPosition { term, index }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

crate::wire_struct!(LogPosition { term, index });
