//! What a member says to nodes that are not members yet.

use bytes::Bytes;
use steadfast_types::wire::Wire;

use super::founding::FoundingAnswer;
use super::joining::{Claim, ClaimAnswer, ClaimRefusal, Claims};
use crate::identity::Membership;
use crate::peers::{Reception, Topic};

/// Answers for a node that has its place: to founders the genesis, to joiners what the cluster's log says to their claim.
#[derive(Debug)]
pub struct FrontDesk<C> {
    membership: Membership,
    claims: C,
}

impl<C: Claims> FrontDesk<C> {
    /// Answers for a node with this place.
    pub fn new(membership: Membership, claims: C) -> Self {
        FrontDesk { membership, claims }
    }

    async fn answer_claim(&self, question: Bytes) -> ClaimAnswer {
        let Ok(Claim { peer_url, nonce }) = Claim::from_wire(question) else {
            return ClaimAnswer::Refused(ClaimRefusal::NotNow("the claim is malformed".to_owned()));
        };
        match self.claims.claim(peer_url, nonce).await {
            Ok(grant) => ClaimAnswer::Granted {
                node: grant.member.id,
                cluster: self.membership.cluster,
                genesis: self.membership.genesis.clone(),
                members: grant.members,
            },
            Err(refusal) => ClaimAnswer::Refused(refusal),
        }
    }
}

impl<C: Claims> Reception for FrontDesk<C> {
    async fn answer(&self, topic: Topic, question: Bytes) -> Bytes {
        match topic {
            Topic::Founding => FoundingAnswer::Formed(self.membership.genesis.clone()).to_wire().into(),
            Topic::Claim => self.answer_claim(question).await.to_wire().into(),
            // The desks in front of this one answer them (`gossip`, `recovery`, `diagnosis`).
            Topic::Gossip | Topic::Attend | Topic::Health | Topic::Diagnosis | Topic::Admit | Topic::Restart => Bytes::new(),
        }
    }
}
