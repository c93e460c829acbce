//! The options of TLS, and which ports may go without it. Names are etcd's where etcd has the option.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use steadfast_membership::limits::NAME_BYTES;

use super::{OptionsError, ServerOptions, Start, wrong};
use crate::tls::TlsFiles;

/// TLS of the client port, and with it of the admin port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct ClientSecurity {
    /// The server certificate, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// The CAs of clients, PEM. As with etcd, clients must then show a certificate.
    pub trusted_ca_file: Option<PathBuf>,
    /// Clients must show a certificate. Needs [`ClientSecurity::trusted_ca_file`].
    pub client_cert_auth: bool,
    /// Use a certificate that the node makes for itself.
    pub auto_tls: bool,
}

/// TLS of the peer port and of what this node dials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct PeerSecurity {
    /// The certificate that this node shows its peers, as server and as client, PEM.
    pub peer_cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub peer_key_file: Option<PathBuf>,
    /// The CAs of peers, PEM.
    pub peer_trusted_ca_file: Option<PathBuf>,
    /// The common name that every peer's certificate must have.
    pub peer_cert_allowed_cn: Option<String>,
    /// Encrypt with certificates that nobody checks.
    pub peer_auto_tls: bool,
    /// Trust the network between members.
    pub insecure_peers: bool,
    /// The keys that gossip, which goes by datagrams, is sealed with.
    pub gossip_key_file: Option<PathBuf>,
}

impl ClientSecurity {
    /// Whether the client port speaks TLS.
    pub fn is_on(&self) -> bool {
        self.auto_tls || self.cert_file.is_some()
    }

    /// The files, if they are given.
    pub(crate) fn files(&self) -> Option<TlsFiles> {
        let (cert, key) = (self.cert_file.clone()?, self.key_file.clone()?);
        Some(TlsFiles { cert, key, trusted_ca: self.trusted_ca_file.clone() })
    }

    fn check(&self) -> Result<(), OptionsError> {
        check_pair(("cert-file", &self.cert_file), ("key-file", &self.key_file))?;
        if self.auto_tls && self.cert_file.is_some() {
            return Err(wrong("auto-tls", "a certificate is given by cert-file too", "leave one of them out"));
        }
        if self.client_cert_auth && self.trusted_ca_file.is_none() {
            return Err(wrong("client-cert-auth", "no CA of clients is given", "name the file with their CA by --trusted-ca-file"));
        }
        if self.trusted_ca_file.is_some() && !self.is_on() {
            return Err(wrong("trusted-ca-file", "the client port has no TLS", "give it --cert-file and --key-file, or --auto-tls"));
        }
        Ok(())
    }
}

impl PeerSecurity {
    /// The files, if they are given.
    pub(crate) fn files(&self) -> Option<TlsFiles> {
        let (cert, key) = (self.peer_cert_file.clone()?, self.peer_key_file.clone()?);
        Some(TlsFiles { cert, key, trusted_ca: self.peer_trusted_ca_file.clone() })
    }

    fn is_on(&self) -> bool {
        self.peer_auto_tls || self.peer_cert_file.is_some()
    }

    fn check(&self) -> Result<(), OptionsError> {
        check_pair(("peer-cert-file", &self.peer_cert_file), ("peer-key-file", &self.peer_key_file))?;
        if self.peer_cert_file.is_some() != self.peer_trusted_ca_file.is_some() {
            let problem = "peers authenticate each other, so it goes with peer-cert-file and peer-key-file, and they with it";
            return Err(wrong("peer-trusted-ca-file", problem, "give all three"));
        }
        if self.peer_cert_allowed_cn.is_some() && self.peer_cert_file.is_none() {
            return Err(wrong("peer-cert-allowed-cn", "peers show no certificates", "give --peer-cert-file and what goes with it"));
        }
        if self.peer_auto_tls && self.peer_cert_file.is_some() {
            return Err(wrong("peer-auto-tls", "a certificate is given by peer-cert-file too", "leave one of them out"));
        }
        if self.insecure_peers && self.is_on() {
            return Err(wrong("insecure-peers", "peers have TLS", "leave it out"));
        }
        Ok(())
    }
}

