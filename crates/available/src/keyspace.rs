//! One replica's keys: what commands read and write, what it tells the others, and what it hears of them.
//!
//! Pure: the caller says what time it is ([`Keyspace::set_now`], once a turn) and carries the deltas. The order of a turn is: set the time, run commands,
//! take the delta ([`Keyspace::take_delta`]), which goes to the journal and to the other replicas. Their deltas are applied between turns.
//!
//! Every command that writes draws a [`Version`] from the hybrid logical clock, greater than all that were seen. A key past its deadline is hidden: it reads
//! as absent, and a write to it removes it first. One replica at a time deletes such keys ([`Keyspace::expire_some`]).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use steadfast_crdt::clock::HybridClock;
use steadfast_crdt::{Actor, Time, Version, VersionVector};

use crate::context::Context;
use crate::delta::Body;
use crate::entry::Entry;
use crate::exchange::Delta;
use crate::gone::Gone;
use crate::rows::Touched;
use crate::table::{Hash, Rounds, Table, hash_of};

mod containers;
mod expiry;
mod keys;
mod memory;
mod peers;
mod read;
mod rows;
mod states;
mod text;
mod walk;
mod write;

pub use peers::NotApplied;
pub use rows::Loading;
pub use text::Lifetime;

/// Why a command did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The key is of another kind.
    #[error("the key is of another kind")]
    WrongKind,
    /// What is there is no number of the kind that the command adds to.
    #[error("the value is not a number")]
    NotANumber,
    /// The sum would be beyond what there is room for, or no number.
    #[error("the sum is out of range")]
    OutOfRange,
    /// The clock has no more times.
    #[error("the clock has come to its end")]
    NoMoreTimes,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Keyspace {
    actor: Actor,
    clock: HybridClock,
    /// Milliseconds of Unix time.
    now: u64,
    table: Table,
    /// How many keys have a kind, hidden ones too.
    shown: usize,
    /// The keys that expire: by when, and the hash. Also keys without a kind of which only deadlines are left.
    expiring: BTreeSet<(u64, Hash)>,
    context: Context,
    /// The changes of the turn that is under way.
    body: Body,
    /// What was seen when the turn's first change was made.
    dependencies: VersionVector,
    /// Deltas that are to be taken.
    ready: Vec<Delta>,
    /// Where the collection of what is stable goes on.
    collected: Hash,
    gone: Gone,
    /// The rows that were written to, if that is to be noted.
    touched: Option<Touched>,
    /// What is met as keys go out of memory.
    rounds: Rounds,
}

impl Keyspace {
    /// No keys, of a replica that writes as `actor`: a new one whenever the replica starts.
    pub fn new(actor: Actor) -> Self {
        Keyspace {
            actor,
            clock: HybridClock::default(),
            now: 0,
            table: Table::default(),
            shown: 0,
            expiring: BTreeSet::new(),
            context: Context::default(),
            body: Body::default(),
            dependencies: VersionVector::default(),
            ready: Vec::new(),
            collected: 0,
            gone: Gone::default(),
            touched: None,
            rounds: Rounds::default(),
        }
    }

    /// As whom it writes.
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// Writes as somebody else from now on: after the journal of an earlier life was replayed.
    pub fn set_actor(&mut self, actor: Actor) {
        self.seal();
        self.actor = actor;
    }

    /// It is so late, in milliseconds of Unix time.
    pub fn set_now(&mut self, unix_ms: u64) {
        self.now = unix_ms;
        self.table.take_fetched();
    }

    /// How late it is, in milliseconds of Unix time.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// How many keys there are, those among them that are hidden and not yet deleted.
    pub fn len(&self) -> usize {
        self.shown
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shown == 0
    }

    /// The version of the next write.
    fn draw(&mut self) -> Result<Version, Refused> {
        if self.body.is_empty() {
            self.dependencies = self.context.everything();
        }
        let time = self.clock.tick(Time::at_unix_ms(self.now)).ok_or(Refused::NoMoreTimes)?;
        Ok(Version::new(time, self.actor))
    }

    /// The entry of a key that a reader sees. One that is not in memory is read.
    fn visible(&self, key: &[u8]) -> Option<&Entry> {
        self.table.get(hash_of(key), key).filter(|entry| entry.is_shown(self.now))
    }
}
