//! Checks of watches.

use std::pin::pin;

use futures::future::{Either, select};
use steadfast_types::Revision;

use super::{World, apply, fresh, get, key, next_change, put};
use crate::Coordination;
use crate::batch::{Batch, Write};
use crate::keys::{Key, Keys, Prefix};
use crate::read::Read;
use crate::watch::{Change, Changes, Watch, WatchError};

fn key_of(changes: &Changes) -> Vec<Key> {
    let mut keys: Vec<Key> = changes.changes.iter().map(|change| change.key().clone()).collect();
    keys.sort();
    keys
}

pub(super) async fn the_past_is_told_from_any_revision_on<W: World>(world: &W) {
    let prefix = fresh(world, "replay").await;
    let store = world.store(0);
    let mut revisions = Vec::new();
    for number in 0..20 {
        let key = key(&prefix, (number % 3).to_string());
        revisions.push(match number % 7 {
            6 => apply(&store, Batch::default().then(Write::Delete(key.into()))).await,
            _ => put(&store, &key, number.to_string()).await,
        });
    }
    for (skip, from) in revisions.iter().enumerate() {
        let mut watch = world.store(skip).watch(prefix.clone().into(), *from);
        for revision in &revisions[skip..] {
            let told = next_change(&mut watch).await;
            assert_eq!(told.revision, *revision, "from {from}");
            for change in &told.changes {
                let read = store.read(Read::key(change.key().clone()).at(*revision)).await.expect("kept");
                let told = match change {
                    Change::Put(record) => Some(record.clone()),
                    Change::Delete(_) => None,
                };
                assert_eq!(told, read.records.into_iter().next(), "as it is read at {revision}");
            }
        }
    }
}

pub(super) async fn a_revision_is_told_as_one<W: World>(world: &W) {
    let prefix = fresh(world, "as-one").await;
    let store = world.store(0);
    let keys: Vec<Key> = (0..100).map(|number| key(&prefix, format!("{number:03}"))).collect();
    let all = || keys.iter().map(|key| Write::put(key.clone(), vec![b'x'; 5000])).fold(Batch::default(), Batch::then);
    let first = put(&store, &keys[0], "").await;
    let mut live = world.store(1).watch(prefix.clone().into(), first);
    assert_eq!(next_change(&mut live).await.revision, first);
    let mut revisions = Vec::new();
    for _ in 0..8 {
        revisions.push((apply(&store, all()).await, keys.clone()));
    }
    revisions.push((apply(&store, Batch::default().then(Write::Delete(prefix.clone().into()))).await, keys.clone()));
    let mut late = world.store(2).watch(prefix.into(), revisions[0].0);
    for (revision, keys) in &revisions {
        for watch in [&mut live, &mut late] {
            let told = next_change(watch).await;
            assert_eq!((told.revision, key_of(&told)), (*revision, keys.clone()));
        }
    }
}

pub(super) async fn only_what_is_watched_is_told<W: World>(world: &W) {
    let prefix = fresh(world, "only").await;
    let store = world.store(0);
    let (one, longer, inside) = (key(&prefix, "a"), key(&prefix, "aa"), prefix.prefix("a").expect("short"));
    let begin = put(&store, &key(&prefix, "b"), "").await;
    let mut of_one = store.watch(one.clone().into(), begin);
    let mut of_prefix = store.watch(inside.into(), begin);
    let both = Batch::default().then(Write::put(one.clone(), "1")).then(Write::put(longer.clone(), "1"));
    let first = apply(&store, both.then(Write::put(key(&prefix, "c"), "1"))).await;
    let second = put(&store, &longer, "2").await;
    let third = put(&store, &one, "3").await;
    for (revision, expected) in [(first, vec![one.clone(), longer.clone()]), (second, vec![longer]), (third, vec![one.clone()])] {
        let told = next_change(&mut of_prefix).await;
        assert_eq!((told.revision, key_of(&told)), (revision, expected));
    }
    for revision in [first, third] {
        let told = next_change(&mut of_one).await;
        assert_eq!((told.revision, key_of(&told)), (revision, vec![one.clone()]));
    }
}

