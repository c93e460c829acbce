//! Clients: they send commands to one replica or another, and remember what they were told.
//!
//! A session's client carries a token from replica to replica: what the replicas that answered it had seen. It waits at each until that has seen as much.
//! What it must then be shown is kept apart from tokens: its own writes, what was seen of the keys it used, and whatever came before either.

use bytes::Bytes;
use steadfast_available::hash_of;
use steadfast_crdt::{Covers, Version, VersionVector};
use steadfast_proof::Violation;
use steadfast_redis_api::engine::execute;
use steadfast_redis_api::engine::session::{Next, Session};
use steadfast_redis_api::protocol::request::OwnedArguments;
use steadfast_replica::{Answer, Until, WaitId};
use steadfast_types::NodeId;
use steadfast_types::time::Duration;

use super::commands::{Command, Does, KINDS, Kind, draw, items};
use super::host::WorldHost;
use super::machine::Process;
use super::model::{Cells, Effect, Eyes, OperationId};
use super::world::{Event, World};
use crate::network::between;

/// How long a session waits at a replica for what it has seen elsewhere.
const SESSION_TIMEOUT: Duration = Duration::from_millis(700);

/// A client.
pub(super) struct Client {
    number: usize,
    is_session: bool,
    node: Option<NodeId>,
    session: Session,
    token: VersionVector,
    past: VersionVector,
    waits: Waits,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug)]
enum Waits {
    Nothing,
    /// The replica to see what the session has.
    Seen,
    /// Others to hold its write.
    Held(OperationId),
}

/// A command that was run and is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) client: usize,
    pub(super) operation: Option<OperationId>,
    /// What the client has seen when it is answered.
    pub(super) past: VersionVector,
    pub(super) token: VersionVector,
    /// It asks next how many others hold it.
    asks_for_holders: bool,
}

impl Client {
    pub(super) fn new(number: usize, is_session: bool) -> Self {
        Client {
            number,
            is_session,
            node: None,
            session: Session::new(number as u64, true),
            token: VersionVector::default(),
            past: VersionVector::default(),
            waits: Waits::Nothing,
        }
    }
}

impl Process {
    /// What was seen of a key.
    fn seen_of(&self, key: &[u8]) -> VersionVector {
        let hash = hash_of(key);
        self.keys().context().pieces(hash, hash).pop().map(|(_, _, seen)| seen).unwrap_or_default()
    }

    /// What runs in the turn that has not ended.
    fn open_operations(&self) -> Vec<OperationId> {
        self.open.iter().filter_map(|done| done.operation).collect()
    }
}

impl World {
    pub(super) fn client_later(&mut self, client: usize) {
        let after = between(Duration::from_micros(100), self.swarm.think, &mut self.clients_rng);
        self.queue.after(after, Event::Client { client });
    }

    pub(super) fn on_client(&mut self, client: usize) -> Result<(), Violation> {
        if self.quiet {
            return Ok(());
        }
        let running = self.running();
        if running.is_empty() {
            self.client_later(client);
            return Ok(());
        }
        let any = running[self.clients_rng.usize(0..running.len())];
        let stays = self.clients_rng.u8(0..4) > 0 && !self.clients[client].is_session;
        let node = self.clients[client].node.filter(|node| stays && running.contains(node)).unwrap_or(any);
        self.clients[client].node = Some(node);
        let token = self.clients[client].token.clone();
        if token == VersionVector::default() {
            return self.run_command(client, node);
        }
        self.counts.session_waits += 1;
        self.clients[client].waits = Waits::Seen;
        let now = self.queue.now();
        let Some(process) = self.process(node) else { return Ok(()) };
        process.waiting.insert(client);
        let deadline = process.clock.shows(now) + SESSION_TIMEOUT;
        process.replica.wait(WaitId(client as u64), Until::Seen(token), Some(deadline));
        self.settle(node)
    }

    /// A client's wait is over.
    pub(super) fn on_answer(&mut self, node: NodeId, answer: Answer) -> Result<(), Violation> {
        let client = usize::try_from(answer.id.0).expect("a client's number");
        let Some(process) = self.process(node) else { return Ok(()) };
        process.waiting.remove(&client);
        match std::mem::replace(&mut self.clients[client].waits, Waits::Nothing) {
            Waits::Seen if answer.is_met => self.run_command(client, node),
            Waits::Held(operation) => {
                self.client_later(client);
                self.check_holders(operation, answer)
            }
            Waits::Seen | Waits::Nothing => {
                // What the session has seen may be gone with a machine: then it has to begin anew.
                if self.clients_rng.u8(0..3) == 0 {
                    let client = &mut self.clients[client];
                    (client.token, client.past) = (VersionVector::default(), VersionVector::default());
                }
                self.client_later(client);
                Ok(())
            }
        }
    }

