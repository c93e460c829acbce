//! Users and roles beside etcd's own: one script of requests by several users to both, and every answer equal, revisions in headers too.
//!
//! What differs on purpose stands in [`DIFFERENT`], with both answers. Needs etcd 3.5.1, which `ETCD_3_5` names:
//! `cargo test -p steadfast --test auth -- --ignored`; `.ci/run` installs it.

mod support;

use std::collections::BTreeMap;

use steadfast_etcd_api::proto::authpb::permission::Type;
use steadfast_etcd_api::proto::authpb::{Permission, UserAddOptions};
use steadfast_etcd_api::proto::etcdserverpb as pb;
use steadfast_etcd_api::proto::v3electionpb::LeaderRequest;
use steadfast_etcd_api::proto::v3electionpb::election_client::ElectionClient;
use steadfast_etcd_api::proto::v3lockpb::lock_client::LockClient;
use steadfast_etcd_api::proto::v3lockpb::{LockRequest, UnlockRequest};
use support::oracle::Etcd;
use support::{Cluster, LONG};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use pb::auth_client::AuthClient;
use pb::cluster_client::ClusterClient;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::request_op::Request as Op;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;

/// A token that nobody has.
const FORGED: &str = "(forged)";
/// Sends no token.
const NOBODY: &str = "(nobody)";

/// Where the answers differ on purpose: the row's beginning, etcd 3.5.1's answer and ours, each by its beginning.
const DIFFERENT: &[(&str, &str, &str)] = &[
    // Transactions are checked all through, and puts in them as puts.
    ("fay txn", "TxnResponse", "PermissionDenied: etcdserver: permission denied"),
    // The keys of a lease are told to those who may read them.
    ("ANYBODY lease_time_to_live LeaseTimeToLiveRequest { id: 13, keys: true }", "LeaseTimeToLiveResponse", ""),
    ("ANYBODY lease_time_to_live LeaseTimeToLiveRequest { id: 22, keys: true }", "LeaseTimeToLiveResponse", ""),
    // Leadership is the administrator's.
    ("ANYBODY move_leader", "FailedPrecondition: etcdserver: bad leader transferee", ""),
    // Refusals have their codes here too.
    ("ANYBODY hash_kv", "Unknown: auth: ", ""),
    ("ANYBODY defragment", "Unknown: auth: ", ""),
];

/// What those hear who may not.
const REFUSALS: [&str; 3] = [
    "PermissionDenied: etcdserver: permission denied",
    "InvalidArgument: etcdserver: user name is empty",
    "Unauthenticated: etcdserver: invalid auth token",
];

/// The row of [`DIFFERENT`] for what was asked.
fn difference(what: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    let (_, asked) = what.split_once(' ')?;
    DIFFERENT.iter().find(|(begin, ..)| begin.strip_prefix("ANYBODY ").map_or(what.starts_with(begin), |begin| asked.starts_with(begin)))
}

/// One server, the tokens it gave, and what it said.
struct Script {
    channel: Channel,
    tokens: BTreeMap<&'static str, String>,
    said: Vec<(String, String)>,
}

/// A header without what each cluster chooses.
fn plain(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        *header = pb::ResponseHeader { revision: header.revision, ..pb::ResponseHeader::default() };
    }
}

/// One row: a call of this user, and what came.
macro_rules! row {
    ($script:expr, $who:expr, $client:ident.$method:ident($message:expr)) => {
        row!($script, $who, $client.$method($message), |_| ())
    };
    ($script:expr, $who:expr, $client:ident.$method:ident($message:expr), $also:expr) => {{
        let message = $message;
        let what = format!("{} {} {message:?}", $who, stringify!($method));
        let request = $script.request($who, message);
        let answer = $client::new($script.channel.clone()).$method(request).await;
        let shown = answer.map(|answer| {
            let mut answer = answer.into_inner();
            plain(&mut answer.header);
            #[allow(clippy::redundant_closure_call, reason = "each row may have one")]
            ($also)(&mut answer);
            format!("{answer:?}")
        });
        $script.say(what, shown);
    }};
}

async fn connect(endpoint: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).expect("a URL");
    let attempt = || tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(endpoint.connect())).ok();
    support::eventually("a connection", attempt)
}

fn key(text: &str) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text.as_bytes())
}

fn range(from: &str, to: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key(from), range_end: key(to), ..pb::RangeRequest::default() }
}

fn put(at: &str) -> pb::PutRequest {
    pb::PutRequest { key: key(at), value: "v".into(), ..pb::PutRequest::default() }
}

