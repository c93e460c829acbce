//! `steadfast kv watch`: the changes of keys as they happen.
//!
//! Invariant: each change is printed once, in order, also across a lost connection: the watch goes on, at any node, from the revision after the
//! last that was printed whole. All changes of one revision arrive together, so no revision is ever half printed.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde_json::{Map, Value};
use steadfast_etcd_api::proto::etcdserverpb::watch_client::WatchClient;
use steadfast_etcd_api::proto::etcdserverpb::watch_request::RequestUnion;
use steadfast_etcd_api::proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use steadfast_etcd_api::proto::mvccpb::Event;
use steadfast_etcd_api::proto::mvccpb::event::EventType;
use tonic::{Code, Streaming};

use super::range::KeyRange;
use crate::client;
use crate::endpoints::Cluster;
use crate::show;
use crate::user;

/// Between two attempts to connect again.
const RETRY_WAIT: Duration = Duration::from_millis(300);

/// What it takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Each change is a line: its revision, put or delete, and the key. A lost connection is taken up again
at any node of --endpoints, and no change is left out or repeated.

Examples:
  steadfast kv watch --prefix users/
  steadfast kv watch greeting --rev 1             with all that happened before
  steadfast kv watch --prefix \"\" --json --prev-kv")]
pub(super) struct WatchArgs {
    #[command(flatten)]
    range: KeyRange,
    /// From this revision on, also in the past [default: from now on]
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(i64).range(0..))]
    rev: i64,
    /// Also print each key as it was before
    #[arg(long)]
    prev_kv: bool,
    /// Print each change as a JSON object on a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// How one stream ended.
enum Broken {
    /// It can be taken up again.
    Lost(String),
    /// It can't.
    Final(anyhow::Error),
}

