//! What nodes say to each other about strong keys survives the wire, and nothing that comes over it does harm.

use bytes::Bytes;
use fastrand::Rng;
use proptest::collection::vec;
use proptest::prelude::*;
use steadfast_crdt::{Actor, Version};
use steadfast_register::message::{Accepted, Answered, Asked, Record as Held, Reply, Request, Value};
use steadfast_register::removal::{Ask, Said};
use steadfast_replica::registers::limits::{BATCH, KEY_BYTES, VALUE_BYTES};
use steadfast_replica::registers::{Assignment, Change, Functions, Message, Record, Registers};
use steadfast_types::wire::Wire;
use steadfast_types::{Instant, NodeId};

struct Nothing;

impl Functions for Nothing {
    type Command = ();
    type Answer = ();

    fn reads(&self, (): &()) -> bool {
        false
    }

    fn apply(&mut self, (): &(), _: Option<&Bytes>) -> (Change, ()) {
        (Change::Write(Some(Bytes::from_static(b"x"))), ())
    }

    fn too_large(&mut self, (): &()) {}
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..6).prop_map(Bytes::from)
}

fn version() -> impl Strategy<Value = Version> {
    any::<u64>().prop_map(Version::from_number)
}

fn value() -> impl Strategy<Value = Value> {
    (proptest::option::of(bytes()), vec(version(), 0..4), proptest::option::of(version()), 0..4_u64)
        .prop_map(|(bytes, writers, forgotten, began)| Value { bytes, writers: writers.into_iter().collect(), forgotten, began })
}

fn accepted() -> impl Strategy<Value = Option<Accepted>> {
    proptest::option::of((version(), value()))
}

fn message() -> impl Strategy<Value = Message> {
    let request = prop_oneof![
        Just(Request::Read {}),
        version().prop_map(|ballot| Request::Prepare { ballot }),
        (version(), value()).prop_map(|(ballot, value)| Request::Accept { ballot, value }),
    ];
    let reply = prop_oneof![
        accepted().prop_map(|accepted| Reply::Holds { accepted }),
        (version(), accepted(), proptest::option::of(version())).prop_map(|(ballot, accepted, floor)| Reply::Promised {
            ballot,
            accepted,
            floor
        }),
        version().prop_map(|ballot| Reply::Accepted { ballot }),
        (version(), version()).prop_map(|(ballot, promised)| Reply::Refused { ballot, promised }),
        (0..4_u64).prop_map(|epoch| Reply::OldEpoch { epoch }),
    ];
    let keys = || vec(bytes(), 0..4);
    let deleted = || vec((bytes(), version()), 0..4);
    prop_oneof![
        (0..4_u64, bytes(), version(), request).prop_map(|(epoch, key, round, request)| Message::Asked(Asked {
            epoch,
            key,
            round,
            request
        })),
        (bytes(), version(), reply).prop_map(|(key, round, reply)| Message::Answered(Answered { key, round, reply })),
        (any::<u64>(), 0..4_u64, keys()).prop_map(|(number, epoch, keys)| Message::Remove { number, ask: Ask::Deleted { epoch, keys } }),
        (any::<u64>(), 0..4_u64, deleted())
            .prop_map(|(number, epoch, deleted)| Message::Remove { number, ask: Ask::Remove { epoch, deleted } }),
        (any::<u64>(), 0..4_u64, deleted())
            .prop_map(|(number, epoch, deleted)| Message::Removed { number, said: Said::Deleted { epoch, deleted } }),
        any::<u64>().prop_map(|number| Message::Removed { number, said: Said::Removed {} }),
        keys().prop_map(|keys| Message::Deleted { keys }),
        (0..4_u64, keys()).prop_map(|(epoch, keys)| Message::Carried { epoch, keys }),
        (0..4_u64).prop_map(|epoch| Message::AllCarried { epoch }),
    ]
}

fn machine() -> Registers<Nothing> {
    let mut registers = Registers::new(NodeId(1), Actor::new(1).unwrap(), Rng::with_seed(0));
    registers.set_now(Instant(1), 1_800_000_000_000);
    let assignment = Assignment::first([NodeId(1), NodeId(2)].into()).moving([NodeId(2), NodeId(3)].into()).unwrap();
    registers.set_assignment(assignment, &mut Nothing);
    registers.connected(NodeId(2));
    registers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_survive_the_wire(message in message()) {
        prop_assert_eq!(Message::read(message.to_wire().into()), Ok(message));
    }

    #[test]
    fn whatever_a_peer_says_is_heard_or_refused(
        messages in vec((message(), any::<proptest::sample::Index>(), proptest::option::of(any::<u8>())), 1..10), noise in vec(any::<u8>(), 0..40)
    ) {
        let mut registers = machine();
        registers.ask(steadfast_replica::registers::RequestId(1), Bytes::from_static(b"k"), (), None, &mut Nothing);
        let _ = registers.receive(NodeId(2), noise.into(), &mut Nothing);
        for (message, at, other) in messages {
            let mut wire = message.to_wire();
            if let Some(other) = other {
                let at = at.index(wire.len());
                wire[at] = other;
            }
            let is_message = Message::from_wire(wire.clone().into()).is_ok();
            prop_assert_eq!(registers.receive(NodeId(2), wire.into(), &mut Nothing).is_ok(), is_message);
            let written = registers.outputs().written;
            registers.durable(written, &mut Nothing);
        }
    }

    #[test]
    fn rows_are_read_or_refused(noise in vec(any::<u8>(), 0..40), key in bytes(), ballot in version(), value in value()) {
        let mut registers = machine();
        let _ = registers.load(noise.into());
        let records = vec![Record::Held(Held::Accepted { key: key.clone(), ballot, value: value.clone() })];
        prop_assert_eq!(registers.load(records.to_wire().into()), Ok(()));
        prop_assert_eq!(registers.acceptor().held(&key), Some(&(ballot, value)));
    }
}

#[test]
fn what_exceeds_a_bound_is_refused() {
    let long = Bytes::from(vec![0; KEY_BYTES + 1]);
    let large = Value { bytes: Some(vec![0; VALUE_BYTES + 1].into()), ..Value::default() };
    let version = Version::from_number(1);
    let asked = |key, request| Message::Asked(Asked { epoch: 1, key, round: version, request });
    for message in [
        asked(long.clone(), Request::Read {}),
        asked(Bytes::new(), Request::Accept { ballot: version, value: large.clone() }),
        Message::Answered(Answered { key: Bytes::new(), round: version, reply: Reply::Holds { accepted: Some((version, large)) } }),
        Message::Deleted { keys: vec![long] },
        Message::Carried { epoch: 1, keys: vec![Bytes::new(); BATCH + 1] },
    ] {
        assert!(Message::read(message.to_wire().into()).is_err());
    }
}
