//! Every kind of check against real sockets and processes, those included that don't play by the rules.

use std::net::SocketAddr;

use steadfast_health::checks::definition::Definition;
use steadfast_health::limits::DETAIL_BYTES;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Server;
use tonic_health::ServingStatus;

use super::*;

/// What comes of one run, on a node that runs scripts.
async fn run(kind: Kind) -> Outcome {
    run_with(kind, Progress::default(), 60_000).await
}

async fn run_with(kind: Kind, progress: Progress, timeout_ms: u64) -> Outcome {
    let definition = Definition { interval_ms: 60_000, timeout_ms, ..Definition::new("orders-check", "orders", kind) };
    Probes::new(true).run(&definition.validate().unwrap(), progress).await
}

fn failed(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(words) => words,
        other => panic!("{other:?}"),
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server of one connection after the other, which are each given to `serve`.
async fn server<F: Future<Output = ()> + Send>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream).await;
        }
    });
    address
}

/// An HTTP server that reads a request's head, says this, and closes.
async fn http_server(says: &'static str) -> SocketAddr {
    server(move |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(says.as_bytes()).await;
    })
    .await
}

async fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|read| read > 0) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn http(url: impl std::fmt::Display) -> Kind {
    Kind::Http { url: url.to_string(), least_status: 200, most_status: 299 }
}

fn script(text: &str) -> Kind {
    Kind::Script { command: ["/bin/sh", "-c", text].map(str::to_owned).into() }
}

#[tokio::test]
async fn tcp_passes_if_somebody_accepts_and_says_why_if_not() {
    let (silent, address) = listener().await;
    assert_eq!(run(Kind::Tcp { address: address.to_string() }).await, Outcome::Passed);
    drop(silent);
    assert_eq!(failed(run(Kind::Tcp { address: address.to_string() }).await), "connection refused");
    // RFC 6761: no such name, ever.
    let words = failed(run(Kind::Tcp { address: "nowhere.invalid:80".into() }).await);
    assert!(words.starts_with("nowhere.invalid:80 can't be looked up: "), "{words}");
}

#[tokio::test]
async fn http_is_judged_by_its_status() {
    let good = http_server("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(run(http(format_args!("http://{good}/health?deep=1"))).await, Outcome::Passed);
    let bad = http_server("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 35\r\n\r\nno database at db1\npassword=hunter2\n").await;
    assert_eq!(failed(run(http(format_args!("http://{bad}/"))).await), "status 503: no database at db1 | password=[secret]");
    let chosen = Kind::Http { url: format!("http://{bad}"), least_status: 500, most_status: 599 };
    assert_eq!(run(chosen).await, Outcome::Passed);
}

#[tokio::test]
async fn http_asks_for_the_path_of_the_host() {
    let (listener, address) = listener().await;
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.0 200 fine\r\n\r\n").await.unwrap();
        head
    });
    assert_eq!(run(http(format_args!("http://localhost:{}/a/b?c=d#e", address.port()))).await, Outcome::Passed);
    let head = asked.await.unwrap().to_lowercase();
    let host = format!("host: localhost:{}\r\n", address.port());
    assert!(head.starts_with("get /a/b?c=d http/1.1\r\n") && head.contains(&host) && head.contains("user-agent: steadfast/"), "{head}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let moved = http_server("HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n").await;
    let words = failed(run(http(format_args!("http://{moved}/"))).await);
    assert_eq!(words, "status 302, to http://elsewhere/, which is not followed");
    let taken = Kind::Http { url: format!("http://{moved}/"), least_status: 200, most_status: 399 };
    assert_eq!(run(taken).await, Outcome::Passed);
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let endless = server(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x-more: and more of it, and more\r\n").await.is_ok() {}
    })
    .await;
    let words = failed(run(http(format_args!("http://{endless}/"))).await);
    assert!(words.contains("head") || words.contains("header"), "{words}");
}

