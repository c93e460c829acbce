//! Taking part as an agent: a server says which cluster it is, who its members are, and whether the agent's name is free.

use std::collections::BTreeMap;
use std::time::Duration;

use steadfast_state::command::Member;
use steadfast_types::wire::Wire;
use steadfast_types::{NodeId, wire_enum, wire_struct};
use tokio::time::sleep;

use super::FormationError;
use super::joining::contacts;
use crate::genesis::Genesis;
use crate::identity::{Directory, Membership};
use crate::peers::{self, Link, Topic};

/// How long one server may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Between two rounds of asking.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The question of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attending {
    /// Its id.
    pub(crate) node: NodeId,
    /// Its name.
    pub(crate) name: String,
    /// Where it is reached, `host:port`.
    pub(crate) address: String,
    /// When its directory was made, seconds since 1970.
    pub(crate) born: u64,
}
wire_struct!(Attending { node, name, address, born });

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttendAnswer {
    /// "Take part."
    Welcome {
        /// How the cluster began.
        genesis: Genesis,
        /// Its members now.
        members: Vec<Member>,
    },
    /// "No."
    Refused(AttendRefusal),
}
wire_enum!(AttendAnswer { 1 => Welcome { genesis, members }, 2 => Refused(refusal) });

/// Why an agent is not welcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttendRefusal {
    /// An elder has its name, and is at this address.
    NameTaken(String),
    /// The members do not gossip, for this reason.
    NoGossip(String),
    /// It can't be said now, for this reason; to be asked again.
    NotNow(String),
}
wire_enum!(AttendRefusal { 1 => NameTaken(address), 2 => NoGossip(reason), 3 => NotNow(reason) });

impl AttendAnswer {
    pub(super) fn not_formed() -> Self {
        AttendAnswer::Refused(AttendRefusal::NotNow("the node has no cluster itself yet".to_owned()))
    }

    /// The place that it gives, or why it gives none.
    pub(crate) fn place(self, own: NodeId) -> Result<Membership, AttendRefusal> {
        match self {
            AttendAnswer::Welcome { genesis, members } => {
                let contacts: BTreeMap<NodeId, String> = contacts(own, &members);
                Ok(Membership { cluster: genesis.cluster(), genesis, contacts })
            }
            AttendAnswer::Refused(refusal) => Err(refusal),
        }
    }
}

/// Asks the servers in turn until one says yes or no. An agent that belongs to the cluster already goes on after one round in which none could be
/// reached: other agents may.
///
/// # Errors
/// It is not welcome, or belongs to another cluster.
pub(crate) async fn attend(directory: &Directory, peers: &[String], link: &Link, born: u64) -> Result<Membership, FormationError> {
    let identity = directory.identity();
    let question = Attending { node: identity.node, name: identity.name.clone(), address: identity.address.clone(), born }.to_wire();
    let mut said = String::new();
    loop {
        for peer in peers {
            let problem = match ask(link, peer, &question, identity.node).await {
                Ok(place) => return expect_cluster(directory, peer, place),
                Err(AttendRefusal::NameTaken(address)) => return Err(FormationError::NameTaken { name: identity.name.clone(), address }),
                Err(AttendRefusal::NoGossip(reason)) => return Err(FormationError::NoGossip { address: peer.clone(), reason }),
                Err(AttendRefusal::NotNow(reason)) => reason,
            };
            if problem != said {
                tracing::info!("cannot take part by {peer} yet, and keeps trying: {problem}");
                said = problem;
            }
        }
        if let Some(place) = &identity.membership {
            return Ok(place.clone());
        }
        sleep(ASK_AGAIN).await;
    }
}

async fn ask(link: &Link, peer: &str, question: &[u8], own: NodeId) -> Result<Membership, AttendRefusal> {
    let not_now = |reason: String| AttendRefusal::NotNow(reason);
    let answer = peers::ask(link, peer, Topic::Attend, question, ANSWER_LIMIT).await.map_err(|error| not_now(error.to_string()))?;
    AttendAnswer::from_wire(answer).map_err(|error| not_now(format!("malformed answer: {error}")))?.place(own)
}

fn expect_cluster(directory: &Directory, peer: &str, place: Membership) -> Result<Membership, FormationError> {
    match &directory.identity().membership {
        Some(known) if known.cluster != place.cluster => Err(FormationError::OtherCluster {
            path: directory.path().display().to_string(),
            found: known.cluster,
            address: peer.to_owned(),
            wanted: place.cluster,
        }),
        Some(_) | None => Ok(place),
    }
}
