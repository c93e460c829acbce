//! The front door: which service a request is for.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, header};
use http_body::Body;
use steadfast_types::limits;
use tonic::Status;
use tonic::codegen::StdError as BoxError;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tower_service::Service;

use crate::api::{Api, Learners};
use crate::auth::Credentials;
use crate::backend::Backend;
use crate::body::ResponseBody;
use crate::gateway;
use crate::probes;
use crate::proto;
use crate::range_stream;
use crate::unary::unary;
use crate::watch;
use proto::etcdserverpb::auth_server::AuthServer;
use proto::etcdserverpb::cluster_server::ClusterServer;
use proto::etcdserverpb::lease_server::LeaseServer;
use proto::etcdserverpb::maintenance_server::MaintenanceServer;
use proto::steadfast::v1::cluster_server::ClusterServer as SteadfastServer;
use proto::v3electionpb::election_server::ElectionServer;
use proto::v3lockpb::lock_server::LockServer;

/// The largest message that is decoded at all; above it the call fails as `ResourceExhausted`. A request's limit and half a MiB, as in etcd,
/// so that a request a little too large gets etcd's own error.
pub const DECODE_BYTES: usize = limits::REQUEST_BYTES + 512 * 1024;

/// Everything on the client port: the etcd v3 services, `steadfast.v1.Cluster`, `grpc.health.v1`, reflection; and for requests that are not
/// gRPC the JSON gateway, `/health` and its like, and the HTTP routes that the server hands in.
pub struct EtcdService<B> {
    api: Api<B>,
    grpc: Routes,
    gateway: Arc<gateway::Routes>,
    http: axum::Router,
}

impl<B> Clone for EtcdService<B> {
    fn clone(&self) -> Self {
        EtcdService { api: self.api.clone(), grpc: self.grpc.clone(), gateway: self.gateway.clone(), http: self.http.clone() }
    }
}

impl<B: Backend> EtcdService<B> {
    /// The services over `backend`, and `http` beside what is served without gRPC in any case. `bcrypt_cost`: of new passwords' hashes, 4 to 31.
    pub fn new(backend: B, http: axum::Router, bcrypt_cost: u32) -> Self {
        let api = Api::new(backend, bcrypt_cost);
        let http = http.merge(probes::routes(&api)).with_state(());
        EtcdService { grpc: routes(&api).prepare(), gateway: Arc::new(gateway::Routes::new()), http, api }
    }
}

/// Every service but KV and Watch.
fn routes<B: Backend>(api: &Api<B>) -> Routes {
    Routes::from(axum::Router::new().fallback(unknown_service))
        .add_service(LeaseServer::new(api.clone()).max_decoding_message_size(DECODE_BYTES).max_encoding_message_size(usize::MAX))
        .add_service(AuthServer::new(api.clone()).max_decoding_message_size(DECODE_BYTES).max_encoding_message_size(usize::MAX))
        .add_service(LockServer::new(api.clone()).max_decoding_message_size(DECODE_BYTES))
        .add_service(ElectionServer::new(api.clone()).max_decoding_message_size(DECODE_BYTES).max_encoding_message_size(usize::MAX))
        .add_service(ClusterServer::new(api.clone()).max_decoding_message_size(DECODE_BYTES))
        .add_service(MaintenanceServer::new(api.clone()).max_decoding_message_size(DECODE_BYTES))
        .add_service(SteadfastServer::new(api.clone()).max_decoding_message_size(DECODE_BYTES))
        .add_service(HealthServer::new(api.clone()))
        .add_service(reflection().build_v1().expect("the descriptors are our own"))
        .add_service(reflection().build_v1alpha().expect("the descriptors are our own"))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

async fn unknown_service(request: axum::extract::Request) -> Response<tonic::body::Body> {
    let path = request.uri().path();
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    Status::unimplemented(format!("unknown service {service}")).into_http()
}

/// The one call of the Watch service.
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// The calls of the KV service.
#[derive(Clone, Copy)]
enum KvCall {
    Range,
    RangeStream,
    Put,
    DeleteRange,
    Txn,
    Compact,
    /// A method that etcd's KV service does not have.
    Unknown,
}

/// The call that a path names; `None`: another service's.
fn kv_call(path: &str) -> Option<KvCall> {
    Some(match path.strip_prefix("/etcdserverpb.KV/")? {
        "Range" => KvCall::Range,
        "RangeStream" => KvCall::RangeStream,
        "Put" => KvCall::Put,
        "DeleteRange" => KvCall::DeleteRange,
        "Txn" => KvCall::Txn,
        "Compact" => KvCall::Compact,
        _ => KvCall::Unknown,
    })
}

impl<B: Backend> Api<B> {
    async fn serve_kv<R>(self, call: KvCall, parts: Parts, body: R) -> Response<ResponseBody>
    where
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        // A learner answers serializable ranges; whether it is one shows only in the message.
        if let Err(status) = self.admit(&parts.headers, Learners::Serve) {
            return status.into_http();
        }
        if let (KvCall::Range | KvCall::RangeStream | KvCall::Txn, Err(status)) = (call, self.await_minimum_revision(&parts.headers).await)
        {
            return status.into_http();
        }
        let who = &Credentials::from_parts(&parts.headers, &parts.extensions);
        drop(parts);
        match call {
            KvCall::Range => unary(body, |request, _| self.range(who, request)).await,
            KvCall::RangeStream => range_stream::serve(self.clone(), who.clone(), body).await,
            KvCall::Put => unary(body, |request, size| self.put(who, request, size)).await,
            KvCall::DeleteRange => unary(body, |request, size| self.delete_range(who, request, size)).await,
            KvCall::Txn => unary(body, |request, size| self.txn(who, request, size)).await,
            KvCall::Compact => unary(body, |request, size| self.compact(who, request, size)).await,
            KvCall::Unknown => Status::unimplemented("unknown method for service etcdserverpb.KV").into_http(),
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

impl<B: Backend, R> Service<Request<R>> for EtcdService<B>
where
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        if !is_grpc(request.headers()) {
            let request = request.map(tonic::body::Body::new).map(axum::body::Body::new);
            if let Some(found) = self.gateway.find(request.uri().path()) {
                let answer = gateway::serve(self.clone(), found, request);
                return Box::pin(async { Ok(answer.await.map(|body| ResponseBody::other(tonic::body::Body::new(body)))) });
            }
            let answer = self.http.call(request);
            return Box::pin(async { Ok(answer.await?.map(|body| ResponseBody::other(tonic::body::Body::new(body)))) });
        }
        if let Some(call) = kv_call(request.uri().path()) {
            let (parts, body) = request.into_parts();
            let answer = self.api.clone().serve_kv(call, parts, body);
            return Box::pin(async { Ok(answer.await) });
        }
        if request.uri().path() == WATCH {
            let answer = watch::serve(self.api.clone(), request);
            return Box::pin(async { Ok(answer.await) });
        }
        let answer = Service::call(&mut self.grpc, request);
        Box::pin(async { Ok(answer.await?.map(ResponseBody::other)) })
    }
}
