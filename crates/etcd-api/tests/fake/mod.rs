//! A backend of one node in memory, without consensus: enough of the key space to see what the API makes of it, and switches for refusals.
#![allow(dead_code, unreachable_pub, reason = "each test and example uses a part of it")]

use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use steadfast_etcd_api::backend::*;
use steadfast_etcd_api::{ClientName, EtcdService};
use steadfast_state::alarm::{Alarm, AlarmChange};
use steadfast_state::auth::{Auth, AuthError, Caller};
use steadfast_state::command::*;
use steadfast_state::kv::pieces::{RangePiece, RangePieces, Rest};
use steadfast_state::watch::CancelReason;
use steadfast_types::{ClusterId, LeaseId, LogIndex, NodeId, Revision, Term};
use tokio::sync::{mpsc, watch};
use tower_service::Service;

pub const CLUSTER: ClusterId = ClusterId(0xC1);
pub const MEMBER: NodeId = NodeId(7);
pub const TERM: Term = Term(3);

#[derive(Clone)]
pub struct Fake(Arc<Inner>);

pub struct Inner {
    pub state: Mutex<FakeState>,
    pub leader: watch::Sender<Option<NodeId>>,
    pub learner: AtomicBool,
    pub linearized: AtomicI64,
    pub hub: mpsc::Sender<HubInput>,
}

#[derive(Default)]
pub struct FakeState {
    pub keys: BTreeMap<Bytes, KeyValue>,
    pub revision: i64,
    pub leases: BTreeMap<LeaseId, i64>,
    pub members: Vec<Member>,
    pub moved_to: Option<NodeId>,
    /// What every command and linearizable read is refused with.
    pub refusal: Option<Refusal>,
    /// What every command and read is answered with.
    pub error: Option<CommandError>,
    pub membership_refusal: Option<MembershipRefusal>,
    pub commands: Vec<Command>,
    /// What a snapshot holds.
    pub snapshot: Vec<u8>,
    pub auth: Arc<Auth>,
    pub alarms: Alarms,
    /// What this node hears of users and roles only by a read round. Commands are judged by it before.
    pub late_auth: Option<Arc<Auth>>,
    pub tokens: BTreeMap<String, Bearer>,
    /// Who opened watches.
    pub askers: Vec<Asker>,
    /// Answer puts without looking or remembering.
    pub blind: bool,
}

pub enum HubInput {
    Open(u64, mpsc::Sender<WatchDelivery>),
    Command(u64, WatchCommand),
    Publish(i64, Vec<Event>),
}

impl Fake {
    /// Needs a running runtime: the hub is a task.
    pub fn start() -> Self {
        let (hub, inputs) = mpsc::channel(64);
        tokio::spawn(run_hub(inputs));
        let member = Member { id: MEMBER, name: "n1".into(), peer_urls: vec!["http://127.0.0.1:2380".into()], ..Member::default() };
        let state = FakeState { revision: 1, members: vec![member], ..FakeState::default() };
        Fake(Arc::new(Inner {
            state: Mutex::new(state),
            leader: watch::channel(Some(MEMBER)).0,
            learner: AtomicBool::new(false),
            linearized: AtomicI64::new(0),
            hub,
        }))
    }

    pub fn state(&self) -> MutexGuard<'_, FakeState> {
        self.0.state.lock().expect("no test panics with it")
    }

    pub fn set_leader(&self, leader: Option<NodeId>) {
        self.0.leader.send_replace(leader);
    }

    pub fn set_learner(&self, learner: bool) {
        self.0.learner.store(learner, Ordering::Relaxed);
    }

    pub fn linearized(&self) -> i64 {
        self.0.linearized.load(Ordering::Relaxed)
    }

    /// Tells the watchers, past the key space.
    pub async fn publish(&self, revision: i64, events: Vec<Event>) {
        self.0.hub.send(HubInput::Publish(revision, events)).await.expect("the hub runs");
    }
}

/// Serves the fake on a port of its own.
pub async fn serve(fake: Fake) -> SocketAddr {
    serve_on(fake, "127.0.0.1:0").await
}

pub async fn serve_on(fake: Fake, address: &str) -> SocketAddr {
    serve_named(fake, address, None).await
}

