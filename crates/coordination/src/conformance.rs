//! What every implementation of [`Coordination`] must pass: [`all`].
//!
//! The checks use handles of one store, of different nodes where it has several, and keys of their own, so they may run on a store that is in use.
//! They panic on what breaks the contract. Time passes by [`World::pass`] only, and nothing is judged by how long it took.

mod commits;
mod contention;
mod leases;
mod model;
mod reads;
mod watches;

use std::future::Future;

use steadfast_types::time::Duration;
use steadfast_types::{Instant, Revision};

use crate::Coordination;
use crate::batch::{Batch, Outcome, Write};
use crate::keys::{Key, Prefix};
use crate::read::{Read, Record};
use crate::watch::{Changes, Watch};

/// The store under test, and what the checks need beside it.
pub trait World: Sync {
    /// The implementation.
    type Store: Coordination;

    /// A handle; those of different numbers of different nodes, where there are several.
    fn store(&self, number: usize) -> Self::Store;

    /// Lets at least so much of the store's time pass.
    fn pass(&self, time: Duration) -> impl Future<Output = ()> + Send;

    /// The time by the clock that [`World::pass`] moves.
    fn now(&self) -> Instant;

    /// Has the store forget history below `revision`.
    fn compact(&self, revision: Revision) -> impl Future<Output = ()> + Send;
}

/// Runs all checks.
///
/// # Panics
/// The store breaks the contract.
pub async fn all<W: World>(world: &W) {
    reads::what_was_written_is_read_through_any_handle(world).await;
    reads::the_past_is_read_as_it_was(world).await;
    reads::pages_are_of_one_moment(world).await;
    reads::reads_out_of_bounds_are_refused(world).await;
    commits::a_failed_comparison_changes_nothing(world).await;
    commits::each_comparison_says_what_it_says(world).await;
    commits::a_batch_is_one_revision(world).await;
    commits::batches_out_of_bounds_are_refused(world).await;
    commits::the_largest_batches_fit(world).await;
    model::batches_do_what_the_model_says(world).await;
    watches::the_past_is_told_from_any_revision_on(world).await;
    watches::a_revision_is_told_as_one(world).await;
    watches::only_what_is_watched_is_told(world).await;
    watches::a_watch_can_begin_in_the_future(world).await;
    watches::a_slow_reader_misses_nothing(world).await;
    watches::a_dropped_wait_loses_nothing(world).await;
    watches::compaction_is_told(world).await;
    leases::a_lapsed_lease_takes_its_records_along(world).await;
    leases::a_lease_that_is_kept_alive_lives(world).await;
    leases::a_revoked_lease_takes_its_records_along(world).await;
    leases::a_record_belongs_to_its_newest_lease(world).await;
    leases::leases_that_are_not_there_are_told(world).await;
    contention::no_increment_is_lost_or_made_twice(world).await;
}

/// The keys of one check; empty, whatever was there before.
async fn fresh<W: World>(world: &W, name: &str) -> Prefix {
    let prefix = Prefix::new(format!("conformance/{name}/")).expect("short");
    let store = world.store(0);
    store.commit(Batch::default().then(Write::Delete(prefix.clone().into()))).await.expect("room to begin");
    prefix
}

/// Commits what nothing stands against.
async fn apply(store: &impl Coordination, batch: Batch) -> Revision {
    match store.commit(batch).await.expect("a commit") {
        Outcome::Applied(revision) => revision,
        Outcome::Conflict(conflict) => panic!("it should have been applied: {conflict:?}"),
    }
}

async fn put(store: &impl Coordination, key: &Key, value: impl Into<bytes::Bytes>) -> Revision {
    apply(store, Batch::default().then(Write::put(key.clone(), value))).await
}

async fn get(store: &impl Coordination, key: &Key) -> Option<Record> {
    store.read(Read::key(key.clone())).await.expect("a read").records.into_iter().next()
}

/// All records under a prefix, as of one moment.
async fn list(store: &impl Coordination, read: Read) -> Vec<Record> {
    let (mut all, mut next) = (Vec::new(), Some(read));
    while let Some(read) = next {
        let page = store.read(read).await.expect("a page");
        all.extend(page.records);
        next = page.next;
    }
    all
}

/// What happened next; that nothing did is passed over.
async fn next_change(watch: &mut impl Watch) -> Changes {
    loop {
        let changes = watch.next().await.expect("the watch goes on");
        if !changes.changes.is_empty() {
            return changes;
        }
    }
}

/// The name under the prefix, for short.
fn key(prefix: &Prefix, name: impl AsRef<[u8]>) -> Key {
    prefix.key(name).expect("short")
}
