//! The node behind the etcd API: requests become inputs of the core loop, reads go to the tables from the caller's thread.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use steadfast_etcd_api::backend as api;
use steadfast_node::{Answer, Input, LeaseTtl, MembershipChange, Refusal, Request, RequestBody};
use steadfast_state::auth::{Auth, Caller};
use steadfast_state::command::{Command, CommandError, Member, Outcome, Range, RangeResult, Txn, TxnResult};
use steadfast_state::kv::pieces::{RangePiece, RangePieces};
use steadfast_types::tables::TablesError;
use steadfast_types::{ClusterId, LeaseId, NodeId, Revision, Term};
use tokio::sync::{oneshot, watch};

use crate::admin::Metrics;
use crate::alerts::Alerting;
use crate::available;
use crate::clock::Clock;
use crate::core_loop::Item;
use crate::diagnosis::Diagnosis;
use crate::formation::ClaimRefusal;
use crate::gossip::Gossip;
use crate::health;
use crate::health::view::HealthView;
use crate::identity::random;
use crate::inbox::Inbox;
use crate::published::{Published, Reader};
use crate::snapshots::Scratch;
use crate::status;
use crate::tokens::{Issued, Tokens};
use crate::watches::{StreamCommands, StreamDeliveries, Watches, Watching};

/// How long a request may take: etcd's 5 s and two election timeouts of a second.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);

/// One node's backend; clones share it.
#[derive(Clone)]
pub(crate) struct NodeBackend(Arc<Shared>);

struct Shared {
    cluster: ClusterId,
    member: NodeId,
    name: String,
    /// Or why there is none.
    gossip: Result<Gossip, &'static str>,
    /// What strong state says of everybody's health.
    health: watch::Receiver<Arc<HealthView>>,
    inbox: Inbox<Item>,
    clock: Clock,
    published: Arc<Published>,
    watches: Watches,
    tokens: Tokens,
    metrics: Metrics,
    scratch: Scratch,
    diagnosis: OnceLock<Diagnosis>,
    alerting: OnceLock<Alerting>,
    replica: OnceLock<watch::Receiver<Option<available::Status>>>,
}

impl NodeBackend {
    pub(crate) fn new(
        (cluster, member, name, gossip, health): (
            ClusterId,
            NodeId,
            String,
            Result<Gossip, &'static str>,
            watch::Receiver<Arc<HealthView>>,
        ),
        inbox: Inbox<Item>,
        clock: Clock,
        published: Arc<Published>,
        (watches, tokens): (Watches, Tokens),
        metrics: Metrics,
        scratch: Scratch,
    ) -> Self {
        let (diagnosis, alerting, replica) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        NodeBackend(Arc::new(Shared {
            cluster,
            member,
            name,
            gossip,
            health,
            inbox,
            clock,
            published,
            watches,
            tokens,
            metrics,
            scratch,
            diagnosis,
            alerting,
            replica,
        }))
    }

    /// What the node watches itself is counted and opened here.
    pub(crate) fn watches(&self) -> &Watches {
        &self.0.watches
    }

    /// From now on it is asked for bundles.
    pub(crate) fn show(&self, diagnosis: Diagnosis) {
        // An error: it was there before.
        let _ = self.0.diagnosis.set(diagnosis);
    }

    /// From now on it is asked for test alerts.
    pub(crate) fn alert(&self, alerting: Alerting) {
        // An error: it was there before.
        let _ = self.0.alerting.set(alerting);
    }

    /// From now on it tells how this node's replica of available state is.
    pub(crate) fn show_replica(&self, replica: watch::Receiver<Option<available::Status>>) {
        // An error: it was there before.
        let _ = self.0.replica.set(replica);
    }

    /// This node's replica of available state, if it has one that is served.
    pub(crate) fn replica(&self) -> Option<available::Status> {
        self.0.replica.get()?.borrow().clone()
    }

    /// Asks the core loop and waits for its answer.
    pub(crate) async fn ask(&self, body: RequestBody) -> Result<Answer, Refusal> {
        let (slot, answer) = oneshot::channel();
        let deadline = self.0.clock.now() + REQUEST_TIMEOUT;
        let request = Item::Input(Input::Request(Request { slot, deadline, body }));
        self.0.inbox.request(request).map_err(|_| Refusal::TooManyRequests)?;
        match answer.await {
            Ok(Answer::Refused(refusal)) => Err(refusal),
            Ok(answer) => Ok(answer),
            Err(_) => Err(Refusal::Stopped),
        }
    }

