//! Soft errors of a node: what it tolerates, and its people should know of. Each rule is a row of [`RULES`].
//!
//! Baselines are spans and counts of the node itself and of its peers, as the shell has measured them. Values and bounds are in the unit that the
//! rule names. A figure that is not known gives no finding. Nothing here ever makes more than `degraded` (see `verdict`).

use alloc::vec::Vec;
use core::time::Duration;

use crate::evidence::{Evidence, Figures, Suspicion, Way, milliseconds};

/// What a node measured of itself over the last minute or so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFigures {
    /// The 99th percentile of its syncs now, us.
    pub sync_p99_us: Option<u64>,
    /// The median of its syncs now, us.
    pub sync_p50_us: Option<u64>,
    /// The same percentile as usual for this node, us.
    pub usual_sync_p99_us: Option<u64>,
    /// The median of its peers' medians, us.
    pub peers_sync_p50_us: Option<u64>,
    /// Segments that it sent again, of a thousand.
    pub retransmitted_per_mille: Option<u64>,
    /// How far its wall clock is from the median of its peers', ms, without sign.
    pub clock_offset_ms: Option<u64>,
    /// Bytes of its data's file system that are used, of a thousand.
    pub disk_used_per_mille: Option<u64>,
    /// Inodes of it that are used, of a thousand.
    pub inodes_used_per_mille: Option<u64>,
    /// Damaged records that it has repaired since its start.
    pub corrected_corruptions: Option<u64>,
    /// Share of the time in which all of its tasks waited for memory (PSI `full avg60`), of a thousand.
    pub memory_pressure_per_mille: Option<u64>,
    /// Share of the time in which some of its tasks waited for a processor (PSI `some avg60`), of a thousand.
    pub cpu_pressure_per_mille: Option<u64>,
    /// Share of the time in which all of its tasks waited for the disk (PSI `full avg60`), of a thousand.
    pub disk_pressure_per_mille: Option<u64>,
    /// Descriptors that are open, of a thousand of the limit.
    pub descriptors_used_per_mille: Option<u64>,
}

/// A figure and what it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The figure.
    pub value: u64,
    /// From which on it is a finding.
    pub bound: u64,
}

/// A rule: from a node's figures to a figure and its bound, if they are known.
#[derive(Clone, Copy, Debug)]
pub struct SoftRule {
    /// What it is called, with the unit of its figures.
    pub name: &'static str,
    /// Takes the figures.
    measure: fn(&NodeFigures) -> Option<Measured>,
    /// Why this bound.
    pub why: &'static str,
}

/// A figure against a fixed bound.
fn at_least(value: Option<u64>, bound: u64) -> Option<Measured> {
    value.map(|value| Measured { value, bound })
}

/// A figure against `times` another, and at least `floor`: ten times nearly nothing is nothing.
fn times(value: Option<u64>, usual: Option<u64>, times: u64, floor: u64) -> Option<Measured> {
    Some(Measured { value: value?, bound: usual?.saturating_mul(times).max(floor) })
}

/// Every rule.
pub const RULES: &[SoftRule] = &[
    SoftRule {
        name: "sync slower than usual, p99, us",
        measure: |figures| times(figures.sync_p99_us, figures.usual_sync_p99_us, 5, 20_000),
        why: "five times its own usual tail: the disk is shared, full or dying; below 20 ms no client notices",
    },
    SoftRule {
        name: "sync slower than its peers', p50, us",
        measure: |figures| times(figures.sync_p50_us, figures.peers_sync_p50_us, 4, 5_000),
        why: "four times the peers' median: as a leader it would slow all of them, even if it has always been so",
    },
    SoftRule {
        name: "sync slow, p99, us",
        measure: |figures| at_least(figures.sync_p99_us, 100_000),
        why: "a tenth of a second is a tenth of an election timeout",
    },
    SoftRule {
        name: "segments sent again, of 1000",
        measure: |figures| at_least(figures.retransmitted_per_mille, 20),
        why: "sound networks stay below 1; from 20 on throughput collapses",
    },
    SoftRule {
        name: "clock off its peers', ms",
        measure: |figures| at_least(figures.clock_offset_ms, 500),
        why: "nothing is decided by wall clocks, but logs and certificates are read by them",
    },
    SoftRule {
        name: "disk used, of 1000",
        measure: |figures| at_least(figures.disk_used_per_mille, 850),
        why: "merges of the tables need room for a while; a full disk stops writes",
    },
    SoftRule {
        name: "inodes used, of 1000",
        measure: |figures| at_least(figures.inodes_used_per_mille, 900),
        why: "without inodes no file can be made, though bytes are free",
    },
    SoftRule {
        name: "corrected corruptions",
        measure: |figures| at_least(figures.corrected_corruptions, 1),
        why: "a disk that has lied once lies again: replace it while the peers have everything",
    },
    SoftRule {
        name: "memory pressure, of 1000",
        measure: |figures| at_least(figures.memory_pressure_per_mille, 100),
        why: "a tenth of the time nothing moves for want of memory: the next step is the kernel's killer",
    },
    SoftRule {
        name: "processor pressure, of 1000",
        measure: |figures| at_least(figures.cpu_pressure_per_mille, 500),
        why: "half of the time something waits for a processor: heartbeats will be late",
    },
    SoftRule {
        name: "disk pressure, of 1000",
        measure: |figures| at_least(figures.disk_pressure_per_mille, 300),
        why: "a third of the time all wait for the disk",
    },
    SoftRule {
        name: "descriptors used, of 1000",
        measure: |figures| at_least(figures.descriptors_used_per_mille, 800),
        why: "without descriptors no connection is taken and no file opened",
    },
];

