//! One machine: a core, the log and tables on its disk, and what it has handed to its log writer and not synced yet.

use std::collections::VecDeque;

use steadfast_consensus::{LogWrite, Raft, Recovered, WriteSequence};
use steadfast_types::{Configuration, Entry, HardState, Instant, LogIndex, LogPosition, NodeId, Payload, Term};

/// A log as a disk holds it: the entries after `start`.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiskLog {
    pub(crate) hard_state: HardState,
    pub(crate) start: LogPosition,
    pub(crate) entries: Vec<Entry>,
}

impl DiskLog {
    pub(crate) fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.start, Entry::position)
    }

    pub(crate) fn holds(&self, position: LogPosition) -> bool {
        position == self.start || self.entries.iter().any(|entry| entry.position() == position)
    }

    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        self.entries.retain(|entry| entry.index < index);
    }

    /// Carries out a log writer's order.
    fn carry_out(&mut self, order: &Order) {
        match order {
            Order::Reset(position) => {
                self.start = *position;
                self.entries.clear();
            }
            Order::Write(write) => {
                if let Some(hard_state) = write.hard_state {
                    self.hard_state = hard_state;
                }
                if let Some(index) = write.truncate_from {
                    assert!(index <= self.last().index, "a cut at {index} behind the end {}", self.last());
                    self.truncate_from(index);
                }
                for entry in &write.entries {
                    assert_eq!(entry.index, self.last().index.next(), "a gap on disk after {}", self.last());
                    self.entries.push(entry.clone());
                }
            }
        }
    }

    /// Entries from `from` on, about `max_bytes`; `None` if they are compacted.
    pub(crate) fn read(&self, from: LogIndex, max_bytes: usize) -> Option<Vec<Entry>> {
        if from <= self.start.index {
            return None;
        }
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.size();
            entry.index == from || bytes <= max_bytes
        };
        Some(self.entries.iter().skip((from.0 - self.start.index.0 - 1) as usize).take_while(fits).cloned().collect())
    }
}

/// What the log writer is to do, in order.
#[derive(Clone, Debug)]
enum Order {
    Write(LogWrite),
    Reset(LogPosition),
}

/// A position of the state machine, and the configuration there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) position: LogPosition,
    pub(crate) configuration: Configuration,
}

impl Tables {
    pub(crate) fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.position.index.next(), "applied out of order");
        self.position = entry.position();
        if let Payload::Change { configuration, .. } = &entry.payload {
            self.configuration = configuration.clone();
        }
    }
}

/// See the file's documentation.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    /// `None` while it is down.
    pub(crate) raft: Option<Raft>,
    pub(crate) clock: Instant,
    /// What survives a crash.
    pub(crate) synced: DiskLog,
    pub(crate) checkpoint: Tables,
    /// The log with all orders carried out, as a reader sees it.
    pub(crate) written: DiskLog,
    pub(crate) applied: Tables,
    orders: VecDeque<Order>,
    /// Writes wait for an explicit sync.
    pub(crate) slow_disk: bool,
    /// It lost entries, since it was last free of suspicion.
    pub(crate) damaged: bool,
}

impl Machine {
    pub(crate) fn new(id: NodeId, synced: DiskLog, checkpoint: Tables) -> Self {
        Machine {
            id,
            raft: None,
            clock: Instant(1_000_000),
            written: synced.clone(),
            synced,
            applied: checkpoint.clone(),
            checkpoint,
            orders: VecDeque::new(),
            slow_disk: false,
            damaged: false,
        }
    }

    /// The process ends, and what was not synced is gone.
    pub(crate) fn crash(&mut self) {
        self.raft = None;
        self.orders.clear();
    }

    /// What storage makes of the disk: a snapshot that the log does not lead up to replaces the log.
    pub(crate) fn recover(&mut self) -> Recovered {
        let snapshot = self.checkpoint.position;
        if !self.synced.holds(snapshot) {
            self.synced.start = snapshot;
            self.synced.entries.clear();
        }
        self.written = self.synced.clone();
        self.applied = self.checkpoint.clone();
        let mut terms: Vec<(LogIndex, Term)> = Vec::new();
        let (before, after): (Vec<Entry>, Vec<Entry>) =
            self.synced.entries.iter().cloned().partition(|entry| entry.index <= snapshot.index);
        for entry in before {
            if terms.last().is_none_or(|&(_, term)| term != entry.term) {
                terms.push((entry.index, entry.term));
            }
        }
        Recovered {
            hard_state: self.synced.hard_state,
            snapshot,
            configuration: self.checkpoint.configuration.clone(),
            terms,
            entries: after,
        }
    }

    /// While it is down, the disk loses its newest `count` entries (not what the checkpoint covers), and knows that it lost something.
    pub(crate) fn damage(&mut self, count: u64) {
        let keep = self.synced.last().index.0.saturating_sub(count).max(self.checkpoint.position.index.0);
        self.synced.truncate_from(LogIndex(keep + 1));
        self.synced.hard_state.suspect = true;
        self.damaged = true;
    }

    pub(crate) fn write(&mut self, write: LogWrite) {
        assert!(write.hard_state.is_some() || write.truncate_from.is_some() || !write.entries.is_empty(), "an empty write");
        self.order(Order::Write(write));
    }

    pub(crate) fn reset_log(&mut self, position: LogPosition) {
        self.order(Order::Reset(position));
    }

    fn order(&mut self, order: Order) {
        self.written.carry_out(&order);
        self.orders.push_back(order);
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.orders.len()
    }

    /// Makes the oldest `count` orders durable. Returns the last write among them.
    pub(crate) fn sync(&mut self, count: usize) -> Option<WriteSequence> {
        let mut last = None;
        for _ in 0..count {
            let Some(order) = self.orders.pop_front() else { break };
            self.synced.carry_out(&order);
            if let Order::Write(write) = order {
                last = Some(write.sequence);
            }
            self.damaged &= self.synced.hard_state.suspect;
        }
        last
    }

    /// Makes the state machine durable as it is.
    pub(crate) fn checkpoint(&mut self) {
        self.checkpoint = self.applied.clone();
    }

    /// Drops the log up to `through`, which the checkpoint covers.
    pub(crate) fn compact(&mut self, through: LogIndex) {
        assert!(through <= self.checkpoint.position.index);
        for log in [&mut self.written, &mut self.synced] {
            if let Some(entry) = log.entries.iter().find(|entry| entry.index == through) {
                log.start = entry.position();
                log.entries.retain(|entry| entry.index > through);
            }
        }
        if let Some(raft) = &mut self.raft {
            raft.log_compacted(self.written.start);
        }
    }
}
