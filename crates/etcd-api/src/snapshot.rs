//! Snapshots on their way to a client, and other reads of everything: long work on threads that may block, which ends when the client has gone.

use std::io::Read;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use sha2::{Digest, Sha256};
use steadfast_types::limits::SNAPSHOT_MESSAGE_BYTES;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tonic::Status;

use crate::api::Api;
use crate::backend::{Backend, LongReadError, Snapshot};
use crate::proto::etcdserverpb::SnapshotResponse;

/// Messages that wait for the connection.
const QUEUED_MESSAGES: usize = 4;

/// A client that takes nothing for so long has lost its turn: others wait for it.
const STALLED: Duration = Duration::from_secs(60);

/// The messages of one snapshot.
pub(crate) type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

type Messages = mpsc::Sender<Result<SnapshotResponse, Status>>;

/// Makes a snapshot and sends it: its bytes in order, then their SHA-256 as the last message.
pub(crate) fn stream<B: Backend>(backend: B, permit: OwnedSemaphorePermit) -> SnapshotStream {
    let (messages, mut received) = mpsc::channel(QUEUED_MESSAGES);
    tokio::task::spawn_blocking(move || {
        let made = backend.snapshot(&|| !messages.is_closed()).map_err(Status::from);
        if let Err(status) = made.and_then(|snapshot| send(snapshot, &messages)) {
            // Whoever has gone needs no reason.
            let _ = messages.try_send(Err(status));
        }
        drop(permit);
    });
    Box::pin(stream::poll_fn(move |context| received.poll_recv(context)))
}

fn send(snapshot: Snapshot, messages: &Messages) -> Result<(), Status> {
    let Snapshot { mut file, bytes } = snapshot;
    let (mut hash, mut remaining_bytes) = (Sha256::new(), bytes);
    while remaining_bytes > 0 {
        let length = usize::try_from(remaining_bytes).map_or(SNAPSHOT_MESSAGE_BYTES, |left| left.min(SNAPSHOT_MESSAGE_BYTES));
        let mut blob = vec![0; length];
        file.read_exact(&mut blob).map_err(|error| LongReadError::Disk(error.to_string()))?;
        hash.update(&blob);
        remaining_bytes -= length as u64;
        send_message(messages, remaining_bytes, blob.into())?;
    }
    send_message(messages, 0, hash.finalize().to_vec().into())
}

fn send_message(messages: &Messages, remaining_bytes: u64, blob: Bytes) -> Result<(), Status> {
    let message = SnapshotResponse { remaining_bytes, blob, ..SnapshotResponse::default() };
    match Handle::current().block_on(tokio::time::timeout(STALLED, messages.send(Ok(message)))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(LongReadError::Unwanted.into()),
        Err(_) => Err(Status::deadline_exceeded("steadfast: the client has taken nothing of the snapshot for a minute")),
    }
}

impl<B: Backend> Api<B> {
    /// Runs a read of everything, unless too many do already.
    pub(crate) async fn long_read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&B, &dyn Fn() -> bool) -> Result<T, LongReadError> + Send + 'static,
    ) -> Result<T, Status> {
        let (permit, backend) = (self.begin_long_read()?, self.backend().clone());
        // The answer's receiver is dropped with this future, when the client has gone.
        let (answer, answered) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let result = read(&backend, &|| !answer.is_closed());
            drop(permit);
            let _ = answer.send(result);
        });
        Ok(answered.await.map_err(|_| Status::internal("steadfast: the read failed"))??)
    }
}
