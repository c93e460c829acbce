//! Who waits for what: for other replicas to hold a write, or for this one to have seen one.
//!
//! Invariants:
//! 1. Whoever waits is answered once: when what is waited for is there, or when the time is over, whichever is first.
//! 2. An acknowledgement costs as many steps as different numbers of replicas are waited for, and as answers it gives; not as many as wait.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use steadfast_crdt::{Version, VersionVector};
use steadfast_types::Instant;

/// Names one who waits; the shell's number. Nobody waits twice at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(pub u64);

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// So many other replicas have seen everything that was written here up to now.
    Held {
        /// How many.
        replicas: usize,
    },
    /// This replica has seen all of this.
    Seen(VersionVector),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who waited.
    pub id: WaitId,
    /// Whether what was waited for is there; else the time is over.
    pub is_met: bool,
    /// How many other replicas have seen everything that was written here up to the moment when the wait began. 0 for those who wait to see.
    pub replicas: usize,
}

#[derive(Debug)]
enum Wait {
    /// The version is `None` while nothing was ever written here.
    Held {
        replicas: usize,
        version: Option<Version>,
    },
    Seen(VersionVector),
}

#[derive(Debug, Default)]
pub(crate) struct Waits {
    all: BTreeMap<WaitId, (Wait, Option<Instant>)>,
    /// Those who wait for others, by how many and for which write.
    held: BTreeMap<usize, BTreeSet<(Option<Version>, WaitId)>>,
    seeing: BTreeSet<WaitId>,
    deadlines: BTreeSet<(Instant, WaitId)>,
}

impl Waits {
    /// Begins a wait. `last` is the last write here.
    pub(crate) fn begin(&mut self, id: WaitId, until: Until, last: Option<Version>, deadline: Option<Instant>) {
        self.forget(id);
        let wait = match until {
            Until::Held { replicas } => {
                self.held.entry(replicas).or_default().insert((last, id));
                Wait::Held { replicas, version: last }
            }
            Until::Seen(vector) => {
                self.seeing.insert(id);
                Wait::Seen(vector)
            }
        };
        self.deadlines.extend(deadline.map(|at| (at, id)));
        self.all.insert(id, (wait, deadline));
    }

    /// Ends a wait without an answer.
    pub(crate) fn forget(&mut self, id: WaitId) {
        self.take(id);
    }

    fn take(&mut self, id: WaitId) -> Option<Wait> {
        let (wait, deadline) = self.all.remove(&id)?;
        deadline.map(|at| self.deadlines.remove(&(at, id)));
        match &wait {
            Wait::Seen(_) => {
                self.seeing.remove(&id);
            }
            Wait::Held { replicas, version } => {
                if let Some(waiting) = self.held.get_mut(replicas) {
                    waiting.remove(&(*version, id));
                    if waiting.is_empty() {
                        self.held.remove(replicas);
                    }
                }
            }
        }
        Some(wait)
    }

    /// When the next one's time is over.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Answers those whose wait is over. `holders` says how many others have seen a write (`None`: how many there are at all), `has_seen` whether this
    /// replica has seen a vector.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        holders: impl Fn(Option<Version>) -> usize,
        has_seen: impl Fn(&VersionVector) -> bool,
        answers: &mut Vec<Answer>,
    ) {
        let mut met = Vec::new();
        for (replicas, waiting) in &self.held {
            met.extend(waiting.iter().take_while(|(version, _)| holders(*version) >= *replicas).map(|(_, id)| *id));
        }
        met.extend(self.seeing.iter().filter(|id| matches!(&self.all[id].0, Wait::Seen(vector) if has_seen(vector))));
        let over = self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id);
        let over = over.filter(|id| !met.contains(id)).collect::<Vec<_>>();
        for (id, is_met) in met.into_iter().map(|id| (id, true)).chain(over.into_iter().map(|id| (id, false))) {
            let replicas = match self.take(id) {
                Some(Wait::Held { version, .. }) => holders(version),
                Some(Wait::Seen(_)) => 0,
                None => continue,
            };
            answers.push(Answer { id, is_met, replicas });
        }
    }
}
