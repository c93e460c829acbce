//! Clients and their connections to nodes.

use std::collections::BTreeMap;

use steadfast_node::{Answer as NodeAnswer, Input, Request as NodeRequest, RequestBody};
use steadfast_state::reader::TxnRead;
use steadfast_types::NodeId;
use steadfast_types::time::Duration;

use super::Cluster;
use super::administrator::ADMINISTRATOR;
use super::event::{Event, Step};
use super::lockers::{self, Heard};
use super::{recovery, sessions};
use crate::network::between;
use crate::workload::{OperationNumber, seen};
use steadfast_proof::Violation;
use steadfast_proof::history::{Answer, Request};

/// What each client waits for, by client.
pub(super) type Waiting = BTreeMap<usize, OperationNumber>;

impl Cluster {
    pub(super) fn on_invoke(&mut self, client: usize) {
        if self.healed {
            return;
        }
        let now = self.queue.now();
        let number = match self.swarm.auth && self.callers.wants_token(client, &mut self.clients_rng) {
            true => self.workload.begin(client, Request::Authenticate, now),
            false => self.workload.invoke(client, now),
        };
        let nodes = self.node_ids();
        let node = nodes[self.clients_rng.usize(0..nodes.len())];
        let patience = between(Duration::from_millis(300), Duration::from_millis(3_000), &mut self.clients_rng);
        self.begin(number, node, patience);
    }

    /// A client sends its request to a node, and waits for `patience`.
    pub(super) fn begin(&mut self, number: OperationNumber, node: NodeId, patience: Duration) {
        let now = self.queue.now();
        self.counts.requests += 1;
        self.waiting.insert(self.workload.operation(number).client, number);
        self.note_caller(number);
        self.trace.note(now, &[6, number.0 as u64, node.0], || {
            format!("request {} to {node}: {:?}", number.0, self.workload.operation(number).request)
        });
        let delay = self.client_delay();
        self.queue.after(delay, Event::Request { number, node });
        self.queue.after(patience, Event::GiveUp { number });
    }

    fn client_delay(&mut self) -> Duration {
        between(Duration::from_micros(20), Duration::from_micros(500), &mut self.clients_rng)
    }

    pub(super) fn on_request(&mut self, number: OperationNumber, node: NodeId) {
        let body = self.lockers.body(number).unwrap_or_else(|| self.workload.body(number));
        let patience = Duration::from_millis(self.clients_rng.u64(200..4_000));
        if self.machines.get(&node).is_none_or(|machine| machine.process.is_none()) {
            // The connection is refused: nothing was done.
            let delay = self.client_delay();
            return self.queue.after(delay, Event::Answer { number, answer: Some(Answer::Refused) });
        }
        self.ask_as(node, number, body, patience);
    }

    /// A request comes in at a node, if its process runs.
    pub(super) fn ask(&mut self, node: NodeId, slot: OperationNumber, body: RequestBody, patience: Duration) {
        let now = self.queue.now();
        let Some(process) = self.machines.get(&node).and_then(|machine| machine.process.as_ref()) else { return };
        let deadline = process.clock.shows(now) + patience;
        self.observer.bounds.asked(now);
        self.input(node, Input::Request(NodeRequest { slot, deadline, body }));
    }

    /// A node answers. A read that it lets through reads the local state a little later, as another thread would.
    pub(super) fn answer(&mut self, node: NodeId, number: OperationNumber, answer: NodeAnswer) -> Result<(), Violation> {
        if number == OperationNumber::NOBODY {
            self.trace.text(self.queue.now(), || format!("{node} answers nobody: {answer:?}"));
            return Ok(());
        }
        if sessions::asks(number) {
            self.session_answered(node, number, &answer);
            return Ok(());
        }
        let Some(answer) = self.refused_as(node, number, answer) else { return Ok(()) };
        if answer == NodeAnswer::Readable {
            let delay = between(Duration::ZERO, Duration::from_micros(100), &mut self.machine(node).rng);
            self.step_after(node, delay, Step::Read(number));
            return Ok(());
        }
        if let NodeAnswer::Applied(response) = &answer {
            self.lockers.hear(self.workload.operation(number).client, number, Heard::Applied(response.clone()));
        }
        let answer = self.workload.interpret(number, answer)?;
        self.reply(number, answer);
        Ok(())
    }

    pub(super) fn on_read(&mut self, node: NodeId, number: OperationNumber) -> Result<(), Violation> {
        if sessions::asks(number) {
            return self.on_session_read(node, number);
        }
        let Some(reader) = self.machines[&node].node().map(|node| node.reader()) else { return Ok(()) };
        if !self.may_answer_read(node, number, &reader.auth()) {
            return Ok(());
        }
        match reader.range(&self.workload.range(number)) {
            Ok(read) => {
                if let Some(Ok(TxnRead { revision, result })) = self.lockers.look(number).map(|look| reader.read_txn(look)) {
                    self.lockers.hear(self.workload.operation(number).client, number, Heard::Looked(revision, result));
                }
                let answer =
                    Answer::Done { revision: read.revision, changed: false, succeeded: true, seen: vec![Some(seen(&read.result))] };
                self.reply(number, Some(answer));
                Ok(())
            }
            Err(_) if self.may_have_fault(node) => Ok(()),
            Err(error) => Err(Violation::new("answers", format!("{node} can't read: {error}"))),
        }
    }

    pub(super) fn reply(&mut self, number: OperationNumber, answer: Option<Answer>) {
        let delay = self.client_delay();
        self.queue.after(delay, Event::Answer { number, answer });
    }

    pub(super) fn on_answer(&mut self, number: OperationNumber, answer: Option<Answer>) {
        let now = self.queue.now();
        if !self.is_waiting(number) {
            return;
        }
        self.trace.note(now, &[7, number.0 as u64, u64::from(answer.is_some())], || format!("request {} got {answer:?}", number.0));
        if let Some(answer) = &answer {
            self.sessions.hear(answer);
            self.workload.answered(number, now, answer.clone());
        }
        self.stop_waiting(number, answer.as_ref());
    }

    pub(super) fn on_give_up(&mut self, number: OperationNumber) {
        if self.is_waiting(number) {
            self.trace.note(self.queue.now(), &[8, number.0 as u64], || format!("request {} is given up", number.0));
            self.stop_waiting(number, None);
        }
    }

    fn is_waiting(&self, number: OperationNumber) -> bool {
        self.waiting.get(&self.workload.operation(number).client) == Some(&number)
    }

    /// The client goes on to its next request.
    fn stop_waiting(&mut self, number: OperationNumber, answer: Option<&Answer>) {
        let client = self.workload.operation(number).client;
        self.waiting.remove(&client);
        let refused = self.callers.answered(number, client, answer);
        if client == ADMINISTRATOR {
            return self.administered(answer, refused);
        }
        if let Some(locker) = lockers::locker(client) {
            return self.locker_answered(locker, number, answer);
        }
        if let Some(node) = recovery::executor(client) {
            return self.executor_answered(node, number, answer);
        }
        let think = between(Duration::ZERO, self.swarm.think, &mut self.clients_rng);
        self.queue.after(think, Event::Invoke { client });
    }
}
