//! Messages by stream that this node sends: each is one question on the other's peer port, and its answer comes back to the task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;

use super::seeds::Seeds;
use crate::peers::{self, Link, Topic};

/// Messages under way at once. Beyond it they are dropped, and the core tries again.
const UNDER_WAY: usize = 32;

/// How long one may take: a whole table has to come in that time.
const LIMIT: Duration = Duration::from_secs(5);

/// Sends messages and brings answers.
pub(super) struct Streams {
    link: Link,
    /// How addresses are written by those who gave them: names, perhaps, that certificates are for.
    names: Seeds,
    room: Arc<Semaphore>,
    answers: mpsc::Sender<(SocketAddr, Bytes)>,
}

impl Streams {
    pub(super) fn new(link: Link) -> (Self, mpsc::Receiver<(SocketAddr, Bytes)>) {
        let (answers, answers_in) = mpsc::channel(UNDER_WAY);
        (Streams { link, names: Seeds::new(), room: Arc::new(Semaphore::new(UNDER_WAY)), answers }, answers_in)
    }

    /// From now on these addresses are dialled by these names.
    pub(super) fn learn(&mut self, names: Seeds) {
        self.names = names;
    }

    /// Sends a message after a delay; whether there was room.
    pub(super) fn send(&self, to: SocketAddr, message: Vec<u8>, delay: Option<Duration>) -> bool {
        let Ok(permit) = self.room.clone().try_acquire_owned() else { return false };
        let address = self.names.get(&to).cloned().unwrap_or_else(|| to.to_string());
        let (link, answers) = (self.link.clone(), self.answers.clone());
        tokio::spawn(async move {
            if let Some(delay) = delay {
                sleep(delay).await;
            }
            match peers::ask(&link, &address, Topic::Gossip, &message, LIMIT).await {
                // Without a receiver the node is stopping.
                Ok(answer) => drop(answers.send((to, answer)).await),
                Err(error) => tracing::debug!("gossip by stream: {error}"),
            }
            drop(permit);
        });
        true
    }
}
