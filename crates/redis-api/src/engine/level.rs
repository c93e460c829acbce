//! What a request may rely on, and what its writer waits for.

/// What a request may rely on.
///
/// A replica applies writes in the order of their causes, and a connection stays with one replica; so the levels below [`Level::Strong`] differ only
/// for clients that come from another replica with a token, and while a replica catches up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// What this replica has, at once.
    #[default]
    Eventual,
    /// Nothing older than what the connection's token says: its own writes, and what it was shown.
    Session,
    /// The same, and no effect without its cause, even while the replica catches up after it was away.
    Causal,
    /// One order of all reads and writes of a key, which is a register: only of keys that are registers.
    Strong,
}

impl Level {
    const ALL: [Level; 4] = [Level::Eventual, Level::Session, Level::Causal, Level::Strong];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Eventual => "eventual",
            Level::Session => "session",
            Level::Causal => "causal",
            Level::Strong => "strong",
        }
    }

    /// The level of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        Level::ALL.into_iter().find(|level| name.eq_ignore_ascii_case(level.name().as_bytes()))
    }
}

/// What the answer to a write waits for, besides this replica's own journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replication {
    /// Nothing: the others get it soon.
    #[default]
    Async,
    /// So many other replicas hold it.
    SemiSync(u64),
    /// All other replicas that live hold it.
    Sync,
}

impl Replication {
    /// How it is asked for.
    pub fn name(self) -> String {
        match self {
            Replication::Async => "async".to_owned(),
            Replication::SemiSync(replicas) => format!("semi-sync {replicas}"),
            Replication::Sync => "sync".to_owned(),
        }
    }
}

/// What a connection chose, with how long it waits for it, in milliseconds; 0 is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<T> {
    /// What.
    pub what: T,
    /// How long.
    pub timeout_ms: u64,
}

impl<T: Default> Default for Chosen<T> {
    fn default() -> Self {
        /// Long against a replica's delay, short against a person's patience.
        const USUAL_MS: u64 = 5_000;
        Chosen { what: T::default(), timeout_ms: USUAL_MS }
    }
}
