//! What a put costs as things grow (keys, members, values), and how long a start takes, beside etcd 3.5.1.
//!
//! `cargo test --release -p steadfast --test growth -- --ignored --nocapture` prints the tables of docs/benchmarks.md; with `GROWTH_SVG` it draws them into that
//! file. `GROWTH_KEYS` is the largest number of keys. Needs etcd 3.5.1, which `ETCD_3_5` names, and 12 GiB in the directory for temporary files (`TMPDIR`).
#![expect(clippy::disallowed_methods, reason = "the speed of the real world")]

mod support;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use steadfast_etcd_api::proto::etcdserverpb as pb;
use support::oracle::Etcd;
use support::{Cluster, eventually};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use pb::kv_client::KvClient;
use pb::request_op::Request;

/// Puts under way at once, over [`CONNECTIONS`].
const CLIENTS: usize = 64;
const CONNECTIONS: usize = 16;
/// How long each cost is measured, after a second that does not count.
const MEASURED: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;
/// Puts in a transaction that fills, and the most bytes of values.
const BATCH: u64 = 64;
const BATCH_BYTES: u64 = 512 * 1024;

/// A cluster of one kind.
enum Side {
    Steadfast(Box<Cluster>),
    Etcd(Vec<Etcd>),
}

impl Side {
    fn start(kind: Kind, members: usize) -> Self {
        match kind {
            // By hand: it can be killed and started again.
            Kind::Steadfast if members == 1 => Side::Steadfast(Box::new(Cluster::alone())),
            Kind::Steadfast => Side::Steadfast(Box::new(Cluster::start(members))),
            Kind::Etcd => Side::Etcd(Etcd::members(members)),
        }
    }

    fn endpoints(&self) -> Vec<String> {
        match self {
            Side::Steadfast(cluster) => cluster.nodes.iter().map(|node| node.etcd.clone()).collect(),
            Side::Etcd(members) => members.iter().map(|member| member.endpoint.clone()).collect(),
        }
    }

    fn cpu_us(&self) -> u64 {
        match self {
            Side::Steadfast(cluster) => cluster.nodes.iter().map(support::Node::cpu_us).sum(),
            Side::Etcd(members) => members.iter().map(Etcd::cpu_us).sum(),
        }
    }

