//! Whom to ask for admission: the members that are known by address, whenever this node finds itself alone; and those of them that nobody has told it of.
//! For founders that start at once may admit each other in pairs, and two such islands would never hear of each other.

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

/// A node that is not alone asks those it has not heard of ever less often, down to this: a member may be known by another address than is configured.
const ASK_SELDOM: Duration = Duration::from_secs(320);

/// Addresses and how each was written: by that name its certificate is checked.
pub(super) type Seeds = BTreeMap<SocketAddr, String>;

/// Hands the seeds to the task whenever they may help, until the task or the handle is gone.
pub(super) async fn keep_joined(
    own: String,
    mut seeds: watch::Receiver<BTreeSet<String>>,
    mut view: watch::Receiver<Arc<View>>,
    joins: mpsc::Sender<Seeds>,
) {
    let mut patience = ASK_AGAIN;
    loop {
        let configured: Vec<String> = seeds.borrow_and_update().iter().filter(|seed| **seed != own).cloned().collect();
        let resolved = resolve(&configured).await;
        let (is_alone, wanted) = wanted(resolved, &view.borrow_and_update());
        if !wanted.is_empty() && joins.send(wanted).await.is_err() {
            return;
        }
        patience = if is_alone { ASK_AGAIN } else { (patience * 2).min(ASK_SELDOM) };
        tokio::select! {
            changed = seeds.changed() => match changed {
                Ok(()) => patience = ASK_AGAIN,
                Err(_) => return,
            },
            // Not a change: it may say at once what will be different in a moment.
            _ = timeout(patience, joins.closed()) => if joins.is_closed() { return },
        }
    }
}

/// Whether this node is alone, and whom it should ask: then all, else whom it has not heard of.
fn wanted(mut seeds: Seeds, view: &View) -> (bool, Seeds) {
    let is_alone = view.is_alone();
    if !is_alone {
        let known: BTreeSet<SocketAddr> = view.members.iter().map(|seen| seen.address).collect();
        seeds.retain(|address, _| !known.contains(address));
    }
    (is_alone, seeds)
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

#[cfg(test)]
mod tests {
    use steadfast_membership::{Incarnation, Role, State};
    use steadfast_types::{Instant, NodeId};

    use super::super::view::Seen;
    use super::*;

    fn view(ports: &[u16]) -> View {
        let seen = |port: &u16| Seen {
            id: NodeId(u64::from(*port)),
            name: format!("n{port}"),
            role: Role::Server,
            address: ([127, 0, 0, 1], *port).into(),
            state: State::Alive,
            since: Instant(0),
            witnesses: Vec::new(),
            witness_ids: Vec::new(),
            incarnation: Incarnation::of_life(1),
            born: 0,
        };
        View { members: ports.iter().map(seen).collect(), is_admitted: true }
    }

    #[test]
    fn who_is_alone_asks_all_and_others_ask_whom_nobody_has_told_them_of() {
        let seeds: Seeds = [1, 2, 3].map(|port| (([127, 0, 0, 1], port).into(), format!("n{port}"))).into();
        let ports = |known: &[u16]| wanted(seeds.clone(), &view(known)).1.keys().map(SocketAddr::port).collect::<Vec<_>>();
        assert_eq!(ports(&[1]), [1, 2, 3]);
        assert_eq!(ports(&[1, 2]), [3], "an island of two");
        assert!(ports(&[1, 2, 3]).is_empty());
    }
}