    /// So many others hold a write, or did until they lost it.
    fn check_holders(&self, operation: OperationId, answer: Answer) -> Result<(), Violation> {
        let operation = self.model.get(operation);
        let Some(version) = operation.version else { return Ok(()) };
        let living = self.machines.values().filter_map(|machine| machine.process.as_ref());
        let mut holders: std::collections::BTreeSet<_> =
            living.filter(|process| process.seen().covers(version)).map(|process| process.replica.actor()).collect();
        holders.extend(self.past.iter().filter(|(_, seen)| seen.covers(version)).map(|(actor, _)| *actor));
        holders.remove(&version.actor());
        if holders.len() < answer.replicas {
            return Err(Violation::new(
                "holders",
                format!("{:?} is said to be held by {} others, and {} ever held it", operation.text, answer.replicas, holders.len()),
            ));
        }
        Ok(())
    }

    fn draw_command(&mut self) -> Command {
        let kinds = &self.swarm.kinds;
        let kind = KINDS[kinds[self.clients_rng.usize(0..kinds.len())]];
        let key = Bytes::from(format!("{}{}", kind.letter(), self.clients_rng.usize(0..self.swarm.keys)));
        let unique = self.counts.commands;
        if self.clients_rng.f64() < self.swarm.reads { kind.read(&key) } else { draw(kind, &key, unique, &mut self.clients_rng) }
    }

    /// Runs words as a command, and gives the answer's bytes.
    pub(super) fn execute(&mut self, client: usize, node: NodeId, words: &[Bytes]) -> (Vec<u8>, Next) {
        let now_us = self.machines[&node].wall_ms(self.queue.now()) * 1000;
        let arguments = OwnedArguments::new(words.iter().map(|word| &word[..]));
        let mut out = Vec::new();
        let machine = self.machines.get_mut(&node).expect("a machine of the world");
        let Some(process) = machine.process.as_mut() else { return (out, Next::Close) };
        let mut host = WorldHost { now_us, rng: &mut self.clients_rng, users: &mut self.users };
        let session = &mut self.clients[client].session;
        let next = execute(session, arguments.as_arguments(), process.replica.keys(), &mut host, &mut out);
        (out, next)
    }

    fn run_command(&mut self, client: usize, node: NodeId) -> Result<(), Violation> {
        if self.quiet || self.process(node).is_none() {
            self.client_later(client);
            return Ok(());
        }
        let command = self.draw_command();
        self.counts.commands += 1;
        let Some(process) = self.process(node) else { return Ok(()) };
        let (seen, open, life) = (process.seen_of(&command.key), process.open_operations(), process.life);
        let eyes = Eyes { seen: &seen, open: &open };
        self.model.check_causes(&command.key, eyes)?;
        self.check_session(client, &command.key, eyes)?;
        let text = String::from_utf8_lossy(&command.words.join(&b' ')).into_owned();
        let (answer, _) = self.execute(client, node, &command.words);
        self.trace.note(self.queue.now(), &[7, client as u64, node.0, xxhash_rust::xxh3::xxh3_64(&answer)], || {
            format!("client {client} at {node}: {text} -> {}", answer.escape_ascii())
        });
        let operation = self.begin_operation((client, node), &command, &answer, &seen, text)?;
        self.check_key(client, node, &command.key, operation)?;
        let asks_for_holders = operation.is_some() && self.clients_rng.u8(0..8) == 0;
        let done = Done { client, operation, past: seen.clone(), token: VersionVector::default(), asks_for_holders };
        let ends = self.clients_rng.f64() >= self.swarm.batching;
        let Some(process) = self.process(node) else { return Ok(()) };
        process.open.push(done);
        if ends {
            return self.on_end_turn(node, life);
        }
        let after = between(Duration::ZERO, Duration::from_millis(3), &mut self.clients_rng);
        self.queue.after(after, Event::EndTurn { node, life });
        Ok(())
    }

