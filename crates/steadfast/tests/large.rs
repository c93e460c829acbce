//! A database that is larger than its node's memory is meant to be: filled, read, cut off from power, half of it deleted, its space taken back.
//!
//! `LARGE_GIB=20 cargo test --release -p steadfast --test large -- --ignored --nocapture --test-threads=1` prints the columns of the table in
//! docs/benchmarks.md. It needs two and a half times that space in the directory for temporary files (`TMPDIR`).
#![expect(clippy::disallowed_methods, reason = "the speed of the real world")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use steadfast_etcd_api::proto::etcdserverpb as pb;
use support::{Cluster, eventually};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use pb::kv_client::KvClient;
use pb::request_op::Request;

const VALUE_BYTES: usize = 4096;
/// Puts in a transaction.
const BATCH: u64 = 64;
const CLIENTS: u64 = 16;
const READS: u64 = 20_000;
/// Keys that one request deletes.
const DELETED: u64 = 10_000;

fn key(number: u64) -> String {
    format!("large/{number:010}")
}

/// Bytes that no compression makes fewer.
fn value(number: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number);
    (0..VALUE_BYTES / 8).flat_map(|_| random.u64(..).to_le_bytes()).collect()
}

fn put(number: u64) -> pb::RequestOp {
    let put = pb::PutRequest { key: key(number).into(), value: value(number).into(), ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestPut(put)) }
}

