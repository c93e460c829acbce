//! The Lease service.

use std::pin::Pin;

use futures::stream::{self, Stream, StreamExt as _};
use prost::Message as _;
use steadfast_state::auth::{Auth, Caller};
use steadfast_state::command::{Command, KeySpan, Outcome};
use steadfast_state::kv::check;
use steadfast_types::LeaseId;
use tonic::{Request, Response, Status, Streaming};

use crate::api::{self, Api, Learners};
use crate::auth::Credentials;
use crate::backend::{Backend, LeaseInfo};
use crate::errors::{self, Invalid};
use crate::proto::etcdserverpb as pb;
use pb::lease_server::Lease;

impl<B: Backend> Api<B> {
    async fn keep_alive(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        let renewal = self.backend().lease_keep_alive(LeaseId(id)).await?;
        Ok(pb::LeaseKeepAliveResponse { header: Some(self.header(renewal.revision)), id, ttl: renewal.ttl_s })
    }

    async fn lease(&self, id: LeaseId, keys: bool) -> Result<Option<LeaseInfo>, Status> {
        Ok(self.backend().lease_time_to_live(id, keys).await?)
    }

    /// A lease with its keys, all of which the caller must be allowed to read. (etcd 3.5.1 tells them to anybody; later ones ask, as here.)
    async fn lease_with_keys(&self, who: &Credentials, id: LeaseId) -> Result<Option<LeaseInfo>, Status> {
        self.permit(who, Auth::permit_known).await?;
        let info = self.lease(id, true).await?;
        let permit = |auth: &Auth, caller: Option<&Caller>| {
            let mut keys = info.iter().flat_map(|info| &info.keys);
            keys.try_for_each(|key| auth.permit_read(caller, &KeySpan::single(key.clone())))
        };
        self.permit(who, permit).await?;
        Ok(info)
    }
}

/// One answer for each renewal, in order; ends with the client's half, or with the first error.
fn keep_alives<B: Backend>(
    api: Api<B>,
    requests: Streaming<pb::LeaseKeepAliveRequest>,
) -> impl Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send {
    stream::try_unfold((api, requests), async |(api, mut requests)| match requests.message().await? {
        Some(request) => Ok(Some((api.keep_alive(request.id).await?, (api, requests)))),
        None => Ok(None),
    })
}

#[tonic::async_trait]
impl<B: Backend> Lease for Api<B> {
    async fn lease_grant(&self, request: Request<pb::LeaseGrantRequest>) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let request = request.into_inner();
        let ttl_s = check::lease_ttl(request.ttl).map_err(Invalid::Check)?;
        let id = if request.id == 0 { self.new_lease_id() } else { LeaseId(request.id) };
        let (revision, outcome) = self.propose(&who, Command::LeaseGrant { id, ttl_s }, request.encoded_len()).await?;
        let Outcome::LeaseGranted { id, ttl_s } = outcome else { return Err(errors::unexpected_outcome()) };
        Ok(Response::new(pb::LeaseGrantResponse { header: Some(self.header(revision)), id: id.0, ttl: ttl_s, error: String::new() }))
    }

    async fn lease_revoke(&self, request: Request<pb::LeaseRevokeRequest>) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let request = request.into_inner();
        let (revision, _) = self.propose(&who, Command::LeaseRevoke { id: LeaseId(request.id) }, request.encoded_len()).await?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: Some(self.header(revision)) }))
    }

    type LeaseKeepAliveStream = Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let headers = request.metadata().as_ref();
        self.admit(headers, Learners::Refuse)?;
        let wants_leader = api::wants_leader(headers);
        let answers = keep_alives(self.clone(), request.into_inner());
        if !wants_leader {
            return Ok(Response::new(Box::pin(answers)));
        }
        let lost = stream::once(api::leader_lost(self.backend().leader())).map(Err);
        Ok(Response::new(Box::pin(until_first_error(answers, lost))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        let who = Credentials::of(&request);
        let pb::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let info = if keys { self.lease_with_keys(&who, LeaseId(id)).await? } else { self.lease(LeaseId(id), false).await? };
        let header = Some(self.header(self.backend().revision()));
        Ok(Response::new(match info {
            Some(info) => pb::LeaseTimeToLiveResponse { header, id, ttl: info.remaining_s, granted_ttl: info.granted_s, keys: info.keys },
            None => pb::LeaseTimeToLiveResponse { header, id, ttl: -1, granted_ttl: 0, keys: Vec::new() },
        }))
    }

    async fn lease_leases(&self, request: Request<pb::LeaseLeasesRequest>) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        self.backend().linearize().await?;
        let leases = self.read(Backend::leases).await?.map_err(errors::command)?;
        let leases = leases.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse { header: Some(self.header(self.backend().revision())), leases }))
    }
}

/// The answers, until they end or `lost` speaks.
fn until_first_error<T>(
    answers: impl Stream<Item = Result<T, Status>>,
    lost: impl Stream<Item = Result<T, Status>>,
) -> impl Stream<Item = Result<T, Status>> {
    let ended = answers.map(Some).chain(stream::once(async { None }));
    let both = stream::select(ended, lost.map(Some));
    both.take_while(|item| std::future::ready(item.is_some())).filter_map(std::future::ready)
}
