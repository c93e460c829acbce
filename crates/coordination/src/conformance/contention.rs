//! Many change one record at the same time.

use futures::future::join_all;

use super::{World, fresh, key, next_change};
use crate::Coordination;
use crate::records::{Records, Stored, Update, Updated};
use crate::watch::Change;

const TASKS: usize = 16;
const INCREMENTS: usize = 12;

/// Each increment is seen exactly once by a watch, and in order.
pub(super) async fn no_increment_is_lost_or_made_twice<W: World>(world: &W) {
    let prefix = fresh(world, "increments").await;
    let begin = super::put(&world.store(0), &key(&prefix, "begin"), "").await;
    let task = |task: usize| {
        let counters: Records<W::Store, u64> = Records::new(world.store(task), prefix.clone(), task as u64);
        async move {
            let mut told = Vec::new();
            for _ in 0..INCREMENTS {
                let updated = counters.update("counter", |value| Update::Put(value.copied().unwrap_or(0) + 1)).await;
                let Updated::Changed { before, .. } = updated.expect("changed") else { panic!("it was to change") };
                told.push(before.unwrap_or(0));
            }
            told
        }
    };
    let mut told: Vec<u64> = join_all((0..TASKS).map(task)).await.concat();
    told.sort_unstable();
    let all = (TASKS * INCREMENTS) as u64;
    assert_eq!(told, (0..all).collect::<Vec<_>>(), "each value was one increment's");
    let mut watch = world.store(1).watch(key(&prefix, "counter").into(), begin);
    for expected in 1..=all {
        let changes = next_change(&mut watch).await;
        let [Change::Put(record)] = changes.changes.as_slice() else { panic!("one write: {changes:?}") };
        assert_eq!(Stored::<u64>::of(record.clone()).expect("a counter").value, expected);
    }
}
