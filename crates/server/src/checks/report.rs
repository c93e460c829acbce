//! What a node says of its services: for the admin port, and for whoever carries it on.

use bytes::Bytes;
use serde::Serialize;
use steadfast_health::HealthState;
use steadfast_health::checks::tally::Outcome;
use steadfast_health::limits::{CHECKS, DETAIL_BYTES, VERDICT_EVIDENCE, cut};
use steadfast_health::verdict::Testimony;
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::{wire_enum, wire_struct};

/// Checks that a report names, the worst first: enough to say what is wrong, few enough to be carried around.
pub const REPORT_CHECKS: usize = 64;

/// Bytes of a service's or a check's name.
const NAME_BYTES: usize = 128;

/// How a check's last run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// None has ended yet.
    #[default]
    Pending,
    /// Well.
    Passed,
    /// Well enough.
    Warned,
    /// Not well.
    Failed,
}
wire_enum!(CheckOutcome { 1 => Pending {}, 2 => Passed {}, 3 => Warned {}, 4 => Failed {} });

/// One check of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// What it is called.
    pub name: String,
    /// How its last run ended.
    pub outcome: CheckOutcome,
    /// What was said then; nothing if it passed.
    pub words: String,
}
wire_struct!(CheckReport { name, outcome, words });

/// A service as its node has it. A report that was decoded keeps all bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceReport {
    /// What its user calls it.
    pub service: String,
    /// How it is.
    pub state: HealthState,
    /// Whether it is held degraded because it changes too often.
    pub is_flapping: bool,
    /// Since when, ms since 1970 by its node's wall clock: a label for people.
    pub since_ms: u64,
    /// Its checks, the worst first, at most [`REPORT_CHECKS`].
    pub checks: Vec<CheckReport>,
    /// How many checks it has that are not named.
    pub unnamed_checks: u64,
    /// What the state rests on, at most [`VERDICT_EVIDENCE`] pieces.
    pub evidence: Vec<Testimony>,
}

impl CheckReport {
    /// A check whose last run ended so.
    pub(super) fn of(name: &str, outcome: Option<&Outcome>) -> Self {
        let (outcome, words) = match outcome {
            None => (CheckOutcome::Pending, ""),
            Some(Outcome::Passed) => (CheckOutcome::Passed, ""),
            Some(Outcome::Warned(words)) => (CheckOutcome::Warned, words.as_str()),
            Some(Outcome::Failed(words)) => (CheckOutcome::Failed, words.as_str()),
        };
        CheckReport { name: name.to_owned(), outcome, words: cut(words, DETAIL_BYTES).to_owned() }
    }

    fn is_bounded(&self) -> bool {
        self.name.len() <= NAME_BYTES && self.words.len() <= DETAIL_BYTES
    }
}

impl ServiceReport {
    /// The same within its bounds.
    pub(super) fn bounded(mut self) -> Self {
        self.checks.sort_by(|one, other| other.outcome.cmp(&one.outcome).then_with(|| one.name.cmp(&other.name)));
        self.unnamed_checks += self.checks.len().saturating_sub(REPORT_CHECKS) as u64;
        self.checks.truncate(REPORT_CHECKS);
        self.evidence.truncate(VERDICT_EVIDENCE);
        self
    }

    fn is_bounded(&self) -> bool {
        self.service.len() <= NAME_BYTES
            && self.checks.len() <= REPORT_CHECKS
            && self.evidence.len() <= VERDICT_EVIDENCE
            && self.checks.iter().all(CheckReport::is_bounded)
    }

    /// All reports of a node, which have at most as many services as a node has checks.
    ///
    /// # Errors
    /// These bytes are none.
    pub fn decode_all(bytes: Bytes) -> Result<Vec<ServiceReport>, WireError> {
        let reports = Vec::<ServiceReport>::from_wire(bytes)?;
        if reports.len() <= CHECKS { Ok(reports) } else { Err(WireError::Invalid("service reports")) }
    }

    /// As the admin port shows it.
    pub(super) fn shown(&self) -> ShownReport<'_> {
        ShownReport {
            service: &self.service,
            state: self.state.to_string(),
            flapping: self.is_flapping,
            since_ms: self.since_ms,
            checks: &self.checks,
            unnamed_checks: self.unnamed_checks,
            evidence: self.evidence.iter().map(|testimony| testimony.evidence.to_string()).collect(),
        }
    }
}

impl Wire for ServiceReport {
    fn encode(&self, out: &mut Vec<u8>) {
        self.service.encode(out);
        self.state.encode(out);
        self.is_flapping.encode(out);
        self.since_ms.encode(out);
        self.checks.encode(out);
        self.unnamed_checks.encode(out);
        self.evidence.encode(out);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let report = ServiceReport {
            service: String::decode(reader)?,
            state: HealthState::decode(reader)?,
            is_flapping: bool::decode(reader)?,
            since_ms: u64::decode(reader)?,
            checks: Vec::decode(reader)?,
            unnamed_checks: u64::decode(reader)?,
            evidence: Vec::decode(reader)?,
        };
        if report.is_bounded() { Ok(report) } else { Err(WireError::Invalid("service report")) }
    }
}

/// A report in JSON.
#[derive(Serialize)]
pub(super) struct ShownReport<'a> {
    service: &'a str,
    state: String,
    flapping: bool,
    since_ms: u64,
    checks: &'a [CheckReport],
    unnamed_checks: u64,
    evidence: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_outcome() -> impl Strategy<Value = Option<Outcome>> {
        prop_oneof![
            Just(None),
            Just(Some(Outcome::Passed)),
            ".{0,1500}".prop_map(|words| Some(Outcome::Warned(words))),
            ".{0,1500}".prop_map(|words| Some(Outcome::Failed(words))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_a_node_reports_is_bounded_and_survives_the_wire(outcomes in prop::collection::vec(any_outcome(), 0..100), since_ms in any::<u64>()) {
            let checks = outcomes.iter().enumerate().map(|(k, outcome)| CheckReport::of(&format!("c{k}"), outcome.as_ref())).collect();
            let (service, state) = ("orders".to_owned(), HealthState::Degraded);
            let report = ServiceReport { service, state, is_flapping: true, since_ms, checks, unnamed_checks: 0, evidence: Vec::new() }.bounded();
            prop_assert_eq!(report.checks.len() + report.unnamed_checks as usize, outcomes.len());
            prop_assert!(report.checks.is_sorted_by_key(|check| std::cmp::Reverse(check.outcome)), "the worst are named");
            let reports = vec![report];
            prop_assert_eq!(ServiceReport::decode_all(reports.to_wire().into()), Ok(reports));
        }

        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(reports) = ServiceReport::decode_all(bytes.into()) {
                prop_assert!(reports.iter().all(ServiceReport::is_bounded));
            }
        }
    }

    #[test]
    fn what_breaks_a_bound_is_refused() {
        let check = CheckReport { name: "a".into(), outcome: CheckOutcome::Failed, words: "x".repeat(DETAIL_BYTES + 1) };
        let (service, state) = ("orders".to_owned(), HealthState::Failed);
        let report =
            ServiceReport { service, state, is_flapping: false, since_ms: 1, checks: vec![check], unnamed_checks: 0, evidence: Vec::new() };
        assert_eq!(ServiceReport::from_wire(report.to_wire().into()), Err(WireError::Invalid("service report")));
        let many = ServiceReport { checks: vec![CheckReport::default(); REPORT_CHECKS + 1], ..report };
        assert_eq!(ServiceReport::from_wire(many.to_wire().into()), Err(WireError::Invalid("service report")));
    }
}
