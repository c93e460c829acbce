//! Follows what is declared in strong state, for this node and for those that ask it.
//!
//! What is published is what the records say, or none yet (`None`): an empty table means that nothing is declared. A record that declares nothing is as
//! good as none; the log says so, once for each time that it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use steadfast_coordination::{Change, Coordination, Error, Key, Read, Record, Watch as _};
use steadfast_types::Revision;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::declared::{Declared, Declares, Definition};

/// What is declared for all nodes; `None` until it was read for the first time.
pub(crate) type Following<T = Definition> = watch::Receiver<Option<Arc<Declared<T>>>>;

/// Bytes of declarations that are held, keys included. A hundred thousand small ones fit.
const DECLARED_BYTES: usize = 64 * 1024 * 1024;

/// What a declaration takes beside its key and value, about.
const RECORD_BYTES: usize = 512;

/// Changes within this time are published together.
const TOGETHER: Duration = Duration::from_millis(50);

/// Between two attempts to read.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Records that the log was told of. Beyond it all are forgotten, and may be said once more.
const COMPLAINTS: usize = 1024;

/// Follows until nobody listens, or `stopping` says so.
pub(crate) fn follow<T: Declares, C: Coordination>(store: C, mut stopping: watch::Receiver<bool>) -> Following<T> {
    let (publish, following) = watch::channel(None);
    tokio::spawn(async move {
        let mut table = Table::default();
        tokio::select! {
            () = publish.closed() => {}
            // A dropped sender means the same.
            _ = stopping.wait_for(|stop| *stop) => {}
            never = keep_up(&store, &mut table, &publish) => match never {},
        }
    });
    following
}

async fn keep_up<T: Declares, C: Coordination>(
    store: &C,
    table: &mut Table<T>,
    publish: &watch::Sender<Option<Arc<Declared<T>>>>,
) -> std::convert::Infallible {
    loop {
        match read_all::<T, C>(store).await {
            Ok((revision, records)) => {
                table.restart(records);
                publish.send_replace(Some(Arc::new(table.declared())));
                let error = watch_from(store, revision, table, publish).await;
                tracing::debug!(error, "what is declared is read again");
            }
            Err(error) => {
                tracing::debug!(%error, "what is declared can't be read; trying again");
                sleep(RETRY_WAIT).await;
            }
        }
    }
}

/// All records, as of one moment. They are judged page by page elsewhere, so that nothing but the table grows.
async fn read_all<T: Declares, C: Coordination>(store: &C) -> Result<(Revision, Vec<Record>), Error> {
    let (mut records, mut next, mut bytes) = (Vec::new(), Read::prefix(T::prefix()), 0);
    loop {
        let page = store.read(next).await?;
        for record in page.records {
            bytes += record.value.len();
            // What is beyond both bounds can't be in the table; it is left out there, in words.
            if bytes <= 2 * DECLARED_BYTES {
                records.push(record);
            }
        }
        match page.next {
            Some(read) => next = read,
            None => return Ok((page.revision, records)),
        }
    }
}

/// Takes changes until all must be read again; says why.
async fn watch_from<T: Declares, C: Coordination>(
    store: &C,
    revision: Revision,
    table: &mut Table<T>,
    publish: &watch::Sender<Option<Arc<Declared<T>>>>,
) -> String {
    let mut watch = store.watch(T::prefix().into(), Revision(revision.0 + 1));
    loop {
        let mut next = Some(watch.next().await);
        let until = Instant::now() + TOGETHER;
        let mut has_changed = false;
        while let Some(changes) = next {
            match changes {
                Ok(changes) => {
                    has_changed |= !changes.changes.is_empty();
                    changes.changes.into_iter().for_each(|change| table.take(change));
                }
                Err(error) => return error.to_string(),
            }
            next = timeout_at(until, watch.next()).await.ok();
        }
        if table.has_room_again {
            return "some that were left out may have room now".to_owned();
        }
        if has_changed {
            publish.send_replace(Some(Arc::new(table.declared())));
        }
    }
}

/// The records that declare something.
struct Table<T> {
    held: BTreeMap<Key, Held<T>>,
    bytes: usize,
    /// Some were left out for want of room.
    is_short: bool,
    /// Some were left out, and others have gone since.
    has_room_again: bool,
    complained: BTreeSet<(Key, Revision)>,
}

struct Held<T> {
    node: String,
    declared: T,
    bytes: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { held: BTreeMap::new(), bytes: 0, is_short: false, has_room_again: false, complained: BTreeSet::new() }
    }
}

