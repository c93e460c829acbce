//! Connections to a cluster's client port.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use steadfast_etcd_api::proto::etcdserverpb::StatusRequest;
use steadfast_etcd_api::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::transport::{self, Channel};
use tower::service_fn;

use crate::endpoint::{Endpoint, NobodyTrusted};
use crate::words::{in_words, root_cause};

/// A node that does not accept a connection in this time, or say how it is, is passed over.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// A call that has no answer by then has failed. Longer than a cluster takes to elect a leader.
pub(crate) const CALL_WAIT: Duration = Duration::from_secs(10);

/// While calls are under way a silent node is asked for a sign of life so often, and must answer in as much time; etcd lets nobody ask more often
/// than every five seconds.
const PING_EVERY: Duration = Duration::from_secs(10);

/// What one stream may receive before it is read, bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// What all streams of a connection may, bytes.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// TLS is to be spoken with nobody to trust.
    #[error(transparent)]
    NobodyTrusted(#[from] NobodyTrusted),
    /// An endpoint does not answer.
    #[error("{endpoint}: {reason}")]
    Unreachable {
        /// Which.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// None of them answers: each with its reason.
    #[error("no node answers ({})", .0.join("; "))]
    NoNode(Vec<String>),
}

/// A connection to one endpoint.
///
/// # Errors
/// It does not answer.
pub async fn connect(endpoint: &Endpoint) -> Result<Channel, ConnectError> {
    connect_patiently(endpoint, CALL_WAIT).await
}

/// A connection to one endpoint, for calls that may take so long.
///
/// # Errors
/// It does not answer.
pub async fn connect_patiently(endpoint: &Endpoint, wait: Duration) -> Result<Channel, ConnectError> {
    dial(endpoint, transport(endpoint)?.timeout(wait)).await
}

/// A connection to one endpoint whose calls take as long as they like, and whose streams end when it is silent.
async fn connect_for_streams(endpoint: &Endpoint) -> Result<Channel, ConnectError> {
    let transport = transport(endpoint)?.http2_keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_EVERY);
    let transport = transport.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    dial(endpoint, transport).await
}

fn unreachable(endpoint: &Endpoint, reason: String) -> ConnectError {
    ConnectError::Unreachable { endpoint: endpoint.to_string(), reason }
}

fn transport(endpoint: &Endpoint) -> Result<transport::Endpoint, ConnectError> {
    let address = transport::Endpoint::from_shared(endpoint.url()).map_err(|error| unreachable(endpoint, error.to_string()))?;
    Ok(address.connect_timeout(CONNECT_WAIT).tcp_nodelay(true))
}

async fn dial(endpoint: &Endpoint, transport: transport::Endpoint) -> Result<Channel, ConnectError> {
    let channel = match endpoint.tls()? {
        None => transport.connect().await,
        Some(config) => {
            let (config, to) = (config.clone(), endpoint.clone());
            let dial = move |_| {
                let (config, to) = (config.clone(), to.clone());
                async move { dial_tls(config, &to).await.map(TokioIo::new) }
            };
            transport.connect_with_connector(service_fn(dial)).await
        }
    };
    channel.map_err(|error| unreachable(endpoint, root_cause(&error)))
}

async fn dial_tcp(to: &Endpoint) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(to.to_string()).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Dials, and shakes hands.
async fn dial_tls(config: Arc<ClientConfig>, to: &Endpoint) -> io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(config).connect(to.server_name()?, dial_tcp(to).await?).await
}

/// Bytes to and from a server, in the clear or under TLS.
pub type ByteStream = Either<TcpStream, TlsStream<TcpStream>>;

/// Bytes to and from one endpoint, for another protocol than that of etcd.
///
/// # Errors
/// It does not answer.
pub async fn connect_bytes(endpoint: &Endpoint) -> Result<ByteStream, ConnectError> {
    let dial = async {
        match endpoint.tls()? {
            None => dial_tcp(endpoint).await.map(Either::Left),
            Some(config) => dial_tls(config.clone(), endpoint).await.map(Either::Right),
        }
        .map_err(|error| unreachable(endpoint, error.to_string()))
    };
    let late = |_| unreachable(endpoint, format!("no connection in {} s", CONNECT_WAIT.as_secs()));
    tokio::time::timeout(CONNECT_WAIT, dial).await.map_err(late)?
}

/// A connection to the node that is the first to say that it knows a leader; if none does, to one that answers at all.
///
/// # Errors
/// No node answers.
pub async fn connect_any(endpoints: &[Endpoint]) -> Result<Channel, ConnectError> {
    if let [only] = endpoints {
        return connect(only).await.map_err(|error| ConnectError::NoNode(vec![error.to_string()]));
    }
    first(endpoints, Purpose::Calls).await.map(|(_, channel)| channel)
}

/// The same, for [`Purpose::Streams`], and which node it is.
pub(crate) async fn connect_any_for_streams(endpoints: &[Endpoint]) -> Result<(Endpoint, Channel), ConnectError> {
    first(endpoints, Purpose::Streams).await
}

/// What a connection is for.
#[derive(Clone, Copy)]
enum Purpose {
    /// Calls of a few seconds.
    Calls,
    /// Calls that take as long as they like; they end when the node is silent.
    Streams,
}

async fn first(endpoints: &[Endpoint], purpose: Purpose) -> Result<(Endpoint, Channel), ConnectError> {
    let mut asked: JoinSet<_> = endpoints.iter().cloned().map(|endpoint| probe(endpoint, purpose)).collect();
    let (mut leaderless, mut failures) = (None, Vec::new());
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok((endpoint, channel, true))) => return Ok((endpoint, channel)),
            Ok(Ok((endpoint, channel, false))) => leaderless = Some((endpoint, channel)),
            Ok(Err(error)) => failures.push(error.to_string()),
            Err(error) => failures.push(error.to_string()),
        }
    }
    leaderless.ok_or(ConnectError::NoNode(failures))
}

/// Connects, and asks whether the node knows a leader.
async fn probe(endpoint: Endpoint, purpose: Purpose) -> Result<(Endpoint, Channel, bool), ConnectError> {
    let channel = match purpose {
        Purpose::Calls => connect(&endpoint).await?,
        Purpose::Streams => connect_for_streams(&endpoint).await?,
    };
    let mut maintenance = MaintenanceClient::new(channel.clone());
    match tokio::time::timeout(CONNECT_WAIT, maintenance.status(StatusRequest {})).await {
        Ok(Ok(status)) => Ok((endpoint, channel, status.into_inner().leader != 0)),
        Ok(Err(status)) => Err(unreachable(&endpoint, in_words(&status))),
        Err(_) => Err(unreachable(&endpoint, format!("no answer in {} s", CONNECT_WAIT.as_secs()))),
    }
}
