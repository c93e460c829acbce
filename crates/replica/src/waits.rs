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
    /// So many other replicas have seen what was written here up to this write.
    Held {
        /// The write; `None`: nothing was written, so all that are there have seen it.
        write: Option<Version>,
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
    /// How many other replicas have seen the write. 0 for those who wait to see.
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
    /// Begins a wait.
    pub(crate) fn begin(&mut self, id: WaitId, until: Until, deadline: Option<Instant>) {
        self.forget(id);
        let wait = match until {
            Until::Held { write, replicas } => {
                self.held.entry(replicas).or_default().insert((write, id));
                Wait::Held { replicas, version: write }
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
        for id in met {
            answers.extend(self.end(id, true, &holders));
        }
        while let Some((_, id)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            answers.extend(self.end(*id, false, &holders));
        }
    }

    fn end(&mut self, id: WaitId, is_met: bool, holders: impl Fn(Option<Version>) -> usize) -> Option<Answer> {
        let replicas = match self.take(id)? {
            Wait::Held { version, .. } => holders(version),
            Wait::Seen(_) => 0,
        };
        Some(Answer { id, is_met, replicas })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use steadfast_crdt::{Actor, Time};

    use super::*;

    fn actor() -> Actor {
        Actor::new(1).expect("a place")
    }

    fn version(time: u64) -> Version {
        Version::new(Time::at_unix_ms(Time::EPOCH_MS + time), actor())
    }

    /// All that has been seen of one writer up to this write.
    fn seen(time: u64) -> VersionVector {
        let mut vector = VersionVector::default();
        vector.saw(version(time));
        vector
    }

    #[derive(Clone, Debug)]
    enum Step {
        Hold {
            id: u64,
            write: Option<u64>,
            replicas: usize,
            deadline: Option<u64>,
        },
        See {
            id: u64,
            time: u64,
            deadline: Option<u64>,
        },
        Forget(u64),
        /// Another replica tells how much it has seen.
        Told {
            replica: usize,
            time: u64,
        },
        Seen(u64),
        Passes(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (id, time, deadline) = (0..6_u64, 1..10_u64, proptest::option::of(0..40_u64));
        prop_oneof![
            4 => (id.clone(), proptest::option::of(time.clone()), 0..4_usize, deadline.clone())
                .prop_map(|(id, write, replicas, deadline)| Step::Hold { id, write, replicas, deadline }),
            2 => (id.clone(), time.clone(), deadline).prop_map(|(id, time, deadline)| Step::See { id, time, deadline }),
            1 => id.prop_map(Step::Forget),
            4 => (0..3_usize, time.clone()).prop_map(|(replica, time)| Step::Told { replica, time }),
            2 => time.prop_map(Step::Seen),
            2 => (1..5_u64).prop_map(Step::Passes),
        ]
    }

    proptest! {
        /// Beside a list of those who wait, each of which is asked each time.
        #[test]
        fn whoever_waits_is_answered_once_and_as_soon_as_it_may_be(steps in proptest::collection::vec(step(), 1..60)) {
            let mut waits = Waits::default();
            let mut waiting = BTreeMap::<u64, (Until, Option<u64>)>::new();
            let (mut told, mut here, mut now) = ([0_u64; 3], 0, 0);
            for step in steps {
                let begun = match step {
                    Step::Hold { id, write, replicas, deadline } => Some((id, Until::Held { write: write.map(version), replicas }, deadline)),
                    Step::See { id, time, deadline } => Some((id, Until::Seen(seen(time)), deadline)),
                    Step::Forget(id) => {
                        waits.forget(WaitId(id));
                        waiting.remove(&id);
                        None
                    }
                    Step::Told { replica, time } => {
                        told[replica] = told[replica].max(time);
                        None
                    }
                    Step::Seen(time) => {
                        here = here.max(time);
                        None
                    }
                    Step::Passes(time) => {
                        now += time;
                        None
                    }
                };
                if let Some((id, until, deadline)) = begun {
                    waits.begin(WaitId(id), until.clone(), deadline.map(Instant));
                    waiting.insert(id, (until, deadline));
                }
                let holders = |write: Option<Version>| {
                    told.iter().filter(|time| **time > 0 && write.is_none_or(|write| write <= version(**time))).count()
                };
                let has_seen = |vector: &VersionVector| seen(here).includes(vector);
                let mut expected = BTreeSet::new();
                waiting.retain(|id, (until, deadline)| {
                    let (is_met, replicas) = match until {
                        Until::Held { write, replicas } => (holders(*write) >= *replicas, holders(*write)),
                        Until::Seen(vector) => (has_seen(vector), 0),
                    };
                    let is_over = is_met || deadline.is_some_and(|at| at <= now);
                    if is_over {
                        expected.insert((*id, is_met, replicas));
                    }
                    !is_over
                });
                let mut answers = Vec::new();
                waits.settle(Instant(now), holders, has_seen, &mut answers);
                prop_assert_eq!(answers.len(), expected.len());
                prop_assert_eq!(answers.iter().map(|answer| (answer.id.0, answer.is_met, answer.replicas)).collect::<BTreeSet<_>>(), expected);
                prop_assert_eq!(waits.next_deadline(), waiting.values().filter_map(|(_, at)| *at).min().map(Instant));
                prop_assert_eq!(waits.is_empty(), waiting.is_empty());
            }
        }
    }
}
