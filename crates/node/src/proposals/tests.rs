//! A model of several nodes that hand commands to changing leaders, over a network that loses, doubles and reorders.

use std::collections::BTreeMap;

use steadfast_state::command::Batch;
use steadfast_types::Rng;

use super::*;
use crate::forward::{Intake, Taken};

const NODES: usize = 3;
const PATIENCE: Duration = Duration::from_micros(20);

/// What became of a command, as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Waits,
    Applied,
    Unknown,
}

enum Frame {
    Forward { term: Term, incarnation: u64, forwarding: Forwarding },
    Expected { term: Term, incarnation: u64, stream: u64, next: u64 },
}

struct Machine {
    proposals: Proposals<Origin>,
    intake: Intake,
    incarnation: u64,
    /// The leader's term as this node knows it, and how much of the log it has applied.
    term: usize,
    applied: usize,
    applied_term: Term,
}

struct World {
    rng: Rng,
    now: Instant,
    machines: Vec<Machine>,
    /// Who leads each term; term 0 has nobody.
    leaders: Vec<usize>,
    log: Vec<(Term, Vec<Origin>)>,
    committed: usize,
    network: Vec<(usize, usize, Frame)>,
    told: BTreeMap<Origin, Told>,
    lossy: bool,
}

fn origins(batch: Bytes) -> Vec<Origin> {
    Batch::from_wire(batch).expect("well formed").proposals.into_iter().map(|proposal| proposal.origin).collect()
}

impl Machine {
    fn new(at: usize, incarnation: u64) -> Self {
        let proposals = Proposals::new(NodeId(at as u64 + 1), incarnation);
        Machine { proposals, intake: Intake::default(), incarnation, term: 0, applied: 0, applied_term: Term(0) }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let machines = (0..NODES).map(|at| Machine::new(at, at as u64 + 100)).collect();
        let (rng, log, network, told) = (Rng::with_seed(seed), vec![], vec![], BTreeMap::new());
        World { rng, now: Instant(1), machines, leaders: vec![usize::MAX], log, committed: 0, network, told, lossy: true }
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_micros(1);
        let at = self.rng.usize(..NODES);
        match self.rng.u32(..100) {
            0..30 => self.request(at),
            30..32 => self.elect(at),
            32 => self.restart(at),
            33..35 => self.snapshot(at),
            35..45 => self.learn(at),
            45..55 => self.apply(at, 1),
            55..65 => self.committed = (self.committed + self.rng.usize(..3)).min(self.log.len()),
            65..67 => self.expire(at),
            _ => self.deliver(),
        }
        (0..NODES).for_each(|at| self.turn(at));
    }

    fn request(&mut self, at: usize) {
        let proposals = &mut self.machines[at].proposals;
        let origin = Origin { node: proposals.node, incarnation: proposals.incarnation, request: proposals.next_request };
        let deadline = self.now + Duration::from_micros(self.rng.u64(10..5000));
        proposals.add(origin, Command::Noop, deadline);
        self.told.insert(origin, Told::Waits);
    }

    /// A new leader keeps any part of what the last one had not committed, and begins its term with an entry.
    fn elect(&mut self, at: usize) {
        let keep = self.rng.usize(self.committed..=self.log.len());
        self.log.truncate(keep);
        self.leaders.push(at);
        let term = self.leaders.len() - 1;
        self.log.push((Term(term as u64), vec![]));
        self.machines[at].term = term;
    }

    fn learn(&mut self, at: usize) {
        self.machines[at].term = self.leaders.len() - 1;
    }

    fn restart(&mut self, at: usize) {
        let incarnation = self.rng.u64(1000..);
        let before = std::mem::replace(&mut self.machines[at], Machine::new(at, incarnation));
        self.machines[at].applied = before.applied;
        self.machines[at].applied_term = before.applied_term;
        self.told
            .iter_mut()
            .filter(|(o, t)| o.incarnation == before.incarnation && **t == Told::Waits)
            .for_each(|(_, t)| *t = Told::Unknown);
        if self.leaders.last() == Some(&at) {
            self.elect((at + 1) % NODES);
        }
    }

