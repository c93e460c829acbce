//! What is not gRPC goes to the server's own routes; unknown gRPC is told so.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;

use crate::fake::{self, Fake};
use crate::{connect, refused};

#[tokio::test]
async fn plain_http_reaches_the_servers_routes() {
    let address = fake::serve(Fake::start()).await;
    for (path, expected) in [("/fine", "HTTP/1.1 200"), ("/nowhere", "HTTP/1.1 404"), ("/etcdserverpb.KV/Put", "HTTP/1.1 404")] {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(expected), "{path}: {answer}");
        assert_eq!(answer.ends_with("fine"), path == "/fine");
    }
}

#[tokio::test]
async fn unknown_services_and_methods_are_unimplemented() {
    let (_, channel) = connect().await;
    for (path, text) in [
        ("/etcdserverpb.Magic/Wish", "unknown service etcdserverpb.Magic"),
        ("/etcdserverpb.KV/Wish", "unknown method for service etcdserverpb.KV"),
    ] {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let answer = client.unary(tonic::Request::new(()), PathAndQuery::from_static(path), codec).await;
        assert_eq!(refused(&answer.unwrap_err()), (Code::Unimplemented, text));
    }
}
