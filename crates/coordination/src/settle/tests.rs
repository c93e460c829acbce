//! Lost answers are found out about, whatever else happens at the same time.

use proptest::prelude::*;

use super::*;
use crate::keys::Prefix;
use crate::memory::{Fault, Memory};
use crate::read::Read;
use crate::records::{Records, Update};

fn key() -> Key {
    Key::new("record").unwrap()
}

async fn fence(store: &Memory) -> Fence {
    let page = store.read(Read::key(key())).await.unwrap();
    Fence { key: key(), record: page.records.into_iter().next(), read_at: page.revision }
}

async fn value(store: &Memory) -> Option<Bytes> {
    store.read(Read::key(key())).await.unwrap().records.into_iter().next().map(|record| record.value)
}

async fn write(store: &Memory, write: Write) {
    assert!(matches!(store.commit(Batch::default().then(write)).await, Ok(Outcome::Applied(_))));
}

#[tokio::test]
async fn a_lost_answer_is_found_in_history_after_others_have_written_too() {
    let store = Memory::new();
    write(&store, Write::put(key(), "0")).await;
    let fence = fence(&store).await;
    let batch = fence.put("ours");
    store.plan_faults([Fault::AnswerLost]);
    assert!(matches!(store.commit(batch.clone()).await, Err(Error::Unknown(_))));
    let ours = store.revision();
    write(&store, Write::put(key(), "theirs")).await;
    write(&store, Write::Delete(key().into())).await;
    // As if the first answer had been lost in here.
    store.plan_faults([Fault::RequestLost]);
    assert_eq!(settle(&store, &fence, &batch).await, Ok(Outcome::Applied(ours)));
    assert_eq!(value(&store).await, None);
}

#[tokio::test]
async fn a_lost_request_that_others_overtook_is_a_conflict() {
    let store = Memory::new();
    write(&store, Write::put(key(), "0")).await;
    let fence = fence(&store).await;
    write(&store, Write::put(key(), "theirs")).await;
    store.plan_faults([Fault::Delayed, Fault::RequestLost]);
    let outcome = settle(&store, &fence, &fence.put("ours")).await;
    assert!(matches!(outcome, Ok(Outcome::Conflict(_))), "{outcome:?}");
    assert_eq!(value(&store).await.as_deref(), Some(b"theirs".as_slice()));
}

#[tokio::test]
async fn a_lost_creation_is_found_behind_another_that_is_gone() {
    let store = Memory::new();
    let fence = fence(&store).await;
    write(&store, Write::put(key(), "theirs")).await;
    write(&store, Write::Delete(key().into())).await;
    store.plan_faults([Fault::AnswerLost]);
    assert_eq!(settle(&store, &fence, &fence.put("ours")).await, Ok(Outcome::Applied(Revision(4))));
}

#[tokio::test]
async fn where_history_is_gone_nothing_is_claimed() {
    let store = Memory::new();
    write(&store, Write::put(key(), "0")).await;
    let fence = fence(&store).await;
    write(&store, Write::put(key(), "theirs")).await;
    write(&store, Write::put(key(), "theirs too")).await;
    store.compact(store.revision());
    store.plan_faults([Fault::RequestLost]);
    let outcome = settle(&store, &fence, &fence.put("ours")).await;
    assert!(matches!(outcome, Err(Error::Unknown(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_refusal_for_good_is_told_as_what_it_is() {
    let store = Memory::new();
    let fence = fence(&store).await;
    let batch = fence.batch(Write::put_under(steadfast_types::LeaseId(9), key(), ""));
    assert_eq!(settle(&store, &fence, &batch).await, Err(Error::LeaseNotFound));
    store.plan_faults([Fault::RequestLost]);
    let outcome = settle(&store, &fence, &batch).await;
    assert!(matches!(outcome, Err(Error::Unknown(_))), "{outcome:?}");
}

fn some_fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![Fault::None, Fault::Refused, Fault::RequestLost, Fault::AnswerLost, Fault::Delayed])
}

proptest! {
    /// Whatever gets lost, each increment that is told to have happened has happened once, and the others never.
    #[test]
    fn increments_happen_once(faults in prop::collection::vec(some_fault(), 0..40), tasks in 1usize..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = Memory::new();
            store.plan_faults(faults);
            let counters = |task: u64| Records::<_, u64>::new(store.clone(), Prefix::default(), task);
            let (mut made, mut seen) = (0, Vec::new());
            for round in 0..12 {
                let counters = counters(round % tasks as u64 + 10 * round);
                match counters.update("n", |value| Update::Put(value.copied().unwrap_or(0) + 1)).await {
                    Ok(_) => made += 1,
                    Err(error) => seen.push(error),
                }
            }
            let (value, _) = counters(99).read("n").await.unwrap();
            prop_assert_eq!(value.unwrap_or(0), made);
            // A request that was refused outright is told so; no other error comes.
            prop_assert!(seen.iter().all(|error| matches!(error, Error::Unavailable(_))), "{:?}", seen);
            Ok(())
        })?;
    }
}
