//! `grpc.health.v1`: a node serves while it knows a leader.

use std::pin::Pin;

use futures::stream::{self, Stream};
use steadfast_types::NodeId;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::api::Api;
use crate::backend::Backend;

/// The services that have a health: all one; the empty name is the node.
const SERVICES: [&str; 7] = [
    "",
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "steadfast.v1.Cluster",
];

fn serving(leader: Option<NodeId>) -> ServingStatus {
    if leader.is_some() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// The health now, and again whenever it changes.
fn changes(leader: watch::Receiver<Option<NodeId>>) -> impl Stream<Item = Result<HealthCheckResponse, Status>> + Send {
    stream::unfold((leader, None), async |(mut leader, told)| {
        let now = serving(*leader.wait_for(|leader| Some(serving(*leader)) != told).await.ok()?);
        Some((Ok(response(now)), (leader, Some(now))))
    })
}

#[tonic::async_trait]
impl<B: Backend> Health for Api<B> {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !SERVICES.contains(&service.as_str()) {
            return Err(Status::not_found(format!("unknown service {service}")));
        }
        let leader = *self.backend().leader().borrow();
        Ok(Response::new(response(serving(leader))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        if SERVICES.contains(&request.into_inner().service.as_str()) {
            return Ok(Response::new(Box::pin(changes(self.backend().leader()))));
        }
        let unknown = stream::once(async { Ok(response(ServingStatus::ServiceUnknown)) });
        Ok(Response::new(Box::pin(stream::StreamExt::chain(unknown, stream::pending()))))
    }
}
