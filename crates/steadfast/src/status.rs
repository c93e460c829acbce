//! `steadfast status`: every node of a cluster and how it is, as the nodes themselves tell it.
//!
//! The endpoints given are asked all at once; then the members that they name and that were not among them. What an unreachable node would
//! say stays open: a new leader does not know it either. Pure from [`Report::new`] on.

mod report;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use steadfast_etcd_api::proto::steadfast::v1::cluster_client::ClusterClient;
use steadfast_etcd_api::proto::steadfast::v1::{Role, StatusRequest, StatusResponse};
use tokio::task::JoinSet;
use tonic::Code;

use crate::endpoints::{Cluster, Endpoint};
use crate::{client, show};
use report::Report;

/// A node that has not said how it is by then counts as unreachable.
const ANSWER_WAIT: Duration = Duration::from_millis(1500);

/// What `steadfast status` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Any one reachable node is enough to find the others. LAG counts the log entries that a node is behind
its leader, by its own word; DISK is its log and its tables. Of available state, PEERS counts the
replicas that a replica is connected to, PEERS' LAG is how long ago the first change was made that one
of them lacks, KEPT FOR PEERS what is kept for those that lack it, REPAIRS reconciliations under way.

Exit status: 0 if a majority of the voters answers and agrees on a leader, else 1.

Examples:
  steadfast status
  steadfast status --endpoints 127.0.0.1:2379,127.0.0.1:2389
  steadfast status --json | jq -r '.nodes[] | select(.role == \"leader\").name'")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    cluster: Cluster,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What one endpoint answered, or why it did not.
#[derive(Clone, Debug)]
struct Answer {
    endpoint: Endpoint,
    status: Result<StatusResponse, String>,
}

/// Prints the cluster's status. Fails if the cluster can't serve.
pub(crate) async fn run(args: &StatusArgs) -> Result<()> {
    let answers = ask_members(&args.cluster.endpoints()?).await?;
    let report = Report::new(&answers)?;
    show::print(if args.json { report.json().to_string() } else { report.text() })?;
    if let Some(trouble) = report.trouble() {
        bail!("{trouble}");
    }
    Ok(())
}

/// A word for the role of the node at each endpoint, `unknown` where it does not answer.
pub(crate) async fn roles(endpoints: &[Endpoint]) -> Vec<String> {
    let answers = ask_all(endpoints).await;
    answers.iter().map(|answer| answer.status.as_ref().map_or("unknown", role_word).to_string()).collect()
}

/// The leader and where it is reached, found from any of the endpoints. Fails if nobody that answers leads.
pub(crate) async fn leader(endpoints: &[Endpoint]) -> Result<(Endpoint, StatusResponse)> {
    let mut answers = ask_all(endpoints).await;
    let others = unasked_members(&answers);
    answers.extend(ask_all(&others).await);
    let reasons = failures(&answers);
    let leaders = answers.into_iter().filter_map(|answer| Some((answer.endpoint, answer.status.ok()?)));
    let newest = leaders.filter(|(_, status)| status.role() == Role::Leader).max_by_key(|(_, status)| status.term);
    match newest {
        Some(leader) => Ok(leader),
        None if reasons.is_empty() => bail!("the cluster has no leader now; an election takes about a second"),
        None => bail!("no node that answers leads the cluster ({reasons}): give the addresses of more nodes with --endpoints"),
    }
}

/// All voters and where each is reached, found from any of the endpoints, with how it is or why it did not say. Fails if nobody answers.
pub(crate) async fn voters(endpoints: &[Endpoint]) -> Result<Vec<(Endpoint, Result<StatusResponse, String>)>> {
    let mut answers = ask_members(endpoints).await?;
    let mut known = BTreeSet::new();
    let counts = |answer: &Answer| answer.status.as_ref().map_or(true, |status| !status.learner && known.insert(status.node_id));
    answers.retain(counts);
    Ok(answers.into_iter().map(|answer| (answer.endpoint, answer.status)).collect())
}