async fn connect(endpoint: &str) -> KvClient<Channel> {
    KvClient::new(Endpoint::from_shared(format!("http://{endpoint}")).expect("a URL").connect().await.expect("a connection"))
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Of all files below.
fn bytes_below(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// Every client does its share of `0..count`, `step` at a time.
async fn share<F: Future<Output = ()> + Send + 'static>(
    endpoint: &str,
    (count, step): (u64, u64),
    work: impl Fn(KvClient<Channel>, u64) -> F + Clone + Send + 'static,
) {
    let (next, mut tasks) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for _ in 0..CLIENTS {
        let (client, next, work) = (connect(endpoint).await, Arc::clone(&next), work.clone());
        tasks.spawn(async move {
            loop {
                let first = next.fetch_add(step, Ordering::Relaxed);
                if first >= count {
                    return;
                }
                work(client.clone(), first).await;
            }
        });
    }
    tasks.join_all().await;
}

fn row(what: &str, figure: impl std::fmt::Display) {
    println!("| {what} | {figure} |");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fills the disk with LARGE_GIB, 20 if that is not set; takes minutes"]
async fn a_large_database_written_in_order_works() {
    fill_and_use("in order", |keys, number| number % keys).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "fills the disk with LARGE_GIB, 20 if that is not set; takes minutes"]
async fn a_large_database_written_at_random_works() {
    // A prime that does not divide the number of keys: each has its turn once.
    fill_and_use("at random", |keys, number| (number * 2_654_435_761) % keys).await;
}

/// `place`: the number of the key that is written as the manieth, out of how many.
async fn fill_and_use(order: &str, place: fn(u64, u64) -> u64) {
    let size: u64 = std::env::var("LARGE_GIB").map_or(20, |text| text.parse().expect("LARGE_GIB: a number of GiB"));
    let keys = (size << 30) / VALUE_BYTES as u64 / BATCH * BATCH;
    let mut cluster = Cluster::alone();
    let endpoint = cluster.nodes[0].etcd.clone();
    let (began, done) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let fill = share(&endpoint, (keys, BATCH), {
        let done = Arc::clone(&done);
        move |mut client, first| {
            let done = Arc::clone(&done);
            async move {
                let txn = pb::TxnRequest {
                    success: (first..first + BATCH).map(|number| put(place(keys, number))).collect(),
                    ..Default::default()
                };
                client.txn(txn).await.expect("written");
                done.fetch_add(BATCH, Ordering::Relaxed);
            }
        }
    });
    let report = async {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let (share, disk) = (done.load(Ordering::Relaxed) as f64 / keys as f64, bytes_below(&cluster.nodes[0].data_dir));
            let resident = cluster.nodes[0].resident_bytes() >> 20;
            eprintln!("{:5.1} % written, {:.1} GiB on disk, {resident} MiB resident", 100.0 * share, gib(disk));
        }
    };
    tokio::select! {
        () = fill => {}
        () = report => unreachable!("it goes on for ever"),
    }
    println!("| {keys} keys of {VALUE_BYTES} random bytes on one node, written {order} | |\n| --- | ---: |");
    let seconds = began.elapsed().as_secs_f64();
    row(
        "written by 16 clients, 64 puts a transaction",
        format!("{:.0} MiB/s", (keys * VALUE_BYTES as u64) as f64 / seconds / f64::from(1 << 20)),
    );
    row("peak resident memory so far", format!("{} MiB", cluster.nodes[0].peak_memory_bytes() >> 20));
    row("on disk", format!("{:.1} GiB", gib(bytes_below(&cluster.nodes[0].data_dir))));

    let began = Instant::now();
    share(&endpoint, (READS, 1), move |mut client, read| async move {
        let number = fastrand::Rng::with_seed(!read).u64(..keys);
        let range = pb::RangeRequest { key: key(number).into(), ..Default::default() };
        let answer = client.range(range).await.expect("read").into_inner();
        assert_eq!(answer.kvs[0].value, value(number), "{}", key(number));
    })
    .await;
    row("linearizable reads of random keys, 16 clients", format!("{:.0}/s", READS as f64 / began.elapsed().as_secs_f64()));

    cluster.nodes[0].kill();
    let began = Instant::now();
    cluster.nodes[0].start_again();
    let read = async || {
        let channel = Endpoint::from_shared(format!("http://{endpoint}")).ok()?.connect().await.ok()?;
        let range = pb::RangeRequest { key: key(keys - 1).into(), ..Default::default() };
        Some(KvClient::new(channel).range(range).await.ok()?.into_inner())
    };
    let answer = eventually("a read", || tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(read())));
    row("killed; from its start to its first linearizable read", format!("{:.0} ms", began.elapsed().as_secs_f64() * 1000.0));
    assert_eq!(answer.kvs[0].value, value(keys - 1), "the last that was written");

    let began = Instant::now();
    let all = pb::RangeRequest { key: key(0).into(), range_end: "large0".into(), count_only: true, ..Default::default() };
    let mut client = connect(&endpoint).await;
    let count = client.range(all.clone()).await.expect("read").into_inner().count;
    row("all keys counted by one range", format!("{:.1} s", began.elapsed().as_secs_f64()));
    assert_eq!(count, keys as i64);

    let began = Instant::now();
    share(&endpoint, (keys / 2, DELETED), move |mut client, first| async move {
        let end = key((first + DELETED).min(keys / 2));
        let delete = pb::DeleteRangeRequest { key: key(first).into(), range_end: end.into(), ..Default::default() };
        client.delete_range(delete).await.expect("deleted");
    })
    .await;
    row("half of the keys deleted, 10000 a request", format!("{:.1} s", began.elapsed().as_secs_f64()));
    assert_eq!(client.range(all).await.expect("read").into_inner().count, (keys - keys / 2) as i64);

    let (before, began) = (bytes_below(&cluster.nodes[0].data_dir), Instant::now());
    let revision = client.range(pb::RangeRequest { key: key(0).into(), ..Default::default() }).await.expect("read");
    let revision = revision.into_inner().header.expect("a header").revision;
    client.compact(pb::CompactionRequest { revision, physical: false }).await.expect("compacted");
    let channel = Endpoint::from_shared(format!("http://{endpoint}")).expect("a URL").connect().await.expect("a connection");
    pb::maintenance_client::MaintenanceClient::new(channel).defragment(pb::DefragmentRequest {}).await.expect("begun");
    let goal = before - before / 3;
    while bytes_below(&cluster.nodes[0].data_dir) > goal {
        assert!(began.elapsed() < Duration::from_secs(1800), "space does not come back");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    row("compacted and defragmented: a third of the disk is free again", format!("{:.0} s", began.elapsed().as_secs_f64()));
    row("peak resident memory after the restart", format!("{} MiB", cluster.nodes[0].peak_memory_bytes() >> 20));
}