    /// Tells the model of a command that writes.
    fn begin_operation(
        &mut self,
        (client, node): (usize, NodeId),
        command: &Command,
        answer: &[u8],
        seen: &VersionVector,
        text: String,
    ) -> Result<Option<OperationId>, Violation> {
        let cells = match &command.does {
            Does::Reads | Does::Anything => return Ok(None),
            Does::Writes(cells) => cells.clone(),
            Does::Pops => {
                let popped = items(answer).unwrap_or_default().into_iter().map(|item| (item, Effect::Remove)).collect();
                Cells::Some(popped)
            }
        };
        if answer.first() == Some(&b'-') {
            return Err(Violation::new("commands", format!("{text:?} is refused: {}", answer.escape_ascii())));
        }
        let past = self.clients[client].past.clone();
        Ok(Some(self.model.begin((client, node), command.key.clone(), cells, seen.clone(), past, text)))
    }

    /// A replica shows of a key what the operations that it has seen make.
    pub(super) fn check_key(&mut self, client: usize, node: NodeId, key: &Bytes, newest: Option<OperationId>) -> Result<(), Violation> {
        let kind = Kind::of(key);
        if kind == Kind::Free {
            return Ok(());
        }
        let (answer, _) = self.execute(client, node, &kind.read(key).words);
        let Some(process) = self.process(node) else { return Ok(()) };
        // Of the turn that is under way everything is there.
        let (seen, mut open) = (process.seen_of(key), process.open_operations());
        open.extend(newest);
        let Some(shown) = kind.shown(&answer) else {
            return Err(Violation::new("model", format!("{node} shows {key:?} as {}", answer.escape_ascii())));
        };
        self.model
            .check_shown(key, Eyes { seen: &seen, open: &open }, &shown)
            .map_err(|violation| Violation::new(violation.checker, format!("{node}: {}", violation.message)))
    }

    /// All keys of a replica are as they must be, also those that nobody reads.
    pub(super) fn check_keys(&mut self, node: NodeId) -> Result<(), Violation> {
        let keys = if self.quiet { Vec::new() } else { self.model.keys().cloned().collect() };
        for key in keys {
            let Some(process) = self.process(node) else { return Ok(()) };
            let (seen, open) = (process.seen_of(&key), process.open_operations());
            self.model.check_causes(&key, Eyes { seen: &seen, open: &open })?;
            self.check_key(0, node, &key, None)?;
        }
        Ok(())
    }

    /// A session sees its own writes, and no less than it saw before, with all that came before either.
    fn check_session(&self, client: usize, key: &Bytes, eyes: Eyes<'_>) -> Result<(), Violation> {
        let Client { number, past, .. } = &self.clients[client];
        match self.model.unseen(key, past, eyes) {
            Some(unseen) if unseen.client == client => {
                Err(Violation::new("read your writes", format!("client {number} is not shown its own {:?}", unseen.text)))
            }
            Some(unseen) => Err(Violation::new(
                "monotonic reads",
                format!("client {number} is not shown {:?}, which it had seen or something that followed it", unseen.text),
            )),
            None => Ok(()),
        }
    }

    /// A command is answered.
    pub(super) fn on_done(&mut self, node: NodeId, done: Done) -> Result<(), Violation> {
        self.counts.acknowledged += 1;
        if let Some(operation) = done.operation {
            self.model.get_mut(operation).is_acknowledged = true;
        }
        let client = &mut self.clients[done.client];
        if client.is_session {
            client.past.join(&done.past);
            client.token.join(&done.token);
        }
        match done.operation.filter(|_| done.asks_for_holders && !self.quiet) {
            Some(operation) => self.ask_for_holders(done.client, node, operation),
            None => {
                self.client_later(done.client);
                Ok(())
            }
        }
    }

    fn ask_for_holders(&mut self, client: usize, node: NodeId, operation: OperationId) -> Result<(), Violation> {
        self.counts.holder_waits += 1;
        let words = [
            Bytes::from("WAIT"),
            Bytes::from(self.clients_rng.usize(0..=self.swarm.nodes).to_string()),
            Bytes::from(self.clients_rng.u32(1..800).to_string()),
        ];
        let (_, next) = self.execute(client, node, &words);
        let now = self.queue.now();
        let Some(process) = self.process(node) else { return Ok(()) };
        let Next::Wait { replicas, timeout_ms } = next else {
            self.client_later(client);
            return Ok(());
        };
        process.waiting.insert(client);
        let deadline = process.clock.shows(now) + Duration::from_millis(timeout_ms);
        let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
        let write = process.replica.look().last_write();
        process.replica.wait(WaitId(client as u64), Until::Held { write, replicas }, Some(deadline));
        self.clients[client].waits = Waits::Held(operation);
        self.settle(node)
    }
}

impl Done {
    /// Its turn ended with this version.
    pub(super) fn ended(&mut self, version: Option<Version>, token: &VersionVector) {
        version.into_iter().for_each(|version| self.past.saw(version));
        self.token.clone_from(token);
    }
}
