//! Several replicas that write on their own, hear of each other late and in any order, and join ranges of states: in the end they agree.

mod common;

use common::{Command, START, actor, commands, run};
use proptest::prelude::*;
use proptest::sample::Index;
use steadfast_available::{Delta, Hash, Keyspace, Lifetime, NotApplied, Until};
use steadfast_crdt::VersionVector;

#[derive(Clone, Debug)]
enum Step {
    /// A command at a replica.
    Write(Index, Command),
    /// A replica's turn ends.
    Turn(Index),
    /// A replica hears of a delta, whether its turn has come or not.
    Hear(Index, Index),
    /// A replica hears of all deltas of another that it can apply.
    HearAll(Index, Index),
    /// A replica joins a range of another's states.
    Join(Index, Index, Hash, Hash),
    /// A replica compares ranges with another, and learns that they are the same where they are.
    Compare(Index, Index),
    /// A replica's clock goes on.
    Tick(Index, u64),
    /// A replica forgets what is stable.
    Collect(Index),
}

/// What a replica's journal holds.
enum Record {
    Delta(Delta),
    Joined(Hash, Hash, bytes::Bytes, VersionVector),
    Saw(Hash, Hash, VersionVector),
}

struct Replica {
    keys: Keyspace,
    journal: Vec<Record>,
    /// Up to where it has heard of each delta, by its number.
    heard: Vec<bool>,
    /// What each replica had seen when it wrote the last delta that was applied here.
    known: Vec<VersionVector>,
}

struct World {
    replicas: Vec<Replica>,
    log: Vec<Delta>,
    /// Whether some have forgotten more than others.
    collects: bool,
}

impl World {
    fn new(count: u16) -> Self {
        let replica = |place| {
            let mut keys = Keyspace::new(actor(place));
            // Their clocks differ.
            keys.set_now(START + 5 * u64::from(place));
            Replica { keys, journal: Vec::new(), heard: Vec::new(), known: vec![VersionVector::default(); usize::from(count)] }
        };
        World { replicas: (0..count).map(replica).collect(), log: Vec::new(), collects: false }
    }

    /// Ends a replica's turn: its delta goes to its journal, and to where others hear of it.
    fn turn(&mut self, at: usize) {
        while let Some(delta) = self.replicas[at].keys.take_delta() {
            assert_eq!(delta.writer.place(), at as u16);
            let delta = <Delta as steadfast_types::wire::Wire>::from_wire(steadfast_types::wire::Wire::to_wire(&delta).into()).unwrap();
            self.replicas[at].journal.push(Record::Delta(delta.clone()));
            self.log.push(delta);
        }
    }

    fn hear(&mut self, at: usize, number: usize) -> bool {
        self.turn(at);
        let (replica, delta) = (&mut self.replicas[at], &self.log[number]);
        replica.heard.resize(self.log.len(), false);
        let before = replica.keys.context().clone();
        match replica.keys.apply(delta) {
            Ok(is_new) => {
                assert_eq!(is_new, !steadfast_crdt::Covers::covers(before.vector(), delta.version()));
                if is_new {
                    replica.journal.push(Record::Delta(delta.clone()));
                }
                assert_eq!(replica.keys.apply(delta), Ok(false));
                let known = &mut replica.known[usize::from(delta.writer.place())];
                known.join(&delta.dependencies);
                known.saw(delta.version());
                !std::mem::replace(&mut replica.heard[number], true)
            }
            Err(NotApplied::Early) => {
                assert_eq!(*replica.keys.context(), before);
                assert!(!before.vector().includes(&delta.dependencies));
                false
            }
            Err(NotApplied::Unreadable(error)) => panic!("{error}"),
        }
    }

    fn join(&mut self, at: usize, from: usize, first: Hash, last: Hash) {
        self.turn(at);
        self.turn(from);
        let pieces = self.replicas[from].keys.context().pieces(first, last);
        for (first, last, theirs) in pieces {
            let states = self.replicas[from].keys.states(first, last, usize::MAX).unwrap();
            let replica = &mut self.replicas[at];
            replica.keys.join_states(first, last, states.clone(), &theirs).unwrap();
            replica.journal.push(Record::Joined(first, last, states, theirs));
        }
    }

    fn compare(&mut self, at: usize, from: usize) {
        self.turn(at);
        self.turn(from);
        for part in 0..16 {
            let (first, last) = (part << 28, (part << 28) + ((1 << 28) - 1));
            if self.replicas[at].keys.digest(first, last) != self.replicas[from].keys.digest(first, last) {
                continue;
            }
            for (first, last, theirs) in self.replicas[from].keys.context().pieces(first, last) {
                let replica = &mut self.replicas[at];
                replica.keys.saw_range(first, last, &theirs);
                replica.journal.push(Record::Saw(first, last, theirs));
            }
        }
    }

