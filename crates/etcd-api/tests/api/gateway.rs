//! The JSON gateway and the probes, over raw HTTP/1.1.

use std::net::SocketAddr;

use steadfast_etcd_api::backend::Refusal;
use steadfast_state::command::CommandError;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::fake::{self, Fake};

async fn start() -> (Fake, SocketAddr) {
    let fake = Fake::start();
    let address = fake::serve(fake.clone()).await;
    (fake, address)
}

/// Status and body of an answer to a request with these header lines.
async fn ask(address: SocketAddr, request: &str, headers: &str, body: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let text = format!("{request} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, if head.contains("chunked") { unchunked(body) } else { body.to_owned() })
}

fn unchunked(body: &str) -> String {
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole += &after[..size];
        rest = after[size..].strip_prefix("\r\n").unwrap_or_default();
    }
    whole
}

async fn post(address: SocketAddr, path: &str, body: &str) -> (u16, String) {
    ask(address, &format!("POST {path}"), "", body).await
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, &format!("GET {path}"), "", "").await
}

fn error(code: i32, text: &str) -> String {
    format!("{{\"error\":\"{text}\",\"code\":{code},\"message\":\"{text}\"}}")
}

#[tokio::test]
async fn calls_go_in_and_out_as_json() {
    let (_, address) = start().await;
    let header = |revision: i64| {
        format!(
            "{{\"cluster_id\":\"{}\",\"member_id\":\"{}\",\"revision\":\"{revision}\",\"raft_term\":\"{}\"}}",
            fake::CLUSTER.0,
            fake::MEMBER.0,
            fake::TERM.0
        )
    };
    let (status, body) = post(address, "/v3/kv/put", "{\"key\":\"YQ==\",\"value\":\"MQ==\"}").await;
    assert_eq!((status, body), (200, format!("{{\"header\":{}}}", header(2))));
    let (status, body) = post(address, "/v3beta/kv/range", "{\"key\":\"YQ==\"}").await;
    let kv = "{\"key\":\"YQ==\",\"create_revision\":\"2\",\"mod_revision\":\"2\",\"version\":\"1\",\"value\":\"MQ==\"}";
    assert_eq!((status, body), (200, format!("{{\"header\":{},\"kvs\":[{kv}],\"count\":\"1\"}}", header(2))));
    let (status, body) = post(address, "/v3/lease/keepalive", "{\"ID\":\"7\"} {\"ID\":8}").await;
    let line = |id| format!("{{\"result\":{{\"header\":{},\"ID\":\"{id}\"}}}}\n", header(2));
    assert_eq!((status, body), (200, line(7) + &line(8)));
}

#[tokio::test]
async fn errors_have_their_http_status_and_their_words() {
    let (fake, address) = start().await;
    assert_eq!(post(address, "/v3/kv/put", "").await, (400, error(3, "etcdserver: key is not provided")));
    assert_eq!(post(address, "/v3/lease/revoke", "{\"ID\":5}").await, (404, error(5, "etcdserver: requested lease not found")));
    assert_eq!(post(address, "/v3/kv/put", "{").await, (400, error(3, "the body ends before its JSON does")));
    assert_eq!(get(address, "/v3/kv/put").await, (405, "Method Not Allowed\n".to_owned()));
    assert_eq!(post(address, "/v3/kv/nothing", "{}").await, (404, "Not Found\n".to_owned()));

    fake.state().refusal = Some(Refusal::NoLeader);
    let put = "{\"key\":\"YQ==\"}";
    assert_eq!(post(address, "/v3/kv/put", put).await, (503, error(14, "etcdserver: no leader")));
    // A stream that fails at once has the status; its error is a line.
    let line =
        "{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":\"etcdserver: no leader\",\"http_status\":\"Service Unavailable\"}}";
    assert_eq!(post(address, "/v3/lease/keepalive", "{\"ID\":1}").await, (503, line.to_owned()));
}

#[tokio::test]
async fn metadata_and_timeouts_come_as_headers() {
    let (fake, address) = start().await;
    let range = "{\"key\":\"YQ==\",\"serializable\":true}";
    assert_eq!(ask(address, "POST /v3/kv/range", "grpc-timeout: 1x\r\n", range).await, (400, error(3, "invalid grpc-timeout: 1x")));
    fake.set_leader(None);
    assert_eq!(ask(address, "POST /v3/kv/range", "", range).await.0, 200);
    let wants_leader = "Grpc-Metadata-Hasleader: true\r\n";
    assert_eq!(ask(address, "POST /v3/kv/range", wants_leader, range).await, (503, error(14, "etcdserver: no leader")));
}