pub(super) async fn a_watch_can_begin_in_the_future<W: World>(world: &W) {
    let prefix = fresh(world, "future").await;
    let (store, key) = (world.store(0), key(&prefix, "k"));
    let now = put(&store, &key, "now").await;
    let mut watch = world.store(1).watch(key.clone().into(), Revision(now.0 + 3));
    {
        // It has begun, and has nothing to tell.
        let mut written = Vec::new();
        let writes = async {
            for _ in 0..5 {
                written.push(put(&store, &key, "later").await);
            }
        };
        let told = match select(pin!(next_change(&mut watch)), pin!(writes)).await {
            Either::Left((told, writes)) => {
                writes.await;
                told
            }
            Either::Right(((), told)) => told.await,
        };
        let expected = written.iter().find(|revision| revision.0 >= now.0 + 3).expect("five are enough");
        assert_eq!(told.revision, *expected);
    }
}

/// 64 MiB of events, which nobody reads while they are written.
pub(super) async fn a_slow_reader_misses_nothing<W: World>(world: &W) {
    let prefix = fresh(world, "slow").await;
    let (store, begun) = (world.store(0), key(&prefix, "begun"));
    let from = put(&store, &begun, "").await;
    let mut watch = world.store(1).watch(Keys::Under(prefix.clone()), from);
    assert_eq!(next_change(&mut watch).await.revision, from);
    let mut revisions = Vec::new();
    for number in 0..256u32 {
        let mut value = vec![b'v'; 250 * 1024];
        value[..4].copy_from_slice(&number.to_be_bytes());
        revisions.push(put(&store, &key(&prefix, (number % 5).to_string()), value).await);
    }
    for (number, revision) in (0u32..).zip(revisions) {
        let told = next_change(&mut watch).await;
        let [Change::Put(record)] = told.changes.as_slice() else { panic!("one put at {revision}") };
        assert_eq!((told.revision, record.value.get(..4)), (revision, Some(number.to_be_bytes().as_slice())));
    }
    empty(&store, prefix).await;
}

async fn empty(store: &impl Coordination, prefix: Prefix) {
    apply(store, Batch::default().then(Write::Delete(prefix.into()))).await;
}

/// Nor does it hinder the watch, even in the middle of connecting.
pub(super) async fn a_dropped_wait_loses_nothing<W: World>(world: &W) {
    let prefix = fresh(world, "dropped").await;
    let (store, key) = (world.store(0), key(&prefix, "k"));
    let first = put(&store, &key, "").await;
    let mut watch = world.store(1).watch(key.clone().into(), first);
    let (mut told, mut revisions) = (Vec::new(), vec![first]);
    for round in 0..100_000 {
        // The wait is dropped whenever the read is sooner.
        match select(pin!(watch.next()), pin!(get(&store, &key))).await {
            Either::Left((changes, _)) => told.extend(Some(changes.expect("it goes on")).filter(|changes| !changes.changes.is_empty())),
            Either::Right(_) if round < 50 => revisions.push(put(&store, &key, "").await),
            Either::Right(_) => {}
        }
        if round >= 50 && told.len() == revisions.len() {
            break;
        }
    }
    assert_eq!(told.iter().map(|changes| changes.revision).collect::<Vec<_>>(), revisions);
}

pub(super) async fn compaction_is_told<W: World>(world: &W) {
    let prefix = fresh(world, "compaction").await;
    let (store, key) = (world.store(0), key(&prefix, "k"));
    let first = put(&store, &key, "1").await;
    let mut alive = world.store(1).watch(key.clone().into(), first);
    assert_eq!(next_change(&mut alive).await.revision, first);
    put(&store, &key, "2").await;
    let last = put(&store, &key, "3").await;
    assert_eq!(next_change(&mut alive).await.revision.0, last.0 - 1);
    assert_eq!(next_change(&mut alive).await.revision, last);
    world.compact(last).await;
    // Through the same node, which has compacted.
    let mut too_late = world.store(0).watch(key.clone().into(), first);
    for _ in 0..2 {
        let told = loop {
            match too_late.next().await {
                Ok(changes) => assert!(changes.changes.is_empty() && changes.revision < first, "it is compacted: {changes:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(told, WatchError::Compacted { oldest: last });
    }
    let read = store.read(Read::key(key.clone()).at(first)).await;
    assert_eq!(read, Err(crate::Error::Compacted));
    // Whoever had been told goes on.
    let after = put(&store, &key, "4").await;
    assert_eq!(next_change(&mut alive).await.revision, after);
    let page = store.read(Read::key(key)).await.expect("the present is kept");
    assert!(page.revision >= after && page.records.len() == 1);
}