fn check_pair(cert: (&'static str, &Option<PathBuf>), key: (&'static str, &Option<PathBuf>)) -> Result<(), OptionsError> {
    match (cert, key) {
        ((given, Some(_)), (missing, None)) | ((missing, None), (given, Some(_))) => {
            Err(wrong(missing, format!("it is missing, and {given} is given"), "a certificate and its key go together"))
        }
        _ => Ok(()),
    }
}

impl ServerOptions {
    /// Checks the options of TLS, and that no port is open to a network without what protects it.
    pub(super) fn check_security(&self) -> Result<(), OptionsError> {
        self.client_security.check()?;
        self.peer_security.check()?;
        self.check_peers()?;
        self.check_admin()
    }

    /// Peers that are not all on this machine authenticate each other, or the operator has said that they need not.
    fn check_peers(&self) -> Result<(), OptionsError> {
        if self.peer_security.is_on() || self.peer_security.insecure_peers {
            return Ok(());
        }
        let listed: Vec<&str> = match &self.start {
            Start::InitialCluster { members, .. } => members.iter().map(|(_, address)| address.as_str()).collect(),
            Start::Join { peers } => peers.iter().map(String::as_str).collect(),
            Start::Resume => Vec::new(),
        };
        let listens = self.listen_peer.to_string();
        let all = listed.into_iter().chain([self.advertise_peer.as_str(), &listens]);
        match all.into_iter().find(|address| !is_loopback(address)) {
            None => Ok(()),
            Some(address) => Err(wrong(
                "peer-cert-file",
                format!("peers at {address} are beyond this machine, and whoever reaches a peer port without TLS can be a peer"),
                "give --peer-cert-file, --peer-key-file and --peer-trusted-ca-file (`steadfast certs` makes them for a trial), or \
                 --insecure-peers if nobody else reaches that network",
            )),
        }
    }

    /// Why this node takes no part in the membership's gossip, if it may not: datagrams have no TLS, and where members authenticate each other,
    /// strangers must not be able to say who lives. Where they do not, in clear text or on this machine alone, gossip is as open as all else.
    pub(crate) fn why_no_gossip(&self) -> Option<&'static str> {
        if self.name.len() > NAME_BYTES {
            return Some("this node's name is longer than 63 bytes");
        }
        let is_local = self.listen_peer.ip().is_loopback() && is_loopback(&self.advertise_peer);
        let is_open = self.peer_security.gossip_key_file.is_none() && self.peer_security.peer_cert_file.is_some() && !is_local;
        is_open.then_some("peers authenticate each other, and no key is given to seal datagrams with")
    }

    /// In plain text the admin port is for this machine alone.
    fn check_admin(&self) -> Result<(), OptionsError> {
        if self.insecure_admin || self.client_security.is_on() || self.listen_admin.ip().is_loopback() {
            return Ok(());
        }
        let problem = format!("{} is reached from beyond this machine, in plain text and by everyone", self.listen_admin);
        Err(wrong(
            "listen-admin",
            problem,
            "listen on 127.0.0.1, give the client port TLS, which the admin port shares, or give --insecure-admin",
        ))
    }
}

