//! Random batches on the store and on the model side by side: they must do the same.
//!
//! Revisions differ, for the store may have other users; so each of the model's is compared with the store's of the same batch.

use std::collections::BTreeMap;

use steadfast_types::{Revision, Rng};

use super::{World, fresh, key, list};
use crate::batch::{Batch, Compare, Outcome, Write};
use crate::keys::{Key, Prefix};
use crate::read::{Read, Record};
use crate::{Coordination, Memory};

const ROUNDS: usize = 300;

pub(super) async fn batches_do_what_the_model_says<W: World>(world: &W) {
    let prefix = fresh(world, "model").await;
    let (model, mut rng) = (Memory::new(), Rng::with_seed(7));
    // The store's revision of each of the model's.
    let mut revisions = BTreeMap::new();
    for round in 0..ROUNDS {
        let drawn = batch(&prefix, &model, &mut rng).await;
        let real = translated(&drawn, &revisions);
        let (expected, told) = (model.commit(drawn).await, world.store(round).commit(real).await);
        match (expected.expect("a model"), told.expect("an answer")) {
            (Outcome::Applied(expected), Outcome::Applied(told)) => {
                let known = revisions.entry(expected).or_insert(told);
                assert!(*known <= told, "round {round}");
            }
            (Outcome::Conflict(expected), Outcome::Conflict(told)) => {
                let expected: Vec<_> = expected.found.into_iter().map(|record| record.map(|record| moved(record, &revisions))).collect();
                assert_eq!(told.found, expected, "round {round}");
            }
            (expected, told) => panic!("round {round}: the model says {expected:?}, the store {told:?}"),
        }
        if round % 10 == 0 {
            let expected: Vec<Record> = records(&model, &prefix).await.into_iter().map(|record| moved(record, &revisions)).collect();
            assert_eq!(records(&world.store(round + 1), &prefix).await, expected, "round {round}");
        }
    }
}

async fn records(store: &impl Coordination, prefix: &Prefix) -> Vec<Record> {
    list(store, Read { limit: 3, ..Read::prefix(prefix.clone()) }).await
}

/// The record with the store's revisions.
fn moved(record: Record, revisions: &BTreeMap<Revision, Revision>) -> Record {
    Record { create_revision: revisions[&record.create_revision], mod_revision: revisions[&record.mod_revision], ..record }
}

fn translated(batch: &Batch, revisions: &BTreeMap<Revision, Revision>) -> Batch {
    let compare = |compare: &Compare| match compare {
        Compare::ModRevision(key, revision) => Compare::ModRevision(key.clone(), revisions.get(revision).copied().unwrap_or(*revision)),
        Compare::Exists(_) | Compare::Absent(_) | Compare::Value(..) => compare.clone(),
    };
    Batch { compares: batch.compares.iter().map(compare).collect(), writes: batch.writes.clone() }
}

/// A batch of a few of six keys; its comparisons mostly hold.
async fn batch(prefix: &Prefix, model: &Memory, rng: &mut Rng) -> Batch {
    loop {
        let mut batch = Batch::default();
        for _ in 0..rng.usize(0..3) {
            batch = batch.when(compare(some_key(prefix, rng), model, rng).await);
        }
        for _ in 0..rng.usize(1..4) {
            batch = batch.then(write(prefix, rng));
        }
        if batch.check().is_ok() {
            return batch;
        }
    }
}

fn some_key(prefix: &Prefix, rng: &mut Rng) -> Key {
    key(prefix, ["a", "a/1", "a/2", "b", "b/1", "c"][rng.usize(..6)])
}

fn write(prefix: &Prefix, rng: &mut Rng) -> Write {
    match rng.u8(..5) {
        0 => Write::Delete(some_key(prefix, rng).into()),
        1 => Write::Delete(prefix.prefix(["a", "b/", "d"][rng.usize(..3)]).expect("short").into()),
        _ => Write::put(some_key(prefix, rng), [rng.u8(..3)].as_slice().to_vec()),
    }
}

async fn compare(key: Key, model: &Memory, rng: &mut Rng) -> Compare {
    let record = super::get(model, &key).await;
    let wrong = rng.u8(..5) == 0;
    match (record, rng.bool()) {
        (Some(_), _) if wrong => Compare::Absent(key),
        (None, _) if wrong => Compare::Exists(key),
        (Some(record), true) => Compare::Value(key, record.value),
        (record, _) => Compare::unchanged(key, record.as_ref()),
    }
}
