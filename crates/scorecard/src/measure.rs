//! What is counted in a run, and what it comes to.

use serde_json::{Value, json};
use steadfast_types::Instant;

use crate::peer::{Kind, Number, Seen};
use crate::scenario::Scenario;

/// Not noticed.
const NEVER: u32 = u32::MAX;

/// What was seen by whom.
pub struct Ledger {
    size: usize,
    struck: Vec<bool>,
    /// For the dead, their place in `noticed`.
    grave: Vec<u32>,
    began: Instant,
    /// Milliseconds from death to notice, for each of the dead and each observer.
    noticed: Vec<u32>,
    /// When each node asked to join.
    pub joined_at: Vec<Instant>,
    /// How many milliseconds it took a pair to know each other: a count for each number of them.
    met: Vec<u64>,
    false_verdicts: u64,
    falsely_failed: Vec<bool>,
    struck_verdicts: u64,
    struck_failed: Vec<bool>,
    returns: u64,
}

impl Ledger {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(size: Number, victims: &[Number], kills: bool) -> Self {
        let size = size as usize;
        let (mut struck, mut grave) = (vec![false; size], vec![NEVER; size]);
        for (at, victim) in (0..).zip(victims) {
            struck[*victim as usize] = true;
            if kills {
                grave[*victim as usize] = at;
            }
        }
        Ledger {
            size,
            struck,
            grave,
            began: Instant::NEVER,
            noticed: vec![NEVER; if kills { victims.len() * size } else { 0 }],
            joined_at: vec![Instant(0); size],
            met: vec![0; 1 << 17],
            false_verdicts: 0,
            falsely_failed: vec![false; size],
            struck_verdicts: 0,
            struck_failed: vec![false; size],
            returns: 0,
        }
    }

    /// It begins now.
    pub fn begin(&mut self, now: Instant) {
        self.began = now;
    }

    /// Whether a node has a fault on itself or its links.
    #[must_use]
    pub fn is_struck(&self, number: Number) -> bool {
        self.struck[number as usize]
    }

    /// Somebody saw something.
    pub fn saw(&mut self, now: Instant, observer: Number, seen: Seen) {
        match seen {
            Seen::Down(number) => self.saw_down(now, observer as usize, number as usize),
            Seen::Up(number) => self.saw_up(now, observer as usize, number as usize),
        }
    }

    fn saw_down(&mut self, now: Instant, observer: usize, number: usize) {
        if !self.struck[number] {
            self.false_verdicts += 1;
            self.falsely_failed[number] = true;
            return;
        }
        self.struck_verdicts += 1;
        self.struck_failed[number] = true;
        if self.grave[number] != NEVER && now >= self.began {
            let notice = &mut self.noticed[self.grave[number] as usize * self.size + observer];
            *notice = (*notice).min(now.since(self.began).as_millis() as u32);
        }
    }

    fn saw_up(&mut self, now: Instant, observer: usize, number: usize) {
        if self.grave[number] != NEVER && now > self.began {
            // The dead came back: it was not noticed after all.
            self.returns += 1;
            self.noticed[self.grave[number] as usize * self.size + observer] = NEVER;
            return;
        }
        let since = self.joined_at[observer].max(self.joined_at[number]);
        let last = self.met.len() - 1;
        self.met[(now.since(since).as_millis() as usize).min(last)] += 1;
    }

    /// Times to notice, sorted, of all pairs of a dead and a living node; and how many pairs noticed nothing.
    fn notices(&self) -> (Vec<u32>, usize) {
        let living = (0..self.size).filter(|number| self.grave[*number] == NEVER).count();
        let pairs = living * self.noticed.len() / self.size.max(1);
        let is_living = |at: usize| self.grave[at % self.size] == NEVER;
        let seen = self.noticed.iter().enumerate().filter(|(at, ms)| **ms != NEVER && is_living(*at));
        let mut sorted: Vec<u32> = seen.map(|(_, ms)| *ms).collect();
        sorted.sort_unstable();
        let missing = pairs - sorted.len();
        (sorted, missing)
    }

    fn meetings(&self, expected: u64) -> [Option<f64>; 3] {
        let quantile = |share: f64| {
            let (wanted, mut counted) = ((expected as f64 * share).ceil() as u64, 0);
            let reached = |count: &u64| {
                counted += count;
                counted >= wanted
            };
            self.met.iter().position(reached).map(|ms| ms as f64 / 1000.0)
        };
        [quantile(0.5), quantile(0.99), quantile(1.0)]
    }
}

