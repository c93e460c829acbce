//! Connections to a cluster's client port, and errors of calls in plain words.

use std::time::Duration;

use anyhow::{Result, anyhow};
use steadfast_client::ConnectError;
pub(crate) use steadfast_client::{in_words, is_refusal};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::endpoints::{Cluster, Endpoint, whom_to_trust};
use crate::user::{self, Link};

/// A connection to one endpoint.
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Channel> {
    steadfast_client::connect(endpoint).await.map_err(not_connected)
}

/// A connection to one endpoint, for calls that may take so long.
pub(crate) async fn connect_patiently(endpoint: &Endpoint, wait: Duration) -> Result<Channel> {
    steadfast_client::connect_patiently(endpoint, wait).await.map_err(not_connected)
}

/// A connection to some node, as the user that the command line names.
pub(crate) async fn open(cluster: &Cluster) -> Result<Link> {
    user::link(connect_any(&cluster.endpoints()?).await?, cluster.user.as_ref()).await
}

/// A connection to the node that is the first to say that it knows a leader; if none does, to one that answers at all.
pub(crate) async fn connect_any(endpoints: &[Endpoint]) -> Result<Channel> {
    steadfast_client::connect_any(endpoints).await.map_err(not_connected)
}

fn not_connected(error: ConnectError) -> anyhow::Error {
    match error {
        ConnectError::NobodyTrusted(endpoint) => whom_to_trust(endpoint).into(),
        ConnectError::Unreachable { .. } => error.into(),
        ConnectError::NoNode(_) => anyhow!("{error}: give the addresses of running nodes with --endpoints"),
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
