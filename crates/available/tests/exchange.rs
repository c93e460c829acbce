//! What holds of replicas that speak with each other, whatever happens to them and to what is between them.

extern crate alloc;

use proptest::prelude::*;

#[path = "exchange/model.rs"]
mod model;
#[path = "exchange/net.rs"]
mod net;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn replicas_agree_after_whatever_happened((count, links, steps) in worlds()) {
        let mut net = Net::new(count, &links, tiny());
        for (a, b) in links {
            net.link(a, b);
        }
        run(&mut net, &steps);
        net.heal();
    }
}
