//! What servers hold against each other, beside what gossip has found: which of it counts, and how far it goes.

use std::time::Duration;

use steadfast_health::verdict::Report;
use steadfast_health::{Assessment, Evidence, HealthState};
use steadfast_membership::{Role, State};
use steadfast_types::Instant;

use super::world::{Heard, Turn};
use super::{Judge, STALE_AFTER, SUSPICION_LASTS};
use crate::gossip::Seen;

/// By then every server has reported to a new leader.
const REPORTED_BY: Duration = Duration::from_secs(35);

impl Judge {
    /// A server of which others may have something to say that have not reported to this judge yet.
    pub(super) fn may_be_accused(&self, Turn { world, members, .. }: &Turn<'_>, seen: &Seen) -> bool {
        let is_silent = |other: &&Seen| {
            let is_server = other.role == Role::Server && other.state == State::Alive && other.id != seen.id;
            is_server && !world.reports.contains_key(&other.id)
        };
        let is_early = world.moment.now.since(self.began) < REPORTED_BY;
        is_early && seen.role == Role::Server && members.values().copied().any(|other| is_silent(&other))
    }
}

/// The worst that other ways than gossip's can make of a node in this state of gossip's.
pub(super) fn worst(state: State) -> HealthState {
    match state {
        State::Alive | State::Left => HealthState::Degraded,
        State::Suspect => HealthState::Suspect,
        State::Failed => HealthState::Failed,
    }
}

/// What a node's report holds against another, if it counts: of one that answers gossip what has lasted while it does.
pub(super) fn against(heard: &Heard, subject: &Seen, now: Instant) -> Option<Report> {
    let age = now.since(heard.at);
    let against =
        heard.report.against.iter().find(|against| against.node == subject.id).filter(|_| heard.report.has_say && age < STALE_AFTER)?;
    let lasts = if subject.state == State::Alive { SUSPICION_LASTS } else { Duration::ZERO };
    let so_far = now.since(subject.since);
    let counts = |evidence: &Evidence| Duration::from_millis(evidence.lasting_ms).saturating_add(age).min(so_far) >= lasts;
    let kept = |assessment: &Assessment| {
        let evidence: Vec<Evidence> = assessment.evidence.iter().filter(|evidence| counts(evidence)).cloned().collect();
        Assessment { evidence, ..assessment.clone() }
    };
    let assessments: Vec<Assessment> = against.assessments.iter().map(kept).filter(|assessment| !assessment.evidence.is_empty()).collect();
    (!assessments.is_empty()).then_some(Report { observer: heard.report.node, age, has_say: true, assessments })
}

/// Adds what an observer says to what gossip has from it, which is from now: its own word must not replace that.
pub(super) fn add(reports: &mut Vec<Report>, Report { observer, age, has_say, mut assessments }: Report) {
    let Some(known) = reports.iter_mut().find(|report| report.observer == observer) else {
        return reports.push(Report { observer, age, has_say, assessments });
    };
    let older = steadfast_health::evidence::milliseconds(age);
    assessments.iter_mut().flat_map(|assessment| &mut assessment.evidence).for_each(|evidence| {
        evidence.lasting_ms = evidence.lasting_ms.saturating_add(older);
    });
    known.assessments.append(&mut assessments);
}
