//! A node from its start to its end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use steadfast_etcd_api::{Backend as _, EtcdService};
use steadfast_node::{Input, Notice, start};
use steadfast_state::Changes;
use steadfast_state::alarm::Alarm;
use steadfast_state::auth::AuthEvent;
use steadfast_state::command::{Command, Member};
use steadfast_storage::disk::FileDisk;
use steadfast_storage::log::LogOptions;
use steadfast_storage::tables::TablesOptions;
use steadfast_types::{Level, NodeId};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, AdminStatus, FaultDesk, Metrics};
use crate::agent;
use crate::alerts::{self, Alerting};
use crate::available;
use crate::backend::{NodeBackend, REQUEST_TIMEOUT};
use crate::checks;
use crate::clients::{self, Greeter};
use crate::clock::Clock;
use crate::coordination::OwnCluster;
use crate::core_loop::{self, Ended, Item, Surroundings};
use crate::diagnosis::{self, Diagnosis};
use crate::errors::{StartError, listen};
use crate::fault_table::Faults;
use crate::formation::{ClaimGrant, ClaimRefusal, Claims, FrontDesk, settle_or_be_admitted};
use crate::genesis::Genesis;
use crate::gossip::{self, Attendance, Desk, Ended as GossipEnded, Gossip};
use crate::health::{self, Counted, Part, ReportDesk};
use crate::identity::{Directory, Membership, random};
use crate::inbox::Inbox;
use crate::options::{NodeRole, ServerOptions, peer_address};
use crate::peers::{LocalPeer, PeerEvent, PeerEvents, PeerTransport};
use crate::ports::Ports;
use crate::published::Published;
use crate::recovery::restarter::{self, Restarter, Restarting};
use crate::recovery::{self, admission, ledger::Ledger, members::Members};
use crate::snapshots::Scratch;
use crate::tokens::{TokenKind, Tokens};
use crate::watches::Watches;

/// Where the node's log and tables lie in its data directory.
pub(crate) const STORE: &str = "store";

/// Where available state lies there.
const AVAILABLE: &str = "available";

/// How long client connections may linger at a stop.
const DRAIN: Duration = Duration::from_millis(500);

/// How a node ended that did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its data directory can't be opened.
    #[error("{path}: {reason}")]
    Store {
        /// The directory.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The operating system gave no thread, signal handler or runtime.
    #[error("the system refuses what a node needs: {0}")]
    System(#[from] std::io::Error),
    /// It was removed from the cluster.
    #[error("this member was removed from the cluster; to bring the machine back, empty {path} and add it as a new member")]
    Removed {
        /// Its directory.
        path: String,
    },
    /// It met something that it can't go on with.
    #[error("the node stopped: {0}")]
    Fault(String),
}

/// Runs a node until SIGINT or SIGTERM, then stops it cleanly: leadership is handed over first.
///
/// # Errors
/// The node did not start, or could not go on.
pub fn run(options: ServerOptions) -> Result<(), RunError> {
    options.validate().map_err(StartError::from)?;
    raise_descriptor_limit();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        match options.role {
            NodeRole::Server | NodeRole::Spare => serve(options).await,
            NodeRole::Agent => agent::serve(options).await,
        }
    })
}

/// Each connection takes a file descriptor: as many as the system lets this process have, not the few that it begins with.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of open files stays at {:?}: that bounds the clients this node can serve", limit.current);
    }
}

async fn serve(options: ServerOptions) -> Result<(), RunError> {
    let mut stop_signal = StopSignal::new()?;
    let clients = listen("listen-client", options.listen_client).await?;
    let peers = listen("listen-peer", options.listen_peer).await?;
    let admin = listen("listen-admin", options.listen_admin).await?;
    let redis = match options.listen_redis {
        Some(address) => Some(listen("listen-redis", address).await?.into_std()?),
        None => None,
    };
    let mut directory = Directory::open(&options.data_dir, &options.name, &options.advertise_peer).map_err(StartError::from)?;
    let metrics = Metrics::new();
    let ports = Ports::secure(&options, &metrics)?;
    let membership = tokio::select! {
        settled = settle_or_be_admitted(&options, &mut directory, &peers, &ports.link) => settled.map_err(StartError::from)?,
        () = stop_signal.wait() => return Ok(()),
    };
    let node = Running::start(&options, directory, membership, (clients, peers, admin, redis), (&ports, metrics))?;
    tokio::select! {
        () = stop_signal.wait() => tracing::info!("stopping: asked to"),
        () = node.core_ended() => {}
    }
    node.stop().await
}