/// Serves the fake to clients whose certificate has this name.
pub async fn serve_named(fake: Fake, address: &str, name: Option<&'static str>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind(address).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let http = axum::Router::new().route("/fine", axum::routing::get(|| async { "fine" }));
    let service = EtcdService::new(fake, http, 4);
    tokio::spawn(async move {
        let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        builder.http2().initial_stream_window_size(2 << 20).initial_connection_window_size(16 << 20).auto_date_header(false);
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("a TCP socket");
            let (builder, service) = (builder.clone(), TowerToHyperService::new(Named(service.clone(), name)));
            tokio::spawn(async move { builder.serve_connection(TokioIo::new(stream), service).await });
        }
    });
    address
}

/// Puts the name of the client's certificate into each request.
#[derive(Clone)]
struct Named<S>(S, Option<&'static str>);

impl<S: Service<http::Request<B>>, B> Service<http::Request<B>> for Named<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> S::Future {
        if let Some(name) = self.1 {
            request.extensions_mut().insert(ClientName(name.to_owned()));
        }
        self.0.call(request)
    }
}

impl FakeState {
    fn put(&mut self, put: Put) -> Outcome {
        self.revision += 1;
        let revision = Revision(self.revision);
        let old = self.keys.get(&put.key).cloned();
        let kv = KeyValue {
            key: put.key.clone(),
            value: put.value,
            lease: put.lease,
            create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.as_ref().map_or(1, |old| old.version + 1),
        };
        self.keys.insert(put.key, kv);
        Outcome::Put { prev_kv: old.filter(|_| put.prev_kv) }
    }

    fn delete(&mut self, delete: &DeleteRange) -> Outcome {
        let gone: Vec<_> = self.keys.keys().filter(|key| delete.keys.contains(key)).cloned().collect();
        let prev_kvs: Vec<_> = gone.iter().filter_map(|key| self.keys.remove(key)).collect();
        self.revision += i64::from(!prev_kvs.is_empty());
        Outcome::Deleted { deleted: prev_kvs.len() as i64, prev_kvs: if delete.prev_kv { prev_kvs } else { vec![] } }
    }

    fn range(&self, range: &Range) -> RangeResult {
        let kvs: Vec<_> = self.keys.values().filter(|kv| range.keys.contains(&kv.key)).cloned().collect();
        RangeResult { count: kvs.len() as i64, more: false, kvs }
    }

    /// Always the success list.
    fn txn(&mut self, txn: Txn) -> TxnResult {
        let before = self.revision;
        let responses = txn.success.into_iter().map(|operation| self.operation(operation)).collect();
        self.revision = self.revision.min(before + 1);
        TxnResult { succeeded: true, responses }
    }

    fn operation(&mut self, operation: Operation) -> Outcome {
        match operation {
            Operation::Range(range) => Outcome::Range(self.range(&range)),
            Operation::Put(put) => self.put(put),
            Operation::DeleteRange(delete) => self.delete(&delete),
            Operation::Txn(txn) => Outcome::Txn(self.txn(txn)),
        }
    }

    fn apply(&mut self, command: Command) -> Result<Outcome, CommandError> {
        if let Some(error) = self.error.clone() {
            return Err(error);
        }
        let command = match command {
            Command::Authorized(authorized) => authorized.command,
            _ if self.late_auth.as_ref().unwrap_or(&self.auth).is_enabled() => return Err(AuthError::UserEmpty.into()),
            command => command,
        };
        Ok(match command {
            Command::Put(_) if self.blind => {
                self.revision += 1;
                Outcome::Put { prev_kv: None }
            }
            Command::Put(put) => self.put(put),
            Command::DeleteRange(delete) => self.delete(&delete),
            Command::Txn(txn) => Outcome::Txn(self.txn(txn)),
            Command::LeaseGrant { id, ttl_s } => {
                self.leases.insert(id, ttl_s);
                Outcome::LeaseGranted { id, ttl_s }
            }
            Command::LeaseRevoke { id } => self.leases.remove(&id).map(|_| Outcome::Done).ok_or(CommandError::LeaseNotFound)?,
            Command::Alarm(AlarmChange::Raise { alarm, .. }) => {
                self.alarms.all.push(alarm);
                Outcome::Alarms(vec![alarm])
            }
            Command::Alarm(AlarmChange::Clear { alarm, .. }) => {
                let (gone, left): (Vec<Alarm>, Vec<Alarm>) = self.alarms.all.drain(..).partition(|raised| *raised == alarm);
                self.alarms.all = left;
                Outcome::Alarms(gone)
            }
            _ => Outcome::Done,
        })
    }
}

impl Backend for Fake {
    type WatchCommands = FakeCommands;
    type WatchDeliveries = FakeDeliveries;

