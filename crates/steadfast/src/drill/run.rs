//! One drill from its cluster's start to its report.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_etcd_api::proto::etcdserverpb::{DeleteRangeRequest, RangeRequest, RangeResponse};
use steadfast_proof::history::{Answer, Operation, Request};
use steadfast_proof::time::Time;
use steadfast_types::Revision;
use tokio::time::Instant;

use super::cluster::{Against, Cluster};
use super::declaration::Declaration;
use super::faults::{Injector, Marks};
use super::figures::Measured;
use super::load::{Clients, Record};
use super::progress::Progress;
use super::report::Report;
use super::request::{Ask, seen};
use super::sampler::Sampler;
use super::stopwatch::Stopwatch;
use super::verdict::{Evidence, judge};
use super::watcher::{Watcher, read_all, span};
use crate::endpoints::Endpoint;
use crate::{client, show};

/// How long a cluster that was healed may take until it serves, and all its nodes are equal.
const HEALED_WAIT: Duration = Duration::from_secs(30);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(50);
/// A request that is still on its way somewhere is decided or lost by then.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// Runs it. An error: it could not be run; a broken promise is in the report.
pub(super) async fn run(drill: &Declaration, against: &Against, rounds: u64) -> Result<Report> {
    let progress = Progress::new(&drill.name);
    progress.say("starting".into());
    let mut cluster = against.open(drill).await?;
    let outcome = on_cluster(drill, &mut cluster, rounds, &progress).await;
    if let Ok(report) = &outcome
        && !report.problems.is_empty()
        && !cluster.nodes.is_empty()
    {
        show::say(cluster.last_words(15));
    }
    cluster.close().await?;
    outcome
}

async fn on_cluster(drill: &Declaration, cluster: &mut Cluster, rounds: u64, progress: &Progress) -> Result<Report> {
    let stopwatch = Stopwatch::start();
    let endpoints = cluster.endpoints.clone();
    let names: Vec<String> = match cluster.nodes.is_empty() {
        true => endpoints.iter().map(ToString::to_string).collect(),
        false => cluster.nodes.iter().map(|node| node.name.clone()).collect(),
    };
    let sampler = Sampler::start(&endpoints, stopwatch);
    let prefix = format!("steadfast-drill/{:016x}/", fastrand::u64(..));
    let before = patiently(async || read(&endpoints, &prefix).await).await.context("the cluster does not serve before the drill")?;
    let from = Revision(revision_of(&before) + 1);
    let watcher = Watcher::start(&endpoints, &prefix, from);
    let clients = Arc::new(Clients::new(drill.load, &prefix, &endpoints, stopwatch));

    let begin = stopwatch.now() + Duration::from_millis(200);
    let end = begin + Duration::from_secs(drill.seconds * rounds);
    let marks = Marks::default();
    let say = |text: String| progress.say(text);
    let mut injector = Injector { cluster, sampler: &sampler, stopwatch, marks: marks.clone(), say: &say };
    let (injected, (), ()) = tokio::select! {
        all = async { tokio::join!(injector.run(drill, begin, rounds), clients.run(begin, end), clients.observe(begin, end)) } => all,
        never = progress.follow(stopwatch, end, &clients, &sampler, &names) => match never {},
    };
    let mut problems: Vec<String> = injected.err().map(|error| format!("{error:#}")).into_iter().collect();
    progress.say("healed; reading everything back".into());
    problems.extend(healed(cluster, &sampler).await.err().map(|error| format!("not whole again after the drill: {error:#}")));

    let mut records = clients.take_records();
    let observed = clients.take_observed();
    let (last, operation) = last_write(&endpoints, &prefix, stopwatch).await.context("the cluster does not serve after the drill")?;
    let mut replicas = Vec::new();
    let mut contents = Vec::new();
    for (name, endpoint) in names.iter().zip(&endpoints) {
        replicas.push((name.clone(), read_all(endpoint, &prefix, (from, last)).await.map_err(|error| format!("{error:#}"))));
        let answer = read(std::slice::from_ref(endpoint), &prefix).await;
        contents.push((
            name.clone(),
            answer.map(|answer| (Revision(revision_of(&answer)), seen(&answer.kvs))).map_err(|error| format!("{error:#}")),
        ));
    }
    let live = watcher.finish(last, Duration::from_secs(10)).await;
    let marks = marks.lock().expect("nothing panics while it holds this").clone();
    let samples = sampler.samples();
    let (records_of_load, rate, clients) = (&records, drill.load.rate, drill.load.clients);
    let figures =
        Measured { begin, end, clients, rate, records: records_of_load, marks: &marks, samples: &samples, names: &names }.figures();
    let mut operations: Vec<Operation> = records.drain(..).map(|record: Record| record.operation).collect();
    operations.extend(observed);
    operations.extend(operation);
    operations.sort_by_key(|operation| operation.invoked);
    progress.say("checking".into());
    let verdicts = judge(Evidence { operations, live, replicas, contents, last, prefix: prefix.clone() });
    clean_up(&endpoints, &prefix).await;
    Ok(Report::new(drill, figures, verdicts, problems))
}

