//! Where a cluster is reached: the `--endpoints` that every client command takes.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;

/// The port of the etcd API, where none is given.
const DEFAULT_PORT: u16 = 2379;

/// Which cluster a command talks to.
#[derive(Args, Clone, Debug)]
pub(crate) struct Cluster {
    /// Client addresses of the cluster's nodes; one that is down is passed over
    #[arg(long, env = "STEADFAST_ENDPOINTS", value_name = "ADDR,…", value_delimiter = ',', default_value = "127.0.0.1:2379")]
    pub(crate) endpoints: Vec<Endpoint>,
}

/// A client address, `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(String);

impl Endpoint {
    /// As a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Endpoint(address.to_string())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err("TLS is not supported yet: give the address of a plain port".into());
        }
        let address = text.trim().strip_prefix("http://").unwrap_or(text.trim());
        host_and_port(address.trim_end_matches('/'), Some(DEFAULT_PORT)).map(Endpoint)
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
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.0), Ok(expected.into()), "{text}");
        }
    }

    #[test]
    fn other_things_are_refused_with_what_to_give() {
        for text in ["", ":2379", "n1:", "n1:0", "n1:65536", "n1:x", "::1", "::1:2379", "a b", "http://", "n1/path:80", "[::1]:"] {
            let error = text.parse::<Endpoint>().expect_err(text);
            assert!(error.contains("host:port"), "{text}: {error}");
        }
        assert!("https://n1:2379".parse::<Endpoint>().expect_err("TLS").contains("TLS"));
    }

    #[test]
    fn a_peer_needs_its_port() {
        assert!(host_and_port("n1", None).expect_err("no port").contains("has no port"));
        assert_eq!(host_and_port("n1:1", None), Ok("n1:1".into()));
    }
}
