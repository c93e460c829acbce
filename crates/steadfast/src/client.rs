//! Connections to a cluster's client port, and errors of calls in plain words.

use std::error::Error;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use steadfast_etcd_api::proto::etcdserverpb::StatusRequest;
use steadfast_etcd_api::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::service_fn;

use crate::access;
use crate::endpoints::{Cluster, Endpoint};
use crate::user::{self, Link};

/// A node that does not accept a connection in this time, or say how it is, is passed over.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// A call that has no answer by then has failed. Longer than a cluster takes to elect a leader.
const CALL_WAIT: Duration = Duration::from_secs(10);

/// A connection to one endpoint.
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Channel> {
    connect_patiently(endpoint, CALL_WAIT).await
}

/// A connection to one endpoint, for calls that may take so long.
pub(crate) async fn connect_patiently(endpoint: &Endpoint, wait: Duration) -> Result<Channel> {
    let address = tonic::transport::Endpoint::from_shared(endpoint.url()).map_err(|error| anyhow!("{endpoint}: {error}"))?;
    let address = address.connect_timeout(CONNECT_WAIT).timeout(wait).tcp_nodelay(true);
    let channel = match endpoint.tls()? {
        None => address.connect().await,
        Some(config) => {
            let (config, to) = (config.clone(), endpoint.to_string());
            address.connect_with_connector(service_fn(move |_| access::dial(config.clone(), to.clone()))).await
        }
    };
    channel.map_err(|error| anyhow!("{endpoint}: {}", root_cause(&error)))
}

/// A connection to some node, as the user that the command line names.
pub(crate) async fn open(cluster: &Cluster) -> Result<Link> {
    user::link(connect_any(&cluster.endpoints()?).await?, cluster.user.as_ref()).await
}

/// A connection to the node that is the first to say that it knows a leader; if none does, to one that answers at all.
pub(crate) async fn connect_any(endpoints: &[Endpoint]) -> Result<Channel> {
    if let [only] = endpoints {
        return connect(only).await.map_err(|error| unreachable_cluster(&[error.to_string()]));
    }
    let mut asked: JoinSet<Result<(Channel, bool)>> = endpoints.iter().cloned().map(probe).collect();
    let (mut leaderless, mut failures) = (None, Vec::new());
    while let Some(answer) = asked.join_next().await {
        match answer? {
            Ok((channel, true)) => return Ok(channel),
            Ok((channel, false)) => leaderless = Some(channel),
            Err(error) => failures.push(error.to_string()),
        }
    }
    leaderless.ok_or_else(|| unreachable_cluster(&failures))
}

fn unreachable_cluster(failures: &[String]) -> anyhow::Error {
    let where_else = "give the addresses of running nodes with --endpoints";
    anyhow!("no node answers ({}): {where_else}", failures.join("; "))
}

/// Connects, and asks whether the node knows a leader.
async fn probe(endpoint: Endpoint) -> Result<(Channel, bool)> {
    let channel = connect(&endpoint).await?;
    let mut maintenance = MaintenanceClient::new(channel.clone());
    match tokio::time::timeout(CONNECT_WAIT, maintenance.status(StatusRequest {})).await {
        Ok(Ok(status)) => Ok((channel, status.into_inner().leader != 0)),
        Ok(Err(status)) => bail!("{endpoint}: {}", in_words(&status)),
        Err(_) => bail!("{endpoint}: no answer in {} s", CONNECT_WAIT.as_secs()),
    }
}

/// The error of a call that changes nothing.
pub(crate) fn read_error(status: Status) -> anyhow::Error {
    anyhow!("{}", in_words(&status))
}

/// The error of a call that may have changed something.
pub(crate) fn write_error(status: Status) -> anyhow::Error {
    let uncertain = match status.code() {
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown | Code::Internal => !is_refusal(&status),
        _ => false,
    };
    let suffix = if uncertain { " (it may have taken effect or not)" } else { "" };
    anyhow!("{}{suffix}", in_words(&status))
}

/// Whether the cluster said that it did not even try.
pub(crate) fn is_refusal(status: &Status) -> bool {
    matches!(status.message(), "etcdserver: no leader" | "etcdserver: too many requests")
}

/// A call's error for people: etcd's text without its prefix, or what broke on the way.
pub(crate) fn in_words(status: &Status) -> String {
    let message = status.message().strip_prefix("etcdserver: ").unwrap_or(status.message());
    match status.source() {
        Some(source) => root_cause(source),
        None if message == "user name is empty" => "this cluster wants to know who asks: give --user NAME:PASSWORD".into(),
        None if message == "permission denied" => "permission denied: this user may not do that".into(),
        None if message == "invalid auth token" => "the token has ended meanwhile: try again".into(),
        None if message == "no leader" => "the cluster has no leader: a majority of its nodes is down or apart".into(),
        None if status.code() == Code::Cancelled && message.contains("imeout") => format!("no answer in {} s", CALL_WAIT.as_secs()),
        None if message.is_empty() => status.code().description().to_string(),
        None => message.to_string(),
    }
}

/// The innermost cause, which names what happened; those around it only say where.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => "connection refused".into(),
        Some(std::io::ErrorKind::TimedOut) => "no answer".into(),
        _ => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_write_is_certain_and_a_lost_one_is_not() {
        let no_leader = write_error(Status::unavailable("etcdserver: no leader")).to_string();
        assert_eq!(no_leader, "the cluster has no leader: a majority of its nodes is down or apart");
        let lost = write_error(Status::unavailable("etcdserver: request timed out")).to_string();
        assert_eq!(lost, "request timed out (it may have taken effect or not)");
        let unknown = write_error(Status::invalid_argument("etcdserver: user name is empty")).to_string();
        assert!(unknown.contains("--user"), "{unknown}");
        let invalid = write_error(Status::invalid_argument("etcdserver: key is not provided")).to_string();
        assert_eq!(invalid, "key is not provided");
    }
}
