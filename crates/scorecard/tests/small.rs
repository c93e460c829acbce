//! All scenarios with a hundred nodes: nobody without a fault is failed or removed, the dead are noticed by all, and traffic is modest.

#[cfg(not(planted))]
use steadfast_scorecard::peer::Kind;
#[cfg(not(planted))]
use steadfast_scorecard::run::run;
#[cfg(not(planted))]
use steadfast_scorecard::scenario::Scenario;

#[cfg(not(planted))]
#[test]
fn a_hundred_nodes_keep_the_goals() {
    for scenario in Scenario::ALL {
        let result = run(Kind::Steadfast, scenario, 100, 1, &mut |_| {});
        assert_eq!(result.wrong(), None, "{}: {result:?}", scenario.name());
        assert!(result.unnoticed == 0.0, "{}: {result:?}", scenario.name());
        if scenario != Scenario::StartUp {
            assert!(result.idle_bytes < 1_000.0, "{}: {result:?}", scenario.name());
        }
    }
}

#[cfg(not(planted))]
#[test]
fn a_seed_repeats() {
    let once = || run(Kind::Steadfast, Scenario::Slow(8), 100, 7, &mut |_| {}).to_json();
    assert_eq!(once(), once());
}

#[cfg(not(planted))]
#[test]
fn plain_swim_lets_a_bad_link_condemn() {
    // What the inquiries are for: if this ever holds no more, they may be left out.
    let result = run(Kind::PlainSwim, Scenario::Loss, 100, 1, &mut |_| {});
    assert!(result.false_failures > 0, "{result:?}");
}