fn delete(from: &str, to: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key(from), range_end: key(to), prev_kv: false }
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn txn(compare: Vec<pb::Compare>, success: Vec<Op>, failure: Vec<Op>) -> pb::TxnRequest {
    pb::TxnRequest { compare, success: success.into_iter().map(op).collect(), failure: failure.into_iter().map(op).collect() }
}

/// Holds for keys that are not there.
fn absent(from: &str, to: &str) -> pb::Compare {
    pb::Compare { key: key(from), range_end: key(to), ..pb::Compare::default() }
}

fn user_add(name: &str, password: &str) -> pb::AuthUserAddRequest {
    pb::AuthUserAddRequest { name: name.into(), password: password.into(), ..pb::AuthUserAddRequest::default() }
}

fn grant_role(user: &str, role: &str) -> pb::AuthUserGrantRoleRequest {
    pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() }
}

fn revoke_role(name: &str, role: &str) -> pb::AuthUserRevokeRoleRequest {
    pb::AuthUserRevokeRoleRequest { name: name.into(), role: role.into() }
}

fn role_add(name: &str) -> pb::AuthRoleAddRequest {
    pb::AuthRoleAddRequest { name: name.into() }
}

fn grant(role: &str, kind: Type, from: &str, to: &str) -> pb::AuthRoleGrantPermissionRequest {
    let perm = Permission { perm_type: kind.into(), key: key(from), range_end: key(to) };
    pb::AuthRoleGrantPermissionRequest { name: role.into(), perm: Some(perm) }
}

fn revoke(role: &str, from: &str, to: &str) -> pb::AuthRoleRevokePermissionRequest {
    pb::AuthRoleRevokePermissionRequest { role: role.into(), key: key(from), range_end: key(to) }
}

fn user_get(name: &str) -> pb::AuthUserGetRequest {
    pb::AuthUserGetRequest { name: name.into() }
}

fn role_get(role: &str) -> pb::AuthRoleGetRequest {
    pb::AuthRoleGetRequest { role: role.into() }
}

impl Script {
    async fn begin(endpoint: &str) -> Self {
        Script { channel: connect(endpoint).await, tokens: BTreeMap::new(), said: Vec::new() }
    }

    fn request<T>(&self, who: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(LONG);
        let token = match who {
            NOBODY => return request,
            FORGED => "abcdefghijklmnop.7",
            who => self.tokens.get(who).unwrap_or_else(|| panic!("{who} has no token")),
        };
        request.metadata_mut().insert("token", token.parse().expect("a token"));
        request
    }

    fn say(&mut self, what: String, answer: Result<String, Status>) {
        let answer = answer.unwrap_or_else(|status| format!("{:?}: {}", status.code(), status.message()));
        self.said.push((what, answer));
    }

    /// A token for a name and a password; the row says only whether there was one.
    async fn authenticate(&mut self, name: &'static str, password: &str) {
        let message = pb::AuthenticateRequest { name: name.into(), password: password.into() };
        let what = format!("{name} with {password:?}");
        let answer = AuthClient::new(self.channel.clone()).authenticate(self.request(NOBODY, message)).await;
        let shown = answer.map(|answer| {
            let pb::AuthenticateResponse { header, token } = answer.into_inner();
            let known = !token.is_empty();
            self.tokens.insert(name, token);
            format!("token {known} at {:?}", header.map(|header| header.revision))
        });
        self.say(what, shown);
    }

    /// Opens a watch, has root write, and shows what comes.
    async fn watch(&mut self, who: &str, from: &str, to: &str, written: &str) {
        let create = pb::WatchCreateRequest { key: key(from), range_end: key(to), ..pb::WatchCreateRequest::default() };
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
        let mut request = self.request(who, requests);
        request.metadata_mut().remove("grpc-timeout");
        let opened = WatchClient::new(self.channel.clone()).watch(request).await;
        let mut shown = Vec::new();
        match opened {
            Err(status) => shown.push(format!("{:?}: {}", status.code(), status.message())),
            Ok(stream) => {
                let mut stream = stream.into_inner();
                loop {
                    let next = tokio::time::timeout(LONG, stream.message()).await.expect("in time");
                    let Ok(Some(response)) = next else { break shown.push(format!("{next:?}")) };
                    let pb::WatchResponse { created, canceled, cancel_reason, events, .. } = response;
                    let keys: Vec<_> = events.iter().filter_map(|event| event.kv.as_ref()).map(|kv| kv.key.clone()).collect();
                    shown.push(format!("created {created} canceled {canceled} {cancel_reason:?} {keys:?}"));
                    if canceled || !keys.is_empty() {
                        break;
                    }
                    KvClient::new(self.channel.clone()).put(self.request("root", put(written))).await.expect("root may");
                }
            }
        }
        self.say(format!("{who} watch {from:?} {to:?}"), Ok(shown.join(", ")));
    }

