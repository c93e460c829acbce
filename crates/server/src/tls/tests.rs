//! Handshakes over real sockets, with certificates of every kind; and files that change.

use std::fs;
use std::io;
use std::path::PathBuf;

use metrics::Gauge;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::reload::Follower;
use super::*;

/// A CA, whose files lie in a scratch directory.
struct Authority {
    directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        let directory = tempfile::tempdir().unwrap();
        params.distinguished_name.push(DnType::CommonName, directory.path().to_str().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(directory.path().join("ca"), issuer.pem()).unwrap();
        Authority { directory, issuer }
    }

    fn ca(&self) -> PathBuf {
        self.directory.path().join("ca")
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Files named `name`, for 127.0.0.1 or as `change` says.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> TlsFiles {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let files = TlsFiles { cert: self.path(name), key: self.path(&format!("{name}.key")), trusted_ca: None };
        fs::write(&files.cert, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn good(&self, name: &str) -> TlsFiles {
        self.issue(name, |_| {})
    }

    fn peer(&self, name: &str) -> Tls {
        Tls::new(TlsFiles { trusted_ca: Some(self.ca()), ..self.good(name) }, Trust::Peers { allowed_cn: None }).unwrap()
    }

    fn client(&self, own: Option<&TlsFiles>) -> Arc<ClientConfig> {
        dialling(DialTrust::Ca(&self.ca()), own.map(|files| (files.cert.as_path(), files.key.as_path()))).unwrap()
    }
}

fn clients(files: TlsFiles, trusted_ca: Option<PathBuf>) -> Tls {
    Tls::new(TlsFiles { trusted_ca, ..files }, Trust::Clients).unwrap()
}

/// What the server says of a connection: the client's name and what was agreed to be spoken, or why it was refused.
type Served = Result<(Option<String>, Option<Vec<u8>>), String>;

/// A word and its answer. Both sides must agree whether that works.
async fn meet(server: &Tls, client: Arc<ClientConfig>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dialled = async {
        let mut stream = dial(client, &address, TcpStream::connect(&address).await?).await?;
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(())
    };
    let served = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = accept(server, socket).await.map_err(|error| error.to_string())?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.map_err(|error| error.to_string())?;
        stream.write_all(b"pong").await.unwrap();
        stream.flush().await.unwrap();
        let connection = stream.get_ref().1;
        let name = connection.peer_certificates().and_then(|chain| common_name(&chain[0]));
        Ok((name, connection.alpn_protocol().map(<[u8]>::to_vec)))
    };
    let (served, dialled): (Served, _) = tokio::join!(served, dialled);
    assert_eq!(served.is_ok(), dialled.is_ok(), "{served:?}, {dialled:?}");
    served
}

fn assert_refused(served: Served, reason: &str) {
    let error = served.expect_err("must be refused");
    assert!(error.contains(reason), "{error}");
}

#[tokio::test]
async fn a_server_must_be_whom_the_client_dialled() {
    let (ca, other) = (Authority::new(), Authority::new());
    let server = clients(ca.good("server"), None);
    assert_eq!(meet(&server, ca.client(None)).await, Ok((None, Some(b"h2".to_vec()))));
    assert_refused(meet(&server, other.client(None)).await, "UnknownCA");
    let expired = clients(ca.issue("expired", |params| params.not_after = date_time_ymd(2020, 1, 1)), None);
    assert_refused(meet(&expired, ca.client(None)).await, "CertificateExpired");
    let elsewhere = clients(ca.issue("elsewhere", |params| params.subject_alt_names.clear()), None);
    assert_refused(meet(&elsewhere, ca.client(None)).await, "BadCertificate");
    for server in [expired, elsewhere, server] {
        meet(&server, dialling(DialTrust::Anyone, None).unwrap()).await.expect("who trusts anyone takes any certificate");
    }
}

#[tokio::test]
async fn with_a_ca_of_clients_only_theirs_are_served_by_their_names() {
    let (ca, other) = (Authority::new(), Authority::new());
    let server = clients(ca.good("server"), Some(ca.ca()));
    let alice = ca.good("alice");
    assert_eq!(meet(&server, ca.client(Some(&alice))).await.unwrap().0, Some("alice".to_owned()));
    assert_refused(meet(&server, ca.client(None)).await, "no certificates");
    let (mallory, expired) = (other.good("alice"), ca.issue("late", |params| params.not_after = date_time_ymd(2020, 1, 1)));
    assert_refused(meet(&server, ca.client(Some(&mallory))).await, "UnknownIssuer");
    assert_refused(meet(&server, ca.client(Some(&expired))).await, "certificate expired");
}

#[tokio::test]
async fn peers_authenticate_each_other() {
    let (ca, other) = (Authority::new(), Authority::new());
    let (one, two, stranger) = (ca.peer("one"), ca.peer("two"), other.peer("three"));
    assert_eq!(meet(&one, two.dialling()).await.unwrap().0, Some("two".to_owned()));
    assert_refused(meet(&one, stranger.dialling()).await, "UnknownCA");
    // It trusts both CAs, and so dials; it is not trusted.
    let both = fs::read_to_string(ca.ca()).unwrap() + &fs::read_to_string(other.ca()).unwrap();
    fs::write(other.ca(), both).unwrap();
    assert_refused(meet(&one, other.peer("four").dialling()).await, "UnknownIssuer");
    assert_refused(meet(&one, dialling(DialTrust::Anyone, None).unwrap()).await, "no certificates");
    let moved = TlsFiles { trusted_ca: Some(ca.ca()), ..ca.issue("five", |params| params.subject_alt_names.clear()) };
    let moved = Tls::new(moved, Trust::Peers { allowed_cn: None }).unwrap();
    assert_refused(meet(&moved, one.dialling()).await, "BadCertificate");
    meet(&one, moved.dialling()).await.expect("as a client it is known by its CA alone");
}

#[tokio::test]
async fn certificates_that_nobody_checks_encrypt() {
    let directory = tempfile::tempdir().unwrap();
    let own = |name: &str| Tls::new(self_signed(&directory.path().join(name), &["localhost".to_owned()]).unwrap(), Trust::Anyone).unwrap();
    meet(&own("one"), own("two").dialling()).await.expect("anyone is trusted");
    let cert = directory.path().join("one").join("cert.pem");
    let first = fs::read(&cert).unwrap();
    own("one");
    assert_eq!(fs::read(&cert).unwrap(), first, "it is made once");
}

#[tokio::test]
async fn plain_text_and_silence_are_told_apart() {
    let ca = Authority::new();
    let server = clients(ca.good("server"), None);
    for (words, expected) in
        [(&b"GET /health HTTP/1.1\r\n\r\n"[..], "plain text"), (b"PRI * HTTP/2.0\r\n", "plain text"), (b"", "before a word")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        socket.write_all(words).await.unwrap();
        socket.shutdown().await.unwrap();
        let error = accept(&server, listener.accept().await.unwrap().0).await.expect_err("no TLS");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// A gauge, and what it shows.
fn gauge() -> (Gauge, Arc<std::sync::atomic::AtomicU64>) {
    let value = Arc::<std::sync::atomic::AtomicU64>::default();
    (Gauge::from_arc(value.clone()), value)
}

fn shown(value: &std::sync::atomic::AtomicU64) -> f64 {
    f64::from_bits(value.load(std::sync::atomic::Ordering::Relaxed))
}

#[tokio::test]
async fn changed_files_are_used_and_broken_ones_are_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let ((expiry, expires), (stale, is_stale)) = (gauge(), gauge());
    let files = TlsFiles { trusted_ca: Some(old.ca()), ..old.issue("server", |params| params.not_after = date_time_ymd(2090, 1, 1)) };
    let server = Tls::shown(files.clone(), Trust::Clients, Gauges { expiry, stale }).unwrap();
    let (before, after) = (old.client(Some(&old.good("client"))), new.client(Some(&new.good("client"))));
    let mut follower = Follower::new(server.clone());
    follower.look();
    assert_eq!(shown(&expires), 3_786_912_000.0);

    let renewed = new.issue("renewed", |params| params.not_after = date_time_ymd(2091, 1, 1));
    fs::copy(&renewed.cert, &files.cert).unwrap();
    follower.look();
    assert_eq!(shown(&is_stale), 0.0, "the key may be on its way");
    follower.look();
    assert_eq!(shown(&is_stale), 1.0, "a certificate without its key is noticed");
    meet(&server, before.clone()).await.expect("the old certificate is in use");
    fs::write(&files.key, "not a key").unwrap();
    (0..3).for_each(|_| follower.look());
    fs::remove_file(&files.cert).unwrap();
    follower.look();
    assert_eq!(shown(&is_stale), 1.0);
    meet(&server, before.clone()).await.expect("the old certificate is in use");

    fs::copy(&renewed.cert, &files.cert).unwrap();
    fs::copy(&renewed.key, &files.key).unwrap();
    fs::copy(new.ca(), old.ca()).unwrap();
    follower.look();
    follower.look();
    assert_eq!((shown(&is_stale), shown(&expires)), (0.0, 3_818_448_000.0));
    meet(&server, after).await.expect("the new certificate and the new CA are in use");
    // It was served a moment ago and could resume that session, had the change not made that void.
    assert_refused(meet(&server, before).await, "UnknownCA");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let ca = Authority::new();
    let good = ca.good("server");
    let other = ca.good("other");
    fs::write(ca.path("text"), "some text").unwrap();
    let refusal = |files: TlsFiles| Tls::new(files, Trust::Clients).expect_err("can't be used").to_string();
    let cases = [
        (TlsFiles { cert: ca.path("nothing"), ..good.clone() }, "nothing", "cannot read"),
        (TlsFiles { cert: ca.path("text"), ..good.clone() }, "text", "no certificate in PEM"),
        (TlsFiles { key: ca.path("text"), ..good.clone() }, "text", "no private key"),
        (TlsFiles { key: other.key, ..good.clone() }, "server", "can't be used"),
        (TlsFiles { trusted_ca: Some(ca.path("text")), ..good.clone() }, "text", "no certificate in PEM"),
    ];
    for (files, name, problem) in cases {
        let text = refusal(files);
        assert!(text.contains(ca.path(name).to_str().unwrap()) && text.contains(problem), "{text}");
    }
    fs::write(ca.path("large"), vec![b'x'; 2 * 1024 * 1024]).unwrap();
    assert!(refusal(TlsFiles { cert: ca.path("large"), ..good }).contains("larger than"));
}