/// A soft error that was found.
#[derive(Clone, Copy, Debug)]
pub struct SoftError {
    /// By which rule.
    pub rule: &'static SoftRule,
    /// Its figures.
    pub measured: Measured,
}

impl SoftError {
    /// As evidence, which has lasted for `lasting`.
    #[must_use]
    pub fn evidence(&self, lasting: Duration) -> Evidence {
        let figures = Figures::SoftError { rule: self.rule.name.into(), value: self.measured.value, bound: self.measured.bound };
        Evidence { way: Way::SelfReport, strength: Suspicion::Soft, lasting_ms: milliseconds(lasting), figures }
    }
}

/// Every rule that the figures break, in the order of [`RULES`].
#[must_use]
pub fn find(figures: &NodeFigures) -> Vec<SoftError> {
    let found = |rule: &'static SoftRule| {
        let measured = (rule.measure)(figures).filter(|measured| measured.value >= measured.bound)?;
        Some(SoftError { rule, measured })
    };
    RULES.iter().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    fn names(figures: &NodeFigures) -> Vec<&'static str> {
        find(figures).iter().map(|error| error.rule.name).collect()
    }

    /// A good node.
    fn good() -> NodeFigures {
        NodeFigures {
            sync_p99_us: Some(3_000),
            sync_p50_us: Some(800),
            usual_sync_p99_us: Some(2_500),
            peers_sync_p50_us: Some(700),
            retransmitted_per_mille: Some(0),
            clock_offset_ms: Some(3),
            disk_used_per_mille: Some(400),
            inodes_used_per_mille: Some(20),
            corrected_corruptions: Some(0),
            memory_pressure_per_mille: Some(0),
            cpu_pressure_per_mille: Some(30),
            disk_pressure_per_mille: Some(10),
            descriptors_used_per_mille: Some(50),
        }
    }

    #[test]
    fn a_good_node_and_an_unknown_one_have_none() {
        assert!(names(&good()).is_empty());
        assert!(names(&NodeFigures::default()).is_empty());
    }

    /// Sets a figure, and the value from which on a rule finds it.
    type Break = (fn(&mut NodeFigures, u64), u64);

    #[test]
    fn every_rule_is_found_alone_at_its_bound_and_not_below() {
        let breaks: [Break; 12] = [
            (|figures, n| figures.sync_p99_us = Some(n), 20_000),
            (|figures, n| figures.sync_p50_us = Some(n), 5_000),
            (|figures, n| (figures.sync_p99_us, figures.usual_sync_p99_us) = (Some(n), Some(90_000)), 100_000),
            (|figures, n| figures.retransmitted_per_mille = Some(n), 20),
            (|figures, n| figures.clock_offset_ms = Some(n), 500),
            (|figures, n| figures.disk_used_per_mille = Some(n), 850),
            (|figures, n| figures.inodes_used_per_mille = Some(n), 900),
            (|figures, n| figures.corrected_corruptions = Some(n), 1),
            (|figures, n| figures.memory_pressure_per_mille = Some(n), 100),
            (|figures, n| figures.cpu_pressure_per_mille = Some(n), 500),
            (|figures, n| figures.disk_pressure_per_mille = Some(n), 300),
            (|figures, n| figures.descriptors_used_per_mille = Some(n), 800),
        ];
        let mut found = BTreeSet::new();
        for (set, bound) in breaks {
            let mut figures = good();
            set(&mut figures, bound - 1);
            assert!(names(&figures).is_empty(), "{bound}");
            set(&mut figures, bound);
            assert_eq!(names(&figures).len(), 1, "{bound}");
            found.extend(names(&figures));
        }
        assert_eq!(found.len(), RULES.len(), "a rule that nothing breaks");
    }

    #[test]
    fn a_disk_that_is_as_slow_as_ever_is_seen_beside_its_peers() {
        let figures = NodeFigures { sync_p50_us: Some(9_000), sync_p99_us: Some(19_000), usual_sync_p99_us: Some(19_000), ..good() };
        assert_eq!(names(&figures), ["sync slower than its peers', p50, us"]);
    }
}
