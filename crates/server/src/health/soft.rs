//! This node's soft errors: its figures of the last minute, held against the rules of `steadfast_health::soft_errors`.
//!
//! A rule must be broken for [`LASTS`] without a break to be reported, and kept for as long to be so no longer: what comes and goes is the business of
//! metrics.
//!
//! Left out: the peers' syncs (nobody spreads them), pressure and descriptors (the rules are there, their figures are not collected yet).

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::statvfs;
use steadfast_health::Evidence;
use steadfast_health::soft_errors::{NodeFigures, SoftError, find};
use steadfast_types::Instant;

/// How long a rule must be broken, or kept.
const LASTS: Duration = Duration::from_secs(60);

/// Samples that figures are of: at one each two seconds a minute.
const WINDOW: usize = 30;

/// Before so many windows the usual tail of syncs is not known: five minutes.
const USUAL_AFTER: u32 = 150;

/// How much one window moves what is usual: half of a change is taken over in about an hour.
const USUAL_WEIGHT: f64 = 0.000_4;

/// Of fewer segments no share is told.
const SEGMENTS: u64 = 1_000;

/// Two buckets for each doubling, from a microsecond on.
const BUCKETS: usize = 64;

/// What the rest of the node counts for its soft errors; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Counted(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    syncs: [AtomicU64; BUCKETS],
    /// When the sync that is under way began, microseconds; 0: none is.
    sync_began: AtomicU64,
    repairs: AtomicU64,
}

impl Default for Counted {
    fn default() -> Self {
        Counted(Arc::new(Counts {
            syncs: std::array::from_fn(|_| AtomicU64::new(0)),
            sync_began: AtomicU64::new(0),
            repairs: AtomicU64::new(0),
        }))
    }
}

impl Counted {
    /// The log begins to be written and synced.
    pub(crate) fn sync_begins(&self, now: Instant) {
        self.0.sync_began.store(now.0, Ordering::Relaxed);
    }

    /// Since when the log is being synced, if it is.
    pub(super) fn syncing_since(&self) -> Option<Instant> {
        Some(Instant(self.0.sync_began.load(Ordering::Relaxed))).filter(|began| began.0 > 0)
    }

    /// A sync of the log took so long.
    pub(crate) fn synced(&self, took: Duration) {
        self.0.sync_began.store(0, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.syncs[bucket(us)].fetch_add(1, Ordering::Relaxed);
    }

    /// Damage was found, and is being repaired.
    pub(crate) fn repaired(&self) {
        self.0.repairs.fetch_add(1, Ordering::Relaxed);
    }

    fn syncs(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.0.syncs[at].load(Ordering::Relaxed))
    }
}

fn bucket(us: u64) -> usize {
    let us = us.max(1);
    let doublings = us.ilog2();
    let is_upper_half = doublings > 0 && us >> (doublings - 1) & 1 == 1;
    (doublings as usize * 2 + usize::from(is_upper_half)).min(BUCKETS - 1)
}

/// What a bucket's syncs took at most, us.
fn most(bucket: usize) -> u64 {
    let base = 1u64 << (bucket / 2);
    if bucket.is_multiple_of(2) { base + base / 2 } else { base * 2 }
}

/// The time that `permille` of the syncs took at most, us; `None`: there were none.
fn percentile(counts: &[u64; BUCKETS], permille: u64) -> Option<u64> {
    let all: u64 = counts.iter().sum();
    let wanted = (all * permille).div_ceil(1000).max(1);
    let mut seen = 0;
    let at = counts.iter().position(|count| {
        seen += count;
        seen >= wanted
    });
    at.filter(|_| all > 0).map(most)
}

/// What has been counted up to a moment.
#[derive(Clone, Debug)]
struct Sample {
    syncs: [u64; BUCKETS],
    /// Segments that the machine sent, and sent again.
    segments: Option<(u64, u64)>,
}

/// The figures of one node over time.
#[derive(Debug)]
pub(super) struct Soft {
    counted: Counted,
    directory: PathBuf,
    window: VecDeque<Sample>,
    usual_us: f64,
    usual_windows: u32,
    clock_offset_ms: Option<u64>,
    lasting: Lasting,
}

