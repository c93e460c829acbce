//! Becoming a learner of a running cluster without a hand: as a spare, or as what comes back after a voter's disk was lost.
//!
//! A node whose directory was emptied has another id, so it can't speak for its former self, and what that had acknowledged is lost here. It asks to be
//! admitted as somebody new; the cluster does so once it has found the former self failed, and gives it that one's address. It votes only when a recovery
//! plan gives it a voter's place (`recovery`).

use std::time::Duration;

use steadfast_types::wire::Wire;
use steadfast_types::{NodeId, wire_struct};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::joining::{ClaimRefusal, ask_about};
use super::{FormationError, settle};
use crate::identity::{Directory, Membership};
use crate::options::{NodeRole, ServerOptions, Start};
use crate::peers::{Link, Topic};

/// Between two rounds of asking: a failure takes seconds to be noticed.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The question of a node that wants to be admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Where its peers reach it, `host:port`.
    pub(crate) address: String,
    /// Its directory's nonce.
    pub(crate) nonce: u64,
    /// It was started as a spare: it comes whether or not it was there before.
    pub(crate) is_spare: bool,
}
wire_struct!(Admission { address, nonce, is_spare });

/// Gives the node its place, as [`settle`]; and where only that is in the way that its directory was emptied, or that it is a spare and was not added, by
/// being admitted.
///
/// # Errors
/// As [`settle`].
pub(crate) async fn settle_or_be_admitted(
    options: &ServerOptions,
    directory: &mut Directory,
    listener: &TcpListener,
    link: &Link,
) -> Result<Membership, FormationError> {
    let is_spare = options.role == NodeRole::Spare && directory.identity().membership.is_none();
    let refused = match settle_unless(is_spare, options, directory, listener, link).await {
        Some(Ok(membership)) => return Ok(membership),
        Some(Err(error @ (FormationError::Emptied { .. } | FormationError::AlreadyClaimed { .. }))) => {
            tracing::warn!("asking to be taken in as a new node, for: {error}");
            Some(error)
        }
        Some(Err(error)) => return Err(error),
        None => None,
    };
    let (node, membership) = match (admitted(directory, whom_to_ask(options), is_spare, link).await, refused) {
        (Ok(place), _) => place,
        (Err(()), Some(error)) => return Err(error),
        (Err(()), None) => return Err(FormationError::NotAdded { address: directory.identity().address.clone() }),
    };
    directory.settle(node, membership.clone())?;
    tracing::info!(cluster = %membership.cluster, node = %node, "this node was admitted as a learner");
    Ok(membership)
}

/// A spare that has no place yet does not try to find one another way.
async fn settle_unless(
    is_spare: bool,
    options: &ServerOptions,
    directory: &mut Directory,
    listener: &TcpListener,
    link: &Link,
) -> Option<Result<Membership, FormationError>> {
    if is_spare { None } else { Some(settle(options, directory, listener, link).await) }
}

fn whom_to_ask(options: &ServerOptions) -> Vec<String> {
    match &options.start {
        Start::InitialCluster { members, .. } => members.iter().map(|(_, address)| address.clone()).collect(),
        Start::Join { peers } => peers.clone(),
        Start::Resume => Vec::new(),
    }
}

/// Asks the peers in turn until one says yes, or all say no.
async fn admitted(directory: &Directory, mut peers: Vec<String>, is_spare: bool, link: &Link) -> Result<(NodeId, Membership), ()> {
    let identity = directory.identity();
    peers.retain(|peer| *peer != identity.address);
    let question = Admission { address: identity.address.clone(), nonce: identity.nonce, is_spare }.to_wire();
    let mut said = String::new();
    loop {
        let mut refusals = 0;
        for peer in &peers {
            let problem = match ask_about(link, peer, Topic::Admit, &question).await {
                Ok(place) => return Ok(place),
                Err(ClaimRefusal::NotAdded | ClaimRefusal::AlreadyClaimed) => {
                    refusals += 1;
                    continue;
                }
                Err(ClaimRefusal::NotNow(reason)) => reason,
            };
            if problem != said {
                tracing::info!("not admitted by {peer} yet, and keeps asking: {problem}");
                said = problem;
            }
        }
        if refusals == peers.len() {
            return Err(());
        }
        sleep(ASK_AGAIN).await;
    }
}