    /// A renewal on a stream of its own.
    async fn keep_alive(&mut self, who: &str, id: i64) {
        let requests = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
        let answer = LeaseClient::new(self.channel.clone()).lease_keep_alive(self.request(who, requests)).await;
        let shown = match answer {
            Err(status) => Err(status),
            Ok(stream) => stream.into_inner().message().await.map(|answer| format!("{:?}", answer.map(|answer| answer.ttl))),
        };
        self.say(format!("{who} keep_alive {id}"), shown);
    }
}

fn no_ttl(answer: &mut pb::LeaseTimeToLiveResponse) {
    answer.ttl = answer.ttl.min(0);
}

/// Users and roles while nobody is checked.
async fn before(s: &mut Script) {
    row!(s, NOBODY, AuthClient.auth_status(pb::AuthStatusRequest {}));
    row!(s, NOBODY, AuthClient.auth_enable(pb::AuthEnableRequest {}));
    row!(s, NOBODY, AuthClient.auth_disable(pb::AuthDisableRequest {}));
    row!(s, NOBODY, AuthClient.user_list(pb::AuthUserListRequest {}));
    row!(s, NOBODY, AuthClient.role_list(pb::AuthRoleListRequest {}));
    s.authenticate("root", "nothing").await;
    row!(s, NOBODY, AuthClient.user_add(user_add("", "x")));
    row!(s, NOBODY, AuthClient.user_add(user_add("root", "pw-root")));
    row!(s, NOBODY, AuthClient.user_add(user_add("root", "again")));
    row!(s, NOBODY, AuthClient.auth_enable(pb::AuthEnableRequest {}));
    row!(s, NOBODY, AuthClient.user_grant_role(grant_role("nobody", "root")));
    row!(s, NOBODY, AuthClient.user_grant_role(grant_role("root", "missing")));
    row!(s, NOBODY, AuthClient.user_grant_role(grant_role("root", "root")));
    row!(s, NOBODY, AuthClient.user_grant_role(grant_role("root", "root")));
    row!(s, NOBODY, AuthClient.user_get(user_get("root")));
    row!(s, NOBODY, AuthClient.user_get(user_get("missing")));
    row!(s, NOBODY, AuthClient.user_get(user_get("")));
    row!(s, NOBODY, AuthClient.role_add(role_add("")));
    row!(s, NOBODY, AuthClient.role_add(role_add("reader")));
    row!(s, NOBODY, AuthClient.role_add(role_add("reader")));
    row!(s, NOBODY, AuthClient.role_add(role_add("writer")));
    row!(s, NOBODY, AuthClient.role_add(role_add("gone")));
    row!(s, NOBODY, AuthClient.role_get(role_get("missing")));
    row!(s, NOBODY, AuthClient.role_get(role_get("reader")));
    row!(s, NOBODY, AuthClient.role_grant_permission(grant("missing", Type::Read, "a", "")));
    let nothing = pb::AuthRoleGrantPermissionRequest { name: "reader".into(), perm: None };
    row!(s, NOBODY, AuthClient.role_grant_permission(nothing));
    row!(s, NOBODY, AuthClient.role_grant_permission(grant("reader", Type::Write, "a", "c")));
    row!(s, NOBODY, AuthClient.role_grant_permission(grant("reader", Type::Read, "a", "c")));
    row!(s, NOBODY, AuthClient.role_grant_permission(grant("reader", Type::Read, "c", "e")));
    row!(s, NOBODY, AuthClient.role_grant_permission(grant("reader", Type::Read, "single", "")));
    row!(s, NOBODY, AuthClient.role_grant_permission(grant("writer", Type::Write, "b", "d")));
    row!(s, NOBODY, AuthClient.role_grant_permission(grant("writer", Type::Readwrite, "w", "x")));
    row!(s, NOBODY, AuthClient.role_grant_permission(grant("writer", Type::Readwrite, "x", "\0")));
    row!(s, NOBODY, AuthClient.role_grant_permission(grant("gone", Type::Readwrite, "\0", "\0")));
    row!(s, NOBODY, AuthClient.role_grant_permission(grant("gone", Type::Readwrite, "g", "")));
    row!(s, NOBODY, AuthClient.role_get(role_get("reader")));
    row!(s, NOBODY, AuthClient.role_get(role_get("writer")));
    row!(s, NOBODY, AuthClient.role_revoke_permission(revoke("gone", "g", "h")));
    row!(s, NOBODY, AuthClient.role_revoke_permission(revoke("missing", "g", "")));
    row!(s, NOBODY, AuthClient.role_revoke_permission(revoke("gone", "g", "")));
    row!(s, NOBODY, AuthClient.role_get(role_get("gone")));
    for name in ["ann", "bob", "eve", "other"] {
        row!(s, NOBODY, AuthClient.user_add(user_add(name, "pw")));
    }
    let options = Some(UserAddOptions { no_password: true });
    row!(s, NOBODY, AuthClient.user_add(pb::AuthUserAddRequest { name: "certified".into(), options, ..pb::AuthUserAddRequest::default() }));
    row!(s, NOBODY, AuthClient.user_grant_role(grant_role("ann", "writer")));
    row!(s, NOBODY, AuthClient.user_grant_role(grant_role("ann", "reader")));
    row!(s, NOBODY, AuthClient.user_grant_role(grant_role("bob", "reader")));
    row!(s, NOBODY, AuthClient.user_grant_role(grant_role("other", "gone")));
    row!(s, NOBODY, AuthClient.user_revoke_role(revoke_role("bob", "writer")));
    row!(s, NOBODY, AuthClient.user_revoke_role(revoke_role("missing", "writer")));
    row!(s, NOBODY, AuthClient.user_get(user_get("ann")));
    row!(s, NOBODY, AuthClient.user_list(pb::AuthUserListRequest {}));
    row!(s, NOBODY, AuthClient.role_list(pb::AuthRoleListRequest {}));
    row!(s, NOBODY, AuthClient.role_delete(pb::AuthRoleDeleteRequest { role: "missing".into() }));
    row!(s, NOBODY, AuthClient.role_delete(pb::AuthRoleDeleteRequest { role: "gone".into() }));
    row!(s, NOBODY, AuthClient.user_get(user_get("other")));
    row!(s, NOBODY, AuthClient.user_delete(pb::AuthUserDeleteRequest { name: "missing".into() }));
    row!(s, NOBODY, AuthClient.user_delete(pb::AuthUserDeleteRequest { name: "other".into() }));
    row!(s, NOBODY, AuthClient.auth_status(pb::AuthStatusRequest {}));
    row!(s, FORGED, KvClient.put(put("a")));
    row!(s, FORGED, KvClient.range(range("a", "")));
    row!(s, NOBODY, KvClient.put(put("before")));
    for id in 11..=14 {
        row!(s, NOBODY, LeaseClient.lease_grant(pb::LeaseGrantRequest { id, ttl: 600 }));
    }
    row!(s, NOBODY, KvClient.put(pb::PutRequest { lease: 12, ..put("b") }));
    row!(s, NOBODY, KvClient.put(pb::PutRequest { lease: 13, ..put("secret") }));
}

