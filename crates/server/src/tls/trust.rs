//! Whom a port trusts, and the configurations of rustls that follow.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::files::{Material, TlsError, TlsFiles};
use super::provider;
use super::unverified::Unverified;

/// The protocols of a client port: gRPC needs HTTP/2, probes and the plain paths speak HTTP/1.1.
const HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Whom a port trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Clients: those with a certificate of a trusted CA if there is one, else all.
    Clients,
    /// Peers: those with a certificate of the trusted CA, with this common name if one is given. Whom this node dials must have a
    /// certificate for the address, too.
    Peers {
        /// The common name.
        allowed_cn: Option<String>,
    },
    /// Everybody, in both directions: what is said can't be overheard, but whoever reaches the port can be a peer.
    Anyone,
}

/// What one reading of the files makes.
pub(super) struct Configs {
    pub(super) accepting: Arc<ServerConfig>,
    /// `None`: this port dials nobody.
    pub(super) dialling: Option<Arc<ClientConfig>>,
}

impl Trust {
    /// The configurations for what the files say.
    pub(super) fn configure(&self, files: &TlsFiles, material: Material) -> Result<Configs, TlsError> {
        let refused = |problem: String| TlsError::Refused { path: files.cert.display().to_string(), problem };
        let tls = |error: rustls::Error| refused(error.to_string());
        let versions = match self {
            Trust::Clients => rustls::ALL_VERSIONS,
            Trust::Peers { .. } | Trust::Anyone => &[&rustls::version::TLS13],
        };
        let dialling = match self {
            Trust::Clients => None,
            Trust::Peers { .. } => {
                let roots = required(material.trusted.clone()).map_err(refused)?;
                let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).map_err(tls)?;
                let builder = builder.with_root_certificates(roots);
                Some(Arc::new(builder.with_client_auth_cert(material.chain.clone(), material.key.clone_key()).map_err(tls)?))
            }
            Trust::Anyone => {
                let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).map_err(tls)?;
                let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified::new()));
                Some(Arc::new(builder.with_no_client_auth()))
            }
        };
        let verifier = match (self, material.trusted) {
            (Trust::Anyone, _) | (Trust::Clients, None) => WebPkiClientVerifier::no_client_auth(),
            (Trust::Clients | Trust::Peers { .. }, trusted) => {
                let roots = required(trusted).map_err(refused)?;
                let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
                builder.build().map_err(|error| refused(error.to_string()))?
            }
        };
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).map_err(tls)?;
        let mut accepting = builder.with_client_cert_verifier(verifier).with_single_cert(material.chain, material.key).map_err(tls)?;
        if *self == Trust::Clients {
            accepting.alpn_protocols = HTTP.map(<[u8]>::to_vec).to_vec();
        }
        Ok(Configs { accepting: Arc::new(accepting), dialling })
    }
}

fn required(trusted: Option<Arc<RootCertStore>>) -> Result<Arc<RootCertStore>, String> {
    trusted.ok_or_else(|| "peers authenticate each other, so a file of trusted CAs is needed".to_owned())
}