    async fn ask_lease(&self, body: RequestBody) -> Result<LeaseTtl, api::Refusal> {
        match self.ask(body).await {
            Ok(Answer::Lease(ttl)) => Ok(ttl),
            Ok(other) => unreachable!("a lease question was answered with {other:?}"),
            Err(refusal) => Err(self.refused(refusal)),
        }
    }

    /// The state's reader; an error while the node repairs itself.
    fn reader(&self) -> Result<Reader, CommandError> {
        let repairing = || CommandError::Tables(TablesError("this node is getting lost data back from its peers".to_owned()));
        self.0.published.reader().ok_or_else(repairing)
    }

    /// Without a leader, waiting in vain is told as etcd tells it.
    fn refused(&self, refusal: Refusal) -> api::Refusal {
        match refusal {
            Refusal::TooManyRequests => api::Refusal::TooManyRequests,
            Refusal::TimedOut => api::Refusal::TimedOut,
            Refusal::LeaderChanged => api::Refusal::LeaderChanged,
            Refusal::NotLeader => api::Refusal::NotLeader,
            Refusal::BadTransferee | Refusal::MemberNotFound => api::Refusal::BadTransferee,
            Refusal::Stopped => api::Refusal::Stopped,
            Refusal::LevelTooLow => api::Refusal::LevelTooLow,
            Refusal::NoSpace => api::Refusal::NoSpace,
            Refusal::MemberExists
            | Refusal::PeerUrlExists
            | Refusal::MemberNotLearner
            | Refusal::LearnerNotReady
            | Refusal::ChangeUnderWay
            | Refusal::VoterAnswers
            | Refusal::NotEnoughMembers => unreachable!("{refusal} answers membership changes only"),
        }
    }

    fn membership_refused(&self, refusal: Refusal) -> api::MembershipRefusal {
        match refusal {
            Refusal::MemberNotFound => CommandError::MemberNotFound.into(),
            Refusal::MemberExists => CommandError::MemberExists.into(),
            Refusal::PeerUrlExists => CommandError::PeerUrlExists.into(),
            Refusal::MemberNotLearner => CommandError::MemberNotLearner.into(),
            Refusal::LearnerNotReady => api::MembershipRefusal::LearnerNotReady,
            Refusal::ChangeUnderWay => api::MembershipRefusal::InProgress,
            // Plans alone ask for what it answers.
            Refusal::NotEnoughMembers | Refusal::VoterAnswers => api::MembershipRefusal::NotEnoughStarted,
            Refusal::TooManyRequests
            | Refusal::TimedOut
            | Refusal::LeaderChanged
            | Refusal::NotLeader
            | Refusal::BadTransferee
            | Refusal::LevelTooLow
            | Refusal::NoSpace
            | Refusal::Stopped => self.refused(refusal).into(),
        }
    }

    /// Claims, for a node with an empty directory, the member that was added with `peer_url`.
    pub(crate) async fn claim_member(&self, peer_url: String, nonce: u64) -> Result<Member, ClaimRefusal> {
        match self.ask(RequestBody::Propose(Command::MemberClaim { peer_url, nonce })).await {
            Ok(Answer::Applied(response)) => match response.result {
                Ok(Outcome::Claimed(member)) => Ok(member),
                Ok(other) => Err(ClaimRefusal::NotNow(format!("unexpected outcome {other:?}"))),
                Err(CommandError::MemberNotFound) => Err(ClaimRefusal::NotAdded),
                Err(CommandError::MemberClaimed) => Err(ClaimRefusal::AlreadyClaimed),
                Err(error) => Err(ClaimRefusal::NotNow(error.to_string())),
            },
            Ok(other) => Err(ClaimRefusal::NotNow(format!("unexpected answer {other:?}"))),
            Err(refusal) => Err(ClaimRefusal::NotNow(refusal.to_string())),
        }
    }

    /// Requests that wait in the node.
    pub(crate) fn waiting(&self) -> usize {
        self.0.published.status().map_or(0, |status| status.waiting)
    }
}