async fn tokens(s: &mut Script) {
    row!(s, NOBODY, AuthClient.auth_enable(pb::AuthEnableRequest {}));
    row!(s, NOBODY, AuthClient.auth_enable(pb::AuthEnableRequest {}));
    s.authenticate("root", "wrong").await;
    s.authenticate("stranger", "pw").await;
    s.authenticate("ann", "").await;
    s.authenticate("certified", "pw").await;
    s.authenticate("root", "pw-root").await;
    for name in ["ann", "bob", "eve"] {
        s.authenticate(name, "pw").await;
    }
    row!(s, "root", AuthClient.auth_enable(pb::AuthEnableRequest {}));
    for who in ["root", "ann", NOBODY, FORGED] {
        row!(s, who, AuthClient.auth_status(pb::AuthStatusRequest {}));
        row!(s, who, AuthClient.user_list(pb::AuthUserListRequest {}));
        row!(s, who, AuthClient.role_list(pb::AuthRoleListRequest {}));
        row!(s, who, AuthClient.user_get(user_get("ann")));
        row!(s, who, AuthClient.user_get(user_get("")));
        row!(s, who, AuthClient.role_get(role_get("reader")));
        row!(s, who, AuthClient.role_get(role_get("missing")));
    }
    for who in ["ann", NOBODY, FORGED] {
        row!(s, who, AuthClient.auth_disable(pb::AuthDisableRequest {}));
        row!(s, who, AuthClient.user_add(user_add("new", "pw")));
        row!(s, who, AuthClient.user_delete(pb::AuthUserDeleteRequest { name: "bob".into() }));
        let change = pb::AuthUserChangePasswordRequest { name: "ann".into(), password: "x".into(), ..Default::default() };
        row!(s, who, AuthClient.user_change_password(change));
        row!(s, who, AuthClient.user_grant_role(grant_role("ann", "root")));
        row!(s, who, AuthClient.user_revoke_role(revoke_role("ann", "reader")));
        row!(s, who, AuthClient.role_add(role_add("new")));
        row!(s, who, AuthClient.role_delete(pb::AuthRoleDeleteRequest { role: "reader".into() }));
        row!(s, who, AuthClient.role_grant_permission(grant("reader", Type::Readwrite, "\0", "\0")));
        row!(s, who, AuthClient.role_revoke_permission(revoke("reader", "a", "c")));
    }
    row!(s, "root", AuthClient.user_delete(pb::AuthUserDeleteRequest { name: "root".into() }));
    row!(s, "root", AuthClient.user_revoke_role(revoke_role("root", "root")));
    row!(s, "root", AuthClient.role_delete(pb::AuthRoleDeleteRequest { role: "root".into() }));
}