#[tokio::test]
async fn a_body_without_end_costs_nothing_if_the_status_is_good_and_little_if_not() {
    let endless = |status: &'static str| {
        server(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        })
    };
    assert_eq!(run(http(format_args!("http://{}/", endless("200 OK").await))).await, Outcome::Passed);
    let words = failed(run(http(format_args!("http://{}/", endless("500 Oh").await))).await);
    assert!(words.starts_with("status 500: xxx") && words.len() <= DETAIL_BYTES, "{words}");
    let (silent, address) = listener().await;
    let kept = tokio::spawn(async move {
        let (mut stream, _) = silent.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 99\r\n\r\nbroken").await.unwrap();
        // Held open until the other side has gone.
        let _ = stream.read(&mut [0]).await;
    });
    let words = failed(run_with(http(format_args!("http://{address}/")), Progress::default(), 300).await);
    assert_eq!(words, "status 500: broken", "what came of the body before its time was over");
    kept.await.unwrap();
}

#[tokio::test]
async fn what_is_no_http_says_so() {
    let words = failed(run(http(format_args!("http://{}/", http_server("220 mail.example ESMTP\r\n").await))).await);
    assert!(!words.is_empty(), "{words}");
    let words = failed(run(http(format_args!("http://{}/", http_server("").await))).await);
    assert!(!words.is_empty(), "{words}");
}

#[tokio::test]
async fn https_takes_any_certificate() {
    let key = rcgen::generate_simple_self_signed(vec!["somebody.else".to_owned()]).unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], private).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let _ = stream.read(&mut head).await;
    });
    assert_eq!(run(http(format_args!("https://{address}/"))).await, Outcome::Passed);
    let plain = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let words = failed(run(http(format_args!("https://{plain}/"))).await);
    assert!(words.starts_with("TLS: "), "{words}");
}

#[tokio::test]
async fn grpc_asks_the_health_service() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("orders", ServingStatus::NotServing).await;
    let (listener, address) = listener().await;
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    let grpc = |service: &str| Kind::Grpc { address: address.to_string(), service: service.into() };
    assert_eq!(run(grpc("")).await, Outcome::Passed);
    assert_eq!(failed(run(grpc("orders")).await), "it says NOT_SERVING");
    reporter.set_service_status("orders", ServingStatus::Serving).await;
    assert_eq!(run(grpc("orders")).await, Outcome::Passed);
    reporter.set_service_status("orders", ServingStatus::Unknown).await;
    assert!(failed(run(grpc("orders")).await).starts_with("it says UNKNOWN"));
    let words = failed(run(grpc("ordres")).await);
    assert!(words.starts_with("it knows no service \"ordres\""), "{words}");
    let other = http_server("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let words = failed(run(Kind::Grpc { address: other.to_string(), service: String::new() }).await);
    assert!(!words.is_empty());
    let (closed, address) = self::listener().await;
    drop(closed);
    assert_eq!(failed(run(Kind::Grpc { address: address.to_string(), service: String::new() }).await), "connection refused");
}

#[tokio::test]
async fn scripts_are_judged_by_their_status_and_keep_their_last_lines() {
    assert_eq!(run(script("echo fine; exit 0")).await, Outcome::Passed);
    assert_eq!(run(script("echo disk 91 %; exit 1")).await, Outcome::Warned("exit status 1: disk 91 %".into()));
    assert_eq!(failed(run(script("echo one; echo two >&2; exit 2")).await), "exit status 2: one | two");
    assert_eq!(failed(run(script("echo token=abc; kill -9 $$")).await), "ended by signal 9: token=[secret]");
    let missing = Kind::Script { command: vec!["/nowhere/check".into()] };
    assert_eq!(failed(run(missing).await), "/nowhere/check can't be started: no such file or directory");
    let forbidden = Kind::Script { command: vec!["/etc/passwd".into()] };
    assert_eq!(failed(run(forbidden).await), "/etc/passwd can't be started: permission denied");
}

#[tokio::test]
async fn a_script_has_an_environment_of_its_own_and_no_input() {
    let words = failed(run(script("env | grep -v -e ^PATH= -e ^PWD= -e ^SHLVL= -e ^_= | sort; pwd; read line; echo $?; exit 3")).await);
    assert_eq!(words, "exit status 3: STEADFAST_CHECK=orders-check | STEADFAST_SERVICE=orders | / | 1");
}

