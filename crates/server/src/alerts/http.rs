//! One POST over a connection of its own, in plain text or TLS: all that delivering alerts takes of HTTP.
//!
//! Redirects are not followed: a POST that is sent on may arrive as something else, and where to is for the operator to decide.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use steadfast_health::limits::cut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::diagnosis::origin;
use crate::options::SecretUrl;
use crate::tls::{self, dialling_the_world};

/// How long one POST may take, from the dial to the status.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// What is told of the other side's words about an error, bytes.
const WORDS_BYTES: usize = 300;

/// Why a delivery came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// In words, without secrets.
    pub(super) reason: String,
    /// Trying again would be refused again.
    pub(super) is_final: bool,
}

impl Failure {
    pub(super) fn passing(reason: impl ToString) -> Self {
        Failure { reason: reason.to_string(), is_final: false }
    }

    fn lasting(reason: impl ToString) -> Self {
        Failure { reason: reason.to_string(), is_final: true }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::passing(error)
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Failure::passing(error)
    }
}

/// Where to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// May be shown.
    pub(super) origin: String,
    /// `host:port`.
    address: String,
    /// As the Host header has it.
    host: String,
    path: String,
    /// Name and password of the URL, as its header has them.
    authorization: Option<String>,
    /// `None`: plain text. An error: what keeps this machine from trusting anybody.
    tls: Option<Result<Arc<ClientConfig>, String>>,
}

/// Whom the machine trusts, read once.
static WORLD: LazyLock<Result<Arc<ClientConfig>, String>> = LazyLock::new(dialling_the_world);

impl Target {
    /// The URL, with `path` after its own path. `None`: it is none; the options have been checked for that.
    pub(super) fn new(url: &SecretUrl, path: &str) -> Option<Self> {
        let uri: Uri = url.text().parse().ok()?;
        let is_secure = uri.scheme_str()? == "https";
        let (host, port) = (uri.host()?, uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 }));
        let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
        let base = if path.is_empty() { uri.path() } else { uri.path().trim_end_matches('/') };
        let userinfo = uri.authority()?.as_str().rsplit_once('@').map(|(userinfo, _)| userinfo);
        Some(Target {
            origin: origin(url.text()),
            address: format!("{host}:{port}"),
            host: uri.port().map_or(host.to_owned(), |port| format!("{host}:{port}")),
            path: format!("{base}{path}{query}"),
            authorization: userinfo.map(|userinfo| format!("Basic {}", STANDARD.encode(decoded(userinfo)))),
            tls: is_secure.then(|| WORLD.clone()),
        })
    }

    #[cfg(test)]
    pub(super) fn trusting(self, config: Arc<ClientConfig>) -> Self {
        Target { tls: Some(Ok(config)), ..self }
    }

    /// Sends `body`, JSON.
    pub(super) async fn post(&self, body: Bytes) -> Result<(), Failure> {
        self.post_within(body, LIMIT).await
    }

    async fn post_within(&self, body: Bytes, limit: Duration) -> Result<(), Failure> {
        let slow = |_| Err(Failure::passing(format!("no answer within {} s", limit.as_secs_f32())));
        tokio::time::timeout(limit, self.exchange(body)).await.unwrap_or_else(slow)
    }

    async fn exchange(&self, body: Bytes) -> Result<(), Failure> {
        let socket = TcpStream::connect(&self.address).await.map_err(|error| Failure::passing(format!("cannot connect: {error}")))?;
        match &self.tls {
            None => self.send(socket, body).await,
            Some(Ok(config)) => {
                let refused = |error| Failure::passing(format!("the TLS handshake failed: {error}"));
                self.send(tls::dial(config.clone(), &self.address, socket).await.map_err(refused)?, body).await
            }
            Some(Err(reason)) => Err(Failure::passing(reason)),
        }
    }

    async fn send(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, body: Bytes) -> Result<(), Failure> {
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with this call.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        judge(sender.send_request(self.request(body)?).await?).await
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let request = Request::post(&self.path).header(HOST, &self.host).header(CONTENT_TYPE, "application/json");
        let request = request.header(USER_AGENT, concat!("steadfast/", env!("CARGO_PKG_VERSION")));
        let request = match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        request.body(Full::new(body)).map_err(Failure::lasting)
    }
}

/// What the status says: taken, refused for now, refused for good.
async fn judge(response: Response<Incoming>) -> Result<(), Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()).map_or(String::new(), origin);
        return Err(Failure::lasting(format!("{status}: it redirects to {location}, which is not followed: give the final URL")));
    }
    let words = response.into_body().frame().await.and_then(Result::ok).and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    let words = String::from_utf8_lossy(&words[..words.len().min(WORDS_BYTES)]).into_owned();
    let reason = steadfast_health::redact::redact(&format!("{status} {}", cut(words.trim(), WORDS_BYTES)));
    // As Alertmanager itself does with its webhooks; and a time-out is of the moment.
    let is_passing = status.is_server_error() || [408, 429].contains(&status.as_u16());
    Err(if is_passing { Failure::passing(reason.trim_end()) } else { Failure::lasting(reason.trim_end()) })
}

