//! What holds of replicas that speak with each other, whatever happens to them and to what is between them.

extern crate alloc;

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use steadfast_available::exchange::{Event, Limits, Record};
use steadfast_crdt::VersionVector;
use steadfast_types::NodeId;

#[path = "exchange/model.rs"]
mod model;
#[path = "exchange/net.rs"]
mod net;

use model::{actor, hash};
use net::{Net, tiny};

#[derive(Clone, Debug)]
enum Step {
    Write(usize, Vec<(u64, bool)>),
    Release(usize),
    Deliver(usize, usize, usize),
    Link(usize, usize),
    Cut(usize, usize),
    Tick(usize),
    Restart(usize, usize),
}

fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let at = move || 0..count;
    let changes = proptest::collection::vec((0..24_u64, prop::bool::weighted(0.7)), 1..4);
    proptest::collection::vec(
        prop_oneof![
            8 => (at(), changes).prop_map(|(at, changes)| Step::Write(at, changes)),
            6 => at().prop_map(Step::Release),
            12 => (at(), at(), 1..6_usize).prop_map(|(from, to, count)| Step::Deliver(from, to, count)),
            3 => (at(), at()).prop_map(|(a, b)| Step::Link(a, b)),
            1 => (at(), at()).prop_map(|(a, b)| Step::Cut(a, b)),
            6 => at().prop_map(Step::Tick),
            1 => (at(), prop_oneof![3 => Just(0), 1 => 1..5_usize]).prop_map(|(at, lost)| Step::Restart(at, lost)),
        ],
        0..120,
    )
}

fn worlds() -> impl Strategy<Value = (usize, Vec<(usize, usize)>, Vec<Step>)> {
    (2..=5_usize, 0..3_u8).prop_flat_map(|(count, shape)| {
        let links = match shape {
            0 => Net::full(count),
            1 => Net::chain(count),
            _ => Net::chain(count).into_iter().chain((count > 2).then_some((0, count - 1))).collect(),
        };
        (Just(count), Just(links), steps(count))
    })
}

fn run(net: &mut Net, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Write(at, changes) => net.write(*at, changes),
            Step::Release(at) => net.release(*at),
            Step::Deliver(from, to, count) => {
                for _ in 0..*count {
                    net.deliver(*from, *to);
                }
            }
            Step::Link(a, b) if a != b => net.link(*a, *b),
            Step::Cut(a, b) if a != b => net.cut(*a, *b),
            Step::Link(..) | Step::Cut(..) => {}
            Step::Tick(at) => net.tick(*at),
            Step::Restart(at, lost) => net.restart(*at, *lost),
        }
    }
}

/// What happens in one turn of the network.
fn offline(net: &mut Net, at: usize, keys: std::ops::Range<u64>) {
    for key in keys {
        net.write(at, &[(key, true)]);
        net.release(at);
    }
}

