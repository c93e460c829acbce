//! One write for all answers that are ready: a connection's task that has something to write first lets the tasks run that are ready too, for
//! the answers of one turn of the node become ready at once, each in a task of its own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that is written to a little later, once for everything that gathered. It does not write several slices at once: h2 then copies
/// short frames together instead of writing each.
pub(super) struct Gathering<S> {
    stream: S,
    /// Whether it has given way since the last flush.
    gave_way: bool,
}

impl<S> Gathering<S> {
    pub(super) fn new(stream: S) -> Self {
        Gathering { stream, gave_way: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !std::mem::replace(&mut self.gave_way, true) {
            // A task that wakes itself goes to the end of the queue.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gave_way = false;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What happened, in order.
    #[derive(Clone, Default)]
    struct Record(Arc<Mutex<Vec<String>>>);

    impl Record {
        fn note(&self, what: impl Into<String>) {
            self.0.lock().expect("no test panics here").push(what.into());
        }
    }

    impl AsyncWrite for Record {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.note(String::from_utf8_lossy(bytes));
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.note("flush");
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn who_is_ready_runs_before_the_first_write_after_a_flush() {
        let record = Record::default();
        let mut stream = Gathering::new(record.clone());
        assert!(!stream.is_write_vectored());
        for _ in 0..2 {
            let other = tokio::spawn({
                let record = record.clone();
                async move { record.note("other") }
            });
            stream.write_all(b"one").await.unwrap();
            stream.write_all(b"two").await.unwrap();
            stream.flush().await.unwrap();
            other.await.unwrap();
        }
        let round = ["other", "one", "two", "flush"];
        assert_eq!(*record.0.lock().unwrap(), [round, round].concat());
    }
}
