//! Who asks, and whether they may: from a request's token or certificate to a [`Caller`], and the checks that are made here.
//!
//! 1. Commands carry their caller into the log and are checked when they are applied. Requests without credentials carry none, and cost
//!    nothing here; if authentication is enabled by then, they are refused there.
//! 2. Reads are checked here, against the rights that are published with the state they read; if those change meanwhile, again.
//! 3. A token that this node does not know may have been given out a moment ago elsewhere: it is looked up again after a read round.

use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderValue};
use steadfast_state::auth::{Auth, AuthError, Authorized, Caller};
use steadfast_state::command::{Command, CommandError};
use tonic::{Code, Request, Status};

use crate::api::Api;
use crate::backend::{Asker, Backend, Bearer, Response};
use crate::client_name::ClientName;
use crate::errors;

pub(crate) mod passwords;
mod service;

/// How often a command, or a read, is tried again because rights changed while it was under way. More changes than that in a row are
/// somebody's mistake.
const ATTEMPTS: usize = 16;

/// What a request brings to say who asks. Most bring nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    token: Option<HeaderValue>,
    name: Option<Arc<str>>,
}

impl Credentials {
    /// Those of a call that goes through `tonic`.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        Self::from_parts(request.metadata().as_ref(), request.extensions())
    }

    /// A gRPC client sends `token`, the JSON gateway `authorization`. What came through a gateway came with the gateway's own certificate,
    /// which says nothing about the client.
    pub(crate) fn from_parts(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let token = headers.get("token").or_else(|| headers.get("authorization")).cloned();
        let through_gateway = || headers.contains_key("grpcgateway-accept");
        let name = extensions.get::<ClientName>().filter(|_| token.is_none() && !through_gateway());
        Credentials { token, name: name.map(|ClientName(name)| Arc::from(name.as_str())) }
    }

    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.token.is_none() && self.name.is_none()
    }
}

fn invalid_token() -> Status {
    errors::etcd(Code::Unauthenticated, "invalid auth token")
}

fn denied(error: AuthError) -> Status {
    errors::command(CommandError::Auth(error))
}

fn auth_of<B: Backend>(backend: &B) -> Result<Arc<Auth>, Status> {
    backend.auth().map_err(errors::command)
}

/// How long a read takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// One key: a look-up.
    Quick,
    /// Any number of them: it must hold up nobody's connection.
    Long,
}

/// Who asks, found out.
struct Known {
    caller: Option<Caller>,
    /// Whether the caller's auth revision is that of now, so that looking again may help.
    is_renewable: bool,
}

impl<B: Backend> Api<B> {
    /// The bearer of a token.
    async fn bearer(&self, token: &HeaderValue) -> Result<Bearer, Status> {
        let token = token.to_str().map_err(|_| invalid_token())?;
        match self.backend().bearer(token) {
            Bearer::Unknown => {
                self.backend().linearize().await?;
                Ok(self.backend().bearer(token))
            }
            bearer => Ok(bearer),
        }
    }

    /// Who asks, as of the newest users and roles.
    async fn known(&self, who: &Credentials) -> Result<(Arc<Auth>, Known), Status> {
        if let Some(token) = &who.token {
            let bearer = self.bearer(token).await?;
            let auth = auth_of(self.backend())?;
            let known = match bearer {
                Bearer::User(user) => Known { caller: Some(auth.caller(&user)), is_renewable: true },
                Bearer::Caller(caller) => Known { caller: Some(caller), is_renewable: false },
                Bearer::Unknown | Bearer::Nobody => return Err(invalid_token()),
            };
            return Ok((auth, known));
        }
        let auth = auth_of(self.backend())?;
        let name = who.name.as_ref().filter(|_| auth.is_enabled());
        let known = Known { caller: name.map(|name| auth.caller(name)), is_renewable: true };
        Ok((auth, known))
    }

    /// Has the backend replicate a command of this caller.
    pub(crate) async fn propose_as(&self, who: &Credentials, command: Command) -> Result<Response, Status> {
        if who.is_empty() {
            return Ok(self.backend().propose(command).await?);
        }
        let mut attempts = ATTEMPTS;
        loop {
            let (_, known) = self.known(who).await?;
            let is_named = known.caller.is_some();
            let proposed = match known.caller {
                Some(caller) => Authorized::command(caller, command.clone()),
                None => command.clone(),
            };
            let response = self.backend().propose(proposed).await?;
            attempts -= 1;
            let is_old = match response.result {
                Err(CommandError::Auth(AuthError::OldRevision)) => true,
                // This node did not know yet that names count.
                Err(CommandError::Auth(AuthError::UserEmpty)) => !is_named,
                _ => false,
            };
            if !is_old || !known.is_renewable || attempts == 0 {
                return Ok(response);
            }
            // It was not applied. Once this node has the change that was applied before it, it may be.
            self.backend().linearize().await?;
        }
    }

    /// Whether the caller may, as far as this node knows.
    pub(crate) async fn permit(
        &self,
        who: &Credentials,
        permit: impl FnOnce(&Auth, Option<&Caller>) -> Result<(), AuthError>,
    ) -> Result<(), Status> {
        if who.is_empty() && !self.backend().is_auth_enabled() {
            return Ok(());
        }
        let (auth, known) = self.known(who).await?;
        permit(&auth, known.caller.as_ref()).map_err(denied)
    }

    /// Whether the caller may manage the cluster, as far as this node knows.
    pub(crate) async fn permit_admin(&self, who: &Credentials) -> Result<(), Status> {
        self.permit(who, Auth::permit_admin).await
    }

    /// Reads the local state if the caller may, and gives nothing away that was read with rights of before.
    pub(crate) async fn read_as<T: Send + 'static>(
        &self,
        who: &Credentials,
        permit: impl Fn(&Auth, Option<&Caller>) -> Result<(), AuthError>,
        reading: Reading,
        read: impl Fn(&B) -> Result<T, CommandError> + Clone + Send + 'static,
    ) -> Result<T, Status> {
        if who.is_empty() && !self.backend().is_auth_enabled() {
            let answer = self.read_now(reading, &read).await?;
            if !self.backend().is_auth_enabled() {
                return Ok(answer);
            }
        }
        for _ in 0..ATTEMPTS {
            let (auth, known) = self.known(who).await?;
            permit(&auth, known.caller.as_ref()).map_err(denied)?;
            let answer = self.read_now(reading, &read).await;
            if Arc::ptr_eq(&auth, &auth_of(self.backend())?) {
                return answer;
            }
        }
        Err(denied(AuthError::OldRevision))
    }

    async fn read_now<T: Send + 'static>(
        &self,
        reading: Reading,
        read: &(impl Fn(&B) -> Result<T, CommandError> + Clone + Send + 'static),
    ) -> Result<T, Status> {
        let answer = match reading {
            Reading::Quick => read(self.backend()),
            Reading::Long => {
                let read = read.clone();
                self.read(move |backend| read(backend)).await?
            }
        };
        answer.map_err(errors::command)
    }

    /// Who opens a watch.
    pub(crate) async fn asker(&self, who: &Credentials) -> Asker {
        if who.is_empty() {
            return Asker::Nobody;
        }
        match self.known(who).await {
            Ok((auth, Known { caller: Some(caller), .. })) if caller.auth_revision >= auth.revision() || !auth.is_enabled() => {
                Asker::User(caller.user.into())
            }
            // Names do not count yet; once they do, the watch goes on in this one.
            Ok((_, Known { caller: None, .. })) => who.name.clone().map_or(Asker::Nobody, Asker::User),
            Ok(_) | Err(_) => Asker::Refused,
        }
    }
}
