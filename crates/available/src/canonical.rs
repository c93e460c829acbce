//! A form of all keys in which those of replicas that have seen the same are equal: for tests, and for comparisons when something is wrong.
//!
//! It has what readers see and the versions that it stands under, in the order of hashes and names; not how it is held, nor what waits to be forgotten.

use alloc::vec::Vec;

use steadfast_crdt::cell::Value;
use steadfast_crdt::{Cell, Lattice, Score, Text};
use steadfast_types::wire::{Wire, put_varint};

use crate::container::{Container, Kind};
use crate::entry::Entry;
use crate::rich::Rich;

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The values that stand side by side.
fn put_values<V: Value>(out: &mut Vec<u8>, cell: &Cell<V>) {
    put_varint(out, cell.values().count() as u64);
    for (version, value) in cell.values() {
        version.encode(out);
        value.encode(out);
    }
}

fn put_text(out: &mut Vec<u8>, cell: &Cell<Text>) {
    put(out, &cell.shown().map(|shown| shown.text().into_owned()).unwrap_or_default());
    put_values(out, cell);
}

fn put_score(out: &mut Vec<u8>, cell: &Cell<Score>) {
    cell.shown().unwrap_or_default().encode(out);
    put_values(out, cell);
}

/// Elements in the order of their names.
fn put_sorted(out: &mut Vec<u8>, mut elements: Vec<Vec<u8>>) {
    elements.sort();
    put_varint(out, elements.len() as u64);
    elements.iter().for_each(|element| put(out, element));
}

fn named(name: &[u8], state: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, name);
    state(&mut out);
    out
}

fn put_container(out: &mut Vec<u8>, container: &Container) {
    out.push(container.kind() as u8);
    match container {
        Container::Sorted(scores) => {
            let ranked = scores.range(0..scores.len()).map(|(member, cell)| named(member, |out| put_score(out, cell)));
            ranked.for_each(|member| put(out, &member));
        }
        Container::Set(set) => {
            let versions = |state: &steadfast_crdt::Dots| {
                let mut versions = Vec::new();
                state.versions(&mut versions);
                versions
            };
            put_sorted(out, set.dots().map(|(member, dots)| named(member, |out| versions(dots).encode(out))).collect());
        }
        Container::Hash(fields) => {
            put_sorted(out, fields.iter().map(|(field, cell)| named(field, |out| put_text(out, cell))).collect());
        }
        Container::List(items) => items.range(0..items.len()).for_each(|cell| put_text(out, cell)),
        Container::Sketch(sketch) => sketch.sketch().unwrap_or_default().encode(out),
    }
}

fn put_rich(out: &mut Vec<u8>, rich: &Rich) {
    put(out, rich.key());
    put_text(out, &rich.text);
    rich.deadline.iter().for_each(|written| written.encode(out));
    put_varint(out, rich.deadline.iter().count() as u64);
    let all = [Kind::Sorted, Kind::Set, Kind::Hash, Kind::List, Kind::Sketch].into_iter().filter_map(|kind| rich.container(kind));
    all.filter(|container| container.is_shown()).for_each(|container| put_container(out, container));
}

/// Appends a key, unless it is none.
pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    match entry {
        Entry::Plain(plain) => put_rich(out, &Rich::of_plain(plain)),
        Entry::Rich(rich) if rich.kind().is_some() || !rich.deadline.is_empty() => put_rich(out, rich),
        Entry::Rich(_) => {}
    }
}
