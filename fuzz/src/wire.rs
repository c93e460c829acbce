//! The wire codec and what all rooms share of it. The first byte of an input chooses the type that the rest is decoded as.

use core::fmt::Debug;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use steadfast_consensus::Message;
use steadfast_node::{LeaseTtl, MembershipChange};
use steadfast_server::checks::ServiceReport;
use steadfast_server::checks::declared::Definition;
use steadfast_server::genesis::{Founder, Genesis};
use steadfast_state::command::{Command, Compare, Member, Operation, Range, Txn};
use steadfast_types::wire::Wire;
use steadfast_types::{Configuration, Entry, HardState, LogPosition, Payload};

/// Decodes bytes as a `T`. If they are one, its wire form gives the same value back, is no longer than they are, has no shorter value in
/// front of it and no longer one behind.
pub fn decode<T: Wire + PartialEq + Debug>(bytes: Bytes) -> Option<T> {
    let length = bytes.len();
    let value = T::from_wire(bytes).ok()?;
    let wire = Bytes::from(value.to_wire());
    assert!(wire.len() <= length, "{value:?} takes {} bytes and was read from {length}", wire.len());
    let again = T::from_wire(wire.clone());
    assert_eq!(again.as_ref(), Ok(&value), "its wire form is another value's");
    assert!(T::from_wire(wire.slice(..wire.len() - 1)).is_err(), "a prefix of {value:?} is a value too");
    assert!(T::from_wire([&wire[..], &[0]].concat().into()).is_err(), "{value:?} and one byte more is a value too");
    Some(value)
}

/// Decodes one of the shared types.
pub fn check(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else { return };
    let bytes = Bytes::copy_from_slice(rest);
    match kind {
        0 => drop(decode::<u64>(bytes)),
        1 => drop(decode::<i64>(bytes)),
        2 => drop(decode::<u32>(bytes)),
        3 => drop(decode::<bool>(bytes)),
        4 => drop(decode::<String>(bytes)),
        5 => drop(decode::<Option<Bytes>>(bytes)),
        6 => drop(decode::<Vec<(u64, String)>>(bytes)),
        7 => drop(decode::<BTreeMap<u64, Vec<Bytes>>>(bytes)),
        8 => drop(decode::<BTreeSet<i64>>(bytes)),
        9 => drop(decode::<Configuration>(bytes)),
        10 => drop(decode::<HardState>(bytes)),
        11 => drop(decode::<LogPosition>(bytes)),
        12 => drop(decode::<Payload>(bytes)),
        13 => drop(decode::<Vec<Entry>>(bytes)),
        14 => drop(decode::<Message>(bytes)),
        15 => drop(decode::<Command>(bytes)),
        16 => drop(decode::<Txn>(bytes)),
        17 => drop(decode::<Operation>(bytes)),
        18 => drop(decode::<Compare>(bytes)),
        19 => drop(decode::<Range>(bytes)),
        20 => drop(decode::<Vec<Member>>(bytes)),
        21 => drop(decode::<MembershipChange>(bytes)),
        22 => drop(decode::<LeaseTtl>(bytes)),
        23 => drop(decode::<Founder>(bytes)),
        25 => drop(decode::<ServiceReport>(bytes)),
        26 => drop(decode::<Definition>(bytes)),
        _ => drop(decode::<Genesis>(bytes)),
    }
}
