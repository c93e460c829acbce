//! Which nodes of a `steadfast dev` cluster serve: each is asked on its admin port, every few milliseconds, until it says that it is ready.
//!
//! Left out: noticing that a node is no longer ready; its end is noticed elsewhere.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::plan::Plan;

/// How long to wait before asking again. Loopback answers in well under a millisecond, so this bounds what start-up loses here.
const POLL: Duration = Duration::from_millis(5);
/// A node that takes longer to answer is asked again.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// The most that is read of an answer, bytes.
const ANSWER_BYTES: u64 = 4096;

/// Asks all nodes at once.
#[derive(Debug)]
pub(super) struct Readiness {
    asking: JoinSet<usize>,
    /// What each node said last, or why it said nothing.
    said: Arc<Mutex<Vec<String>>>,
}

impl Readiness {
    /// Begins to ask every node of the plan. They are asked until this is dropped.
    pub(super) fn watch(plan: &Plan) -> Self {
        let said = Arc::new(Mutex::new(vec![String::from("no answer yet"); plan.nodes.len()]));
        let mut asking = JoinSet::new();
        for (k, node) in plan.nodes.iter().enumerate() {
            asking.spawn(until_ready(k, node.admin, Arc::clone(&said)));
        }
        Readiness { asking, said }
    }

    /// The next node that has become ready; never returns when all are. May be dropped and called again: nothing is lost.
    pub(super) async fn next(&mut self) -> usize {
        match self.asking.join_next().await {
            Some(node) => node.expect("asking does not panic and is not aborted"),
            None => std::future::pending().await,
        }
    }

    fn said(&self, node: usize) -> String {
        self.said.lock().expect("nothing panics while it holds this")[node].clone()
    }
}

async fn until_ready(k: usize, admin: SocketAddr, said: Arc<Mutex<Vec<String>>>) -> usize {
    loop {
        let answer = match tokio::time::timeout(ANSWER_WAIT, ask(admin)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(format!("admin port {admin}: {error}")),
            Err(_) => Err(format!("admin port {admin}: no answer in {} s", ANSWER_WAIT.as_secs())),
        };
        match answer {
            Ok(()) => return k,
            Err(reason) => said.lock().expect("nothing panics while it holds this")[k] = reason,
        }
        tokio::time::sleep(POLL).await;
    }
}

/// One question: `Ok(Ok(()))` if ready, `Ok(Err(reason))` in the node's own words if not.
async fn ask(admin: SocketAddr) -> io::Result<Result<(), String>> {
    let mut stream = TcpStream::connect(admin).await?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(parse(&String::from_utf8_lossy(&answer)))
}

fn parse(answer: &str) -> Result<(), String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ if !body.trim().is_empty() => Err(body.trim().lines().collect::<Vec<_>>().join("; ")),
        _ => Err(head.lines().next().unwrap_or("an empty answer").to_string()),
    }
}

/// What is known of a cluster that starts.
#[derive(Debug)]
pub(super) struct Progress {
    nodes: Vec<Node>,
    started: Instant,
    majority_since: Option<Instant>,
}

#[derive(Debug)]
enum Node {
    Starting,
    Ready,
    Ended(String),
}

impl Progress {
    /// All start now.
    pub(super) fn new(nodes: usize) -> Self {
        Progress { nodes: (0..nodes).map(|_| Node::Starting).collect(), started: Instant::now(), majority_since: None }
    }

    /// A node serves.
    pub(super) fn ready(&mut self, node: usize) {
        self.nodes[node] = Node::Ready;
        self.note_majority();
    }

    /// A node has ended, in this way.
    pub(super) fn ended(&mut self, node: usize, how: String) {
        self.nodes[node] = Node::Ended(how);
        self.note_majority();
    }

    fn note_majority(&mut self) {
        self.majority_since = if self.has_majority() { self.majority_since.or(Some(Instant::now())) } else { None };
    }

    /// Whether more than half serve.
    pub(super) fn has_majority(&self) -> bool {
        self.count(|node| matches!(node, Node::Ready)) > self.nodes.len() / 2
    }

    /// Since when.
    pub(super) fn majority_since(&self) -> Option<Instant> {
        self.majority_since
    }

    /// Whether too many have ended for a majority of the rest.
    pub(super) fn hopeless(&self) -> bool {
        self.count(|node| !matches!(node, Node::Ended(_))) <= self.nodes.len() / 2
    }

    /// Whether each serves or has ended: there is nothing to wait for.
    pub(super) fn all_known(&self) -> bool {
        self.count(|node| matches!(node, Node::Starting)) == 0
    }

    /// How long it has taken so far.
    pub(super) fn waited(&self) -> Duration {
        self.started.elapsed()
    }

    fn count(&self, which: impl Fn(&Node) -> bool) -> usize {
        self.nodes.iter().filter(|node| which(node)).count()
    }

    /// The nodes that do not serve, each with what is known.
    pub(super) fn missing_nodes(&self, readiness: &Readiness) -> Vec<(usize, String)> {
        let missing = self.nodes.iter().enumerate().filter_map(|(k, node)| match node {
            Node::Ready => None,
            Node::Ended(how) => Some((k, how.clone())),
            Node::Starting => Some((k, readiness.said(k))),
        });
        missing.collect()
    }

    /// The same in one line.
    pub(super) fn missing(&self, readiness: &Readiness, plan: &Plan) -> String {
        let missing = self.missing_nodes(readiness).into_iter();
        missing.map(|(k, reason)| format!("{}: {reason}", plan.nodes[k].name)).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(parse("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"), Ok(()));
        let not_ready = parse("HTTP/1.1 503 Service Unavailable\r\n\r\nno leader known\n");
        assert_eq!(not_ready, Err("no leader known".into()));
        assert_eq!(parse("HTTP/1.1 404 Not Found\r\n\r\n"), Err("HTTP/1.1 404 Not Found".into()));
        assert_eq!(parse(""), Err("an empty answer".into()));
        assert!(parse("garbage").is_err());
    }

    #[test]
    fn a_majority_is_enough_once_the_rest_is_known() {
        let mut progress = Progress::new(3);
        progress.ready(0);
        assert!(!progress.has_majority());
        progress.ready(2);
        assert!(progress.has_majority() && progress.majority_since().is_some() && !progress.all_known());
        progress.ended(1, "ended".into());
        assert!(progress.all_known() && !progress.hopeless());
        progress.ended(0, "ended".into());
        assert!(!progress.has_majority() && progress.majority_since().is_none() && progress.hopeless());
    }

    #[test]
    fn half_the_nodes_are_not_enough() {
        let mut progress = Progress::new(4);
        progress.ready(0);
        progress.ready(1);
        assert!(!progress.has_majority());
        progress.ended(2, "ended".into());
        assert!(!progress.hopeless());
        progress.ended(3, "ended".into());
        assert!(progress.hopeless());
    }
}
