//! Makes a violation smaller: leaves things out of its run as long as the same checker still finds something.
//!
//! Greedy, in the manner of delta debugging (Zeller and Hildebrandt, 2002): whole classes of faults and habits, clients, the run's length,
//! then single strikes of faults, in halves, quarters and so on. Each attempt is a run of its own, so whatever comes out is a violation.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use steadfast_types::time::Duration;

use crate::run::{Report, run_cut};
use crate::swarm::Swarm;
use crate::world::TraceMode;

/// What is left out of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Classes, by their place in [`CLASSES`].
    without: BTreeSet<usize>,
    clients: Option<usize>,
    duration_ms: Option<u64>,
    strikes: BTreeSet<u64>,
}

/// Takes a class out of what was drawn.
type Without = fn(&mut Swarm);

/// What can be left out as a whole.
const CLASSES: [(&str, Without); 32] = [
    ("partitions", |swarm| swarm.partitions = None),
    ("crashes", |swarm| swarm.crashes = None),
    ("ambushes", |swarm| swarm.ambushes = None),
    ("blackouts", |swarm| swarm.blackouts = None),
    ("pauses", |swarm| swarm.pauses = None),
    ("drift", |swarm| swarm.drift_ppm = 0),
    ("sync-failures", |swarm| swarm.sync_failure = 0.0),
    ("full-disks", |swarm| swarm.full_disks = None),
    ("slow-disks", |swarm| swarm.slow_disks = None),
    ("corruption", |swarm| swarm.corruption = None),
    ("hand-overs", |swarm| swarm.hand_overs = None),
    ("compactions", |swarm| swarm.compactions = None),
    ("member-changes", |swarm| swarm.member_changes = None),
    ("lost-logs", |swarm| swarm.lost_logs = None),
    ("outages", |swarm| swarm.outages = None),
    ("torn-changes", |swarm| swarm.torn_changes = false),
    ("one-by-one", |swarm| swarm.one_by_one = false),
    ("slow-tables", |swarm| swarm.slow_tables = false),
    ("loss", |swarm| swarm.network.loss = 0.0),
    ("duplication", |swarm| swarm.network.duplication = 0.0),
    ("hold-ups", |swarm| swarm.network.hold_up = 0.0),
    ("reordering", |swarm| swarm.network.ordered = true),
    ("lease-reads", |swarm| swarm.lease_reads = false),
    ("wide", |swarm| swarm.wide = false),
    ("queue", |swarm| swarm.queue = 0.0),
    ("leases", |swarm| swarm.leases = false),
    ("watchers", |swarm| swarm.watchers = 0),
    ("lockers", |swarm| swarm.lockers = 0),
    ("sessions", |swarm| swarm.sessions = 0),
    ("auth", |swarm| swarm.auth = false),
    ("restored", |swarm| swarm.restored = false),
    ("gossip", |swarm| swarm.gossip = None),
];

impl Cut {
    /// Leaves it out.
    pub fn apply(&self, swarm: &mut Swarm) {
        for class in &self.without {
            CLASSES[*class].1(swarm);
        }
        swarm.clients = self.clients.unwrap_or(swarm.clients);
        swarm.duration = self.duration_ms.map_or(swarm.duration, Duration::from_millis);
        swarm.spared.clone_from(&self.strikes);
    }
}

impl fmt::Display for Cut {
    /// The form that [`Cut::from_str`] reads: `without=crashes+pauses,clients=2,ms=3200,strikes=1+5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: Vec<String>| (!items.is_empty()).then(|| items.join("+"));
        let parts = [
            ("without", list(self.without.iter().map(|class| CLASSES[*class].0.to_owned()).collect())),
            ("clients", self.clients.map(|clients| clients.to_string())),
            ("ms", self.duration_ms.map(|ms| ms.to_string())),
            ("strikes", list(self.strikes.iter().map(u64::to_string).collect())),
        ];
        let parts: Vec<String> = parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cut = Cut::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not NAME=VALUE"))?;
            let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
            match name {
                "without" => {
                    let class =
                        |name: &str| CLASSES.iter().position(|(class, _)| *class == name).ok_or(format!("there is no class {name:?}"));
                    cut.without = value.split('+').map(class).collect::<Result<_, _>>()?;
                }
                "clients" => cut.clients = Some(usize::try_from(number(value)?).map_err(|error| error.to_string())?),
                "ms" => cut.duration_ms = Some(number(value)?),
                "strikes" => cut.strikes = value.split('+').map(number).collect::<Result<_, _>>()?,
                _ => return Err(format!("{name:?} is none of without, clients, ms, strikes")),
            }
        }
        Ok(cut)
    }
}

