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

#[tokio::test]
async fn bundles_and_test_alerts_are_for_administrators_once_names_count() {
    use steadfast_etcd_api::proto::steadfast::v1::cluster_client::ClusterClient;
    use steadfast_etcd_api::proto::steadfast::v1::{DiagnoseRequest, TestAlertsRequest};
    let (fake, channel) = connect().await;
    let mut own = ClusterClient::new(channel);
    let bundle = own.diagnose(DiagnoseRequest { node: "n1".into() }).await.expect("names do not count").into_inner();
    assert_eq!(bundle.files[0].name, "summary.txt");
    let unknown = own.diagnose(DiagnoseRequest { node: "n9".into() }).await.expect_err("nobody");
    assert_eq!((unknown.code(), unknown.message()), (tonic::Code::NotFound, "no node is known by \"n9\"; known are n1"));
    let deliveries = own.test_alerts(TestAlertsRequest {}).await.expect("names do not count").into_inner().deliveries;
    assert_eq!((deliveries[0].receiver.as_str(), deliveries[0].error.as_str()), ("webhook", "refused"));

    fake.state().auth = Arc::new(Auth::new(true, 5, [], []));
    let refused = own.diagnose(DiagnoseRequest { node: "n1".into() }).await.expect_err("ann is nobody there");
    assert_eq!(refused.message(), "etcdserver: user name not found");
    let refused = own.test_alerts(TestAlertsRequest {}).await.expect_err("ann is nobody there");
    assert_eq!(refused.message(), "etcdserver: user name not found");
}
