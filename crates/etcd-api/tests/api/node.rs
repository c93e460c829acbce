//! Members, status, leadership, health, reflection.

use std::time::Duration;

use steadfast_etcd_api::backend::{MembershipRefusal, Refusal};
use steadfast_etcd_api::proto::etcdserverpb::cluster_client::ClusterClient;
use steadfast_etcd_api::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use steadfast_etcd_api::proto::etcdserverpb::*;
use steadfast_etcd_api::proto::steadfast::v1 as steadfast;
use steadfast_types::NodeId;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::fake::{CLUSTER, MEMBER, TERM};
use crate::{connect, refused};

#[tokio::test]
async fn members_come_change_and_go() {
    let (fake, channel) = connect().await;
    let mut cluster = ClusterClient::new(channel);
    let urls = vec!["http://127.0.0.1:2480".to_string()];
    let added = cluster.member_add(MemberAddRequest { peer_ur_ls: urls.clone(), is_learner: true }).await.unwrap().into_inner();
    let member = Member { id: 8, peer_ur_ls: urls, is_learner: true, ..Member::default() };
    assert_eq!((added.member, added.members.len()), (Some(member), 2));
    assert_eq!(added.header.unwrap().revision, 0, "headers of the Cluster service carry no revision");
    let promoted = cluster.member_promote(MemberPromoteRequest { id: 8 }).await.unwrap().into_inner().members;
    assert!(!promoted[1].is_learner);
    let update = MemberUpdateRequest { id: 8, peer_ur_ls: vec!["http://127.0.0.1:2580".into()] };
    assert_eq!(cluster.member_update(update).await.unwrap().into_inner().members[1].peer_ur_ls, ["http://127.0.0.1:2580"]);
    assert_eq!(cluster.member_remove(MemberRemoveRequest { id: 8 }).await.unwrap().into_inner().members.len(), 1);

    let before = fake.linearized();
    cluster.member_list(MemberListRequest { linearizable: false }).await.unwrap();
    assert_eq!(fake.linearized(), before);
    let members = cluster.member_list(MemberListRequest { linearizable: true }).await.unwrap().into_inner().members;
    assert_eq!((members[0].id, members[0].name.as_str(), fake.linearized()), (MEMBER.0, "n1", before + 1));
}

#[tokio::test]
async fn membership_errors_are_etcds() {
    let (fake, channel) = connect().await;
    let mut cluster = ClusterClient::new(channel);
    let bad = (Code::InvalidArgument, "etcdserver: given member URLs are invalid");
    let none = MemberAddRequest::default();
    assert_eq!(refused(&cluster.member_add(none).await.unwrap_err()), bad);
    let no_scheme = MemberUpdateRequest { id: 7, peer_ur_ls: vec!["127.0.0.1:2380".into()] };
    assert_eq!(refused(&cluster.member_update(no_scheme).await.unwrap_err()), bad);
    let unknown = cluster.member_promote(MemberPromoteRequest { id: 404 }).await.unwrap_err();
    assert_eq!(refused(&unknown), (Code::NotFound, "etcdserver: member not found"));
    fake.state().membership_refusal = Some(MembershipRefusal::LearnerNotReady);
    let early = cluster.member_promote(MemberPromoteRequest { id: 7 }).await.unwrap_err();
    let text = "etcdserver: can only promote a learner member which is in sync with leader";
    assert_eq!(refused(&early), (Code::FailedPrecondition, text));
    fake.set_learner(true);
    let learner = cluster.member_list(MemberListRequest::default()).await.unwrap_err();
    assert_eq!(refused(&learner), (Code::Unavailable, "etcdserver: rpc not supported for learner"));
}