impl api::Backend for NodeBackend {
    type WatchCommands = StreamCommands;
    type WatchDeliveries = StreamDeliveries;

    async fn propose(&self, command: Command) -> Result<api::Response, api::Refusal> {
        self.0.metrics.proposals.increment(1);
        let took = Clock::stopwatch();
        match self.ask(RequestBody::Propose(command)).await {
            Ok(Answer::Applied(response)) => {
                self.0.metrics.commit_seconds.record(took());
                Ok(response)
            }
            Ok(other) => unreachable!("a command was answered with {other:?}"),
            Err(refusal) => {
                self.0.metrics.proposals_refused.increment(1);
                Err(self.refused(refusal))
            }
        }
    }

    async fn change_membership(&self, change: api::MembershipChange) -> Result<api::MembershipChanged, api::MembershipRefusal> {
        let mut added = None;
        let body = match change {
            api::MembershipChange::Add { peer_urls, learner } => {
                let id = NodeId(random());
                added = Some(id);
                RequestBody::ChangeMembership(MembershipChange::Add { id, peer_urls, learner })
            }
            api::MembershipChange::Remove { id } => RequestBody::ChangeMembership(MembershipChange::Remove(id)),
            api::MembershipChange::Promote { id } => RequestBody::ChangeMembership(MembershipChange::Promote(id)),
            api::MembershipChange::Update { id, peer_urls } => RequestBody::Propose(Command::MemberUpdate { id, peer_urls }),
        };
        match self.ask(body).await {
            Ok(Answer::Applied(response)) => response.result.map(drop)?,
            Ok(other) => unreachable!("a membership change was answered with {other:?}"),
            Err(refusal) => return Err(self.membership_refused(refusal)),
        }
        Ok(api::MembershipChanged { members: self.reader()?.members().map_err(CommandError::from)?, added })
    }

    async fn reclaim(&self) -> Result<(), api::Refusal> {
        self.ask(RequestBody::Reclaim).await.map_err(|refusal| self.refused(refusal))?;
        Ok(())
    }

    async fn move_leader(&self, to: NodeId) -> Result<(), api::Refusal> {
        let mut leader = self.0.published.leader();
        self.ask(RequestBody::MoveLeader(to)).await.map_err(|refusal| self.refused(refusal))?;
        match tokio::time::timeout(REQUEST_TIMEOUT, leader.wait_for(|leader| *leader == Some(to))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(api::Refusal::Stopped),
            Err(_) => Err(api::Refusal::TimedOut),
        }
    }

    async fn linearize(&self) -> Result<(), api::Refusal> {
        self.0.metrics.reads.increment(1);
        self.ask(RequestBody::Linearize).await.map(drop).map_err(|refusal| self.refused(refusal))
    }

    async fn await_revision(&self, revision: Revision) -> Result<(), api::Refusal> {
        // Mostly it is there: then the core need not be asked.
        if self.revision() >= revision {
            return Ok(());
        }
        self.ask(RequestBody::AwaitRevision(revision)).await.map(drop).map_err(|refusal| self.refused(refusal))
    }

    fn range(&self, range: &Range) -> Result<(Revision, RangeResult), CommandError> {
        let read = self.reader()?.range(range)?;
        Ok((read.revision, read.result))
    }

    fn range_piece(&self, pieces: &RangePieces) -> Result<RangePiece, CommandError> {
        self.reader()?.range_piece(pieces)
    }