/// SIGINT or SIGTERM.
pub(crate) struct StopSignal {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignal {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(StopSignal { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {}, _ = self.terminate.recv() => {} }
    }
}

/// A node whose threads and tasks run.
pub(crate) struct Running {
    /// For what runs inside the node and keeps records.
    #[cfg_attr(not(test), expect(dead_code, reason = "its users, the planners that run in a node, come with their crates"))]
    pub(crate) coordination: OwnCluster,
    path: String,
    core: Inbox<Item>,
    ended: watch::Receiver<Option<Result<(), String>>>,
    removed: Arc<AtomicBool>,
    transport: PeerTransport,
    watches: Watches,
    /// `None`: this node takes no part in it.
    gossip: Option<Gossip>,
    /// `None`: this node serves no available state.
    available: Option<tokio::task::JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Running {
    pub(crate) fn start(
        options: &ServerOptions,
        directory: Directory,
        membership: Membership,
        (clients, peers, admin, redis): (TcpListener, TcpListener, TcpListener, Option<std::net::TcpListener>),
        (ports, metrics): (&Ports, Metrics),
    ) -> Result<Self, RunError> {
        let faults = if options.faults { enable_faults() } else { Faults::default() };
        let (id, incarnation, clock) = (directory.identity().node, random(), Clock::new(faults));
        let (core, watches) = (Inbox::new(), Watches::new());
        let published = Arc::new(Published::new(id));
        let tokens = TokenKind::parse(&options.auth_token).and_then(|kind| Tokens::new(&kind, clock)).map_err(StartError::from)?;
        let store = options.data_dir.join(STORE);
        let opened = open_store(&store, options, id, incarnation, &membership, clock)?;
        let (address, life) = (peers.local_addr()?, directory.begin_life().map_err(StartError::from)?);
        let (publish_health, health_views) = watch::channel(Arc::default());
        let gossip = gossip::start(options, (&directory, life), &membership, address, (&ports.link, clock, &metrics, faults))?;
        let backend = NodeBackend::new(
            (membership.cluster, id, options.name.clone(), gossip.clone(), health_views.clone()),
            core.clone(),
            clock,
            published.clone(),
            (watches.clone(), tokens.clone()),
            metrics.clone(),
            Scratch::open(&options.data_dir)?,
        );
        let (stop, stopping) = watch::channel(false);
        let coordination = OwnCluster::new(backend.clone());
        let following = checks::follow(coordination.clone(), stopping.clone());
        let restarts = checks::follow(coordination.clone(), stopping.clone());
        let place = diagnosis::Place::new(options, (membership.cluster, id), &ports.link, &metrics);
        let diagnosis = Diagnosis::new(diagnosis::Place {
            gossip: gossip.clone().ok(),
            published: Some(published.clone()),
            health: Some(health_views.clone()),
            ..place
        });
        backend.show(diagnosis.clone());
        let local = LocalPeer { cluster: membership.cluster, node: id, incarnation, address: options.advertise_peer.clone() };
        let reports = gossip.as_ref().ok().map(|gossip| {
            health::desk(backend.clone(), gossip.clone(), (clock, metrics.clone()), health::checks_of(following.clone(), restarts.clone()))
        });
        let attendance = Servers { genesis: membership.genesis.clone(), backend: backend.clone(), reports: reports.clone() };
        let desk = Desk::new(gossip.clone(), attendance, FrontDesk::new(membership.clone(), backend.clone()));
        let desk = diagnosis::Answering::new(diagnosis.clone(), desk);
        let restarter = restarter::Part {
            cluster: membership.cluster,
            node: id,
            is_enabled: options.enable_script_checks,
            directory: options.data_dir.clone(),
            declared: checks::of_node(restarts.clone(), options.name.clone()),
        };
        let desk = Restarting::new(Restarter::new(restarter).map_err(StartError::from)?, desk);
        let gossip = gossip.ok();
        let ledger = Ledger::new(coordination.clone(), membership.cluster, random()).expect("the names of its records are short");
        let members = Members {
            me: id,
            backend: backend.clone(),
            published: published.clone(),
            gossip: gossip.clone(),
            decided: health_views.clone(),
            restarts,
            link: ports.link.clone(),
        };
        let (removals, removed_agents) = watch::channel(None);
        let (failing, failures) = watch::channel(recovery::Failing::new());
        let desk = admission::Desk::new((membership.genesis.clone(), members.clone(), ledger.clone()), (failures, clock), desk);
        // Before the core's first turn: until it is told who they are it promotes nobody.
        core.push(Item::Input(Input::Spares(None)));
        if let Some(gossip) = gossip.clone() {
            tokio::spawn(report_namesake(gossip));
        }
        let transport = PeerTransport::start_over(peers, (local, ports.link.clone()), ToCore(core.clone()), desk, metrics.clone(), faults);
        let (show_available, available_views) = watch::channel(None);
        let founders = membership.genesis.bootstrap().configuration.members();
        let available = redis.map(|listener| {
            let part = available::Part {
                node: id,
                is_first_life: life.count == 1,
                directory: options.data_dir.join(AVAILABLE),
                listener,
                tls: ports.clients.clone(),
                durability: options.redis_durability,
                memory_bytes: match options.redis_memory_bytes {
                    0 => usize::MAX,
                    bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
                },
                registry: available::Registry::new(coordination.clone(), (membership.cluster, founders), random())
                    .expect("its names are short"),
                strong: available::Record::new(coordination.clone(), membership.cluster, random()).expect("its names are short"),
                users: available::Record::new(coordination.clone(), membership.cluster, random()).expect("its names are short"),
                transport: transport.clone(),
                published: published.clone(),
                stopping: stopping.clone(),
            };
            available::serve(part, show_available)
        });
        let serves_available = available.is_some();
        backend.show_replica(available_views);
        let available = available.map(|serving| tokio::spawn(serve_available(serving, core.clone())));
        let observer = health::Observer::of(&transport, id, clock);
        transport.add_contacts(membership.contacts.clone());
        diagnosis.hear(transport.clone());
        let (members_changed, members_changes) = watch::channel(());
        let counted = Counted::default();
        let surroundings = Process {
            clock,
            counted: counted.clone(),
            transport: transport.clone(),
            watches: watches.clone(),
            tokens,
            published: published.clone(),
            metrics: metrics.clone(),
            faults,
            members_changed,
            last_leader: AtomicU64::new(0),
        };
        let (end, ended) = watch::channel(None);
        let removed = Arc::default();
        let (name, cluster) = (options.name.clone(), membership.cluster.to_string());
        let health = health_views.clone();
        let (concerns, recovery) = watch::channel(Arc::default());
        let part =
            alerts::Part { node: id, name, cluster, clock, metrics: metrics.clone(), published: published.clone(), health, recovery };
        backend.alert(Alerting::start(options, part, stopping.clone()));
        let life = core_loop::run(opened, core.clone(), clock, published.clone(), surroundings);
        tokio::spawn(report_end(life, end, Arc::clone(&removed)));
        tokio::spawn({
            let (transport, core) = (transport.clone(), core.clone());
            async move {
                transport.removed().await;
                core.push(Item::Removed);
            }
        });
        tokio::spawn(follow_members(members_changes, published.clone(), (transport.clone(), gossip.clone()), directory, stopping.clone()));
        tokio::spawn(publish_self(backend.clone(), options.clone(), id));
        tokio::spawn(start_hub(watches.clone(), published.clone(), core.clone(), clock));
        let known = published.clone();
        let others = gossip.clone();
        let resolve = Box::new(move |word: &str| find_member(&known, word).or_else(|| others.as_ref()?.view().find(word)));
        let desk = faults.table().map(|table| FaultDesk { table, resolve });
        let more = admin::faults_route(desk).merge(gossip.as_ref().map_or_else(Default::default, Gossip::members_route));
        let state = Arc::new(AdminView {
            backend: backend.clone(),
            watches: watches.clone(),
            transport: transport.clone(),
            cluster: membership.cluster.to_string(),
            ready_index: OnceLock::new(),
            serves_available,
        });
        let view = state.clone();
        let own_checks = checks::of_node(following, options.name.clone());
        let checks = checks::start(options, id, clock, metrics.clone(), own_checks);
        health::follow(coordination.clone(), publish_health, metrics.clone(), stopping.clone());
        if let (Some(gossip), Some(reports)) = (gossip.clone(), reports) {
            let part = Part {
                cluster: membership.cluster,
                node: id,
                gossip,
                link: ports.link.clone(),
                clock,
                metrics: metrics.clone(),
                directory: options.data_dir.clone(),
                counted,
                stopping: stopping.clone(),
            };
            let services = health::reported(checks.reports.clone());
            let eyes = health::Eyes { observer, transport: transport.clone(), published: published.clone() };
            health::start_server(part, (coordination.clone(), backend.clone(), reports), eyes, services, removed_agents);
        }
        let policy = options.recovery().map_err(StartError::from)?;
        let recovery = recovery::Start {
            members,
            ledger,
            policy,
            core: core.clone(),
            clock,
            metrics: metrics.clone(),
            failing,
            removed: removals,
            concerns,
        };
        tokio::spawn(recovery::start(recovery, stopping.clone()));
        let service = EtcdService::new(backend, admin::metrics_route(move || view.status(), metrics.clone()), options.bcrypt_cost);
        let greeter = Greeter::new(ports.clients.clone(), metrics.clone());
        tokio::spawn(clients::serve(clients, service, greeter, stopping.clone()));
        let more = more.merge(checks::routes(checks));
        tokio::spawn(admin::serve(admin, ports.admin.clone(), move || state.status(), metrics, more, until(stopping)));
        let path = options.data_dir.display().to_string();
        tracing::info!(name = options.name, node = %id, cluster = %membership.cluster, clients = %options.listen_client, "node started");
        Ok(Running { coordination, path, core, ended, removed, transport, watches, gossip, available, stop })
    }

    async fn core_ended(&self) {
        // The sender lives as long as the thread that waits for the core.
        let _ = self.ended.clone().wait_for(Option::is_some).await;
    }

    pub(crate) async fn stop(self) -> Result<(), RunError> {
        self.core.push(Item::Stop);
        let goodbye = async {
            if let Some(gossip) = &self.gossip {
                gossip.say_goodbye().await;
            }
        };
        tokio::join!(self.core_ended(), goodbye);
        self.stop.send_replace(true);
        if let Some(available) = self.available
            && let Err(error) = available.await
        {
            tracing::error!(%error, "available state ended");
        }
        self.watches.stop();
        self.transport.shutdown().await;
        tokio::time::sleep(DRAIN.min(Duration::from_millis(50))).await;
        tracing::info!("stopped");
        let ended = self.ended.borrow().clone();
        match ended {
            _ if self.removed.load(Ordering::Relaxed) => Err(RunError::Removed { path: self.path }),
            Some(Err(fault)) => Err(RunError::Fault(fault)),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

pub(crate) fn enable_faults() -> Faults {
    tracing::warn!(
        "started with faults: whoever reaches the admin port can make this node lose messages, wait for its disk and jump in time"
    );
    Faults::enabled()
}

/// The member with this name, peer address or hexadecimal id.
fn find_member(published: &Published, word: &str) -> Option<NodeId> {
    let members = published.reader()?.members().ok()?;
    let is = |member: &&Member| {
        member.name == word
            || member.peer_urls.iter().any(|url| peer_address(url) == peer_address(word))
            || format!("{:x}", member.id.0) == word
    };
    members.iter().find(is).map(|member| member.id)
}

fn open_store(
    store: &std::path::Path,
    options: &ServerOptions,
    id: NodeId,
    incarnation: u64,
    membership: &Membership,
    clock: Clock,
) -> Result<start::Opened<crate::core_loop::Slot, FileDisk>, RunError> {
    let failed = |reason: &dyn std::fmt::Display| RunError::Store { path: store.display().to_string(), reason: reason.to_string() };
    std::fs::create_dir_all(store).map_err(|error| failed(&error))?;
    let disk = FileDisk::open(store).map_err(|error| failed(&error))?;
    // Joiners too: a log replayed from its first entry must begin with the state that it began with.
    let genesis = &membership.genesis;
    let bootstrap = genesis.bootstrap();
    let tables =
        TablesOptions { memtable_bytes: options.memtable_bytes, cache_bytes: options.block_cache_bytes, ..TablesOptions::default() };
    if let Some(seed) = genesis.seed().filter(|_| bootstrap.configuration.is_voter(id)) {
        steadfast_node::seed::found(&disk, tables.clone(), &bootstrap, seed).map_err(|error| failed(&error))?;
    }
    let node_options = start::Options {
        id,
        incarnation,
        seed: random(),
        heartbeat_interval: options.heartbeat_interval(),
        election_timeout: options.election_timeout(),
        lease_reads: options.lease_reads,
        request_timeout: REQUEST_TIMEOUT,
        append_bytes: steadfast_types::limits::APPEND_BYTES,
        recent_entry_bytes: steadfast_types::limits::RECENT_ENTRY_BYTES,
        log_retention_bytes: options.log_retention_bytes,
        auto_compaction: options.auto_compaction().map_err(|error| failed(&error))?,
        level: Level::NEWEST,
        autopilot: options.autopilot().map_err(|error| failed(&error))?,
        log: LogOptions::default(),
        tables,
        events: true,
        quota_bytes: options.quota_backend_bytes,
        lost_tables: None,
    };
    start::open(&disk, node_options, bootstrap, clock.now()).map_err(|error| failed(&error))
}

/// Runs the core and tells how it ended.
async fn report_end(life: impl Future<Output = Ended>, end: watch::Sender<Option<Result<(), String>>>, removed: Arc<AtomicBool>) {
    let result = match life.await {
        Ended::Stopped => Ok(()),
        Ended::Removed => {
            removed.store(true, Ordering::Relaxed);
            Ok(())
        }
        Ended::Fault(fault) => {
            tracing::error!(fault, "the node can't go on");
            Err(fault)
        }
    };
    end.send_replace(Some(result));
}

/// A node whose available state can't go on does not go on either: half a node is taken for a whole one.
async fn serve_available(serving: impl Future<Output = Result<(), String>>, core: Inbox<Item>) {
    if let Err(why) = serving.await {
        core.push(Item::Fault(format!("available state can't go on: {why}")));
    }
}

pub(crate) async fn until(mut stopping: watch::Receiver<bool>) {
    // A dropped sender means the same.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Peer events on their way to the core loop.
struct ToCore(Inbox<Item>);

impl PeerEvents for ToCore {
    async fn deliver(&self, event: PeerEvent) {
        match event {
            PeerEvent::Connected(peer, _, level) => self.0.push(Item::Input(Input::PeerConnected { peer, level })),
            PeerEvent::Disconnected(peer) => self.0.push(Item::Input(Input::PeerDisconnected(peer))),
            PeerEvent::Frame(from, frame) => self.0.frame(frame.len(), Item::Input(Input::Frame { from, frame })).await,
        }
    }
}

impl Claims for NodeBackend {
    async fn claim(&self, peer_url: String, nonce: u64) -> Result<ClaimGrant, ClaimRefusal> {
        let member = self.claim_member(peer_url, nonce).await?;
        let members = self.members().map_err(|error| ClaimRefusal::NotNow(error.to_string()))?;
        Ok(ClaimGrant { member, members })
    }
}

/// What agents are told.
struct Servers {
    genesis: Genesis,
    backend: NodeBackend,
    reports: Option<ReportDesk>,
}

impl Attendance for Servers {
    fn genesis(&self) -> Genesis {
        self.genesis.clone()
    }

    fn members(&self) -> Result<Vec<Member>, String> {
        self.backend.members().map_err(|error| error.to_string())
    }

    fn report(&self, report: Bytes) -> Bytes {
        self.reports.as_ref().map_or_else(Bytes::new, |desk| desk.answer(report))
    }
}

/// A server whose name an elder has goes on: strong state knows it by its id. But the membership can't show it.
async fn report_namesake(gossip: Gossip) {
    if let GossipEnded::NameTaken(elder) = gossip.ended().await {
        tracing::error!(
            elder,
            "another node has this server's name: this one takes no part in the membership until one of them has another --name"
        );
    }
}

/// What the core loop reaches of the process around it.
struct Process {
    clock: Clock,
    counted: Counted,
    transport: PeerTransport,
    watches: Watches,
    tokens: Tokens,
    published: Arc<Published>,
    metrics: Metrics,
    faults: Faults,
    members_changed: watch::Sender<()>,
    last_leader: AtomicU64,
}

impl Surroundings for Process {
    fn send(&self, to: NodeId, frame: Bytes) {
        self.transport.send(to, frame);
    }

    fn changed(&self, changes: Changes) {
        self.watches.publish(changes);
    }

    fn before_sync(&self) {
        self.counted.sync_begins(self.clock.now());
        if let Some(delay) = self.faults.sync_delay() {
            // Nobody wakes this thread, so it is a sleep.
            std::thread::park_timeout(delay);
        }
    }

    fn synced(&self, took: Duration, _commands: usize) {
        self.metrics.log_sync_seconds.record(took);
        self.counted.synced(took);
    }

    fn auth(&self, events: &[AuthEvent]) {
        self.tokens.heed(events);
        if events.iter().any(AuthEvent::changes_rights) {
            self.watches.rights_changed();
        }
    }

    fn state_replaced(&self) {
        if let Some(reader) = self.published.reader() {
            // An error: the tables are damaged, and are being replaced.
            self.transport.set_level(reader.level().unwrap_or(Level::FIRST));
            self.watches.missed(reader.revision());
        }
        self.watches.rights_changed();
    }

    fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Role(role) => {
                let leader = role.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
                tracing::info!(role = ?role.role, term = role.term.0, leader, "role");
                let known = role.leader.map_or(0, |leader| leader.0);
                if known != 0 && self.last_leader.swap(known, Ordering::Relaxed) != known {
                    self.metrics.leader_changes.increment(1);
                }
            }
            Notice::Configuration(position, configuration) => tracing::info!(%position, %configuration, "membership"),
            Notice::Level(level) => {
                tracing::info!(%level, "all members know this level");
                self.transport.set_level(*level);
            }
            Notice::Autopilot(what) => tracing::warn!("autopilot: {what}"),
            Notice::MembersChanged => self.members_changed.send_replace(()),
            Notice::Removed => tracing::warn!("this member was removed from the cluster"),
            Notice::SnapshotSending { to, position, bytes } => tracing::info!(%to, %position, bytes, "snapshot: sending"),
            Notice::SnapshotSent { to, installed } => {
                tracing::info!(%to, installed, "snapshot: sent");
                self.metrics.snapshots_sent.increment(u64::from(*installed));
            }
            Notice::SnapshotInstalled(position) => {
                tracing::info!(%position, "snapshot: installed");
                self.metrics.snapshots_installed.increment(1);
            }
            Notice::LogCompacted(position) => tracing::debug!(%position, "log compacted"),
            Notice::Diverged(what) => tracing::error!(what, "the replicas differ"),
            Notice::Alarm(Alarm { kind, member }, true) => tracing::error!(?kind, %member, "alarm raised"),
            Notice::Alarm(Alarm { kind, member }, false) => tracing::info!(?kind, %member, "alarm cleared"),
            Notice::JobFailed(why) => tracing::warn!(why, "a background job failed and is tried again"),
            Notice::TablesDamaged(what) => {
                self.counted.repaired();
                tracing::error!(what, "this node's tables are not to be used; it fetches the state from its peers")
            }
            Notice::Fault(why) => tracing::error!(why, "fault"),
        }
    }
}

/// Keeps the transport's peers those that strong state knows, and this node's own address in its directory. Members that are not there yet when the log is being replayed come back a moment
/// later, so changes are taken a moment together.
async fn follow_members(
    mut changes: watch::Receiver<()>,
    published: Arc<Published>,
    (transport, gossip): (PeerTransport, Option<Gossip>),
    mut directory: Directory,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        changes.mark_unchanged();
        let Some(reader) = published.reader() else { continue };
        // An error: the tables are damaged, and are being replaced.
        let (Ok(members), Ok(removed)) = (reader.members(), reader.removed_members()) else { continue };
        let addresses = addresses(&members);
        if let Some(own) = addresses.get(&directory.identity().node).filter(|own| **own != directory.identity().address).cloned()
            && let Err(error) = directory.move_to(&own)
        {
            tracing::error!(%error, address = own, "this node's new address could not be written down; it is needed at the next start");
        }
        if !members.is_empty() {
            if let Some(gossip) = &gossip {
                gossip.set_seeds(addresses.values().cloned().collect());
            }
            transport.set_peers(addresses, removed.into_iter().collect());
        }
    }
}

fn addresses(members: &[Member]) -> BTreeMap<NodeId, String> {
    let address = |member: &Member| Some((member.id, peer_address(member.peer_urls.first()?).to_owned()));
    members.iter().filter_map(address).collect()
}

/// Starts the watch hub once the node has its state.
async fn start_hub(watches: Watches, published: Arc<Published>, core: Inbox<Item>, clock: Clock) {
    let revision = published.reader_once_there().await.revision();
    if let Err(error) = watches.start(core.clone(), published, revision, clock, random()) {
        core.push(Item::Fault(format!("starting the watch hub: {error}")));
    }
}

/// Tells the cluster this node's name and client addresses, until strong state has them.
async fn publish_self(backend: NodeBackend, options: ServerOptions, id: NodeId) {
    let up_to_date = |members: Vec<Member>| {
        members.iter().any(|member| member.id == id && member.name == options.name && member.client_urls == options.advertise_client)
    };
    loop {
        let _ = backend.leader().wait_for(Option::is_some).await;
        if backend.linearize().await.is_ok() && backend.members().is_ok_and(up_to_date) {
            return;
        }
        let (name, client_urls) = (options.name.clone(), options.advertise_client.clone());
        if let Err(error) = backend.propose(Command::MemberPublish { id, name, client_urls }).await {
            tracing::debug!(%error, "publishing this node's addresses; trying again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// What the admin port shows.
struct AdminView {
    backend: NodeBackend,
    watches: Watches,
    transport: PeerTransport,
    cluster: String,
    /// What was committed when a leader was first known.
    ready_index: OnceLock<u64>,
    serves_available: bool,
}

impl AdminView {
    fn status(&self) -> AdminStatus {
        let status = self.backend.status();
        let available = self.backend.replica();
        AdminStatus {
            lacks_available: self.serves_available && available.is_none(),
            available,
            name: status.name,
            node: self.backend.identity().member,
            cluster: self.cluster.clone(),
            version: status.version,
            role: format!("{:?}", status.role).to_lowercase(),
            leader: status.leader,
            term: status.term.0,
            commit_index: status.commit_index.0,
            applied_index: status.applied_index.0,
            ready_index: status.leader.map(|_| *self.ready_index.get_or_init(|| status.commit_index.0)),
            revision: status.revision.0,
            compact_revision: status.compact_revision.0,
            members: status.members.len(),
            log_bytes: status.log_bytes,
            table_bytes: status.table_bytes,
            quota_bytes: status.quota_bytes,
            alarms: status.alarms.len(),
            queued_requests: self.backend.waiting(),
            queued_peer_frames: self.transport.queued().values().sum(),
            watchers: self.watches.watchers(),
            leases: self.backend.leases().map_or(0, |leases| leases.len()),
            admitted: None,
            stopping: status.errors.into_iter().next(),
        }
    }
}
