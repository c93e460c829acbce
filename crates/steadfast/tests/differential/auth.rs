//! Users and roles: what is asked of them, by whom, and how a server is left without any.
//!
//! Tokens themselves are each server's own, so a request says only whose it is sent with, and each server is sent the one that it gave.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use steadfast_etcd_api::proto::authpb;
use steadfast_etcd_api::proto::etcdserverpb as pb;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::request::{Generator, Request};
use crate::server::{Answer, Kind, Server};
use pb::auth_client::AuthClient;

/// In whose name something is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Who {
    /// Without a token.
    Nobody,
    /// With one that no server gave.
    Forged,
    /// With the last one that this user was given; without one before that.
    User(&'static str),
    /// With the one before that.
    Before(&'static str),
}

/// A call of the Auth service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AuthRequest {
    Enable(pb::AuthEnableRequest),
    Disable(pb::AuthDisableRequest),
    Status(pb::AuthStatusRequest),
    /// Its token is for whoever asks in this name from then on.
    Authenticate(&'static str, &'static str),
    UserAdd(pb::AuthUserAddRequest),
    UserGet(pb::AuthUserGetRequest),
    UserList(pb::AuthUserListRequest),
    UserDelete(pb::AuthUserDeleteRequest),
    ChangePassword(pb::AuthUserChangePasswordRequest),
    GrantRole(pb::AuthUserGrantRoleRequest),
    RevokeRole(pb::AuthUserRevokeRoleRequest),
    RoleAdd(pb::AuthRoleAddRequest),
    RoleGet(pb::AuthRoleGetRequest),
    RoleList(pb::AuthRoleListRequest),
    RoleDelete(pb::AuthRoleDeleteRequest),
    Grant(pb::AuthRoleGrantPermissionRequest),
    Revoke(pb::AuthRoleRevokePermissionRequest),
}

/// The tokens that a server gave: by user the last, and the one before.
pub(crate) type Tokens = BTreeMap<&'static str, (Option<MetadataValue<Ascii>>, Option<MetadataValue<Ascii>>)>;

/// Sends a token with each request, if there is one.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// A connection in somebody's name.
pub(crate) type Named = InterceptedService<Channel, Bearer>;

pub(crate) fn named(channel: &Channel, who: &Who, tokens: &Tokens) -> Named {
    let of = |name| tokens.get(name).cloned().unwrap_or_default();
    let token = match who {
        Who::Nobody => None,
        Who::Forged => Some(MetadataValue::from_static("abcdefghijklmnop.7")),
        Who::User(name) => of(*name).0,
        Who::Before(name) => of(*name).1,
    };
    InterceptedService::new(channel.clone(), Bearer(token))
}

const ROOT: &str = "root";
const USERS: [&str; 3] = ["ann", "bob", "eve"];
const ROLES: [&str; 3] = ["r0", "r1", "r2"];
const PASSWORDS: [&str; 2] = ["one", "two"];

impl AuthRequest {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            AuthRequest::Enable(_) => "AuthEnable",
            AuthRequest::Disable(_) => "AuthDisable",
            AuthRequest::Status(_) => "AuthStatus",
            AuthRequest::Authenticate(..) => "Authenticate",
            AuthRequest::UserAdd(_) => "UserAdd",
            AuthRequest::UserGet(_) => "UserGet",
            AuthRequest::UserList(_) => "UserList",
            AuthRequest::UserDelete(_) => "UserDelete",
            AuthRequest::ChangePassword(_) => "UserChangePassword",
            AuthRequest::GrantRole(_) => "UserGrantRole",
            AuthRequest::RevokeRole(_) => "UserRevokeRole",
            AuthRequest::RoleAdd(_) => "RoleAdd",
            AuthRequest::RoleGet(_) => "RoleGet",
            AuthRequest::RoleList(_) => "RoleList",
            AuthRequest::RoleDelete(_) => "RoleDelete",
            AuthRequest::Grant(_) => "RoleGrantPerm",
            AuthRequest::Revoke(_) => "RoleRevokePerm",
        }
    }
}

