//! Random clusters under random faults, many seeds: the promises of consensus hold at every step (the harness checks them), and after the
//! faults end the cluster goes on.
//!
//! `CONSENSUS_SEEDS=from..to` runs other seeds; a failing seed is printed. `CONSENSUS_TRACE=1` tells all that happens.

mod harness;

use std::time::Duration;

use harness::{Cluster, ELECTION, HEARTBEAT, Options};
use steadfast_types::{Configuration, NodeId, Rng};

/// How often each thing happens, in each run other ones.
struct Mix {
    weights: Vec<(u32, Action)>,
    total: u32,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Deliver,
    Duplicate,
    Drop,
    DropAll,
    Advance,
    AdvanceOne,
    Sync,
    Propose,
    Read,
    Crash,
    Restart,
    Cut,
    Partition,
    Heal,
    Disconnect,
    Change,
    Transfer,
    Compact,
    Checkpoint,
    Fetch,
    Snapshot,
    Damage,
    PowerFailure,
}

const ACTIONS: &[(u32, u32, Action)] = &[
    (400, 800, Action::Deliver),
    (0, 40, Action::Duplicate),
    (0, 60, Action::Drop),
    (0, 2, Action::DropAll),
    (40, 120, Action::Advance),
    (0, 60, Action::AdvanceOne),
    (100, 300, Action::Sync),
    (20, 120, Action::Propose),
    (0, 40, Action::Read),
    (0, 8, Action::Crash),
    (10, 20, Action::Restart),
    (0, 10, Action::Cut),
    (0, 15, Action::Partition),
    (2, 20, Action::Heal),
    (0, 30, Action::Disconnect),
    (0, 20, Action::Change),
    (0, 5, Action::Transfer),
    (0, 10, Action::Compact),
    (0, 20, Action::Checkpoint),
    (20, 100, Action::Fetch),
    (5, 40, Action::Snapshot),
    (0, 4, Action::Damage),
    (0, 1, Action::PowerFailure),
];

impl Mix {
    fn draw(rng: &mut Rng) -> Self {
        let weights: Vec<(u32, Action)> = ACTIONS.iter().map(|&(least, most, action)| (rng.u32(least..=most), action)).collect();
        let total = weights.iter().map(|&(weight, _)| weight).sum();
        Mix { weights, total }
    }

    fn next(&self, rng: &mut Rng) -> Action {
        let mut at = rng.u32(0..self.total);
        for &(weight, action) in &self.weights {
            if at < weight {
                return action;
            }
            at -= weight;
        }
        unreachable!("weights sum to the total")
    }
}

