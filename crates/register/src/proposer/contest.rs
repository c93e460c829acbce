//! One key's agreement under way: rounds until nobody waits any more.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;
use steadfast_crdt::Version;
use steadfast_types::{Instant, NodeId};

use super::{Change, Functions, GivenUp, Hand, Output, RequestNumber};
use crate::limits::{ASK_AGAIN, ATTEMPTS, BACK_OFF, BACK_OFF_DOUBLINGS};
use crate::message::{Accepted, Asked, Ballot, Epoch, Reply, Request, Value};
use crate::quorum::Replicas;

/// Those who want something of a key, and how far it is.
#[derive(Debug)]
pub(super) struct Contest<A> {
    key: Bytes,
    replicas: Replicas,
    /// Those of a later epoch, which somebody who waits has named.
    later: Option<Replicas>,
    /// Not answered yet, in the order in which they came.
    waiting: Vec<Waiting>,
    /// What was sent to be accepted, and may be chosen yet. The last one is the one under way.
    attempts: Vec<Attempt<A>>,
    phase: Phase,
    /// The version under which this phase asks, if it asks.
    round: Option<Version>,
    conflicts: u32,
    /// Whoever has not answered is asked again then; or the pause after a conflict ends.
    wakes: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    request: RequestNumber,
    reads: bool,
    /// It wants replicas of no earlier epoch.
    epoch: u64,
    /// Whether it came before this round began: what replicas said in the round may be older than who came later.
    in_round: bool,
}

/// A value that was sent to be accepted, with those whose functions made it.
#[derive(Debug)]
struct Attempt<A> {
    epoch: Epoch,
    ballot: Ballot,
    /// Whether any of them changed something, so that the value tells that it was made.
    changes: bool,
    outcomes: Vec<Outcome<A>>,
    held_by: BTreeSet<NodeId>,
}

/// What a request comes to if the value that it is part of is chosen.
#[derive(Clone, Debug)]
struct Outcome<A> {
    request: RequestNumber,
    answer: A,
    changed: bool,
}

impl<A> Attempt<A> {
    /// Whether this request changed something in it.
    fn changes_for(&self, request: RequestNumber) -> bool {
        self.outcomes.iter().any(|outcome| outcome.changed && outcome.request == request)
    }
}

#[derive(Debug)]
enum Phase {
    Idle,
    /// A quorum is asked what it holds.
    Reading(BTreeMap<NodeId, Option<Accepted>>),
    Preparing {
        ballot: Ballot,
        promises: BTreeMap<NodeId, Option<Accepted>>,
        floor: Option<Ballot>,
        refused_by: BTreeSet<NodeId>,
    },
    /// The last attempt is to be accepted.
    Accepting {
        value: Value,
        refused_by: BTreeSet<NodeId>,
    },
    BackingOff,
}

/// What a quorum holds: the value of the greatest ballot, and whether all hold it, so that it is chosen.
fn held(answers: &BTreeMap<NodeId, Option<Accepted>>) -> (Option<&Accepted>, bool) {
    let ballot = |accepted: &Option<Accepted>| accepted.as_ref().map(|(ballot, _)| *ballot);
    let newest = answers.values().max_by_key(|accepted| ballot(accepted)).and_then(Option::as_ref);
    (newest, answers.values().all(|accepted| ballot(accepted) == newest.map(|(ballot, _)| *ballot)))
}