fn quiet(count: usize, links: &[(usize, usize)], limits: Limits) -> Net {
    let mut net = Net::new(count, links, limits);
    net.link_all();
    for _ in 0..2 {
        net.deliver_all();
        net.tick_all();
    }
    net.deliver_all();
    net
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn replicas_agree_after_whatever_happened((count, links, steps) in worlds()) {
        let mut net = Net::new(count, &links, tiny());
        net.link_all();
        run(&mut net, &steps);
        net.heal();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn without_faults_each_delta_goes_to_each_peer_once(
        count in 2..=5_usize, is_chain: bool,
        turns in proptest::collection::vec((0..5_usize, 0..20_u64, any::<bool>(), proptest::collection::vec((0..5_usize, 0..5_usize), 0..12)), 1..40),
    ) {
        let links = if is_chain { Net::chain(count) } else { Net::full(count) };
        let mut net = quiet(count, &links, Limits::default());
        let written = turns.len() as u64;
        for (turn, (at, key, adds, deliveries)) in turns.into_iter().enumerate() {
            net.write(at % count, &[(key, adds)]);
            net.release(at % count);
            deliveries.into_iter().for_each(|(from, to)| {
                net.deliver(from, to);
            });
            if turn % 5 == 4 {
                net.deliver_all();
                net.tick_all();
            }
        }
        net.deliver_all();
        prop_assert!(net.agree());
        let counters = net.counters();
        prop_assert_eq!(counters.deltas_sent, written * (count as u64 - 1));
        prop_assert_eq!(counters.deltas_applied, counters.deltas_sent);
        prop_assert_eq!((counters.deltas_known, counters.deltas_dropped, counters.sessions_begun), (0, 0, 0));
    }

    #[test]
    fn sessions_survive_cuts_and_writes(
        count in 2..=3_usize, sizes in proptest::collection::vec(0..120_u64, 3), common in 0..120_u64,
        steps in proptest::collection::vec((1..12_usize, 0..8_u8, 0..3_usize, 0..300_u64, any::<bool>()), 0..40),
    ) {
        let limits = Limits { kept_bytes: 800, waiting_bytes: 2000, window_bytes: 500, frame_bytes: 1500, sessions: 2, leaf_keys: 4 };
        let mut net = quiet(count, &Net::full(count), limits);
        net.judges = false;
        offline(&mut net, 0, 0..common);
        net.heal();
        Net::full(count).into_iter().for_each(|(a, b)| net.cut(a, b));
        for (at, size) in sizes.into_iter().enumerate().take(count) {
            offline(&mut net, at, at as u64 * 80..at as u64 * 80 + size);
        }
        net.judges = true;
        for (deliveries, what, at, key, adds) in steps {
            net.link_all();
            for _ in 0..deliveries {
                for (from, to) in Net::full(count).into_iter().flat_map(|(a, b)| [(a, b), (b, a)]) {
                    net.deliver(from, to);
                }
            }
            match what {
                0 => net.cut(at % count, (at + 1) % count),
                1 => net.restart(at % count, 0),
                2..5 => {
                    net.write(at % count, &[(key, adds)]);
                    net.release(at % count);
                }
                _ => net.tick_all(),
            }
        }
        net.heal();
        // All that can be divided was: what is over a frame is contexts.
        prop_assert!(net.longest < 6000, "{}", net.longest);
    }

    #[test]
    fn no_message_makes_a_replica_panic(
        (count, links, steps) in worlds(), faults in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..60),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut net = Net::new(count, &links, tiny());
        net.link_all();
        run(&mut net, &steps);
        net.judges = false;
        net.nodes.iter_mut().for_each(|node| node.model.believes_all = true);
        for (link, at, byte, kind) in faults {
            net.link_all();
            net.tick_all();
            let links = net.queues.keys().copied().collect::<Vec<_>>();
            let (from, to) = *link.get(&links);
            let mut bytes = net.queues.get_mut(&(from, to)).unwrap().pop_front().map(|message| message.to_vec()).unwrap_or_default();
            let place = at.index(bytes.len().max(1));
            match kind {
                0 => bytes.truncate(place),
                1 => bytes = noise.clone(),
                2 => bytes.splice(place..place, noise.iter().copied().take(3)).for_each(drop),
                _ => bytes.iter_mut().skip(place).take(1).for_each(|old| *old = byte),
            }
            let (now, node) = (net.now(), &mut net.nodes[to]);
            let result = node.exchange.receive(&mut node.model, NodeId(from as u64), Bytes::from(bytes), now);
            net.drain(to);
            prop_assert!(net.nodes[to].exchange.kept().1 <= 700 && net.nodes[to].exchange.waiting().1 <= 600);
            if result.is_err() {
                net.cut(from, to);
            }
            for (from, to) in links {
                if let Some(message) = net.queues.get_mut(&(from, to)).and_then(|queue| queue.pop_front()) {
                    let (now, node) = (net.now(), &mut net.nodes[to]);
                    let _ = node.exchange.receive(&mut node.model, NodeId(from as u64), message, now);
                    net.drain(to);
                }
            }
        }
    }
}