#[tokio::test]
async fn a_stream_that_outlasts_its_timeout_ends_with_an_error() {
    let (_, address) = start().await;
    let (status, body) = ask(address, "POST /v3/watch", "grpc-timeout: 200m\r\n", "{\"create_request\":{\"key\":\"YQ==\"}}").await;
    let lines: Vec<&str> = body.lines().collect();
    assert_eq!(status, 200);
    assert!(lines[0].ends_with("\"created\":true}}"), "{body}");
    let last =
        "{\"error\":{\"grpc_code\":4,\"http_code\":504,\"message\":\"context deadline exceeded\",\"http_status\":\"Gateway Timeout\"}}";
    assert_eq!(lines[1..], [last]);
}

#[tokio::test]
async fn a_watch_takes_commands_while_it_answers() {
    let (_, address) = start().await;
    let mut socket = BufReader::new(TcpStream::connect(address).await.unwrap());
    let send = async |socket: &mut BufReader<TcpStream>, body: &str| {
        socket.write_all(format!("{:x}\r\n{body}\r\n", body.len()).as_bytes()).await.unwrap();
    };
    socket.write_all(b"POST /v3/watch HTTP/1.1\r\nhost: node\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    send(&mut socket, "{\"create_request\":{\"key\":\"YQ==\"}}").await;
    let next = async |socket: &mut BufReader<TcpStream>, expected: &str| {
        let mut line = String::new();
        while !line.starts_with('{') {
            line.clear();
            assert_ne!(socket.read_line(&mut line).await.unwrap(), 0, "ended before {expected}");
        }
        assert!(line.contains(expected), "{expected} in {line}");
    };
    next(&mut socket, "\"created\":true").await;
    assert_eq!(post(address, "/v3/kv/put", "{\"key\":\"YQ==\"}").await.0, 200);
    next(&mut socket, "\"events\":[{\"kv\":{\"key\":\"YQ==\"").await;
    send(&mut socket, "{\"cancel_request\":").await;
    send(&mut socket, "{}}").await;
    next(&mut socket, "\"canceled\":true").await;
}

#[tokio::test]
async fn probes_say_what_is_wrong() {
    let (fake, address) = start().await;
    assert_eq!(get(address, "/health").await, (200, "{\"health\":\"true\",\"reason\":\"\"}".to_owned()));
    assert_eq!(get(address, "/livez").await, (200, "ok\n".to_owned()));
    let well = "[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n";
    assert_eq!(get(address, "/readyz?verbose").await, (200, well.to_owned()));
    assert_eq!(ask(address, "POST /readyz", "", "").await, (405, "Method Not Allowed\n".to_owned()));
    assert_eq!(get(address, "/readyz/nothing").await, (404, "404 page not found\n".to_owned()));

    fake.set_learner(true);
    let learner = "[-]non_learner failed: etcdserver: rpc not supported for learner\n";
    let (status, body) = get(address, "/readyz").await;
    assert!(status == 503 && body.contains(learner), "{body}");
    assert_eq!(get(address, "/readyz?exclude=non_learner").await.0, 200);
    assert_eq!(get(address, "/readyz/non_learner").await, (503, format!("{learner}\n")));

    fake.state().refusal = Some(Refusal::TimedOut);
    let timed_out = "{\"health\":\"false\",\"reason\":\"RANGE ERROR:etcdserver: request timed out\"}\n";
    assert_eq!(get(address, "/health").await, (503, timed_out.to_owned()));
    assert_eq!(get(address, "/readyz/linearizable_read").await.0, 503);
    assert_eq!(get(address, "/health?serializable=true").await.0, 200);
    assert_eq!(get(address, "/livez").await.0, 200);

    fake.set_leader(None);
    assert_eq!(get(address, "/health?exclude=NOSPACE").await, (503, "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n".to_owned()));
    fake.state().error = Some(CommandError::Compacted);
    assert_eq!(get(address, "/livez").await.0, 503);
    assert_eq!(get(address, "/health?serializable=true").await.0, 503);
}