impl Server {
    pub(crate) async fn ask_auth(&mut self, channel: Named, request: AuthRequest) -> Answer {
        let mut auth = AuthClient::new(channel);
        macro_rules! ask {
            ($method:ident($message:expr)) => {
                ask!($method($message), |_| true)
            };
            ($method:ident($message:expr), $is_data:expr) => {{
                let answer = auth.$method($message).await;
                self.told(answer, |r| &mut r.header, $is_data)
            }};
        }
        match request {
            AuthRequest::Enable(message) => ask!(auth_enable(message)),
            AuthRequest::Disable(message) => ask!(auth_disable(message)),
            AuthRequest::Status(message) => ask!(auth_status(message)),
            AuthRequest::Authenticate(name, password) => {
                let message = pb::AuthenticateRequest { name: name.into(), password: password.into() };
                let mut answer = auth.authenticate(message).await;
                if let Ok(answer) = &mut answer {
                    let token = std::mem::replace(&mut answer.get_mut().token, "(a token)".into());
                    let of = self.tokens.entry(name).or_default();
                    *of = (Some(token.parse().expect("text")), of.0.take());
                }
                self.told(answer, |r| &mut r.header, |_| true)
            }
            AuthRequest::UserAdd(message) => ask!(user_add(message)),
            AuthRequest::UserGet(message) => ask!(user_get(message), |r| !r.roles.is_empty()),
            AuthRequest::UserList(message) => ask!(user_list(message), |r| !r.users.is_empty()),
            AuthRequest::UserDelete(message) => ask!(user_delete(message)),
            AuthRequest::ChangePassword(message) => ask!(user_change_password(message)),
            AuthRequest::GrantRole(message) => ask!(user_grant_role(message)),
            AuthRequest::RevokeRole(message) => ask!(user_revoke_role(message)),
            AuthRequest::RoleAdd(message) => ask!(role_add(message)),
            AuthRequest::RoleGet(message) => ask!(role_get(message), |r| !r.perm.is_empty()),
            AuthRequest::RoleList(message) => ask!(role_list(message), |r| !r.roles.is_empty()),
            AuthRequest::RoleDelete(message) => ask!(role_delete(message)),
            AuthRequest::Grant(message) => ask!(role_grant_permission(message)),
            AuthRequest::Revoke(message) => ask!(role_revoke_permission(message)),
        }
    }
}

/// Leaves a server without users and roles, whatever the last episode left there.
pub(crate) async fn end(channel: &Channel) {
    let nobody = || AuthClient::new(channel.clone());
    for password in PASSWORDS {
        let message = pb::AuthenticateRequest { name: ROOT.into(), password: password.into() };
        match nobody().authenticate(message).await {
            Ok(answer) => {
                let tokens = [(ROOT, (Some(answer.into_inner().token.parse().expect("text")), None))].into();
                let mut root = AuthClient::new(named(channel, &Who::User(ROOT), &tokens));
                root.auth_disable(pb::AuthDisableRequest {}).await.expect("root may");
                break;
            }
            Err(status) if status.code() == Code::FailedPrecondition => break,
            Err(status) => assert!(password != PASSWORDS[1], "root can't authenticate: {status}"),
        }
    }
    for name in nobody().user_list(pb::AuthUserListRequest {}).await.expect("not checked any more").into_inner().users {
        nobody().user_delete(pb::AuthUserDeleteRequest { name }).await.expect("deleted");
    }
    for role in nobody().role_list(pb::AuthRoleListRequest {}).await.expect("not checked any more").into_inner().roles {
        nobody().role_delete(pb::AuthRoleDeleteRequest { role }).await.expect("deleted");
    }
}

async fn revision(channel: &Channel) -> u64 {
    let status = AuthClient::new(channel.clone()).auth_status(pb::AuthStatusRequest {}).await;
    status.expect("not checked").into_inner().auth_revision
}

/// Makes both servers' auth revisions equal.
pub(crate) async fn level(one: &Channel, other: &Channel) {
    let (a, b) = tokio::join!(revision(one), revision(other));
    if a == b {
        return;
    }
    let aim = a.max(b);
    for (channel, now) in [(one, a), (other, b)] {
        let mut auth = AuthClient::new(channel.clone());
        let user = pb::AuthUserAddRequest { name: "x".into(), password: "x".into(), ..pb::AuthUserAddRequest::default() };
        auth.user_add(user).await.expect("added");
        for _ in now..aim {
            let change = pb::AuthUserChangePasswordRequest { name: "x".into(), password: "x".into(), ..Default::default() };
            auth.user_change_password(change).await.expect("changed");
        }
        auth.user_delete(pb::AuthUserDeleteRequest { name: "x".into() }).await.expect("deleted");
    }
}

