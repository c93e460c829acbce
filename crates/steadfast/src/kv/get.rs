//! `steadfast kv get`.

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_etcd_api::proto::etcdserverpb::{RangeRequest, RangeResponse};

use super::range::KeyRange;
use crate::client::{self, read_error};
use crate::endpoints::Cluster;
use crate::show;

/// What it takes.
#[derive(Args, Debug)]
#[command(after_help = "\
A single key prints its value alone; many print `key = value` lines, in the order of the keys.

Examples:
  steadfast kv get greeting
  steadfast kv get --prefix users/ --limit 10
  steadfast kv get --prefix \"\" --count-only
  steadfast kv get greeting --rev 12 --json")]
pub(super) struct GetArgs {
    #[command(flatten)]
    range: KeyRange,
    /// As of this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(i64).range(0..))]
    rev: i64,
    /// At most so many keys
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(i64).range(0..))]
    limit: i64,
    /// The keys without their values
    #[arg(long, conflicts_with = "count_only")]
    keys_only: bool,
    /// Only how many there are
    #[arg(long)]
    count_only: bool,
    /// Answer from the node that is asked, which may be behind the others
    #[arg(long)]
    serializable: bool,
    /// Print one JSON object; bytes that are not UTF-8 as key_base64 and value_base64
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// Reads and prints.
pub(super) async fn run(args: &GetArgs) -> Result<()> {
    let mut client = KvClient::new(client::open(&args.cluster).await?).max_decoding_message_size(usize::MAX);
    let (key, range_end) = args.range.bounds();
    let request = RangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        revision: args.rev,
        limit: args.limit,
        keys_only: args.keys_only,
        count_only: args.count_only,
        serializable: args.serializable,
        ..RangeRequest::default()
    };
    let answer = client.range(request).await.map_err(read_error)?.into_inner();
    if args.json {
        show::print(to_json(&answer, args.keys_only))?;
    } else if args.count_only {
        show::print(answer.count)?;
    } else {
        print_text(args, &answer)?;
    }
    Ok(())
}

fn print_text(args: &GetArgs, answer: &RangeResponse) -> Result<()> {
    for kv in &answer.kvs {
        show::print(match (args.keys_only, args.range.is_one()) {
            (true, _) => show::escape(&kv.key),
            (false, true) => show::text(&kv.value),
            (false, false) => super::line(kv),
        })?;
    }
    if answer.kvs.is_empty() {
        eprintln!("nothing there");
    } else if answer.more {
        eprintln!("{} of {} shown", answer.kvs.len(), answer.count);
    }
    Ok(())
}

fn to_json(answer: &RangeResponse, keys_only: bool) -> Value {
    let kv = |kv| match super::json(kv) {
        Value::Object(object) if keys_only => {
            Value::Object(object.into_iter().filter(|(name, _)| !name.starts_with("value")).collect::<Map<_, _>>())
        }
        whole => whole,
    };
    json!({
        "revision": answer.header.as_ref().map_or(0, |header| header.revision),
        "count": answer.count,
        "more": answer.more,
        "kvs": answer.kvs.iter().map(kv).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_etcd_api::proto::etcdserverpb::ResponseHeader;
    use steadfast_etcd_api::proto::mvccpb::KeyValue;

    #[test]
    fn json_has_its_shape() {
        let kv = KeyValue { key: "k".into(), value: vec![0xff].into(), create_revision: 2, mod_revision: 3, version: 2, lease: 0x1f };
        let header = Some(ResponseHeader { revision: 5, ..ResponseHeader::default() });
        let answer = RangeResponse { header, kvs: vec![kv], more: true, count: 9 };
        let mut expected = json!({
            "revision": 5, "count": 9, "more": true,
            "kvs": [{"key": "k", "value_base64": "/w==", "create_revision": 2, "mod_revision": 3, "version": 2, "lease": "1f"}],
        });
        assert_eq!(to_json(&answer, false), expected);
        expected["kvs"][0].as_object_mut().expect("an object").remove("value_base64");
        assert_eq!(to_json(&answer, true), expected);
    }
}
