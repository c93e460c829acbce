//! How a node gets its place in a cluster: by forming a new one with the others of its list, or by joining one it was added to.
//!
//! **Forming.** Every node of the list has a durable id before it says a word (see `identity`). Each asks every other, at the address in the
//! list, who it is; all answer with what they were told (token and list) and their own id. A node that has heard every other *itself*, all
//! told the same, knows the cluster's [`Genesis`](crate::genesis::Genesis); it is the same on every node. It makes that durable, and is through. From then on it
//! answers with the genesis, so that late ones need not hear everyone. Nodes that were given a restored state form only with such as were given
//! the same.
//!
//! **Joining.** The node claims the member that was added with its peer address. The cluster grants that once, to one directory (by its
//! nonce), through its log.
//!
//! **Being admitted.** A spare, or a server whose directory was emptied, asks to become a learner without having been added: see `admission`.
//!
//! Invariants:
//! 1. A directory settles once, for one genesis; so of two different geneses from one list at most one can have a majority.
//! 2. A node of whose cluster it is told that it runs already, with another id at its place, never forms another: its directory was emptied,
//!    and what it had acknowledged is lost.
//! 3. A node alone in its list asks nobody.
//!
//! Left out: a list whose majority was emptied at once forms anew; no node that remembers is there to ask.

mod admission;
mod attending;
mod founding;
mod joining;
mod reception;

pub(crate) use admission::{Admission, settle_or_be_admitted};
pub(crate) use attending::{AttendAnswer, AttendRefusal, Attending, attend};
pub(crate) use joining::ClaimAnswer;
pub use joining::{ClaimGrant, ClaimRefusal, Claims};
pub use reception::FrontDesk;

use tokio::net::TcpListener;

use crate::identity::{Directory, IdentityError, Membership, Restored};
use crate::options::{ServerOptions, Start};
use crate::peers::Link;

/// Why a node has no place in a cluster. Its directory is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum FormationError {
    /// The directory can't be written, or is of another cluster.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is nothing to resume.
    #[error("{path} belongs to no cluster yet; start with --initial-cluster to form one, or with --join to join one")]
    NothingToResume {
        /// The directory.
        path: String,
    },
    /// Another node of the list was told otherwise.
    #[error("node `{name}` at {address} was told otherwise: {difference}; give every node the same --initial-cluster and --cluster-token")]
    ToldOtherwise {
        /// Which.
        name: String,
        /// Where.
        address: String,
        /// What differs.
        difference: String,
    },
    /// The cluster runs, and this node's directory is not the one it began with.
    #[error(
        "this directory is empty, but the cluster exists already and knows `{name}` at {address} as node {known}: what that node had \
         stored is lost. Run `steadfast member remove {known}` and `steadfast member add --peer {address}` on the cluster, then start here \
         with --join"
    )]
    Emptied {
        /// This node's name.
        name: String,
        /// Its address.
        address: String,
        /// The id the cluster knows it by.
        known: steadfast_types::NodeId,
    },
    /// The cluster runs, and this node never belonged to it.
    #[error(
        "the cluster at {asked} exists already, without `{name}`; run `steadfast member add --peer {address}` on it, then start here with --join"
    )]
    NotAFounder {
        /// This node's name.
        name: String,
        /// Its address.
        address: String,
        /// Who said so.
        asked: String,
    },
    /// An agent's name is taken.
    #[error(
        "the name `{name}` is taken by the node at {address}, which had it earlier; give this agent another --name and a directory of its own"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Where its owner is.
        address: String,
    },
    /// An agent is told to join another cluster than it belongs to.
    #[error(
        "{path} belongs to an agent of cluster {found}, and {address} is of cluster {wanted}; correct --join, or start in another directory"
    )]
    OtherCluster {
        /// The directory.
        path: String,
        /// Its cluster.
        found: steadfast_types::ClusterId,
        /// Who was asked.
        address: String,
        /// That one's cluster.
        wanted: steadfast_types::ClusterId,
    },
    /// The cluster's servers do not gossip.
    #[error(
        "the server at {address} takes no part in the membership, so no agent can: {reason}; give all nodes the same --gossip-key-file"
    )]
    NoGossip {
        /// Who was asked.
        address: String,
        /// Why.
        reason: String,
    },
    /// The directory was restored for another cluster than it is started with.
    #[error(
        "{path} was restored as one of {planned} with --cluster-token {token}: start it with that list and token, or without --initial-cluster \
         and --join, or restore it anew"
    )]
    RestoredOtherwise {
        /// The directory.
        path: String,
        /// The founders it was restored for.
        planned: String,
        /// Their token.
        token: String,
    },
    /// The cluster has no unstarted member with this address.
    #[error("the cluster has no member with the peer address {address}; run `steadfast member add --peer {address}` on it first")]
    NotAdded {
        /// This node's address.
        address: String,
    },
    /// The member with this address was claimed by another directory.
    #[error(
        "the member with the peer address {address} has started before, with another directory; if that is lost, run `steadfast member \
         remove` for it and `steadfast member add --peer {address}`, then start again"
    )]
    AlreadyClaimed {
        /// This node's address.
        address: String,
    },
}

/// Gives the node its place: at once if its directory has one, else by forming or joining, however long the others take. While it waits it
/// answers the others on `listener`, and says now and then whom it waits for.
///
/// # Errors
/// It can't have a place: see [`FormationError`]. That others are unreachable is not an error, but a reason to wait.
pub async fn settle(
    options: &ServerOptions,
    directory: &mut Directory,
    listener: &TcpListener,
    link: &Link,
) -> Result<Membership, FormationError> {
    if let Some(membership) = directory.identity().membership.clone() {
        if let Start::InitialCluster { token, .. } = &options.start {
            expect_token(directory, &membership, token)?;
        }
        return Ok(membership);
    }
    let start = planned_start(directory, &options.start)?;
    let (node, membership) = match &start {
        Start::InitialCluster { token, members } => founding::form(directory.identity(), token, members, (listener, link)).await?,
        Start::Join { peers } => joining::join(directory.identity(), peers, link).await?,
        Start::Resume => return Err(FormationError::NothingToResume { path: directory.path().display().to_string() }),
    };
    directory.settle(node, membership.clone())?;
    tracing::info!(cluster = %membership.cluster, node = %node, "this node has its place in the cluster");
    Ok(membership)
}

/// How the node is to find its cluster: a restored directory says it itself.
fn planned_start(directory: &Directory, start: &Start) -> Result<Start, FormationError> {
    let Some(Restored { token, members, .. }) = &directory.identity().restored else { return Ok(start.clone()) };
    let planned = Start::InitialCluster { token: token.clone(), members: members.clone() };
    let is_planned = match start {
        Start::InitialCluster { token: given, members: list } => {
            let mut list = list.clone();
            list.sort();
            given == token && list == *members
        }
        Start::Join { .. } => false,
        Start::Resume => true,
    };
    let names = || members.iter().map(|(name, address)| format!("{name}={address}")).collect::<Vec<_>>().join(",");
    let path = directory.path().display().to_string();
    if is_planned { Ok(planned) } else { Err(FormationError::RestoredOtherwise { path, planned: names(), token: token.clone() }) }
}

/// A founder that is started with its list again must mean the same cluster. One that joined may carry any list: it was not part of it.
fn expect_token(directory: &Directory, membership: &Membership, token: &str) -> Result<(), IdentityError> {
    let node = directory.identity().node;
    match membership.genesis.founders().iter().any(|founder| founder.node == node) {
        true => directory.expect_token(token),
        false => Ok(()),
    }
}
