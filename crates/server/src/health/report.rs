//! What every node tells the leader of its own cluster, and what it is answered: one question on the peer port ([`crate::peers::Topic::Health`]).
//!
//! Whether a node lives is gossip's business. A report is about what only the node itself knows: its soft errors, its services, and what it holds
//! against others. It is sent when it changes, and now and then again.
//!
//! Invariants:
//! 1. A report and its answer have bounded sizes; what has more, or breaks a bound in itself, is refused as a whole.
//! 2. Nothing in a report is a reading of a clock, but [`ReportAnswer::Taken::wall_ms`], which only the offset's soft error is made of.
//!
//! Left out: seals. Who reaches the peer port can report in another node's name, as it can speak in its name there at all: peers that do not trust
//! their network have certificates.

use bytes::Bytes;
use steadfast_health::checks::definition::Definition;
use steadfast_health::checks::restart::Restart;
use steadfast_health::limits::{CHECKS, RESTARTS};
use steadfast_health::{Assessment, Evidence, HealthState, Way};
use steadfast_types::wire::{Wire, WireError};
use steadfast_types::{ClusterId, NodeId, wire_enum, wire_struct};

/// A larger report is none, bytes: a question on the peer port has at most 64 KiB.
pub(crate) const REPORT_BYTES: usize = 48 * 1024;

/// Services of one report. Further ones are left out.
pub(crate) const SERVICES: usize = 256;

/// Soft errors of one report: more than there are rules.
pub(crate) const SOFT_ERRORS: usize = 32;

/// Members that one report holds something against. Who has something against more has trouble of its own.
pub(crate) const AGAINST: usize = 64;

/// Ways by which one report holds something against one member, and pieces of evidence of each.
const WAYS: usize = Way::ALL.len();
const EVIDENCE: usize = 4;

/// The longest name of a service that is reported, bytes: it is a part of a record's key.
const SERVICE_BYTES: usize = 256;

/// Pieces of evidence about one service.
const SERVICE_EVIDENCE: usize = 8;

/// One service of a node, as its checks have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceReport {
    pub(crate) service: String,
    pub(crate) state: HealthState,
    pub(crate) evidence: Vec<Evidence>,
}
wire_struct!(ServiceReport { service, state, evidence });

/// What a node holds against another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Against {
    pub(crate) node: NodeId,
    pub(crate) assessments: Vec<Assessment>,
}
wire_struct!(Against { node, assessments });

/// What a node says of itself and of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeReport {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    /// It has not stood still lately: what it holds against others counts.
    pub(crate) has_say: bool,
    pub(crate) soft_errors: Vec<Evidence>,
    pub(crate) services: Vec<ServiceReport>,
    pub(crate) against: Vec<Against>,
    /// Which declaration of its checks the node has: it is sent another one only.
    pub(crate) checks_revision: u64,
    /// What its wall clock said, milliseconds since 1970.
    pub(crate) wall_ms: u64,
}
wire_struct!(NodeReport { cluster, node, has_say, soft_errors, services, against, checks_revision, wall_ms });

impl NodeReport {
    /// The report that these bytes are.
    ///
    /// # Errors
    /// They are none, or it breaks a bound.
    pub(crate) fn read(bytes: Bytes) -> Result<Self, WireError> {
        if bytes.len() > REPORT_BYTES {
            return Err(WireError::Invalid("report: it is too long"));
        }
        let report = NodeReport::from_wire(bytes)?;
        let is_named = |service: &ServiceReport| (1..=SERVICE_BYTES).contains(&service.service.len());
        let is_brief = |against: &Against| {
            against.assessments.len() <= WAYS && against.assessments.iter().all(|assessment| assessment.evidence.len() <= EVIDENCE)
        };
        let is_within = report.services.len() <= SERVICES
            && report.soft_errors.len() <= SOFT_ERRORS
            && report.against.len() <= AGAINST
            && report.against.iter().all(is_brief)
            && report.services.iter().all(|service| is_named(service) && service.evidence.len() <= SERVICE_EVIDENCE);
        if is_within { Ok(report) } else { Err(WireError::Invalid("report: it says too much")) }
    }

