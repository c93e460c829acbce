//! What is said of commands: flags, categories of access control, places of keys.

/// A set of named bits.
macro_rules! bits {
    ($(#[doc = $doc:literal])* $type:ident { $($(#[doc = $bit_doc:literal])* $name:ident = $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $type(u32);

        #[allow(non_camel_case_types, clippy::upper_case_acronyms, dead_code)]
        impl $type {
            /// None of them.
            pub const NONE: $type = $type(0);
            const NAMES: &'static [&'static str] = &[$($text),*];
            bits!(@ $type 0u32; $($(#[doc = $bit_doc])* $name)*);

            /// Those of either.
            pub const fn or(self, other: $type) -> $type {
                $type(self.0 | other.0)
            }

            /// Whether all of `other` are in it.
            pub const fn has(self, other: $type) -> bool {
                self.0 & other.0 == other.0
            }

            /// All of them.
            pub fn all() -> $type {
                $type(((1_u64 << Self::NAMES.len()) - 1) as u32)
            }

            /// The one of this name.
            pub fn named(name: &str) -> Option<$type> {
                Self::NAMES.iter().position(|&known| known == name).map(|at| $type(1 << at))
            }

            /// Their names.
            pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
                Self::NAMES.iter().enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, &name)| name)
            }
        }
    };
    (@ $type:ident $at:expr; $(#[doc = $doc:literal])* $name:ident $($rest:tt)*) => {
        $(#[doc = $doc])*
        pub const $name: $type = $type(1 << ($at));
        bits!(@ $type $at + 1; $($rest)*);
    };
    (@ $type:ident $at:expr;) => {};
}

bits! {
    /// What clients and the engine should know of a command.
    Flags {
        /// It may change data.
        WRITE = "write",
        /// It reads data and changes none.
        READONLY = "readonly",
        /// It may need memory.
        DENYOOM = "denyoom",
        /// It is for operators.
        ADMIN = "admin",
        /// Scripts cannot call it.
        NOSCRIPT = "noscript",
        /// It runs while data is read from disk.
        LOADING = "loading",
        /// It runs while data is out of date.
        STALE = "stale",
        /// It is in no slow log.
        SKIP_SLOWLOG = "skip_slowlog",
        /// Its cost does not grow with data, or as a logarithm.
        FAST = "fast",
        /// It runs before the connection has authenticated.
        NO_AUTH = "no_auth",
        /// Its keys are found by its arguments alone.
        MOVABLEKEYS = "movablekeys",
        /// It runs while a script runs too long.
        ALLOW_BUSY = "allow_busy",
    }
}

bits! {
    /// Categories of access control.
    Categories {
        /// Keys of any type.
        KEYSPACE = "keyspace",
        /// Reads data.
        READ = "read",
        /// Changes data.
        WRITE = "write",
        /// Sets.
        SET = "set",
        /// Sorted sets.
        SORTEDSET = "sortedset",
        /// Lists.
        LIST = "list",
        /// Hashes.
        HASH = "hash",
        /// Strings.
        STRING = "string",
        /// Bits of strings.
        BITMAP = "bitmap",
        /// Sketches.
        HYPERLOGLOG = "hyperloglog",
        /// Geographical indexes, which there are not.
        GEO = "geo",
        /// Streams, which there are not.
        STREAM = "stream",
        /// Channels, which there are not.
        PUBSUB = "pubsub",
        /// For operators.
        ADMIN = "admin",
        /// Cheap.
        FAST = "fast",
        /// Not cheap.
        SLOW = "slow",
        /// Commands that wait for others' writes, which there are not.
        BLOCKING = "blocking",
        /// Can do harm.
        DANGEROUS = "dangerous",
        /// The connection.
        CONNECTION = "connection",
        /// Transactions.
        TRANSACTION = "transaction",
        /// Scripts, which there are not.
        SCRIPTING = "scripting",
    }
}

bits! {
    /// What a command does to a key.
    Use {
        /// Reads and changes it.
        RW = "RW",
        /// Reads it.
        RO = "RO",
        /// Overwrites it.
        OW = "OW",
        /// Removes it.
        RM = "RM",
        /// Answers its data.
        ACCESS = "access",
        /// Changes its data.
        UPDATE = "update",
        /// Adds data to it.
        INSERT = "insert",
        /// Deletes data of it.
        DELETE = "delete",
        /// All this depends on the arguments.
        VARIABLE_FLAGS = "variable_flags",
    }
}

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Keys of any type.
    Generic,
    /// Strings.
    String,
    /// Lists.
    List,
    /// Sets.
    Set,
    /// Sorted sets.
    SortedSet,
    /// Hashes.
    Hash,
    /// Connections.
    Connection,
    /// The server.
    Server,
    /// Transactions.
    Transactions,
    /// Sketches.
    HyperLogLog,
    /// Bits of strings.
    Bitmap,
    /// Levels, tokens and acknowledgements, which Redis has not.
    Consistency,
}

impl Group {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Transactions => "transactions",
            Group::HyperLogLog => "hyperloglog",
            Group::Bitmap => "bitmap",
            Group::Consistency => "consistency",
        }
    }
}

/// Where keys are among a command's arguments.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// The first place.
    pub first: u8,
    /// Where the others are.
    pub search: Search,
    /// What is done to them.
    pub uses: Use,
}

/// Which arguments are keys, from the first place on.
#[derive(Clone, Copy, Debug)]
pub enum Search {
    /// Each `step`th up to the `last`, which is counted from the first place, or from the end if it is negative.
    Range {
        /// The last one.
        last: i8,
        /// One key in so many arguments.
        step: u8,
    },
    /// The first place holds how many follow it.
    Counted,
}

pub(super) const fn range(first: u8, last: i8, step: u8, uses: Use) -> KeySpec {
    KeySpec { first, search: Search::Range { last, step }, uses }
}

pub(super) const fn counted(first: u8, uses: Use) -> KeySpec {
    KeySpec { first, search: Search::Counted, uses }
}
