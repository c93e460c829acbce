//! The Maintenance service: status, alarms, leadership, snapshots and hashes.

use steadfast_types::{NodeId, Revision};
use tonic::{Code, Request, Response, Status};

use crate::api::{Api, Learners};
use crate::auth::Credentials;
use crate::backend::{Backend, Hash, NodeStatus};
use crate::proto::etcdserverpb as pb;
use crate::{alarms, errors, snapshot};
use pb::downgrade_request::DowngradeAction;
use pb::maintenance_server::Maintenance;

/// The etcd version whose protocol is spoken, for clients that choose their calls by it (kube-apiserver asks for progress notifications of 3.5.13
/// on).
pub const ETCD_VERSION: &str = "3.5.21";

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn status_response(header: pb::ResponseHeader, status: NodeStatus) -> pb::StatusResponse {
    let mut errors = status.errors;
    if status.leader.is_none() {
        errors.push("etcdserver: no leader".into());
    }
    errors.extend(status.alarms.into_iter().map(alarms::text));
    pb::StatusResponse {
        header: Some(header),
        version: ETCD_VERSION.into(),
        db_size: size(status.table_bytes),
        leader: status.leader.unwrap_or_default().0,
        raft_index: status.commit_index.0,
        raft_term: status.term.0,
        raft_applied_index: status.applied_index.0,
        errors,
        db_size_in_use: size(status.table_used_bytes),
        is_learner: status.learner,
        storage_version: String::new(),
        db_size_quota: size(status.quota_bytes),
        downgrade_info: None,
    }
}

/// No older release is known to read what this one writes, so no version is a target; in etcd's words.
fn downgrade_refused(request: &pb::DowngradeRequest) -> Status {
    let is_number = |part: &str| part.parse::<u32>().is_ok();
    let is_version = (2..=3).contains(&request.version.split('.').count()) && request.version.split('.').all(is_number);
    match request.action() {
        _ if DowngradeAction::try_from(request.action).is_err() => errors::etcd(Code::Unknown, "unknown method"),
        DowngradeAction::Cancel => errors::etcd(Code::FailedPrecondition, "no inflight downgrade job"),
        DowngradeAction::Validate | DowngradeAction::Enable if is_version => {
            errors::etcd(Code::InvalidArgument, "invalid downgrade target version")
        }
        DowngradeAction::Validate | DowngradeAction::Enable => errors::etcd(Code::InvalidArgument, "wrong downgrade target version format"),
    }
}

#[tonic::async_trait]
impl<B: Backend> Maintenance for Api<B> {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        Ok(Response::new(self.alarms(&Credentials::of(&request), request.into_inner()).await?))
    }

    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Serve)?;
        let status = self.backend().status();
        Ok(Response::new(status_response(self.header(status.revision), status)))
    }

    /// Space comes back by itself, in small steps; this makes it come sooner, and stops nothing.
    async fn defragment(&self, request: Request<pb::DefragmentRequest>) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        self.permit_admin(&Credentials::of(&request)).await?;
        self.backend().reclaim().await?;
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        self.permit_admin(&Credentials::of(&request)).await?;
        let Hash { revision, hash, .. } = self.long_read(|backend, wanted| backend.hash(wanted)).await?;
        Ok(Response::new(pb::HashResponse { header: Some(self.header(revision)), hash }))
    }

    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        self.permit_admin(&Credentials::of(&request)).await?;
        let at = Revision(request.into_inner().revision);
        let Hash { revision, compact_revision, hashed, hash } = self.long_read(move |backend, wanted| backend.hash_kv(at, wanted)).await?;
        let header = Some(self.header(revision));
        Ok(Response::new(pb::HashKvResponse { header, hash, compact_revision: compact_revision.0, hash_revision: hashed.0 }))
    }

    type SnapshotStream = snapshot::SnapshotStream;

    async fn snapshot(&self, request: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Serve)?;
        self.permit_admin(&Credentials::of(&request)).await?;
        Ok(Response::new(snapshot::stream(self.backend().clone(), self.begin_long_read()?)))
    }

    async fn move_leader(&self, request: Request<pb::MoveLeaderRequest>) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        self.backend().linearize().await?;
        self.permit_admin(&Credentials::of(&request)).await?;
        self.backend().move_leader(NodeId(request.into_inner().target_id)).await?;
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(&self, request: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.permit_admin(&Credentials::of(&request)).await?;
        Err(downgrade_refused(&request.into_inner()))
    }
}
