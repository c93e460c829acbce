//! Who becomes a learner without having been added: the answers to `formation`'s question.
//!
//! 1. A spare, as many as [`LEARNERS`] allow.
//! 2. Whoever comes with an empty directory from the address of a member that was found failed, or of a founder that was removed since. That member keeps
//!    its id and its vote, and loses the address: nobody can be reached there as it any more. A plan then decides about its place. Found failed is who was
//!    decided to be, or whom the leader has not heard for [`SILENCE`] where nobody else ever has.
//!
//! Who is admitted is marked as a spare before it is a member, so it never votes but by a plan. Each step is found done when it is asked for again: a
//! member of this address that is claimed by the same directory is the answer.
//!
//! What it trusts: the peer port, as everything between peers does. Whoever reaches it, with a certificate where peers have some, may hold a copy of the
//! state; it can't vote by itself.

use bytes::Bytes;
use steadfast_etcd_api::Backend as _;
use steadfast_health::HealthState;
use steadfast_health::subject::Subject;
use steadfast_node::{MembershipChange, RequestBody};
use steadfast_state::command::{Command, Member};
use steadfast_types::NodeId;
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;
use tokio::sync::watch;

use super::executor::Failing;
use super::ledger::Ledger;
use super::members::Members;
use crate::clock::Clock;
use crate::coordination::OwnCluster;
use crate::formation::{Admission, ClaimAnswer, ClaimRefusal};
use crate::genesis::Genesis;
use crate::identity::random;
use crate::options::{peer_address, peer_url};
use crate::peers::{Reception, Topic};

/// Members that only learn, beyond which nobody is admitted: each costs the leader one more copy of the log.
const LEARNERS: usize = 16;

/// Whom nobody but the leader can speak of is failed after so long without an answer: some election timeouts, and some rounds of gossip in which others
/// would have been heard of it.
const SILENCE: Duration = Duration::from_secs(5);

/// Answers about admission, and hands the rest on.
pub(crate) struct Desk<R> {
    genesis: Genesis,
    members: Members,
    ledger: Ledger<OwnCluster>,
    /// Since when this node, as the leader, sees each failed.
    failing: watch::Receiver<Failing>,
    clock: Clock,
    behind: R,
}

/// What is to be done for one who asks.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// A member of its address waits for it.
    Claim(NodeId),
    /// It becomes a member, after this one has lost the address.
    Add(Option<NodeId>),
    /// It may become one once this member is found failed.
    Unless(NodeId),
    /// There are too many.
    Crowded,
    /// No.
    No,
}

/// Judges by what strong state knows.
fn judge(asked: &Admission, genesis: &Genesis, members: &[Member], is_failed: impl Fn(NodeId) -> bool) -> Verdict {
    let has_address = |member: &&Member| member.peer_urls.iter().any(|url| peer_address(url) == asked.address);
    let is_crowded = members.iter().filter(|member| member.learner).count() >= LEARNERS;
    match members.iter().find(has_address) {
        Some(member) if member.claimed_by == asked.nonce || member.claimed_by == 0 && member.name.is_empty() => Verdict::Claim(member.id),
        Some(member) if !is_failed(member.id) => Verdict::Unless(member.id),
        _ if is_crowded => Verdict::Crowded,
        Some(member) => Verdict::Add(Some(member.id)),
        None if asked.is_spare || genesis.founders().iter().any(|founder| founder.address == asked.address) => Verdict::Add(None),
        None => Verdict::No,
    }
}

/// By what was decided, and, on the leader, by for how long it has seen it failed, if it does.
fn is_found_failed(is_decided: bool, leader: Option<Option<Duration>>) -> bool {
    match leader {
        Some(failing) => failing.is_some_and(|failing| is_decided || failing >= SILENCE),
        None => is_decided,
    }
}

impl<R: Reception> Desk<R> {
    pub(crate) fn new(
        (genesis, members, ledger): (Genesis, Members, Ledger<OwnCluster>),
        (failing, clock): (watch::Receiver<Failing>, Clock),
        behind: R,
    ) -> Self {
        Desk { genesis, members, ledger, failing, clock, behind }
    }

    async fn admit(&self, question: Bytes) -> Result<ClaimAnswer, ClaimRefusal> {
        let asked = Admission::from_wire(question).map_err(|_| not_now("the question is malformed"))?;
        if asked.nonce == 0 {
            return Err(ClaimRefusal::NotAdded);
        }
        let backend = &self.members.backend;
        backend.linearize().await.map_err(not_now)?;
        let members = backend.members().map_err(not_now)?;
        match judge(&asked, &self.genesis, &members, |node| self.is_failed(node)) {
            Verdict::Claim(member) if asked.is_spare => self.ledger.mark_spare(member).await.map_err(not_now)?,
            Verdict::Claim(_) => {}
            Verdict::Add(former) => self.add(&asked.address, former).await?,
            Verdict::Unless(member) => return Err(not_now(format!("member {member}, which has this address, is not found failed yet"))),
            Verdict::Crowded => return Err(not_now(format!("there are {LEARNERS} learners already"))),
            Verdict::No => return Err(ClaimRefusal::NotAdded),
        }
        let url = self.url_of(&asked.address).unwrap_or_else(|| peer_url(&asked.address));
        let member = backend.claim_member(url, asked.nonce).await?;
        let members = backend.members().map_err(not_now)?;
        tracing::info!(node = %member.id, address = asked.address, "admitted as a learner");
        Ok(ClaimAnswer::Granted { node: member.id, cluster: self.genesis.cluster(), genesis: self.genesis.clone(), members })
    }