#[tokio::test]
async fn status_tells_what_the_node_knows() {
    let (fake, channel) = connect().await;
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.version.as_str(), status.leader, status.raft_term), ("3.5.21", MEMBER.0, TERM.0));
    assert_eq!((status.raft_index, status.raft_applied_index, status.db_size, status.db_size_in_use), (10, 9, 200, 100));
    assert_eq!((status.header.unwrap().revision, status.errors.len()), (1, 0));
    fake.set_leader(None);
    fake.set_learner(true);
    let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.leader, status.errors), (0, vec!["etcdserver: no leader".to_string()]));

    let mut own = steadfast::cluster_client::ClusterClient::new(channel);
    let status = own.status(steadfast::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.cluster_id, status.node_id, status.name.as_str()), (CLUSTER.0, MEMBER.0, "n1"));
    assert_eq!((status.role(), status.leader_id, status.compact_revision), (steadfast::Role::Leader, 0, -1));
    assert_eq!(status.followers, [steadfast::Follower { id: 9, matched_index: 8, lag_entries: 2, active: true }]);
    assert_eq!(status.members[0].peer_urls, ["http://127.0.0.1:2380"]);
    let found = own.health(steadfast::HealthRequest { events: 1 }).await.unwrap().into_inner();
    assert_eq!((found.services[0].service.as_str(), found.services[0].state()), ("orders", steadfast::HealthState::Degraded));
    assert_eq!((found.events.len(), found.events[0].number, found.unread.as_str()), (1, 2, ""));
    let health = found.members;
    let states: Vec<_> = health.iter().map(|member| (member.name.as_str(), member.role(), member.state())).collect();
    let (server, agent) = (steadfast::MemberRole::Server, steadfast::MemberRole::Agent);
    assert_eq!(states, [("n1", server, steadfast::HealthState::Healthy), ("a1", agent, steadfast::HealthState::Failed)]);
    assert_eq!((health[1].witnesses.as_slice(), health[1].since_ms), (&["n1".to_string()][..], 5));
}

#[tokio::test]
async fn leadership_moves() {
    let (fake, channel) = connect().await;
    let mut maintenance = MaintenanceClient::new(channel);
    let moved = maintenance.move_leader(MoveLeaderRequest { target_id: 8 }).await.unwrap().into_inner();
    assert_eq!((moved.header, fake.state().moved_to), (None, Some(NodeId(8))));
    fake.state().refusal = Some(Refusal::NotLeader);
    let elsewhere = maintenance.move_leader(MoveLeaderRequest { target_id: 8 }).await.unwrap_err();
    assert_eq!(refused(&elsewhere), (Code::FailedPrecondition, "etcdserver: not leader"));
    fake.state().refusal = None;
    assert_eq!(maintenance.defragment(DefragmentRequest {}).await.unwrap().into_inner().header, None);
}

#[tokio::test]
async fn alarms_are_raised_listed_and_cleared() {
    use alarm_request::AlarmAction::{self, Activate, Deactivate, Get};
    use steadfast_state::alarm::{AlarmChange, AlarmKind};
    use steadfast_state::command::Command;
    let (fake, channel) = connect().await;
    let mut maintenance = MaintenanceClient::new(channel);
    let ask = |action: AlarmAction, alarm: AlarmType| AlarmRequest { action: action.into(), member_id: 7, alarm: alarm.into() };
    let (short, corrupt) = [AlarmType::Nospace, AlarmType::Corrupt].map(|kind| AlarmMember { member_id: 7, alarm: kind.into() }).into();
    let rows = [
        (ask(Get, AlarmType::None), vec![]),
        (ask(Activate, AlarmType::None), vec![]),
        (ask(Activate, AlarmType::Nospace), vec![short]),
        (ask(Activate, AlarmType::Corrupt), vec![corrupt]),
        (ask(Get, AlarmType::None), vec![short, corrupt]),
        (ask(Get, AlarmType::Corrupt), vec![corrupt]),
        (ask(Deactivate, AlarmType::None), vec![]),
        (ask(Deactivate, AlarmType::Corrupt), vec![corrupt]),
        (ask(Deactivate, AlarmType::Corrupt), vec![]),
        (ask(Get, AlarmType::None), vec![short]),
    ];
    for (request, expected) in rows {
        let answer = maintenance.alarm(request).await.unwrap().into_inner();
        assert_eq!((answer.alarms, answer.header.unwrap().revision), (expected, 1), "{request:?}");
    }
    let status = maintenance.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.errors, ["memberID:7 alarm:NOSPACE "]);
    let raised = fake
        .state()
        .commands
        .iter()
        .filter(
            |command| matches!(command, Command::Alarm(AlarmChange::Raise { alarm, by_hand: true }) if alarm.kind == AlarmKind::NoSpace),
        )
        .count();
    assert_eq!(raised, 1);
    for request in [AlarmRequest { alarm: 7, ..AlarmRequest::default() }, AlarmRequest { action: 9, ..AlarmRequest::default() }] {
        let refusal = maintenance.alarm(request).await.unwrap_err();
        assert!(refusal.code() == Code::InvalidArgument && refusal.message().contains("there is no"), "{refusal}");
    }
}

