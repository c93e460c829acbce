//! Carries requests through: one contest a key at a time, with all requests that wait for the key together.
//!
//! A read asks a quorum what it holds: if all say the same ballot, that value is chosen, in one round trip. Everything else takes two: prepare, apply the functions
//! to the value with the greatest ballot among the promises, accept. A value that somebody else did not finish is finished so.
//!
//! A try that conflicts may still take effect, if a later proposer finds it at an acceptor and goes on from it. Each value says of each
//! proposer at which ballot its last change was made, so the next try sees whether an earlier one did, and then takes its answers instead of applying its functions again. Only if
//! the register was removed in between ([`crate::removal`]) is that forgotten; then the request's outcome is not known.

mod contest;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;
use steadfast_crdt::clock::HybridClock;
use steadfast_crdt::{Actor, Time};
use steadfast_types::{Instant, NodeId, Rng};

use crate::limits::WAITING_FOR_A_KEY;
use crate::message::{Answered, Asked, Ballot, Epoch};
use crate::quorum::Replicas;
use contest::Contest;

/// A request's number, given by the caller: unique for this proposer.
pub type RequestNumber = u64;

/// What a function makes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: it only reads, or its condition does not hold.
    Keep,
    /// This value; `None` deletes it.
    Write(Option<Bytes>),
}

/// The functions of the requests that a proposer carries through.
pub trait Functions {
    /// What a request's client gets to know.
    type Answer: Clone;

    /// Applies a request's function to a value. It may be called again, with another value: only the answer that comes with [`Output::Done`] counts.
    fn apply(&mut self, request: RequestNumber, value: Option<&Bytes>) -> (Change, Self::Answer);
}

/// Something for the shell to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<A> {
    /// Send this to a replica, which may be this node's own.
    Send(NodeId, Asked),
    /// The request took effect, once, between its beginning and now, with this answer.
    Done(RequestNumber, A),
    /// The key has other replicas. Those who wait for it go on when the replicas of this epoch, or a later one, are known ([`Proposer::renew`]).
    Moved {
        /// The key.
        key: Bytes,
        /// An epoch that somebody is in.
        epoch: Epoch,
    },
    /// Too many requests wait for this key here; this one did not begin.
    Busy(RequestNumber),
    /// It conflicted too often, or a try of it may have taken effect in a register that is gone since: its outcome is not known.
    Beaten(RequestNumber),
}

/// What became of a request that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// It never took effect, and never will.
    NotBegun,
    /// It may have taken effect, or may yet. So many replicas are known to hold it, of so many.
    Unknown {
        /// Known to hold it.
        held_by: usize,
        /// All that were asked.
        of: usize,
    },
}

/// What a proposer did, for people to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads that a single round trip answered.
    pub reads_at_once: u64,
    /// Rounds of two trips that ended with a quorum.
    pub rounds: u64,
    /// Rounds that another proposer's greater ballot ended.
    pub conflicts: u64,
    /// Unfinished rounds of others that were finished here.
    pub finished_for_others: u64,
}

/// Carries the requests of one node's clients through.
#[derive(Debug)]
pub struct Proposer<A> {
    actor: Actor,
    clock: HybridClock,
    rng: Rng,
    contests: BTreeMap<Bytes, Contest<A>>,
    /// Which key a request is for.
    keys: BTreeMap<RequestNumber, Bytes>,
    /// When each contest that waits for time to pass goes on.
    wakes: BTreeSet<(Instant, Bytes)>,
    counts: Counts,
}

/// What a contest needs of its proposer while it takes a step.
struct Hand<'a, F: Functions> {
    now: Instant,
    wall: Time,
    actor: Actor,
    clock: &'a mut HybridClock,
    rng: &'a mut Rng,
    counts: &'a mut Counts,
    functions: &'a mut F,
    out: &'a mut Vec<Output<F::Answer>>,
}

impl<F: Functions> Hand<'_, F> {
    /// A ballot or round greater than all that was heard of. When there are no more times there are no more ballots, and no request gets through.
    fn ballot(&mut self) -> Option<Ballot> {
        Some(Ballot::new(self.clock.tick(self.wall)?, self.actor))
    }
}

impl<A: Clone> Proposer<A> {
    /// A proposer whose ballots are an actor's versions, all later than what `clock` gave before.
    pub fn new(actor: Actor, clock: HybridClock, rng: Rng) -> Self {
        Self { actor, clock, rng, contests: BTreeMap::new(), keys: BTreeMap::new(), wakes: BTreeSet::new(), counts: Counts::default() }
    }

