//! Who leads, as the nodes themselves say it: each is asked again and again, and every change is noted with its time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use steadfast_etcd_api::proto::steadfast::v1::cluster_client::ClusterClient;
use steadfast_etcd_api::proto::steadfast::v1::{Role, StatusRequest};
use steadfast_proof::time::Time;
use tokio::task::JoinSet;

use super::stopwatch::Stopwatch;
use crate::endpoints::Endpoint;

/// How often each node is asked; times of notice and election are as exact as that.
pub(super) const SAMPLE: Duration = Duration::from_millis(10);
/// A node that does not answer by then is not reached.
const PATIENCE: Duration = Duration::from_millis(400);

/// What a node says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Its id.
    pub(super) id: u64,
    /// Whether it leads.
    pub(super) leads: bool,
    /// The id of the leader that it knows; 0: none.
    pub(super) leader: u64,
    /// Its term.
    pub(super) term: u64,
    /// What it has applied.
    pub(super) applied: u64,
    /// Whether it has no vote.
    pub(super) learner: bool,
}

/// A change of what a node says; `None`: it does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// When the answer came, or the patience ended.
    pub(super) at: Time,
    /// Which node.
    pub(super) node: usize,
    /// What it says.
    pub(super) view: Option<View>,
}

/// What all nodes say, now and over time.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    state: Arc<Mutex<State>>,
    /// Ends with the last handle.
    _tasks: Arc<JoinSet<()>>,
}

#[derive(Debug)]
struct State {
    now: Vec<Option<View>>,
    samples: Vec<Sample>,
}

impl Sampler {
    /// Begins to ask.
    pub(super) fn start(endpoints: &[Endpoint], stopwatch: Stopwatch) -> Self {
        let state = Arc::new(Mutex::new(State { now: vec![None; endpoints.len()], samples: Vec::new() }));
        let mut tasks = JoinSet::new();
        for (node, endpoint) in endpoints.iter().enumerate() {
            tasks.spawn(ask(node, endpoint.clone(), stopwatch, state.clone()));
        }
        Sampler { state, _tasks: Arc::new(tasks) }
    }

    /// What each node says now.
    pub(super) fn now(&self) -> Vec<Option<View>> {
        self.state.lock().expect("nothing panics while it holds this").now.clone()
    }

    /// The node that leads, by its own word and the highest term.
    pub(super) fn leader(&self) -> Option<usize> {
        let views = self.now().into_iter().enumerate();
        let leading = views.filter_map(|(node, view)| view.filter(|view| view.leads).map(|view| (view.term, node)));
        leading.max().map(|(_, node)| node)
    }

    /// All changes so far.
    pub(super) fn samples(&self) -> Vec<Sample> {
        self.state.lock().expect("nothing panics while it holds this").samples.clone()
    }
}

async fn ask(node: usize, endpoint: Endpoint, stopwatch: Stopwatch, state: Arc<Mutex<State>>) {
    let address = tonic::transport::Endpoint::from_shared(endpoint.url()).expect("an endpoint is an address");
    let mut client = ClusterClient::new(address.connect_timeout(PATIENCE).tcp_nodelay(true).connect_lazy());
    loop {
        let view = match tokio::time::timeout(PATIENCE, client.status(StatusRequest {})).await {
            Ok(Ok(answer)) => {
                let status = answer.into_inner();
                let leads = status.role() == Role::Leader;
                let view =
                    View { id: status.node_id, leads, leader: status.leader_id, term: status.term, applied: 0, learner: status.learner };
                Some(View { applied: status.applied_index, ..view })
            }
            Ok(Err(_)) | Err(_) => None,
        };
        state.lock().expect("nothing panics while it holds this").take(Sample { at: stopwatch.now(), node, view });
        tokio::time::sleep(SAMPLE).await;
    }
}

impl State {
    fn take(&mut self, sample: Sample) {
        // What is applied changes all the time, and says nothing about who leads.
        let told = |view: Option<View>| view.map(|view| View { applied: 0, ..view });
        if told(self.now[sample.node]) != told(sample.view) {
            self.samples.push(sample);
        }
        self.now[sample.node] = sample.view;
    }
}
