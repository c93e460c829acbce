//! The keys of a measurement: written before it, deleted after it.

use anyhow::Result;
use bytes::Bytes;
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_etcd_api::proto::etcdserverpb::{DeleteRangeRequest, PutRequest};

use super::Settings;
use super::side::Side;
use crate::client::write_error;
use crate::kv::prefix_end;

/// Before every key.
const PREFIX: &str = "steadfast-bench/";

/// How many are written at once.
const AT_ONCE: u64 = 64;

/// How many are deleted by one request.
const DELETED: u64 = 1_000;

/// The key of this number. All have the same length, so that they are in the order of their numbers.
pub(super) fn key(number: u64) -> Bytes {
    format!("{PREFIX}{number:012}").into()
}

/// One of the keys.
pub(super) fn any(settings: &Settings) -> Bytes {
    key(fastrand::u64(..settings.keys))
}

/// All of them, as a range.
pub(super) fn all() -> (Bytes, Bytes) {
    (PREFIX.into(), prefix_end(PREFIX.as_bytes()).into())
}

/// A value as large as was asked for.
pub(super) fn value(settings: &Settings) -> Bytes {
    vec![b'v'; settings.value_bytes].into()
}

/// Writes them all.
pub(super) async fn fill(side: &Side, settings: &Settings) -> Result<()> {
    let mut writers = tokio::task::JoinSet::new();
    for first in 0..AT_ONCE {
        let (mut client, settings) = (KvClient::new(side.link(first as usize)), settings.clone());
        writers.spawn(async move {
            let value = value(&settings);
            for number in (first..settings.keys).step_by(AT_ONCE as usize) {
                client.put(PutRequest { key: key(number), value: value.clone(), ..PutRequest::default() }).await.map_err(write_error)?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    Ok(())
}

/// Deletes them, some at a time: one request for all would hold up everybody else.
pub(super) async fn delete(side: &Side, settings: &Settings) -> Result<()> {
    let mut client = KvClient::new(side.link(0));
    for first in (0..settings.keys).step_by(DELETED as usize) {
        let request = DeleteRangeRequest { key: key(first), range_end: key(first + DELETED), ..DeleteRangeRequest::default() };
        client.delete_range(request).await.map_err(write_error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_lie_in_the_range_of_all() {
        let (first, end) = all();
        for number in [0, 9, 10, 999_999_999_999] {
            assert!(first <= key(number) && key(number) < end, "{number}");
        }
        assert!(key(9) < key(10));
    }
}
