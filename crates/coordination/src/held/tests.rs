//! Leases that are kept alive.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::*;
use crate::memory::Memory;

/// What it says now, if anything.
async fn now<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn a_held_lease_outlives_its_time_until_somebody_ends_it() {
    let store = Memory::new();
    let mut held = Held::grant(store.clone(), store.clone(), 9).await.unwrap();
    let id = held.id();
    {
        let mut keep = pin!(held.keep());
        for _ in 0..50 {
            assert_eq!(now(keep.as_mut()).await, None);
            store.advance(seconds(3));
        }
        assert_eq!(now(keep.as_mut()).await, None);
        store.revoke(id).await.unwrap();
        store.advance(seconds(3));
        assert_eq!(now(keep.as_mut()).await, Some(Lost::Ended));
    }
    assert!(held.valid_until() > Time::now(&store), "it was renewed a moment ago, and ended by hand");
}

#[tokio::test]
async fn a_holder_that_was_away_for_too_long_knows_without_asking() {
    let store = Memory::new();
    let mut held = Held::grant(store.clone(), store.clone(), 9).await.unwrap();
    assert_eq!(held.valid_until(), Instant(9_000_000));
    let mut keep = pin!(held.keep());
    assert_eq!(now(keep.as_mut()).await, None);
    store.advance(seconds(9));
    let lost = now(keep.as_mut()).await;
    assert!(matches!(lost, Some(Lost::NotRenewed(_))), "{lost:?}");
}
