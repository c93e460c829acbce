//! The loop's part of strong keys: drives the registers as it drives the replica, and closes prefixes that are about to become strong.
//!
//! What registers write goes into the same journal as everything else, and is synced at once, whatever the durability: replicas of a register may forget nothing
//! that they have answered.

mod keeper;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use steadfast_available::Keyspace;
use steadfast_checkpoints::OtherRows;
use steadfast_crdt::Actor;
use steadfast_redis_api::engine::register;
use steadfast_redis_api::protocol::errors;
use steadfast_redis_api::protocol::reply::{Reply, Version};
use steadfast_redis_api::protocol::request::{Arguments, OwnedArguments};
use steadfast_replica::registers::limits::{KEY_BYTES, VALUE_BYTES};
use steadfast_replica::registers::{Change, Functions, Outcome, Outputs, Reason, Record, Registers, RequestId};
use steadfast_replica::strong_keys::StrongKeys;
use steadfast_storage::journal::Sequence;
use steadfast_types::wire::WireError;
use steadfast_types::{Instant, NodeId, Rng};
use tokio::sync::{mpsc, watch};

pub(crate) use keeper::{Found, keep};

use super::process::Process;
use super::status::StrongStatus;
use crate::identity::random;

/// Keys that are looked at in a turn, for such as are under a prefix that is announced.
const LOOKED_AT: usize = 1000;

/// Where the loop learns of strong keys, and says what it has found.
#[derive(Debug)]
pub struct Source {
    /// This node.
    pub(crate) node: NodeId,
    /// As whom its registers are held.
    pub(crate) holder: NodeId,
    pub(crate) keys: watch::Receiver<Arc<StrongKeys>>,
    pub(crate) found: mpsc::Sender<Found>,
}

/// A command on a register.
#[derive(Debug)]
pub(super) struct StrongCommand {
    arguments: OwnedArguments,
    version: Version,
}

/// Which keys are not for this node alone.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    strong: Vec<Bytes>,
    closed: Vec<Bytes>,
}

impl Prefixes {
    pub(super) fn is_empty(&self) -> bool {
        self.strong.is_empty() && self.closed.is_empty()
    }

    pub(super) fn is_strong(&self, key: &[u8]) -> bool {
        self.strong.iter().any(|prefix| key.starts_with(prefix))
    }

    pub(super) fn is_closed(&self, key: &[u8]) -> bool {
        self.closed.iter().any(|prefix| key.starts_with(prefix))
    }
}

/// A walk over all keys, for such as are under a prefix.
#[derive(Debug)]
struct Look {
    prefix: Bytes,
    /// `None`: it is over.
    cursor: Option<u64>,
    count: u64,
}

/// See the module.
pub(super) struct Strong {
    pub(super) registers: Registers<Process>,
    source: Option<Source>,
    /// What is known; changes come by the source.
    known: Arc<StrongKeys>,
    nodes: BTreeMap<NodeId, NodeId>,
    /// The nodes with a lane.
    connected: BTreeSet<NodeId>,
    /// Records on their way to the disk: when the journal is durable up to there, those up to this number are.
    syncing: VecDeque<(Sequence, u64)>,
    looks: Vec<Look>,
    /// A checkpoint is being made, and the row of what concerns no single register is not in it yet.
    lacks_common_row: bool,
    /// What is to be answered, by connection.
    pub(super) answers: BTreeMap<u64, Outcome<Bytes>>,
}

impl Strong {
    pub(super) fn new(source: Option<Source>, actor: Actor) -> Self {
        // Alone, nothing is ever asked of it.
        let holder = source.as_ref().map_or(NodeId(0), |source| source.holder);
        Strong {
            registers: Registers::new(holder, actor, Rng::with_seed(random())),
            source,
            known: Arc::default(),
            nodes: BTreeMap::new(),
            connected: BTreeSet::new(),
            syncing: VecDeque::new(),
            looks: Vec::new(),
            lacks_common_row: false,
            answers: BTreeMap::new(),
        }
    }

