//! Findings from the facts of a node: what is likely wrong, by which rule, on what evidence, and what to do.
//!
//! The facts are plain structs that the shell fills from a bundle; a fact that is not known is left out and gives no finding. Each rule looks at the
//! facts alone and says what it found with a severity; findings are ranked by severity, then by the order of the rules, which goes from causes to
//! their effects: a full disk stands before the slow syncs that it makes.
//!
//! Texts in evidence have gone through [`crate::redact`], whoever took them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::grouping::Group;
use crate::limits::{DETAIL_BYTES, FINDINGS, cut};
use crate::redact::redact;
use crate::soft_errors::{self, NodeFigures};
use crate::states::HealthState;

mod rules;
#[cfg(test)]
mod tests;

/// A change of the node's health, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Which change.
    pub number: u64,
    /// The state after it.
    pub to: HealthState,
    /// Why, in words: the cause and what it rests on.
    pub why: String,
}

/// A thread of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// It can't be interrupted: state `D` of Linux.
    pub uninterruptible: bool,
    /// What it waits for in the kernel (`wchan`).
    pub waits_for: String,
    /// For how long it has been so without having run, ms, as far as was looked.
    pub for_ms: u64,
    /// It was uninterruptible at both of two looks, a second apart, whether or not it ran between them.
    pub waited_twice: bool,
    /// Processor time between two looks, ms.
    pub busy_ms: u64,
    /// The innermost call of our own code; empty if it is not known.
    pub place: String,
    /// Both looks found it at the very same place in the program.
    pub is_unmoved: bool,
}

/// What a peer says of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Who.
    pub peer: String,
    /// It hears the node.
    pub hears: bool,
    /// The node hears it.
    pub is_heard: bool,
}

/// All that is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its changes of health, oldest first.
    pub history: Vec<Past>,
    /// Errors and warnings of its log, by pattern.
    pub log: Vec<Group>,
    /// Its threads.
    pub threads: Vec<Thread>,
    /// Descriptors that are open, and how many may be.
    pub descriptors: Option<(u64, u64)>,
    /// Bytes of memory that it holds, and how many it may.
    pub memory: Option<(u64, u64)>,
    /// How often the kernel has killed for want of memory in its group.
    pub memory_kills: Option<u64>,
    /// Its figures beside its peers'.
    pub figures: NodeFigures,
    /// How its peers see it.
    pub peers: Vec<PeerView>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Tolerated so far.
    Warning,
    /// It takes the node out of service, or soon will.
    Critical,
}

/// What is likely wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The rule that fired.
    pub rule: &'static str,
    /// What it rests on.
    pub evidence: String,
    /// What to do, in plain words.
    pub remedy: &'static str,
}

/// What a rule says of the facts: a severity and the evidence of each thing that it found.
type Look = fn(&Facts) -> Vec<(Severity, String)>;

/// A rule of diagnosis.
struct Rule {
    name: &'static str,
    look: Look,
    remedy: &'static str,
}

/// Every finding, the worst first, at most [`FINDINGS`].
#[must_use]
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let by_rule = |rule: &Rule| {
        let (name, remedy) = (rule.name, rule.remedy);
        let finding = move |(severity, evidence): (Severity, String)| {
            let evidence = cut(&redact(&evidence), DETAIL_BYTES).into();
            Finding { severity, rule: name, evidence, remedy }
        };
        (rule.look)(facts).into_iter().map(finding).collect::<Vec<Finding>>()
    };
    let mut findings: Vec<Finding> = rules::RULES.iter().flat_map(by_rule).collect();
    findings.sort_by_key(|finding| Reverse(finding.severity));
    findings.truncate(FINDINGS);
    findings
}