/// Name and password as they are, of a URL's.
fn decoded(userinfo: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(userinfo.len());
    let mut rest = userinfo.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match code.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::path::Path;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    /// What the server does with one request.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::alerts) enum Manner {
        /// Answers with this head.
        Says(&'static str),
        /// Closes without a word.
        HangsUp,
        /// Never answers.
        Hangs,
    }

    pub(in crate::alerts) const OK: Manner = Manner::Says("200 OK\r\n");

    /// A real server on loopback that treats one connection after the other in these manners, the last one for ever; what it was sent.
    pub(in crate::alerts) async fn server(manners: &'static [Manner]) -> (String, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (heard, hearing) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut open = Vec::new();
            for at in 0.. {
                let (mut socket, _) = listener.accept().await.unwrap();
                heard.send(request(&mut socket).await).ok();
                match manners[at.min(manners.len() - 1)] {
                    Manner::Says(head) => {
                        let answer = format!("HTTP/1.1 {head}Content-Length: 14\r\n\r\npassword=XYZZY");
                        socket.write_all(answer.as_bytes()).await.unwrap();
                    }
                    Manner::HangsUp => {}
                    Manner::Hangs => open.push(socket),
                }
            }
        });
        (address, hearing)
    }

    /// A whole request.
    async fn request(socket: &mut (impl AsyncRead + Unpin)) -> String {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        loop {
            let read = socket.read(&mut buffer).await.unwrap();
            text += std::str::from_utf8(&buffer[..read]).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                assert!(read > 0, "{text}");
                continue;
            };
            let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap() || read == 0 {
                return text;
            }
        }
    }

    pub(in crate::alerts) fn target(url: &str, path: &str) -> Target {
        Target::new(&SecretUrl::from(url.to_owned()), path).unwrap()
    }

    #[tokio::test]
    async fn a_post_is_taken_with_name_and_password() {
        let (address, mut heard) = server(&[OK]).await;
        let target = target(&format!("http://al%20ice:s%3At@{address}/hook?a=b"), "");
        target.post("{}".into()).await.unwrap();
        let request = heard.recv().await.unwrap();
        assert!(request.starts_with("POST /hook?a=b HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{}"), "{request}");
        assert!(request.contains(&format!("authorization: Basic {}", STANDARD.encode("al ice:s:t"))), "{request}");
        assert!(request.contains(&format!("host: {address}")), "{request}");
        assert_eq!(target.origin, format!("http://{address}"));
        assert_eq!(super::tests::target("http://h/am/", "/api/v2/alerts").path, "/am/api/v2/alerts");
    }

    #[tokio::test]
    async fn each_answer_says_whether_to_try_again() {
        let cases: [(Manner, bool, &str); 6] = [
            (Manner::Says("500 Internal Server Error\r\n"), false, "500"),
            (Manner::Says("429 Too Many Requests\r\n"), false, "429"),
            (Manner::Says("400 Bad Request\r\n"), true, "400"),
            (Manner::Says("307 Temporary Redirect\r\nLocation: http://u:XYZZY@other/XYZZY\r\n"), true, "redirects to http://other"),
            (Manner::HangsUp, false, ""),
            (Manner::Says("nonsense\r\n"), false, ""),
        ];
        for (manner, is_final, words) in cases {
            let (address, _heard) = server(Box::leak(Box::new([manner]))).await;
            let failure = target(&format!("http://{address}/XYZZY"), "").post("{}".into()).await.unwrap_err();
            assert_eq!(failure.is_final, is_final, "{manner:?}: {failure:?}");
            assert!(failure.reason.contains(words) && !failure.reason.contains("XYZZY"), "{manner:?}: {failure:?}");
        }
        let nobody = target("http://127.0.0.1:1/", "").post("{}".into()).await.unwrap_err();
        assert!(!nobody.is_final && nobody.reason.contains("cannot connect"), "{nobody:?}");
    }

    #[tokio::test]
    async fn who_hangs_is_given_up() {
        let (address, _heard) = server(&[Manner::Hangs]).await;
        let failure = target(&format!("http://{address}"), "").post_within("{}".into(), Duration::from_millis(100)).await.unwrap_err();
        assert!(!failure.is_final && failure.reason == "no answer within 0.1 s", "{failure:?}");
    }

    #[tokio::test]
    async fn over_tls_only_who_is_trusted_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(accepting(&cert, &key));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                request(&mut stream).await;
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        let url = format!("https://localhost:{port}/");
        let config = tls::dialling(tls::DialTrust::Ca(&cert), None).unwrap();
        let mut config = (*config).clone();
        config.alpn_protocols.clear();
        target(&url, "").trusting(Arc::new(config)).post("{}".into()).await.unwrap();
        let failure = target(&url, "").post("{}".into()).await.unwrap_err();
        assert!(!failure.reason.is_empty() && !failure.is_final, "{failure:?}");
    }

    fn accepting(cert: &Path, key: &Path) -> Arc<rustls::ServerConfig> {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap())
    }
}