    /// Takes what strong state says, if that has changed.
    pub(super) fn learn(&mut self, process: &mut Process) {
        let Some(source) = &mut self.source else { return };
        if !source.keys.has_changed().unwrap_or(false) {
            return;
        }
        self.known = source.keys.borrow_and_update().clone();
        process.prefixes = Prefixes {
            strong: self.known.strong().cloned().collect(),
            closed: self.known.announced().map(|(prefix, _)| prefix.clone()).collect(),
        };
        let wanted: BTreeSet<Bytes> = self.known.announced().map(|(prefix, _)| prefix.clone()).collect();
        self.looks.retain(|look| wanted.contains(&look.prefix));
        for prefix in wanted {
            if !self.looks.iter().any(|look| look.prefix == prefix) {
                self.looks.push(Look { prefix, cursor: Some(0), count: 0 });
            }
        }
        let before = std::mem::replace(&mut self.nodes, self.known.holders.iter().map(|(node, holder)| (*holder, *node)).collect());
        for node in &self.connected {
            let holder = self.known.holders.get(node);
            let was = before.iter().find(|(_, of)| *of == node).map(|(holder, _)| holder);
            if was != holder {
                was.into_iter().for_each(|was| self.registers.disconnected(*was));
                holder.into_iter().for_each(|holder| self.registers.connected(*holder));
            }
        }
        if let Some(assignment) = self.known.assignment.clone() {
            self.registers.set_assignment(assignment, process);
        }
    }

    pub(super) fn connected(&mut self, node: NodeId) {
        self.connected.insert(node);
        self.known.holders.get(&node).into_iter().for_each(|holder| self.registers.connected(*holder));
    }

    pub(super) fn disconnected(&mut self, node: NodeId) {
        self.connected.remove(&node);
        self.known.holders.get(&node).into_iter().for_each(|holder| self.registers.disconnected(*holder));
    }

    /// A message of the node's registers. Of a node whose holder is not known (yet) nothing is heard: it says it again.
    pub(super) fn receive(&mut self, node: NodeId, message: Bytes, process: &mut Process) -> Result<(), WireError> {
        match self.known.holders.get(&node) {
            Some(holder) => self.registers.receive(*holder, message, process),
            None => Ok(()),
        }
    }

    /// Runs a command on the register that it names.
    pub(super) fn ask(
        &mut self,
        connection: u64,
        arguments: Arguments<'_>,
        version: Version,
        deadline: Option<Instant>,
        process: &mut Process,
    ) {
        let key = register::key(arguments).expect("it was found to be about a register");
        let command = StrongCommand { arguments: OwnedArguments::new(arguments.iter()), version };
        self.registers.ask(RequestId(connection), Bytes::copy_from_slice(key), command, deadline, process);
    }

    /// Does what time asks for, and says what was found.
    pub(super) fn tick(&mut self, now: Instant, keys: &Keyspace, process: &mut Process) {
        if self.registers.next_deadline() <= now {
            self.registers.tick(process);
        }
        for look in &mut self.looks {
            look.go_on(keys);
        }
        let Some(source) = &self.source else { return };
        for look in self.looks.iter().filter(|look| look.cursor.is_none()) {
            let has_agreed = self.known.announced().any(|(prefix, agreed)| *prefix == look.prefix && agreed.contains(&source.node));
            let found = if look.count == 0 { Found::Nothing(look.prefix.clone()) } else { Found::Keys(look.prefix.clone(), look.count) };
            if !has_agreed {
                // If there is no room, it is said again in the next tick.
                let _ = source.found.try_send(found);
            }
        }
    }

    /// Whether it looks for keys and should go on at once.
    pub(super) fn is_looking(&self) -> bool {
        self.looks.iter().any(|look| look.cursor.is_some())
    }

    /// What is to be done now.
    pub(super) fn outputs(&mut self) -> Outputs<Bytes> {
        let mut outputs = self.registers.outputs();
        outputs.messages = std::mem::take(&mut outputs.messages)
            .into_iter()
            .filter_map(|(holder, message)| Some((*self.nodes.get(&holder)?, message)))
            .collect();
        if let (Some(epoch), Some(source)) = (outputs.carried, &self.source) {
            // It is said again.
            let _ = source.found.try_send(Found::Carried(epoch));
        }
        outputs
    }