impl Soft {
    pub(super) fn new(counted: Counted, directory: PathBuf) -> Self {
        Soft {
            counted,
            directory,
            window: VecDeque::new(),
            usual_us: 0.0,
            usual_windows: 0,
            clock_offset_ms: None,
            lasting: Lasting::default(),
        }
    }

    /// How far this node's wall clock is from what the leader reckons the cluster's to be.
    pub(super) fn set_clock_offset(&mut self, milliseconds: u64) {
        self.clock_offset_ms = Some(milliseconds);
    }

    /// Takes a sample; the soft errors that have lasted. Reads files of the kernel's, and asks the disk how full it is.
    pub(super) fn sample(&mut self, now: Instant) -> Vec<Evidence> {
        let segments = std::fs::read_to_string("/proc/net/snmp").ok().and_then(|text| segments(&text));
        let sample = Sample { syncs: self.counted.syncs(), segments };
        let figures = self.figures(sample);
        self.lasting.take(now, &find(&figures))
    }

    fn figures(&mut self, sample: Sample) -> NodeFigures {
        let first = self.window.front().unwrap_or(&sample);
        let syncs = std::array::from_fn(|at| sample.syncs[at] - first.syncs[at]);
        let (tail, median) = (percentile(&syncs, 990), percentile(&syncs, 500));
        let retransmitted = sample.segments.zip(first.segments).and_then(|(now, then)| share(now, then));
        let usual = (self.usual_windows >= USUAL_AFTER).then_some(self.usual_us as u64);
        self.learn(tail);
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(sample);
        let (disk, inodes) = disk(&self.directory);
        NodeFigures {
            sync_p99_us: tail,
            sync_p50_us: median,
            usual_sync_p99_us: usual,
            retransmitted_per_mille: retransmitted,
            clock_offset_ms: self.clock_offset_ms,
            disk_used_per_mille: disk,
            inodes_used_per_mille: inodes,
            corrected_corruptions: Some(self.counted.0.repairs.load(Ordering::Relaxed)),
            ..NodeFigures::default()
        }
    }

    /// What is usual follows what is: quickly at first, then slowly, so that an hour of trouble is not the usual.
    fn learn(&mut self, tail: Option<u64>) {
        let Some(tail) = tail else { return };
        self.usual_windows = self.usual_windows.saturating_add(1);
        let weight = (1.0 / f64::from(self.usual_windows)).max(USUAL_WEIGHT);
        self.usual_us += (tail as f64 - self.usual_us) * weight;
    }
}

/// Of a thousand segments those that were sent again.
fn share((sent, again): (u64, u64), (sent_then, again_then): (u64, u64)) -> Option<u64> {
    let sent = sent.checked_sub(sent_then).filter(|sent| *sent >= SEGMENTS)?;
    Some(again.checked_sub(again_then)? * 1000 / sent)
}

/// `OutSegs` and `RetransSegs` of the kernel's table, which names its columns in a line of their own.
fn segments(text: &str) -> Option<(u64, u64)> {
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (rows.next()?, rows.next()?);
    let value = |name: &str| {
        let at = names.split(' ').position(|column| column == name)?;
        values.split(' ').nth(at)?.parse().ok()
    };
    Some((value("OutSegs")?, value("RetransSegs")?))
}

/// Of a thousand bytes and of a thousand inodes those that are used.
fn disk(directory: &std::path::Path) -> (Option<u64>, Option<u64>) {
    let Ok(disk) = statvfs(directory) else { return (None, None) };
    // What is kept for the system's own use is no room, as `df` reckons.
    let share = |all: u64, free: u64, room: u64| {
        let used = all.saturating_sub(free);
        (used + room > 0).then(|| used.saturating_mul(1000) / (used + room))
    };
    (share(disk.f_blocks, disk.f_bfree, disk.f_bavail), share(disk.f_files, disk.f_ffree, disk.f_favail))
}