    /// Kills the only member and starts it again.
    fn crash(&mut self) {
        match self {
            Side::Steadfast(cluster) => {
                cluster.nodes[0].kill();
                cluster.nodes[0].start_again();
            }
            Side::Etcd(members) => {
                members[0].kill();
                members[0].start_again();
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Steadfast,
    Etcd,
}

const KINDS: [Kind; 2] = [Kind::Steadfast, Kind::Etcd];

fn key(number: u64) -> String {
    format!("growth/{number:012}")
}

fn put(number: u64, value_bytes: usize) -> pb::PutRequest {
    pb::PutRequest { key: key(number).into(), value: vec![b'v'; value_bytes].into(), ..Default::default() }
}

async fn connect(endpoint: &str) -> Option<KvClient<Channel>> {
    Some(KvClient::new(Endpoint::from_shared(format!("http://{endpoint}")).ok()?.connect().await.ok()?))
}

/// Connections to all members in turn, each of which has answered a write.
async fn connections(side: &Side) -> Vec<KvClient<Channel>> {
    let endpoints = side.endpoints();
    let mut all = Vec::new();
    for at in 0..CONNECTIONS {
        let endpoint = &endpoints[at % endpoints.len()];
        let attempt = async || {
            let mut client = connect(endpoint).await?;
            client.put(put(0, 1)).await.ok()?;
            Some(client)
        };
        all.push(eventually("a write", || tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(attempt()))));
    }
    all
}

/// Writes every key once.
async fn fill(side: &Side, keys: u64, value_bytes: usize) {
    let (next, mut tasks) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    let batch = (BATCH_BYTES / value_bytes as u64).min(BATCH);
    for mut client in connections(side).await {
        let next = Arc::clone(&next);
        tasks.spawn(async move {
            loop {
                let first = next.fetch_add(batch, Ordering::Relaxed);
                if first >= keys {
                    return;
                }
                let puts = (first..keys.min(first + batch)).map(|number| Request::RequestPut(put(number, value_bytes)));
                let success = puts.map(|put| pb::RequestOp { request: Some(put) }).collect();
                client.txn(pb::TxnRequest { success, ..Default::default() }).await.expect("written");
            }
        });
    }
    tasks.join_all().await;
}

/// What a put of a key at random costs all members together, microseconds of processor time, and how many there were a second: the median round.
async fn cost(side: &Side, keys: u64, value_bytes: usize) -> (f64, f64) {
    let (done, mut tasks) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    let connections = connections(side).await;
    for number in 0..CLIENTS {
        let (mut client, done) = (connections[number % CONNECTIONS].clone(), Arc::clone(&done));
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(number as u64);
            loop {
                client.put(put(random.u64(..keys), value_bytes)).await.expect("written");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (began, cpu, before) = (Instant::now(), side.cpu_us(), done.load(Ordering::Relaxed));
        tokio::time::sleep(MEASURED).await;
        let puts = (done.load(Ordering::Relaxed) - before) as f64;
        rounds.push(((side.cpu_us() - cpu) as f64 / puts, puts / began.elapsed().as_secs_f64()));
    }
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    rounds[ROUNDS / 2]
}

/// From a start after a crash to the first linearizable read, milliseconds.
async fn cold_start(side: &mut Side, keys: u64) -> f64 {
    side.crash();
    let (began, endpoint) = (Instant::now(), side.endpoints()[0].clone());
    let read = async || {
        let range = pb::RangeRequest { key: key(keys - 1).into(), ..Default::default() };
        Some(connect(&endpoint).await?.range(range).await.ok()?.into_inner())
    };
    let answer = loop {
        match tokio::time::timeout(Duration::from_secs(1), read()).await {
            Ok(Some(answer)) => break answer,
            Ok(None) | Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    };
    let took = began.elapsed();
    assert_eq!(answer.kvs.len(), 1, "the last key that was written");
    took.as_secs_f64() * 1000.0
}

/// One measurement on both sides.
struct Point {
    label: String,
    /// Steadfast's and etcd's.
    figures: [f64; 2],
}

/// What one table and one drawing show.
struct Panel {
    title: &'static str,
    unit: &'static str,
    points: Vec<Point>,
}

impl Panel {
    fn print(&self) {
        println!("\n| {}: {} | Steadfast | etcd 3.5.1 | ratio |\n| --- | ---: | ---: | ---: |", self.title, self.unit);
        for Point { label, figures: [ours, theirs] } in &self.points {
            println!("| {label} | {ours:.1} | {theirs:.1} | {:.2} |", theirs / ours);
        }
    }

    /// Draws it as an SVG group, 300 wide and 240 high, on a logarithmic scale.
    fn draw(&self, left: f64, svg: &mut String) {
        let (left, width, top, height) = (left + 50.0, 220.0, 40.0, 150.0);
        let lines = lines(self.points.iter().flat_map(|point| point.figures));
        let (least, most) = (lines[0].ln(), lines[lines.len() - 1].ln());
        let y = |figure: f64| top + height * (1.0 - (figure.ln() - least) / (most - least));
        let x = |at: usize| left + width * (at as f64 + 0.5) / self.points.len() as f64;
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"18\" font-weight=\"600\">{}</text>", self.title);
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"33\" fill=\"#666\">{}</text>", self.unit);
        for figure in lines {
            let (line, right) = (y(figure), left + width);
            let _ = writeln!(svg, "<line x1=\"{left}\" x2=\"{right}\" y1=\"{line:.1}\" y2=\"{line:.1}\" stroke=\"#ddd\"/>");
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{figure}</text>", left - 5.0, line + 4.0);
        }
        for (at, point) in self.points.iter().enumerate() {
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>", x(at), top + height + 18.0, point.label);
        }
        for (kind, colour) in [(0, "#0072b2"), (1, "#e69f00")] {
            let place = |(at, point): (usize, &Point)| format!("{:.1},{:.1}", x(at), y(point.figures[kind]));
            let line: Vec<String> = self.points.iter().enumerate().map(place).collect();
            let _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", line.join(" "));
            for (at, point) in self.points.iter().enumerate() {
                let _ = writeln!(svg, "<circle cx=\"{}\" cy=\"{}\" r=\"3\" fill=\"{colour}\"/>", x(at), y(point.figures[kind]));
            }
        }
    }
}

/// The lines of a logarithmic scale that holds all figures: 1, 2, 5, 10, …, or powers of ten if those were many.
fn lines(figures: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let (least, most) = (figures.clone().fold(f64::MAX, f64::min), figures.fold(0.0, f64::max));
    let within = |steps: &[f64]| {
        let all: Vec<f64> = (0..7).flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade))).collect();
        let first = all.iter().rposition(|line| *line <= least).unwrap_or(0);
        let last = all.iter().position(|line| *line >= most).unwrap_or(all.len() - 1);
        all[first..=last].to_vec()
    };
    let fine = within(&[1.0, 2.0, 5.0]);
    if fine.len() > 7 { within(&[1.0]) } else { fine }
}

