//! Who asks, where it is known by a certificate.

use std::sync::Arc;

use steadfast_etcd_api::backend::Asker;
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_etcd_api::proto::etcdserverpb::watch_client::WatchClient;
use steadfast_etcd_api::proto::etcdserverpb::watch_request::RequestUnion;
use steadfast_etcd_api::proto::etcdserverpb::*;
use steadfast_state::auth::{Auth, Authorized, Caller};
use steadfast_state::command::{Command, Put};
use tonic::transport::Channel;

use crate::fake::{self, Fake};

/// A served fake, and a connection to it of the client `ann`.
async fn connect() -> (Fake, Channel) {
    let fake = Fake::start();
    let address = fake::serve_named(fake.clone(), "127.0.0.1:0", Some("ann")).await;
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URL").connect().await.expect("it listens");
    (fake, channel)
}

#[tokio::test]
async fn a_node_that_does_not_know_yet_that_names_count_looks_again() {
    let (fake, channel) = connect().await;
    fake.state().late_auth = Some(Arc::new(Auth::new(true, 5, [], [])));
    let put = PutRequest { key: "a".into(), ..PutRequest::default() };
    KvClient::new(channel).put(put).await.expect("it is in her name in the end");
    let plain = Command::Put(Put { key: "a".into(), ..Put::default() });
    let named = Authorized::command(Caller { user: "ann".into(), auth_revision: 5 }, plain.clone());
    assert_eq!(fake.state().commands, [plain, named]);
}

#[tokio::test]
async fn a_watch_from_before_names_count_goes_on_in_its_own() {
    let (fake, channel) = connect().await;
    let create = WatchCreateRequest { key: "a".into(), ..WatchCreateRequest::default() };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let mut stream = WatchClient::new(channel).watch(futures::stream::iter([request])).await.expect("opened").into_inner();
    assert!(stream.message().await.expect("goes on").expect("an answer").created);
    assert!(matches!(&fake.state().askers[..], [Asker::User(name)] if **name == *"ann"));
}
