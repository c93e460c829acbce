//! The admin port answers over a real socket.

use std::sync::atomic::{AtomicU64, Ordering};

use steadfast_types::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;

async fn fetch(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    call(address, "GET", path, "").await
}

async fn call(address: std::net::SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (code, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn health_status_and_metrics_are_served() {
    let applied = Arc::new(AtomicU64::new(5));
    let state = {
        let applied = applied.clone();
        move || AdminStatus {
            node: NodeId(0xab),
            leader: (applied.load(Ordering::Relaxed) > 5).then_some(NodeId(0xab)),
            applied_index: applied.load(Ordering::Relaxed),
            ready_index: Some(8),
            members: 3,
            term: 2,
            ..AdminStatus::default()
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, None, state, Metrics::new(), Router::new(), async move { drop(stopped.await) }));

    assert_eq!(fetch(address, "/livez").await, (200, "ok\n".to_owned()));
    let (code, text) = fetch(address, "/readyz").await;
    assert_eq!((code, &*text), (503, "no leader is known in term 2; a majority of the 3 members must be up and reach each other\n"));
    applied.store(7, Ordering::Relaxed);
    assert_eq!(fetch(address, "/readyz").await, (503, "entry 7 of 8 is applied\n".to_owned()));
    let (code, text) = fetch(address, "/readyz?verbose").await;
    assert_eq!((code, &*text), (503, "[+] running: ok\n[+] leader: ok\n[-] applied: entry 7 of 8 is applied\n"));
    applied.store(8, Ordering::Relaxed);
    assert_eq!(fetch(address, "/readyz").await, (200, "ok\n".to_owned()));

    let (_, text) = fetch(address, "/status").await;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["node"], &json["leader"], &json["applied_index"]), (&"ab".into(), &"ab".into(), &8.into()));
    let (_, text) = fetch(address, "/metrics").await;
    assert!(text.contains("\nsteadfast_applied_index 8\n") && text.contains("\nsteadfast_leader 1\n"), "{text}");
    assert_eq!(fetch(address, "/nothing").await.0, 404);
    assert_eq!(fetch(address, "/faults").await.0, 404, "only a node that was started for it has faults");

    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn faults_are_set_shown_and_cleared() {
    let faults = crate::fault_table::Faults::enabled();
    let resolve = Box::new(|word: &str| (word == "n2").then_some(NodeId(2)));
    let desk = FaultDesk { table: faults.table().unwrap(), resolve };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server =
        tokio::spawn(serve(
            listener,
            None,
            AdminStatus::default,
            Metrics::new(),
            faults_route(Some(desk)),
            async move { drop(stopped.await) },
        ));

    let (code, text) = call(address, "PUT", "/faults", r#"{"drop_to":["n2"]}"#).await;
    assert!(code == 200 && faults.drops_to(NodeId(2)), "{text}");
    assert!(fetch(address, "/faults").await.1.contains(r#""drop_to":["n2"]"#));
    let (code, text) = call(address, "PUT", "/faults", r#"{"dorp_to":["n2"]}"#).await;
    assert!(code == 400 && text.contains("drop_from, drop_to, delay_ms") && text.contains("dorp_to"), "{text}");
    assert_eq!(call(address, "PUT", "/faults", r#"{"drop_to":["n9"]}"#).await.0, 400);
    assert!(faults.drops_to(NodeId(2)), "a refused table changes nothing");
    assert_eq!(call(address, "PUT", "/faults", &" ".repeat(70_000)).await.0, 413);
    assert_eq!(call(address, "DELETE", "/faults", "").await.0, 200);
    assert!(!faults.drops_to(NodeId(2)));

    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}
