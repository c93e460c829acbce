//! The health of the cluster's nodes and services as strong state has it: decided once, by the leader, read alike by all servers.
//!
//! The way of a verdict: every node looks at itself (`soft`), a server at those it speaks with too (`observer`), and reports what has changed to the
//! leader (`reporter`, `report`, `desk`). While a
//! node leads, its judge (`judge`, on its `bench`) holds the reports beside what gossip shows, and what it decides is written to strong state
//! (`records`). Every server follows the records (`feed`) and publishes a view of them (`view`): commands, alerts, recovery and diagnosis read that.
//!
//! Whether a node lives right now is gossip's business, which needs no leader. What is here is what was decided about it.

mod bench;
mod cause;
mod desk;
mod feed;
mod judge;
mod observer;
mod records;
mod report;
mod reporter;
mod services;
mod shown;
mod soft;
mod unshown;
pub(crate) mod view;

pub(crate) use desk::{ChecksOf, ReportDesk};
pub(crate) use observer::{Eyes, Observer};
pub(crate) use report::{Declared, ServiceReport};
pub(crate) use services::{checks_of, declared, reported, restarts};
pub(crate) use shown::shown;
pub(crate) use soft::Counted;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use steadfast_coordination::Coordination;
use steadfast_etcd_api::Backend as _;
use steadfast_types::{ClusterId, NodeId};
use tokio::sync::watch;

use crate::admin::Metrics;
use crate::backend::NodeBackend;
use crate::clock::Clock;
use crate::gossip::Gossip;
use crate::options::peer_address;
use crate::peers::Link;
use crate::run::until;

use bench::Bench;
use desk::Leader;
use reporter::Reporter;
use soft::Soft;
use view::HealthView;

/// What every node brings along for its health.
pub(crate) struct Part {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) gossip: Gossip,
    pub(crate) link: Link,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) directory: PathBuf,
    pub(crate) counted: Counted,
    /// What runs ends with it.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Where a server takes reports.
pub(crate) fn desk(backend: NodeBackend, gossip: Gossip, (clock, metrics): (Clock, Metrics), checks: ChecksOf) -> ReportDesk {
    let cluster = backend.identity().cluster;
    ReportDesk::new(cluster, gossip, (clock, metrics), move || leader(&backend), checks)
}

fn leader(backend: &NodeBackend) -> Leader {
    let leader = *backend.leader().borrow();
    match leader {
        Some(leader) if leader == backend.identity().member => Leader::Me,
        Some(leader) => {
            let members = backend.members().unwrap_or_default();
            let address = members.iter().find(|member| member.id == leader).and_then(|member| member.peer_urls.first());
            address.map_or(Leader::Unknown, |address| Leader::At(peer_address(address).to_owned()))
        }
        None => Leader::Unknown,
    }
}

/// Starts to follow the records.
pub(crate) fn follow<C: Coordination>(
    store: C,
    publish: watch::Sender<Arc<HealthView>>,
    metrics: Metrics,
    stopping: watch::Receiver<bool>,
) {
    run(feed::count(publish.subscribe(), metrics), stopping.clone());
    run(feed::follow(store, publish), stopping);
}

/// Starts a server's reports, and its judge for whenever it leads.
pub(crate) fn start_server<C: Coordination>(
    part: Part,
    (store, backend, desk): (C, NodeBackend, ReportDesk),
    eyes: Eyes,
    services: watch::Receiver<Arc<Vec<ServiceReport>>>,
    removed: watch::Receiver<Option<BTreeSet<NodeId>>>,
) {
    let (term, members) = (backend.clone(), backend.clone());
    let bench = Bench {
        store,
        cluster: part.cluster,
        me: part.node,
        gossip: part.gossip.clone(),
        desk: desk.clone(),
        leader: backend.leader(),
        term: Box::new(move || term.term()),
        servers: Box::new(move || members.members().ok()),
        removed,
        metrics: part.metrics.clone(),
    };
    run(bench.run(), part.stopping.clone());
    let observer = eyes.observer.clone();
    run(observer.clone().run(eyes, backend, (part.clock, part.counted.clone())), part.stopping.clone());
    // What a server's checks are it reads itself.
    start(part, Some((desk, observer)), services, watch::channel(Arc::default()).0);
}

/// Starts an agent's reports; what is declared for it is put into `declared`.
pub(crate) fn start_agent(part: Part, services: watch::Receiver<Arc<Vec<ServiceReport>>>, declared: watch::Sender<Arc<Declared>>) {
    start(part, None, services, declared);
}

fn start(
    part: Part,
    server: Option<(ReportDesk, Observer)>,
    services: watch::Receiver<Arc<Vec<ServiceReport>>>,
    declared: watch::Sender<Arc<Declared>>,
) {
    let (desk, observer) = server.unzip();
    let soft = Soft::new(part.counted, part.directory);
    let Part { cluster, node, gossip, link, clock, stopping, .. } = part;
    run(Reporter { cluster, node, gossip, link, clock, desk, observer, services, declared, soft }.run(), stopping);
}

/// Until the node stops.
fn run(work: impl Future<Output = ()> + Send + 'static, stopping: watch::Receiver<bool>) {
    tokio::spawn(async move {
        tokio::select! { () = work => {}, () = until(stopping) => {} }
    });
}
