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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};

    use super::*;

    /// Answers with the name that it finds.
    #[derive(Clone)]
    struct Echo;

    impl Service<Request<()>> for Echo {
        type Response = Option<ClientName>;
        type Error = Infallible;
        type Future = Ready<Result<Option<ClientName>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            ready(Ok(request.extensions().get::<ClientName>().cloned()))
        }
    }

    #[tokio::test]
    async fn every_request_has_the_name_of_its_connection() {
        for name in [Some(ClientName("alice".to_owned())), None] {
            let mut service = Named::new(Echo, name.clone());
            for _ in 0..2 {
                assert_eq!(service.call(Request::new(())).await, Ok(name.clone()));
            }
        }
    }
}