    fn read_txn(&self, txn: &Txn) -> Result<(Revision, TxnResult), CommandError> {
        let read = self.reader()?.read_txn(txn)?;
        Ok((read.revision, read.result))
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<api::LeaseRenewal, api::Refusal> {
        let ttl = self.ask_lease(RequestBody::KeepAlive(id)).await?;
        Ok(api::LeaseRenewal { revision: self.revision(), ttl_s: ttl.remaining_s.unwrap_or(0) })
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Option<api::LeaseInfo>, api::Refusal> {
        let Some(remaining_s) = self.ask_lease(RequestBody::TimeToLive(id)).await?.remaining_s else { return Ok(None) };
        // The leader has confirmed it, and this node has applied at least as much as that confirmation needed only if it leads; so ask again here.
        self.linearize().await?;
        let info = || -> Result<_, CommandError> {
            let reader = self.reader()?;
            let Some(granted_s) = reader.lease(id)? else { return Ok(None) };
            let keys = if keys { reader.lease_keys(id)? } else { Vec::new() };
            Ok(Some(api::LeaseInfo { remaining_s, granted_s, keys }))
        };
        info().map_err(|_| api::Refusal::Stopped)
    }

    fn leases(&self) -> Result<Vec<LeaseId>, CommandError> {
        Ok(self.reader()?.leases()?.into_iter().map(|(id, _)| id).collect())
    }

    fn members(&self) -> Result<Vec<Member>, CommandError> {
        Ok(self.reader()?.members()?)
    }

    fn alarms(&self) -> Result<api::Alarms, CommandError> {
        let alarms = self.reader()?.alarms()?;
        let status = self.0.published.status();
        let stop_the_cluster = status.is_some_and(|status| alarms.stop_the_cluster(&status.consensus.configuration));
        Ok(api::Alarms { all: alarms.all().map(|(alarm, _)| alarm).collect(), stop_the_cluster })
    }

    fn is_auth_enabled(&self) -> bool {
        self.0.published.is_auth_enabled()
    }

    fn auth(&self) -> Result<Arc<Auth>, CommandError> {
        Ok(self.reader()?.auth())
    }

    fn bearer(&self, token: &str) -> api::Bearer {
        self.0.tokens.bearer(token)
    }

    async fn issue_token(&self, caller: Caller) -> Result<(Revision, String), api::TokenRefusal> {
        match self.0.tokens.issue(caller).map_err(api::TokenRefusal::Unsigned)? {
            Issued::Signed(token) => Ok((self.revision(), token)),
            Issued::ToReplicate(token, known) => {
                let response = self.propose(Command::IssueToken(known)).await?;
                response.result?;
                Ok((response.revision, token))
            }
        }
    }

    fn identity(&self) -> api::Identity {
        api::Identity { cluster: self.0.cluster, member: self.0.member }
    }

    fn term(&self) -> Term {
        self.0.published.term()
    }

    fn revision(&self) -> Revision {
        self.0.published.reader().map_or(Revision(0), |reader| reader.revision())
    }

    fn is_learner(&self) -> bool {
        self.0.published.is_learner()
    }

    fn leader(&self) -> watch::Receiver<Option<NodeId>> {
        self.0.published.leader()
    }

    fn status(&self) -> api::NodeStatus {
        let replica = self.replica().map(|replica| replica.to_message());
        api::NodeStatus { replica, ..status::describe(&self.0.name, self.0.member, &self.0.published) }
    }

    fn health(&self) -> Result<api::ClusterHealth, &'static str> {
        let gossip = self.0.gossip.as_ref().map_err(|reason| *reason)?;
        let recorded = self.0.health.borrow().clone();
        // What was followed until the leader was lost may be outdated.
        let is_known = recorded.revision > Revision(0) && self.0.published.leader().borrow().is_some();
        Ok(health::shown(gossip, &recorded, is_known))
    }

    async fn diagnose(&self, node: String) -> Result<Vec<api::BundleFile>, api::UnknownNode> {
        match self.0.diagnosis.get() {
            Some(diagnosis) => diagnosis.bundle(&node).await,
            None => Err(api::UnknownNode { word: node, known: "none: this node has just begun".to_owned() }),
        }
    }

    async fn test_alerts(&self) -> Vec<api::AlertDelivery> {
        match self.0.alerting.get() {
            Some(alerting) => alerting.test().await,
            None => Vec::new(),
        }
    }

    fn snapshot(&self, wanted: &dyn Fn() -> bool) -> Result<api::Snapshot, api::LongReadError> {
        self.0.scratch.snapshot(&self.reader()?, self.term(), wanted)
    }

    fn hash(&self, wanted: &dyn Fn() -> bool) -> Result<api::Hash, api::LongReadError> {
        self.0.scratch.hash(&self.reader()?, self.term(), wanted)
    }

    fn hash_kv(&self, revision: Revision, wanted: &dyn Fn() -> bool) -> Result<api::Hash, api::LongReadError> {
        self.0.scratch.hash_kv(&self.reader()?, revision, wanted)
    }

    fn watch_stream(&self) -> (StreamCommands, StreamDeliveries) {
        self.0.watches.open(Watching::Client)
    }
}
