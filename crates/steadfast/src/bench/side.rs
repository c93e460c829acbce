//! One of the clusters that are measured: connections to its nodes.

use anyhow::Result;

use crate::client;
use crate::endpoints::Endpoint;
use crate::user::{self, Link, User};

/// A cluster's connections.
pub(super) struct Side {
    name: &'static str,
    links: Vec<Link>,
}

impl Side {
    /// So many connections, one endpoint each in turn.
    pub(super) async fn connect(name: &'static str, endpoints: &[Endpoint], user: Option<&User>, connections: usize) -> Result<Self> {
        let mut links = Vec::with_capacity(connections);
        for endpoint in endpoints.iter().cycle().take(connections.max(endpoints.len())) {
            links.push(user::link(client::connect(endpoint).await?, user).await?);
        }
        Ok(Side { name, links })
    }

    /// The connection of a client.
    pub(super) fn link(&self, client: usize) -> Link {
        self.links[client % self.links.len()].clone()
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.links.len()
    }

    /// To tell it from another in a line of text.
    pub(super) fn suffix(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!(" ({})", self.name) }
    }
}
