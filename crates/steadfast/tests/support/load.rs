//! Clients that write without pause through every node and remember what was acknowledged.
//!
//! Each write has a key of its own, so that one whose outcome is unknown can't hide the loss of another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use steadfast_etcd_api::proto::etcdserverpb as pb;
use tonic::transport::{Channel, Endpoint};

type Kv = pb::kv_client::KvClient<Channel>;

/// A write is given up, with its outcome unknown, after so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cluster that serves does it within this time, even on a busy machine.
const PROMPT: Duration = Duration::from_secs(5);

/// A running load.
pub struct Load {
    runtime: tokio::runtime::Runtime,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<tokio::task::JoinHandle<BTreeMap<String, u64>>>,
    endpoints: Vec<String>,
}

/// What a load was told.
pub struct Acknowledged {
    pub writes: BTreeMap<String, u64>,
}

pub async fn connect(endpoint: &str) -> Result<Kv, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{endpoint}"))?.connect_timeout(Duration::from_secs(2)).timeout(PATIENCE);
    Ok(Kv::new(endpoint.connect().await?).max_decoding_message_size(1 << 30))
}

impl Load {
    /// Starts `writers` clients, spread over the endpoints. `prefix` keeps the keys of several loads apart.
    pub fn start(prefix: &str, endpoints: &[String], writers: usize, value_bytes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let handles = (0..writers).map(|writer| {
            let name = format!("{prefix}/{writer}");
            runtime.spawn(write(name, endpoints.to_vec(), writer, value_bytes, stop.clone(), acknowledged.clone()))
        });
        let writers = handles.collect();
        Load { stop, acknowledged, writers, endpoints: endpoints.to_vec(), runtime }
    }

    /// Waits until `more` further writes were acknowledged: the cluster serves.
    pub fn await_progress(&self, more: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        super::eventually("progress of the load", || (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(()));
    }

    /// Ends the load.
    pub fn stop(self) -> Acknowledged {
        self.stop.store(true, Ordering::Relaxed);
        let mut writes = BTreeMap::new();
        for writer in self.writers {
            writes.extend(self.runtime.block_on(writer).expect("a writer"));
        }
        assert!(!writes.is_empty(), "nothing was acknowledged");
        let _ = self.endpoints;
        Acknowledged { writes }
    }
}

async fn write(
    name: String,
    endpoints: Vec<String>,
    first: usize,
    value_bytes: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> BTreeMap<String, u64> {
    let mut done = BTreeMap::new();
    let (mut at, mut number) = (first, 0u64);
    while !stop.load(Ordering::Relaxed) {
        at += 1;
        let Ok(mut client) = connect(&endpoints[at % endpoints.len()]).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let key = format!("{name}/{number:08}");
            let put = pb::PutRequest { key: key.clone().into(), value: value(number, value_bytes).into(), ..Default::default() };
            // After an error the outcome is unknown; the key is not used again.
            if client.put(put).await.is_err() {
                break;
            }
            done.insert(key, number);
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
    done
}

/// One write through this node, which must be acknowledged soon.
pub fn put_promptly(endpoint: &str, key: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let put = async {
        let request = pb::PutRequest { key: key.to_owned().into(), value: "1".into(), ..Default::default() };
        connect(endpoint).await.expect("a connection").put(request).await.expect("a put");
    };
    runtime.block_on(async { tokio::time::timeout(PROMPT, put).await }).unwrap_or_else(|_| panic!("{endpoint} does not serve a put"));
}

fn value(number: u64, bytes: usize) -> String {
    format!("{number:0bytes$}")
}

impl Acknowledged {
    /// Reads everything back from each node, linearizably, and compares.
    pub fn verify(&self, endpoints: &[String]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        for endpoint in endpoints {
            let found = runtime.block_on(read_all(endpoint));
            let missing: Vec<&String> =
                self.writes.iter().filter(|(key, number)| found.get(*key) != Some(*number)).map(|(key, _)| key).collect();
            assert!(
                missing.is_empty(),
                "{} of {} acknowledged writes are lost on {endpoint}: {missing:?}",
                missing.len(),
                self.writes.len()
            );
        }
    }
}

async fn read_all(endpoint: &str) -> BTreeMap<String, u64> {
    let mut client = connect(endpoint).await.expect("a connection");
    let mut all = BTreeMap::new();
    let mut key = vec![0];
    loop {
        let request = pb::RangeRequest { key: key.clone().into(), range_end: vec![0].into(), limit: 5000, ..Default::default() };
        let answer = client.range(request).await.expect("a range").into_inner();
        for kv in &answer.kvs {
            // The cluster's own records are there too, and are no text.
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            all.insert(text(&kv.key), text(&kv.value).parse().unwrap_or(u64::MAX));
        }
        let Some(last) = answer.kvs.last().filter(|_| answer.more) else { return all };
        key = [&last.key[..], &[0]].concat();
    }
}
