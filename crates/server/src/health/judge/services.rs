//! The health of services: as their node says, and without their node they have failed.

use steadfast_health::HealthState;
use steadfast_health::states::Moment;

use super::super::cause::CAUSE_BYTES;
use super::super::report::{NodeReport, ServiceReport};
use super::{Decision, Ruling, Tracked};
use crate::gossip::Seen;

/// Services are as their node says; without their node they have failed.
pub(super) fn judge_services(
    moment: Moment,
    seen: &Seen,
    tracked: &mut Tracked,
    report: Option<&NodeReport>,
    decisions: &mut Vec<Decision>,
) {
    if tracked.health.state() == HealthState::Failed {
        let failed: Vec<String> =
            tracked.services.iter().filter(|(_, state)| **state != HealthState::Failed).map(|(service, _)| service.clone()).collect();
        for service in failed {
            let cause = format!("its node {} has failed", seen.name);
            set_service(moment, seen, tracked, (&service, HealthState::Failed), cause, decisions);
        }
        return;
    }
    let Some(report) = report else { return };
    let is_reported = |service: &String| report.services.iter().any(|reported| reported.service == *service);
    let gone: Vec<String> = tracked.services.keys().filter(|service| !is_reported(service)).cloned().collect();
    for service in gone {
        tracked.services.remove(&service);
        decisions.push(Decision::ServiceGone(seen.name.clone(), service));
    }
    for reported in &report.services {
        set_service(moment, seen, tracked, (&reported.service, reported.state), service_cause(reported), decisions);
    }
}

fn service_cause(reported: &ServiceReport) -> String {
    let evidence: Vec<String> = reported.evidence.iter().map(ToString::to_string).collect();
    let words = if evidence.is_empty() { "nothing is held against it".to_owned() } else { evidence.join("; ") };
    steadfast_health::limits::cut(&words, CAUSE_BYTES).to_owned()
}

fn set_service(
    moment: Moment,
    seen: &Seen,
    tracked: &mut Tracked,
    (service, to): (&str, HealthState),
    cause: String,
    decisions: &mut Vec<Decision>,
) {
    let before = tracked.services.insert(service.to_owned(), to);
    if before == Some(to) {
        return;
    }
    // The first state of a service is no change, unless it begins with trouble.
    let from = before.unwrap_or(if to > HealthState::Recovering { HealthState::Recovering } else { to });
    decisions.push(Decision::Changed(Ruling {
        node: seen.id,
        name: seen.name.clone(),
        role: seen.role,
        service: service.to_owned(),
        from,
        to,
        cause,
        observers: vec![seen.name.clone()],
        at_ms: moment.wall_ms,
    }));
}