    /// The URL by which a member has this address: `http` or `https`.
    fn url_of(&self, address: &str) -> Option<String> {
        let members = self.members.backend.members().ok()?;
        members.into_iter().flat_map(|member| member.peer_urls).find(|url| peer_address(url) == address)
    }

    /// Found dead by the others, and silent towards the leader where this node is it.
    fn is_failed(&self, node: NodeId) -> bool {
        let is_decided = self.members.health().nodes.get(&node).is_some_and(|node| node.health.state == HealthState::Failed);
        let leads = self.members.leading().is_some();
        let failing = self.failing.borrow().get(&Subject::Node(node)).map(|since| self.clock.now().since(*since));
        is_found_failed(is_decided, leads.then_some(failing))
    }

    async fn add(&self, address: &str, former: Option<NodeId>) -> Result<(), ClaimRefusal> {
        let backend = &self.members.backend;
        if let Some(id) = former {
            let without_address = RequestBody::Propose(Command::MemberUpdate { id, peer_urls: Vec::new() });
            backend.ask(without_address).await.map_err(not_now)?;
        }
        let id = NodeId(random());
        self.ledger.mark_spare(id).await.map_err(not_now)?;
        let learner = MembershipChange::Add { id, peer_urls: vec![peer_url(address)], learner: true };
        backend.ask(RequestBody::ChangeMembership(learner)).await.map_err(not_now)?;
        Ok(())
    }
}

fn not_now(reason: impl ToString) -> ClaimRefusal {
    ClaimRefusal::NotNow(reason.to_string())
}

impl<R: Reception> Reception for Desk<R> {
    async fn answer(&self, topic: Topic, question: Bytes) -> Bytes {
        match topic {
            Topic::Admit => self.admit(question).await.unwrap_or_else(ClaimAnswer::Refused).to_wire().into(),
            Topic::Founding | Topic::Claim | Topic::Gossip | Topic::Attend | Topic::Health | Topic::Diagnosis | Topic::Restart => {
                self.behind.answer(topic, question).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use steadfast_types::Level;

    use super::*;
    use crate::genesis::Founder;

    #[test]
    fn a_leader_that_has_only_just_missed_it_does_not_give_its_address_away() {
        assert!(!is_found_failed(false, Some(Some(SILENCE - Duration::from_millis(1)))), "nobody else has heard of it yet");
        assert!(is_found_failed(false, Some(Some(SILENCE))));
        assert!(is_found_failed(true, Some(Some(Duration::ZERO))), "others have found it dead");
        assert!(!is_found_failed(true, Some(None)), "it answers its leader");
        assert!(is_found_failed(true, None) && !is_found_failed(false, None), "elsewhere what was decided counts");
    }

    #[test]
    fn who_is_admitted_as_what() {
        let founder = |k: u64| Founder { name: format!("n{k}"), address: format!("h:{k}"), node: NodeId(k) };
        let genesis = Genesis::new("token", [founder(1), founder(2), founder(9)], Level::NEWEST);
        let member = |id: u64, name: &str, claimed_by| Member {
            id: NodeId(id),
            name: name.to_owned(),
            peer_urls: vec![format!("http://h:{id}")],
            claimed_by,
            ..Member::default()
        };
        let members = [member(1, "n1", 0), member(2, "n2", 0), member(3, "n3", 33), member(4, "", 0)];
        let judged = |at: u64, nonce, is_spare, failed: u64| {
            judge(&Admission { address: format!("h:{at}"), nonce, is_spare }, &genesis, &members, |node| node == NodeId(failed))
        };
        for is_spare in [false, true] {
            assert_eq!(judged(2, 7, is_spare, 0), Verdict::Unless(NodeId(2)), "it lives");
            assert_eq!(judged(2, 7, is_spare, 2), Verdict::Add(Some(NodeId(2))), "its disk is lost");
            assert_eq!(judged(3, 7, is_spare, 3), Verdict::Add(Some(NodeId(3))));
            assert_eq!(judged(3, 33, is_spare, 0), Verdict::Claim(NodeId(3)), "the answer was lost");
            assert_eq!(judged(4, 7, is_spare, 0), Verdict::Claim(NodeId(4)), "it was added by hand");
            assert_eq!(judged(9, 7, is_spare, 0), Verdict::Add(None), "a founder that was replaced meanwhile");
        }
        assert_eq!(judged(8, 7, true, 0), Verdict::Add(None));
        assert_eq!(judged(8, 7, false, 0), Verdict::No, "a stranger");
        let learners: Vec<Member> = (0..LEARNERS as u64).map(|k| Member { learner: true, ..member(100 + k, "l", 1) }).collect();
        let spare = Admission { address: "h:8".to_owned(), nonce: 7, is_spare: true };
        assert_eq!(judge(&spare, &genesis, &learners, |_| false), Verdict::Crowded);
    }
}
