//! The Maintenance service: status and leadership. What is not offered says so.

use futures::stream;
use steadfast_types::NodeId;
use tonic::{Request, Response, Status};

use crate::api::{Api, Learners};
use crate::backend::{Backend, NodeStatus};
use crate::errors;
use crate::proto::etcdserverpb as pb;
use pb::alarm_request::AlarmAction;
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

#[tonic::async_trait]
impl<B: Backend> Maintenance for Api<B> {
    /// Steadfast raises no alarms: a full quota refuses by itself, and ends by itself when there is room again.
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        match AlarmAction::try_from(request.into_inner().action) {
            Ok(AlarmAction::Get | AlarmAction::Deactivate) => {
                Ok(Response::new(pb::AlarmResponse { header: Some(self.header(self.backend().revision())), alarms: Vec::new() }))
            }
            Ok(AlarmAction::Activate) | Err(_) => Err(errors::not_offered("alarms cannot be raised by hand")),
        }
    }

    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Serve)?;
        let status = self.backend().status();
        Ok(Response::new(status_response(self.header(status.revision), status)))
    }

    /// Space comes back by itself, in small steps; this makes it come sooner, and stops nothing.
    async fn defragment(&self, request: Request<pb::DefragmentRequest>) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        self.backend().reclaim().await?;
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, _: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        Err(errors::not_offered("Hash is not offered"))
    }

    async fn hash_kv(&self, _: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        Err(errors::not_offered("HashKV is not offered"))
    }

    type SnapshotStream = stream::Empty<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(errors::not_offered("Snapshot is not offered"))
    }

    async fn move_leader(&self, request: Request<pb::MoveLeaderRequest>) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.admit(request.metadata().as_ref(), Learners::Refuse)?;
        self.backend().move_leader(NodeId(request.into_inner().target_id)).await?;
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(errors::not_offered("Downgrade is not offered"))
    }
}
