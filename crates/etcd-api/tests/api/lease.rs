//! Leases, and their keep-alive stream.

use steadfast_etcd_api::backend::Refusal;
use steadfast_etcd_api::proto::etcdserverpb::lease_client::LeaseClient;
use steadfast_etcd_api::proto::etcdserverpb::*;
use steadfast_types::limits;
use tokio::sync::mpsc;
use tonic::{Code, Request};

use crate::{connect, refused};

/// A stream of requests fed by hand.
fn fed<T: Send + 'static>() -> (mpsc::Sender<T>, impl futures::Stream<Item = T> + Send + 'static) {
    let (send, receive) = mpsc::channel(4);
    (send, futures::stream::unfold(receive, async |mut receive| receive.recv().await.map(|item| (item, receive))))
}

#[tokio::test]
async fn a_lease_lives_from_grant_to_revoke() {
    let (_, channel) = connect().await;
    let mut leases = LeaseClient::new(channel);
    let granted = leases.lease_grant(LeaseGrantRequest { ttl: 60, id: 0 }).await.unwrap().into_inner();
    assert!(granted.id > 0);
    assert_eq!((granted.ttl, granted.error.as_str()), (60, ""));
    let short = leases.lease_grant(LeaseGrantRequest { ttl: 0, id: 9 }).await.unwrap().into_inner();
    assert_eq!((short.id, short.ttl), (9, limits::LEASE_MIN_TTL_S));
    let long = leases.lease_grant(LeaseGrantRequest { ttl: limits::LEASE_MAX_TTL_S + 1, id: 0 }).await.unwrap_err();
    assert_eq!(refused(&long), (Code::OutOfRange, "etcdserver: too large lease TTL"));

    let left = leases.lease_time_to_live(LeaseTimeToLiveRequest { id: granted.id, keys: true }).await.unwrap().into_inner();
    assert_eq!((left.id, left.ttl, left.granted_ttl), (granted.id, 59, 60));
    let unknown = leases.lease_time_to_live(LeaseTimeToLiveRequest { id: 404, keys: false }).await.unwrap().into_inner();
    assert_eq!((unknown.id, unknown.ttl, unknown.granted_ttl), (404, -1, 0));
    let all = leases.lease_leases(LeaseLeasesRequest {}).await.unwrap().into_inner().leases;
    assert_eq!(all.iter().map(|lease| lease.id).collect::<Vec<_>>(), [9, granted.id]);

    leases.lease_revoke(LeaseRevokeRequest { id: 9 }).await.unwrap();
    let gone = leases.lease_revoke(LeaseRevokeRequest { id: 9 }).await.unwrap_err();
    assert_eq!(refused(&gone), (Code::NotFound, "etcdserver: requested lease not found"));
}

#[tokio::test]
async fn keep_alives_are_answered_in_order_until_the_client_ends_them() {
    let (_, channel) = connect().await;
    let mut leases = LeaseClient::new(channel);
    leases.lease_grant(LeaseGrantRequest { ttl: 60, id: 9 }).await.unwrap();
    let (send, requests) = fed();
    let mut answers = leases.lease_keep_alive(requests).await.unwrap().into_inner();
    for (id, ttl) in [(9, 60), (404, 0), (9, 60)] {
        send.send(LeaseKeepAliveRequest { id }).await.unwrap();
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.id, answer.ttl), (id, ttl));
    }
    drop(send);
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_keep_alive_stream_ends_with_the_refusal() {
    let (fake, channel) = connect().await;
    fake.state().refusal = Some(Refusal::NoLeader);
    let (send, requests) = fed();
    send.send(LeaseKeepAliveRequest { id: 1 }).await.unwrap();
    let mut request = Request::new(requests);
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let mut answers = LeaseClient::new(channel).lease_keep_alive(request).await.unwrap().into_inner();
    assert_eq!(refused(&answers.message().await.unwrap_err()), (Code::Unavailable, "etcdserver: no leader"));
}
