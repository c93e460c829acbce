//! Keys, transactions, leases, watches, compaction and maintenance.

use anyhow::{Context, Result};
use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, DeleteOptions, EventType, GetOptions, LeaseGrantOptions, LeaseTimeToLiveOptions,
    PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, WatchFilterType, WatchOptions,
};
use sha2::{Digest, Sha256};

use crate::{equal, events, refused, soon};

fn revision(header: Option<&etcd_client::ResponseHeader>) -> Result<i64> {
    Ok(header.context("a header")?.revision())
}

/// The value of a key.
async fn value(client: &mut Client, key: &str) -> Result<Option<Vec<u8>>> {
    Ok(client.get(key, None).await?.kvs().first().map(|kv| kv.value().to_vec()))
}

/// The keys of a range.
async fn names(client: &mut Client, key: &str, options: GetOptions) -> Result<String> {
    let answer = client.get(key, Some(options)).await?;
    Ok(answer.kvs().iter().map(|kv| kv.key_str()).collect::<Result<Vec<_>, _>>()?.join(" "))
}

pub async fn keys(client: &mut Client) -> Result<()> {
    let first = revision(client.put("k/a", "1", None).await?.header())?;
    let put = client.put("k/a", "2", Some(PutOptions::new().with_prev_key())).await?;
    equal("put, with what was there", put.prev_key().context("a key")?.value(), b"1")?;
    let all_bytes: Vec<u8> = (0..=255).collect();
    client.put("k/b", all_bytes.clone(), None).await?;
    client.put("k/c", "", None).await?;
    let got = client.get("k/a", None).await?;
    let kv = &got.kvs()[0];
    equal("get", (kv.value_str()?, kv.create_revision(), kv.mod_revision(), kv.version()), ("2", first, first + 1, 2))?;
    equal("get all bytes", value(client, "k/b").await?, Some(all_bytes))?;
    equal("get what is not there", value(client, "k/none").await?, None)?;
    let prefix = || GetOptions::new().with_prefix();
    let sorted = prefix().with_sort(SortTarget::Key, SortOrder::Descend);
    equal("get a prefix, sorted", names(client, "k/", sorted).await?.as_str(), "k/c k/b k/a")?;
    equal("get a range", names(client, "k/a", GetOptions::new().with_range("k/c")).await?.as_str(), "k/a k/b")?;
    equal("get from a key on", names(client, "k/b", GetOptions::new().with_from_key().with_limit(2)).await?.as_str(), "k/b k/c")?;
    let limited = client.get("k/", Some(prefix().with_limit(1).with_serializable())).await?;
    equal("get some, serializable", (limited.more(), limited.count(), limited.kvs().len()), (true, 3, 1))?;
    equal("count", client.get("k/", Some(prefix().with_count_only())).await?.count(), 3)?;
    equal("get what changed since", names(client, "k/", prefix().with_min_mod_revision(first + 2)).await?.as_str(), "k/b k/c")?;
    let old = client.get("k/a", Some(GetOptions::new().with_revision(first))).await?;
    equal("get as it was", old.kvs()[0].value_str()?, "1")?;
    let deleted = client.delete("k/a", Some(DeleteOptions::new().with_prev_key())).await?;
    equal("delete, with what was there", (deleted.deleted(), deleted.prev_kvs()[0].value()), (1, &b"2"[..]))?;
    equal("delete a prefix", client.delete("k/", Some(DeleteOptions::new().with_prefix())).await?.deleted(), 2)?;
    equal("delete what is not there", client.delete("k/a", None).await?.deleted(), 0)?;
    refused("no key is refused", client.put("", "x", None).await, "InvalidArgument", "etcdserver: key is not provided")?;
    let leased = client.put("k", "x", Some(PutOptions::new().with_lease(99))).await;
    refused("no lease is refused", leased, "NotFound", "etcdserver: requested lease not found")?;
    let large = client.put("k", vec![0; 1_700_000], None).await;
    refused("too much is refused", large, "InvalidArgument", "etcdserver: request is too large")?;
    let future = client.get("k", Some(GetOptions::new().with_revision(1_000_000_000))).await;
    let text = "etcdserver: mvcc: required revision is a future revision";
    refused("a revision to come is refused", future, "OutOfRange", text)?;
    for key in ["s/a", "s/b", "s/c"] {
        client.put(key, vec![b'v'; 700_000], None).await?;
    }
    let whole = client.get("s/", Some(prefix())).await?;
    let (mut pieces, mut kvs, mut last) = (client.kv_client().get_stream("s/", Some(prefix())).await?, Vec::new(), None);
    while let Some(mut piece) = pieces.message().await? {
        kvs.extend(piece.take_kvs());
        last = Some((piece.count(), kvs.len()));
    }
    equal("a stream gets what get gets", format!("{kvs:?}") == format!("{:?}", whole.kvs()), true)?;
    equal("and counts it", last, Some((3, 3)))
}