    fn snapshot(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if self.leaders.last() == Some(&at) || machine.applied >= self.committed {
            return;
        }
        machine.applied = self.rng.usize(machine.applied + 1..=self.committed);
        let term = self.log[machine.applied - 1].0;
        machine.term = machine.term.max(term.0 as usize);
        for lost in machine.proposals.outcomes_lost(term) {
            self.told.insert(lost, Told::Unknown);
        }
        if term > machine.applied_term {
            machine.applied_term = term;
            machine.proposals.term_applied(term);
        }
    }

    fn expire(&mut self, at: usize) {
        for late in self.machines[at].proposals.expire(self.now) {
            self.told.insert(late, Told::Unknown);
        }
    }

    fn apply(&mut self, at: usize, count: usize) {
        for _ in 0..count {
            let machine = &mut self.machines[at];
            if machine.applied >= self.committed {
                return;
            }
            let (term, origins) = &self.log[machine.applied];
            machine.applied += 1;
            machine.term = machine.term.max(term.0 as usize);
            for origin in origins.iter().filter(|origin| origin.incarnation == machine.incarnation) {
                if let Some(slot) = machine.proposals.complete(origin.request) {
                    assert_eq!(self.told.insert(slot, Told::Applied), Some(Told::Waits), "{slot:?} is told twice");
                }
            }
            if *term > machine.applied_term {
                machine.applied_term = *term;
                machine.proposals.term_applied(*term);
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, frame: impl Fn() -> Frame) {
        let copies = if self.lossy { [0, 1, 1, 1, 2][self.rng.usize(..5)] } else { 1 };
        (0..copies).for_each(|_| self.network.push((from, to, frame())));
    }

    fn turn(&mut self, at: usize) {
        let (now, current) = (self.now, self.leaders.len() - 1);
        let machine = &mut self.machines[at];
        let term = Term(machine.term as u64);
        if machine.term == 0 {
            return;
        }
        let leader = self.leaders[machine.term];
        if leader == at {
            machine.intake.enter_term(term);
            while let Some(proposal) = machine.proposals.hand_to_self(term) {
                machine.intake.push(proposal);
            }
            // A deposed leader may go on proposing; it commits nothing any more.
            while let Some((batch, count)) = machine.intake.next_batch() {
                machine.intake.proposed(count);
                if machine.term == current {
                    self.log.push((term, origins(batch)));
                }
            }
            return;
        }
        machine.intake.leave();
        let incarnation = machine.incarnation;
        let mut frames = machine.proposals.hand_to_leader(term, now);
        frames.extend(machine.proposals.resend_overdue(term, now, 2 * PATIENCE));
        for forwarding in frames {
            self.send(at, leader, || Frame::Forward { term, incarnation, forwarding: forwarding.clone() });
        }
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let at = if self.lossy { self.rng.usize(..self.network.len()) } else { 0 };
        let (from, to, frame) = self.network.remove(at);
        let machine = &mut self.machines[to];
        let known = Term(machine.term as u64);
        match frame {
            Frame::Forward { term, incarnation, forwarding } if term == known && self.leaders[machine.term] == to => {
                machine.intake.enter_term(term);
                let stream = forwarding.stream;
                let taken = machine.intake.take(NodeId(from as u64 + 1), incarnation, forwarding).expect("well formed");
                if let Taken::Gap(next) = taken {
                    self.send(to, from, || Frame::Expected { term, incarnation, stream, next });
                }
            }
            Frame::Expected { term, incarnation, stream, next } if incarnation == machine.incarnation && term == known => {
                for forwarding in machine.proposals.resend_from(term, stream, next, self.now, PATIENCE) {
                    self.send(to, from, || Frame::Forward { term, incarnation, forwarding: forwarding.clone() });
                }
            }
            Frame::Forward { .. } | Frame::Expected { .. } => {}
        }
    }

    /// The network heals and the leader stays: then everything comes to its end, without another term's help.
    fn heal(&mut self) {
        self.lossy = false;
        (0..NODES).for_each(|at| self.learn(at));
        for _ in 0..400 {
            self.now = self.now + PATIENCE;
            (0..NODES).for_each(|at| self.turn(at));
            while !self.network.is_empty() {
                self.deliver();
            }
            (0..NODES).for_each(|at| self.turn(at));
            self.committed = self.log.len();
            (0..NODES).for_each(|at| self.apply(at, usize::MAX));
        }
    }

    fn check(&self) {
        let mut applied: BTreeMap<Origin, usize> = BTreeMap::new();
        self.log.iter().flat_map(|(_, origins)| origins).for_each(|origin| *applied.entry(*origin).or_default() += 1);
        for (origin, told) in &self.told {
            let times = applied.get(origin).copied().unwrap_or(0);
            assert!(times <= 1, "{origin:?} is applied {times} times");
            assert_ne!(*told, Told::Waits, "{origin:?} never comes to its end");
            assert!(*told != Told::Applied || times == 1, "{origin:?} is not in the log");
        }
        for machine in &self.machines {
            let Proposals { waiting, bytes, unsent, stream, .. } = &machine.proposals;
            assert_eq!((waiting.len(), *bytes, unsent.len(), stream.requests.len()), (0, 0, 0, 0), "nothing is left behind");
        }
    }
}

#[test]
fn every_command_is_applied_at_most_once_and_comes_to_its_end() {
    for seed in 0..400 {
        let mut world = World::new(seed);
        (0..600).for_each(|_| world.step());
        if world.leaders.len() == 1 {
            world.elect(0);
        }
        world.heal();
        world.check();
    }
}

#[test]
fn one_command_that_waits_long_does_not_take_the_room_of_others() {
    let mut proposals = Proposals::new(NodeId(1), 1);
    proposals.reserve(0, Instant(1000));
    for request in 2..3 * limits::QUEUED_REQUESTS as u64 {
        assert!(proposals.has_room());
        proposals.add(request, Command::Noop, Instant(1000));
        assert!(proposals.hand_to_self(Term(1)).is_some());
        assert_eq!(proposals.complete(request), Some(request));
    }
    (0..limits::QUEUED_REQUESTS as u64).for_each(|request| proposals.add(request, Command::Noop, Instant(1000)));
    assert!(!proposals.has_room());
}

#[test]
fn deadlines_come_in_any_order() {
    let mut proposals = Proposals::new(NodeId(1), 1);
    proposals.add("long", Command::Noop, Instant(1000));
    proposals.add("short", Command::Noop, Instant(10));
    assert_eq!(proposals.expire(Instant(10)), ["short"]);
    assert_eq!(proposals.len(), 1, "what nobody waits for is not handed over any more");
}

#[test]
fn a_malformed_batch_takes_nothing() {
    let mut intake = Intake::default();
    intake.enter_term(Term(1));
    let frame = |batch| Forwarding { stream: 1, first: 0, batch };
    assert!(intake.take(NodeId(2), 7, frame(Bytes::from_static(&[1, 255]))).is_err());
    assert!(intake.next_batch().is_none());
    let proposal = Bytes::from(Proposal { origin: Origin::default(), command: Command::Noop }.to_wire());
    let (good, _) = pack(&[proposal]);
    assert_eq!(intake.take(NodeId(2), 7, frame(good.clone())).expect("well formed"), Taken::Yes);
    // A late frame of an earlier life, and then the present one's again: each is known.
    assert_eq!(intake.take(NodeId(2), 6, frame(good.clone())).expect("well formed"), Taken::Yes);
    assert_eq!(intake.take(NodeId(2), 7, frame(good)).expect("well formed"), Taken::Yes);
    assert_eq!(intake.next_batch().map(|(_, count)| count), Some(2));
}
