//! The Election service: the leader is whoever's turn it is in the line of the election's name.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use futures::stream::{self, Stream};
use steadfast_state::auth::{Auth, Caller};
use steadfast_state::command::{Command, KeyValue, Outcome, Range};
use steadfast_state::line;
use steadfast_types::Revision;
use tonic::{Request, Response, Status};

use crate::api::{Api, Learners};
use crate::auth::{Credentials, Reading};
use crate::backend::{Backend, Refusal, WatchCommand, WatchCommands as _, WatchCreate, WatchDeliveries as _};
use crate::proto::v3electionpb as pb;
use crate::{convert, errors, turns};
use pb::election_server::Election;

/// A leader as it was seen: which key, and its last write.
type Seen = (Bytes, Revision);

impl<B: Backend> Api<B> {
    /// Does something with a leader's key, if it is the leader's still.
    async fn as_leader(&self, who: &Credentials, command: Command) -> Result<Option<Revision>, Status> {
        match self.propose(who, command, 0).await.map_err(errors::without_code)? {
            (revision, Outcome::Txn(result)) => Ok(result.succeeded.then_some(revision)),
            _ => Err(errors::unexpected_outcome()),
        }
    }

    /// Who leads, as of the newest revision.
    async fn head(&self, who: &Credentials, name: &Bytes) -> Result<(Revision, Option<KeyValue>), Status> {
        self.backend().linearize().await?;
        self.head_here(who, line::head(name)).await
    }

    async fn head_here(&self, who: &Credentials, head: Range) -> Result<(Revision, Option<KeyValue>), Status> {
        let keys = head.keys.clone();
        let permit = |auth: &Auth, caller: Option<&Caller>| auth.permit_read(caller, &keys);
        let (revision, result) = self.read_as(who, permit, Reading::Long, move |backend| backend.range(&head)).await?;
        Ok((revision, result.kvs.into_iter().next()))
    }

    fn leader_response(&self, revision: Revision, leader: KeyValue) -> pb::LeaderResponse {
        pb::LeaderResponse { header: Some(self.header(revision)), kv: Some(convert::key_value(leader)) }
    }
}

/// What a client holds that says it leads.
fn leader(leader: Option<pb::LeaderKey>) -> Result<pb::LeaderKey, Status> {
    leader.ok_or_else(|| Status::unknown("\"leader\" field must be provided"))
}

/// The leaders of a name, from now on.
struct Observation<B: Backend> {
    api: Api<B>,
    who: Credentials,
    name: Bytes,
    deliveries: B::WatchDeliveries,
    /// Keeps the stream open.
    _commands: B::WatchCommands,
    last: Option<Seen>,
    /// What was found at the beginning.
    first: Option<(Revision, KeyValue)>,
}

impl<B: Backend> Observation<B> {
    async fn begin(api: Api<B>, who: Credentials, name: Bytes) -> Result<Self, Status> {
        let (revision, found) = api.head(&who, &name).await?;
        let asker = api.asker(&who).await;
        let (mut commands, deliveries) = api.backend().watch_stream();
        let (keys, start_revision) = (line::head(&name).keys, Revision(revision.0 + 1));
        let create = WatchCreate { keys, start_revision, asker, ..WatchCreate::default() };
        commands.send(WatchCommand::Create(create)).await?;
        let first = found.map(|leader| (revision, leader));
        Ok(Observation { api, who, name, deliveries, _commands: commands, last: None, first })
    }

    /// The next leader, or the next thing that it says.
    async fn next(&mut self) -> Result<pb::LeaderResponse, Status> {
        loop {
            let found = match self.first.take() {
                Some(first) => Some(first),
                None => self.changed().await?,
            };
            if let Some((revision, leader)) = found {
                let seen = (leader.key.clone(), leader.mod_revision);
                if self.last.replace(seen.clone()) != Some(seen) {
                    return Ok(self.api.leader_response(revision, leader));
                }
            }
        }
    }

    /// Waits for a change of the line; who is at its head then.
    async fn changed(&mut self) -> Result<Option<(Revision, KeyValue)>, Status> {
        loop {
            let delivery = poll_fn(|context| self.deliveries.poll_next(context)).await.ok_or(Refusal::Stopped)?;
            if delivery.canceled.is_some() {
                turns::ended(&delivery)?;
                return Err(errors::etcd(tonic::Code::OutOfRange, "mvcc: required revision has been compacted"));
            }
            if !delivery.events.is_empty() {
                let (revision, head) = self.api.head_here(&self.who, line::head(&self.name)).await?;
                return Ok(head.map(|head| (revision, head)));
            }
        }
    }
}

#[tonic::async_trait]
impl<B: Backend> Election for Api<B> {
    async fn campaign(&self, request: Request<pb::CampaignRequest>) -> Result<Response<pb::CampaignResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let pb::CampaignRequest { name, lease, value } = request.into_inner();
        let given = self.await_turn(who, &name, lease, value).await.map_err(errors::without_code)?;
        let leader = pb::LeaderKey { name, key: given.key, rev: given.token.0, lease: given.lease.0 };
        Ok(Response::new(pb::CampaignResponse { header: Some(self.header(given.stood)), leader: Some(leader) }))
    }

    async fn proclaim(&self, request: Request<pb::ProclaimRequest>) -> Result<Response<pb::ProclaimResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let request = request.into_inner();
        let leader = leader(request.leader)?;
        let proclaim = line::proclaim(&leader.key, Revision(leader.rev), request.value);
        let revision = self.as_leader(&who, Command::Txn(proclaim)).await?.ok_or_else(|| Status::unknown("election: not leader"))?;
        Ok(Response::new(pb::ProclaimResponse { header: Some(self.header(revision)) }))
    }

    async fn leader(&self, request: Request<pb::LeaderRequest>) -> Result<Response<pb::LeaderResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let (revision, head) = self.head(&who, &request.into_inner().name).await.map_err(errors::without_code)?;
        let head = head.ok_or_else(|| Status::unknown("election: no leader"))?;
        Ok(Response::new(self.leader_response(revision, head)))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<pb::LeaderResponse, Status>> + Send>>;

    async fn observe(&self, request: Request<pb::LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let observation = Observation::begin(self.clone(), who, request.into_inner().name).await?;
        let next = async |mut observation: Observation<B>| Ok(Some((observation.next().await?, observation)));
        Ok(Response::new(Box::pin(stream::try_unfold(observation, next))))
    }

    async fn resign(&self, request: Request<pb::ResignRequest>) -> Result<Response<pb::ResignResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let leader = leader(request.into_inner().leader)?;
        let revision = self.as_leader(&who, line::leave(&leader.key, Revision(leader.rev))).await?;
        // Who leads no more has nothing to give up.
        let revision = revision.unwrap_or_else(|| self.backend().revision());
        Ok(Response::new(pb::ResignResponse { header: Some(self.header(revision)) }))
    }
}