pub async fn transactions(client: &mut Client) -> Result<()> {
    client.put("t", "1", None).await?;
    let compare = vec![
        Compare::value("t", CompareOp::Equal, "1"),
        Compare::version("t", CompareOp::Greater, 0),
        Compare::create_revision("none", CompareOp::Equal, 0),
        Compare::mod_revision("t", CompareOp::NotEqual, 1),
        Compare::lease("t", CompareOp::Less, 1),
    ];
    let inner = Txn::new().and_then(vec![TxnOp::get("t2", None)]);
    let txn = Txn::new().when(compare).and_then(vec![TxnOp::put("t2", "2", None), TxnOp::txn(inner)]);
    let answer = client.txn(txn).await?;
    let TxnOpResponse::Txn(inner) = &answer.op_responses()[1] else { anyhow::bail!("not a transaction") };
    let TxnOpResponse::Get(read) = &inner.op_responses()[0] else { anyhow::bail!("not a read") };
    equal("a transaction in another reads what that wrote", (answer.succeeded(), read.kvs()[0].value_str()?), (true, "2"))?;
    let compare = vec![Compare::value("t", CompareOp::Equal, "1").with_prefix()];
    let txn = Txn::new().when(compare).or_else(vec![TxnOp::delete("t2", None)]);
    let answer = client.txn(txn).await?;
    let TxnOpResponse::Delete(deleted) = &answer.op_responses()[0] else { anyhow::bail!("not a deletion") };
    equal("a comparison of many keys fails by one", (answer.succeeded(), deleted.deleted()), (false, 1))?;
    let twice = Txn::new().and_then(vec![TxnOp::put("t", "1", None), TxnOp::put("t", "2", None)]);
    let text = "etcdserver: duplicate key given in txn request";
    refused("a key twice is refused", client.txn(twice).await, "InvalidArgument", text)
}

pub async fn leases(client: &mut Client) -> Result<()> {
    let lease = client.lease_grant(600, Some(LeaseGrantOptions::new().with_id(4711))).await?;
    equal("a lease with an id", (lease.id(), lease.ttl()), (4711, 600))?;
    let again = client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(4711))).await;
    refused("the same again is refused", again, "FailedPrecondition", "etcdserver: lease already exists")?;
    client.put("leased", "x", Some(PutOptions::new().with_lease(4711))).await?;
    let told = client.lease_time_to_live(4711, Some(LeaseTimeToLiveOptions::new().with_keys())).await?;
    equal("its keys and time", (told.keys(), told.granted_ttl(), told.ttl() > 590), (&[b"leased".to_vec()][..], 600, true))?;
    equal("all leases", client.leases().await?.leases().iter().any(|lease| lease.id() == 4711), true)?;
    let (mut keeper, mut answers) = client.lease_keep_alive(4711).await?;
    keeper.keep_alive().await?;
    equal("keep it alive", soon("an answer", answers.message()).await??.context("an answer")?.ttl(), 600)?;
    client.lease_revoke(4711).await?;
    equal("a revoked lease takes its keys", value(client, "leased").await?, None)?;
    equal("nothing is left of it", client.lease_time_to_live(4711, None).await?.ttl(), -1)?;
    let text = "etcdserver: requested lease not found";
    refused("revoke it again is refused", client.lease_revoke(4711).await, "NotFound", text)?;
    let short = client.lease_grant(2, None).await?.id();
    let put = client.put("short", "x", Some(PutOptions::new().with_lease(short))).await?;
    let mut watch = client.watch("short", Some(WatchOptions::new().with_start_revision(revision(put.header())? + 1))).await?;
    equal("an expired lease takes its keys", events(&mut watch).await?[0].event_type(), EventType::Delete)
}

