//! Any history of writes, cuts, restarts and losses.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use steadfast_available::exchange::{Limits, Record};
use steadfast_types::NodeId;

use crate::net::{Net, offline, quiet, tiny};

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
        (count, links, steps) in worlds(),
        faults in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..60),
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
