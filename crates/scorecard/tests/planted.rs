//! Each bug of membership that can be planted is noticed by a scenario: `RUSTFLAGS="--cfg planted" cargo test -p steadfast-scorecard --test planted`.
#![cfg(planted)]

use steadfast_scorecard::peer::Kind;
use steadfast_scorecard::run::run;
use steadfast_scorecard::scenario::Scenario;
use steadfast_types::planted::{Bug, plant};

fn wrong(bug: Option<Bug>, scenario: Scenario) -> Option<&'static str> {
    plant(bug);
    let wrong = run(Kind::Steadfast, scenario, 100, 1, &mut |_| {}).wrong();
    plant(None);
    wrong
}

// One test: a planted bug is in the whole process.
#[test]
fn planted_bugs_are_noticed() {
    for (bug, scenario, by) in [
        (Bug::VerdictOnOneWord, Scenario::Loss, "false failure"),
        (Bug::RemovalWithoutBrakes, Scenario::Half, "mass removal"),
        (Bug::StaleRevives, Scenario::Half, "the dead came back"),
    ] {
        assert_eq!(wrong(None, scenario), None);
        assert_eq!(wrong(Some(bug), scenario), Some(by));
    }
}
