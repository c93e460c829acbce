//! Why a node did not start. Every text says what was found and what to do about it.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::formation::FormationError;
use crate::identity::IdentityError;
use crate::options::OptionsError;
use crate::tls::TlsError;

/// Why a node did not start. Nothing was changed that a corrected start would not find in order.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option can't be used.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The data directory is not this node's, or can't be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The node has no place in a cluster.
    #[error(transparent)]
    Formation(#[from] FormationError),
    /// The files of a certificate can't be used.
    #[error("{option}: {reason}")]
    Tls {
        /// The option that gave them.
        option: &'static str,
        /// Why, naming the file.
        reason: TlsError,
    },
    /// The keys of gossip can't be used.
    #[error("gossip-key-file: {0}")]
    Keys(String),
    /// The UDP port of gossip can't be listened on.
    #[error("cannot take datagrams at {address} (UDP, the number of the peer port): {reason}; {}", remedy(reason, "listen-peer"))]
    Datagrams {
        /// The address.
        address: SocketAddr,
        /// The operating system's words.
        reason: io::Error,
    },
    /// An address can't be listened on.
    #[error("cannot listen on {address}: {reason}; {}", remedy(reason, option))]
    Listen {
        /// The option that gave it.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// The operating system's words.
        reason: io::Error,
    },
}

fn remedy(reason: &io::Error, option: &str) -> String {
    match reason.kind() {
        io::ErrorKind::AddrInUse => format!("stop the program that has it, or choose another with --{option}"),
        io::ErrorKind::AddrNotAvailable => format!("give an address of this machine to --{option}"),
        io::ErrorKind::PermissionDenied => format!("choose a port above 1023 with --{option}"),
        _ => format!("check --{option}"),
    }
}

/// Listens on an address that `option` gave.
///
/// # Errors
/// The address is taken, or not of this machine.
pub async fn listen(option: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|reason| StartError::Listen { option, address, reason })
}