impl<T: Declares> Table<T> {
    /// Forgets all, and holds these.
    fn restart(&mut self, records: Vec<Record>) {
        let complained = std::mem::take(&mut self.complained);
        *self = Table { complained, ..Table::default() };
        records.into_iter().for_each(|record| self.put(record));
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Put(record) => self.put(record),
            Change::Delete(key) => self.remove(&key),
        }
    }

    fn put(&mut self, record: Record) {
        self.remove(&record.key);
        match T::read(&record.key, &record.value) {
            Ok((node, declared)) => self.hold(&record, node, declared),
            Err(problem) => self.complain(&record, &problem),
        }
    }

    fn hold(&mut self, record: &Record, node: String, declared: T) {
        let bytes = RECORD_BYTES + record.key.bytes().len() + record.value.len();
        if self.bytes + bytes > DECLARED_BYTES {
            self.is_short = true;
            return self.complain(record, "more is declared than are held in memory (64 MiB): delete some");
        }
        self.bytes += bytes;
        self.held.insert(record.key.clone(), Held { node, declared, bytes });
    }

    fn remove(&mut self, key: &Key) {
        if let Some(held) = self.held.remove(key) {
            self.bytes -= held.bytes;
            self.has_room_again |= self.is_short;
        }
    }

    fn complain(&mut self, record: &Record, problem: &str) {
        if self.complained.len() >= COMPLAINTS {
            self.complained.clear();
        }
        if self.complained.insert((record.key.clone(), record.mod_revision)) {
            tracing::warn!(key = %record.key, "a record that declares no {} is ignored: {problem}", T::WHAT);
        }
    }

    fn declared(&self) -> Declared<T> {
        let mut declared = Declared::new();
        for held in self.held.values() {
            declared.entry(held.node.clone()).or_default().push(held.declared.clone());
        }
        declared
    }
}

#[cfg(test)]
mod tests {
    use super::super::declared::{self, Declaration, key};
    use super::*;
    use steadfast_coordination::{Batch, Memory, Write};

    fn record(service: &str) -> String {
        Declaration { service: service.to_owned(), heartbeat: true, ..Declaration::default() }.to_json()
    }

    async fn put(store: &Memory, key: Key, value: impl Into<bytes::Bytes>) {
        store.commit(Batch::default().then(Write::put(key, value))).await.unwrap();
    }

    /// What is declared, as `node/check/service`, once it is this.
    async fn await_declared(following: &mut Following, expected: &[&str]) {
        let lines = |declared: &Declared| -> Vec<String> {
            let of = |(node, checks): (&String, &Vec<Definition>)| {
                checks.iter().map(|check| format!("{node}/{}/{}", check.name, check.service)).collect::<Vec<_>>()
            };
            declared.iter().flat_map(of).collect()
        };
        following.wait_for(|declared| declared.as_ref().is_some_and(|declared| lines(declared) == expected)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_declared_changed_and_deleted_is_followed_and_what_is_malformed_stops_nothing() {
        let store = Memory::new();
        put(&store, key("n1", "a").unwrap(), record("orders")).await;
        put(&store, key("n1", "broken").unwrap(), "{").await;
        put(&store, declared::prefix().key("nowhere").unwrap(), "{}").await;
        let (_stop, stopping) = watch::channel(false);
        let mut following = follow(store.clone(), stopping);
        await_declared(&mut following, &["n1/a/orders"]).await;
        put(&store, key("*", "b").unwrap(), record("logs")).await;
        put(&store, key("n1", "broken").unwrap(), record("mended")).await;
        await_declared(&mut following, &["*/b/logs", "n1/a/orders", "n1/broken/mended"]).await;
        put(&store, key("n1", "a").unwrap(), "no more").await;
        store.commit(Batch::default().then(Write::Delete(key("n1", "broken").unwrap().into()))).await.unwrap();
        await_declared(&mut following, &["*/b/logs"]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn after_history_is_gone_all_is_read_again() {
        let store = Memory::new();
        let (_stop, stopping) = watch::channel(false);
        let mut following = follow(store.clone(), stopping);
        await_declared(&mut following, &[]).await;
        for k in 0..300 {
            put(&store, key("n1", &format!("c{k:03}")).unwrap(), record("orders")).await;
        }
        store.compact(store.revision());
        let expected: Vec<String> = (0..300).map(|k| format!("n1/c{k:03}/orders")).collect();
        await_declared(&mut following, &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    #[test]
    fn memory_is_bounded_and_room_that_comes_back_is_noticed() {
        let mut table = Table::<Definition>::default();
        let large = format!(r#"{{"service":"a","script":["{}"]}}"#, vec!["x".repeat(1000); 60].join(r#"",""#));
        let record = |k: u64| Record {
            key: key("n1", &format!("c{k}")).unwrap(),
            value: large.clone().into(),
            create_revision: Revision(1),
            mod_revision: Revision(1),
            version: 1,
            lease: None,
        };
        (0..2_000).for_each(|k| table.put(record(k)));
        assert!(table.bytes <= DECLARED_BYTES && table.held.len() > 1_000 && table.is_short);
        assert!(!table.has_room_again);
        table.take(Change::Delete(record(0).key));
        assert!(table.has_room_again);
    }
}