#[tokio::test]
async fn a_snapshot_is_sent_in_pieces_and_ends_with_its_hash() {
    use sha2::Digest;
    let (fake, channel) = connect().await;
    let content: Vec<u8> = (0..1_000_003u32).map(|n| n as u8).collect();
    fake.state().snapshot = content.clone();
    let mut maintenance = MaintenanceClient::new(channel);
    let mut messages = maintenance.snapshot(SnapshotRequest {}).await.unwrap().into_inner();
    let (mut received, mut seal) = (Vec::new(), Vec::new());
    while let Some(message) = messages.message().await.unwrap() {
        received.append(&mut seal);
        seal = message.blob.to_vec();
        assert_eq!(message.remaining_bytes, (content.len() - (received.len() + seal.len()).min(content.len())) as u64);
    }
    assert!(received == content, "all bytes, in order");
    assert_eq!(seal, sha2::Sha256::digest(&content).to_vec());
}

#[tokio::test]
async fn only_so_many_snapshots_are_made_at_a_time() {
    let (fake, channel) = connect().await;
    fake.state().snapshot = vec![0; 64 << 20];
    let mut maintenance = MaintenanceClient::new(channel);
    let mut under_way = Vec::new();
    for _ in 0..steadfast_types::limits::LONG_READS {
        under_way.push(maintenance.snapshot(SnapshotRequest {}).await.unwrap().into_inner());
    }
    let refusal = maintenance.snapshot(SnapshotRequest {}).await.unwrap_err();
    assert_eq!(refused(&refusal), (Code::ResourceExhausted, "etcdserver: too many requests"));
    assert_eq!(maintenance.hash(HashRequest {}).await.unwrap_err().code(), Code::ResourceExhausted);
    // Those who go away make room.
    drop(under_way);
    while let Err(refusal) = maintenance.hash(HashRequest {}).await {
        assert_eq!(refusal.code(), Code::ResourceExhausted);
    }
}

#[tokio::test]
async fn hashes_say_what_they_are_of() {
    let (fake, channel) = connect().await;
    let mut maintenance = MaintenanceClient::new(channel);
    assert_eq!(maintenance.hash(HashRequest {}).await.unwrap().into_inner().hash, 7);
    let hashed = maintenance.hash_kv(HashKvRequest { revision: 1 }).await.unwrap().into_inner();
    assert_eq!((hashed.hash, hashed.compact_revision, hashed.hash_revision, hashed.header.unwrap().revision), (9, -1, 1, 1));
    let future = maintenance.hash_kv(HashKvRequest { revision: 9 }).await.unwrap_err();
    assert_eq!(refused(&future), (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision"));
    fake.set_learner(true);
    assert_eq!(maintenance.hash_kv(HashKvRequest { revision: 1 }).await.unwrap_err().code(), Code::Unavailable);
    assert!(maintenance.snapshot(SnapshotRequest {}).await.is_ok(), "a learner gives snapshots");
}

#[tokio::test]
async fn health_follows_the_leader() {
    let (fake, channel) = connect().await;
    let mut health = HealthClient::new(channel);
    let ask = |service: &str| HealthCheckRequest { service: service.into() };
    assert_eq!(health.check(ask("")).await.unwrap().into_inner().status(), ServingStatus::Serving);
    assert_eq!(health.check(ask("nobody")).await.unwrap_err().code(), Code::NotFound);
    let mut changes = health.watch(ask("etcdserverpb.KV")).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    fake.set_leader(None);
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(health.check(ask("")).await.unwrap().into_inner().status(), ServingStatus::NotServing);
    fake.set_leader(Some(NodeId(8)));
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut unknown = health.watch(ask("nobody")).await.unwrap().into_inner();
    assert_eq!(unknown.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    assert!(tokio::time::timeout(Duration::from_millis(20), unknown.message()).await.is_err(), "the stream stays open");
}

#[tokio::test]
async fn reflection_lists_the_services() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let (_, channel) = connect().await;
    let ask = |request| tonic_reflection::pb::v1::ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let requests = [MessageRequest::ListServices(String::new()), MessageRequest::FileContainingSymbol("etcdserverpb.KV".into())];
    let mut answers =
        ServerReflectionClient::new(channel).server_reflection_info(futures::stream::iter(requests.map(ask))).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response else {
        panic!("not a list")
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["etcdserverpb.KV", "etcdserverpb.Watch", "steadfast.v1.Cluster", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let Some(MessageResponse::FileDescriptorResponse(_)) = answers.message().await.unwrap().unwrap().message_response else {
        panic!("no descriptor of KV")
    };
}
