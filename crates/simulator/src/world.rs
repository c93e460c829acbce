//! Virtual time, the queue of what will happen, and the trace of what did.
//!
//! Events happen in order of (time, the order they were scheduled in), so that a run depends on its seed alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use slab::Slab;
use steadfast_types::time::Duration;
use xxhash_rust::xxh3::Xxh3;

use steadfast_proof::shortened;
pub use steadfast_proof::time::Time;

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("simulated durations are short")
}

/// What will happen, in order.
#[derive(Debug)]
pub struct Queue<E> {
    now: Time,
    scheduled: u64,
    /// When, as how manieth scheduled, and where the event lies: events are not moved while others are put in order.
    order: BinaryHeap<Reverse<(Time, u64, usize)>>,
    events: Slab<E>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { now: Time::default(), scheduled: 0, order: BinaryHeap::new(), events: Slab::new() }
    }
}

impl<E> Queue<E> {
    /// The time of the event that happened last.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Schedules an event at `time`, or at once if that is past.
    pub fn at(&mut self, time: Time, event: E) {
        let place = self.events.insert(event);
        self.order.push(Reverse((time.max(self.now), self.scheduled, place)));
        self.scheduled += 1;
    }

    /// Schedules an event `delay` from now.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now + delay, event);
    }

    /// Takes the next event if it happens no later than `until`, and moves time to it; else moves time to `until`.
    pub fn next(&mut self, until: Time) -> Option<E> {
        let Some(Reverse((time, _, place))) = self.order.peek().copied().filter(|Reverse((time, ..))| *time <= until) else {
            self.now = self.now.max(until);
            return None;
        };
        self.order.pop();
        self.now = time;
        Some(self.events.remove(place))
    }
}

/// How many of the last lines a recording keeps.
const RECORDED_LINES: usize = 30;

/// How many milestones before them: what led to a violation is rarely further away.
const RECORDED_MILESTONES: usize = 40;

/// What a run did: a hash of everything, and, if wanted, the last lines as text.
pub struct Trace {
    hasher: Xxh3,
    mode: TraceMode,
    /// Milestones, up to those that are among the last lines.
    milestones: VecDeque<String>,
    /// The last lines, and whether each is a milestone.
    lines: VecDeque<(bool, String)>,
}

/// What a trace does with its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceMode {
    /// Only hashes: text is never made.
    Hash,
    /// Keeps the last lines, for the report of a violation.
    Record,
    /// Prints every line.
    Print,
}

impl Trace {
    /// An empty trace.
    pub fn new(mode: TraceMode) -> Self {
        Trace { hasher: Xxh3::new(), mode, milestones: VecDeque::new(), lines: VecDeque::new() }
    }

    /// Whether anybody reads the text.
    pub fn has_text(&self) -> bool {
        self.mode != TraceMode::Hash
    }

    /// Something happened: `facts` tell it apart from anything else that could have.
    pub fn note(&mut self, at: Time, facts: &[u64], text: impl FnOnce() -> String) {
        self.hash_in(at, facts);
        self.line(at, false, text);
    }

    /// Something happened that whoever looks for a cause wants to know of.
    pub fn milestone(&mut self, at: Time, facts: &[u64], text: impl FnOnce() -> String) {
        self.hash_in(at, facts);
        self.line(at, true, text);
    }

    /// Adds a line that explains and does not count for the hash.
    pub fn text(&mut self, at: Time, text: impl FnOnce() -> String) {
        self.line(at, false, text);
    }

    fn hash_in(&mut self, at: Time, facts: &[u64]) {
        self.hasher.update(&at.0.to_le_bytes());
        facts.iter().for_each(|fact| self.hasher.update(&fact.to_le_bytes()));
    }

    fn line(&mut self, at: Time, is_milestone: bool, text: impl FnOnce() -> String) {
        match self.mode {
            TraceMode::Hash => {}
            TraceMode::Record => {
                if self.lines.len() == RECORDED_LINES
                    && let Some((true, line)) = self.lines.pop_front()
                {
                    if self.milestones.len() == RECORDED_MILESTONES {
                        self.milestones.pop_front();
                    }
                    self.milestones.push_back(line);
                }
                self.lines.push_back((is_milestone, format!("{at} {}", shortened(&text()))));
            }
            TraceMode::Print => println!("{at} {}", shortened(&text())),
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hasher.digest()
    }

    /// A recording's timeline, oldest first: milestones, then everything of the last moments.
    pub fn into_timeline(self) -> Vec<String> {
        self.milestones.into_iter().chain(self.lines.into_iter().map(|(_, line)| line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_by_time_and_then_as_scheduled() {
        let mut queue = Queue::default();
        queue.at(Time(5), 'c');
        queue.at(Time(3), 'a');
        queue.at(Time(5), 'd');
        queue.at(Time(3), 'b');
        let mut order = Vec::new();
        while let Some(event) = queue.next(Time(5)) {
            if event == 'a' {
                queue.at(Time(1), 'A');
            }
            order.push((queue.now().0, event));
        }
        assert_eq!(order, [(3, 'a'), (3, 'b'), (3, 'A'), (5, 'c'), (5, 'd')]);
    }

    #[test]
    fn time_moves_to_the_bound_when_nothing_happens() {
        let mut queue = Queue::default();
        queue.at(Time(9), ());
        assert_eq!(queue.next(Time(8)), None);
        assert_eq!(queue.now(), Time(8));
    }

    #[test]
    fn a_trace_hashes_facts_and_keeps_milestones_and_the_last_lines() {
        let mut a = Trace::new(TraceMode::Record);
        let mut b = Trace::new(TraceMode::Hash);
        for i in 0..200 {
            match i % 50 {
                0 => a.milestone(Time(i), &[i], || format!("milestone {i}")),
                _ => a.note(Time(i), &[i], || format!("line {i}")),
            }
            b.note(Time(i), &[i], || unreachable!("nobody reads it"));
        }
        assert_eq!(a.hash(), b.hash());
        let lines = a.into_timeline();
        let starts = lines.iter().map(|line| line.split_once(' ').expect("a time").1.trim_start()).collect::<Vec<_>>();
        assert_eq!(
            starts[..5],
            ["0.000000 milestone 0", "0.000050 milestone 50", "0.000100 milestone 100", "0.000150 milestone 150", "0.000170 line 170"]
        );
        assert_eq!((lines.len(), *starts.last().expect("lines")), (34, "0.000199 line 199"));
        b.note(Time(200), &[], String::new);
        assert_ne!(Trace::new(TraceMode::Hash).hash(), b.hash());
    }
}