    /// A request begins. `reads` promises that its function changes nothing. `wall` is the wall clock.
    pub fn ask<F: Functions<Answer = A>>(
        &mut self,
        (now, wall): (Instant, Time),
        request: RequestNumber,
        key: &Bytes,
        replicas: &Replicas,
        reads: bool,
        functions: &mut F,
    ) -> Vec<Output<A>> {
        if self.contests.get(key).is_some_and(|contest| contest.waiting() >= WAITING_FOR_A_KEY) {
            return alloc::vec![Output::Busy(request)];
        }
        self.keys.insert(request, key.clone());
        let contest = self.contests.entry(key.clone()).or_insert_with(|| Contest::new(key.clone(), replicas.clone()));
        let begins = contest.join(request, reads, replicas);
        let step = |contest: &mut Contest<A>, hand: &mut Hand<'_, F>| {
            if begins {
                contest.begin(hand)
            }
        };
        self.step((now, wall), key, functions, step)
    }

    /// An acceptor answered.
    pub fn receive<F: Functions<Answer = A>>(
        &mut self,
        (now, wall): (Instant, Time),
        from: NodeId,
        answered: Answered,
        functions: &mut F,
    ) -> Vec<Output<A>> {
        let Answered { key, round, reply } = answered;
        self.step((now, wall), &key, functions, |contest, hand| contest.receive(from, round, reply, hand))
    }

    /// A key has these replicas: whoever waits for it goes on with them, if they are of a later epoch than those that were asked.
    pub fn renew<F: Functions<Answer = A>>(
        &mut self,
        (now, wall): (Instant, Time),
        key: &Bytes,
        replicas: &Replicas,
        functions: &mut F,
    ) -> Vec<Output<A>> {
        self.step((now, wall), key, functions, |contest, hand| contest.renew(replicas, hand))
    }

    /// The keys that somebody waits for.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.contests.keys()
    }

    /// Time passed.
    pub fn tick<F: Functions<Answer = A>>(&mut self, (now, wall): (Instant, Time), functions: &mut F) -> Vec<Output<A>> {
        let due: Vec<Bytes> = self.wakes.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| key.clone()).collect();
        due.iter().flat_map(|key| self.step((now, wall), key, functions, |contest, hand| contest.wake(hand))).collect()
    }

    /// When [`Proposer::tick`] has something to do, if nothing happens until then.
    pub fn wakes(&self) -> Instant {
        self.wakes.first().map_or(Instant::NEVER, |(at, _)| *at)
    }

    /// A step of a key's contest, if there is one, and what follows from it.
    fn step<F: Functions<Answer = A>>(
        &mut self,
        (now, wall): (Instant, Time),
        key: &Bytes,
        functions: &mut F,
        step: impl FnOnce(&mut Contest<A>, &mut Hand<'_, F>),
    ) -> Vec<Output<A>> {
        let mut out = Vec::new();
        let Some(contest) = self.contests.get_mut(key) else { return out };
        let Self { actor, clock, rng, counts, .. } = self;
        let wakes = contest.wakes();
        step(contest, &mut Hand { now, wall, actor: *actor, clock, rng, counts, functions, out: &mut out });
        self.stepped(key, wakes);
        for output in &out {
            if let Output::Done(request, _) | Output::Beaten(request) = output {
                self.keys.remove(request);
            }
        }
        out
    }

    /// A key's contest, which was to be woken at this time, took a step.
    fn stepped(&mut self, key: &Bytes, before: Instant) {
        let now = self.contests.get(key).filter(|contest| !contest.is_over()).map(Contest::wakes);
        if now != Some(before) {
            self.wakes.remove(&(before, key.clone()));
        }
        match now {
            Some(at) if at < Instant::NEVER => drop(self.wakes.insert((at, key.clone()))),
            Some(_) => {}
            None => drop(self.contests.remove(key)),
        }
    }

    /// The client waits no longer for a request that is under way; `None` if it is not.
    pub fn give_up(&mut self, request: RequestNumber) -> Option<GivenUp> {
        let key = self.keys.remove(&request)?;
        let contest = self.contests.get_mut(&key)?;
        let (wakes, came_to) = (contest.wakes(), contest.give_up(request));
        self.stepped(&key, wakes);
        Some(came_to)
    }

    /// An earlier life gave versions up to this time, or set them aside: it gives later ones.
    pub fn heard(&mut self, time: Time) {
        self.clock.heard(time);
    }

    /// No version that it gave was later than this.
    pub fn last(&self) -> Time {
        self.clock.last()
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}
