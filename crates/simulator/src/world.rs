//! Virtual time, the queue of what will happen, and the trace of what did.
//!
//! Events happen in order of (time, the order they were scheduled in), so that a run depends on its seed alone.

use std::collections::{BTreeMap, VecDeque};

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
    events: BTreeMap<(Time, u64), E>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { now: Time::default(), scheduled: 0, events: BTreeMap::new() }
    }
}

impl<E> Queue<E> {
    /// The time of the event that happened last.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Schedules an event at `time`, or at once if that is past.
    pub fn at(&mut self, time: Time, event: E) {
        self.events.insert((time.max(self.now), self.scheduled), event);
        self.scheduled += 1;
    }

    /// Schedules an event `delay` from now.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now + delay, event);
    }

    /// Takes the next event if it happens no later than `until`, and moves time to it; else moves time to `until`.
    pub fn next(&mut self, until: Time) -> Option<E> {
        match self.events.first_entry() {
            Some(first) if first.key().0 <= until => {
                self.now = first.key().0;
                Some(first.remove())
            }
            _ => {
                self.now = self.now.max(until);
                None
            }
        }
    }
}

/// How many lines a recording keeps: what led to a violation is rarely further away.
const RECORDED_LINES: usize = 120;

/// What a run did: a hash of everything, and, if wanted, the last lines as text.
pub struct Trace {
    hasher: Xxh3,
    mode: TraceMode,
    lines: VecDeque<String>,
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
        Trace { hasher: Xxh3::new(), mode, lines: VecDeque::new() }
    }

    /// Something happened: `facts` tell it apart from anything else that could have.
    pub fn note(&mut self, at: Time, facts: &[u64], text: impl FnOnce() -> String) {
        self.hasher.update(&at.0.to_le_bytes());
        facts.iter().for_each(|fact| self.hasher.update(&fact.to_le_bytes()));
        self.text(at, text);
    }

    /// Adds a line that explains and does not count for the hash.
    pub fn text(&mut self, at: Time, text: impl FnOnce() -> String) {
        match self.mode {
            TraceMode::Hash => {}
            TraceMode::Record => {
                if self.lines.len() == RECORDED_LINES {
                    self.lines.pop_front();
                }
                self.lines.push_back(format!("{at} {}", shortened(&text())));
            }
            TraceMode::Print => println!("{at} {}", shortened(&text())),
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hasher.digest()
    }

    /// The recorded lines, oldest first.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.into()
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
    fn a_trace_hashes_facts_and_keeps_the_last_lines() {
        let mut a = Trace::new(TraceMode::Record);
        let mut b = Trace::new(TraceMode::Hash);
        for i in 0..200 {
            a.note(Time(i), &[i], || format!("line {i}"));
            b.note(Time(i), &[i], || unreachable!("nobody reads it"));
        }
        assert_eq!(a.hash(), b.hash());
        let lines = a.into_lines();
        assert_eq!((lines.len(), lines[119].as_str()), (120, "  0.000199 line 199"));
        b.note(Time(200), &[], String::new);
        assert_ne!(Trace::new(TraceMode::Hash).hash(), b.hash());
    }
}