/// Which rules are broken, since when, and until when they were.
#[derive(Debug, Default)]
struct Lasting(BTreeMap<&'static str, Broken>);

#[derive(Clone, Copy, Debug)]
struct Broken {
    since: Instant,
    until: Instant,
    is_reported: bool,
    last: SoftError,
}

impl Lasting {
    fn take(&mut self, now: Instant, found: &[SoftError]) -> Vec<Evidence> {
        for error in found {
            let fresh = Broken { since: now, until: now, is_reported: false, last: *error };
            let broken = self.0.entry(error.rule.name).or_insert(fresh);
            (broken.until, broken.last) = (now, *error);
            broken.is_reported |= now.since(broken.since) >= LASTS;
        }
        self.0.retain(|_, broken| broken.until == now || broken.is_reported && now.since(broken.until) < LASTS);
        let reported = self.0.values().filter(|broken| broken.is_reported);
        reported.map(|broken| broken.last.evidence(now.since(broken.since))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant(s * 1_000_000)
    }

    #[test]
    fn what_comes_and_goes_is_not_reported_and_what_lasts_is() {
        let full = find(&NodeFigures { disk_used_per_mille: Some(900), ..NodeFigures::default() });
        let mut lasting = Lasting::default();
        for s in 0..200 {
            assert!(lasting.take(at(s), if s % 50 == 0 { &[] } else { &full }).is_empty(), "{s}");
        }
        let mut lasting = Lasting::default();
        let reported = |s: u64, found: &[SoftError], lasting: &mut Lasting| lasting.take(at(s), found).len();
        assert_eq!((reported(0, &full, &mut lasting), reported(59, &full, &mut lasting), reported(60, &full, &mut lasting)), (0, 0, 1));
        assert_eq!(reported(100, &[], &mut lasting), 1, "it must be kept for as long");
        assert_eq!((reported(110, &full, &mut lasting), reported(169, &[], &mut lasting), reported(170, &[], &mut lasting)), (1, 1, 0));
    }

    #[test]
    fn percentiles_are_within_half_a_doubling() {
        for us in [1, 2, 3, 100, 999, 20_000, 1_000_000] {
            let mut counts = [0; BUCKETS];
            counts[bucket(us)] = 7;
            let found = percentile(&counts, 990).unwrap();
            assert!(us <= found && found <= us * 2, "{us}: {found}");
        }
        let mut counts = [0; BUCKETS];
        (counts[bucket(100)], counts[bucket(50_000)]) = (98, 2);
        assert!(percentile(&counts, 500).unwrap() < 200 && percentile(&counts, 990).unwrap() >= 50_000);
        assert_eq!(percentile(&[0; BUCKETS], 500), None);
    }

    #[test]
    fn a_disk_that_turns_slow_is_seen_beside_its_usual_self() {
        let counted = Counted::default();
        let mut soft = Soft::new(counted.clone(), PathBuf::from("/nonexistent"));
        let mut sample = |us: u64| {
            (0..10).for_each(|_| counted.synced(Duration::from_micros(us)));
            soft.figures(Sample { syncs: counted.syncs(), segments: None })
        };
        let _usual: Vec<NodeFigures> = (0..200).map(|_| sample(2_000)).collect();
        let figures = (0..40).map(|_| sample(60_000)).last().unwrap();
        let names: Vec<_> = find(&figures).iter().map(|error| error.rule.name).collect();
        assert_eq!(names, ["sync slower than usual, p99, us"]);
    }

    #[test]
    fn segments_are_read_by_the_names_of_their_columns() {
        let text = "Ip: Forwarding\nIp: 1\nTcp: RtoMin OutSegs RetransSegs InErrs\nTcp: 200 5000 30 0\n";
        assert_eq!(segments(text), Some((5000, 30)));
        assert_eq!((share((7000, 130), (5000, 30)), share((5500, 130), (5000, 30))), (Some(50), None));
        assert_eq!(segments("Tcp: a b\nTcp: x"), None);
        assert!(segments(&std::fs::read_to_string("/proc/net/snmp").unwrap()).is_some());
    }

    #[test]
    fn a_disk_says_how_full_it_is() {
        let (disk, _) = disk(std::path::Path::new("/"));
        assert!(disk.is_some_and(|used| used <= 1000));
    }
}
