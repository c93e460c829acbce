//! Who a client command is: `--user`, and the token that the cluster gives for it.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use steadfast_etcd_api::proto::etcdserverpb::AuthenticateRequest;
use steadfast_etcd_api::proto::etcdserverpb::auth_client::AuthClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::client::read_error;

/// A name and its password. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct User {
    name: String,
    password: String,
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
pub(crate) type Link = InterceptedService<Channel, Bearer>;

/// Puts the token into each call; nothing, if there is none.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// The connection as this user's. Where authentication is not enabled nobody is asked.
pub(crate) async fn link(channel: Channel, user: Option<&User>) -> Result<Link> {
    let token = match user {
        Some(user) => authenticate(channel.clone(), user).await?,
        None => None,
    };
    Ok(InterceptedService::new(channel, Bearer(token)))
}

async fn authenticate(channel: Channel, user: &User) -> Result<Option<MetadataValue<Ascii>>> {
    let User { name, password } = user.clone();
    let request = AuthenticateRequest { name, password };
    match AuthClient::new(channel).authenticate(request).await {
        Ok(answer) => {
            let token = answer.into_inner().token.parse();
            Ok(Some(token.map_err(|_| anyhow!("the cluster gave a token that can't be sent"))?))
        }
        Err(status) if status.code() == Code::FailedPrecondition => Ok(None),
        Err(status) => Err(read_error(status).context(format!("--user {}", user.name))),
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
