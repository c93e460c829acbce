//! The servers' own locks and elections, contended.

use anyhow::{Context, Result};
use etcd_client::{Client, LockOptions, ProclaimOptions, ResignOptions};

use crate::{equal, refused, soon};

/// A lease, as a session has one.
async fn session(client: &mut Client) -> Result<i64> {
    Ok(client.lease_grant(60, None).await?.id())
}

pub async fn locks(client: &mut Client, other: &mut Client) -> Result<()> {
    let (first, second) = (session(client).await?, session(other).await?);
    let held = client.lock("lock", Some(LockOptions::new().with_lease(first))).await?;
    equal("take a lock", held.key(), format!("lock/{first:x}").as_bytes())?;
    let waiting = tokio::spawn({
        let mut other = other.clone();
        async move { other.lock("lock", Some(LockOptions::new().with_lease(second))).await }
    });
    let in_line = async {
        while client.get("lock/", Some(etcd_client::GetOptions::new().with_prefix())).await?.count() < 2 {}
        anyhow::Ok(())
    };
    soon("a second one in the line", in_line).await??;
    equal("the second one waits", waiting.is_finished(), false)?;
    client.unlock(held.key()).await?;
    let taken = soon("its turn", waiting).await???;
    equal("it has the lock when the first gives it up", taken.key(), format!("lock/{second:x}").as_bytes())?;
    let none = client.lock("lock", Some(LockOptions::new().with_lease(99))).await;
    refused("a lock without its lease is refused", none, "Unknown", "etcdserver: requested lease not found")?;
    client.lease_revoke(second).await?;
    let third = session(client).await?;
    let taken = soon("its turn", client.lock("lock", Some(LockOptions::new().with_lease(third)))).await??;
    equal("a lock ends with its lease", taken.key(), format!("lock/{third:x}").as_bytes())
}

pub async fn elections(client: &mut Client, other: &mut Client) -> Result<()> {
    let (first, second) = (session(client).await?, session(other).await?);
    let nobody = client.leader("elect").await;
    refused("nobody leads", nobody, "Unknown", "election: no leader")?;
    let won = client.campaign("elect", "a", first).await?;
    let key = won.leader().context("a key")?.clone();
    let mut observed = other.observe("elect").await?;
    let mut next = async || -> Result<String> {
        let seen = soon("a leader", observed.message()).await??.context("a leader")?;
        Ok(seen.kv().context("a key")?.value_str()?.to_owned())
    };
    equal("observe the leader", next().await?.as_str(), "a")?;
    let waiting = tokio::spawn({
        let mut other = other.clone();
        async move { other.campaign("elect", "b", second).await }
    });
    client.proclaim("a2", Some(ProclaimOptions::new().with_leader(key.clone()))).await?;
    equal("what it proclaims", next().await?.as_str(), "a2")?;
    let leader = client.leader("elect").await?;
    equal("who leads", leader.kv().context("a key")?.value_str()?, "a2")?;
    let in_line = async {
        while client.get("elect/", Some(etcd_client::GetOptions::new().with_prefix())).await?.count() < 2 {}
        anyhow::Ok(())
    };
    soon("a second candidate", in_line).await??;
    equal("the second candidate waits", waiting.is_finished(), false)?;
    client.resign(Some(ResignOptions::new().with_leader(key.clone()))).await?;
    let won = soon("its turn", waiting).await???;
    equal("it leads when the first resigns", won.leader().context("a key")?.lease(), second)?;
    equal("which is observed", next().await?.as_str(), "b")?;
    let late = client.proclaim("late", Some(ProclaimOptions::new().with_leader(key))).await;
    refused("who resigned proclaims nothing", late, "Unknown", "election: not leader")
}