/// Percentiles where those that are missing count as never.
fn quantiles(sorted: &[u32], missing: usize) -> [Option<f64>; 3] {
    let all = sorted.len() + missing;
    let at = |share: f64| {
        let rank = ((all as f64 * share).ceil() as usize).max(1);
        sorted.get(rank - 1).map(|ms| f64::from(*ms) / 1000.0)
    };
    [at(0.5), at(0.99), at(1.0)]
}

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Result {
    /// Which code.
    pub kind: Kind,
    /// What went wrong.
    pub scenario: Scenario,
    /// How many nodes.
    pub size: Number,
    /// Which choices.
    pub seed: u64,
    /// Seconds from death until an observer noticed (start-up: until a pair knew each other): median, 99th percentile, last. `None`: not within the
    /// run.
    pub notice_s: [Option<f64>; 3],
    /// The share of pairs that noticed nothing.
    pub unnoticed: f64,
    /// Verdicts about nodes without a fault, over all observers.
    pub false_verdicts: u64,
    /// How many nodes without a fault anybody held failed.
    pub false_failures: usize,
    /// How many nodes without a fault were removed.
    pub false_removals: usize,
    /// Nodes with a fault that somebody held failed, and that were removed.
    pub struck: (usize, usize, usize),
    /// How often an observer took a dead node back.
    pub returns: u64,
    /// Bytes a second that a node sent while nothing was wrong: mean.
    pub idle_bytes: f64,
    /// Bytes a second that a node sent while it lasted: mean, and the busiest node's.
    pub bytes: (f64, f64),
    /// Packets a second and node.
    pub packets: f64,
    /// How long a removal was held back by a brake, seconds.
    pub held_s: u64,
}

/// What the network counted.
pub(crate) struct Traffic {
    pub(crate) idle_bytes: f64,
    pub(crate) bytes: (f64, f64),
    pub(crate) packets: f64,
}

/// What was decided about removals.
#[derive(Default)]
pub(crate) struct Removed {
    pub(crate) numbers: Vec<Number>,
    pub(crate) held_s: u64,
}

impl Result {
    pub(crate) fn new(
        kind: Kind,
        scenario: Scenario,
        size: Number,
        seed: u64,
        ledger: &Ledger,
        traffic: &Traffic,
        removed: &Removed,
    ) -> Self {
        let (sorted, missing) = ledger.notices();
        let count = |flags: &[bool]| flags.iter().filter(|flag| **flag).count();
        let (false_removed, struck_removed): (Vec<Number>, Vec<Number>) =
            removed.numbers.iter().partition(|number| !ledger.is_struck(**number));
        let pairs = u64::from(size) * u64::from(size - 1);
        let notice_s = if scenario == Scenario::StartUp { ledger.meetings(pairs) } else { quantiles(&sorted, missing) };
        Result {
            kind,
            scenario,
            size,
            seed,
            notice_s: if scenario.kills() || scenario == Scenario::StartUp { notice_s } else { [None; 3] },
            unnoticed: missing as f64 / (sorted.len() + missing).max(1) as f64,
            false_verdicts: ledger.false_verdicts,
            false_failures: count(&ledger.falsely_failed),
            false_removals: false_removed.len(),
            struck: (count(&ledger.struck), count(&ledger.struck_failed), struck_removed.len()),
            returns: ledger.returns,
            idle_bytes: traffic.idle_bytes,
            bytes: traffic.bytes,
            packets: traffic.packets,
            held_s: removed.held_s,
        }
    }

    /// What went against the goals, if anything did: the checkers' word for a planted bug.
    #[must_use]
    pub fn wrong(&self) -> Option<&'static str> {
        if self.false_removals > 0 {
            Some("false removal")
        } else if self.false_failures > 0 {
            Some("false failure")
        } else if self.returns > 0 {
            Some("the dead came back")
        } else if self.scenario == Scenario::Half && self.struck.2 > 0 {
            Some("mass removal")
        } else if self.scenario.kills() && self.notice_s[1].is_none_or(|seconds| seconds > 10.0) {
            Some("noticed late")
        } else {
            None
        }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "kind": self.kind.name(), "scenario": self.scenario.name(), "size": self.size, "seed": self.seed,
            "notice_s": self.notice_s, "unnoticed": self.unnoticed,
            "false_verdicts": self.false_verdicts, "false_failures": self.false_failures, "false_removals": self.false_removals,
            "struck": self.struck.0, "struck_failed": self.struck.1, "struck_removed": self.struck.2, "returns": self.returns,
            "idle_bytes": self.idle_bytes, "bytes_mean": self.bytes.0, "bytes_max": self.bytes.1, "packets": self.packets, "held_s": self.held_s,
        })
    }

    /// What [`Result::to_json`] made.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let number = |key: &str| value[key].as_f64();
        let count = |key: &str| value[key].as_u64().map(|count| count as usize);
        let seconds = |at: usize| value["notice_s"][at].as_f64();
        Some(Result {
            kind: Kind::ALL.into_iter().find(|kind| value["kind"] == kind.name())?,
            scenario: Scenario::ALL.into_iter().find(|scenario| value["scenario"] == scenario.name())?,
            size: count("size")? as Number,
            seed: value["seed"].as_u64()?,
            notice_s: [seconds(0), seconds(1), seconds(2)],
            unnoticed: number("unnoticed")?,
            false_verdicts: value["false_verdicts"].as_u64()?,
            false_failures: count("false_failures")?,
            false_removals: count("false_removals")?,
            struck: (count("struck")?, count("struck_failed")?, count("struck_removed")?),
            returns: value["returns"].as_u64()?,
            idle_bytes: number("idle_bytes")?,
            bytes: (number("bytes_mean")?, number("bytes_max")?),
            packets: number("packets")?,
            held_s: value["held_s"].as_u64()?,
        })
    }
}