struct Run {
    cluster: Cluster,
    rng: Rng,
    proposals: u64,
    /// Disks lose data in this run, and the voters stay the same: what may be lost without loss to the cluster is stated for fixed voters.
    damage: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let lease_reads = rng.u8(0..4) == 0;
        let recent_entry_bytes = [0, 300, 1 << 20][rng.usize(0..3)];
        let mut cluster =
            Cluster::new(Options { lease_reads, recent_entry_bytes, seed, print: std::env::var_os("CONSENSUS_TRACE").is_some() });
        let damage = rng.u8(0..3) == 0;
        let least = if damage { 3 } else { 1 };
        let voters = Configuration::of_voters((1..=rng.u64(least..=5)).map(NodeId));
        for id in 1..=5 {
            // Those outside the first configuration are machines that may join later, which know of none.
            let member = voters.contains(NodeId(id));
            cluster.add_member(NodeId(id), &if member { voters.clone() } else { Configuration::default() });
            let slow_disk = rng.bool();
            cluster.machines.get_mut(&NodeId(id)).unwrap().slow_disk = slow_disk;
        }
        cluster.trace.clear();
        Run { cluster, rng, proposals: 0, damage }
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(self.rng.u64(1..=5))
    }

    /// Mostly the leader; sometimes anyone.
    fn likely_leader(&mut self) -> NodeId {
        match self.cluster.leader() {
            Some(leader) if self.rng.u8(0..8) > 0 => leader,
            _ => self.any_node(),
        }
    }

    fn act(&mut self, action: Action) {
        if std::env::var_os("CONSENSUS_TRACE").is_some() {
            println!("-- {action:?}");
        }
        match action {
            Action::Deliver | Action::Duplicate | Action::Drop => self.message(action),
            Action::DropAll => self.cluster.bag.clear(),
            Action::Advance => {
                let by = Duration::from_millis(self.rng.u64(1..60));
                self.cluster.advance_all(by);
            }
            // Clocks run at their own speed, and processes pause; with lease reads on, only within the stated drift.
            Action::AdvanceOne if !self.cluster_uses_leases() => {
                let (id, by) = (self.any_node(), Duration::from_millis(self.rng.u64(1..1500)));
                self.cluster.advance(id, by);
            }
            Action::AdvanceOne => {}
            Action::Sync => {
                let (id, count) = (self.any_node(), self.rng.usize(1..4));
                self.cluster.sync(id, count);
            }
            Action::Propose => self.propose(),
            Action::Read => {
                let id = self.any_node();
                self.cluster.read(id);
            }
            Action::Crash => {
                let id = self.any_node();
                self.cluster.crash(id);
            }
            Action::Restart => self.restart(),
            Action::Cut => {
                let cut = (self.any_node(), self.any_node());
                self.cluster.cuts.insert(cut);
            }
            Action::Partition => self.partition(),
            Action::Heal => self.cluster.cuts.clear(),
            Action::Disconnect => {
                let (id, peer) = (self.any_node(), self.likely_leader());
                self.cluster.input(id, |raft| raft.peer_disconnected(peer));
            }
            Action::Change if self.damage => {}
            Action::Change => self.change(),
            Action::Damage => self.damage(),
            Action::PowerFailure => self.power_failure(),
            Action::Transfer => {
                let (id, to) = (self.likely_leader(), self.any_node());
                let _ = self.cluster.input(id, |raft| raft.transfer_leadership(Some(to)));
            }
            Action::Compact => self.compact(),
            Action::Checkpoint => {
                let id = self.any_node();
                self.checkpoint(id);
            }
            Action::Fetch => {
                let count = self.cluster.fetches.len();
                if count > 0 {
                    let position = self.rng.usize(0..count);
                    self.cluster.answer_fetch(position);
                }
            }
            Action::Snapshot => {
                let count = self.cluster.snapshots.len();
                if count > 0 {
                    let position = self.rng.usize(0..count);
                    self.cluster.carry_snapshot(position);
                }
            }
        }
    }

    /// A node loses the end of what it had on disk, and knows that it may have.
    fn damage(&mut self) {
        let id = self.any_node();
        let voters = self.cluster.machines.values().filter(|machine| !machine.checkpoint.configuration.voters.is_empty());
        let majority = voters.count() / 2 + 1;
        let damaged = self.cluster.machines.values().filter(|machine| machine.damaged && machine.synced.hard_state.suspect);
        if !self.damage || damaged.count() + 1 >= majority {
            return;
        }
        let lost = self.rng.u64(1..6);
        self.cluster.crash(id);
        self.cluster.machines.get_mut(&id).unwrap().damage(lost);
    }

    /// All nodes fail at once; none can tell whether the write it was at was acknowledged.
    fn power_failure(&mut self) {
        if !self.damage {
            return;
        }
        for id in (1..=5).map(NodeId) {
            self.cluster.crash(id);
            self.cluster.machines.get_mut(&id).unwrap().synced.hard_state.suspect = true;
        }
    }

    fn cluster_uses_leases(&self) -> bool {
        self.cluster.uses_leases()
    }

    fn message(&mut self, action: Action) {
        let count = self.cluster.bag.len();
        if count == 0 {
            return;
        }
        // Mostly in order, sometimes not.
        let position = if self.rng.u8(0..4) > 0 { 0 } else { self.rng.usize(0..count) };
        match action {
            Action::Duplicate => {
                let copy = self.cluster.bag[position].clone();
                self.cluster.bag.push(copy);
            }
            Action::Drop => {
                self.cluster.bag.remove(position);
            }
            _ => {
                let envelope = self.cluster.bag.remove(position);
                self.cluster.deliver(envelope);
                for _ in 0..self.rng.usize(0..6).min(self.cluster.bag.len()) {
                    let envelope = self.cluster.bag.remove(0);
                    self.cluster.deliver(envelope);
                }
            }
        }
    }

    /// Two sides that do not hear each other.
    fn partition(&mut self) {
        let sides: Vec<bool> = (0..=5).map(|_| self.rng.bool()).collect();
        let pairs = (1..=5).flat_map(|from| (1..=5).map(move |to| (from, to)));
        let apart = pairs.filter(|&(from, to)| sides[from] != sides[to]);
        self.cluster.cuts = apart.map(|(from, to)| (NodeId(from as u64), NodeId(to as u64))).collect();
    }

    fn propose(&mut self) {
        self.proposals += 1;
        let (id, batch) = (self.likely_leader(), format!("{}", self.proposals));
        let _ = self.cluster.input(id, |raft| raft.propose(batch.into()));
    }

    fn restart(&mut self) {
        let id = self.any_node();
        if self.cluster.machines[&id].raft.is_none() {
            self.cluster.start(id);
        }
    }

    fn change(&mut self) {
        let id = self.likely_leader();
        let mut target = Configuration::default();
        for node in 1..=5 {
            match self.rng.u8(0..4) {
                0 | 1 => drop(target.voters.insert(NodeId(node))),
                2 => drop(target.learners.insert(NodeId(node))),
                _ => {}
            }
        }
        let _ = self.cluster.input(id, |raft| raft.propose_configuration(target, "change".into()));
    }

    fn checkpoint(&mut self, id: NodeId) {
        let machine = self.cluster.machines.get_mut(&id).unwrap();
        // Tables are made durable only as far as the log before them is.
        let durable = machine.raft.as_ref().is_some_and(|raft| raft.durable_index() >= machine.applied.position.index);
        if durable && machine.synced.holds(machine.applied.position) {
            machine.checkpoint();
        }
    }

    fn compact(&mut self) {
        let id = self.any_node();
        self.checkpoint(id);
        let machine = self.cluster.machines.get_mut(&id).unwrap();
        if machine.raft.is_some() && machine.synced.holds(machine.checkpoint.position) {
            let through = machine.checkpoint.position.index.0.saturating_sub(self.rng.u64(0..5));
            machine.compact(steadfast_types::LogIndex(through));
        }
    }

    /// The faults end; the cluster must elect a leader, commit, and bring everyone up to date.
    fn heal_and_check(&mut self, seed: u64) {
        self.cluster.cuts.clear();
        for id in (1..=5).map(NodeId) {
            self.cluster.machines.get_mut(&id).unwrap().slow_disk = false;
            self.cluster.sync(id, usize::MAX);
            if self.cluster.machines[&id].raft.is_none() {
                self.cluster.start(id);
            }
        }
        let mut proposed = None;
        let mut reads = Vec::new();
        let step = HEARTBEAT / 4;
        for _ in 0..12 * ELECTION.as_millis() / step.as_millis() {
            self.settle();
            self.cluster.advance_all(step);
            if proposed.is_none()
                && let Some(leader) = self.cluster.leader()
                && self.cluster.raft(leader).is_some_and(|raft| raft.is_established_leader())
            {
                self.proposals += 1;
                let batch = format!("{}", self.proposals).into();
                proposed = self.cluster.input(leader, |raft| raft.propose(batch)).and_then(Result::ok);
                if proposed.is_some() {
                    reads = self.cluster.members_up().into_iter().map(|id| (id, self.cluster.read(id))).collect();
                }
            }
        }
        let Some(proposed) = proposed else { panic!("seed {seed}: no leader after healing: {}", self.cluster.summary()) };
        let (last, members) = (self.cluster.acknowledged(), self.cluster.members_up());
        assert!(last >= proposed.index, "seed {seed}: entry {proposed} is not committed: {}", self.cluster.summary());
        for &id in &members {
            let applied = self.cluster.machines[&id].applied.position.index;
            assert_eq!(applied, last, "seed {seed}: {id} is not up to date: {}", self.cluster.summary());
        }
        let joint = self.cluster.leader().is_some_and(|leader| self.cluster.machines[&leader].applied.configuration.is_joint());
        assert!(!joint, "seed {seed}: a change of configuration does not end: {}", self.cluster.summary());
        // Whoever was removed meanwhile is not answered any more.
        for (id, number) in reads.into_iter().filter(|(id, _)| members.contains(id)) {
            let confirmed = self.cluster.raft(id).map(|raft| raft.confirmed_reads());
            assert!(confirmed >= Some(number), "seed {seed}: read {number:?} on {id} is not confirmed");
        }
        self.cluster.check();
    }

    /// Delivers all there is.
    fn settle(&mut self) {
        for _ in 0..20_000 {
            if !self.cluster.bag.is_empty() {
                let envelope = self.cluster.bag.remove(0);
                self.cluster.deliver(envelope);
            } else if !self.cluster.fetches.is_empty() {
                self.cluster.answer_fetch(0);
            } else if !self.cluster.snapshots.is_empty() {
                self.cluster.carry_snapshot(0);
            } else {
                return;
            }
        }
        panic!("the cluster does not come to rest: {}", self.cluster.summary());
    }
}

