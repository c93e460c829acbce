//! The leader is killed while clients write, watch, renew a lease, hold a lock and lead an election.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use etcd_client::{Client, Compare, CompareOp, Error, GetOptions, LockOptions, Txn, TxnOp, WatchOptions};
use tokio::sync::watch;

use crate::{ask, connect, equal, soon};

const WRITES: usize = 200;

/// Whether the cluster has no leader just now, or the connection is gone: a program tries again.
fn passes(error: &Error) -> bool {
    match error {
        // A connection that is reset in the midst of a request is `Unknown` to tonic.
        Error::GRpcStatus(status) => format!("{:?}", status.code()) == "Unavailable" || status.message() == "transport error",
        Error::TransportError(_) => true,
        _ => false,
    }
}

/// A call again, until it is answered.
macro_rules! repeated {
    ($call:expr) => {
        loop {
            match $call.await {
                Err(error) if passes(&error) => tokio::time::sleep(Duration::from_millis(20)).await,
                answer => break answer,
            }
        }
    };
}

/// Each key exactly once, whatever becomes of an answer.
async fn write_all(mut client: Client) -> Result<()> {
    for number in 0..WRITES {
        let key = format!("d/{number:04}");
        let txn = Txn::new().when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)]).and_then([TxnOp::put(key, "x", None)]);
        repeated!(client.txn(txn.clone()))?;
    }
    Ok(())
}

/// Watches the keys that are written; goes on with the next client where the one before fails. Returns the keys and how often it went on.
async fn follow(clients: Vec<Client>, mut revision: i64, seen: watch::Sender<usize>) -> Result<(Vec<String>, usize)> {
    let (mut keys, mut resumed) = (Vec::new(), 0);
    for mut client in clients {
        let options = WatchOptions::new().with_prefix().with_start_revision(revision);
        let mut stream = client.watch("d/", Some(options)).await?;
        while let Ok(Some(answer)) = stream.message().await {
            for event in answer.events() {
                let kv = event.kv().context("a key")?;
                keys.push(kv.key_str()?.to_owned());
                revision = kv.mod_revision() + 1;
            }
            seen.send_replace(keys.len());
            if keys.len() >= WRITES {
                return Ok((keys, resumed));
            }
        }
        resumed += 1;
    }
    bail!("no client is left")
}

/// Renews a lease by a stream, and by a new one when that fails, until it is told to stop; notes the shortest time it was given.
async fn keep_alive(client: Client, id: i64, shortest: Arc<AtomicI64>, stop: Arc<AtomicBool>) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut keeper, mut answers)) = client.clone().lease_keep_alive(id).await else { continue };
        while !stop.load(Ordering::Relaxed) && keeper.keep_alive().await.is_ok() {
            let Ok(Some(answer)) = answers.message().await else { break };
            shortest.fetch_min(answer.ttl(), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub async fn leader_dies(addresses: &[&str]) -> Result<()> {
    let at = ask("the leader").await?;
    let others: Vec<&str> = addresses.iter().copied().filter(|address| *address != addresses[at]).collect();
    let (mut doomed, mut client, another) =
        (connect(&addresses[at..=at]).await?, connect(&others[..1]).await?, connect(&others[1..]).await?);
    // This one knows all three, and finds those that live.
    let any = connect(addresses).await?;
    let begin = client.put("d", "1", None).await?.header().context("a header")?.revision();
    let (told, mut seen) = watch::channel(0);
    let steady = tokio::spawn(follow(vec![client.clone()], begin, told));
    let resuming = tokio::spawn(follow(vec![doomed.clone(), another.clone()], begin, watch::channel(0).0));

    let lease = client.lease_grant(10, None).await?.id();
    client.put("alive", "x", Some(etcd_client::PutOptions::new().with_lease(lease))).await?;
    let (shortest, stop) = (Arc::new(AtomicI64::new(i64::MAX)), Arc::new(AtomicBool::new(false)));
    let renewing = tokio::spawn(keep_alive(any.clone(), lease, shortest.clone(), stop.clone()));
    let held = client.lock("held", Some(LockOptions::new().with_lease(lease))).await?;
    client.campaign("office", "before", lease).await?;
    let contender = client.lease_grant(60, None).await?.id();
    let waiting = tokio::spawn({
        let mut another = another.clone();
        async move { repeated!(another.lock("held", Some(LockOptions::new().with_lease(contender)))) }
    });
    let writing = tokio::spawn(write_all(any.clone()));
    soon("the first writes", seen.wait_for(|seen| *seen >= 50)).await??;
    equal("the leader that was asked is killed", ask("kill the leader").await?, at)?;

    soon("all writes", writing).await???;
    let expected: Vec<String> = (0..WRITES).map(|number| format!("d/{number:04}")).collect();
    equal("a watch on another node sees every write once, in order", soon("all events", steady).await???, (expected.clone(), 0))?;
    let what = "so does one that began on the dead leader and went on elsewhere";
    equal(what, soon("all events", resuming).await???, (expected, 1))?;
    let dead = doomed.get("d", None).await;
    equal("the dead leader's client says that it is gone", dead.is_err_and(|error| passes(&error)), true)?;
    equal("the lock is held all the time", waiting.is_finished(), false)?;
    let leader = repeated!(client.leader("office"))?;
    equal("the election has its leader still", leader.kv().context("a key")?.value_str()?, "before")?;
    repeated!(client.unlock(held.key()))?;
    let taken = soon("its turn", waiting).await???;
    equal("the lock is taken by the one who waits", taken.key(), format!("held/{contender:x}").as_bytes())?;
    stop.store(true, Ordering::Relaxed);
    soon("the end of renewals", renewing).await???;
    equal("a lease that is kept alive lives on", (shortest.load(Ordering::Relaxed), client.get("alive", None).await?.count()), (10, 1))?;
    equal("the dead leader is back", ask("start it again").await?, at)?;
    let count = repeated!(doomed.get("d/", Some(GetOptions::new().with_prefix())))?.count();
    equal("and knows what it has missed", count, 200)
}