    fn collect(&mut self, at: usize) {
        self.turn(at);
        let replica = &mut self.replicas[at];
        replica.known[at] = replica.keys.context().vector().clone();
        let own = replica.known[at].clone();
        let stable = replica.known.iter().fold(own, |stable, known| stable.meet(known));
        while !replica.keys.collect(&stable) {}
        self.collects = true;
    }

    fn run(&mut self, step: Step) {
        let count = self.replicas.len();
        match step {
            Step::Write(at, command) => _ = run(&mut self.replicas[at.index(count)].keys, &command),
            Step::Turn(at) => self.turn(at.index(count)),
            Step::Hear(at, number) => {
                if !self.log.is_empty() {
                    self.hear(at.index(count), number.index(self.log.len()));
                }
            }
            Step::HearAll(at, from) => {
                let (at, from) = (at.index(count), from.index(count));
                (0..self.log.len())
                    .filter(|number| usize::from(self.log[*number].writer.place()) == from)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|number| _ = self.hear(at, number));
            }
            Step::Join(at, from, first, last) => {
                let (at, from) = (at.index(count), from.index(count));
                if at != from {
                    self.join(at, from, first.min(last), first.max(last));
                }
            }
            Step::Compare(at, from) => {
                let (at, from) = (at.index(count), from.index(count));
                if at != from {
                    self.compare(at, from);
                }
            }
            Step::Tick(at, ms) => {
                let keys = &mut self.replicas[at.index(count)].keys;
                keys.set_now(keys.now() + ms);
            }
            Step::Collect(at) => self.collect(at.index(count)),
        }
    }

    /// Everybody hears of everything.
    fn heal(&mut self) {
        (0..self.replicas.len()).for_each(|at| self.turn(at));
        for at in 0..self.replicas.len() {
            while (0..self.log.len()).filter(|number| self.hear(at, *number)).count() > 0 {}
            assert!(self.replicas[at].heard.iter().all(|heard| *heard), "deltas that are never applied");
        }
    }

    fn check(&mut self) {
        let expected = self.replicas[0].keys.canonical();
        let digest = self.replicas[0].keys.digest(0, Hash::MAX);
        for at in 0..self.replicas.len() {
            let vector = self.replicas[0].keys.context().vector().clone();
            let replica = &mut self.replicas[at];
            assert!(replica.keys.context().is_even());
            assert_eq!(*replica.keys.context().vector(), vector);
            if self.collects {
                continue;
            }
            assert!(replica.keys.canonical() == expected, "replica {at} differs from replica 0");
            assert_eq!(replica.keys.digest(0, Hash::MAX), digest);
        }
    }

    /// What a reader sees is the same everywhere, also if some have forgotten more than others.
    fn check_shown(&mut self) {
        let mut stable = self.replicas[0].keys.context().vector().clone();
        for replica in &self.replicas {
            stable = stable.meet(replica.keys.context().vector());
        }
        for replica in &mut self.replicas {
            while !replica.keys.collect(&stable) {}
        }
        self.collects = false;
        let expected = self.replicas[0].keys.canonical();
        let digest = self.replicas[0].keys.digest(0, Hash::MAX);
        for replica in &mut self.replicas {
            assert!(replica.keys.canonical() == expected);
            assert_eq!(replica.keys.digest(0, Hash::MAX), digest);
        }
    }

    /// A replica's journal makes it what it is.
    fn check_journals(&mut self) {
        (0..self.replicas.len()).for_each(|at| self.turn(at));
        for replica in &self.replicas {
            let mut again = Keyspace::new(actor(9));
            for record in &replica.journal {
                match record {
                    Record::Delta(delta) => again.replay(delta).unwrap(),
                    Record::Joined(first, last, states, theirs) => again.join_states(*first, *last, states.clone(), theirs).unwrap(),
                    Record::Saw(first, last, theirs) => again.saw_range(*first, *last, theirs),
                }
            }
            assert_eq!(again.take_delta(), None);
            assert_eq!(again.context(), replica.keys.context());
            if !self.collects {
                assert!(again.canonical() == replica.keys.canonical());
                assert_eq!((again.len(), again.expiring()), (replica.keys.len(), replica.keys.expiring()));
            }
        }
    }
}