async fn keys(s: &mut Script) {
    for who in ["root", "ann", "bob", "eve", NOBODY, FORGED] {
        for at in ["a", "b", "c", "d", "w", "z", "single"] {
            row!(s, who, KvClient.put(put(at)));
            row!(s, who, KvClient.range(range(at, "")));
        }
        for (from, to) in
            [("a", "c"), ("a", "e"), ("a", "f"), ("b", "d"), ("w", "\0"), ("\0", "\0"), ("c", "a"), ("s", "a"), ("single", "single\0")]
        {
            row!(s, who, KvClient.range(pb::RangeRequest { serializable: from == "a", ..range(from, to) }));
            row!(s, who, KvClient.delete_range(delete(from, to)));
        }
        row!(s, who, KvClient.put(pb::PutRequest { prev_kv: true, ..put("b") }));
        row!(s, who, KvClient.put(pb::PutRequest { prev_kv: true, ..put("x") }));
        row!(s, who, KvClient.put(put("")));
        row!(s, who, KvClient.range(range("", "")));
        row!(s, who, KvClient.delete_range(pb::DeleteRangeRequest { prev_kv: true, ..delete("b", "") }));
        row!(s, who, KvClient.delete_range(pb::DeleteRangeRequest { prev_kv: true, ..delete("y", "z") }));
        row!(s, who, KvClient.txn(txn(vec![], vec![], vec![])));
        row!(s, who, KvClient.txn(txn(vec![absent("a", "e")], vec![], vec![])));
        row!(s, who, KvClient.txn(txn(vec![absent("f", "")], vec![], vec![Op::RequestRange(range("a", ""))])));
        row!(s, who, KvClient.txn(txn(vec![], vec![Op::RequestPut(put("b")), Op::RequestRange(range("a", "c"))], vec![])));
        row!(s, who, KvClient.txn(txn(vec![], vec![], vec![Op::RequestPut(put("a"))])));
        row!(s, who, KvClient.txn(txn(vec![], vec![Op::RequestDeleteRange(delete("b", "c"))], vec![])));
        row!(s, who, KvClient.txn(txn(vec![], vec![Op::RequestDeleteRange(delete("a", "c"))], vec![])));
        row!(s, who, KvClient.compact(pb::CompactionRequest { revision: 1_000_000, physical: false }));
    }
    let inner = |operation| txn(vec![], vec![Op::RequestTxn(txn(vec![], vec![operation], vec![]))], vec![]);
    row!(s, "root", KvClient.txn(inner(Op::RequestPut(put("inner")))));
}

async fn leases(s: &mut Script) {
    for who in ["eve", NOBODY, FORGED, "bob", "ann"] {
        row!(s, who, KvClient.put(pb::PutRequest { lease: 13, ..put("w") }));
        row!(s, who, LeaseClient.lease_revoke(pb::LeaseRevokeRequest { id: 13 }));
        row!(s, who, LeaseClient.lease_revoke(pb::LeaseRevokeRequest { id: 99 }));
        row!(s, who, LeaseClient.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 12, keys: false }), no_ttl);
        row!(s, who, LeaseClient.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 13, keys: true }), no_ttl);
        s.keep_alive(who, 12).await;
    }
    row!(s, "root", LeaseClient.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 13, keys: true }), no_ttl);
    row!(s, "bob", LeaseClient.lease_grant(pb::LeaseGrantRequest { id: 21, ttl: 600 }));
    row!(s, NOBODY, LeaseClient.lease_grant(pb::LeaseGrantRequest { id: 22, ttl: 600 }));
    row!(s, FORGED, LeaseClient.lease_grant(pb::LeaseGrantRequest { id: 23, ttl: 600 }));
    let sorted = |answer: &mut pb::LeaseLeasesResponse| answer.leases.sort_by_key(|lease| lease.id);
    row!(s, NOBODY, LeaseClient.lease_leases(pb::LeaseLeasesRequest {}), sorted);
    row!(s, "root", KvClient.put(pb::PutRequest { lease: 14, ..put("w1") }));
    row!(s, "bob", LeaseClient.lease_revoke(pb::LeaseRevokeRequest { id: 14 }));
    row!(s, "ann", LeaseClient.lease_revoke(pb::LeaseRevokeRequest { id: 14 }));
    row!(s, NOBODY, LeaseClient.lease_revoke(pb::LeaseRevokeRequest { id: 21 }));
    row!(s, "root", LeaseClient.lease_revoke(pb::LeaseRevokeRequest { id: 13 }));
}

