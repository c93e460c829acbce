//! What is written down, in order, and what waits until it is durable.
//!
//! 1. What an acceptor says waits for all records before it: it may tell what any of them says.
//! 2. What a proposer says waits until its clock's versions are set aside: after a restart it gives none of them again. That is done long before they
//!    are needed, so hardly anything ever waits for it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use steadfast_crdt::Time;
use steadfast_types::NodeId;

use super::limits::RESERVED_MS;
use super::message::{Message, Record};

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// So many records were written in this life, and so many of them are durable.
    written: u64,
    durable: u64,
    records: Vec<Record>,
    /// Versions up to this are set aside, durably or not.
    reserved: Time,
    /// Durably.
    reserved_durably: Time,
    /// Records that set versions aside and are not durable yet.
    reserving: VecDeque<(u64, Time)>,
    answers: VecDeque<(u64, NodeId, Message)>,
    questions: VecDeque<(u64, NodeId, Message)>,
}

impl Ledger {
    /// An earlier life set versions up to this aside.
    pub(super) fn replay(&mut self, until: Time) {
        self.reserved = self.reserved.max(until);
        self.reserved_durably = self.reserved;
    }

    /// The record that says what was set aside.
    pub(super) fn reserved(&self) -> Record {
        Record::Reserved { until: self.reserved }
    }

    pub(super) fn write(&mut self, record: Record) {
        self.written += 1;
        self.records.push(record);
    }

    /// What is to be written down now, and the number of its last record.
    pub(super) fn take(&mut self) -> (Vec<Record>, u64) {
        (core::mem::take(&mut self.records), self.written)
    }

    /// To be said when all that was written so far is durable.
    pub(super) fn answer(&mut self, to: NodeId, message: Message) {
        self.answers.push_back((self.written, to, message));
    }

    /// To be said when the versions up to `last` are set aside durably.
    pub(super) fn question(&mut self, to: NodeId, message: Message, last: Time) {
        if last.unix_ms() + RESERVED_MS / 2 > self.reserved.unix_ms() && self.reserved < Time::MAX {
            self.reserved = Time::at_unix_ms(last.unix_ms() + RESERVED_MS);
            self.write(Record::Reserved { until: self.reserved });
            self.reserving.push_back((self.written, self.reserved));
        }
        let needed = match last <= self.reserved_durably {
            true => 0,
            false => self.reserving.iter().find(|(_, until)| last <= *until).map_or(self.written, |(number, _)| *number),
        };
        self.questions.push_back((needed, to, message));
    }

    /// All records up to this one are durable.
    pub(super) fn durable(&mut self, number: u64) {
        self.durable = self.durable.max(number.min(self.written));
        while let Some((_, until)) = self.reserving.pop_front_if(|(number, _)| *number <= self.durable) {
            self.reserved_durably = until;
        }
    }

    /// Something that may be said now.
    pub(super) fn release(&mut self) -> Option<(NodeId, Message)> {
        let durable = self.durable;
        let may_go = |waiting: &mut (u64, NodeId, Message)| waiting.0 <= durable;
        let (_, to, message) = self.answers.pop_front_if(may_go).or_else(|| self.questions.pop_front_if(may_go))?;
        Some((to, message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write,
        Answer,
        /// The clock goes on by so many milliseconds before it is asked.
        Question(u64),
        Durable(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Write),
            Just(Step::Answer),
            (0..RESERVED_MS).prop_map(Step::Question),
            (0..10_u64).prop_map(Step::Durable),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn nothing_is_said_before_what_it_rests_on_is_durable(steps in steps()) {
            let (mut ledger, mut records, mut durable) = (Ledger::default(), Vec::new(), 0);
            let mut clock = Time::at_unix_ms(Time::EPOCH_MS + 1);
            // What was written when each was to be said, and the clock then.
            let (mut answers, mut questions) = (VecDeque::new(), VecDeque::new());
            for step in steps {
                match step {
                    Step::Write => ledger.write(Record::Reserved { until: Time::default() }),
                    Step::Answer => {
                        ledger.answer(NodeId(1), Message::AllCarried { epoch: 0 });
                        answers.push_back(ledger.written);
                    }
                    Step::Question(ms) => {
                        clock = Time::at_unix_ms(clock.unix_ms() + ms);
                        ledger.question(NodeId(2), Message::AllCarried { epoch: 0 }, clock);
                        questions.push_back(clock);
                    }
                    Step::Durable(more) => {
                        durable = ledger.written.min(durable + more);
                        ledger.durable(durable);
                    }
                }
                let (taken, written) = ledger.take();
                records.extend(taken);
                prop_assert_eq!(records.len() as u64, written);
                let set_aside = records[..durable as usize].iter().map(|record| match record {
                    Record::Reserved { until } => *until,
                    Record::Held(_) => Time::default(),
                });
                let set_aside = set_aside.max().unwrap_or_default();
                while let Some((to, _)) = ledger.release() {
                    match to {
                        NodeId(1) => prop_assert!(answers.pop_front().unwrap() <= durable),
                        _ => prop_assert!(questions.pop_front().unwrap() <= set_aside),
                    }
                }
                // And nothing waits longer.
                prop_assert!(answers.front().is_none_or(|written| *written > durable));
                prop_assert!(questions.front().is_none_or(|last| *last > set_aside));
            }
        }
    }
}
