//! `steadfast kv del`.

use anyhow::Result;
use clap::Args;
use serde_json::json;
use steadfast_etcd_api::proto::etcdserverpb::DeleteRangeRequest;
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;

use super::line;
use super::range::KeyRange;
use crate::client::{self, write_error};
use crate::endpoints::Cluster;
use crate::show;

/// What it takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Prints how many keys were deleted; none is no failure.

Examples:
  steadfast kv del greeting
  steadfast kv del --prefix users/ --prev-kv")]
pub(super) struct DelArgs {
    #[command(flatten)]
    range: KeyRange,
    /// Also print what was deleted
    #[arg(long)]
    prev_kv: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// Deletes the keys.
pub(super) async fn run(args: &DelArgs) -> Result<()> {
    let mut client = KvClient::new(client::open(&args.cluster).await?).max_decoding_message_size(usize::MAX);
    let (key, range_end) = args.range.bounds();
    let request = DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: args.prev_kv };
    let answer = client.delete_range(request).await.map_err(write_error)?.into_inner();
    if args.json {
        let revision = answer.header.map_or(0, |header| header.revision);
        let previous: Vec<_> = answer.prev_kvs.iter().map(super::json).collect();
        show::print(json!({ "revision": revision, "deleted": answer.deleted, "prev_kvs": previous }))?;
        return Ok(());
    }
    show::print(format!("deleted {}", answer.deleted))?;
    for previous in &answer.prev_kvs {
        show::print(line(previous))?;
    }
    Ok(())
}