async fn streams(s: &mut Script) {
    s.watch("root", "\0", "\0", "a").await;
    s.watch("bob", "a", "e", "b").await;
    s.watch("bob", "a", "f", "b").await;
    s.watch("bob", "single", "", "single").await;
    s.watch("eve", "a", "", "a").await;
    s.watch("ann", "w", "\0", "zz").await;
    s.watch(NOBODY, "a", "", "a").await;
    s.watch(FORGED, "a", "", "a").await;
    row!(s, "root", LockClient.lock(LockRequest { name: "lock".into(), lease: 11 }));
    let lock = |name: &str| LockRequest { name: key(name), lease: 12 };
    for who in ["ann", "eve", NOBODY, FORGED] {
        row!(s, who, LockClient.lock(lock("w")));
        row!(s, who, LockClient.unlock(UnlockRequest { key: "w/c".into() }));
        row!(s, who, ElectionClient.leader(LeaderRequest { name: "w".into() }));
    }
}

/// What was not written down by us is not compared: only whether it was answered.
fn nothing<T>(_: &mut T) {}

async fn cluster(s: &mut Script) {
    for who in ["ann", NOBODY, FORGED] {
        let urls = vec!["http://127.0.0.1:1".to_owned()];
        row!(s, who, ClusterClient.member_add(pb::MemberAddRequest { peer_ur_ls: urls.clone(), is_learner: false }));
        row!(s, who, ClusterClient.member_add(pb::MemberAddRequest { peer_ur_ls: vec!["x".into()], is_learner: false }));
        row!(s, who, ClusterClient.member_remove(pb::MemberRemoveRequest { id: 7 }));
        row!(s, who, ClusterClient.member_update(pb::MemberUpdateRequest { id: 7, peer_ur_ls: urls }));
        row!(s, who, ClusterClient.member_promote(pb::MemberPromoteRequest { id: 7 }));
        row!(s, who, MaintenanceClient.hash_kv(pb::HashKvRequest::default()), nothing);
        row!(s, who, MaintenanceClient.defragment(pb::DefragmentRequest {}), nothing);
        row!(s, who, MaintenanceClient.alarm(pb::AlarmRequest::default()));
        row!(s, who, MaintenanceClient.move_leader(pb::MoveLeaderRequest { target_id: 7 }));
        let status = MaintenanceClient::new(s.channel.clone()).status(s.request(who, pb::StatusRequest {})).await;
        s.say(format!("{who} status"), status.map(|_| "answered".into()));
        let listed = ClusterClient::new(s.channel.clone()).member_list(s.request(who, pb::MemberListRequest { linearizable: true })).await;
        s.say(format!("{who} member_list"), listed.map(|_| "answered".into()));
    }
    row!(s, "root", ClusterClient.member_remove(pb::MemberRemoveRequest { id: 7 }));
}

