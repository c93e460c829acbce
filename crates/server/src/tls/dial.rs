//! Connections that are dialled: by a node to its peers, by a command to a cluster.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::files::{TlsError, TlsFiles, read_roots};
use super::provider;
use super::unverified::Unverified;

/// Whom a command that dials a cluster trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialTrust<'a> {
    /// Servers with a certificate for their address that a CA in this file signed.
    Ca(&'a Path),
    /// Any server: encryption without authentication.
    Anyone,
}

/// The configuration of a command that dials a cluster by gRPC, with a certificate and key of its own or without.
///
/// # Errors
/// A file can't be read, or used.
pub fn dialling(trust: DialTrust<'_>, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| TlsError::Refused { path: "TLS".to_owned(), problem: error.to_string() })?;
    let builder = match trust {
        DialTrust::Ca(path) => builder.with_root_certificates(read_roots(path)?),
        DialTrust::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified::new())),
    };
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let files = TlsFiles { cert: cert.to_owned(), key: key.to_owned(), trusted_ca: None };
            let material = files.understand(&files.read()?)?;
            let refused = |error: rustls::Error| TlsError::Refused { path: cert.display().to_string(), problem: error.to_string() };
            builder.with_client_auth_cert(material.chain, material.key).map_err(refused)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// The configuration of a node that calls services of others over HTTP/1.1: whoever a CA of this machine vouches for is trusted.
///
/// # Errors
/// This machine has no CAs, or they can't be read.
pub(crate) fn dialling_the_world() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or(String::new(), |error| format!(": {error}"));
        return Err(format!("this machine has no CA certificates to trust{why}; install them, or name a file by SSL_CERT_FILE"));
    }
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Shakes hands as the one who dialled `address`, which is `host:port`: the other's certificate must be for the host.
///
/// # Errors
/// What the other side or the library has to say.
pub(crate) async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ClientConfig>,
    address: &str,
    socket: S,
) -> io::Result<TlsStream<S>> {
    TlsConnector::from(config).connect(server_name(address)?, socket).await
}

/// The host of `host:port`, as certificates name it.
///
/// # Errors
/// It is none.
pub fn server_name(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{host}` is no name that a certificate can be for")))
}
