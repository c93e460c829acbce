//! The brakes of recovery, judged from the records of plans in strong state, in the order of their revisions, whatever a planner says of them.
//!
//! 1. *One seat at a time*: at no revision do two plans go on that replace voters.
//! 2. *Few at once*: at no revision do more plans go on than the policy allows.
//! 3. *No mass eviction*: whoever let a plan begin was not shown, when it decided that, more failed servers than the policy allows.
//! 4. *By decision alone*: a plan begins in a revision that rewrites the head, so that of two planners one looks again.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_health::recovery::observed::Observed;
use steadfast_health::recovery::plan::{Kind, Plan};
use steadfast_health::recovery::policy::Policy;
use steadfast_health::states::HealthState;
use steadfast_proof::Violation;
use steadfast_types::Revision;

const CHECKER: &str = "brakes";

/// What a revision changed of recovery's records.
#[derive(Debug, Default)]
pub struct Written {
    /// The decision that it is.
    pub decision: Option<u64>,
    /// The plans, by their keys; `None`: deleted.
    pub plans: Vec<(Bytes, Option<Plan>)>,
}

/// What a planner was shown, and what bound it.
#[derive(Clone, Copy, Debug)]
struct Shown {
    servers: usize,
    failed: usize,
    halt_above_percent: usize,
    concurrent: usize,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Brakes {
    /// By decision, committed or not.
    shown: BTreeMap<u64, Shown>,
    /// The plans that go on, as of `newest`.
    going_on: BTreeMap<Bytes, Plan>,
    newest: Revision,
}

impl Brakes {
    /// A planner has decided something, after it was shown this.
    pub fn decided(&mut self, decision: u64, observed: &Observed, policy: &Policy) {
        let failed = observed.subjects.values().filter(|seen| seen.state == HealthState::Failed).count();
        let &Policy { halt_above_percent, concurrent, .. } = policy;
        self.shown.insert(decision, Shown { servers: observed.subjects.len(), failed, halt_above_percent, concurrent });
    }

    /// Whether nobody has reported a revision yet: first reports come in order.
    pub fn is_news(&self, revision: Revision) -> bool {
        revision > self.newest
    }

    /// A revision was applied for the first time.
    ///
    /// # Errors
    /// A plan begins in it that should not.
    pub fn written(&mut self, revision: Revision, written: Written) -> Result<(), Violation> {
        self.newest = revision;
        let mut begun = None;
        for (key, plan) in written.plans {
            match plan.filter(|plan| plan.is_open() && !plan.is_waiting()) {
                Some(plan) => {
                    begun = begun.or_else(|| (!self.going_on.contains_key(&key)).then(|| plan.id.subject.clone()));
                    self.going_on.insert(key, plan);
                }
                None => drop(self.going_on.remove(&key)),
            }
        }
        let Some(begun) = begun else { return Ok(()) };
        let violation = |text| Err(Violation::new(CHECKER, format!("a plan for {begun} begins in revision {revision}, {text}")));
        let Some(Shown { servers, failed, halt_above_percent, concurrent }) = written.decision.and_then(|id| self.shown.get(&id).copied())
        else {
            return violation("which is no decision".to_owned());
        };
        if failed * 100 > servers * halt_above_percent {
            return violation(format!("decided by one that sees {failed} of {servers} servers failed"));
        }
        let of_voters = self.going_on.values().filter(|plan| matches!(plan.kind, Kind::ReplaceVoter { .. })).count();
        match of_voters > 1 || self.going_on.len() > concurrent {
            true => violation(format!("as one of {}, {of_voters} for voters", self.going_on.len())),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_health::recovery::observed::{Epoch, Role, Seen};
    use steadfast_health::recovery::planner::{Change, Records, decide};
    use steadfast_health::subject::Subject;
    use steadfast_types::NodeId;
    use steadfast_types::time::Duration;

    /// Voters 1 to 5 and spares 6 to 8, of which these failed.
    fn observed(failed: &[u64]) -> Observed {
        let seen = |id: u64| {
            let state = if failed.contains(&id) { HealthState::Failed } else { HealthState::Healthy };
            let role = if id <= 5 { Role::Voter } else { Role::Spare };
            (Subject::Node(NodeId(id)), Seen { role, state, failed_for: Duration::from_secs(1_000), epoch: Epoch(0), cause: "1 2".into() })
        };
        Observed { subjects: (1..=8).map(seen).collect() }
    }

    /// A plan for this one, as the planner makes it where nothing else failed.
    fn plan_for(id: u64) -> (Bytes, Option<Plan>) {
        let decision = decide(&observed(&[id]), &Records::default(), &Policy::default());
        let [Change::Create(plan)] = &decision.changes[..] else { panic!("{decision:?}") };
        (id.to_string().into(), Some(plan.clone()))
    }

    fn brakes(failed: &[u64]) -> Brakes {
        let mut brakes = Brakes::default();
        brakes.decided(1, &observed(failed), &Policy::default());
        brakes
    }

    fn written(plans: Vec<(Bytes, Option<Plan>)>) -> Written {
        Written { decision: Some(1), plans }
    }

    #[test]
    fn two_voters_at_once_are_too_many() {
        let mut brakes = brakes(&[1, 2]);
        brakes.written(Revision(5), written(vec![plan_for(1)])).unwrap();
        brakes.written(Revision(6), written(vec![(Bytes::from("1"), None), plan_for(2)])).unwrap();
        brakes.written(Revision(7), written(vec![plan_for(1)])).unwrap_err();
    }

    #[test]
    fn three_plans_are_more_than_two() {
        let mut brakes = brakes(&[1, 6, 7]);
        brakes.written(Revision(5), written(vec![plan_for(1), plan_for(6)])).unwrap();
        brakes.written(Revision(6), written(vec![plan_for(7)])).unwrap_err();
    }

    #[test]
    fn nothing_begins_where_most_have_failed_or_nobody_has_decided() {
        brakes(&[1, 2, 6, 7]).written(Revision(5), written(vec![plan_for(1)])).unwrap();
        brakes(&[1, 2, 6, 7, 8]).written(Revision(5), written(vec![plan_for(1)])).unwrap_err();
        brakes(&[1]).written(Revision(5), Written { decision: None, plans: vec![plan_for(1)] }).unwrap_err();
    }
}
