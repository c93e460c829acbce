//! `steadfast kv put`.

use std::io::Read;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use steadfast_etcd_api::proto::etcdserverpb::PutRequest;
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_types::limits::REQUEST_BYTES;

use super::line;
use crate::client::{self, write_error};
use crate::endpoints::Cluster;
use crate::show;

/// What it takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  steadfast kv put greeting hello
  steadfast kv put config - < config.json")]
pub(super) struct PutArgs {
    /// The key
    key: String,
    /// Its new value; - reads it from standard input, to the last byte
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// The lease that the key lives under, in hexadecimal
    #[arg(long, value_name = "ID", value_parser = lease)]
    lease: Option<i64>,
    /// Also print the key as it was
    #[arg(long)]
    prev_kv: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

fn lease(text: &str) -> Result<i64, String> {
    let id = i64::from_str_radix(text.trim_start_matches("0x"), 16).ok().filter(|id| *id > 0);
    id.ok_or_else(|| "a lease is a positive hexadecimal number".into())
}

/// Writes the key.
pub(super) async fn run(args: &PutArgs) -> Result<()> {
    let value = if args.value == "-" { standard_input()? } else { args.value.clone().into_bytes() };
    let mut client = KvClient::new(client::open(&args.cluster).await?);
    let request = PutRequest {
        key: args.key.clone().into(),
        value: value.into(),
        lease: args.lease.unwrap_or(0),
        prev_kv: args.prev_kv,
        ..PutRequest::default()
    };
    let answer = client.put(request).await.map_err(write_error)?.into_inner();
    let revision = answer.header.map_or(0, |header| header.revision);
    if args.json {
        let mut object = json!({ "revision": revision });
        if let Some(previous) = &answer.prev_kv {
            object["prev_kv"] = super::json(previous);
        }
        show::print(object)?;
        return Ok(());
    }
    show::print(format!("revision {revision}"))?;
    if let Some(previous) = &answer.prev_kv {
        show::print(format!("before: {}", line(previous)))?;
    }
    Ok(())
}

/// All of standard input, if a request can hold it.
fn standard_input() -> Result<Vec<u8>> {
    let mut value = Vec::new();
    std::io::stdin().lock().take(REQUEST_BYTES as u64 + 1).read_to_end(&mut value).context("cannot read the value from standard input")?;
    if value.len() > REQUEST_BYTES {
        bail!(
            "the value on standard input is larger than a request may be ({}): store it elsewhere, and its place here",
            show::size(REQUEST_BYTES as u64)
        );
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_hexadecimal_and_positive() {
        assert_eq!(lease("694d7a"), Ok(0x0069_4d7a));
        assert_eq!(lease("0xff"), Ok(255));
        for bad in ["", "0", "-1", "xyz", "8000000000000000"] {
            assert!(lease(bad).is_err(), "{bad}");
        }
    }
}
