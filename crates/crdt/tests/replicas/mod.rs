//! Replicas of one value that write, hear of each other's writes in causal order and late, and join whole states: in any order that is possible.

#![allow(dead_code, unreachable_pub, reason = "test files have it as a module, and use their parts")]

use std::fmt::Debug;

use proptest::prelude::*;
use steadfast_crdt::{Actor, Covers, Lattice, Version, VersionVector};
use steadfast_types::wire::Wire;

/// A type under test, and what is written to it.
pub trait Subject {
    /// The replicated value.
    type State: Lattice<Delta: Clone> + Clone + Debug + PartialEq;
    /// One write, as a client asks for it.
    type Op: Clone + Debug;
    /// What a reader sees.
    type Shown: Clone + Debug + PartialEq;

    /// Writes, if there is anything to write.
    fn write(state: &mut Self::State, op: &Self::Op, version: Version) -> Option<<Self::State as Lattice>::Delta>;

    /// What a reader sees.
    fn shown(state: &Self::State) -> Self::Shown;

    /// Forgets what nobody needs any more; `stable` covers what every replica has seen.
    fn collect(_state: &mut Self::State, _stable: &impl Covers) {}
}

/// A write that took place.
pub struct Event<S: Subject> {
    /// Its version.
    pub version: Version,
    /// What the writer had seen before it.
    pub observed: VersionVector,
    /// What was asked for.
    pub op: S::Op,
    /// What the writer showed before it, for a model whose writes depend on that.
    pub shown: S::Shown,
    /// What the others are told; `None` if there was nothing to write.
    pub delta: Option<<S::State as Lattice>::Delta>,
    /// The writer's state after it.
    pub after: S::State,
}

/// Who holds a copy.
pub struct Replica<S: Subject> {
    /// Who it writes as.
    pub actor: Actor,
    /// Its copy.
    pub state: S::State,
    /// What it has seen.
    pub context: VersionVector,
    /// What each replica had seen when it last said so, and this one had seen all of that: so no write of theirs from before is still to come.
    known: Vec<VersionVector>,
    time: u64,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Step<O> {
    /// A replica takes a write; its clock is some ticks ahead of what it has seen.
    Write(usize, O, u64),
    /// A replica hears of the next write of another that it can take.
    Deliver(usize, usize),
    /// A replica takes in another's whole state.
    Join(usize, usize),
    /// A replica forgets what is not needed.
    Collect(usize),
}

/// Steps of so many replicas.
pub fn steps<O: Clone + Debug + 'static>(
    replicas: usize,
    ops: impl Strategy<Value = O> + 'static,
    count: usize,
) -> impl Strategy<Value = Vec<Step<O>>> {
    let step = prop_oneof![
        5 => (0..replicas, ops, 0..6_u64).prop_map(|(at, op, ahead)| Step::Write(at, op, ahead)),
        6 => (0..replicas, 0..replicas).prop_map(|(from, to)| Step::Deliver(from, to)),
        2 => (0..replicas, 0..replicas).prop_map(|(from, to)| Step::Join(from, to)),
        2 => (0..replicas).prop_map(Step::Collect),
    ];
    proptest::collection::vec(step, 0..count)
}

/// All replicas, and all that was written.
pub struct World<S: Subject> {
    /// The replicas.
    pub replicas: Vec<Replica<S>>,
    /// The writes, in an order in which they could have been seen.
    pub events: Vec<Event<S>>,
    /// Whether anything was ever forgotten: then states that show the same may differ in what they still hold.
    pub collected: bool,
}

fn version(time: u64, actor: Actor) -> Version {
    Version::from_number(time << 12 | u64::from(actor.place()))
}

impl<S: Subject> World<S> {
    /// So many replicas that have seen nothing.
    pub fn new(replicas: usize) -> Self {
        let known = vec![VersionVector::default(); replicas];
        let replica = |place| Replica {
            actor: Actor::new(place as u16).unwrap(),
            state: S::State::default(),
            context: VersionVector::default(),
            known: known.clone(),
            time: 0,
        };
        World { replicas: (0..replicas).map(replica).collect(), events: Vec::new(), collected: false }
    }

    /// Lets one thing happen, and checks that writes told and states joined come to the same.
    pub fn step(&mut self, step: &Step<S::Op>) {
        match step {
            Step::Write(at, op, ahead) => self.write(*at, op, *ahead),
            Step::Deliver(from, to) => {
                self.deliver(*from, *to);
            }
            Step::Join(from, to) => self.join(*from, *to),
            Step::Collect(at) => self.collect(*at),
        }
    }

    /// A replica takes a write.
    pub fn write(&mut self, at: usize, op: &S::Op, ahead: u64) {
        let replica = &mut self.replicas[at];
        let seen = replica.context.iter().map(|version| version.time().number()).max().unwrap_or_default();
        replica.time = replica.time.max(seen) + 1 + ahead;
        let (version, observed) = (version(replica.time, replica.actor), replica.context.clone());
        let shown = S::shown(&replica.state);
        let mut replayed = replica.state.clone();
        let delta = S::write(&mut replica.state, op, version);
        if let Some(delta) = &delta {
            let wire = delta.to_wire();
            let read = Wire::from_wire(wire.clone().into()).expect("a delta survives the wire");
            replayed.apply(&read);
            assert_eq!(read.to_wire(), wire, "a delta survives the wire");
        }
        assert_eq!(replayed, replica.state, "a write's delta does at home what the write did: {op:?}");
        replica.context.saw(version);
        replica.known[at] = replica.context.clone();
        let after = replica.state.clone();
        self.events.push(Event { version, observed, op: op.clone(), shown, delta, after });
    }

