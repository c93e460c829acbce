//! The service of one connection whose client has a name.

use std::task::{Context, Poll};

use axum::http::Request;
use steadfast_etcd_api::ClientName;
use tower_service::Service;

/// Puts the client's name, if it has one, into the extensions of each request.
#[derive(Clone)]
pub(super) struct Named<S> {
    service: S,
    name: Option<ClientName>,
}

impl<S> Named<S> {
    pub(super) fn new(service: S, name: Option<ClientName>) -> Self {
        Named { service, name }
    }
}

impl<S: Service<Request<R>>, R> Service<Request<R>> for Named<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<R>) -> S::Future {
        if let Some(name) = &self.name {
            request.extensions_mut().insert(name.clone());
        }
        self.service.call(request)
    }
}
