//! Where a cluster is reached: the `--endpoints` that every client command takes.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result as Outcome;
use clap::Args;
use tokio_rustls::rustls::ClientConfig;

use crate::access::{Access, TlsArgs};
use crate::usage::UsageError;

use crate::user::User;

/// The port of the etcd API, where none is given.
const DEFAULT_PORT: u16 = 2379;

/// Which cluster a command talks to.
#[derive(Args, Clone, Debug)]
pub(crate) struct Cluster {
    /// Client addresses of the cluster's nodes; one that is down is passed over
    #[arg(long, env = "STEADFAST_ENDPOINTS", value_name = "ADDR,…", value_delimiter = ',', default_value = "127.0.0.1:2379")]
    endpoints: Vec<Endpoint>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Who asks, where the cluster wants to know: name and password
    #[arg(long, env = "STEADFAST_USER", hide_env_values = true, value_name = "NAME:PASSWORD")]
    pub(crate) user: Option<User>,
}

impl Cluster {
    /// The endpoints, each with how it is spoken with.
    pub(crate) fn endpoints(&self) -> Outcome<Vec<Endpoint>> {
        self.like(&self.endpoints)
    }

    /// Other endpoints, to be spoken with in the same way.
    pub(crate) fn like(&self, endpoints: &[Endpoint]) -> Outcome<Vec<Endpoint>> {
        let access = self.tls.access()?;
        let endpoints: Vec<Endpoint> = endpoints.iter().map(|endpoint| endpoint.clone().by(access.clone())).collect();
        endpoints.iter().try_for_each(|endpoint| endpoint.tls().map(|_| ()))?;
        Ok(endpoints)
    }
}

/// Where a node is reached by clients, and how. Two are the same if the place is.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// `host:port`.
    address: String,
    /// Whether TLS is spoken there, if it was said.
    https: Option<bool>,
    access: Access,
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl Eq for Endpoint {}

impl Endpoint {
    /// The same place, spoken with in this way.
    fn by(self, access: Access) -> Self {
        Endpoint { access, ..self }
    }

    /// Another node of the same cluster, at this URL.
    pub(crate) fn sibling(&self, url: &str) -> Option<Self> {
        Some(url.parse::<Endpoint>().ok()?.by(self.access.clone()))
    }

    /// The configuration of TLS, if that is spoken there: where nothing else was said, if options of TLS are given.
    pub(crate) fn tls(&self) -> Outcome<Option<&Arc<ClientConfig>>> {
        match (self.https, self.access.tls()) {
            (Some(true), None) => {
                let remedy = "give the CA that signed the servers' certificates with --cacert, or --insecure-skip-tls-verify";
                Err(UsageError(format!("https://{self}: {remedy}")).into())
            }
            (Some(false), _) => Ok(None),
            (Some(true) | None, tls) => Ok(tls),
        }
    }

    /// As a URL.
    pub(crate) fn url(&self) -> String {
        let https = self.https.unwrap_or(self.access.tls().is_some());
        format!("{}://{}", if https { "https" } else { "http" }, self.address)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Endpoint { address: address.to_string(), https: None, access: Access::default() }
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
        Ok(Endpoint { address, https, access: Access::default() })
    }
}

/// Checks `host:port` and returns it; a missing port is filled in if there is a default.
pub(crate) fn host_and_port(text: &str, default_port: Option<u16>) -> Result<String, String> {
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
        let error = endpoint.tls().expect_err("nobody is trusted").to_string();
        assert!(error.starts_with("https://n1:2379: ") && error.contains("--cacert"), "{error}");
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
