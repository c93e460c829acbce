//! Transports over TLS: members hear each other, others are not heard.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use steadfast_server::admin::Metrics;
use steadfast_server::fault_table::Faults;
use steadfast_server::peers::{Link, LocalPeer, PeerEvent, PeerTransport, Reception, Topic};
use steadfast_server::tls::{Tls, TlsFiles, Trust, self_signed};
use steadfast_types::{ClusterId, Level, NodeId};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// No test here waits so long for anything that comes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Echo;

impl Reception for Echo {
    async fn answer(&self, _topic: Topic, question: Bytes) -> Bytes {
        question
    }
}

/// The files of a peer's certificate, in `directory`, by a CA that is made there if it is not.
struct Authority {
    directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { directory: tempfile::tempdir().unwrap(), issuer }
    }

    /// A member's link. It trusts this CA and those in `others`.
    fn link(&self, common_name: &str, others: &[&Authority], allowed_cn: Option<&str>) -> Link {
        let path = |name: &str| self.directory.path().join(format!("{common_name}{name}"));
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        let trusted: String = [self].iter().chain(others).map(|authority| authority.issuer.pem()).collect();
        let files = TlsFiles { cert: path(".crt"), key: path(".key"), trusted_ca: Some(path(".ca")) };
        fs::write(&files.cert, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        fs::write(path(".ca"), trusted).unwrap();
        Link::Tls(Tls::new(files, Trust::Peers { allowed_cn: allowed_cn.map(str::to_owned) }).unwrap())
    }
}

struct Node {
    id: NodeId,
    address: String,
    transport: PeerTransport,
    events: mpsc::Receiver<PeerEvent>,
    metrics: Metrics,
}

impl Node {
    async fn start(id: u64, link: Link) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, events) = mpsc::channel(1024);
        let metrics = Metrics::new();
        let local = LocalPeer { cluster: ClusterId(7), node: NodeId(id), incarnation: id, address: address.clone() };
        let transport = PeerTransport::start_over(listener, (local, link), sender, Echo, metrics.clone(), Faults::default());
        Node { id: NodeId(id), address, transport, events, metrics }
    }

    fn know(&self, other: &Node) {
        self.transport.set_peers(BTreeMap::from([(other.id, other.address.clone())]), [].into());
    }

    async fn event(&mut self) -> PeerEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("the transport runs")
    }

    /// Waits until it has refused this many connections.
    async fn refuses(&self, count: u64) {
        let refused = || {
            let text = self.metrics.render();
            let line = text.lines().find_map(|line| line.strip_prefix("steadfast_peer_connections_refused_total "));
            line.is_some_and(|value| value.parse::<u64>().unwrap() >= count)
        };
        let wait = async {
            while !refused() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("refused");
    }
}

/// Frames of every size go through, in order, and signs of life keep an idle connection.
async fn they_hear_each_other(links: [Link; 2]) {
    let [one, two] = links;
    let (mut one, mut two) = (Node::start(1, one).await, Node::start(2, two).await);
    one.know(&two);
    two.know(&one);
    assert_eq!(one.event().await, PeerEvent::Connected(two.id, 2, Level::NEWEST));
    assert_eq!(two.event().await, PeerEvent::Connected(one.id, 1, Level::NEWEST));
    // What is sent before the sender knows of the connection may be dropped: the first that arrives shows that it does.
    one.transport.send(two.id, Bytes::from_static(b"first"));
    assert_eq!(two.event().await, PeerEvent::Frame(one.id, Bytes::from_static(b"first")));
    let sizes = [1, 100, 16 * 1024 - 1, 16 * 1024, 70_000, 1024 * 1024, 5_000_000, 3];
    let frames = sizes.map(|size| Bytes::from((0..size).map(|at| (at * 7 + size) as u8).collect::<Vec<u8>>()));
    frames.iter().for_each(|frame| one.transport.send(two.id, frame.clone()));
    for frame in frames {
        assert_eq!(two.event().await, PeerEvent::Frame(one.id, frame));
    }
    // Longer than silence is borne.
    let idle = timeout(Duration::from_secs(4), two.events.recv()).await;
    assert!(idle.is_err(), "{idle:?}");
    one.transport.shutdown().await;
    assert_eq!(two.event().await, PeerEvent::Disconnected(one.id));
}

#[tokio::test]
async fn members_with_certificates_of_one_ca_hear_each_other() {
    let ca = Authority::new();
    they_hear_each_other([ca.link("one", &[], None), ca.link("two", &[], None)]).await;
}

#[tokio::test]
async fn members_with_certificates_that_nobody_checks_hear_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let link = |path: &Path| Link::Tls(Tls::new(self_signed(path, &["localhost".to_owned()]).unwrap(), Trust::Anyone).unwrap());
    they_hear_each_other([link(&directory.path().join("one")), link(&directory.path().join("two"))]).await;
}

/// `stranger` dials a node of the cluster, which knows it as a member: it is refused, and nothing that it says is heard.
async fn it_is_not_heard(member: Link, stranger: Link) {
    let (mut member, mut stranger) = (Node::start(1, member).await, Node::start(2, stranger).await);
    stranger.know(&member);
    stranger.transport.send(member.id, Bytes::from_static(b"forged"));
    member.refuses(2).await;
    assert!(member.events.try_recv().is_err(), "nothing of a stranger is heard");
    assert!(stranger.events.try_recv().is_err(), "nor is it dialled back");
}

#[tokio::test]
async fn a_node_with_a_certificate_of_another_ca_is_not_heard() {
    let (ca, other) = (Authority::new(), Authority::new());
    it_is_not_heard(ca.link("one", &[], None), other.link("two", &[], None)).await;
    // It trusts both and so finds nothing wrong with the member, which must refuse it all the same.
    it_is_not_heard(ca.link("one", &[], None), other.link("two", &[&ca], None)).await;
}

#[tokio::test]
async fn a_node_with_another_common_name_is_not_heard() {
    let ca = Authority::new();
    it_is_not_heard(ca.link("member", &[], Some("member")), ca.link("client", &[], None)).await;
}

#[tokio::test]
async fn plain_text_and_tls_do_not_mix() {
    let ca = Authority::new();
    it_is_not_heard(ca.link("one", &[], None), Link::Plain).await;
    it_is_not_heard(Link::Plain, ca.link("one", &[], None)).await;
}