/// How much happened in a run: turns, frames and requests.
pub fn events(report: &Report) -> u64 {
    report.counts.turns + report.counts.frames + report.counts.requests
}

/// A search for the smallest run.
struct Search<'a> {
    seed: u64,
    nodes: Option<usize>,
    checker: &'static str,
    cut: Cut,
    report: Report,
    /// Told of each attempt: how many there were, and the fewest events so far.
    progress: &'a mut dyn FnMut(u64, u64),
    attempts: u64,
}

/// Makes the violation of a seed smaller with at most so many runs. `None`: there is none.
pub fn shrink(seed: u64, nodes: Option<usize>, most_runs: u64, progress: &mut dyn FnMut(u64, u64)) -> Option<(Cut, Report)> {
    let cut = Cut::default();
    let report = run_cut(seed, nodes, &cut, TraceMode::Hash);
    let checker = report.outcome.as_ref().err()?.checker;
    let mut search = Search { seed, nodes, checker, cut, report, progress, attempts: 0 };
    loop {
        let before = events(&search.report);
        search.leave_out_classes();
        search.leave_out_clients();
        search.shorten();
        search.leave_out_strikes(most_runs);
        if events(&search.report) >= before || search.attempts >= most_runs {
            return Some((search.cut, search.report));
        }
    }
}

impl Search<'_> {
    /// Keeps a cut if it shows the same in fewer events.
    fn attempt(&mut self, cut: Cut) -> bool {
        self.attempts += 1;
        let report = run_cut(self.seed, self.nodes, &cut, TraceMode::Hash);
        let same = report.outcome.as_ref().is_err_and(|violation| violation.checker == self.checker);
        let is_better = same && events(&report) < events(&self.report);
        if is_better {
            (self.cut, self.report) = (cut, report);
        }
        (self.progress)(self.attempts, events(&self.report));
        is_better
    }

    fn leave_out_classes(&mut self) {
        for (class, (_, without)) in CLASSES.iter().enumerate() {
            let mut swarm = self.report.swarm.clone();
            without(&mut swarm);
            if swarm != self.report.swarm {
                let mut cut = self.cut.clone();
                cut.without.insert(class);
                self.attempt(cut);
            }
        }
    }

    fn leave_out_clients(&mut self) {
        for clients in 1..self.report.swarm.clients {
            if self.attempt(Cut { clients: Some(clients), ..self.cut.clone() }) {
                return;
            }
        }
    }

    fn shorten(&mut self) {
        for sixteenths in [2, 4, 8, 12, 14, 15] {
            let duration_ms = u64::try_from(self.report.swarm.duration.as_millis()).expect("runs are short") * sixteenths / 16;
            if self.attempt(Cut { duration_ms: Some(duration_ms), ..self.cut.clone() }) {
                return;
            }
        }
    }

    fn leave_out_strikes(&mut self, most_runs: u64) {
        let all: u64 = self.report.counts.faults.iter().sum();
        let mut size = all.div_ceil(2);
        while size > 0 && self.attempts < most_runs {
            for first in (1..=all).step_by(usize::try_from(size).expect("few strikes")) {
                let more: BTreeSet<u64> = (first..first + size).filter(|strike| !self.cut.strikes.contains(strike)).collect();
                if !more.is_empty() {
                    let strikes = &self.cut.strikes | &more;
                    self.attempt(Cut { strikes, ..self.cut.clone() });
                }
            }
            size /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_types::Rng;

    #[test]
    fn a_cut_is_read_as_it_is_written() {
        let text = "without=crashes+watchers,clients=2,ms=3200,strikes=1+5";
        assert_eq!(text.parse::<Cut>().unwrap().to_string(), text);
        assert_eq!("".parse::<Cut>().unwrap(), Cut::default());
        for bad in ["clients", "clients=x", "without=bugs", "strikes=1+", "tempo=3"] {
            bad.parse::<Cut>().unwrap_err();
        }
    }

    #[test]
    fn every_class_can_be_drawn_and_left_out() {
        let drawn: Vec<Swarm> = (0..200).map(|seed| Swarm::draw(&mut Rng::with_seed(seed), None)).collect();
        for (name, without) in CLASSES {
            let leaves_out = |swarm: &Swarm| {
                let mut less = swarm.clone();
                without(&mut less);
                less != *swarm
            };
            assert!(drawn.iter().any(leaves_out), "{name}");
        }
    }
}