    async fn propose(&self, command: Command) -> Result<Response, Refusal> {
        let (response, put) = {
            let mut state = self.state();
            if let Some(refusal) = state.refusal.clone() {
                return Err(refusal);
            }
            let put = match &command {
                Command::Put(put) if !state.blind => Some(put.key.clone()),
                _ => None,
            };
            if !state.blind {
                state.commands.push(command.clone());
            }
            let result = state.apply(command);
            let put = put.and_then(|key| state.keys.get(&key).cloned());
            (Response { revision: Revision(state.revision), result }, put)
        };
        if let Some(kv) = put {
            self.publish(kv.mod_revision.0, vec![Event { kind: EventKind::Put, kv, prev_kv: None }]).await;
        }
        Ok(response)
    }

    async fn change_membership(&self, change: MembershipChange) -> Result<MembershipChanged, MembershipRefusal> {
        let mut state = self.state();
        if let Some(refusal) = state.membership_refusal.clone() {
            return Err(refusal);
        }
        let mut added = None;
        match change {
            MembershipChange::Add { peer_urls, learner } => {
                added = Some(NodeId(8));
                state.members.push(Member { id: NodeId(8), peer_urls, learner, ..Member::default() });
            }
            MembershipChange::Remove { id } => state.members.retain(|member| member.id != id),
            MembershipChange::Promote { id } => {
                let member = state.members.iter_mut().find(|member| member.id == id).ok_or(CommandError::MemberNotFound)?;
                member.learner = false;
            }
            MembershipChange::Update { id, peer_urls } => {
                let member = state.members.iter_mut().find(|member| member.id == id).ok_or(CommandError::MemberNotFound)?;
                member.peer_urls = peer_urls;
            }
        }
        Ok(MembershipChanged { members: state.members.clone(), added })
    }

    async fn reclaim(&self) -> Result<(), Refusal> {
        self.state().refusal.clone().map_or(Ok(()), Err)
    }

    async fn move_leader(&self, to: NodeId) -> Result<(), Refusal> {
        let mut state = self.state();
        state.moved_to = Some(to);
        state.refusal.clone().map_or(Ok(()), Err)
    }

    async fn linearize(&self) -> Result<(), Refusal> {
        self.0.linearized.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if let Some(auth) = state.late_auth.take() {
            state.auth = auth;
        }
        state.refusal.clone().map_or(Ok(()), Err)
    }

    async fn await_revision(&self, revision: Revision) -> Result<(), Refusal> {
        if revision.0 <= self.state().revision { Ok(()) } else { Err(Refusal::TimedOut) }
    }

    fn range(&self, range: &Range) -> Result<(Revision, RangeResult), CommandError> {
        let state = self.state();
        state.error.clone().map_or_else(|| Ok((Revision(state.revision), state.range(range))), Err)
    }

    fn range_piece(&self, _: &RangePieces) -> Result<RangePiece, CommandError> {
        let state = self.state();
        let kvs = state.keys.values().cloned().collect::<Vec<_>>();
        let rest = Rest::End { more: false, count: kvs.len() as i64 };
        state.error.clone().map_or_else(|| Ok(RangePiece { revision: Revision(state.revision), kvs, rest }), Err)
    }

