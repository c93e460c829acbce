//! What protects each port of a node: made from its options once its directory is open, and followed while it runs.

use std::path::Path;

use tokio::sync::watch;

use crate::admin::Metrics;
use crate::errors::StartError;
use crate::options::ServerOptions;
use crate::peers::Link;
use crate::tls::{Gauges, Tls, TlsError, Trust, self_signed};

/// Where a node keeps the certificates that it makes for itself, in its data directory.
const OWN_CERTIFICATES: &str = "tls";

/// The TLS of all ports.
pub(crate) struct Ports {
    /// `None`: plain text.
    pub(crate) clients: Option<Tls>,
    /// `None`: plain text.
    pub(crate) admin: Option<Tls>,
    /// What runs between peers.
    pub(crate) link: Link,
    stop: watch::Sender<bool>,
}

impl Ports {
    /// Reads the certificates, makes those that the node makes for itself, and follows their changes until the value is dropped.
    pub(crate) fn secure(options: &ServerOptions, metrics: &Metrics) -> Result<Self, StartError> {
        let clients = clients(options, metrics).map_err(|reason| StartError::Tls { option: "cert-file", reason })?;
        let link = peers(options, metrics).map_err(|reason| StartError::Tls { option: "peer-cert-file", reason })?;
        let admin = if options.insecure_admin { None } else { clients.clone() };
        let (stop, stopping) = watch::channel(false);
        let of_peers = match &link {
            Link::Tls(tls) => Some(tls.clone()),
            Link::Plain => None,
        };
        for tls in clients.iter().cloned().chain(of_peers) {
            tokio::spawn(tls.follow(stopping.clone()));
        }
        Ok(Ports { clients, admin, link, stop })
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn clients(options: &ServerOptions, metrics: &Metrics) -> Result<Option<Tls>, TlsError> {
    let security = &options.client_security;
    let gauges = Gauges { expiry: metrics.client_certificate_expiry.clone(), stale: metrics.client_certificate_stale.clone() };
    let files = match security.files() {
        Some(files) => files,
        None if security.auto_tls => {
            let advertised = options.advertise_client.iter().filter_map(|url| url.split_once("://").map(|(_, address)| address));
            let mut files = self_signed(&own(options, "clients"), &hosts(advertised))?;
            files.trusted_ca.clone_from(&security.trusted_ca_file);
            files
        }
        None => {
            if !options.listen_client.ip().is_loopback() {
                tracing::warn!(
                    clients = %options.listen_client,
                    "clients are served in plain text, and whoever reaches the port may do everything: give --cert-file, --key-file and --trusted-ca-file"
                );
            }
            return Ok(None);
        }
    };
    Tls::shown(files, Trust::Clients, gauges).map(Some)
}

fn peers(options: &ServerOptions, metrics: &Metrics) -> Result<Link, TlsError> {
    let security = &options.peer_security;
    let gauges = Gauges { expiry: metrics.peer_certificate_expiry.clone(), stale: metrics.peer_certificate_stale.clone() };
    if let Some(files) = security.files() {
        let trust = Trust::Peers { allowed_cn: security.peer_cert_allowed_cn.clone() };
        return Tls::shown(files, trust, gauges).map(Link::Tls);
    }
    if security.peer_auto_tls {
        tracing::warn!("peers are encrypted but not authenticated: whoever reaches the peer port can be a peer. For trials only");
        let files = self_signed(&own(options, "peers"), &hosts([options.advertise_peer.as_str()].into_iter()))?;
        return Tls::shown(files, Trust::Anyone, gauges).map(Link::Tls);
    }
    if security.insecure_peers {
        tracing::warn!("peers are neither encrypted nor authenticated: whoever reaches the peer port can be a peer");
    }
    Ok(Link::Plain)
}

fn own(options: &ServerOptions, port: &str) -> std::path::PathBuf {
    Path::new(&options.data_dir).join(OWN_CERTIFICATES).join(port)
}

/// The hosts of these addresses, and this machine.
fn hosts<'a>(addresses: impl Iterator<Item = &'a str>) -> Vec<String> {
    let host = |address: &str| {
        let address = address.trim_end_matches('/');
        address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']).to_owned()
    };
    let mut hosts: Vec<String> = addresses.map(host).chain(["localhost".to_owned(), "127.0.0.1".to_owned()]).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}
