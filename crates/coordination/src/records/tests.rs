//! Typed records.

use super::*;
use crate::memory::Memory;

fn records(store: &Memory) -> Records<Memory, String> {
    Records::new(store.clone(), Prefix::new("plans/").unwrap(), 1)
}

#[tokio::test]
async fn records_are_made_changed_kept_and_deleted() {
    let store = Memory::new();
    let plans = records(&store);
    let append = |word: &'static str| move |value: Option<&String>| Update::Put(format!("{}{word}", value.map_or("", String::as_str)));
    let first = plans.update("1", append("a")).await.unwrap();
    assert_eq!(first, Updated::Changed { revision: Revision(2), before: None });
    plans.update("1", append("b")).await.unwrap();
    plans.update("2", append("c")).await.unwrap();
    let (revision, all) = plans.read_all().await.unwrap();
    let values: Vec<_> = all.iter().map(|stored| (stored.record.version, stored.value.as_str())).collect();
    assert_eq!((revision, values), (Revision(4), vec![(2, "ab"), (1, "c")]));
    assert_eq!(plans.update("1", |_| Update::Keep).await, Ok(Updated::Kept(Some("ab".into()))));
    let deleted = plans.update("1", |_| Update::Delete).await;
    assert_eq!(deleted, Ok(Updated::Changed { revision: Revision(5), before: Some("ab".into()) }));
    assert_eq!(plans.update("1", |_| Update::Delete).await, Ok(Updated::Kept(None)));
    assert_eq!(store.revision(), Revision(5), "what stays as it is costs no write");
}

#[tokio::test]
async fn a_record_goes_with_its_lease() {
    let store = Memory::new();
    let lease = store.grant(10).await.unwrap();
    records(&store).update("1", |_| Update::PutUnder(lease.id, "x".into())).await.unwrap();
    store.advance(steadfast_types::time::Duration::from_secs(10));
    assert_eq!(records(&store).read("1").await.unwrap().0, None);
}

#[tokio::test]
async fn what_is_not_a_record_is_told_and_never_written_over() {
    let store = Memory::new();
    let plans = records(&store);
    let key = plans.prefix().key("1").unwrap();
    let cut = plans.encode(&"value".into()).slice(..3);
    for foreign in [Bytes::new(), "hello".into(), vec![2, 0, 0].into(), vec![FORM].into(), cut] {
        store.commit(Batch::default().then(Write::put(key.clone(), foreign.clone()))).await.unwrap();
        let outcomes =
            [plans.read("1").await.map(drop), plans.read_all().await.map(drop), plans.update("1", |_| Update::Delete).await.map(drop)];
        for outcome in outcomes {
            assert!(matches!(&outcome, Err(Error::NotARecord { key, .. }) if key == "plans/1"), "{foreign:?}: {outcome:?}");
        }
        let page = store.read(Read::key(key.clone())).await.unwrap();
        assert_eq!(page.records[0].value, foreign);
    }
}

#[test]
fn no_two_stored_forms_are_alike() {
    let plans = records(&Memory::new());
    assert_ne!(plans.encode(&"x".into()), plans.encode(&"x".into()));
}
