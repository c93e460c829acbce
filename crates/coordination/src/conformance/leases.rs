//! Checks of leases.

use steadfast_types::time::Duration;
use steadfast_types::{LeaseId, Revision, limits};

use super::{World, apply, fresh, get, key, next_change};
use crate::Coordination;
use crate::batch::{Batch, Write};
use crate::error::Error;
use crate::keys::{Key, Prefix};
use crate::watch::Change;

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).expect("positive"))
}

/// Two records under a lease and one beside it; in one revision.
async fn put_both(store: &impl Coordination, prefix: &Prefix, lease: LeaseId) -> (Revision, Vec<Key>) {
    let keys = vec![key(prefix, "1"), key(prefix, "2")];
    let batch = keys.iter().map(|key| Write::put_under(lease, key.clone(), "held")).fold(Batch::default(), Batch::then);
    let revision = apply(store, batch.then(Write::put(key(prefix, "stays"), ""))).await;
    for key in &keys {
        assert_eq!(get(store, key).await.expect("written").lease, Some(lease));
    }
    (revision, keys)
}

async fn is_told_their_end(store: &impl Coordination, prefix: &Prefix, (revision, keys): (Revision, Vec<Key>)) {
    let mut watch = store.watch(prefix.clone().into(), Revision(revision.0 + 1));
    let mut told = next_change(&mut watch).await.changes;
    told.sort_by(|a, b| a.key().cmp(b.key()));
    assert_eq!(told, keys.iter().cloned().map(Change::Delete).collect::<Vec<_>>(), "all in one revision");
    for key in &keys {
        assert_eq!(get(store, key).await, None);
    }
    assert!(get(store, &key(prefix, "stays")).await.is_some());
}

pub(super) async fn a_lapsed_lease_takes_its_records_along<W: World>(world: &W) {
    let prefix = fresh(world, "lapse").await;
    let store = world.store(0);
    let lease = store.grant(1).await.expect("granted");
    assert!(lease.granted_s >= 1 && lease.granted_s <= limits::LEASE_MIN_TTL_S && lease.remaining_s <= lease.granted_s, "{lease:?}");
    let written = put_both(&store, &prefix, lease.id).await;
    world.pass(seconds(lease.granted_s)).await;
    is_told_their_end(&world.store(1), &prefix, written).await;
    assert_eq!(store.keep_alive(lease.id).await, Err(Error::LeaseNotFound));
    assert_eq!(world.store(1).remaining(lease.id).await, Err(Error::LeaseNotFound));
    let late = Batch::default().then(Write::put_under(lease.id, key(&prefix, "late"), ""));
    assert_eq!(store.commit(late).await, Err(Error::LeaseNotFound));
}

/// Where the machine stands still for longer than the lease lives, it is begun again.
pub(super) async fn a_lease_that_is_kept_alive_lives<W: World>(world: &W) {
    let prefix = fresh(world, "keep-alive").await;
    let store = world.store(0);
    'again: loop {
        let granted_at = world.now();
        let lease = store.grant(4).await.expect("granted");
        let key = key(&prefix, "k");
        apply(&store, Batch::default().then(Write::put_under(lease.id, key.clone(), ""))).await;
        let mut renewed_at = granted_at;
        while world.now().since(granted_at) <= 2 * seconds(lease.granted_s) {
            world.pass(seconds(1)).await;
            let asked_at = world.now();
            let renewed = world.store(1).keep_alive(lease.id).await;
            if renewed == Err(Error::LeaseNotFound) && world.now().since(renewed_at) >= seconds(lease.granted_s) {
                continue 'again;
            }
            assert_eq!(renewed.map(|renewed| renewed.remaining_s), Ok(lease.granted_s));
            renewed_at = asked_at;
        }
        let left = store.remaining(lease.id).await;
        let kept = get(&store, &key).await;
        if world.now().since(renewed_at) >= seconds(lease.granted_s) {
            continue;
        }
        let left = left.expect("it lives");
        assert!(left.granted_s == lease.granted_s && left.remaining_s > 0 && left.remaining_s <= lease.granted_s, "{left:?}");
        assert!(kept.is_some(), "it lived for twice its time");
        return store.revoke(lease.id).await.expect("ended");
    }
}

pub(super) async fn a_revoked_lease_takes_its_records_along<W: World>(world: &W) {
    let prefix = fresh(world, "revoke").await;
    let store = world.store(0);
    let lease = store.grant(600).await.expect("granted");
    let written = put_both(&store, &prefix, lease.id).await;
    for _ in 0..2 {
        world.store(1).revoke(lease.id).await.expect("ended, also if it is not there");
    }
    is_told_their_end(&store, &prefix, written).await;
    assert_eq!(store.keep_alive(lease.id).await, Err(Error::LeaseNotFound));
}

pub(super) async fn a_record_belongs_to_its_newest_lease<W: World>(world: &W) {
    let prefix = fresh(world, "newest-lease").await;
    let store = world.store(0);
    let (first, second) = (store.grant(600).await.expect("granted"), store.grant(600).await.expect("granted"));
    assert_ne!(first.id, second.id);
    let (moved, freed) = (key(&prefix, "moved"), key(&prefix, "freed"));
    let under =
        |lease| [&moved, &freed].map(|key: &Key| Write::put_under(lease, key.clone(), "")).into_iter().fold(Batch::default(), Batch::then);
    apply(&store, under(first.id)).await;
    apply(&store, Batch::default().then(Write::put_under(second.id, moved.clone(), "")).then(Write::put(freed.clone(), ""))).await;
    store.revoke(first.id).await.expect("ended");
    assert_eq!(get(&store, &moved).await.expect("kept").lease, Some(second.id));
    store.revoke(second.id).await.expect("ended");
    assert_eq!(get(&store, &moved).await, None);
    assert_eq!(get(&store, &freed).await.expect("kept").lease, None);
}

pub(super) async fn leases_that_are_not_there_are_told<W: World>(world: &W) {
    let store = world.store(0);
    let never = LeaseId(0x7ffe_dcba_9876_5432);
    assert_eq!(store.keep_alive(never).await, Err(Error::LeaseNotFound));
    assert_eq!(store.remaining(never).await, Err(Error::LeaseNotFound));
    assert_eq!(store.revoke(never).await, Ok(()));
}
