//! Checks of reads.

use steadfast_types::Revision;

use super::{World, fresh, get, key, list, put};
use crate::batch::{Batch, Write};
use crate::error::{Error, OutOfBounds};
use crate::limits::PAGE_RECORDS;
use crate::read::Read;
use crate::{Coordination, Lease};

pub(super) async fn what_was_written_is_read_through_any_handle<W: World>(world: &W) {
    let prefix = fresh(world, "linearizable").await;
    let key = key(&prefix, "k");
    for round in 0..60 {
        let (writer, reader) = (world.store(round), world.store(round / 3 + 1));
        let value = round.to_string();
        let revision = put(&writer, &key, value.clone()).await;
        let page = reader.read(Read::key(key.clone())).await.expect("a read");
        let record = page.records.first().expect("it is there");
        assert_eq!((record.value.as_ref(), record.mod_revision), (value.as_bytes(), revision), "round {round}");
        assert!(page.revision >= revision && page.next.is_none());
        assert_eq!(record.version, i64::try_from(round).expect("small") + 1);
    }
}

pub(super) async fn the_past_is_read_as_it_was<W: World>(world: &W) {
    let prefix = fresh(world, "past").await;
    let (store, key) = (world.store(0), key(&prefix, "k"));
    let first = put(&store, &key, "1").await;
    let second = put(&store, &key, "2").await;
    let gone = super::apply(&store, Batch::default().then(Write::Delete(key.clone().into()))).await;
    for (at, value) in [(Revision(first.0 - 1), None), (first, Some("1")), (second, Some("2")), (gone, None)] {
        let page = world.store(1).read(Read::key(key.clone()).at(at)).await.expect("kept");
        assert_eq!(page.revision, at);
        assert_eq!(page.records.first().map(|record| record.value.as_ref()), value.map(str::as_bytes));
    }
    let future = store.read(Read::key(key).at(Revision(gone.0 + 1_000_000_000))).await;
    assert_eq!(future, Err(Error::FutureRevision));
}

pub(super) async fn pages_are_of_one_moment<W: World>(world: &W) {
    let prefix = fresh(world, "pages").await;
    let (store, other) = (world.store(0), world.store(1));
    let names: Vec<String> = (0..100).map(|number| format!("{number:03}")).collect();
    for name in &names {
        put(&store, &key(&prefix, name), "before").await;
    }
    put(&store, &super::Key::new("conformance/pages0").expect("short"), "beside it").await;
    for limit in [1, 7, 99, 100, PAGE_RECORDS] {
        let whole = list(&store, Read::prefix(prefix.clone())).await;
        let (mut told, mut next, mut pages) = (Vec::new(), Some(Read { limit, ..Read::prefix(prefix.clone()) }), 0);
        while let Some(read) = next {
            let page = store.read(read).await.expect("a page");
            assert!(page.records.len() <= limit);
            told.extend(page.records);
            next = page.next;
            if pages < 20 {
                put(&other, &key(&prefix, format!("{pages:03}x")), "between").await;
                apply_delete(&other, &key(&prefix, format!("{:03}", 99 - pages))).await;
            }
            pages += 1;
        }
        assert!(told == whole, "with pages of {limit}");
        for name in &names {
            put(&store, &key(&prefix, name), "before").await;
        }
    }
}

async fn apply_delete(store: &impl Coordination, key: &super::Key) {
    super::apply(store, Batch::default().then(Write::Delete(key.clone().into()))).await;
}

pub(super) async fn reads_out_of_bounds_are_refused<W: World>(world: &W) {
    let prefix = fresh(world, "read-bounds").await;
    let store = world.store(0);
    for limit in [0, PAGE_RECORDS + 1] {
        let read = Read { limit, ..Read::prefix(prefix.clone()) };
        assert_eq!(store.read(read).await, Err(OutOfBounds::PageRecords(limit).into()));
    }
    assert_eq!(store.read(Read::prefix(prefix.clone()).at(Revision(0))).await, Err(OutOfBounds::Revision.into()));
    assert_eq!(get(&store, &key(&prefix, "none")).await, None);
    for ttl_s in [i64::MIN, 0, i64::MAX] {
        let refused: Result<Lease, Error> = store.grant(ttl_s).await;
        assert_eq!(refused, Err(OutOfBounds::LeaseTtl(ttl_s).into()));
    }
}
