//! TLS of a node's ports: whom each side trusts, from which files, and how both are changed while the node runs.
//!
//! [`Tls`] is what one port speaks. It is made of [`TlsFiles`] and a [`Trust`]; `reload` keeps it what the files say. The library is rustls
//! with ring: TLS 1.2 and 1.3 for clients (older clients of etcd know no newer), 1.3 alone between peers.
//!
//! Invariants:
//! 1. A configuration is changed as a whole: a certificate, its key and the CAs of one reading of the files.
//! 2. Files that can't be used change nothing. The certificate in use stays in use, even when its time is over: an old certificate is refused
//!    by those who check it, no certificate by everyone.
//! 3. A session that is resumed was begun under the same configuration: with every change all earlier tickets are void, so that whom a new
//!    CA does not know can't come back by an old handshake.
//!
//! Left out: revocation lists (rotate the CA instead), and the machine's own list of public CAs.

mod accept;
mod certificate;
mod complaints;
mod dial;
mod files;
mod lazy;
mod reload;
mod self_signed;
mod trust;
mod unverified;

pub(crate) use accept::{AcceptError, HANDSHAKE_RECORD, accept, first_byte, handshake};
pub use certificate::common_name;
pub(crate) use complaints::Complaints;
pub use dial::{DialTrust, dialling, server_name};
pub(crate) use dial::{dial, dialling_the_world};
pub use files::{TlsError, TlsFiles};
pub(crate) use lazy::Lazy;
pub(crate) use reload::Gauges;
pub use reload::Tls;
pub use self_signed::self_signed;
pub use trust::Trust;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The cryptography: ring's, which needs no more than a C compiler to build.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests;