pub async fn watches(client: &mut Client, other: &mut Client) -> Result<()> {
    let mut watch = client.watch("w/", Some(WatchOptions::new().with_prefix().with_prev_key())).await?;
    let created = watch.message().await?.context("an answer")?;
    equal("a watch is created", created.created(), true)?;
    let put = revision(other.put("w/1", "one", None).await?.header())?;
    other.put("x", "not watched", None).await?;
    other.txn(Txn::new().and_then(vec![TxnOp::put("w/2", "two", None), TxnOp::delete("w/1", None)])).await?;
    let seen = events(&mut watch).await?;
    equal("a put is seen on another node", seen[0].kv().context("a key")?.value_str()?, "one")?;
    let seen = events(&mut watch).await?;
    let previous = seen.iter().find(|event| event.event_type() == EventType::Delete).and_then(|event| event.prev_kv());
    equal("a transaction's events come together", (seen.len(), previous.context("a key")?.value_str()?), (2, "one"))?;
    let options = WatchOptions::new().with_prefix().with_start_revision(put).with_filters([WatchFilterType::NoPut]).with_watch_id(5);
    watch.watch("w/", Some(options)).await?;
    let seen = events(&mut watch).await?;
    equal("a second watch on the stream: deletions, from history", seen[0].kv().context("a key")?.key_str()?, "w/1")?;
    watch.request_progress().await?;
    let progress = soon("progress", watch.message()).await??.context("an answer")?;
    equal("progress", (progress.events().len(), revision(progress.header())?), (0, put + 2))?;
    watch.cancel(5).await?;
    let ended = soon("the end", watch.message()).await??.context("an answer")?;
    equal("a watch that is cancelled ends", (ended.watch_id(), ended.canceled()), (5, true))
}

pub async fn compaction(client: &mut Client) -> Result<()> {
    let before = revision(client.put("c", "1", None).await?.header())?;
    let now = revision(client.put("c", "2", None).await?.header())?;
    client.compact(now, Some(CompactionOptions::new().with_physical())).await?;
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    refused("compact again is refused", client.compact(now, None).await, "OutOfRange", compacted)?;
    let old = client.get("c", Some(GetOptions::new().with_revision(before))).await;
    refused("what is compacted is refused", old, "OutOfRange", compacted)?;
    let mut watch = client.watch("c", Some(WatchOptions::new().with_start_revision(before))).await?;
    let told = loop {
        let answer = soon("an answer", watch.message()).await??.context("an answer")?;
        if answer.canceled() {
            break answer.compact_revision();
        }
    };
    equal("a watch from before the compaction is told where it may begin", told, now)
}

/// `client` has one node alone.
pub async fn maintenance(client: &mut Client, addresses: &[&str]) -> Result<()> {
    let members = client.member_list().await?;
    let mut urls: Vec<&str> = members.members().iter().flat_map(|member| member.client_urls()).map(|url| &url["http://".len()..]).collect();
    urls.sort_unstable();
    equal("the members", urls.as_slice(), addresses)?;
    let status = client.status().await?;
    equal("the leader is one of them", members.members().iter().any(|member| member.id() == status.leader()), true)?;
    equal("the status", (status.version().starts_with("3.5."), status.raft_term() > 0, status.is_learner()), (true, true, false))?;
    let at = revision(client.put("hashed", "x", None).await?.header())?;
    let hash = client.hash_kv(at).await?.hash();
    equal("the same hash twice", client.hash_kv(at).await?.hash(), hash)?;
    client.defragment().await?;
    equal("no alarms", client.alarm(etcd_client::AlarmAction::Get, etcd_client::AlarmType::None, None).await?.alarms().len(), 0)?;
    let (mut stream, mut content) = (client.snapshot().await?, Vec::new());
    while let Some(part) = stream.message().await? {
        content.extend_from_slice(part.blob());
    }
    let (pages, seal) = content.split_at(content.len() - 32);
    equal("a snapshot and its seal", (pages.len() % 512, Sha256::digest(pages).as_slice()), (0, seal))
}
