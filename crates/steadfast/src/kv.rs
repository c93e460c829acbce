//! `steadfast kv`: keys and values over the etcd API, so that it works with any etcd v3 cluster.

mod del;
mod get;
mod put;
mod range;
mod watch;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use steadfast_etcd_api::proto::mvccpb::KeyValue;

use crate::show;

pub(crate) use range::prefix_end;

/// What `steadfast kv` takes.
#[derive(Args, Debug)]
pub(crate) struct KvArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Write a key
    Put(put::PutArgs),
    /// Read a key, or many
    Get(get::GetArgs),
    /// Delete a key, or many
    Del(del::DelArgs),
    /// Follow the changes of a key, or of many, until Ctrl-C
    Watch(watch::WatchArgs),
}

/// Carries out one of the actions.
pub(crate) async fn run(args: &KvArgs) -> Result<()> {
    match &args.action {
        Action::Put(args) => put::run(args).await,
        Action::Get(args) => get::run(args).await,
        Action::Del(args) => del::run(args).await,
        Action::Watch(args) => watch::run(args).await,
    }
}

/// A key and its value as a JSON object.
fn json(kv: &KeyValue) -> Value {
    let mut object = Map::new();
    show::json_bytes(&mut object, "key", &kv.key);
    show::json_bytes(&mut object, "value", &kv.value);
    object.insert("create_revision".into(), kv.create_revision.into());
    object.insert("mod_revision".into(), kv.mod_revision.into());
    object.insert("version".into(), kv.version.into());
    if kv.lease != 0 {
        object.insert("lease".into(), format!("{:x}", kv.lease).into());
    }
    Value::Object(object)
}

/// A key and its value on one line.
fn line(kv: &KeyValue) -> String {
    format!("{} = {}", show::escape(&kv.key), show::escape(&kv.value))
}