async fn changes(s: &mut Script) {
    row!(s, "root", AuthClient.role_revoke_permission(revoke("reader", "c", "e")));
    row!(s, "bob", KvClient.range(range("a", "e")));
    row!(s, "bob", KvClient.range(range("a", "c")));
    row!(s, "root", AuthClient.user_revoke_role(revoke_role("bob", "reader")));
    row!(s, "bob", KvClient.range(range("a", "c")));
    row!(s, "root", AuthClient.user_grant_role(grant_role("bob", "root")));
    row!(s, "bob", KvClient.range(pb::RangeRequest { count_only: true, ..range("\0", "\0") }));
    row!(s, "bob", AuthClient.user_list(pb::AuthUserListRequest {}));
    let change = pb::AuthUserChangePasswordRequest { name: "bob".into(), password: "other".into(), ..Default::default() };
    row!(s, "root", AuthClient.user_change_password(change));
    row!(s, "bob", KvClient.range(range("a", "")));
    s.authenticate("bob", "pw").await;
    s.authenticate("bob", "other").await;
    row!(s, "bob", KvClient.range(range("a", "")));
    row!(s, "root", AuthClient.user_delete(pb::AuthUserDeleteRequest { name: "bob".into() }));
    row!(s, "bob", KvClient.range(range("a", "")));
    let none = pb::AuthUserChangePasswordRequest { name: "eve".into(), ..Default::default() };
    row!(s, "root", AuthClient.user_change_password(none));
    s.authenticate("eve", "").await;
    s.authenticate("eve", "pw").await;
    let certified = pb::AuthUserChangePasswordRequest { name: "certified".into(), password: "pw".into(), ..Default::default() };
    row!(s, "root", AuthClient.user_change_password(certified));
    s.authenticate("certified", "pw").await;
    row!(s, "root", AuthClient.auth_status(pb::AuthStatusRequest {}));
    row!(s, "root", AuthClient.auth_disable(pb::AuthDisableRequest {}));
    row!(s, "root", KvClient.range(range("a", "")));
    row!(s, NOBODY, AuthClient.auth_status(pb::AuthStatusRequest {}));
    s.authenticate("root", "pw-root").await;
    row!(s, NOBODY, KvClient.put(put("after")));
    row!(s, NOBODY, AuthClient.auth_enable(pb::AuthEnableRequest {}));
    row!(s, "root", KvClient.put(put("a")));
    s.authenticate("root", "pw-root").await;
    row!(s, "root", KvClient.put(put("a")));
    row!(s, "root", AuthClient.auth_status(pb::AuthStatusRequest {}));
}

/// What etcd 3.5.1 lets users do that they may not, and etcd since then, and we, do not. It writes there, so this comes last.
async fn holes(s: &mut Script) {
    row!(s, "root", AuthClient.user_add(user_add("fay", "pw")));
    row!(s, "root", AuthClient.role_add(role_add("blind")));
    row!(s, "root", AuthClient.role_grant_permission(grant("blind", Type::Write, "c", "")));
    row!(s, "root", AuthClient.user_grant_role(grant_role("fay", "blind")));
    row!(s, "root", KvClient.put(put("c")));
    row!(s, "root", KvClient.put(pb::PutRequest { lease: 22, ..put("secret") }));
    s.authenticate("fay", "pw").await;
    let previous = pb::PutRequest { prev_kv: true, ..put("c") };
    row!(s, "fay", KvClient.put(previous.clone()));
    row!(s, "fay", LeaseClient.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 22, keys: true }), no_ttl);
    row!(s, NOBODY, LeaseClient.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 22, keys: true }), no_ttl);
    let inner = |operation| txn(vec![], vec![Op::RequestTxn(txn(vec![], vec![operation], vec![]))], vec![]);
    row!(s, "fay", KvClient.txn(inner(Op::RequestRange(range("secret", "")))));
    row!(s, "fay", KvClient.txn(inner(Op::RequestPut(put("secret")))));
    row!(s, "fay", KvClient.txn(txn(vec![], vec![Op::RequestPut(previous)], vec![])));
    row!(s, "fay", KvClient.txn(txn(vec![], vec![Op::RequestPut(pb::PutRequest { lease: 22, ..put("c") })], vec![])));
}

