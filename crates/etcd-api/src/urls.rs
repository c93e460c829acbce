//! The form of a peer URL: `http` or `https`, a host and a port, and nothing after them.

/// Whether `url` is one that a member can be reached at.
pub(crate) fn is_peer_url(url: &str) -> bool {
    let Some(authority) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else { return false };
    let Some((host, port)) = authority.rsplit_once(':') else { return false };
    is_host(host) && port.parse::<u16>().is_ok_and(|port| port != 0) && port.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_url_is_scheme_host_and_port() {
        for good in ["http://127.0.0.1:2380", "https://node-1.example.org:443", "http://[::1]:2380", "http://n1:1"] {
            assert!(is_peer_url(good), "{good}");
        }
        let bad = [
            "",
            "127.0.0.1:2380",
            "http://",
            "http://host",
            "http://host:",
            "http://:2380",
            "http://host:0",
            "http://host:+80",
            "http://host:70000",
            "http://host:2380/",
            "http://host:2380/path",
            "http://user@host:1",
            "http://::1:2380",
            "ftp://host:21",
            "http://a b:1",
        ];
        for url in bad {
            assert!(!is_peer_url(url), "{url}");
        }
    }
}
