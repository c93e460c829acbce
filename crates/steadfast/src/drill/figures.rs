//! The arithmetic of a report: from requests, faults and what the nodes said to figures. Pure.
//!
//! All times are in milliseconds since the load began.

use serde::Serialize;
use steadfast_proof::time::Time;

use super::faults::Mark;
use super::load::{Outcome, Record};
use super::sampler::{Sample, View};

/// The part of a normal distribution's mass within so many deviations is 95 %.
const Z_95: f64 = 1.959_964;
/// What 99.999 % leaves for failures.
const FIVE_NINES: f64 = 1e-5;
/// A slot of the timeline, milliseconds, for runs that are not long.
const SLOT_MS: u64 = 100;
/// Slots of a timeline, at most: a page has so many points.
const SLOTS: u64 = 900;

/// What was measured.
pub(super) struct Measured<'a> {
    /// When the load began.
    pub(super) begin: Time,
    /// When its last request was to be sent.
    pub(super) end: Time,
    /// How many clients there were.
    pub(super) clients: usize,
    /// Requests a second.
    pub(super) rate: u64,
    /// Every request.
    pub(super) records: &'a [Record],
    /// Every fault, by time.
    pub(super) marks: &'a [Mark],
    /// Every change of what a node says, by time.
    pub(super) samples: &'a [Sample],
    /// The nodes' names.
    pub(super) names: &'a [String],
}

/// The figures of a drill.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    /// How long the load ran, seconds.
    pub(super) seconds: f64,
    /// Requests a second.
    pub(super) rate: u64,
    /// How the requests ended.
    pub(super) requests: Requests,
    /// Good ones of all.
    pub(super) availability: Availability,
    /// The longest time that a client had to wait from one good answer to the next.
    pub(super) longest_gap: Gap,
    /// Of good answers, from the time at which they were to be asked.
    pub(super) latency_ms: Latency,
    /// Every fault.
    pub(super) faults: Vec<FaultFigures>,
    /// How often another leader, or the same in another term, came up.
    pub(super) leader_changes: u64,
    /// What the faults cost; `None`: there was none.
    pub(super) five_nines: Option<FiveNines>,
    /// How long a slot of the timeline is.
    pub(super) slot_ms: u64,
    /// The run in slots.
    pub(super) timeline: Vec<Slot>,
    /// Who led when.
    pub(super) leaders: Vec<Reign>,
}

/// Counts of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Requests {
    /// Answered in time.
    pub(super) good: u64,
    /// Known to have had no effect.
    pub(super) bad: u64,
    /// Writes that may have taken effect or not.
    pub(super) unknown: u64,
}

/// A part of 1 and its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Availability {
    /// The part.
    pub(super) value: f64,
    /// The lower bound, with 95 % confidence.
    pub(super) low: f64,
    /// The upper bound, with 95 % confidence.
    pub(super) high: f64,
    /// How the bounds are made.
    pub(super) method: &'static str,
}

/// A client that waited.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Gap {
    /// How long.
    pub(super) ms: f64,
    /// Who.
    pub(super) client: usize,
    /// Since when.
    pub(super) at_ms: f64,
}

/// Latencies, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Latency {
    /// Half are no longer.
    pub(super) p50: f64,
    /// 99 of 100 are no longer.
    pub(super) p99: f64,
    /// None is longer.
    pub(super) max: f64,
}

/// A fault and what followed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FaultFigures {
    /// What.
    pub(super) kind: String,
    /// To whom.
    pub(super) nodes: Vec<String>,
    /// Whether the leader was among them.
    pub(super) of_leader: bool,
    /// When.
    pub(super) at_ms: f64,
    /// When it was over.
    pub(super) ended_ms: Option<f64>,
    /// Until another node no longer took the old leader for one.
    pub(super) notice_ms: Option<f64>,
    /// Until a node led in a new term.
    pub(super) elect_ms: Option<f64>,
    /// Until a write was acknowledged that was sent after the fault.
    pub(super) first_write_ms: Option<f64>,
}

/// What faults cost, and how many of them 99.999 % allow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct FiveNines {
    /// The time that the failed requests stand for, for each fault.
    pub(super) lost_ms_per_fault: f64,
    /// The time from one fault to the next that would give just 99.999 %.
    pub(super) seconds_between_faults: f64,
}