/// The histories above are worth something only if they come to what the exchange is for.
#[test]
fn histories_come_to_sessions_waiting_and_losses() {
    let mut runner = TestRunner::deterministic();
    let mut sums = [0; 6];
    for _ in 0..150 {
        let (count, links, steps) = worlds().new_tree(&mut runner).unwrap().current();
        let mut net = Net::new(count, &links, tiny());
        net.link_all();
        run(&mut net, &steps);
        net.heal();
        let joined =
            net.nodes.iter().flat_map(|node| &node.journal).filter(|record| matches!(record, Record::Joined { .. })).count() as u64;
        let counters = net.counters();
        let of_this = [
            counters.sessions_ended,
            counters.deltas_dropped,
            counters.deltas_applied,
            net.ahead,
            joined,
            u64::from(counters.sessions_begun == 0),
        ];
        sums.iter_mut().zip(of_this).for_each(|(sum, more)| *sum += more);
    }
    assert!(sums.iter().all(|sum| *sum > 5), "{sums:?}");
}

#[test]
fn a_session_costs_what_differs_and_not_what_there_is() {
    let limits = Limits { kept_bytes: 1000, leaf_keys: 8, ..Limits::default() };
    let cost = |keys: u64, differing: u64| {
        let mut net = quiet(2, &[(0, 1)], limits.clone());
        net.judges = false;
        let all = (0..keys).map(|key| (key, true)).collect::<Vec<_>>();
        net.write(0, &all);
        net.release(0);
        net.heal();
        net.cut(0, 1);
        offline(&mut net, 0, 0..differing);
        offline(&mut net, 1, keys - differing..keys);
        let before = net.counters();
        net.heal();
        let after = net.counters();
        assert!(after.sessions_begun > before.sessions_begun);
        after.bytes_sent - before.bytes_sent
    };
    let (few, many, most) = (cost(1500, 10), cost(12_000, 10), cost(12_000, 100));
    assert!(many < few * 2, "eight times as many keys: {few}, {many}");
    assert!(most > many * 3 && most < many * 15, "ten times as many differ: {many}, {most}");
}

#[test]
fn a_slow_peer_holds_nobody_up_and_takes_no_memory() {
    let limits = Limits { kept_bytes: 20_000, window_bytes: 4000, frame_bytes: 1000, ..tiny() };
    let mut net = quiet(3, &Net::full(3), limits);
    net.judges = false;
    for key in 0..2000 {
        net.write(0, &[(key % 50, true)]);
        net.release(0);
        while net.deliver(0, 2) || net.deliver(2, 0) {}
        assert!(net.under_way(0, 1) < 8000, "{} bytes", net.under_way(0, 1));
        assert_eq!(net.nodes[0].model.vector, net.nodes[2].model.vector);
        if key % 10 == 0 {
            net.tick(0);
            net.tick(2);
        }
    }
    let status = net.nodes[0].exchange.peer(&net.nodes[0].model, NodeId(1), net.now()).unwrap();
    assert!(status.lag.is_some() && status.in_flight_bytes >= 4000);
    net.heal();
    assert!(net.counters().sessions_ended > 0);
}

#[test]
fn what_a_writer_does_not_bring_over_others_do() {
    let mut net = quiet(3, &Net::full(3), Limits::default());
    net.write(0, &[(1, true)]);
    net.release(0);
    // The connection from 0 to 2 stands, and brings nothing.
    for _ in 0..6 {
        while net.deliver(0, 1) || net.deliver(1, 0) || net.deliver(1, 2) || net.deliver(2, 1) {}
        net.tick_all();
    }
    assert_eq!(net.nodes[2].model.vector, net.nodes[0].model.vector);
    // The writer is gone for good: the others know.
    net.write(0, &[(2, true)]);
    net.release(0);
    while net.deliver(0, 1) {}
    (1..3).for_each(|other| net.cut(0, other));
    for _ in 0..2 {
        net.deliver_all();
        net.tick_all();
    }
    net.deliver_all();
    assert!(net.nodes[2].model.shown().contains_key(&2));
    assert_eq!(net.counters().sessions_begun, 0);
}

