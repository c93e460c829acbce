//! For how long something has been held against somebody, by each way: longer than one piece of evidence tells, whose detector may have seen a part.

use std::collections::BTreeMap;

use steadfast_health::Way;
use steadfast_health::evidence::milliseconds;
use steadfast_types::{Instant, NodeId};

use super::super::report::Against;

/// Since when, for what is held now.
#[derive(Debug, Default)]
pub(super) struct Since(BTreeMap<(NodeId, Way), Instant>);

impl Since {
    /// Takes all that is held at `now`, and tells each piece how long it has been so. What is held no longer is forgotten.
    pub(super) fn lengthen(&mut self, now: Instant, against: &mut [Against]) {
        let mut held = BTreeMap::new();
        for Against { node, assessments } in against {
            for evidence in assessments.iter_mut().flat_map(|assessment| &mut assessment.evidence) {
                let key = (*node, evidence.way);
                let since = *held.entry(key).or_insert_with(|| self.0.get(&key).copied().unwrap_or(now));
                evidence.lasting_ms = evidence.lasting_ms.max(milliseconds(now.since(since)));
            }
        }
        self.0 = held;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use steadfast_health::{Assessment, Figures, Suspicion};

    #[test]
    fn what_lasts_grows_and_what_ended_begins_anew() {
        let late = || {
            let figures = Figures::LateAnswer { took_ms: 9, timeout_ms: 5 };
            let held = Assessment::held(Way::Timeout, Suspicion::Soft, Duration::ZERO, figures);
            vec![Against { node: NodeId(2), assessments: vec![held] }]
        };
        let mut since = Since::default();
        let mut lasting = |ms: u64, mut against: Vec<Against>| {
            since.lengthen(Instant(ms * 1_000), &mut against);
            against.first().map(|against| against.assessments[0].evidence[0].lasting_ms)
        };
        assert_eq!((lasting(5, late()), lasting(9, late()), lasting(10, vec![]), lasting(11, late())), (Some(0), Some(4), None, Some(0)));
    }
}
