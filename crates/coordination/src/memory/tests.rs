//! The model passes the conformance tests, and its faults are what they say.

use steadfast_types::time::Duration;

use super::*;
use crate::batch::Write;
use crate::conformance::{World, all};
use crate::keys::Key;

struct Alone(Memory);

impl World for Alone {
    type Store = Memory;

    fn store(&self, _: usize) -> Memory {
        self.0.clone()
    }

    async fn pass(&self, time: Duration) {
        self.0.advance(time);
    }

    fn now(&self) -> Instant {
        Time::now(&self.0)
    }

    async fn compact(&self, revision: Revision) {
        self.0.compact(revision);
    }
}

#[tokio::test]
async fn the_model_conforms() {
    all(&Alone(Memory::new())).await;
}

#[tokio::test]
async fn faults_are_what_they_say() {
    let store = Memory::new();
    let key = Key::new("k").unwrap();
    let put = |value: &'static str| Batch::default().then(Write::put(key.clone(), value));
    let value = async || store.read(Read::key(key.clone())).await.unwrap().records.first().map(|record| record.value.clone());
    store.plan_faults([Fault::Refused, Fault::RequestLost, Fault::AnswerLost, Fault::Delayed]);
    assert!(matches!(store.commit(put("1")).await, Err(Error::Unavailable(_))));
    assert!(matches!(store.commit(put("2")).await, Err(Error::Unknown(_))));
    assert_eq!(value().await, None);
    assert!(matches!(store.commit(put("3")).await, Err(Error::Unknown(_))));
    assert_eq!(value().await.as_deref(), Some(b"3".as_slice()));
    assert!(matches!(store.commit(put("4")).await, Err(Error::Unknown(_))));
    assert_eq!(value().await.as_deref(), Some(b"3".as_slice()));
    let batch = Batch::default().when(crate::Compare::Value(key.clone(), "4".into())).then(Write::put(key.clone(), "5"));
    assert_eq!(store.commit(batch).await, Ok(Outcome::Applied(Revision(4))), "the delayed one came first");
}