/// Whether `host:port` is of this machine alone. Names are not looked up; of them only `localhost` is.
fn is_loopback(address: &str) -> bool {
    if let Ok(socket) = address.parse::<SocketAddr>() {
        return socket.ip().is_loopback();
    }
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl Fn(&mut ServerOptions)) -> Option<(&'static str, String)> {
        let mut options = ServerOptions::local("n1", "data");
        change(&mut options);
        options.validate().err().map(|error| (error.option, error.to_string()))
    }

    fn file() -> Option<PathBuf> {
        Some("file.pem".into())
    }

    fn far(options: &mut ServerOptions) {
        options.start = Start::parse_initial_cluster("t", "n1=127.0.0.1:2380,n2=10.0.0.2:2380").unwrap();
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        type Spoil = fn(&mut ServerOptions);
        let cases: [(&str, Spoil); 11] = [
            ("key-file", |o| o.client_security.cert_file = file()),
            ("cert-file", |o| o.client_security.key_file = file()),
            ("client-cert-auth", |o| o.client_security = ClientSecurity { auto_tls: true, client_cert_auth: true, ..Default::default() }),
            ("trusted-ca-file", |o| o.client_security.trusted_ca_file = file()),
            ("auto-tls", |o| {
                o.client_security = ClientSecurity { auto_tls: true, cert_file: file(), key_file: file(), ..Default::default() };
            }),
            ("peer-key-file", |o| o.peer_security.peer_cert_file = file()),
            ("peer-trusted-ca-file", |o| {
                o.peer_security = PeerSecurity { peer_cert_file: file(), peer_key_file: file(), ..Default::default() };
            }),
            ("peer-trusted-ca-file", |o| o.peer_security.peer_trusted_ca_file = file()),
            ("peer-cert-allowed-cn", |o| o.peer_security.peer_cert_allowed_cn = Some("n".into())),
            ("insecure-peers", |o| o.peer_security = PeerSecurity { insecure_peers: true, peer_auto_tls: true, ..Default::default() }),
            ("advertise-client", |o| {
                o.client_security.auto_tls = true;
                o.advertise_client = vec!["http://127.0.0.1:2379".into()];
            }),
        ];
        for (number, (option, spoil)) in cases.into_iter().enumerate() {
            let refused = refusal(|options| {
                options.advertise_client = vec!["https://127.0.0.1:2379".into()];
                spoil(options);
            });
            assert_eq!(refused.as_ref().map(|(option, _)| *option), Some(option), "case {number}: {refused:?}");
        }
    }

    #[test]
    fn peers_beyond_this_machine_need_tls_or_a_word() {
        let (option, text) = refusal(far).expect("refused");
        assert_eq!(option, "peer-cert-file");
        for part in ["10.0.0.2:2380", "--insecure-peers", "--peer-trusted-ca-file", "steadfast certs"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        type Mend = fn(&mut PeerSecurity);
        let remedies: [Mend; 3] = [
            |peers| peers.insecure_peers = true,
            |peers| peers.peer_auto_tls = true,
            |peers| (peers.peer_cert_file, peers.peer_key_file, peers.peer_trusted_ca_file) = (file(), file(), file()),
        ];
        for remedy in remedies {
            let mended = |options: &mut ServerOptions| {
                far(options);
                remedy(&mut options.peer_security);
            };
            assert_eq!(refusal(mended), None);
        }
        let others: [fn(&mut ServerOptions); 3] = [
            |o| o.start = Start::parse_join("other:2380"),
            |o| o.listen_peer = "0.0.0.0:2380".parse().unwrap(),
            |o| (o.start, o.advertise_peer) = (Start::Resume, "10.0.0.1:2380".into()),
        ];
        for other in others {
            assert_eq!(refusal(other).map(|(option, _)| option), Some("peer-cert-file"));
        }
        for near in ["localhost:2381", "[::1]:2380", "127.8.0.1:2380"] {
            assert_eq!(refusal(|o| o.start = Start::parse_join(near)), None, "{near} is this machine");
        }
    }

    #[test]
    fn the_admin_port_is_for_this_machine_or_has_tls() {
        let open = |options: &mut ServerOptions| options.listen_admin = "0.0.0.0:7070".parse().unwrap();
        let (option, text) = refusal(open).expect("refused");
        assert!(option == "listen-admin" && text.contains("--insecure-admin"), "{text}");
        let secure = |options: &mut ServerOptions| {
            open(options);
            options.client_security.auto_tls = true;
            options.advertise_client = vec!["https://127.0.0.1:2379".into()];
        };
        assert_eq!(refusal(secure), None);
        let said = |options: &mut ServerOptions| {
            open(options);
            options.insecure_admin = true;
        };
        assert_eq!(refusal(said), None);
    }
}