/// All nodes that answer, by name, and where each one's replica of available state is reached, if it has one. Fails if nobody answers.
pub(crate) async fn replicas(endpoints: &[Endpoint]) -> Result<Vec<(String, Option<Endpoint>)>> {
    let answers = ask_members(endpoints).await?;
    Ok(answers
        .into_iter()
        .filter_map(|Answer { endpoint, status }| status.ok().map(|status| (status.name.clone(), replica(&endpoint, &status))))
        .collect())
}

/// Where a node's replica is reached: at its port, and if it listens on all addresses, where the node was reached.
fn replica(endpoint: &Endpoint, status: &StatusResponse) -> Option<Endpoint> {
    let address: SocketAddr = status.replica.as_ref()?.address.parse().ok()?;
    if !address.ip().is_unspecified() {
        return endpoint.sibling(&address.to_string());
    }
    let node = endpoint.to_string();
    let (host, _) = node.rsplit_once(':')?;
    endpoint.sibling(&format!("{host}:{}", address.port()))
}

/// The answers of these endpoints, and of the members that they name. Fails if nobody answers.
async fn ask_members(endpoints: &[Endpoint]) -> Result<Vec<Answer>> {
    let mut answers = ask_all(endpoints).await;
    let others = unasked_members(&answers);
    answers.extend(ask_all(&others).await);
    if answers.iter().all(|answer| answer.status.is_err()) {
        bail!("no node answers ({}): give the addresses of running nodes with --endpoints", failures(&answers));
    }
    Ok(answers)
}

fn failures(answers: &[Answer]) -> String {
    let failures = answers.iter().filter_map(|answer| Some(format!("{}: {}", answer.endpoint, answer.status.as_ref().err()?)));
    failures.collect::<Vec<_>>().join("; ")
}

/// The answers of all endpoints, in their order.
async fn ask_all(endpoints: &[Endpoint]) -> Vec<Answer> {
    let mut asked: JoinSet<(usize, Answer)> = JoinSet::new();
    for (k, endpoint) in endpoints.iter().cloned().enumerate() {
        asked.spawn(async move { (k, ask(endpoint).await) });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(k, _)| *k);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn ask(endpoint: Endpoint) -> Answer {
    let status = match tokio::time::timeout(ANSWER_WAIT, fetch(&endpoint)).await {
        Ok(status) => status,
        Err(_) => Err(format!("no answer in {} ms", ANSWER_WAIT.as_millis())),
    };
    Answer { endpoint, status }
}

async fn fetch(endpoint: &Endpoint) -> Result<StatusResponse, String> {
    let without_address = |error: anyhow::Error| error.to_string().trim_start_matches(&format!("{endpoint}: ")).to_string();
    let channel = client::connect(endpoint).await.map_err(without_address)?;
    match ClusterClient::new(channel).status(StatusRequest {}).await {
        Ok(status) => Ok(status.into_inner()),
        Err(status) if status.code() == Code::Unimplemented => Err("answers, but is not a Steadfast node".into()),
        Err(status) => Err(client::in_words(&status)),
    }
}

/// One endpoint of each member that no answer came from and that was not asked.
fn unasked_members(answers: &[Answer]) -> Vec<Endpoint> {
    let statuses = || answers.iter().filter_map(|answer| answer.status.as_ref().ok());
    let mut known: BTreeSet<u64> = statuses().map(|status| status.node_id).collect();
    let (mut found, Some(asked_first)) = (Vec::new(), answers.first().map(|answer| &answer.endpoint)) else { return Vec::new() };
    for member in statuses().flat_map(|status| &status.members) {
        let endpoints: Vec<Endpoint> = member.client_urls.iter().filter_map(|url| asked_first.sibling(url)).collect();
        let asked = endpoints.iter().any(|endpoint| answers.iter().any(|answer| answer.endpoint == *endpoint));
        if let (false, true, Some(endpoint)) = (asked, known.insert(member.id), endpoints.first()) {
            found.push(endpoint.clone());
        }
    }
    found
}

/// A node's role in a word.
fn role_word(status: &StatusResponse) -> &'static str {
    match (status.role(), status.learner) {
        (Role::Leader, _) => "leader",
        (Role::Follower, true) => "learner",
        (Role::Follower, false) => "follower",
        (Role::Candidate, _) => "candidate",
        (Role::Unspecified, _) => "starting",
    }
}
