//! Who a client is: a user's name and password, and the token that the cluster gives for them.

use std::fmt;
use std::str::FromStr;

use steadfast_etcd_api::proto::etcdserverpb::AuthenticateRequest;
use steadfast_etcd_api::proto::etcdserverpb::auth_client::AuthClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// A name and its password. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    password: String,
}

impl User {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The password.
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:…", self.name)
    }
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((name, password)) if !name.is_empty() => Ok(User { name: name.into(), password: password.into() }),
            Some(_) | None => Err("give NAME:PASSWORD".into()),
        }
    }
}

/// A connection whose calls say who asks.
pub type Link = InterceptedService<Channel, Bearer>;

/// Puts into each call who asks, and whether an answer of a node without a leader is wanted.
#[derive(Clone, Debug)]
pub struct Bearer {
    token: Option<MetadataValue<Ascii>>,
    wants_leader: bool,
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        if self.wants_leader {
            request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        }
        Ok(request)
    }
}

/// The connection as this user's. Where authentication is not enabled nobody is asked.
///
/// # Errors
/// The cluster's: it does not know the user, or gives no token.
pub async fn link(channel: Channel, user: Option<&User>) -> Result<Link, Status> {
    with_bearer(channel, user, false).await
}

/// The same, of which a node without a leader refuses all calls at once and ends all streams.
pub(crate) async fn link_with_leader(channel: Channel, user: Option<&User>) -> Result<Link, Status> {
    with_bearer(channel, user, true).await
}

async fn with_bearer(channel: Channel, user: Option<&User>, wants_leader: bool) -> Result<Link, Status> {
    let token = match user {
        Some(user) => authenticate(channel.clone(), user).await?,
        None => None,
    };
    Ok(InterceptedService::new(channel, Bearer { token, wants_leader }))
}

async fn authenticate(channel: Channel, user: &User) -> Result<Option<MetadataValue<Ascii>>, Status> {
    let User { name, password } = user.clone();
    match AuthClient::new(channel).authenticate(AuthenticateRequest { name, password }).await {
        Ok(answer) => {
            let token = answer.into_inner().token.parse();
            Ok(Some(token.map_err(|_| Status::internal("the cluster gave a token that can't be sent"))?))
        }
        Err(status) if status.code() == Code::FailedPrecondition => Ok(None),
        Err(status) => Err(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_hold_colons_and_is_never_shown() {
        let user: User = "ann:a:b".parse().expect("a user");
        assert_eq!((user.name.as_str(), user.password.as_str()), ("ann", "a:b"));
        assert_eq!(format!("{user:?}"), "ann:…");
        for text in ["", "ann", ":secret"] {
            assert!(text.parse::<User>().expect_err(text).contains("NAME:PASSWORD"));
        }
    }
}