/// Why an answer of ours may be another than etcd 3.5.1's.
pub(crate) fn is_meant(request: &Request, ours: &Answer, theirs: &Answer) -> bool {
    let Request::By(_, request) = request else { return false };
    match &**request {
        // The keys of a lease are told to those who may read them.
        Request::TimeToLive(ask) => {
            let refusals = [
                "PermissionDenied: etcdserver: permission denied",
                "InvalidArgument: etcdserver: user name is empty",
                "Unauthenticated: etcdserver: invalid auth token",
            ];
            ask.keys && refusals.contains(&ours.text.as_str())
        }
        // An impossible time is refused before anybody looks at the token.
        Request::Grant(grant) => grant.ttl > 9_000_000_000 && (ours.kind, theirs.kind) == (Kind::Error, Kind::Error),
        // A watch without an end needs the right to read all its keys, not the first alone.
        Request::TryWatch(create) => create.range_end[..] == [0] && ours.kind == Kind::Error,
        _ => false,
    }
}

/// Whether a span that holds no key, for its end is not behind its beginning, is permitted, depends in etcd on how its tree of permissions grew.
fn straighten(key: &Bytes, range_end: &mut Bytes) {
    if !range_end.is_empty() && range_end[..] != [0] && *range_end <= *key {
        range_end.clear();
    }
}

fn straighten_txn(txn: &mut pb::TxnRequest) {
    txn.compare.iter_mut().for_each(|compare| straighten(&compare.key, &mut compare.range_end));
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(pb::request_op::Request::RequestRange(range)) => straighten(&range.key, &mut range.range_end),
            Some(pb::request_op::Request::RequestDeleteRange(delete)) => straighten(&delete.key, &mut delete.range_end),
            _ => {}
        }
    }
}

/// Draws an episode with users and roles.
pub(crate) struct AuthGenerator {
    rng: Rng,
    keys: Generator,
    /// What is done next.
    plan: VecDeque<Request>,
    /// Whether nobody is checked, if all goes as it should: every token has ended.
    disabled: bool,
    /// The end of what a role is granted from a key on: always the same. Of several ends etcd finds the first alone, and grants the others twice.
    ends: BTreeMap<(&'static str, Bytes), Bytes>,
    /// What was granted, to be revoked.
    granted: Vec<(&'static str, Bytes, Bytes)>,
    /// The passwords that users have, if all goes as it should.
    passwords: BTreeMap<&'static str, &'static str>,
}

fn by_root(request: AuthRequest) -> Request {
    Request::By(Who::User(ROOT), Box::new(Request::Auth(request)))
}

fn user_add(name: &str, password: &str, no_password: bool) -> AuthRequest {
    let options = no_password.then_some(authpb::UserAddOptions { no_password });
    let (name, password) = (name.into(), password.into());
    AuthRequest::UserAdd(pb::AuthUserAddRequest { name, password, options, ..pb::AuthUserAddRequest::default() })
}

fn grant_role(user: &str, role: &str) -> AuthRequest {
    AuthRequest::GrantRole(pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() })
}

fn grant(role: &str, perm_type: i32, (key, range_end): (Bytes, Bytes)) -> AuthRequest {
    let perm = Some(authpb::Permission { perm_type, key, range_end });
    AuthRequest::Grant(pb::AuthRoleGrantPermissionRequest { name: role.into(), perm })
}

impl AuthGenerator {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut keys = Generator::new(rng.u64(..));
        let (read, write) = (0, 1);
        let all = (Bytes::from_static(&[0]), Bytes::from_static(&[0]));
        let mut plan = vec![user_add(ROOT, PASSWORDS[0], false), grant_role(ROOT, ROOT)];
        plan.extend(USERS.map(|user| user_add(user, PASSWORDS[0], false)));
        plan.extend(ROLES.map(|role| AuthRequest::RoleAdd(pb::AuthRoleAddRequest { name: role.into() })));
        plan.extend([grant("r0", read, all.clone()), grant("r0", write, all), grant("r1", read + 2, keys.span(1))]);
        plan.push(grant("r2", write, keys.span(3)));
        plan.extend([grant_role("ann", "r0"), grant_role("ann", "r1"), grant_role("bob", "r1"), grant_role("eve", "r2")]);
        plan.push(AuthRequest::Enable(pb::AuthEnableRequest {}));
        plan.extend([ROOT, USERS[0], USERS[1], USERS[2]].map(|user| AuthRequest::Authenticate(user, PASSWORDS[0])));
        let granted = |request: &AuthRequest| match request {
            AuthRequest::Grant(message) => {
                let role = ROLES.into_iter().find(|role| *role == message.name)?;
                message.perm.as_ref().map(|perm| ((role, perm.key.clone()), perm.range_end.clone()))
            }
            _ => None,
        };
        let ends = plan.iter().filter_map(granted).collect();
        let plan = plan.into_iter().map(by_root).collect();
        let passwords = [ROOT, USERS[0], USERS[1], USERS[2]].map(|user| (user, PASSWORDS[0])).into();
        AuthGenerator { rng, keys, plan, disabled: false, ends, granted: Vec::new(), passwords }
    }

