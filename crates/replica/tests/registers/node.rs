//! One node: the machine over a disk that holds rows, and a journal that is durable later than it is written.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;
use steadfast_crdt::Actor;
use steadfast_replica::registers::{Change, Functions, Outputs, Record, Registers, Row};
use steadfast_types::wire::Wire;
use steadfast_types::{Instant, NodeId};

use super::history::{Answer, Operation};

/// Applies operations, and tells what was there before.
#[derive(Debug)]
pub struct Operations;

impl Functions for Operations {
    type Command = Operation;
    type Answer = Answer;

    fn reads(&self, command: &Operation) -> bool {
        *command == Operation::Read
    }

    fn apply(&mut self, command: &Operation, value: Option<&Bytes>) -> (Change, Answer) {
        (command.apply(value).map_or(Change::Keep, Change::Write), value.cloned())
    }

    fn too_large(&mut self, command: &Operation) -> Answer {
        panic!("{command:?} is small")
    }
}

/// A checkpoint under way.
struct Checkpoint {
    /// The journal is cut here when it is done.
    from: u64,
    /// Rows, each with the journal's length that must be durable before it is kept; `None` is the end, with the common row.
    rows: Vec<(u64, Option<Row>)>,
    common: Vec<u8>,
    is_taken: bool,
}

#[derive(Default)]
struct Disk {
    /// Records from the `cut`th on, in wire form.
    journal: Vec<Vec<u8>>,
    cut: u64,
    /// So many records are durable, from the beginning of time on.
    durable: u64,
    rows: BTreeMap<Bytes, Vec<u8>>,
    common: Option<Vec<u8>>,
}

impl Disk {
    fn written(&self) -> u64 {
        self.cut + self.journal.len() as u64
    }
}

pub struct Node {
    pub registers: Registers<Operations>,
    id: NodeId,
    disk: Disk,
    checkpoint: Option<Checkpoint>,
    /// Records of earlier lives.
    before: u64,
    /// Its wall clock is so far ahead, milliseconds.
    pub ahead: u64,
    /// And goes on in steps of so many.
    pub grain: u64,
    /// The epoch that strong state here tells of.
    pub knows: u64,
}

impl Node {
    pub fn new(id: NodeId, rng: &mut Rng) -> Self {
        let disk = Disk::default();
        Self { registers: Self::begin(id, &disk, rng), id, disk, checkpoint: None, before: 0, ahead: Self::skew(rng), grain: 1, knows: 0 }
    }

    /// A few values, so that a clock often shows again what it showed before a crash.
    fn skew(rng: &mut Rng) -> u64 {
        [0, 5, 500, 30_000][rng.usize(0..4)]
    }

    fn begin(id: NodeId, disk: &Disk, rng: &mut Rng) -> Registers<Operations> {
        let mut registers = Registers::new(id, Actor::new(id.0 as u16).unwrap(), Rng::with_seed(rng.u64(..)));
        for row in disk.rows.values().chain(&disk.common) {
            registers.load(row.clone().into()).expect("a row");
        }
        for record in &disk.journal {
            registers.replay(Record::from_wire(record.clone().into()).expect("a record"));
        }
        registers
    }

    pub fn set_now(&mut self, now: Instant, unix_ms: u64) {
        let shown = unix_ms + self.ahead;
        self.registers.set_now(now, shown - shown % self.grain);
    }

    /// Writes down what is to be, and gives the rest.
    pub fn outputs(&mut self) -> Outputs<Answer> {
        let outputs = self.registers.outputs();
        self.disk.journal.extend(outputs.records.iter().map(Wire::to_wire));
        assert_eq!(self.before + outputs.written, self.disk.written());
        outputs
    }

    /// Some more records are durable.
    pub fn sync(&mut self, records: u64) {
        self.disk.durable = self.disk.written().min(self.disk.durable.saturating_add(records));
        self.keep_rows();
        self.registers.durable(self.disk.durable.saturating_sub(self.before), &mut Operations);
    }

    /// A step of a checkpoint.
    pub fn checkpoint(&mut self, rng: &mut Rng) {
        let (registers, written) = (&mut self.registers, self.disk.written());
        let checkpoint = self.checkpoint.get_or_insert_with(|| {
            registers.begin_rows();
            Checkpoint { from: written, rows: Vec::new(), common: Vec::new(), is_taken: false }
        });
        if !checkpoint.is_taken && rng.bool() {
            let rows = registers.rows(1);
            if rows.is_empty() {
                (checkpoint.common, checkpoint.is_taken) = (registers.common_row(), true);
                checkpoint.rows.push((written, None));
            }
            checkpoint.rows.extend(rows.into_iter().map(|row| (written, Some(row))));
        }
        self.keep_rows();
    }

    fn keep_rows(&mut self) {
        let (disk, Some(checkpoint)) = (&mut self.disk, &mut self.checkpoint) else { return };
        let durable = disk.durable;
        for (_, row) in checkpoint.rows.extract_if(.., |(needed, _)| *needed <= durable).collect::<Vec<_>>() {
            match row {
                Some(Row { key, bytes: Some(bytes) }) => drop(disk.rows.insert(key, bytes)),
                Some(Row { key, bytes: None }) => drop(disk.rows.remove(&key)),
                None => {
                    disk.common = Some(checkpoint.common.clone());
                    disk.journal.drain(..(checkpoint.from - disk.cut) as usize);
                    disk.cut = checkpoint.from;
                    self.checkpoint = None;
                    return;
                }
            }
        }
    }

    /// Loses everything but what is durable and perhaps some more, and begins again, with another wall clock.
    pub fn crash(&mut self, rng: &mut Rng) {
        let disk = &mut self.disk;
        let left = rng.u64(disk.durable..=disk.written());
        disk.journal.truncate((left - disk.cut) as usize);
        (disk.durable, self.before, self.checkpoint) = (left, left, None);
        self.registers = Self::begin(self.id, &self.disk, rng);
        (self.ahead, self.knows) = (Self::skew(rng), 0);
    }

    /// What it holds is what it would hold after a proper stop.
    pub fn check_disk(&mut self, rng: &mut Rng) {
        self.sync(u64::MAX);
        let again = Self::begin(self.id, &self.disk, rng);
        assert_eq!(again.acceptor().records().collect::<Vec<_>>(), self.registers.acceptor().records().collect::<Vec<_>>());
    }
}
