//! What the client library etcd-client (0.21) can do, against three servers whose leader is killed: ADDRESS,ADDRESS,ADDRESS.
//!
//! Ends with an error at the first wrong result. Lines that begin with "? " ask the test for what a client can't do.

mod calls;
mod failover;
mod turns;
mod users;

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use etcd_client::{Client, ConnectOptions, Error, Event, WatchStream};

/// Nothing takes so long unless it is broken.
const LONG: Duration = Duration::from_secs(60);

/// What was looked at is as it must be.
fn equal<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Result<()> {
    ensure!(found == expected, "{what}: {found:?}, not {expected:?}");
    println!("{what}");
    Ok(())
}

/// A call must fail with this code and with a message that ends with this text.
fn refused<T>(what: &str, answer: Result<T, Error>, code: &str, text: &str) -> Result<()> {
    let Err(Error::GRpcStatus(status)) = answer.map(|_| ()) else { bail!("{what}: it was not refused") };
    equal(what, (format!("{:?}", status.code()).as_str(), status.message()), (code, text))
}

/// What the test answers to a wish.
async fn ask(wish: &str) -> Result<usize> {
    println!("? {wish}");
    tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        line.trim().parse().context("a number")
    })
    .await?
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(LONG, future).await.with_context(|| format!("{what} does not happen"))
}

async fn connect(addresses: &[&str]) -> Result<Client> {
    Ok(Client::connect(addresses, None).await?)
}

async fn connect_as(address: &str, name: &str, password: &str) -> Result<Client, Error> {
    Client::connect([address], Some(ConnectOptions::new().with_user(name, password))).await
}

/// The next events of a watch, after whatever comes without any.
async fn events(watch: &mut WatchStream) -> Result<Vec<Event>> {
    let next = async {
        loop {
            let answer = watch.message().await?.context("the stream ended")?;
            ensure!(!answer.canceled(), "the watch was ended: {}", answer.cancel_reason());
            if !answer.events().is_empty() {
                return Ok(answer.events().to_vec());
            }
        }
    };
    soon("an event", next).await?
}

async fn everything(addresses: &[&str]) -> Result<()> {
    let mut client = connect(addresses).await?;
    let mut other = connect(&addresses[1..2]).await?;
    calls::keys(&mut client).await?;
    calls::transactions(&mut client).await?;
    calls::leases(&mut client).await?;
    calls::watches(&mut client, &mut other).await?;
    calls::compaction(&mut client).await?;
    calls::maintenance(&mut connect(&addresses[..1]).await?, addresses).await?;
    turns::locks(&mut client, &mut other).await?;
    turns::elections(&mut client, &mut other).await?;
    failover::leader_dies(addresses).await?;
    users::users(addresses[0]).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let addresses = std::env::args().nth(1).context("the addresses are missing")?;
    let addresses: Vec<&str> = addresses.split(',').collect();
    tokio::time::timeout(5 * LONG, everything(&addresses)).await.context("it hangs")??;
    println!("all is as it should be");
    Ok(())
}