    /// A replica hears of the next write of another, if it can take it; whether it did.
    pub fn deliver(&mut self, from: usize, to: usize) -> bool {
        let (source, replica) = (self.replicas[from].actor, &self.replicas[to]);
        let is_next = |event: &&Event<S>| event.version.actor() == source && !replica.context.covers(event.version);
        let Some(event) = self.events.iter().find(is_next) else { return false };
        if !replica.context.includes(&event.observed) {
            return false;
        }
        let mut seen = event.observed.clone();
        seen.saw(event.version);
        let replica = &mut self.replicas[to];
        let mut joined = replica.state.clone();
        joined.join(&event.after, &replica.context, &seen);
        if let Some(delta) = &event.delta {
            replica.state.apply(delta);
        }
        assert_eq!(S::shown(&replica.state), S::shown(&joined), "the writer's state gives what its delta gives: {:?}", event.op);
        assert!(self.collected || replica.state == joined, "{:?} gives {:?}, its state {joined:?}", event.op, replica.state);
        replica.context.saw(event.version);
        replica.known[from] = seen;
        replica.known[to] = replica.context.clone();
        true
    }

    /// A replica takes in another's whole state.
    pub fn join(&mut self, from: usize, to: usize) {
        let (other, context) = (self.replicas[from].state.clone(), self.replicas[from].context.clone());
        let known = self.replicas[from].known.clone();
        let replica = &mut self.replicas[to];
        replica.state.join(&other, &replica.context, &context);
        replica.context.join(&context);
        for (mine, theirs) in replica.known.iter_mut().zip(&known) {
            mine.join(theirs);
        }
        replica.known[to] = replica.context.clone();
    }

    /// What a replica knows every replica to have seen.
    pub fn stable(&self, at: usize) -> VersionVector {
        let known = &self.replicas[at].known;
        known.iter().skip(1).fold(known[0].clone(), |all, one| all.meet(one))
    }

    /// A replica forgets what is not needed; nobody sees a difference.
    pub fn collect(&mut self, at: usize) {
        let stable = self.stable(at);
        let replica = &mut self.replicas[at];
        let (before, state) = (S::shown(&replica.state), replica.state.clone());
        S::collect(&mut replica.state, &stable);
        assert_eq!(S::shown(&replica.state), before, "what is forgotten is not missed");
        self.collected |= replica.state != state;
    }

    /// Everybody hears of everything, and forgets what it can.
    pub fn settle(&mut self) {
        let places = 0..self.replicas.len();
        loop {
            let mut any = false;
            for (from, to) in places.clone().flat_map(|from| places.clone().map(move |to| (from, to))) {
                while self.deliver(from, to) {
                    any = true;
                }
            }
            if !any {
                break;
            }
        }
        for _ in 0..2 {
            for (from, to) in places.clone().flat_map(|from| places.clone().map(move |to| (from, to))) {
                self.join(from, to);
            }
        }
        places.for_each(|at| self.collect(at));
    }

    /// The writes that a replica has seen.
    pub fn seen(&self, at: usize) -> Vec<&Event<S>> {
        self.events.iter().filter(|event| self.replicas[at].context.covers(event.version)).collect()
    }

    /// Joined with another's state, and both contexts.
    fn joined(&self, one: &(S::State, VersionVector), other: &(S::State, VersionVector)) -> (S::State, VersionVector) {
        let (mut state, mut context) = one.clone();
        state.join(&other.0, &one.1, &other.1);
        context.join(&other.1);
        (state, context)
    }

    /// Asserts the laws of joins for the states of all replicas as they are now.
    pub fn assert_laws(&self) {
        let held: Vec<_> = self.replicas.iter().map(|replica| (replica.state.clone(), replica.context.clone())).collect();
        for a in &held {
            assert_eq!(&self.joined(a, a), a, "idempotent");
            for b in &held {
                let ab = self.joined(a, b);
                assert_eq!(ab, self.joined(b, a), "commutative");
                assert_eq!(self.joined(&ab, a), ab, "inflationary: what was taken in is in it");
                assert_eq!(self.joined(b, &ab), ab, "inflationary: what was taken in is in it");
                assert!(ab.1.includes(&a.1) && ab.1.includes(&b.1));
                let mut versions = Vec::new();
                ab.0.versions(&mut versions);
                assert!(versions.iter().all(|version| ab.1.covers(*version)), "nothing that was not seen");
                assert!(versions.is_empty() || !ab.0.is_empty(), "whose versions matter is there");
                for c in &held {
                    assert_eq!(self.joined(&ab, c), self.joined(a, &self.joined(b, c)), "associative");
                }
            }
        }
    }

    /// Asserts that all replicas are equal, as they are once they have settled.
    pub fn assert_equal(&self) {
        for replica in &self.replicas[1..] {
            assert_eq!(replica.state, self.replicas[0].state);
        }
    }
}

/// Runs the steps with every check, and the model's verdict after each.
pub fn run<S: Subject>(replicas: usize, steps: &[Step<S::Op>], model: impl Fn(&[&Event<S>]) -> S::Shown) {
    let mut world = World::<S>::new(replicas);
    let check = |world: &World<S>| {
        for at in 0..replicas {
            assert_eq!(S::shown(&world.replicas[at].state), model(&world.seen(at)), "replica {at} holds {:?}", world.replicas[at].state);
        }
    };
    for (index, step) in steps.iter().enumerate() {
        world.step(step);
        check(&world);
        if index % 8 == 7 {
            world.assert_laws();
        }
    }
    world.assert_laws();
    world.settle();
    world.assert_equal();
    check(&world);
}
