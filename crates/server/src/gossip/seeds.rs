//! Whom to ask for admission: the members that are known by address, whenever this node finds itself alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::view::View;

/// How often a node that is alone asks again: names may have new addresses by then.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Addresses and how each was written: by that name its certificate is checked.
pub(super) type Seeds = BTreeMap<SocketAddr, String>;

/// Hands the seeds to the task whenever they may help, until the task or the handle is gone.
pub(super) async fn keep_joined(
    own: String,
    mut seeds: watch::Receiver<BTreeSet<String>>,
    mut view: watch::Receiver<Arc<View>>,
    joins: mpsc::Sender<Seeds>,
) {
    loop {
        let known: Vec<String> = seeds.borrow_and_update().iter().filter(|seed| **seed != own).cloned().collect();
        if !known.is_empty() && view.borrow_and_update().is_alone() && joins.send(resolve(&known).await).await.is_err() {
            return;
        }
        tokio::select! {
            changed = seeds.changed() => if changed.is_err() { return },
            // Not a change: it may say at once what will be different in a moment.
            _ = timeout(ASK_AGAIN, joins.closed()) => if joins.is_closed() { return },
        }
    }
}

async fn resolve(seeds: &[String]) -> Seeds {
    let mut found = Seeds::new();
    for seed in seeds {
        match lookup_host(seed).await {
            Ok(addresses) => found.extend(addresses.map(|address| (address, seed.clone()))),
            Err(error) => tracing::debug!(seed, "no address is known for it: {error}"),
        }
    }
    found
}

/// This node's own address, however long it takes until it is known.
pub(super) async fn own_address(address: &str) -> SocketAddr {
    let mut is_said = false;
    loop {
        match lookup_host(address).await.map(|mut found| found.next()) {
            Ok(Some(found)) => return found,
            _ if is_said => {}
            nothing => {
                tracing::warn!(
                    address,
                    ?nothing,
                    "this node's own --advertise-peer can't be looked up; it takes no part in the membership until then"
                );
                is_said = true;
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
