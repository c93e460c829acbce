//! How a node comes to take part: what its options, its directory and its sockets give.

use std::net::{SocketAddr, UdpSocket as StdSocket};

use steadfast_membership::Role;
use tokio::net::UdpSocket;

use super::{Gossip, Keys, Part};
use crate::admin::Metrics;
use crate::clock::Clock;
use crate::errors::StartError;
use crate::fault_table::Faults;
use crate::identity::{Directory, Life, Membership};
use crate::options::{NodeRole, ServerOptions};
use crate::peers::Link;

/// Begins to take part in the cluster of `membership`, heard on the UDP port beside `peers`. A text: this node takes no part, for this reason.
pub(crate) fn start(
    options: &ServerOptions,
    (directory, life): (&Directory, Life),
    membership: &Membership,
    peers: SocketAddr,
    (link, clock, metrics, faults): (&Link, Clock, &Metrics, Faults),
) -> Result<Result<Gossip, &'static str>, StartError> {
    if let Some(reason) = options.why_no_gossip() {
        tracing::warn!(
            "this node takes no part in the membership, and `steadfast health` shows nothing of it: {reason} (--gossip-key-file)"
        );
        return Ok(Err(reason));
    }
    let keys = options.peer_security.gossip_key_file.as_deref().map(Keys::read).transpose();
    let part = Part {
        cluster: membership.cluster,
        node: directory.identity().node,
        name: options.name.clone(),
        role: match options.role {
            NodeRole::Server | NodeRole::Spare => Role::Server,
            NodeRole::Agent => Role::Agent,
        },
        address: options.advertise_peer.clone(),
        keys: keys.map_err(|error| StartError::Keys(error.to_string()))?.unwrap_or_default(),
        socket: bind(peers)?,
        life,
        link: link.clone(),
        clock,
        metrics: metrics.clone(),
        faults,
    };
    Ok(Ok(Gossip::start(part, membership.contacts.values().cloned().collect())))
}

fn bind(address: SocketAddr) -> Result<UdpSocket, StartError> {
    let open = || {
        let socket = StdSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    };
    open().map_err(|reason| StartError::Datagrams { address, reason })
}