    /// Records up to this number are in the journal up to there.
    pub(super) fn written(&mut self, up_to: Sequence, number: u64) {
        self.syncing.push_back((up_to, number));
    }

    /// Whether answers wait for the disk.
    pub(super) fn wants_sync(&self) -> bool {
        !self.syncing.is_empty()
    }

    /// The journal is durable up to there.
    pub(super) fn synced(&mut self, durable: Sequence, process: &mut Process) {
        while let Some((_, number)) = self.syncing.pop_front_if(|(up_to, _)| *up_to <= durable) {
            self.registers.durable(number, process);
        }
    }

    /// How it is, for people.
    pub(super) fn status(&self) -> StrongStatus {
        let counts = self.registers.counts();
        StrongStatus {
            epoch: self.registers.assignment().map_or(0, |assignment| assignment.epoch),
            held: self.registers.len() as u64,
            waiting: self.registers.waiting() as u64,
            requests: counts.requests,
            unknown: counts.unknown,
            reads_at_once: counts.rounds.reads_at_once,
            rounds: counts.rounds.rounds,
            conflicts: counts.rounds.conflicts,
        }
    }

    /// Takes a record of the journal, at the start.
    pub(super) fn replay(&mut self, record: Record) {
        self.registers.replay(record);
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, connection: u64) {
        self.registers.forget(RequestId(connection));
        self.answers.remove(&connection);
    }
}

impl OtherRows for Strong {
    fn begin(&mut self) {
        self.registers.begin_rows();
        self.lacks_common_row = true;
    }

    fn take(&mut self, bytes: usize) -> Vec<(Bytes, Option<Vec<u8>>)> {
        let rows = self.registers.rows(bytes);
        if rows.is_empty() && std::mem::take(&mut self.lacks_common_row) {
            // No register is called nothing: prefixes are words.
            return vec![(Bytes::new(), Some(self.registers.common_row()))];
        }
        rows.into_iter().map(|row| (row.key, row.bytes)).collect()
    }
}

impl Look {
    fn go_on(&mut self, keys: &Keyspace) {
        let Some(cursor) = self.cursor else { return };
        let (next, found) = keys.scan(cursor, LOOKED_AT);
        self.count += found.iter().filter(|key| key.starts_with(&self.prefix)).count() as u64;
        self.cursor = (next != 0).then_some(next);
    }
}

impl Functions for Process {
    type Command = StrongCommand;
    type Answer = Bytes;

    fn reads(&self, command: &StrongCommand) -> bool {
        register::reads(command.arguments.as_arguments())
    }

    fn apply(&mut self, command: &StrongCommand, value: Option<&Bytes>) -> (Change, Bytes) {
        let now_ms = self.now_us / 1000;
        match register::apply(command.arguments.as_arguments(), value, now_ms, command.version, self) {
            Ok(effect) => (effect.change.map_or(Change::Keep, Change::Write), effect.answer.into()),
            Err(_) => (Change::Keep, error(command, &errors::STRONG_VALUE_UNKNOWN)),
        }
    }

    fn too_large(&mut self, command: &StrongCommand) -> Bytes {
        error(command, &errors::strong_value_too_large(VALUE_BYTES))
    }
}

fn error(command: &StrongCommand, failure: &errors::Failure) -> Bytes {
    let mut answer = Vec::new();
    Reply::new(&mut answer, command.version).error(failure.text());
    answer.into()
}

/// Writes what came of a strong request.
pub(super) fn answer(outcome: &Outcome<Bytes>, timeout_ms: u64, reply: &mut Reply<'_>) {
    let failure = match outcome {
        Outcome::Done(answer) => return reply.raw(answer),
        Outcome::Nothing(Reason::Late) => errors::no_quorum(timeout_ms),
        Outcome::Nothing(Reason::Busy) => errors::STRONG_BUSY,
        Outcome::Nothing(Reason::KeyTooLong) => errors::strong_key_too_long(KEY_BYTES),
        Outcome::Unknown { held_by, of } => errors::unknown_outcome(*held_by, *of, timeout_ms),
    };
    reply.error(failure.text());
}
