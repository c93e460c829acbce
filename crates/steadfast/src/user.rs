//! Who a client command is: `--user`.

use anyhow::Result;
pub(crate) use steadfast_client::{Link, User};
use tonic::transport::Channel;

use crate::client::read_error;

/// The connection as this user's. Where authentication is not enabled nobody is asked.
pub(crate) async fn link(channel: Channel, user: Option<&User>) -> Result<Link> {
    steadfast_client::link(channel, user).await.map_err(|status| match user {
        Some(user) => read_error(status).context(format!("--user {}", user.name())),
        None => read_error(status),
    })
}
