//! Steadfast's own Cluster service: what a node tells about itself beyond etcd's Status.

use tonic::{Request, Response, Status};

use crate::alarms;
use crate::api::Api;
use crate::auth::Credentials;
use crate::backend::{
    AlertDelivery, Backend, BundleFile, FollowerStatus, HealthEvent, HealthState, Identity, MemberHealth, NodeRole, NodeStatus,
    ServiceHealth,
};
use crate::proto::steadfast::v1 as pb;
use pb::cluster_server::Cluster;
use steadfast_state::alarm::Alarm;
use steadfast_state::command;

fn role(role: NodeRole) -> pb::Role {
    match role {
        NodeRole::Follower => pb::Role::Follower,
        NodeRole::Candidate => pb::Role::Candidate,
        NodeRole::Leader => pb::Role::Leader,
    }
}

fn member(member: command::Member) -> pb::Member {
    pb::Member { id: member.id.0, name: member.name, peer_urls: member.peer_urls, client_urls: member.client_urls, learner: member.learner }
}

fn follower(follower: FollowerStatus) -> pb::Follower {
    pb::Follower { id: follower.id.0, matched_index: follower.matched.0, lag_entries: follower.lag_entries, active: follower.active }
}

fn state(state: HealthState) -> pb::HealthState {
    match state {
        HealthState::Healthy => pb::HealthState::Healthy,
        HealthState::Suspect => pb::HealthState::Suspect,
        HealthState::Failed => pb::HealthState::Failed,
        HealthState::Left => pb::HealthState::Left,
        HealthState::Degraded => pb::HealthState::Degraded,
        HealthState::Recovering => pb::HealthState::Recovering,
    }
}

fn service(service: ServiceHealth) -> pb::ServiceHealth {
    pb::ServiceHealth {
        service: service.service,
        node: service.node,
        state: state(service.state).into(),
        since_unix_ms: service.since_ms,
        cause: service.cause,
    }
}

fn event(event: HealthEvent) -> pb::HealthEvent {
    pb::HealthEvent {
        number: event.number,
        at_unix_ms: event.at_ms,
        node: event.node,
        service: event.service,
        from: state(event.from).into(),
        to: state(event.to).into(),
        cause: event.cause,
    }
}

fn health(member: MemberHealth) -> pb::MemberHealth {
    let role = if member.is_agent { pb::MemberRole::Agent } else { pb::MemberRole::Server };
    pb::MemberHealth {
        id: member.id.0,
        name: member.name,
        role: role.into(),
        state: state(member.state).into(),
        gossip: state(member.gossip).into(),
        cause: member.cause,
        since_ms: member.since_ms,
        witnesses: member.witnesses,
        address: member.address,
        incarnation: member.incarnation,
    }
}

/// For people, with the id as they see it elsewhere.
fn in_words(alarm: Alarm) -> String {
    format!("alarm {} of member {:x}", alarms::name(alarm.kind), alarm.member.0)
}

fn response(identity: Identity, status: NodeStatus) -> pb::StatusResponse {
    pb::StatusResponse {
        cluster_id: identity.cluster.0,
        node_id: identity.member.0,
        name: status.name,
        version: status.version,
        role: role(status.role).into(),
        learner: status.learner,
        leader_id: status.leader.unwrap_or_default().0,
        term: status.term.0,
        commit_index: status.commit_index.0,
        applied_index: status.applied_index.0,
        revision: status.revision.0,
        compact_revision: status.compact_revision.0,
        log_bytes: status.log_bytes,
        table_bytes: status.table_bytes,
        resident_bytes: status.resident_bytes,
        members: status.members.into_iter().map(member).collect(),
        followers: status.followers.into_iter().map(follower).collect(),
        errors: status.errors.into_iter().chain(status.alarms.into_iter().map(in_words)).collect(),
        replica: status.replica,
    }
}

#[tonic::async_trait]
impl<B: Backend> Cluster for Api<B> {
    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        Ok(Response::new(response(self.backend().identity(), self.backend().status())))
    }

    async fn health(&self, request: Request<pb::HealthRequest>) -> Result<Response<pb::HealthResponse>, Status> {
        let found = self.backend().health().map_err(Status::failed_precondition)?;
        let wanted = usize::try_from(request.into_inner().events).unwrap_or(usize::MAX);
        let older = found.events.len().saturating_sub(wanted);
        Ok(Response::new(pb::HealthResponse {
            members: found.members.into_iter().map(health).collect(),
            services: found.services.into_iter().map(service).collect(),
            events: found.events.into_iter().skip(older).map(event).collect(),
            unread: found.unread.unwrap_or_default(),
        }))
    }

    async fn diagnose(&self, request: Request<pb::DiagnoseRequest>) -> Result<Response<pb::DiagnoseResponse>, Status> {
        self.permit_admin(&Credentials::of(&request)).await?;
        let bundle = self.backend().diagnose(request.into_inner().node).await;
        let files = bundle.map_err(|unknown| Status::not_found(unknown.to_string()))?;
        let file = |BundleFile { name, text }| pb::BundleFile { name, text };
        Ok(Response::new(pb::DiagnoseResponse { files: files.into_iter().map(file).collect() }))
    }

    async fn test_alerts(&self, request: Request<pb::TestAlertsRequest>) -> Result<Response<pb::TestAlertsResponse>, Status> {
        self.permit_admin(&Credentials::of(&request)).await?;
        let delivery = |AlertDelivery { receiver, error }| pb::AlertDelivery { receiver, error: error.unwrap_or_default() };
        let deliveries = self.backend().test_alerts().await.into_iter().map(delivery).collect();
        Ok(Response::new(pb::TestAlertsResponse { deliveries }))
    }
}
