//! Carries out what the node asks of its log: many commands, one sync. Runs on a thread of its own, or at simulated times.

use steadfast_consensus::{LogWrite, WriteSequence};
use steadfast_storage::log::{LogError, LogWriter};
use steadfast_types::disk::Disk;
use steadfast_types::{HardState, LogPosition};

/// Something to do to the log.
#[derive(Debug)]
pub enum LogCommand {
    /// Write and sync.
    Write(LogWrite),
    /// Drop entries up to `through`, as far as `keep_bytes` of log remain.
    Compact {
        /// The last entry that may go.
        through: LogPosition,
        /// How much log stays in any case.
        keep_bytes: u64,
    },
    /// Drop everything: a snapshot up to here was installed.
    Reset {
        /// The log begins after it.
        position: LogPosition,
        /// Written again, for the old one goes too.
        hard_state: HardState,
    },
}

/// What is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogDone {
    /// All writes up to this one are durable.
    pub synced: Option<WriteSequence>,
    /// The log begins after this position now.
    pub compacted: Option<LogPosition>,
    /// Size of the log on disk, bytes.
    pub size_bytes: u64,
}

/// Owns the writing end of the log.
#[derive(Debug)]
pub struct LogDriver<D: Disk> {
    writer: LogWriter<D>,
}

impl<D: Disk> LogDriver<D> {
    pub(crate) fn new(writer: LogWriter<D>) -> Self {
        LogDriver { writer }
    }

    /// Carries out `commands` in order, with one sync for all writes among them.
    ///
    /// # Errors
    /// The disk failed. Nothing that was not reported done may be believed; the node stops.
    pub fn run(&mut self, commands: impl IntoIterator<Item = LogCommand>) -> Result<LogDone, LogError> {
        let mut done = LogDone::default();
        let mut written = None;
        for command in commands {
            match command {
                LogCommand::Write(write) => {
                    self.writer.append(write.hard_state.as_ref(), write.truncate_from, &write.entries)?;
                    written = Some(write.sequence);
                }
                LogCommand::Compact { through, keep_bytes } => {
                    let point = self.writer.compaction_point(keep_bytes).min(through);
                    if point.index > self.writer.start().index {
                        self.writer.compact(point)?;
                        done.compacted = Some(point);
                    }
                }
                LogCommand::Reset { position, hard_state } => self.writer.reset(position, &hard_state)?,
            }
        }
        if written.is_some() {
            self.writer.sync()?;
            done.synced = written;
        }
        done.size_bytes = self.writer.size_bytes();
        Ok(done)
    }
}
