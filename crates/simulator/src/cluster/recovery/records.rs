//! Records of recovery as they lie in strong state: plans, epochs, and the key that every decision rewrites.
//!
//! Before each value stand eight bytes that no other write has: the history of what clients did knows requests by them.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use steadfast_health::recovery::observed::Epoch;
use steadfast_health::recovery::plan::{Plan, PlanId};
use steadfast_health::recovery::planner::{Recorded, Records};
use steadfast_proof::history::{Change, Span};
use steadfast_state::command::Range;
use steadfast_types::wire::Wire;
use steadfast_types::{NodeId, Revision};

use crate::checkers::brakes::Written;
use crate::cluster::Cluster;
use crate::workload::keys;

/// The key that every decision rewrites.
pub(super) const HEAD: &str = "steadfast/recovery/head";
const PLANS: &str = "steadfast/recovery/plan/";
const EPOCHS: &str = "steadfast/recovery/epoch/";

/// What strong state has, as one node knows it.
pub(super) struct Book {
    pub(super) records: Records,
    pub(super) epochs: BTreeMap<NodeId, (Epoch, Revision)>,
}

/// Where a plan lies.
pub(super) fn plan_key(id: &PlanId) -> Bytes {
    format!("{PLANS}{}-{}", id.subject.node(), id.epoch).into()
}

fn node_of(key: &Bytes, prefix: &str) -> Option<NodeId> {
    std::str::from_utf8(key).ok()?.strip_prefix(prefix).and_then(|id| u64::from_str_radix(id, 16).ok()).map(NodeId)
}

fn everything_under(prefix: &str) -> Span {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("no prefix is empty") += 1;
    Span { first: Bytes::copy_from_slice(prefix.as_bytes()), end: Some(end.into()) }
}

/// Where a server's epoch lies.
pub(super) fn epoch_key(node: NodeId) -> Bytes {
    format!("{EPOCHS}{node}").into()
}

/// What goes before the value of the record that is written as the `stamp`-th.
pub(super) fn stamped(stamp: u64, value: &[u8]) -> Bytes {
    [&stamp.to_be_bytes()[..], value].concat().into()
}

/// Which write a record is of, and its value.
fn taken_apart(mut value: Bytes) -> (u64, Bytes) {
    (value.get_u64(), value)
}

/// What a revision changed of recovery's records.
pub(in crate::cluster) fn written(changes: &[Change]) -> Written {
    let mut written = Written::default();
    for Change { key, value, .. } in changes {
        let value = || value.clone().map(taken_apart);
        if key == HEAD {
            written.decision = value().map(|(stamp, _)| stamp);
        } else if key.starts_with(PLANS.as_bytes()) {
            written.plans.push((key.clone(), value().and_then(|(_, plan)| Plan::from_wire(plan).ok())));
        }
    }
    written
}

impl Cluster {
    /// The plans and epochs that a node has in its state.
    pub(super) fn book(&self, node: NodeId) -> Option<Book> {
        let reader = self.machines.get(&node)?.node()?.reader();
        let read = |span: &Span| reader.range(&Range { keys: keys(span), ..Range::default() }).ok().map(|read| read.result.kvs);
        let head = read(&Span::one(HEAD.into()))?.first().map_or(Revision(0), |kv| kv.mod_revision);
        let plans = read(&everything_under(PLANS))?.into_iter().filter_map(|kv| {
            let plan = Plan::from_wire(taken_apart(kv.value).1).ok()?;
            Some((plan.id.clone(), Recorded { plan, revision: kv.mod_revision }))
        });
        let epochs = read(&everything_under(EPOCHS))?
            .into_iter()
            .filter_map(|kv| Some((node_of(&kv.key, EPOCHS)?, (Epoch(taken_apart(kv.value).1.get_u64()), kv.mod_revision))));
        Some(Book { records: Records { head, plans: plans.collect() }, epochs: epochs.collect() })
    }
}
