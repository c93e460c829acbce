//! What a node says about itself on the admin port, and whether it is ready.

use serde::{Serialize, Serializer};
use steadfast_types::NodeId;

use crate::available::Status as Available;

/// A node's state, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AdminStatus {
    /// Its name.
    pub name: String,
    /// Its id.
    #[serde(serialize_with = "as_text")]
    pub node: NodeId,
    /// Its cluster's id, hexadecimal.
    pub cluster: String,
    /// The version of the program.
    pub version: String,
    /// Follower, pre-candidate, candidate or leader.
    pub role: String,
    /// The leader, if one is known.
    #[serde(serialize_with = "as_optional_text")]
    pub leader: Option<NodeId>,
    /// The Raft term.
    pub term: u64,
    /// The committed log index.
    pub commit_index: u64,
    /// The applied log index.
    pub applied_index: u64,
    /// The index that must be applied before the node is ready: what it first learnt to be committed. None while it has not learnt it.
    pub ready_index: Option<u64>,
    /// The revision of the key space.
    pub revision: i64,
    /// The revision below which history is gone.
    pub compact_revision: i64,
    /// Members of the cluster, learners included.
    pub members: usize,
    /// Size of the log on disk, bytes.
    pub log_bytes: u64,
    /// Size of the tables on disk, bytes.
    pub table_bytes: u64,
    /// What the tables may take, bytes; 0: no bound.
    pub quota_bytes: u64,
    /// Alarms that are raised, of all members.
    pub alarms: usize,
    /// Client requests that wait.
    pub queued_requests: usize,
    /// Frames that wait to be sent to all peers together.
    pub queued_peer_frames: usize,
    /// Watchers.
    pub watchers: usize,
    /// Leases.
    pub leases: usize,
    /// Of an agent alone: whether a member has let it take part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted: Option<bool>,
    /// Its replica of available state, if it has one and that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<Available>,
    /// It is to serve available state, and does not yet.
    #[serde(skip)]
    pub lacks_available: bool,
    /// Set when the node can't go on or is about to stop: why.
    pub stopping: Option<String>,
}

pub(crate) fn as_text<S: Serializer>(node: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(node)
}

fn as_optional_text<S: Serializer>(node: &Option<NodeId>, serializer: S) -> Result<S::Ok, S::Error> {
    match node {
        Some(node) => serializer.collect_str(node),
        None => serializer.serialize_none(),
    }
}

/// One thing that must hold before a node is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Why it does not hold.
    pub problem: Option<String>,
}

impl AdminStatus {
    /// What must hold before the node is ready: a server to serve clients, an agent to be seen by the others.
    pub fn checks(&self) -> Vec<Check> {
        let running = Check { name: "running", problem: self.stopping.as_ref().map(|why| format!("the node is stopping: {why}")) };
        match self.admitted {
            Some(admitted) => {
                let problem = (!admitted).then(|| "no member has answered yet; see that --join names running servers".to_owned());
                vec![running, Check { name: "admitted", problem }]
            }
            None => [
                running,
                Check { name: "leader", problem: self.leader.is_none().then(|| self.leaderless()) },
                Check { name: "applied", problem: self.behind() },
            ]
            .into_iter()
            .chain(self.available_check())
            .collect(),
        }
    }

    fn available_check(&self) -> Option<Check> {
        let problem = self.lacks_available.then(|| "available state is not served yet".to_owned());
        (self.lacks_available || self.available.is_some()).then_some(Check { name: "available", problem })
    }

    /// The first thing that keeps the node from being ready.
    pub fn unready(&self) -> Option<String> {
        self.checks().into_iter().find_map(|check| check.problem)
    }

    fn leaderless(&self) -> String {
        format!("no leader is known in term {}; a majority of the {} members must be up and reach each other", self.term, self.members)
    }

    fn behind(&self) -> Option<String> {
        match self.ready_index {
            None => Some("what the cluster has committed is not known yet".to_owned()),
            Some(ready) if self.applied_index < ready => Some(format!("entry {} of {ready} is applied", self.applied_index)),
            Some(_) => None,
        }
    }
}