    /// Its bytes. Services whose names are too long are left out, and others from the end until it fits.
    pub(crate) fn write(mut self) -> Vec<u8> {
        self.services.retain(|service| (1..=SERVICE_BYTES).contains(&service.service.len()));
        self.services.truncate(SERVICES);
        self.services.iter_mut().for_each(|service| service.evidence.truncate(SERVICE_EVIDENCE));
        self.soft_errors.truncate(SOFT_ERRORS);
        self.against.truncate(AGAINST);
        loop {
            let bytes = self.to_wire();
            if bytes.len() <= REPORT_BYTES || self.services.is_empty() {
                return bytes;
            }
            self.services.truncate(self.services.len() / 2);
        }
    }
}

/// What is declared for a node, as of a revision; 0: nothing ever was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) revision: u64,
    pub(crate) checks: Vec<Definition>,
    pub(crate) restarts: Vec<Restart>,
}
wire_struct!(Declared { revision, checks, restarts });

/// What a report is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReportAnswer {
    /// The leader has it.
    Taken {
        /// What the clocks of those who reported say, by the median.
        wall_ms: u64,
        /// The node's checks, if it has others.
        declared: Option<Declared>,
    },
    /// Another one leads, at this peer address.
    Ask(String),
    /// Nobody is known to lead, or the report can't be taken; why.
    NotNow(String),
}
wire_enum!(ReportAnswer { 1 => Taken { wall_ms, declared }, 2 => Ask(leader), 3 => NotNow(reason) });

impl ReportAnswer {
    /// The answer that these bytes are.
    ///
    /// # Errors
    /// They are none, or it breaks a bound.
    pub(crate) fn read(bytes: Bytes) -> Result<Self, WireError> {
        let answer = ReportAnswer::from_wire(bytes)?;
        match &answer {
            ReportAnswer::Taken { declared: Some(declared), .. }
                if declared.checks.len() > CHECKS || declared.restarts.len() > RESTARTS =>
            {
                Err(WireError::Invalid("answer: it declares too much"))
            }
            ReportAnswer::Taken { .. } | ReportAnswer::Ask(_) | ReportAnswer::NotNow(_) => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report(services: usize, length: usize) -> NodeReport {
        let service = |k: usize| ServiceReport { service: format!("{k:0length$}"), state: HealthState::Healthy, evidence: vec![] };
        NodeReport {
            cluster: ClusterId(7),
            node: NodeId(1),
            has_say: true,
            soft_errors: vec![],
            services: (0..services).map(service).collect(),
            against: vec![],
            checks_revision: 0,
            wall_ms: 5,
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_whatever_it_says(services in 0..600usize, length in 3..250usize) {
            let bytes = report(services, length).write();
            let read = NodeReport::read(bytes.into()).unwrap();
            prop_assert!(read.services.len() == services || read.services.len() < services && services * length > REPORT_BYTES / 4 || read.services.len() == SERVICES);
        }

        #[test]
        fn bytes_at_random_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = NodeReport::read(bytes.clone().into());
            let _ = ReportAnswer::read(bytes.into());
        }

        #[test]
        fn a_report_with_a_byte_changed_keeps_the_bounds(at in 0..60usize, byte: u8) {
            let mut bytes = report(3, 5).write();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(read) = NodeReport::read(bytes.into()) {
                prop_assert!(read.services.len() <= SERVICES);
            }
        }
    }

    #[test]
    fn what_says_too_much_is_refused() {
        assert!(NodeReport::read(report(SERVICES + 1, 3).to_wire().into()).is_err());
        assert!(NodeReport::read(report(1, SERVICE_BYTES + 1).to_wire().into()).is_err());
        assert!(NodeReport::read(vec![0; REPORT_BYTES + 1].into()).is_err());
    }
}