/// Watches until Ctrl-C.
pub(super) async fn run(args: &WatchArgs) -> Result<()> {
    tokio::select! {
        result = watch(args) => result,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

async fn watch(args: &WatchArgs) -> Result<()> {
    let mut next_revision = args.rev;
    // The first connection must succeed, so that a wrong address is told; later ones are waited for.
    let mut stream = open(args, next_revision).await.map_err(final_error)?;
    loop {
        let reason = match follow(args, &mut stream, &mut next_revision).await {
            Broken::Final(error) => return Err(error),
            Broken::Lost(reason) => reason,
        };
        eprintln!("connection lost ({reason}), connecting again");
        stream = reopen(args, next_revision).await?;
    }
}

async fn reopen(args: &WatchArgs, next_revision: i64) -> Result<Streaming<WatchResponse>> {
    loop {
        tokio::time::sleep(RETRY_WAIT).await;
        match open(args, next_revision).await {
            Ok(stream) => return Ok(stream),
            Err(Broken::Final(error)) => return Err(error),
            Err(Broken::Lost(_)) => {}
        }
    }
}

fn final_error(broken: Broken) -> anyhow::Error {
    match broken {
        Broken::Lost(reason) => anyhow!(reason),
        Broken::Final(error) => error,
    }
}

async fn open(args: &WatchArgs, start_revision: i64) -> Result<Streaming<WatchResponse>, Broken> {
    let endpoints = args.cluster.endpoints().map_err(Broken::Final)?;
    let channel = client::connect_any(&endpoints).await.map_err(|error| Broken::Lost(error.to_string()))?;
    let link = user::link(channel, args.cluster.user.as_ref()).await.map_err(Broken::Final)?;
    let (key, range_end) = args.range.bounds();
    let create = WatchCreateRequest {
        key: key.into(),
        range_end: range_end.into(),
        start_revision,
        prev_kv: args.prev_kv,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The protocol keeps a watch for as long as its requests are open, hence a stream of requests that never ends.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
    let mut client = WatchClient::new(link).max_decoding_message_size(usize::MAX);
    client.watch(requests).await.map(tonic::Response::into_inner).map_err(|status| judge(&status))
}

fn judge(status: &tonic::Status) -> Broken {
    match status.code() {
        Code::InvalidArgument | Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated => {
            Broken::Final(client::read_error(status.clone()))
        }
        _ => Broken::Lost(client::in_words(status)),
    }
}

/// Prints what comes until the stream breaks.
async fn follow(args: &WatchArgs, stream: &mut Streaming<WatchResponse>, next_revision: &mut i64) -> Broken {
    loop {
        let response = match stream.message().await {
            Ok(Some(response)) => response,
            Ok(None) => return Broken::Lost("the node closed it".into()),
            Err(status) => return judge(&status),
        };
        if let Err(error) = take(args, &response, next_revision) {
            return Broken::Final(error);
        }
    }
}

fn take(args: &WatchArgs, response: &WatchResponse, next_revision: &mut i64) -> Result<()> {
    if response.canceled && response.compact_revision > 0 {
        bail!(
            "revision {} is no longer kept; the oldest is {}: start with --rev {}",
            *next_revision,
            response.compact_revision,
            response.compact_revision
        );
    }
    if response.canceled {
        bail!("the watch was refused: {}", response.cancel_reason);
    }
    for event in &response.events {
        show::print(if args.json { to_json(event).to_string() } else { to_line(event) })?;
    }
    let newest = response.events.iter().filter_map(|event| Some(event.kv.as_ref()?.mod_revision)).max();
    let seen = match (newest, &response.header) {
        (Some(newest), _) => newest,
        // A watch from now on begins after the revision it was made at.
        (None, Some(header)) if response.created && *next_revision == 0 => header.revision,
        _ => return Ok(()),
    };
    *next_revision = seen + 1;
    Ok(())
}

fn type_word(event: &Event) -> &'static str {
    match event.r#type() {
        EventType::Put => "put",
        EventType::Delete => "delete",
    }
}

fn to_line(event: &Event) -> String {
    let kv = event.kv.clone().unwrap_or_default();
    let what = match event.r#type() {
        EventType::Put => super::line(&kv),
        EventType::Delete => show::escape(&kv.key),
    };
    let before = event.prev_kv.as_ref().map(|previous| format!(" (was {})", show::escape(&previous.value)));
    format!("{} {} {what}{}", kv.mod_revision, type_word(event), before.unwrap_or_default())
}

fn to_json(event: &Event) -> Value {
    let mut object = Map::new();
    object.insert("type".into(), type_word(event).into());
    if let Some(kv) = &event.kv {
        object.insert("revision".into(), kv.mod_revision.into());
        object.insert("kv".into(), super::json(kv));
    }
    if let Some(previous) = &event.prev_kv {
        object.insert("prev_kv".into(), super::json(previous));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use steadfast_etcd_api::proto::mvccpb::KeyValue;

    fn kv(value: &'static str, mod_revision: i64) -> KeyValue {
        KeyValue { key: "k".into(), value: value.into(), create_revision: 2, mod_revision, version: 1, lease: 0 }
    }

    #[test]
    fn lines_tell_revision_kind_and_key() {
        let put = Event { r#type: EventType::Put.into(), kv: Some(kv("new", 7)), prev_kv: Some(kv("old", 6)) };
        assert_eq!(to_line(&put), "7 put k = new (was old)");
        let delete = Event { r#type: EventType::Delete.into(), kv: Some(kv("", 8)), prev_kv: None };
        assert_eq!(to_line(&delete), "8 delete k");
    }

    #[test]
    fn json_has_its_shape() {
        let put = Event { r#type: EventType::Put.into(), kv: Some(kv("new", 7)), prev_kv: None };
        let kv = json!({"key": "k", "value": "new", "create_revision": 2, "mod_revision": 7, "version": 1});
        assert_eq!(to_json(&put), json!({"type": "put", "revision": 7, "kv": kv}));
    }
}