#[tokio::test]
async fn a_script_that_says_much_is_kept_to_its_last_lines() {
    let words = failed(run(script("head -c 50000000 /dev/zero | tr '\\0' x; seq 100000; exit 2")).await);
    assert!(words.ends_with("99999 | 100000") && words.len() <= DETAIL_BYTES, "{words}");
}

#[tokio::test]
async fn without_the_flag_a_script_is_not_run_and_the_warning_names_it() {
    let check = Definition::new("a", "orders", script("touch /tmp/never")).validate().unwrap();
    let Outcome::Warned(words) = Probes::new(false).run(&check, Progress::default()).await else { panic!("it was run") };
    assert!(words.contains("--enable-script-checks"), "{words}");
}

/// Reads a number that a script wrote to its side of a FIFO.
async fn process_id(lines: &mut tokio::io::Lines<tokio::io::BufReader<TcpStream>>) -> u32 {
    lines.next_line().await.unwrap().unwrap().trim().parse().unwrap()
}

/// Waits until no process of this id is left but one that nobody has waited for.
async fn await_end(id: u32) {
    let is_alive = || std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while is_alive() {
        tokio::task::yield_now().await;
    }
}

/// A script that tells its own process's id and those of its children over a connection, as bash alone can.
fn telling(text: &str, address: SocketAddr) -> Kind {
    let opened = format!("exec 3<>/dev/tcp/{}/{}; {text}", address.ip(), address.port());
    Kind::Script { command: ["/bin/bash", "-c", &opened].map(str::to_owned).into() }
}

#[tokio::test]
async fn a_script_that_hangs_is_killed_with_its_children_whatever_they_ignore() {
    use tokio::io::AsyncBufReadExt as _;
    let (listener, address) = listener().await;
    let text = "trap '' TERM HUP INT; echo starting; (trap '' TERM HUP; echo $BASHPID >&3; while :; do sleep 1000; done) & echo $$ >&3; while :; do sleep 1000; done";
    let progress = Progress::default();
    let under_way = tokio::spawn(run_with(telling(text, address), progress.clone(), 60_000));
    let (stream, _) = listener.accept().await.unwrap();
    let mut lines = tokio::io::BufReader::new(stream).lines();
    let (one, other) = (process_id(&mut lines).await, process_id(&mut lines).await);
    assert_ne!(one, other);
    while progress.last_lines().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(progress.words(), "; it waited for its script, and had said: starting");
    under_way.abort();
    assert!(under_way.await.unwrap_err().is_cancelled());
    await_end(one).await;
    await_end(other).await;
    assert_eq!(lines.next_line().await.unwrap(), None, "nobody holds the connection: none of its children lives");
}

#[tokio::test]
async fn what_a_script_leaves_behind_is_killed_too() {
    use tokio::io::AsyncBufReadExt as _;
    let (listener, address) = listener().await;
    let text = "(trap '' TERM HUP; echo $BASHPID >&3; sleep 1000; sleep 1000) & read -t 60 -u 3 line; exit 0";
    let under_way = tokio::spawn(run(telling(text, address)));
    let (stream, _) = listener.accept().await.unwrap();
    let (read, mut write) = stream.into_split();
    let mut lines = tokio::io::BufReader::new(read).lines();
    let child: u32 = lines.next_line().await.unwrap().unwrap().parse().unwrap();
    write.write_all(b"end\n").await.unwrap();
    assert_eq!(under_way.await.unwrap(), Outcome::Passed);
    await_end(child).await;
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_run_that_waits_says_for_what() {
    let (silent, address) = listener().await;
    let progress = Progress::default();
    let run = tokio::spawn(run_with(http(format_args!("http://{address}/")), progress.clone(), 60_000));
    let (mut stream, _) = silent.accept().await.unwrap();
    read_head(&mut stream).await;
    assert_eq!(progress.words(), "; it waited for the head of an answer");
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
}