fn steps(keys: u8, collects: bool) -> impl Strategy<Value = Vec<Step>> {
    let at = any::<Index>;
    let step = prop_oneof![
        12 => (at(), commands(keys)).prop_map(|(at, command)| Step::Write(at, command)),
        4 => at().prop_map(Step::Turn),
        8 => (at(), at()).prop_map(|(at, number)| Step::Hear(at, number)),
        4 => (at(), at()).prop_map(|(at, from)| Step::HearAll(at, from)),
        3 => (at(), at(), any::<Hash>(), any::<Hash>()).prop_map(|(at, from, first, last)| Step::Join(at, from, first, last)),
        1 => (at(), at()).prop_map(|(at, from)| Step::Join(at, from, 0, Hash::MAX)),
        1 => (at(), at()).prop_map(|(at, from)| Step::Compare(at, from)),
        2 => (at(), 0..30_u64).prop_map(|(at, ms)| Step::Tick(at, ms)),
        2 => at().prop_map(move |at| if collects { Step::Collect(at) } else { Step::Turn(at) }),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn replicas_that_have_heard_of_everything_agree(count in 3..5_u16, steps in steps(4, false)) {
        let mut world = World::new(count);
        steps.into_iter().for_each(|step| world.run(step));
        world.check_journals();
        world.heal();
        world.check();
        world.check_journals();
        world.check_shown();
    }

    #[test]
    fn what_is_forgotten_is_not_missed(count in 2..4_u16, steps in steps(3, true)) {
        let mut world = World::new(count);
        steps.into_iter().for_each(|step| world.run(step));
        world.heal();
        world.check();
        world.check_journals();
        world.check_shown();
    }
}

/// Two replicas that have seen the same, and the first's key.
fn pair(prepare: impl FnOnce(&mut Keyspace)) -> [Keyspace; 2] {
    let mut pair = [actor(0), actor(1)].map(Keyspace::new);
    pair.iter_mut().for_each(|keys| keys.set_now(START));
    prepare(&mut pair[0]);
    exchange(&mut pair);
    pair
}

/// Each hears of what the other has written.
fn exchange(pair: &mut [Keyspace; 2]) {
    let deltas = [0, 1].map(|at| std::iter::from_fn(|| pair[at].take_delta()).collect::<Vec<_>>());
    deltas[1].iter().for_each(|delta| assert_eq!(pair[0].apply(delta), Ok(true)));
    deltas[0].iter().for_each(|delta| assert_eq!(pair[1].apply(delta), Ok(true)));
}

#[test]
fn replicas_that_removed_different_members_have_different_digests() {
    let mut pair =
        pair(|keys| keys.write_members(b"k", |set, delta, _| ["a", "b"].map(|name| set.add(delta, name.as_bytes()))).map(|_| ()).unwrap());
    assert_eq!(pair[0].digest(0, Hash::MAX), pair[1].digest(0, Hash::MAX));
    pair[0].write_members(b"k", |set, delta, _| set.remove(delta, b"a")).unwrap();
    pair[1].write_members(b"k", |set, delta, _| set.remove(delta, b"b")).unwrap();
    assert_ne!(pair[0].digest(0, Hash::MAX), pair[1].digest(0, Hash::MAX));
    exchange(&mut pair);
    assert!(pair.iter().all(|keys| !keys.contains(b"k")));
}

#[test]
fn a_deadline_counts_after_a_persist_that_only_some_know_to_be_seen_by_all() {
    let mut pair = pair(|keys| keys.set(b"k", b"one", Lifetime::Until(Until::At(START + 10))).unwrap());
    pair[0].persist(b"k").unwrap();
    exchange(&mut pair);
    let seen_by_all = pair[0].context().vector().clone();
    while !pair[0].collect(&seen_by_all) {}
    pair[0].set_until(b"k", Until::At(START + 20)).unwrap();
    exchange(&mut pair);
    for keys in &mut pair {
        assert_eq!(keys.until(b"k"), Some(Until::At(START + 20)));
        while !keys.collect(&seen_by_all) {}
        assert_eq!(keys.until(b"k"), Some(Until::At(START + 20)));
    }
    assert_eq!(pair[0].digest(0, Hash::MAX), pair[1].digest(0, Hash::MAX));
}

#[test]
fn of_concurrent_deadlines_the_longest_wins_and_none_goes_over_to_another_string() {
    let ever = Lifetime::Until(Until::Ever);
    let mut pair = pair(|keys| keys.set(b"k", b"one", ever).unwrap());
    pair[0].set_until(b"k", Until::At(START + 10)).unwrap();
    pair[1].set_until(b"k", Until::At(START + 20)).unwrap();
    exchange(&mut pair);
    assert!(pair.iter().all(|keys| keys.until(b"k") == Some(Until::At(START + 20))));
    pair[0].persist(b"k").unwrap();
    pair[1].set_until(b"k", Until::At(START + 30)).unwrap();
    exchange(&mut pair);
    assert!(pair.iter().all(|keys| keys.until(b"k") == Some(Until::Ever)));
    pair[0].set_until(b"k", Until::At(START + 40)).unwrap();
    pair[1].set_now(START + 1);
    pair[1].set(b"k", b"two", ever).unwrap();
    exchange(&mut pair);
    assert!(pair.iter().all(|keys| keys.until(b"k") == Some(Until::Ever)));
}
