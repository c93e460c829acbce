//! Watchers of all keys, while clients write: how many events reach them, and how soon after they were written.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_etcd_api::proto::etcdserverpb::watch_client::WatchClient;
use steadfast_etcd_api::proto::etcdserverpb::watch_request::RequestUnion;
use steadfast_etcd_api::proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::load::Window;
use super::measured::Measured;
use super::side::Side;
use super::{Settings, keys, work};
use crate::client::{read_error, write_error};
use crate::user::Link;

/// A value begins with so many digits: the microseconds at which it was written.
const STAMP: usize = 16;

/// `clients` write as fast as they are answered; counts what is delivered meanwhile.
pub(super) async fn run(side: &Side, clients: usize, settings: &Settings) -> Result<Measured> {
    let epoch = Instant::now();
    let mut streams = Vec::new();
    for connection in 0..side.connections().min(settings.watchers) {
        let watchers = (connection..settings.watchers).step_by(side.connections()).count();
        streams.push(watch(side.link(connection), watchers).await.map_err(read_error)?);
    }
    let window = Window::of(settings);
    let mut writers: JoinSet<Result<(), Status>> =
        (0..clients).map(|client| write(KvClient::new(side.link(client)), settings.clone(), epoch, window)).collect();
    let mut readers: JoinSet<Result<Measured, Status>> = streams.into_iter().map(|stream| read(stream, epoch, window)).collect();
    let mut all = Measured::over(settings.duration);
    while let Some(measured) = readers.join_next().await {
        all.add_all(&measured?.map_err(read_error)?);
    }
    while let Some(written) = writers.join_next().await {
        written?.map_err(write_error)?;
    }
    Ok(all)
}

/// A stream of so many watchers, all of which have been created.
async fn watch(link: Link, watchers: usize) -> Result<Watching, Status> {
    let (asks, stream) = mpsc::channel(watchers);
    let (key, range_end) = keys::all();
    for _ in 0..watchers {
        let create = WatchCreateRequest { key: key.clone(), range_end: range_end.clone(), ..WatchCreateRequest::default() };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        asks.try_send(request).map_err(|_| Status::internal("the stream has room for all"))?;
    }
    let mut answers = WatchClient::new(link).watch(ReceiverStream::new(stream)).await?.into_inner();
    for _ in 0..watchers {
        next(&mut answers).await?;
    }
    Ok(Watching { _asks: asks, answers })
}

/// A stream of watchers, as long as it is kept.
struct Watching {
    _asks: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

async fn next(answers: &mut Streaming<WatchResponse>) -> Result<WatchResponse, Status> {
    let answer = answers.message().await?.ok_or_else(|| Status::unavailable("the stream of watchers ended"))?;
    if answer.canceled { Err(Status::aborted(format!("a watcher was canceled: {}", answer.cancel_reason))) } else { Ok(answer) }
}

async fn read(mut watching: Watching, epoch: Instant, window: Window) -> Result<Measured, Status> {
    let mut measured = Measured::new();
    while let Ok(answer) = timeout_at(window.end, next(&mut watching.answers)).await {
        let answer = answer?;
        let now = Instant::now();
        if now < window.begin {
            continue;
        }
        for event in &answer.events {
            let written = event.kv.as_ref().and_then(|kv| stamped(&kv.value));
            let took = written.map_or(Duration::ZERO, |written| now.saturating_duration_since(epoch + written));
            measured.add(took);
        }
    }
    Ok(measured)
}

async fn write(mut client: KvClient<Link>, settings: Settings, epoch: Instant, window: Window) -> Result<(), Status> {
    while Instant::now() < window.end {
        let value = stamp(epoch.elapsed(), settings.value_bytes);
        client.put(work::put(keys::any(&settings), value)).await?;
    }
    Ok(())
}

fn stamp(now: Duration, bytes: usize) -> Bytes {
    let mut value = format!("{:0STAMP$}", now.as_micros());
    value.extend(std::iter::repeat_n('v', bytes.saturating_sub(STAMP)));
    value.into()
}

fn stamped(value: &[u8]) -> Option<Duration> {
    let digits = std::str::from_utf8(value.get(..STAMP)?).ok()?;
    digits.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_when_it_was_written() {
        let moment = Duration::from_micros(1_234_567);
        for bytes in [0, STAMP, 256] {
            let value = stamp(moment, bytes);
            assert_eq!((value.len(), stamped(&value)), (bytes.max(STAMP), Some(moment)));
        }
        assert_eq!(stamped(b"short"), None);
        assert_eq!(stamped(b"vvvvvvvvvvvvvvvv"), None);
    }
}
