//! A connection's transaction: the commands between `MULTI` and `EXEC`, and the keys it depends on.

use crate::engine::store::Store;
use crate::protocol::errors::{Failure, TRANSACTION_TOO_LONG};
use crate::protocol::limits::{QUEUED_BYTES, QUEUED_COMMANDS};
use crate::protocol::request::{Arguments, OwnedArguments};

/// Commands that wait, and keys that are watched.
#[derive(Debug, Default)]
pub struct Transaction {
    queue: Option<Vec<OwnedArguments>>,
    bytes: usize,
    /// A command was refused: the others are not run either.
    is_broken: bool,
    /// Keys with what they were when they were first watched.
    watched: Vec<(Box<[u8]>, u64)>,
}

impl Transaction {
    /// Whether commands are queued.
    pub(crate) fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    /// How many commands are queued.
    pub(crate) fn queued(&self) -> Option<usize> {
        self.queue.as_ref().map(Vec::len)
    }

    /// Queues from here on.
    pub(crate) fn open(&mut self) {
        self.queue = Some(Vec::new());
    }

    /// Queues a command.
    pub(crate) fn push(&mut self, arguments: Arguments<'_>) -> Result<(), Failure> {
        let command = OwnedArguments::new(arguments.iter());
        self.bytes += command.heap_bytes();
        match &mut self.queue {
            Some(queue) if queue.len() < QUEUED_COMMANDS && self.bytes <= QUEUED_BYTES => {
                queue.push(command);
                Ok(())
            }
            _ => {
                self.is_broken = true;
                Err(TRANSACTION_TOO_LONG)
            }
        }
    }

    /// A command was refused.
    pub(crate) fn break_off(&mut self) {
        self.is_broken |= self.is_open();
    }

    /// Whether a command was refused.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Depends on `key` staying as it is.
    pub(crate) fn watch(&mut self, key: &[u8], store: &mut dyn Store) {
        if !self.watched.iter().any(|(watched, _)| **watched == *key) {
            self.watched.push((key.into(), store.fingerprint(key)));
        }
    }

    /// Depends on no key.
    pub(crate) fn unwatch(&mut self) {
        self.watched.clear();
    }

    /// Whether all watched keys are as they were.
    pub(crate) fn holds(&self, store: &mut dyn Store) -> bool {
        self.watched.iter().all(|(key, was)| store.fingerprint(key) == *was)
    }

    /// Ends the transaction and gives its commands.
    pub(crate) fn take(&mut self) -> Vec<OwnedArguments> {
        std::mem::take(self).queue.unwrap_or_default()
    }
}
