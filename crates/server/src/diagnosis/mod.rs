//! What is known of a node when something is wrong with it, or seems to be: gathered by the server that is asked, for people.
//!
//! | step | file | gives |
//! | --- | --- | --- |
//! | 1 | `part`, of `logs`, `process`, `threads`, `stacks`, `latencies` | what a node says of itself |
//! | 2 | `sight` | what one server says of another node |
//! | 3 | `questions` | both, asked for on the peer port, so that any server can ask any node, agents too |
//! | 4 | `gather` | one part and all sights, or why there is none, with what strong state has of its health |
//! | 5 | `facts`, `steadfast_health::diagnosis` | findings, the worst first |
//! | 6 | `summary`, `bundle` | texts and JSON without secrets (`clean`) |
//!
//! Invariants:
//! 1. A node that is dead, hung or cut off has a bundle too: of what the others know. It says so.
//! 2. Nothing here waits for a quorum, and every wait has an end.
//! 3. A node gives out no text that has not gone through [`steadfast_health::redact`], and the bundle is gone through again as a whole.
//! 4. What is asked for is bounded: few questions at once, one frame for an answer.

mod bundle;
mod clean;
mod facts;
mod gather;
mod latencies;
mod logs;
mod part;
mod process;
mod questions;
mod sight;
mod stacks;
mod summary;
mod threads;

pub(crate) use clean::origin;
pub use logs::{KEPT_BYTES, RecentLog, recent_log};
pub(crate) use questions::Answering;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use steadfast_etcd_api::backend::{BundleFile, MemberHealth, NodeStatus, UnknownNode};
use steadfast_types::{ClusterId, NodeId};
use tokio::sync::{Semaphore, watch};

use crate::admin::Metrics;
use crate::clock::Clock;
use crate::gossip::Gossip;
use crate::health;
use crate::health::view::HealthView;
use crate::options::ServerOptions;
use crate::peers::{Link, PeerTransport};
use crate::published::Published;
use crate::status;

/// Parts that are made at the same time: each looks at all threads for a second.
const PARTS: usize = 2;

/// What a node brings along.
pub(crate) struct Place {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) data_dir: PathBuf,
    pub(crate) link: Link,
    pub(crate) metrics: Metrics,
    /// `None`: it takes no part in it.
    pub(crate) gossip: Option<Gossip>,
    /// Of a server.
    pub(crate) published: Option<Arc<Published>>,
    /// What strong state says of everybody's health, where that is followed.
    pub(crate) health: Option<watch::Receiver<Arc<HealthView>>>,
}

impl Place {
    /// A node with these options.
    pub(crate) fn new(options: &ServerOptions, (cluster, node): (ClusterId, NodeId), link: &Link, metrics: &Metrics) -> Self {
        Place {
            cluster,
            node,
            name: options.name.clone(),
            role: options.role.word(),
            data_dir: options.data_dir.clone(),
            link: link.clone(),
            metrics: metrics.clone(),
            gossip: None,
            published: None,
            health: None,
        }
    }
}

/// A node's knowledge of itself and of the others; clones share it.
#[derive(Clone)]
pub(crate) struct Diagnosis(Arc<Inner>);

struct Inner {
    place: Place,
    began_ms: u64,
    /// Set once peers are heard.
    transport: OnceLock<PeerTransport>,
    room: Semaphore,
}

impl Diagnosis {
    pub(crate) fn new(place: Place) -> Self {
        let room = Semaphore::new(PARTS);
        Diagnosis(Arc::new(Inner { place, began_ms: Clock::wall_ms(), transport: OnceLock::new(), room }))
    }

    /// Whose connections are open is asked of this transport from now on.
    pub(crate) fn hear(&self, transport: PeerTransport) {
        // An error: it was told before.
        let _ = self.0.transport.set(transport);
    }

    /// The bundle of the node with this name or id.
    pub(crate) async fn bundle(&self, word: &str) -> Result<Vec<BundleFile>, UnknownNode> {
        Ok(bundle::files(&self.gather(word).await?))
    }

    /// All that gossip knows; nobody without it.
    fn members(&self) -> Vec<MemberHealth> {
        self.0.place.gossip.as_ref().map(|gossip| health::shown(gossip, &HealthView::default(), false).members).unwrap_or_default()
    }

    /// Of a server that is not repairing itself.
    fn status(&self) -> Option<NodeStatus> {
        let place = &self.0.place;
        let published = place.published.as_ref()?;
        published.status().map(|_| status::describe(&place.name, place.node, published))
    }
}
