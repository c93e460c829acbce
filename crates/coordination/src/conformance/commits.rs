//! Checks of batches.

use bytes::Bytes;
use steadfast_types::{LeaseId, Revision};

use super::{World, apply, fresh, get, key, list, put};
use crate::Coordination;
use crate::batch::{Batch, Compare, Outcome, Write};
use crate::error::{Error, OutOfBounds};
use crate::keys::{Key, Prefix};
use crate::limits::{BATCH_BYTES, BATCH_OPERATIONS, KEY_BYTES, VALUE_BYTES};
use crate::read::Read;

pub(super) async fn a_failed_comparison_changes_nothing<W: World>(world: &W) {
    let prefix = fresh(world, "unchanged").await;
    let (store, there, absent) = (world.store(0), key(&prefix, "there"), key(&prefix, "absent"));
    put(&store, &there, "value").await;
    let before = store.read(Read::prefix(prefix.clone())).await.expect("a read");
    let batch = Batch::default()
        .when(Compare::Exists(there.clone()))
        .when(Compare::Exists(absent.clone()))
        .then(Write::put(absent.clone(), "new"))
        .then(Write::Delete(there.clone().into()));
    let Outcome::Conflict(conflict) = store.commit(batch).await.expect("an answer") else { panic!("it was not to be applied") };
    assert_eq!(conflict.found, [before.records.first().cloned(), None], "what was found is told");
    assert!(conflict.revision >= before.revision);
    assert_eq!(world.store(1).read(Read::prefix(prefix)).await.expect("a read").records, before.records);
}

pub(super) async fn each_comparison_says_what_it_says<W: World>(world: &W) {
    let prefix = fresh(world, "compares").await;
    let (store, there, absent, probe) = (world.store(0), key(&prefix, "there"), key(&prefix, "absent"), key(&prefix, "probe"));
    let older = put(&store, &there, "first").await;
    let newest = put(&store, &there, "").await;
    let table = [
        (Compare::Exists(there.clone()), true),
        (Compare::Exists(absent.clone()), false),
        (Compare::Absent(there.clone()), false),
        (Compare::Absent(absent.clone()), true),
        (Compare::ModRevision(there.clone(), newest), true),
        (Compare::ModRevision(there.clone(), older), false),
        (Compare::ModRevision(absent.clone(), newest), false),
        (Compare::Value(there.clone(), Bytes::new()), true),
        (Compare::Value(there.clone(), "first".into()), false),
        (Compare::Value(absent.clone(), Bytes::new()), false),
    ];
    for (compare, holds) in table {
        let shown = format!("{compare:?}");
        let outcome = store.commit(Batch::default().when(compare).then(Write::put(probe.clone(), shown.clone()))).await.expect("an answer");
        assert_eq!(matches!(outcome, Outcome::Applied(_)), holds, "{shown}");
        let written = get(&store, &probe).await.is_some_and(|record| record.value == shown.as_bytes());
        assert_eq!(written, holds, "{shown}");
    }
}

pub(super) async fn a_batch_is_one_revision<W: World>(world: &W) {
    let prefix = fresh(world, "one-revision").await;
    let (store, old) = (world.store(0), prefix.prefix("old/").expect("short"));
    let before = put(&store, &key(&old, "1"), "").await;
    put(&store, &key(&old, "2"), "").await;
    let batch = Batch::default().then(Write::put(key(&prefix, "a"), "1")).then(Write::put(key(&prefix, "b"), "2"));
    let revision = apply(&store, batch.then(Write::Delete(old.clone().into()))).await;
    let records = list(&store, Read::prefix(prefix.clone())).await;
    let summary: Vec<_> =
        records.iter().map(|record| (record.create_revision, record.mod_revision, record.version, record.lease)).collect();
    assert_eq!(summary, [(revision, revision, 1, None); 2]);
    assert_eq!(list(&store, Read::prefix(old.clone()).at(Revision(revision.0 - 1))).await.len(), 2);
    assert!(revision > before);
    // Nothing to delete: nothing changes, and it is said to be done.
    apply(&store, Batch::default().then(Write::Delete(old.into()))).await;
    assert_eq!(list(&store, Read::prefix(prefix)).await, records);
}