#[test]
fn who_lost_what_others_know_is_fenced() {
    for (lost, writes_on, receives) in [(1, false, false), (3, false, false), (2, true, false), (1, false, true)] {
        let mut net = quiet(2, &[(0, 1)], Limits::default());
        net.judges = false;
        for key in 0..4 {
            net.write(usize::from(receives), &[(key, true)]);
            net.release(usize::from(receives));
        }
        net.deliver_all();
        assert!(net.agree());
        net.restart_as(0, lost, 0);
        if writes_on {
            net.write(0, &[(9, true)]);
            net.release(0);
        }
        net.link_all();
        net.deliver_all();
        net.tick_all();
        net.deliver_all();
        assert!(net.nodes[0].exchange.is_fenced(), "lost {lost}, went on {writes_on}, lost what it had got {receives}");
        assert!(matches!(net.nodes[0].events[..], [Event::Fenced { .. }]) && !net.nodes[1].exchange.is_fenced());
        // As another actor it gets all back.
        let past = if writes_on { 1 } else { 0 };
        net.restart(0, past.max(1));
        net.heal();
        assert_eq!(net.nodes[0].model.shown().len(), 4);
    }
}

#[test]
fn strangers_are_refused_until_they_are_replicas() {
    let mut net = quiet(3, &Net::full(3), Limits::default());
    let two = BTreeSet::from([actor(0), actor(1)]);
    for at in 0..2 {
        let node = &mut net.nodes[at];
        node.exchange.set_replicas(&node.model, two.clone());
        net.drain(at);
    }
    net.deliver_all();
    net.cut(0, 2);
    net.link(0, 2);
    net.write(2, &[(1, true)]);
    net.release(2);
    net.deliver_all();
    assert!(
        net.nodes[0].events.contains(&Event::Stranger(NodeId(2), actor(2))) && net.nodes[2].events.contains(&Event::Refused(NodeId(0)))
    );
    assert_eq!(net.nodes[0].model.vector, VersionVector::default());
    net.cut(1, 2);
    net.tell_replicas();
    net.nodes.iter_mut().for_each(|node| node.events.clear());
    net.heal();
    assert!(net.nodes[0].model.shown().contains_key(&1));
}

#[test]
fn silent_divergence_is_found_and_mended() {
    for forgetful in 0..2 {
        let mut net = quiet(2, &[(0, 1)], Limits::default());
        net.write(0, &[(1, true), (2, true), (3, true)]);
        net.release(0);
        net.heal();
        net.nodes[forgetful].model.keys.remove(&(hash(2), 2));
        net.judges = false;
        for _ in 0..8 {
            net.tick_all();
            net.deliver_all();
        }
        assert!(net.nodes.iter().any(|node| node.events.iter().any(|event| matches!(event, Event::Diverged(_)))));
        assert!(net.agree() && net.counters().divergences > 0);
    }
}

#[test]
fn acknowledgements_are_counted_and_what_all_have_seen_is_stable() {
    let mut net = quiet(3, &Net::chain(3), Limits::default());
    net.write(0, &[(1, true)]);
    let version = net.writes[0].version;
    net.release(0);
    assert_eq!(net.nodes[0].exchange.acknowledged(version), 0);
    net.deliver(0, 1);
    net.deliver(1, 0);
    assert_eq!(net.nodes[0].exchange.acknowledged(version), 1);
    assert_eq!(net.nodes[0].model.collected, VersionVector::default());
    for _ in 0..4 {
        net.deliver_all();
        net.tick_all();
    }
    assert_eq!(net.nodes[0].exchange.acknowledged(version), 2);
    let stable = VersionVector::from_iter([version]);
    assert!(net.nodes.iter().all(|node| node.model.collected == stable && node.exchange.stable(&node.model) == stable));
}
