//! Single steps that random worlds seldom come to.

use bytes::Bytes;
use fastrand::Rng;
use steadfast_crdt::clock::HybridClock;
use steadfast_crdt::{Actor, Time, Version};
use steadfast_register::acceptor::Acceptor;
use steadfast_register::message::{Asked, Reply, Request, Value};
use steadfast_register::proposer::{Change, Functions, Output, Proposer};
use steadfast_register::quorum::Replicas;
use steadfast_types::{Instant, NodeId};

const KEY: Bytes = Bytes::from_static(b"k");

struct Read;

impl Functions for Read {
    type Answer = Option<Bytes>;

    fn apply(&mut self, _: u64, value: Option<&Bytes>) -> (Change, Self::Answer) {
        (Change::Keep, value.cloned())
    }
}

fn times() -> (Instant, Time) {
    (Instant(0), Time::default())
}

fn replicas() -> Replicas {
    Replicas { epoch: 0, current: (1..=3).map(NodeId).collect(), next: None, everyone: false }
}

fn proposer(actor: u16) -> Proposer<Option<Bytes>> {
    Proposer::new(Actor::new(actor).unwrap(), HybridClock::default(), Rng::with_seed(0))
}

fn version(number: u64, actor: u16) -> Version {
    Version::new(Time::at_unix_ms(Time::EPOCH_MS + number), Actor::new(actor).unwrap())
}

#[test]
fn answers_to_an_earlier_life_of_the_proposer_end_no_read() {
    let begin = |actor| {
        let mut proposer = proposer(actor);
        let outputs = proposer.ask(times(), 1, &KEY, &replicas(), true, &mut Read);
        (proposer, outputs)
    };
    let (_, before) = begin(1);
    let (mut proposer, after) = begin(2);
    let mut acceptor = Acceptor::default();
    let mut answer = |output: Output<_>| {
        let Output::Send(node, asked) = output else { panic!("it asks, and does nothing else") };
        let (_, answered) = acceptor.receive(asked).expect("its epoch");
        proposer.receive(times(), node, answered, &mut Read)
    };
    for output in before {
        assert!(answer(output).is_empty());
    }
    let outputs: Vec<_> = after.into_iter().flat_map(answer).collect();
    assert_eq!(outputs, [Output::Done(1, None)]);
}

#[test]
fn an_acceptor_answers_in_its_own_epoch_alone() {
    let ask = |epoch| Asked { epoch, key: KEY, round: version(1, 1), request: Request::Read {} };
    let mut acceptor = Acceptor::default();
    acceptor.enter(2);
    assert_eq!(acceptor.receive(ask(1)).map(|(_, answered)| answered.reply), Some(Reply::OldEpoch { epoch: 2 }));
    assert_eq!(acceptor.receive(ask(2)).map(|(_, answered)| answered.reply), Some(Reply::Holds { accepted: None }));
    assert_eq!(acceptor.receive(ask(3)), None);
}

#[test]
fn what_was_promised_for_a_removed_key_outlives_a_cut_log() {
    let ask = |ballot| Asked { epoch: 0, key: KEY, round: ballot, request: Request::Prepare { ballot } };
    let mut acceptor = Acceptor::default();
    assert!(acceptor.receive(ask(version(5, 1))).is_some_and(|(record, _)| record.is_some()));
    assert!(acceptor.forget_promise(&KEY, version(9, 1)).is_some());
    let mut again = Acceptor::restore(acceptor.records());
    let refused = Reply::Refused { ballot: version(4, 2), promised: version(5, 1) };
    assert_eq!(again.receive(ask(version(4, 2))).map(|(_, answered)| answered.reply), Some(refused));
}

#[test]
fn who_joins_a_round_is_not_answered_by_what_was_promised_before() {
    let (mut proposer, mut acceptor) = (proposer(1), Acceptor::default());
    let mut sent = proposer.ask(times(), 1, &KEY, &replicas(), false, &mut Read);
    let mut answer = |proposer: &mut Proposer<_>, output: Output<_>| {
        let Output::Send(node, asked) = output else { panic!("it asks, and does nothing else") };
        let (_, answered) = acceptor.receive(asked).expect("its epoch");
        proposer.receive(times(), node, answered, &mut Read)
    };
    assert!(answer(&mut proposer, sent.remove(0)).is_empty());
    // Another proposer may write at the two replicas that have not answered, and tell its client; then this one begins.
    assert!(proposer.ask(times(), 2, &KEY, &replicas(), true, &mut Read).is_empty());
    let outputs = answer(&mut proposer, sent.remove(0));
    assert_eq!(outputs[0], Output::Done(1, None));
    assert!(
        outputs[1..].iter().all(|output| matches!(output, Output::Send(..))) && outputs.len() == 4,
        "a round for the other: {outputs:?}"
    );
}

#[test]
fn a_register_is_removed_at_the_very_deletion_that_all_hold() {
    let (first, second) = (version(5, 1), version(6, 1));
    let ask = |ballot| Asked { epoch: 0, key: KEY, round: ballot, request: Request::Accept { ballot, value: Value::default() } };
    let mut acceptor = Acceptor::default();
    assert!(acceptor.receive(ask(first)).is_some_and(|(record, _)| record.is_some()));
    assert!(acceptor.receive(ask(second)).is_some_and(|(record, _)| record.is_some()));
    assert_eq!(acceptor.remove(&KEY, first), None);
    assert!(acceptor.remove(&KEY, second).is_some());
    // What is on its way since before is refused.
    assert_eq!(
        acceptor.receive(ask(second)).map(|(_, answered)| answered.reply),
        Some(Reply::Refused { ballot: second, promised: second })
    );
}

struct Write;

impl Functions for Write {
    type Answer = Option<Bytes>;

    fn apply(&mut self, _: u64, value: Option<&Bytes>) -> (Change, Self::Answer) {
        (Change::Write(Some(Bytes::from_static(b"x"))), value.cloned())
    }
}

#[test]
fn what_was_tried_in_an_epoch_before_a_register_began_may_have_taken_effect() {
    let mut proposer = proposer(1);
    let answered = |proposer: &mut Proposer<_>, acceptor: &mut Acceptor, sent: Vec<Output<_>>| -> Vec<Output<_>> {
        let answer = |output| {
            let Output::Send(node, asked) = output else { panic!("it asks, and does nothing else") };
            let (_, answered) = acceptor.receive(asked).expect("its epoch");
            proposer.receive(times(), node, answered, &mut Write)
        };
        sent.into_iter().flat_map(answer).collect()
    };
    let sent = proposer.ask(times(), 1, &KEY, &replicas(), false, &mut Write);
    let tried = answered(&mut proposer, &mut Acceptor::default(), sent);
    assert!(tried.len() == 3 && tried.iter().all(|output| matches!(output, Output::Send(..))), "{tried:?}");
    // All others may have come to hold that, and a deletion that was removed, before these became replicas, who promised nothing for removed keys.
    let mut acceptor = Acceptor::default();
    acceptor.enter(4);
    let sent = proposer.renew(times(), &KEY, &Replicas { epoch: 4, ..replicas() }, &mut Write);
    assert_eq!(sent.len(), 3);
    let outputs = answered(&mut proposer, &mut acceptor, sent);
    assert_eq!(outputs.first(), Some(&Output::Beaten(1)));
}