    pub(crate) fn next(&mut self) -> Request {
        if let Some(request) = self.plan.pop_front() {
            return request;
        }
        let who = if self.disabled && self.rng.u32(..4) > 0 { Who::Nobody } else { self.who() };
        let request = match self.rng.u32(..1000) {
            0..590 => self.of_keys(),
            590..620 => {
                let mut create = self.keys.watch_now();
                straighten(&create.key, &mut create.range_end);
                Request::TryWatch(create)
            }
            620..700 => self.authenticate(),
            _ => {
                // Managed by root, most often.
                let request = match self.disabled && self.rng.u32(..8) == 0 {
                    true => AuthRequest::Enable(pb::AuthEnableRequest {}),
                    false => self.of_users(),
                };
                self.authenticate_after(&request);
                let request = Request::Auth(request);
                let manager = if self.disabled { Who::Nobody } else { Who::User(ROOT) };
                let who = if self.rng.u32(..8) == 0 { who } else { manager };
                return Request::By(who, Box::new(request));
            }
        };
        Request::By(who, Box::new(request))
    }

    fn who(&mut self) -> Who {
        let any = [ROOT, USERS[0], USERS[1], USERS[2]][self.rng.usize(..4)];
        match self.rng.u32(..100) {
            0..54 => Who::User(ROOT),
            54..76 => Who::User("ann"),
            76..85 => Who::User("bob"),
            85..92 => Who::User("eve"),
            92..95 => Who::Before(any),
            95..98 => Who::Nobody,
            _ => Who::Forged,
        }
    }

    /// What etcd 3.5.1 does not check, and we do, is left out: inner transactions, and of puts in transactions previous values and leases.
    fn of_keys(&mut self) -> Request {
        loop {
            let mut request = self.keys.next();
            match &mut request {
                Request::Watch(_) | Request::Unwatch(_) => continue,
                Request::Txn(txn) => {
                    for op in txn.success.iter_mut().chain(&mut txn.failure) {
                        match &mut op.request {
                            Some(pb::request_op::Request::RequestTxn(_)) => op.request = Some(self.keys.range_op()),
                            Some(pb::request_op::Request::RequestPut(put)) => {
                                (put.prev_kv, put.lease, put.ignore_lease) = (false, 0, false);
                            }
                            _ => {}
                        }
                    }
                    straighten_txn(txn);
                }
                Request::Range(range) => straighten(&range.key, &mut range.range_end),
                Request::DeleteRange(delete) => straighten(&delete.key, &mut delete.range_end),
                _ => {}
            }
            return request;
        }
    }

    fn authenticate(&mut self) -> Request {
        let user = [ROOT, ROOT, USERS[0], USERS[1], USERS[2]][self.rng.usize(..5)];
        let known = self.passwords.get(user).copied().unwrap_or(PASSWORDS[0]);
        let password = if self.rng.u32(..12) == 0 { ["", "one", "two", "three"][self.rng.usize(..4)] } else { known };
        Request::Auth(AuthRequest::Authenticate(user, password))
    }

