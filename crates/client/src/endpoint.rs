//! Where a node is reached by clients, and how.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// The port of the etcd API, where none is given.
const DEFAULT_PORT: u16 = 2379;

/// Where a node is reached by clients, and how. Two are the same if the place is.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `host:port`.
    address: String,
    /// Whether TLS is spoken there, if it was said.
    https: Option<bool>,
    /// How TLS is spoken, if it is.
    tls: Option<Arc<ClientConfig>>,
}

/// An endpoint speaks TLS, and it was not said whom to trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("https://{0}: TLS needs a configuration that says whom to trust")]
pub struct NobodyTrusted(pub String);

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl Eq for Endpoint {}

impl Endpoint {
    /// The same place, with this configuration for TLS.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<ClientConfig>>) -> Self {
        Endpoint { tls, ..self }
    }

    /// Another node of the same cluster, at this URL.
    pub fn sibling(&self, url: &str) -> Option<Self> {
        Some(url.parse::<Endpoint>().ok()?.with_tls(self.tls.clone()))
    }

    /// The configuration of TLS, if that is spoken there: where nothing else was said, if there is one.
    ///
    /// # Errors
    /// It is spoken, and there is none.
    pub fn tls(&self) -> Result<Option<&Arc<ClientConfig>>, NobodyTrusted> {
        match (self.https, &self.tls) {
            (Some(true), None) => Err(NobodyTrusted(self.address.clone())),
            (Some(false), _) => Ok(None),
            (Some(true) | None, tls) => Ok(tls.as_ref()),
        }
    }

    /// As a URL.
    pub fn url(&self) -> String {
        let https = self.https.unwrap_or(self.tls.is_some());
        format!("{}://{}", if https { "https" } else { "http" }, self.address)
    }

    /// Its host, as certificates name it.
    pub(crate) fn server_name(&self) -> io::Result<ServerName<'static>> {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host).trim_matches(['[', ']']);
        ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{host}` is no name that a certificate can be for")))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Endpoint { address: address.to_string(), https: None, tls: None }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (address, https) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(address), _) => (address, Some(false)),
            (_, Some(address)) => (address, Some(true)),
            (None, None) => (text, None),
        };
        let address = host_and_port(address.trim_end_matches('/'), Some(DEFAULT_PORT))?;
        Ok(Endpoint { address, https, tls: None })
    }
}

/// Checks `host:port` and returns it; a missing port is filled in if there is a default.
///
/// # Errors
/// It is not of that form: why, and what to give.
pub fn host_and_port(text: &str, default_port: Option<u16>) -> Result<String, String> {
    let wants = "give host:port, with an IPv6 address in brackets";
    let (host, port) = match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) => match default_port {
            Some(_) if text.starts_with('[') && text.ends_with(']') => (text, None),
            _ => return Err(format!("{text:?} has more than one colon: {wants}")),
        },
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.is_empty() || !host.chars().all(allowed) {
        return Err(format!("{text:?} is not an address: {wants}"));
    }
    match (port.map(str::parse::<u16>), default_port) {
        (Some(Ok(port)), _) if port > 0 => Ok(format!("{host}:{port}")),
        (Some(_), _) => Err(format!("{text:?} has no valid port: {wants}")),
        (None, Some(port)) => Ok(format!("{host}:{port}")),
        (None, None) => Err(format!("{text:?} has no port: {wants}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_usual_form() {
        for (text, expected) in [
            ("127.0.0.1:2389", "127.0.0.1:2389"),
            ("http://127.0.0.1:2389", "127.0.0.1:2389"),
            ("http://n1.example.org:2389/", "n1.example.org:2389"),
            (" n1 ", "n1:2379"),
            ("[::1]:2389", "[::1]:2389"),
            ("[::1]", "[::1]:2379"),
            ("https://n1", "n1:2379"),
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.address), Ok(expected.into()), "{text}");
        }
    }

    #[test]
    fn other_things_are_refused_with_what_to_give() {
        for text in ["", ":2379", "n1:", "n1:0", "n1:65536", "n1:x", "::1", "::1:2379", "a b", "http://", "n1/path:80", "[::1]:"] {
            let error = text.parse::<Endpoint>().expect_err(text);
            assert!(error.contains("host:port"), "{text}: {error}");
        }
    }

    #[test]
    fn https_needs_to_know_whom_to_trust() {
        let endpoint: Endpoint = "https://n1".parse().expect("valid");
        assert_eq!(endpoint.tls().err(), Some(NobodyTrusted("n1:2379".into())));
        assert_eq!(endpoint.url(), "https://n1:2379");
        for plain in ["n1", "http://n1"] {
            let endpoint: Endpoint = plain.parse().expect("valid");
            assert!(endpoint.tls().expect("plain").is_none());
            assert_eq!(endpoint.url(), "http://n1:2379");
        }
    }

    #[test]
    fn a_peer_needs_its_port() {
        assert!(host_and_port("n1", None).expect_err("no port").contains("has no port"));
        assert_eq!(host_and_port("n1:1", None), Ok("n1:1".into()));
    }
}