/// A part of the timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Slot {
    /// How the requests that were due in it ended.
    #[serde(flatten)]
    pub(super) requests: Requests,
    /// Half of the good answers took no longer.
    pub(super) median_ms: Option<f64>,
    /// None took longer.
    pub(super) worst_ms: Option<f64>,
}

/// A time with one leader, by the word of the nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Reign {
    /// Its name; `None`: nobody led.
    pub(super) leader: Option<String>,
    /// Its term.
    pub(super) term: u64,
    /// Since when.
    pub(super) from_ms: f64,
    /// Until when.
    pub(super) to_ms: f64,
}

impl Requests {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Good => self.good += 1,
            Outcome::Bad => self.bad += 1,
            Outcome::Unknown => self.unknown += 1,
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> u64 {
        self.good + self.bad + self.unknown
    }
}

/// Wilson's score interval for `good` of `all`, with 95 % confidence.
fn wilson(good: u64, all: u64) -> Availability {
    let method = "Wilson, 95 %";
    if all == 0 {
        return Availability { value: 0.0, low: 0.0, high: 1.0, method };
    }
    let (n, value) = (all as f64, good as f64 / all as f64);
    let z2 = Z_95 * Z_95;
    let centre = (value + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let reach = Z_95 / (1.0 + z2 / n) * (value * (1.0 - value) / n + z2 / (4.0 * n * n)).sqrt();
    Availability { value, low: (centre - reach).max(0.0), high: (centre + reach).min(1.0), method }
}

impl Measured<'_> {
    /// All figures.
    pub(super) fn figures(&self) -> Figures {
        let mut requests = Requests::default();
        self.records.iter().for_each(|record| requests.count(record.outcome));
        let slot_ms = SLOT_MS * (self.length_ms() as u64).div_ceil(SLOT_MS).div_ceil(SLOTS).max(1);
        let leaders = self.reigns();
        Figures {
            seconds: self.length_ms() / 1000.0,
            rate: self.rate,
            requests,
            availability: wilson(requests.good, requests.all()),
            longest_gap: self.longest_gap(),
            latency_ms: latency(self.records.iter().filter(|record| record.outcome == Outcome::Good).map(taken_ms).collect()),
            faults: (0..self.marks.len()).map(|at| self.fault(at)).collect(),
            leader_changes: leader_changes(&leaders),
            five_nines: self.five_nines(requests),
            slot_ms,
            timeline: self.timeline(slot_ms),
            leaders,
        }
    }

    fn ms(&self, time: Time) -> f64 {
        (time.0 as f64 - self.begin.0 as f64) / 1000.0
    }

    fn length_ms(&self) -> f64 {
        self.ms(self.end)
    }

    fn longest_gap(&self) -> Gap {
        let mut last = vec![self.begin; self.clients];
        let mut longest = Gap { ms: 0.0, client: 0, at_ms: 0.0 };
        let mut extend = |client: usize, from: Time, to: Time| {
            let ms = to.since(from).as_secs_f64() * 1000.0;
            if ms > longest.ms {
                longest = Gap { ms, client, at_ms: self.ms(from) };
            }
        };
        let mut good: Vec<&Record> = self.records.iter().filter(|record| record.outcome == Outcome::Good).collect();
        good.sort_by_key(|record| record.ended);
        for record in good {
            extend(record.client, last[record.client], record.ended);
            last[record.client] = record.ended;
        }
        last.iter().enumerate().for_each(|(client, from)| extend(client, *from, self.end));
        longest
    }

    fn five_nines(&self, requests: Requests) -> Option<FiveNines> {
        let faults = self.marks.len() as f64;
        let lost_ms_per_fault = (requests.bad + requests.unknown) as f64 * 1000.0 / self.rate as f64 / faults;
        (faults > 0.0).then_some(FiveNines { lost_ms_per_fault, seconds_between_faults: lost_ms_per_fault / 1000.0 / FIVE_NINES })
    }

    fn timeline(&self, slot_ms: u64) -> Vec<Slot> {
        let count = (self.length_ms() / slot_ms as f64).ceil() as usize;
        let mut slots = vec![(Requests::default(), Vec::new()); count];
        for record in self.records {
            let at = (self.ms(record.scheduled) / slot_ms as f64) as usize;
            if let Some((requests, times)) = slots.get_mut(at) {
                requests.count(record.outcome);
                if record.outcome == Outcome::Good {
                    times.push(taken_ms(record));
                }
            }
        }
        let slot = |(requests, times): (Requests, Vec<f64>)| {
            let taken = (!times.is_empty()).then(|| latency(times));
            Slot { requests, median_ms: taken.map(|taken| taken.p50), worst_ms: taken.map(|taken| taken.max) }
        };
        slots.into_iter().map(slot).collect()
    }

    fn fault(&self, at: usize) -> FaultFigures {
        let mark = &self.marks[at];
        let until = self.marks.get(at + 1).map_or(Time(u64::MAX), |next| next.began);
        let of_leader = mark.leader.is_some_and(|(leader, ..)| mark.nodes.contains(&leader));
        let after = |time: Time| (time.0 - mark.began.0) as f64 / 1000.0;
        let first = |is: &dyn Fn(&Sample, View) -> bool| {
            let in_time = self.samples.iter().filter(|sample| (mark.began..until).contains(&sample.at));
            in_time.filter(|sample| sample.view.is_some_and(|view| is(sample, view))).map(|sample| after(sample.at)).next()
        };
        let (notice_ms, elect_ms) = match mark.leader {
            Some((_, id, term)) if of_leader => (
                first(&|sample, view| !mark.nodes.contains(&sample.node) && (view.leader != id || view.term > term)),
                first(&|_, view| view.leads && view.term > term),
            ),
            Some(_) | None => (None, None),
        };
        let writes = self.records.iter().filter(|record| record.wrote && record.operation.invoked >= mark.began);
        FaultFigures {
            kind: mark.kind.to_string(),
            nodes: mark.nodes.iter().map(|node| self.names[*node].clone()).collect(),
            of_leader,
            at_ms: self.ms(mark.began),
            ended_ms: mark.ended.map(|ended| self.ms(ended)),
            notice_ms,
            elect_ms,
            first_write_ms: writes.map(|record| record.ended).min().map(after),
        }
    }

    /// Who led when: of those that say they lead, the one with the highest term.
    fn reigns(&self) -> Vec<Reign> {
        let mut views: Vec<Option<View>> = vec![None; self.names.len()];
        let mut reigns: Vec<Reign> = Vec::new();
        let mut samples: Vec<&Sample> = self.samples.iter().collect();
        samples.sort_by_key(|sample| sample.at);
        for sample in samples {
            views[sample.node] = sample.view;
            let leading = views.iter().enumerate().filter_map(|(node, view)| view.filter(|view| view.leads).map(|view| (view.term, node)));
            let now = leading.max().map_or((None, 0), |(term, node)| (Some(self.names[node].clone()), term));
            let at = self.ms(sample.at).clamp(0.0, self.length_ms());
            if reigns.last().is_some_and(|last| (&last.leader, last.term) == (&now.0, now.1)) {
                continue;
            }
            if let Some(last) = reigns.last_mut() {
                last.to_ms = at;
            }
            reigns.push(Reign { leader: now.0, term: now.1, from_ms: at, to_ms: self.length_ms() });
        }
        reigns.retain(|reign| reign.to_ms > reign.from_ms);
        reigns
    }
}

fn taken_ms(record: &Record) -> f64 {
    record.ended.since(record.scheduled).as_secs_f64() * 1000.0
}

fn latency(mut times: Vec<f64>) -> Latency {
    times.sort_by(f64::total_cmp);
    // The nearest rank.
    let at = |part: f64| times.get(((times.len() as f64 * part).ceil() as usize).saturating_sub(1)).copied().unwrap_or(0.0);
    Latency { p50: at(0.5), p99: at(0.99), max: at(1.0) }
}

fn leader_changes(reigns: &[Reign]) -> u64 {
    let led: Vec<(&Option<String>, u64)> =
        reigns.iter().filter(|reign| reign.leader.is_some()).map(|reign| (&reign.leader, reign.term)).collect();
    led.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