fn draw(panels: &[Panel]) -> String {
    let width = 300 * panels.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} 240\" font-family=\"system-ui,sans-serif\" font-size=\"11\" fill=\"#333\">\n\
         <rect width=\"{width}\" height=\"240\" fill=\"#fff\"/>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        panel.draw(300.0 * at as f64, &mut svg);
    }
    for (x, colour, name) in [(50, "#0072b2", "Steadfast"), (150, "#e69f00", "etcd 3.5.1")] {
        let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"228\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"232\">{name}</text>", x + 9);
    }
    svg + "</svg>\n"
}

/// A number of keys, in few characters.
fn short(number: u64) -> String {
    match number {
        1_000_000.. => format!("{} M", number / 1_000_000),
        1_000.. => format!("{} k", number / 1_000),
        _ => number.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd 3.5.1 (ETCD_3_5) and starts clusters of processes; takes half an hour"]
async fn growth_beside_etcd() {
    const COST: &str = "CPU of all members a put, us";
    let most: u64 = std::env::var("GROWTH_KEYS").map_or(10_000_000, |text| text.parse().expect("GROWTH_KEYS: a number of keys"));
    let mut panels = ["keys, one member", "cold start by keys, one member", "members", "bytes a value, three members"].map(|title| Panel {
        title,
        unit: if title.starts_with("cold") { "ms to the first linearizable read" } else { COST },
        points: vec![],
    });
    for keys in [10_000, 300_000, 1_000_000, 10_000_000].into_iter().filter(|keys| *keys <= most) {
        let (mut costs, mut starts) = ([0.0; 2], [0.0; 2]);
        for (at, kind) in KINDS.into_iter().enumerate() {
            let mut side = Side::start(kind, 1);
            fill(&side, keys, 256).await;
            starts[at] = cold_start(&mut side, keys).await;
            let rate;
            (costs[at], rate) = cost(&side, keys, 256).await;
            eprintln!("{keys} keys, {kind:?}: {:.1} us, {rate:.0} a second; started in {:.0} ms", costs[at], starts[at]);
        }
        panels[0].points.push(Point { label: short(keys), figures: costs });
        panels[1].points.push(Point { label: short(keys), figures: starts });
    }
    let members = [3, 5, 7].map(|members| (2, members.to_string(), members, 256));
    let values = [(64, "64"), (1024, "1 Ki"), (65_536, "64 Ki")].map(|(bytes, label)| (3, label.to_owned(), 3, bytes));
    for (panel, label, members, value_bytes) in members.into_iter().chain(values) {
        let (keys, mut figures) = (1_000, [0.0; 2]);
        for (at, kind) in KINDS.into_iter().enumerate() {
            let side = Side::start(kind, members);
            fill(&side, keys, value_bytes).await;
            let rate;
            (figures[at], rate) = cost(&side, keys, value_bytes).await;
            eprintln!("{members} members, values of {value_bytes} bytes, {kind:?}: {:.1} us, {rate:.0} a second", figures[at]);
        }
        panels[panel].points.push(Point { label, figures });
    }
    panels.iter().for_each(Panel::print);
    if let Ok(path) = std::env::var("GROWTH_SVG") {
        std::fs::write(&path, draw(&panels)).expect("the drawing");
    }
    let dearer = |point: &&Point| point.figures[0] >= point.figures[1];
    let dearer: Vec<&str> = panels.iter().flat_map(|panel| &panel.points).filter(dearer).map(|point| point.label.as_str()).collect();
    assert!(dearer.is_empty(), "etcd does with less at {dearer:?}");
}
