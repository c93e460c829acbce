//! Sessions: clients that read what a node has, without a quorum, but never less than anybody has told them (session and causal reads).
//!
//! Each asks any node to wait for the newest revision that any client was told of, and then reads everything there. What it reads is as of a revision that
//! is no earlier, and is what the store held then.

use std::collections::BTreeMap;

use steadfast_node::{Answer as NodeAnswer, RequestBody};
use steadfast_proof::Violation;
use steadfast_proof::history::{Answer, History, Seen};
use steadfast_proof::store::Store;
use steadfast_state::command::{KeySpan, Range};
use steadfast_types::time::Duration;
use steadfast_types::{NodeId, Revision};

use super::Cluster;
use super::event::{Event, Step};
use crate::network::between;
use crate::workload::{OperationNumber, seen};

const CHECKER: &str = "sessions";

/// Their reads are no operations of the history, and have numbers from here on.
const FIRST: usize = usize::MAX / 2;

/// What sessions know, ask and have read.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// The newest revision that any client was told of.
    told: Revision,
    /// The revision that each read waits for.
    wanted: BTreeMap<OperationNumber, Revision>,
    asked: usize,
    reads: Vec<(Revision, Seen)>,
}

impl Sessions {
    /// A client was told this.
    pub(super) fn hear(&mut self, answer: &Answer) {
        match answer {
            Answer::Done { revision, .. } | Answer::Revoked { revision } | Answer::Accepted { revision } => {
                self.told = self.told.max(*revision)
            }
            Answer::Refused | Answer::LeaseNotFound | Answer::Alive(_) | Answer::Token { .. } => {}
        }
    }

    /// What was read is what the store held.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn check(&self, history: &History) -> Result<(), Violation> {
        let store = Store::new(&history.changes)?;
        let wrong = self.reads.iter().map(|(revision, seen)| (revision, seen, store.all(*revision))).find(|(_, seen, held)| *seen != held);
        match wrong {
            Some((revision, seen, held)) => {
                Err(Violation::new(CHECKER, format!("as of revision {revision} was read {seen:?} instead of {held:?}")))
            }
            None => Ok(()),
        }
    }
}

/// Whether a session asks this.
pub(super) fn asks(number: OperationNumber) -> bool {
    number >= OperationNumber(FIRST) && number != OperationNumber::NOBODY
}

impl Cluster {
    pub(super) fn schedule_sessions(&mut self) {
        for _ in 0..self.swarm.sessions {
            self.queue.after(self.swarm.think, Event::Session);
        }
    }

    /// A session asks some node.
    pub(super) fn on_session(&mut self) {
        if self.healed {
            return;
        }
        let think = between(Duration::ZERO, self.swarm.think * 2, &mut self.clients_rng);
        self.queue.after(think, Event::Session);
        let nodes = self.node_ids();
        let node = nodes[self.clients_rng.usize(0..nodes.len())];
        let number = OperationNumber(FIRST + self.sessions.asked);
        self.sessions.asked += 1;
        let told = self.sessions.told;
        self.sessions.wanted.insert(number, told);
        self.trace.note(self.queue.now(), &[50, node.0, told.0 as u64], || format!("a session asks {node} for revision {told} or later"));
        let patience = between(Duration::from_millis(100), Duration::from_secs(2), &mut self.clients_rng);
        self.ask(node, number, RequestBody::AwaitRevision(told), patience);
    }

    /// A node answers a session: it may read, or not.
    pub(super) fn session_answered(&mut self, node: NodeId, number: OperationNumber, answer: &NodeAnswer) {
        match answer {
            NodeAnswer::Readable => {
                let delay = between(Duration::ZERO, Duration::from_micros(100), &mut self.machine(node).rng);
                self.step_after(node, delay, Step::Read(number));
            }
            _ => drop(self.sessions.wanted.remove(&number)),
        }
    }

    /// A session reads.
    pub(super) fn on_session_read(&mut self, node: NodeId, number: OperationNumber) -> Result<(), Violation> {
        let Some(wanted) = self.sessions.wanted.remove(&number) else { return Ok(()) };
        let Some(reader) = self.machines[&node].node().map(|node| node.reader()) else { return Ok(()) };
        let everything = Range { keys: KeySpan { key: vec![0].into(), range_end: vec![0].into() }, ..Range::default() };
        match reader.range(&everything) {
            Ok(read) if read.revision >= wanted => {
                self.sessions.reads.push((read.revision, seen(&read.result)));
                Ok(())
            }
            Ok(read) => Err(Violation::new(CHECKER, format!("{node} gives what it had at revision {}, asked for {wanted}", read.revision))),
            Err(_) if self.may_have_fault(node) => Ok(()),
            Err(error) => Err(Violation::new("answers", format!("{node} can't read: {error}"))),
        }
    }
}
