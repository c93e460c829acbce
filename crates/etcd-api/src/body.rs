//! The body of an answer: one message and its trailers, or whatever `tonic` or `axum` made.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use crate::unary;

/// The body of an answer of [`EtcdService`](crate::EtcdService).
#[derive(Debug, Default)]
pub struct ResponseBody(Kind);

#[derive(Debug, Default)]
enum Kind {
    /// A unary answer: its message, then its trailers.
    Message(Bytes),
    /// The message has gone.
    Trailers,
    /// Nothing more; also the body of an answer that is headers alone.
    #[default]
    End,
    /// Made elsewhere.
    Other(tonic::body::Body),
}

impl ResponseBody {
    /// One message, with its prefix, and the trailers of success.
    pub(crate) fn message(message: Bytes) -> Self {
        ResponseBody(Kind::Message(message))
    }

    pub(crate) fn other(body: tonic::body::Body) -> Self {
        ResponseBody(Kind::Other(body))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let (next, frame) = match &mut self.0 {
            Kind::Other(body) => return Pin::new(body).poll_frame(context),
            Kind::Message(message) => (Kind::Trailers, Some(Frame::data(std::mem::take(message)))),
            Kind::Trailers => (Kind::End, Some(Frame::trailers(unary::trailers_ok()))),
            Kind::End => (Kind::End, None::<Frame<Bytes>>),
        };
        self.0 = next;
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Message(_) | Kind::Trailers => false,
            Kind::End => true,
            Kind::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            // No exact size, so that no content-length is sent.
            Kind::Message(_) | Kind::Trailers => SizeHint::new(),
            Kind::End => SizeHint::with_exact(0),
            Kind::Other(body) => body.size_hint(),
        }
    }
}