fn revision_of(answer: &RangeResponse) -> i64 {
    answer.header.map_or(0, |header| header.revision)
}

/// Tries until it succeeds or the patience is at its end.
async fn patiently<T>(attempt: impl AsyncFn() -> Result<T>) -> Result<T> {
    let give_up = Instant::now() + HEALED_WAIT;
    loop {
        match attempt().await {
            Err(_) if Instant::now() < give_up => tokio::time::sleep(RETRY).await,
            result => return result,
        }
    }
}

/// Everything under the prefix, linearizably.
async fn read(endpoints: &[Endpoint], prefix: &str) -> Result<RangeResponse> {
    let mut client = KvClient::new(client::connect_any(endpoints).await?).max_decoding_message_size(usize::MAX);
    let all = span(prefix);
    let request = RangeRequest { key: all.first, range_end: all.end.unwrap_or_default(), ..RangeRequest::default() };
    Ok(client.range(request).await.map_err(client::read_error)?.into_inner())
}

/// Waits until every node is ready, and all have applied the same.
async fn healed(cluster: &mut Cluster, sampler: &Sampler) -> Result<()> {
    for at in 0..cluster.nodes.len() {
        // A drill that ended early may have left it down or standing still.
        cluster.nodes[at].process.signal(rustix::process::Signal::CONT)?;
        if !cluster.nodes[at].faults.is_empty() && cluster.nodes[at].process.runs() {
            cluster.nodes[at].faults.clear();
            cluster.nodes[at].push_faults(0).await?;
        }
        cluster.start_node(at).await?;
    }
    cluster.await_ready().await?;
    tokio::time::sleep(STRAGGLERS).await;
    patiently(async || {
        let views = sampler.now();
        let applied: Vec<u64> = views.iter().flatten().map(|view| view.applied).collect();
        let equal = applied.len() == views.len() && applied.windows(2).all(|pair| pair[0] == pair[1]);
        anyhow::ensure!(equal, "the nodes have applied {applied:?} entries, of {} nodes", views.len());
        Ok(())
    })
    .await
}

/// A write after everything, and its revision: whoever tells of it has told of everything before. Attempts without an answer are recorded too.
async fn last_write(endpoints: &[Endpoint], prefix: &str, stopwatch: Stopwatch) -> Result<(Revision, Vec<Operation>)> {
    let mut operations = Vec::new();
    let give_up = Instant::now() + HEALED_WAIT;
    for attempt in 0.. {
        let ask = Ask::Put(Bytes::from(format!("{prefix}end")), Bytes::from(format!("end {attempt}")));
        let connected = client::connect_any(endpoints).await;
        let invoked: Time = stopwatch.now();
        let result = match &connected {
            Ok(channel) => Some(ask.send(&mut KvClient::new(channel.clone())).await),
            Err(_) => None,
        };
        let request = Request::Transaction(ask.transaction());
        match result {
            Some(Ok(answer)) => {
                let revision = match &answer {
                    Answer::Done { revision, .. } => *revision,
                    _ => unreachable!("a write is answered with its revision"),
                };
                operations.push(Operation { client: 0, request, invoked, answer: Some((stopwatch.now(), answer)) });
                return Ok((revision, operations));
            }
            Some(Err(_)) => operations.push(Operation { client: 0, request, invoked, answer: None }),
            None => {}
        }
        anyhow::ensure!(Instant::now() < give_up, "no write succeeds, {} s after all was healed", HEALED_WAIT.as_secs());
        tokio::time::sleep(RETRY).await;
    }
    unreachable!("attempts have no end")
}

/// Leaves nothing behind in somebody's cluster.
async fn clean_up(endpoints: &[Endpoint], prefix: &str) {
    let all = span(prefix);
    let request = DeleteRangeRequest { key: all.first, range_end: all.end.unwrap_or_default(), ..DeleteRangeRequest::default() };
    let attempt = async { KvClient::new(client::connect_any(endpoints).await?).delete_range(request).await.map_err(client::write_error) };
    if let Err(error) = attempt.await {
        show::say(format!("The drill's keys under {prefix} could not be deleted: {error:#}"));
    }
}
