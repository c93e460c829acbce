//! Joining a cluster as a member that was added to it.

use std::future::Future;
use std::time::Duration;

use steadfast_state::command::Member;
use steadfast_types::wire::Wire;
use steadfast_types::{ClusterId, NodeId, wire_enum, wire_struct};
use tokio::time::sleep;

use super::FormationError;
use crate::genesis::Genesis;
use crate::identity::{Identity, Membership};
use crate::options::{peer_address, peer_url};
use crate::peers::{self, Link, Topic};

/// How long one member may take: a claim goes through the log, perhaps just when a leader is elected.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Between two rounds of asking.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// The question of a node that joins: see [`steadfast_state::command::Command::MemberClaim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The node's peer URL.
    pub(super) peer_url: String,
    /// Its directory's nonce.
    pub(super) nonce: u64,
}
wire_struct!(Claim { peer_url, nonce });

/// The answer to a [`Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClaimAnswer {
    /// "You are this member."
    Granted {
        /// Its id.
        node: NodeId,
        /// The cluster.
        cluster: ClusterId,
        /// How the cluster began.
        genesis: Genesis,
        /// Its members now.
        members: Vec<Member>,
    },
    /// "No."
    Refused(ClaimRefusal),
}
wire_enum!(ClaimAnswer { 1 => Granted { node, cluster, genesis, members }, 2 => Refused(refusal) });

impl ClaimAnswer {
    pub(super) fn not_formed() -> Self {
        ClaimAnswer::Refused(ClaimRefusal::NotNow("the node has no cluster itself yet".to_owned()))
    }
}

/// Why a claim is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimRefusal {
    /// No member was added with this address (or it was removed again).
    NotAdded,
    /// The member was claimed with another nonce.
    AlreadyClaimed,
    /// It can't be said now, for this reason; to be asked again.
    NotNow(String),
}
wire_enum!(ClaimRefusal { 1 => NotAdded {}, 2 => AlreadyClaimed {}, 3 => NotNow(reason) });

/// What a granted claim gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimGrant {
    /// The member claimed.
    pub member: Member,
    /// All members.
    pub members: Vec<Member>,
}

/// Puts claims through the log of a running cluster.
pub trait Claims: Send + Sync + 'static {
    /// Proposes a [`steadfast_state::command::Command::MemberClaim`] and waits for its outcome.
    fn claim(&self, peer_url: String, nonce: u64) -> impl Future<Output = Result<ClaimGrant, ClaimRefusal>> + Send;
}

/// Asks the peers in turn until one says yes or no.
pub(super) async fn join(identity: &Identity, peers: &[String], link: &Link) -> Result<(NodeId, Membership), FormationError> {
    let others: Vec<&String> = peers.iter().filter(|peer| **peer != identity.address).collect();
    let mut said = String::new();
    loop {
        for peer in &others {
            let problem = match ask_by_either_url(link, peer, identity).await {
                Ok(place) => return Ok(place),
                Err(ClaimRefusal::NotAdded) => return Err(FormationError::NotAdded { address: identity.address.clone() }),
                Err(ClaimRefusal::AlreadyClaimed) => return Err(FormationError::AlreadyClaimed { address: identity.address.clone() }),
                Err(ClaimRefusal::NotNow(reason)) => reason,
            };
            if problem != said {
                tracing::info!("cannot join by {peer} yet, and keeps trying: {problem}");
                said = problem;
            }
        }
        sleep(ASK_AGAIN).await;
    }
}

/// Members are added with URLs, whose scheme means nothing here: etcd's tools say `https` where peers speak TLS.
async fn ask_by_either_url(link: &Link, peer: &str, identity: &Identity) -> Result<(NodeId, Membership), ClaimRefusal> {
    let claim = |peer_url: String| Claim { peer_url, nonce: identity.nonce }.to_wire();
    match ask(link, peer, &claim(peer_url(&identity.address))).await {
        Err(ClaimRefusal::NotAdded) => ask(link, peer, &claim(format!("https://{}", identity.address))).await,
        answered => answered,
    }
}

async fn ask(link: &Link, peer: &str, claim: &[u8]) -> Result<(NodeId, Membership), ClaimRefusal> {
    ask_about(link, peer, Topic::Claim, claim).await
}

/// Asks for a place by this question.
pub(super) async fn ask_about(link: &Link, peer: &str, topic: Topic, question: &[u8]) -> Result<(NodeId, Membership), ClaimRefusal> {
    let not_now = |reason: String| ClaimRefusal::NotNow(reason);
    let answer = peers::ask(link, peer, topic, question, ANSWER_LIMIT).await.map_err(|error| not_now(error.to_string()))?;
    match ClaimAnswer::from_wire(answer).map_err(|error| not_now(format!("malformed answer: {error}")))? {
        ClaimAnswer::Granted { cluster, genesis, .. } if genesis.cluster() != cluster => {
            Err(not_now("the answer contradicts itself: the cluster's id is not that of its founders".to_owned()))
        }
        ClaimAnswer::Granted { node, cluster, genesis, members } => {
            Ok((node, Membership { cluster, genesis, contacts: contacts(node, &members) }))
        }
        ClaimAnswer::Refused(refusal) => Err(refusal),
    }
}

/// Where the other members are reached.
pub(super) fn contacts(own: NodeId, members: &[Member]) -> std::collections::BTreeMap<NodeId, String> {
    let place = |member: &Member| Some((member.id, peer_address(member.peer_urls.first()?).to_owned()));
    members.iter().filter(|member| member.id != own).filter_map(place).collect()
}