pub(super) async fn batches_out_of_bounds_are_refused<W: World>(world: &W) {
    let prefix = fresh(world, "bounds").await;
    let (store, a) = (world.store(0), key(&prefix, "a"));
    let put_a = || Write::put(a.clone(), "value");
    let many = |count| (0..count).map(|number: usize| key(&prefix, number.to_string()));
    let large = vec![0; VALUE_BYTES];
    let too_large = || many(BATCH_BYTES / VALUE_BYTES).map(|key| Write::put(key, large.clone())).fold(Batch::default(), Batch::then);
    let table = [
        (Batch::default(), OutOfBounds::NothingToWrite),
        (Batch::default().when(Compare::Absent(a.clone())), OutOfBounds::NothingToWrite),
        (Batch::default().then(put_a()).then(put_a()), OutOfBounds::KeyTwice),
        (Batch::default().then(put_a()).then(Write::Delete(a.clone().into())), OutOfBounds::KeyTwice),
        (Batch::default().then(Write::Delete(prefix.clone().into())).then(put_a()), OutOfBounds::KeyTwice),
        (Batch::default().when(Compare::ModRevision(a.clone(), Revision(0))).then(put_a()), OutOfBounds::Revision),
        (Batch::default().then(Write::put(a.clone(), vec![0; VALUE_BYTES + 1])), OutOfBounds::ValueBytes(VALUE_BYTES + 1)),
        (
            many(BATCH_OPERATIONS + 1).map(|key| Write::put(key, "")).fold(Batch::default(), Batch::then),
            OutOfBounds::BatchOperations(BATCH_OPERATIONS + 1),
        ),
        (
            many(BATCH_OPERATIONS + 1).map(Compare::Absent).fold(Batch::default().then(put_a()), Batch::when),
            OutOfBounds::BatchOperations(BATCH_OPERATIONS + 1),
        ),
    ];
    for (batch, expected) in table {
        assert_eq!(store.commit(batch).await, Err(expected.into()));
    }
    let refused = store.commit(too_large()).await;
    assert!(matches!(refused, Err(Error::OutOfBounds(OutOfBounds::BatchBytes(_)))), "{refused:?}");
    let lost = Batch::default().then(Write::put(key(&prefix, "b"), "")).then(Write::put_under(LeaseId(1 << 40), a.clone(), ""));
    assert_eq!(store.commit(lost).await, Err(Error::LeaseNotFound));
    assert_eq!(list(&store, Read::prefix(prefix)).await, [], "nothing was written");
}

pub(super) async fn the_largest_batches_fit<W: World>(world: &W) {
    let prefix = fresh(world, "largest").await;
    let store = world.store(0);
    let long =
        |number: usize| prefix.key(format!("{number:0>width$}", width = KEY_BYTES - prefix.bytes().len())).expect("as long as may be");
    let writes = (0..BATCH_OPERATIONS).map(|number| Write::put(long(number), "value"));
    let compares = (0..BATCH_OPERATIONS).map(|number| Compare::Absent(long(number)));
    let batch = compares.fold(writes.fold(Batch::default(), Batch::then), Batch::when);
    apply(&store, batch.clone()).await;
    let Outcome::Conflict(conflict) = store.commit(batch).await.expect("an answer") else { panic!("they are there") };
    assert!(conflict.found.iter().all(Option::is_some) && conflict.found.len() == BATCH_OPERATIONS);
    let value = vec![b'v'; VALUE_BYTES];
    // Three values and the rest of the batch's bytes.
    let rest = BATCH_BYTES - 3 * VALUE_BYTES - 4 * KEY_BYTES;
    let sizes = [VALUE_BYTES, VALUE_BYTES, VALUE_BYTES, rest];
    let batch = sizes
        .iter()
        .enumerate()
        .fold(Batch::default(), |batch, (number, size)| batch.then(Write::put(long(number), Bytes::copy_from_slice(&value[..*size]))));
    let revision = apply(&store, batch).await;
    let read = Read { limit: 4, ..Read::prefix(prefix.clone()) };
    let page = world.store(1).read(read).await.expect("a read");
    let told: Vec<_> = page.records.iter().map(|record| (record.value.len(), record.mod_revision)).collect();
    assert_eq!(told, sizes.map(|size| (size, revision)));
    delete_all(&store, &prefix).await;
}

async fn delete_all(store: &impl Coordination, prefix: &Prefix) {
    apply(store, Batch::default().then(Write::Delete(prefix.clone().into()))).await;
    let left: Vec<Key> = list(store, Read::prefix(prefix.clone())).await.into_iter().map(|record| record.key).collect();
    assert_eq!(left, []);
}
