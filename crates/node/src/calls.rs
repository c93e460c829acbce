//! Questions to the leader that do not go through the log: asked by any node, repeated while that is harmless, until the deadline.

use std::collections::BTreeMap;

use steadfast_types::{Instant, time::Duration};

use crate::message::Question;

/// Open questions of this node's clients, by number.
#[derive(Debug)]
pub(crate) struct Calls<S> {
    next: u64,
    open: BTreeMap<u64, Call<S>>,
}

#[derive(Debug)]
struct Call<S> {
    slot: S,
    question: Question,
    deadline: Instant,
    last_sent: Option<Instant>,
}

impl<S> Calls<S> {
    /// `first` is random, so that a late answer to an earlier process life answers nothing in this one.
    pub(crate) fn new(first: u64) -> Self {
        Calls { next: first, open: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn add(&mut self, slot: S, question: Question, deadline: Instant) {
        self.open.insert(self.next, Call { slot, question, deadline, last_sent: None });
        self.next = self.next.wrapping_add(1);
    }

    /// Those to send now: never sent, or sent longer than `patience` ago. A membership change is asked for once: it is not safe to repeat.
    pub(crate) fn due(&mut self, now: Instant, patience: Duration) -> Vec<(u64, Question)> {
        let mut due = Vec::new();
        for (number, call) in &mut self.open {
            let repeatable = !matches!(call.question, Question::ChangeMembership { .. });
            if call.last_sent.is_none_or(|at| repeatable && now.since(at) >= patience) {
                call.last_sent = Some(now);
                due.push((*number, call.question.clone()));
            }
        }
        due
    }

    pub(crate) fn answered(&mut self, number: u64) -> Option<S> {
        self.open.remove(&number).map(|call| call.slot)
    }

    pub(crate) fn expire(&mut self, now: Instant) -> Vec<S> {
        self.open.extract_if(.., |_, call| call.deadline <= now).map(|(_, call)| call.slot).collect()
    }
}
