//! Connections to what is checked: names looked up within bounds, addresses tried in turn.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;

use super::progress::Progress;

/// Names that are looked up at the same time. A look-up blocks a thread of the runtime for as long as the system's resolver likes, also when nobody
/// waits for it any more; without a bound, a resolver that hangs would take all threads from the node's reads.
const LOOKUPS: usize = 16;

/// Makes connections; clones share the bound.
#[derive(Clone)]
pub(super) struct Dialler {
    lookups: Arc<Semaphore>,
}

impl Dialler {
    pub(super) fn new() -> Self {
        Dialler { lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    /// A connection to `host:port`; why there is none, in words.
    pub(super) async fn connect(&self, address: &str, progress: &Progress) -> Result<TcpStream, String> {
        progress.waits_for("the name to be looked up");
        let addresses = self.look_up(address).await?;
        progress.waits_for("a connection");
        let stream = TcpStream::connect(&addresses[..]).await.map_err(|error| in_words(&error))?;
        // It only costs time if it fails.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn look_up(&self, address: &str) -> Result<Vec<SocketAddr>, String> {
        if let Ok(known) = address.parse() {
            return Ok(vec![known]);
        }
        let permit = self.lookups.clone().acquire_owned().await.expect("the semaphore is never closed");
        let name = address.to_owned();
        // A task of its own, which holds its place until the system has answered.
        let found = tokio::spawn(async move {
            let _permit = permit;
            lookup_host(name).await.map(Vec::from_iter)
        });
        match found.await {
            Ok(Ok(addresses)) if addresses.is_empty() => Err(format!("{address} has no address")),
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(format!("{address} can't be looked up: {}", in_words(&error))),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// An error of the system, without its number.
pub(super) fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

/// The innermost cause of an error, which names what happened.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.downcast_ref::<io::Error>().map_or_else(|| cause.to_string(), in_words)
}
