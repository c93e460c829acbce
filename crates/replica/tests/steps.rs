//! Single steps of strong keys that random worlds seldom come to.

use bytes::Bytes;
use fastrand::Rng;
use steadfast_crdt::Actor;
use steadfast_replica::registers::{Assignment, Change, Functions, Message, Outcome, Outputs, Reason, Registers, RequestId};
use steadfast_types::{Instant, NodeId};

/// Writes what it is told.
struct Write;

impl Functions for Write {
    type Command = Bytes;
    type Answer = bool;

    fn reads(&self, _: &Bytes) -> bool {
        false
    }

    fn apply(&mut self, command: &Bytes, _: Option<&Bytes>) -> (Change, bool) {
        (Change::Write(Some(command.clone())), true)
    }

    fn too_large(&mut self, _: &Bytes) -> bool {
        false
    }
}

fn node(id: u64) -> Registers<Write> {
    let mut registers = Registers::new(NodeId(id), Actor::new(id as u16).unwrap(), Rng::with_seed(id));
    registers.set_now(Instant(1), 1_800_000_000_000);
    (1..=3).filter(|other| *other != id).for_each(|other| registers.connected(NodeId(other)));
    registers
}

fn assignment(nodes: impl IntoIterator<Item = u64>) -> Assignment {
    Assignment::first(nodes.into_iter().map(NodeId).collect())
}

fn says_it_is_through(outputs: &Outputs<bool>) -> bool {
    let read = |message: &Bytes| Message::read(message.clone()).expect("a message");
    outputs.messages.iter().any(|(_, message)| matches!(read(message), Message::AllCarried { .. }))
}

#[test]
fn a_replica_is_through_with_an_epoch_when_it_is_durably_in_it() {
    let (mut registers, first) = (node(1), assignment([1, 2]));
    registers.set_assignment(first.clone(), &mut Write);
    let written = registers.outputs().written;
    registers.durable(written, &mut Write);
    registers.set_assignment(first.moving([NodeId(2), NodeId(3)].into()).unwrap(), &mut Write);
    registers.tick(&mut Write);
    let outputs = registers.outputs();
    assert!(!outputs.records.is_empty() && !says_it_is_through(&outputs), "{outputs:?}");
    registers.durable(outputs.written, &mut Write);
    assert!(says_it_is_through(&registers.outputs()));
}

#[test]
fn a_node_alone_answers_when_its_records_are_durable() {
    let mut registers = node(1);
    // Before it knows who the replicas are it waits, or its time is over.
    registers.ask(RequestId(1), Bytes::from_static(b"k"), Bytes::from_static(b"v"), None, &mut Write);
    registers.ask(RequestId(2), Bytes::from_static(b"k"), Bytes::from_static(b"w"), Some(Instant(2)), &mut Write);
    assert_eq!(registers.next_deadline(), Instant(2));
    registers.set_now(Instant(2), 1_800_000_000_000);
    registers.tick(&mut Write);
    let answers = registers.outputs().answers;
    assert!(matches!(answers[..], [steadfast_replica::registers::Answer { id: RequestId(2), outcome: Outcome::Nothing(Reason::Late) }]));
    registers.set_assignment(assignment([1]), &mut Write);
    let mut trips = 0;
    let done = loop {
        let outputs = registers.outputs();
        if let Some(answer) = outputs.answers.into_iter().next() {
            break answer;
        }
        assert!(!outputs.records.is_empty() && outputs.messages.is_empty());
        registers.durable(outputs.written, &mut Write);
        trips += 1;
    };
    // Its epoch and its clock, its promise, and what it accepted.
    assert_eq!((done.id, done.outcome, trips), (RequestId(1), Outcome::Done(true), 3));
}

#[test]
fn a_value_that_is_too_large_is_not_written() {
    let mut registers = node(1);
    registers.set_assignment(assignment([1]), &mut Write);
    let large = vec![0; steadfast_replica::registers::limits::VALUE_BYTES + 1];
    registers.ask(RequestId(1), Bytes::from_static(b"k"), large.into(), None, &mut Write);
    for _ in 0..9 {
        let outputs = registers.outputs();
        registers.durable(outputs.written, &mut Write);
        if let [answer] = &outputs.answers[..] {
            assert_eq!(answer.outcome, Outcome::Done(false));
            return assert_eq!(registers.acceptor().held(&Bytes::from_static(b"k")), None);
        }
    }
    panic!("no answer");
}
