//! What of recovery people are to know, beside what failed itself: that a plan waits for them, that one has failed, that nothing is done.

use std::collections::BTreeMap;

use steadfast_health::recovery::plan::{Plan, PlanState};
use steadfast_health::recovery::planner::Withheld;
use steadfast_health::subject::Subject;
use steadfast_types::NodeId;

use super::executor::Failing;
use super::ledger::{Book, plan_name};

/// Something that is so until it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Concern {
    pub(crate) kind: ConcernKind,
    pub(crate) node: NodeId,
    /// If it is about a service on the node.
    pub(crate) service: Option<String>,
    /// Whom it is about, in words.
    pub(crate) subject: String,
    /// Why, and what to do.
    pub(crate) words: String,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConcernKind {
    /// A plan waits for approval.
    Waits,
    /// The last plan has failed, and its subject is failed still.
    Failed,
    /// Nothing is done about a failed subject, and nothing will be by itself.
    Withheld,
}

/// Everything of this kind.
pub(super) fn concerns(book: &Book, withheld: &BTreeMap<Subject, Withheld>, failing: &Failing) -> Vec<Concern> {
    let newest: BTreeMap<&Subject, &Plan> = book.plans.values().map(|kept| (&kept.plan.id.subject, &kept.plan)).collect();
    let needs_person = |subject: &Subject| withheld.get(subject) == Some(&Withheld::NeedsPerson);
    let of_plans = newest.into_values().filter_map(|plan| {
        let (name, subject) = (plan_name(&plan.id), &plan.id.subject);
        match plan.state {
            PlanState::Open if plan.is_waiting() && !plan.approved => {
                Some(concern(ConcernKind::Waits, subject, format!("{}; see `steadfast recovery show {name}`, then approve it", plan.cause)))
            }
            PlanState::Failed if failing.contains_key(subject) && !needs_person(subject) => {
                let end = plan.end.as_deref().unwrap_or("it was given up");
                Some(concern(ConcernKind::Failed, subject, format!("plan {name}: {end}")))
            }
            PlanState::Open | PlanState::Done | PlanState::Failed | PlanState::Cancelled => None,
        }
    });
    let stays = |why: &Withheld| match why {
        Withheld::MassFailure | Withheld::NoSpare | Withheld::NoQuorum | Withheld::NeedsPerson => true,
        // These pass, or are another one's alert.
        Withheld::Delay | Withheld::Brake | Withheld::OtherVoter | Withheld::NodeDown => false,
    };
    let of_withheld =
        withheld.iter().filter(|(_, why)| stays(why)).map(|(subject, why)| concern(ConcernKind::Withheld, subject, why.to_string()));
    of_plans.chain(of_withheld).collect()
}

fn concern(kind: ConcernKind, subject: &Subject, words: String) -> Concern {
    let service = match subject {
        Subject::Node(_) => None,
        Subject::Service { node: _, name } => Some(name.clone()),
    };
    Concern { kind, node: subject.node(), service, subject: subject.to_string(), words }
}
