//! Bytes that no proper client sends, over raw HTTP/2: each is answered with an error, and the node goes on.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};

use crate::fake::{self, Fake};

struct Answer {
    data: usize,
    status: String,
}

async fn raw() -> SendRequest<Bytes> {
    let address = fake::serve(Fake::start()).await;
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let (send, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    send
}

/// Sends the pieces as frames of their own, and the end of the stream as one more.
async fn call(send: &mut SendRequest<Bytes>, path: &str, pieces: &[&[u8]]) -> Answer {
    let request = Request::post(format!("http://node{path}")).header("content-type", "application/grpc").body(()).unwrap();
    let (response, mut body) = send.clone().ready().await.unwrap().send_request(request, false).unwrap();
    for piece in pieces {
        body.send_data(Bytes::copy_from_slice(piece), false).unwrap();
        tokio::task::yield_now().await;
    }
    body.send_data(Bytes::new(), true).unwrap();
    let (head, mut answer) = response.await.unwrap().into_parts();
    let mut data = 0;
    while let Some(chunk) = answer.data().await {
        data += chunk.unwrap().len();
    }
    let trailers = answer.trailers().await.unwrap().unwrap_or_default();
    let status = |headers: &HeaderMap| headers.get("grpc-status").map(|status| status.to_str().unwrap().to_string());
    Answer { data, status: status(&trailers).or(status(&head.headers)).unwrap_or_default() }
}

const PUT: &str = "/etcdserverpb.KV/Put";
const INTERNAL: &str = "13";
const UNIMPLEMENTED: &str = "12";
const RESOURCE_EXHAUSTED: &str = "8";

#[tokio::test]
async fn a_message_may_come_in_any_pieces() {
    let mut send = raw().await;
    let message = [&[0, 0, 0, 0, 6][..], &[10, 1, b'k', 18, 1, b'v']].concat();
    for cut in 0..message.len() {
        let answer = call(&mut send, PUT, &[&message[..cut], &[], &message[cut..]]).await;
        assert_eq!(answer.status, "0", "cut at {cut}");
        assert!(answer.data > 5);
    }
    let bytes: Vec<&[u8]> = message.chunks(1).collect();
    assert_eq!(call(&mut send, PUT, &bytes).await.status, "0");
    let with_more = [&message[..], b"and more"].concat();
    assert_eq!(call(&mut send, PUT, &[&with_more]).await.status, "0");
}

#[tokio::test]
async fn malformed_requests_are_errors_and_never_the_end() {
    let mut send = raw().await;
    let table: [(&[u8], &str); 8] = [
        (&[], INTERNAL),
        (&[0, 0, 0], INTERNAL),
        (&[0, 0, 0, 0, 9, 1, 2], INTERNAL),
        (&[0, 0, 0, 0, 2, 0xff, 0xff], INTERNAL),
        (&[0, 0, 0, 0, 3, 10, 200, 1], INTERNAL),
        (&[1, 0, 0, 0, 2, 10, 0], UNIMPLEMENTED),
        (&[77, 0, 0, 0, 0], UNIMPLEMENTED),
        (&[0, 0xff, 0xff, 0xff, 0xff, 1], RESOURCE_EXHAUSTED),
    ];
    for (bytes, status) in table {
        let answer = call(&mut send, PUT, &[bytes]).await;
        assert_eq!((answer.status.as_str(), answer.data), (status, 0), "{bytes:?}");
    }
    for path in ["/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive", "/etcdserverpb.Lease/LeaseGrant"] {
        let answer = call(&mut send, path, &[&[0, 0, 0, 0, 2, 0xff, 0xff]]).await;
        assert_eq!(answer.status, INTERNAL, "{path}");
    }
    assert_eq!(call(&mut send, PUT, &[&[0, 0, 0, 0, 3, 10, 1, b'k']]).await.status, "0", "the node goes on");
}

#[tokio::test]
async fn transactions_nested_without_end_are_refused() {
    let mut send = raw().await;
    let mut message = Vec::new();
    for _ in 0..20_000 {
        // success = [RequestOp { request_txn: … }]
        for field in [0x22, 0x12] {
            let mut outer = vec![field];
            let mut length = message.len();
            while length >= 0x80 {
                outer.push(length as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.extend_from_slice(&message);
            message = outer;
        }
        if message.len() > 100_000 {
            break;
        }
    }
    let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    assert_eq!(call(&mut send, "/etcdserverpb.KV/Txn", &[&framed]).await.status, INTERNAL);
}