fn run(seed: u64) -> Run {
    let mut run = Run::new(seed);
    let mix = Mix::draw(&mut run.rng);
    for step in 0..1500 {
        let action = mix.next(&mut run.rng);
        run.act(action);
        if step % 50 == 0 {
            run.cluster.check();
        }
        // Only the tail is of use when a seed fails.
        if run.cluster.trace.len() > 4000 {
            run.cluster.trace.drain(..2000);
        }
    }
    run.heal_and_check(seed);
    run
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("CONSENSUS_SEEDS") else { return 0..1000 };
    let (from, to) = text.split_once("..").expect("CONSENSUS_SEEDS is FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn random_faults_break_no_promise() {
    let mut committed = 0;
    for seed in seeds() {
        let result = std::panic::catch_unwind(|| run(seed).cluster.acknowledged().0);
        match result {
            Ok(count) => committed += count,
            Err(panic) => {
                eprintln!("seed {seed} failed: CONSENSUS_SEEDS={seed}..{} runs it alone", seed + 1);
                std::panic::resume_unwind(panic);
            }
        }
    }
    let average = committed / seeds().count() as u64;
    assert!(average > 20, "the runs commit only {average} entries each: they test little");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 17] {
        assert_eq!(run(seed).cluster.trace, run(seed).cluster.trace);
    }
}