    fn read_txn(&self, txn: &Txn) -> Result<(Revision, TxnResult), CommandError> {
        let mut state = self.state();
        let result = state.txn(txn.clone());
        Ok((Revision(state.revision), result))
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<LeaseRenewal, Refusal> {
        let state = self.state();
        state.refusal.clone().map_or(Ok(()), Err)?;
        Ok(LeaseRenewal { revision: Revision(state.revision), ttl_s: state.leases.get(&id).copied().unwrap_or(0) })
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Option<LeaseInfo>, Refusal> {
        let state = self.state();
        let attached = || state.keys.values().filter(|kv| kv.lease == id).map(|kv| kv.key.clone()).collect();
        let keys = if keys { attached() } else { vec![] };
        Ok(state.leases.get(&id).map(|&granted_s| LeaseInfo { remaining_s: granted_s - 1, granted_s, keys }))
    }

    fn leases(&self) -> Result<Vec<LeaseId>, CommandError> {
        Ok(self.state().leases.keys().copied().collect())
    }

    fn members(&self) -> Result<Vec<Member>, CommandError> {
        Ok(self.state().members.clone())
    }

    fn alarms(&self) -> Result<Alarms, CommandError> {
        Ok(self.state().alarms.clone())
    }

    fn is_auth_enabled(&self) -> bool {
        self.state().auth.is_enabled()
    }

    fn auth(&self) -> Result<Arc<Auth>, CommandError> {
        Ok(self.state().auth.clone())
    }

    fn bearer(&self, token: &str) -> Bearer {
        self.state().tokens.get(token).cloned().unwrap_or(Bearer::Nobody)
    }

    async fn issue_token(&self, caller: Caller) -> Result<(Revision, String), TokenRefusal> {
        Ok((self.revision(), format!("token of {}", caller.user)))
    }

    fn identity(&self) -> Identity {
        Identity { cluster: CLUSTER, member: MEMBER }
    }

    fn term(&self) -> Term {
        TERM
    }

    fn revision(&self) -> Revision {
        Revision(self.state().revision)
    }

    fn is_learner(&self) -> bool {
        self.0.learner.load(Ordering::Relaxed)
    }

    fn leader(&self) -> watch::Receiver<Option<NodeId>> {
        self.0.leader.subscribe()
    }

    fn status(&self) -> NodeStatus {
        let (members, alarms) = {
            let state = self.state();
            (state.members.clone(), state.alarms.all.clone())
        };
        NodeStatus {
            name: "n1".into(),
            version: "0.1.0".into(),
            role: NodeRole::Leader,
            leader: *self.0.leader.borrow(),
            term: TERM,
            commit_index: LogIndex(10),
            applied_index: LogIndex(9),
            revision: self.revision(),
            compact_revision: Revision(-1),
            log_bytes: 1,
            table_bytes: 200,
            table_used_bytes: 100,
            resident_bytes: 3,
            members,
            followers: vec![FollowerStatus { id: NodeId(9), matched: LogIndex(8), lag_entries: 2, active: true }],
            alarms,
            ..NodeStatus::default()
        }
    }

    fn health(&self) -> Result<ClusterHealth, &'static str> {
        let healthy = MemberHealth {
            id: MEMBER,
            name: "n1".into(),
            is_agent: false,
            state: HealthState::Healthy,
            gossip: HealthState::Healthy,
            cause: String::new(),
            since_ms: 5,
            witnesses: Vec::new(),
            address: "127.0.0.1:2380".into(),
            incarnation: "1.0".into(),
        };
        let witnesses = vec!["n1".to_owned()];
        let failed =
            MemberHealth { id: NodeId(9), name: "a1".into(), is_agent: true, state: HealthState::Failed, witnesses, ..healthy.clone() };
        let service =
            ServiceHealth { service: "orders".into(), node: "a1".into(), state: HealthState::Degraded, since_ms: 7, cause: "slow".into() };
        let event = |number| HealthEvent {
            number,
            at_ms: 9,
            node: "a1".into(),
            service: String::new(),
            from: HealthState::Healthy,
            to: HealthState::Failed,
            cause: "silent for n1".into(),
        };
        Ok(ClusterHealth { members: vec![healthy, failed], services: vec![service], events: vec![event(1), event(2)], unread: None })
    }

    async fn diagnose(&self, node: String) -> Result<Vec<BundleFile>, UnknownNode> {
        match node.as_str() {
            "n1" => Ok(vec![BundleFile { name: "summary.txt".into(), text: "well".into() }]),
            _ => Err(UnknownNode { word: node, known: "n1".into() }),
        }
    }

    async fn test_alerts(&self) -> Vec<AlertDelivery> {
        vec![AlertDelivery { receiver: "webhook".into(), error: Some("refused".into()) }]
    }

    fn snapshot(&self, _wanted: &dyn Fn() -> bool) -> Result<Snapshot, LongReadError> {
        let state = self.state();
        let mut file = tempfile::tempfile().expect("a scratch file");
        file.write_all(&state.snapshot).and_then(|()| file.rewind()).expect("a scratch file");
        Ok(Snapshot { file, bytes: state.snapshot.len() as u64 })
    }

    fn hash(&self, _wanted: &dyn Fn() -> bool) -> Result<Hash, LongReadError> {
        Ok(Hash { revision: Revision(self.state().revision), hash: 7, ..Hash::default() })
    }

    fn hash_kv(&self, revision: Revision, _wanted: &dyn Fn() -> bool) -> Result<Hash, LongReadError> {
        let newest = Revision(self.state().revision);
        if revision > newest {
            return Err(CommandError::FutureRevision.into());
        }
        Ok(Hash { revision: newest, compact_revision: Revision(-1), hashed: revision, hash: 9 })
    }

    fn watch_stream(&self) -> (FakeCommands, FakeDeliveries) {
        static STREAMS: AtomicI64 = AtomicI64::new(0);
        let stream = STREAMS.fetch_add(1, Ordering::Relaxed) as u64;
        let (deliver, deliveries) = mpsc::channel(4);
        (FakeCommands { fake: self.clone(), stream, open: Some(deliver) }, FakeDeliveries(deliveries))
    }
}

pub struct FakeCommands {
    fake: Fake,
    stream: u64,
    open: Option<mpsc::Sender<WatchDelivery>>,
}

impl WatchCommands for FakeCommands {
    async fn send(&mut self, command: WatchCommand) -> Result<(), Refusal> {
        let hub = &self.fake.0.hub;
        if let Some(deliver) = self.open.take() {
            hub.send(HubInput::Open(self.stream, deliver)).await.map_err(|_| Refusal::Stopped)?;
        }
        if let WatchCommand::Create(create) = &command {
            self.fake.state().askers.push(create.asker.clone());
        }
        hub.send(HubInput::Command(self.stream, command)).await.map_err(|_| Refusal::Stopped)
    }
}

pub struct FakeDeliveries(mpsc::Receiver<WatchDelivery>);

impl WatchDeliveries for FakeDeliveries {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<WatchDelivery>> {
        self.0.poll_recv(context)
    }
}

struct FakeStream {
    deliver: mpsc::Sender<WatchDelivery>,
    watchers: BTreeMap<i64, WatchCreate>,
}

/// One stream that does not read drops deliveries here; the real hub catches it up.
async fn run_hub(mut inputs: mpsc::Receiver<HubInput>) {
    let mut streams: BTreeMap<u64, FakeStream> = BTreeMap::new();
    let mut revision = 1;
    while let Some(input) = inputs.recv().await {
        match input {
            HubInput::Open(id, deliver) => {
                streams.insert(id, FakeStream { deliver, watchers: BTreeMap::new() });
            }
            HubInput::Command(id, command) => {
                let Some(stream) = streams.get_mut(&id) else { continue };
                if let Some(delivery) = stream.command(command, revision) {
                    let _ = stream.deliver.try_send(delivery);
                }
            }
            HubInput::Publish(at, events) => {
                revision = at;
                streams.values().for_each(|stream| stream.publish(revision, &events));
            }
        }
    }
}

impl FakeStream {
    fn command(&mut self, command: WatchCommand, revision: i64) -> Option<WatchDelivery> {
        let answer = WatchDelivery { revision: Revision(revision), ..WatchDelivery::default() };
        match command {
            WatchCommand::Create(create) => {
                let free = (0..).find(|id| !self.watchers.contains_key(id)).expect("some id is free");
                let watch_id = create.watch_id.unwrap_or(free);
                let refused = |reason: CancelReason| WatchDelivery {
                    watch_id: -1,
                    created: true,
                    canceled: Some(reason.to_string()),
                    ..answer.clone()
                };
                if create.keys.is_empty() {
                    return Some(refused(CancelReason::EmptyRange));
                }
                if self.watchers.contains_key(&watch_id) {
                    return Some(refused(CancelReason::DuplicateWatchId));
                }
                self.watchers.insert(watch_id, create);
                Some(WatchDelivery { watch_id, created: true, ..answer })
            }
            WatchCommand::Cancel { watch_id } => {
                self.watchers.remove(&watch_id)?;
                Some(WatchDelivery { watch_id, canceled: Some(String::new()), ..answer })
            }
            WatchCommand::Progress => Some(WatchDelivery { watch_id: -1, ..answer }),
        }
    }

    fn publish(&self, revision: i64, events: &[Event]) {
        for (&watch_id, create) in &self.watchers {
            let as_asked = |event: &Event| Event { prev_kv: event.prev_kv.clone().filter(|_| create.prev_kv), ..event.clone() };
            let seen: Arc<[Event]> = events.iter().filter(|event| create.keys.contains(&event.kv.key)).map(as_asked).collect();
            if !seen.is_empty() {
                let revision = Revision(revision);
                let events = Arc::new(SharedEvents::new(seen));
                let delivery = WatchDelivery { watch_id, revision, events, fragment: create.fragment, ..WatchDelivery::default() };
                let _ = self.deliver.try_send(delivery);
            }
        }
    }
}