impl<A: Clone> Contest<A> {
    pub(super) fn new(key: Bytes, replicas: Replicas) -> Self {
        Self {
            key,
            replicas,
            later: None,
            waiting: Vec::new(),
            attempts: Vec::new(),
            phase: Phase::Idle,
            round: None,
            conflicts: 0,
            wakes: Instant::NEVER,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn wakes(&self) -> Instant {
        self.wakes
    }

    /// One more wants something; whether a round is to begin. If it knows of later replicas, it waits for a round with those. If it wants a quorum alone where
    /// everybody was waited for, nobody waits for more than a quorum any longer.
    pub(super) fn join(&mut self, request: RequestNumber, reads: bool, replicas: &Replicas) -> bool {
        let is_new = self.waiting.is_empty();
        self.waiting.push(Waiting { request, reads, epoch: replicas.epoch, in_round: false });
        if replicas.epoch > self.replicas.epoch && self.later.as_ref().is_none_or(|later| later.epoch < replicas.epoch) {
            self.later = Some(Replicas { everyone: false, ..replicas.clone() });
        }
        let is_relaxed = self.replicas.everyone && !replicas.everyone;
        self.replicas.everyone &= replicas.everyone;
        is_new || is_relaxed || matches!(self.phase, Phase::Idle) && self.later.is_some()
    }

    /// A round for all that wait.
    pub(super) fn begin<F: Functions<Answer = A>>(&mut self, hand: &mut Hand<'_, F>) {
        if self.waiting.is_empty() {
            return;
        }
        if let Some(later) = self.later.take() {
            self.replicas = later;
        }
        // What was tried may be chosen yet: then it must be found, and reading alone finds no end of it.
        let only_reads = self.waiting.iter().all(|waiting| waiting.reads) && self.attempts.is_empty();
        match only_reads {
            true => self.phase = Phase::Reading(BTreeMap::new()),
            false => self.prepare(hand),
        }
        self.send_to_all(hand);
    }

    fn prepare<F: Functions<Answer = A>>(&mut self, hand: &mut Hand<'_, F>) {
        self.phase = match hand.ballot() {
            Some(ballot) => Phase::Preparing { ballot, promises: BTreeMap::new(), floor: None, refused_by: BTreeSet::new() },
            None => Phase::BackingOff,
        };
    }

    /// Asks everybody for this phase: answers to what was asked before count no more.
    fn send_to_all<F: Functions<Answer = A>>(&mut self, hand: &mut Hand<'_, F>) {
        self.round = hand.ballot();
        if !matches!(self.phase, Phase::Accepting { .. }) {
            let epoch = self.replicas.epoch;
            self.waiting.iter_mut().for_each(|waiting| waiting.in_round = waiting.epoch <= epoch);
        }
        self.send(hand);
    }

    /// Asks those who have not answered.
    fn send<F: Functions<Answer = A>>(&mut self, hand: &mut Hand<'_, F>) {
        self.wakes = hand.now + ASK_AGAIN;
        let (request, answered): (_, BTreeSet<NodeId>) = match &self.phase {
            Phase::Reading(answers) => (Request::Read {}, answers.keys().copied().collect()),
            Phase::Preparing { ballot, promises, refused_by, .. } => {
                (Request::Prepare { ballot: *ballot }, promises.keys().chain(refused_by).copied().collect())
            }
            Phase::Accepting { value, refused_by } => {
                let attempt = self.attempts.last().expect("it is under way");
                let request = Request::Accept { ballot: attempt.ballot, value: value.clone() };
                (request, attempt.held_by.union(refused_by).copied().collect())
            }
            Phase::Idle | Phase::BackingOff => return,
        };
        let Some(round) = self.round else { return };
        let missing = self.replicas.all().into_iter().filter(|node| !answered.contains(node));
        let asked = Asked { epoch: self.replicas.epoch, key: self.key.clone(), round, request };
        hand.out.extend(missing.map(|node| Output::Send(node, asked.clone())));
    }

    /// Time passed: a pause is over, or somebody has not answered.
    pub(super) fn wake<F: Functions<Answer = A>>(&mut self, hand: &mut Hand<'_, F>) {
        if self.wakes > hand.now {
            return;
        }
        let refused = match &self.phase {
            Phase::Preparing { refused_by, .. } | Phase::Accepting { refused_by, .. } => !refused_by.is_empty(),
            _ => false,
        };
        match self.phase {
            Phase::BackingOff | Phase::Idle => self.begin(hand),
            // Those who would make up a quorum beside them do not answer.
            _ if refused => self.back_off(hand),
            _ => self.send(hand),
        }
    }

    pub(super) fn receive<F: Functions<Answer = A>>(&mut self, from: NodeId, round: Version, reply: Reply, hand: &mut Hand<'_, F>) {
        if let Reply::Refused { promised, .. } = &reply {
            hand.clock.heard(promised.time());
        }
        if self.round != Some(round) || !self.replicas.all().contains(&from) {
            return;
        }
        match (&mut self.phase, reply) {
            (_, Reply::OldEpoch { epoch }) => self.moved(epoch, hand),
            (Phase::Reading(answers), Reply::Holds { accepted }) => {
                answers.insert(from, accepted);
                if self.replicas.is_quorum(&answers.keys().copied().collect()) {
                    self.read(hand);
                }
            }
            (Phase::Preparing { ballot, promises, floor, .. }, Reply::Promised { ballot: promised, accepted, floor: own })
                if *ballot == promised =>
            {
                promises.insert(from, accepted);
                *floor = own.max(*floor);
                if self.replicas.is_quorum(&promises.keys().copied().collect()) {
                    self.decide(hand);
                }
            }
            (Phase::Accepting { .. }, Reply::Accepted { ballot }) => {
                let attempt = self.attempts.last_mut().expect("it is under way");
                if attempt.ballot == ballot && attempt.held_by.insert(from) && self.replicas.is_quorum(&attempt.held_by) {
                    self.chosen(hand);
                }
            }
            (Phase::Preparing { ballot, refused_by, .. }, Reply::Refused { ballot: refused, .. }) if *ballot == refused => {
                refused_by.insert(from);
                if !self.replicas.can_do_without(refused_by) {
                    self.back_off(hand);
                }
            }
            (Phase::Accepting { refused_by, .. }, Reply::Refused { ballot, .. })
                if self.attempts.last().is_some_and(|a| a.ballot == ballot) =>
            {
                refused_by.insert(from);
                if !self.replicas.can_do_without(refused_by) {
                    self.back_off(hand);
                }
            }
            _ => {}
        }
    }

    /// A quorum said what it holds, to those who only read.
    fn read<F: Functions<Answer = A>>(&mut self, hand: &mut Hand<'_, F>) {
        let Phase::Reading(answers) = mem::replace(&mut self.phase, Phase::Idle) else { unreachable!("it reads") };
        let (newest, is_chosen) = held(&answers);
        if !is_chosen {
            // Somebody's write is under way, or was left so: it must be finished before anybody may be told of it.
            self.prepare(hand);
            return self.send_to_all(hand);
        }
        hand.counts.reads_at_once += 1;
        let value = newest.and_then(|(_, value)| value.bytes.as_ref());
        for waiting in mem::take(&mut self.waiting) {
            match waiting.reads && waiting.in_round {
                true => hand.out.push(Output::Done(waiting.request, hand.functions.apply(waiting.request, value).1)),
                false => self.waiting.push(waiting),
            }
        }
        self.begin(hand);
    }

    /// A quorum promised: the functions are applied to what it holds.
    fn decide<F: Functions<Answer = A>>(&mut self, hand: &mut Hand<'_, F>) {
        let Phase::Preparing { ballot, promises, floor, .. } = mem::replace(&mut self.phase, Phase::Idle) else {
            unreachable!("it prepares")
        };
        let (newest, is_chosen) = held(&promises);
        let mut value = newest.map_or_else(|| Value::new(floor, self.replicas.epoch), |(_, value)| value.clone());
        let made = value.writers.of(hand.actor);
        let made = self.attempts.iter().position(|attempt| attempt.changes && Some(attempt.ballot.time()) == made);
        // An earlier try is what the others hold: its answers are the right ones, once it is chosen.
        let mut outcomes = made.map(|at| self.attempts[at].outcomes.clone()).unwrap_or_default();
        let (was_made, mut changes) = (outcomes.len(), false);
        let lost = |waiting: &Waiting| {
            let tried = |attempt: &Attempt<A>| value.forgets(attempt.epoch, attempt.ballot) && attempt.changes_for(waiting.request);
            !outcomes.iter().any(|made| made.request == waiting.request) && self.attempts.iter().any(tried)
        };
        let (lost, waiting): (Vec<Waiting>, _) = self.waiting.iter().partition(|waiting| lost(waiting));
        hand.out.extend(lost.into_iter().map(|waiting| Output::Beaten(waiting.request)));
        self.waiting = waiting;
        for Waiting { request, .. } in self.waiting.iter().filter(|waiting| waiting.epoch <= self.replicas.epoch) {
            if outcomes[..was_made].iter().any(|made| made.request == *request) {
                continue;
            }
            let (change, answer) = hand.functions.apply(*request, value.bytes.as_ref());
            let changed = change != Change::Keep;
            if let Change::Write(bytes) = change {
                (value.bytes, changes) = (bytes, true);
            }
            outcomes.push(Outcome { request: *request, answer, changed });
        }
        // A try of ours that is later than what this quorum holds may be found by another; then what is answered now would be wrong.
        let none_lurks = self.attempts.iter().all(|attempt| !attempt.changes || Some(attempt.ballot) <= newest.map(|(ballot, _)| *ballot));
        if changes {
            value.follows(ballot);
        } else if is_chosen && none_lurks {
            hand.counts.rounds += 1;
            outcomes.retain(|outcome| self.waiting.iter().any(|waiting| waiting.request == outcome.request && waiting.in_round));
            return self.answer(outcomes, hand);
        } else {
            hand.counts.finished_for_others += u64::from(!is_chosen && made.is_none());
        }
        self.attempts.push(Attempt { epoch: self.replicas.epoch, ballot, changes, outcomes, held_by: BTreeSet::new() });
        self.phase = Phase::Accepting { value, refused_by: BTreeSet::new() };
        self.send_to_all(hand);
    }

    /// A quorum holds the last attempt.
    fn chosen<F: Functions<Answer = A>>(&mut self, hand: &mut Hand<'_, F>) {
        hand.counts.rounds += 1;
        let attempt = self.attempts.pop().expect("it is under way");
        self.answer(attempt.outcomes, hand);
    }

    /// These are answered; a value that holds all earlier attempts that will ever count is chosen, so none of them matters any more.
    fn answer<F: Functions<Answer = A>>(&mut self, outcomes: Vec<Outcome<A>>, hand: &mut Hand<'_, F>) {
        self.attempts.clear();
        (self.phase, self.conflicts, self.wakes) = (Phase::Idle, 0, Instant::NEVER);
        for Outcome { request, answer, .. } in outcomes {
            // It may have been given up meanwhile.
            if let Some(at) = self.waiting.iter().position(|waiting| waiting.request == request) {
                self.waiting.remove(at);
                hand.out.push(Output::Done(request, answer));
            }
        }
        self.begin(hand);
    }

    fn back_off<F: Functions<Answer = A>>(&mut self, hand: &mut Hand<'_, F>) {
        hand.counts.conflicts += 1;
        if self.attempts.len() >= ATTEMPTS {
            hand.out.extend(mem::take(&mut self.waiting).into_iter().map(|waiting| Output::Beaten(waiting.request)));
            return;
        }
        let longest = BACK_OFF * 2_u32.pow(self.conflicts.min(BACK_OFF_DOUBLINGS));
        self.conflicts += 1;
        self.wakes = hand.now + longest.mul_f64(hand.rng.f64());
        self.phase = Phase::BackingOff;
    }

    /// Somebody is in a later epoch: it goes on once its replicas are known.
    fn moved<F: Functions<Answer = A>>(&mut self, epoch: Epoch, hand: &mut Hand<'_, F>) {
        if epoch <= self.replicas.epoch {
            return;
        }
        (self.phase, self.round, self.wakes) = (Phase::Idle, None, Instant::NEVER);
        match self.later {
            Some(_) => self.begin(hand),
            None => hand.out.push(Output::Moved { key: self.key.clone(), epoch }),
        }
    }

    /// The key has these replicas. A round under way with earlier ones is left: what was tried in it may be found by the next one.
    pub(super) fn renew<F: Functions<Answer = A>>(&mut self, replicas: &Replicas, hand: &mut Hand<'_, F>) {
        if replicas.epoch > self.replicas.epoch {
            self.later = self.later.take().filter(|later| later.epoch > replicas.epoch).or_else(|| Some(replicas.clone()));
            self.begin(hand);
        }
    }

    pub(super) fn give_up(&mut self, request: RequestNumber) -> GivenUp {
        self.waiting.retain(|waiting| waiting.request != request);
        let tried = self.attempts.iter().filter(|attempt| attempt.changes_for(request));
        match tried.map(|attempt| attempt.held_by.len()).max() {
            Some(held_by) => GivenUp::Unknown { held_by, of: self.replicas.all().len() },
            None => GivenUp::NotBegun,
        }
    }
}