    /// Most often those whose tokens end get others.
    fn authenticate_after(&mut self, request: &AuthRequest) {
        self.disabled = match request {
            AuthRequest::Disable(_) => true,
            AuthRequest::Enable(_) => false,
            _ => self.disabled,
        };
        let name = match request {
            AuthRequest::ChangePassword(message) => message.name.as_str(),
            AuthRequest::UserAdd(message) => message.name.as_str(),
            AuthRequest::Enable(_) => ROOT,
            _ => return,
        };
        let known = self.passwords.get_key_value(name).map(|(name, password)| (*name, *password));
        if let Some((name, password)) = known.filter(|_| self.rng.u32(..4) > 0) {
            self.plan.push_back(by_root(AuthRequest::Authenticate(name, password)));
        }
        if matches!(request, AuthRequest::UserAdd(_)) && name == ROOT {
            self.plan.push_back(by_root(grant_role(ROOT, ROOT)));
            self.plan.push_back(by_root(AuthRequest::Enable(pb::AuthEnableRequest {})));
        }
        if *request == AuthRequest::Enable(pb::AuthEnableRequest {}) {
            self.plan.push_back(by_root(AuthRequest::Authenticate("ann", self.passwords["ann"])));
        }
    }

    fn user(&mut self) -> &'static str {
        match self.rng.u32(..40) {
            0 => "",
            1 => "nobody",
            2..4 => ROOT,
            n => USERS[n as usize % USERS.len()],
        }
    }

    fn role(&mut self) -> &'static str {
        match self.rng.u32(..40) {
            0 => "",
            1 => "missing",
            2..4 => ROOT,
            n => ROLES[n as usize % ROLES.len()],
        }
    }

    /// A new password for a user. Root keeps one that this test knows.
    fn new_password(&mut self, user: &'static str) -> &'static str {
        let password = if user != ROOT && self.rng.u32(..8) == 0 { "" } else { PASSWORDS[self.rng.usize(..2)] };
        self.passwords.insert(user, password);
        password
    }

    fn of_users(&mut self) -> AuthRequest {
        let (user, role) = (self.user(), self.role());
        match self.rng.u32(..100) {
            0..2 => AuthRequest::Disable(pb::AuthDisableRequest {}),
            2..8 => AuthRequest::Enable(pb::AuthEnableRequest {}),
            8..18 => AuthRequest::Status(pb::AuthStatusRequest {}),
            18..24 => {
                let no_password = user != ROOT && self.rng.u32(..6) == 0;
                user_add(user, self.new_password(user), no_password)
            }
            24..32 => AuthRequest::UserGet(pb::AuthUserGetRequest { name: user.into() }),
            32..40 => AuthRequest::UserList(pb::AuthUserListRequest {}),
            40..42 => AuthRequest::UserDelete(pb::AuthUserDeleteRequest { name: user.into() }),
            42..47 => {
                let password = self.new_password(user).into();
                AuthRequest::ChangePassword(pb::AuthUserChangePasswordRequest { name: user.into(), password, ..Default::default() })
            }
            47..57 => grant_role(user, role),
            57..60 => AuthRequest::RevokeRole(pb::AuthUserRevokeRoleRequest { name: user.into(), role: role.into() }),
            60..63 => AuthRequest::RoleAdd(pb::AuthRoleAddRequest { name: role.into() }),
            63..72 => AuthRequest::RoleGet(pb::AuthRoleGetRequest { role: role.into() }),
            72..78 => AuthRequest::RoleList(pb::AuthRoleListRequest {}),
            78..80 => AuthRequest::RoleDelete(pb::AuthRoleDeleteRequest { role: role.into() }),
            80..94 => {
                let (key, end) = self.keys.span(3);
                let range_end = self.ends.entry((role, key.clone())).or_insert(end).clone();
                self.granted.push((role, key.clone(), range_end.clone()));
                match self.rng.u32(..30) {
                    0 => AuthRequest::Grant(pb::AuthRoleGrantPermissionRequest { name: role.into(), perm: None }),
                    _ => grant(role, self.rng.i32(0..3), (key, range_end)),
                }
            }
            _ => {
                let granted = (!self.granted.is_empty()).then(|| self.rng.usize(..self.granted.len()));
                let (role, key, range_end) = match granted.filter(|_| self.rng.u32(..4) > 0) {
                    Some(granted) => self.granted.swap_remove(granted),
                    None => (role, self.keys.key(), Bytes::new()),
                };
                AuthRequest::Revoke(pb::AuthRoleRevokePermissionRequest { role: role.into(), key, range_end })
            }
        }
    }
}