async fn everything(endpoint: &str) -> Vec<(String, String)> {
    let mut script = Script::begin(endpoint).await;
    before(&mut script).await;
    tokens(&mut script).await;
    keys(&mut script).await;
    leases(&mut script).await;
    streams(&mut script).await;
    cluster(&mut script).await;
    changes(&mut script).await;
    holes(&mut script).await;
    script.said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd 3.5.1 (ETCD_3_5) and starts a cluster of processes; takes some ten seconds"]
async fn users_and_roles_answer_as_etcd_does() {
    let (etcd, cluster) = (Etcd::start(), Cluster::start(3));
    let follower = cluster.follower();
    let expected = everything(&etcd.endpoint).await;
    let said = everything(&cluster.nodes[follower].etcd).await;
    assert_eq!(said.len(), expected.len());
    let mut wrong = 0;
    for ((what, ours), (_, theirs)) in said.iter().zip(&expected) {
        let fits = ours == theirs
            || difference(what).is_some_and(|(_, of_theirs, of_ours)| {
                let refused = if of_ours.is_empty() { REFUSALS.contains(&ours.as_str()) } else { ours == of_ours };
                refused && theirs.starts_with(of_theirs)
            });
        if !fits {
            wrong += 1;
            println!("{what}\n  ours: {ours}\n  etcd: {theirs}");
        }
    }
    println!("{} rows", said.len());
    assert_eq!(wrong, 0, "of {} rows", said.len());
}

/// A user who may write and read `a`, and root; enabled.
async fn begin_with_ann(endpoint: &str) -> Script {
    let mut s = Script::begin(endpoint).await;
    row!(s, NOBODY, AuthClient.user_add(user_add("root", "pw-root")));
    row!(s, NOBODY, AuthClient.user_grant_role(grant_role("root", "root")));
    row!(s, NOBODY, AuthClient.user_add(user_add("ann", "pw")));
    row!(s, NOBODY, AuthClient.role_add(role_add("r")));
    row!(s, NOBODY, AuthClient.role_grant_permission(grant("r", Type::Readwrite, "a", "")));
    row!(s, NOBODY, AuthClient.user_grant_role(grant_role("ann", "r")));
    row!(s, NOBODY, AuthClient.auth_enable(pb::AuthEnableRequest {}));
    s.authenticate("root", "pw-root").await;
    s.authenticate("ann", "pw").await;
    let refused: Vec<_> = s.said.iter().filter(|(_, answer)| !answer.contains("Response {") && !answer.starts_with("token true")).collect();
    assert!(refused.is_empty(), "{refused:?}");
    s
}

/// What a put of this user at `a` comes to.
async fn try_put(s: &Script, who: &str) -> Result<(), Status> {
    KvClient::new(s.channel.clone()).put(s.request(who, put("a"))).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a cluster of processes and kills one; takes some ten seconds"]
async fn users_and_tokens_hold_on_every_member_and_outlive_leaders() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let s = begin_with_ann(&cluster.nodes[follower].etcd).await;
    for node in &cluster.nodes {
        let there = Script { channel: connect(&node.etcd).await, tokens: s.tokens.clone(), said: Vec::new() };
        try_put(&there, "ann").await.expect("a token is good everywhere");
        assert_eq!(try_put(&there, NOBODY).await.expect_err("nobody").message(), "etcdserver: user name is empty");
        assert_eq!(try_put(&there, FORGED).await.expect_err("forged").message(), "etcdserver: invalid auth token");
    }

    let create = pb::WatchCreateRequest { key: "a".into(), ..pb::WatchCreateRequest::default() };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
    let mut request = s.request("ann", requests);
    request.metadata_mut().remove("grpc-timeout");
    let mut watch = WatchClient::new(s.channel.clone()).watch(request).await.expect("opened").into_inner();
    assert!(watch.message().await.expect("goes on").expect("an answer").created);
    AuthClient::new(s.channel.clone()).user_revoke_role(s.request("root", revoke_role("ann", "r"))).await.expect("root may");
    try_put(&s, "root").await.expect("root may");
    let ended = tokio::time::timeout(LONG, watch.message()).await.expect("in time").expect("goes on").expect("an answer");
    assert!(ended.canceled && ended.events.is_empty() && ended.cancel_reason.contains("permission denied"), "{ended:?}");
    AuthClient::new(s.channel.clone()).user_grant_role(s.request("root", grant_role("ann", "r"))).await.expect("root may");

    let endpoints = cluster.endpoints().join(",");
    let run = |user: &[&str]| {
        support::steadfast(&[&["kv", "put", "a", "1", "--endpoints", &endpoints], user].concat()).output().expect("it runs")
    };
    let refused = run(&[]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("give --user"), "{refused:?}");
    let wrong = run(&["--user", "ann:no"]);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("authentication failed"), "{wrong:?}");
    assert!(run(&["--user", "ann:pw"]).status.success());

    tokio::task::block_in_place(|| cluster.nodes[leader].kill());
    let served = async { while try_put(&s, "ann").await.is_err() {} };
    tokio::time::timeout(LONG, served).await.expect("the token is good under another leader");
    tokio::task::block_in_place(|| cluster.nodes[leader].start_again());
    let mut back = Script::begin(&cluster.nodes[leader].etcd).await;
    let refused = async {
        loop {
            match try_put(&back, NOBODY).await {
                Err(status) if status.message() == "etcdserver: user name is empty" => return,
                Err(_) => {}
                Ok(()) => panic!("nobody wrote through a member that came back"),
            }
        }
    };
    tokio::time::timeout(LONG, refused).await.expect("it serves again");
    back.authenticate("ann", "pw").await;
    try_put(&back, "ann").await.expect("the password is still hers");
}
