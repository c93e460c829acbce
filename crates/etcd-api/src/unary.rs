//! A unary gRPC call at its least cost: the request decoded from the frame it came in, the answer encoded into one buffer of its size.
//!
//! `tonic` copies each request into a buffer of its own, boxes decoder, body and answer, and takes 8 KiB for each answer. The calls of the KV
//! service are most of a node's work, so they come through here; all others go through `tonic`. Protocol: <https://grpc.io>, "gRPC over HTTP2".

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::{Body, Frame};
use prost::Message;
use tonic::Status;
use tonic::codegen::StdError as BoxError;

use crate::body::ResponseBody;
use crate::service::DECODE_BYTES;

/// Compression flag and length stand before each message.
const PREFIX_BYTES: usize = 5;

/// Reads the request from `body`, has `call` answer it (told the message's size, bytes), and builds the response.
pub(crate) async fn unary<R, Q, A, F>(body: R, call: impl FnOnce(Q, usize) -> F + Send) -> Response<ResponseBody>
where
    R: Body<Data = Bytes> + Send,
    R::Error: Into<BoxError>,
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<A, Status>> + Send,
{
    match answer(body, call).await {
        Ok(message) => response(message),
        Err(status) => status.into_http(),
    }
}

async fn answer<R, Q, A, F>(body: R, call: impl FnOnce(Q, usize) -> F + Send) -> Result<Bytes, Status>
where
    R: Body<Data = Bytes> + Send,
    R::Error: Into<BoxError>,
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<A, Status>> + Send,
{
    let message = receive(pin!(body)).await?;
    let size = message.len();
    let request = Q::decode(message).map_err(|error| Status::internal(format!("steadfast: the request cannot be decoded: {error}")))?;
    encode(&call(request, size).await?)
}

/// The one message of a request, without its prefix.
async fn receive<R>(mut body: Pin<&mut R>) -> Result<Bytes, Status>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let mut message = next_data(body.as_mut()).await?.ok_or_else(cut_short)?;
    if message.len() < PREFIX_BYTES || message.len() < PREFIX_BYTES + announced(&message)? {
        message = gather(body.as_mut(), message).await?;
    }
    let length = announced(&message)?;
    // The client's half is read to its end, so that the stream is not reset under a client that ends it with a frame of its own.
    while !body.is_end_stream() && next_data(body.as_mut()).await?.is_some() {}
    message.advance(PREFIX_BYTES);
    message.truncate(length);
    Ok(message)
}

/// Puts a message together that came in several frames.
async fn gather<R>(mut body: Pin<&mut R>, first: Bytes) -> Result<Bytes, Status>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let mut message = BytesMut::from(first);
    loop {
        if message.len() >= PREFIX_BYTES {
            let whole = PREFIX_BYTES + announced(&message)?;
            if message.len() >= whole {
                return Ok(message.freeze());
            }
            message.reserve(whole - message.len());
        }
        message.extend_from_slice(&next_data(body.as_mut()).await?.ok_or_else(cut_short)?);
    }
}

/// The length that a message's prefix announces.
fn announced(message: &[u8]) -> Result<usize, Status> {
    let Some((&[flag, a, b, c, d], _)) = message.split_first_chunk() else { return Err(cut_short()) };
    if flag != 0 {
        return Err(Status::unimplemented("steadfast: the request is compressed; send it with grpc-encoding: identity"));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > DECODE_BYTES {
        return Err(Status::resource_exhausted(format!("grpc: received message larger than max ({length} vs. {DECODE_BYTES})")));
    }
    Ok(length)
}

fn cut_short() -> Status {
    Status::internal("steadfast: the request ends before its message does")
}

/// The next bytes; `None` at the end (or at trailers, which end a body).
async fn next_data<R>(mut body: Pin<&mut R>) -> Result<Option<Bytes>, Status>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    match poll_fn(|context| body.as_mut().poll_frame(context)).await {
        None => Ok(None),
        Some(Ok(frame)) => Ok(Frame::into_data(frame).ok()),
        Some(Err(error)) => Err(Status::from_error(error.into())),
    }
}

fn encode(answer: &impl Message) -> Result<Bytes, Status> {
    let length = answer.encoded_len();
    let prefix =
        u32::try_from(length).map_err(|_| Status::resource_exhausted("steadfast: the answer exceeds 4 GiB; ask for fewer keys"))?;
    let mut message = BytesMut::with_capacity(PREFIX_BYTES + length);
    message.put_u8(0);
    message.put_u32(prefix);
    answer.encode_raw(&mut message);
    Ok(message.freeze())
}

fn response(message: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::message(message));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The trailers of a call that went well.
pub(crate) fn trailers_ok() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}
