//! Transactions: all comparisons first, then all checks, then the chosen operations.
//!
//! 1. Which list of each transaction runs, inner ones too, is decided on the state before the transaction.
//! 2. Everything that could refuse an operation is checked before the first one runs, so a transaction happens whole or not at all.
//! 3. An operation sees the writes of those before it.

use alloc::vec::Vec;
use core::slice;
use steadfast_types::tables::{Tables, TablesError, TablesReader};

use super::view::View;
use crate::command::{CommandError, Operation, Outcome, Txn, TxnResult};
use crate::transition::Transition;

/// Whether the comparisons held: of the outermost transaction, then of each inner one on the chosen path, depth first.
pub(crate) struct Path(Vec<bool>);

/// A position on a [`Path`], as a walk over its transactions goes along.
type Steps<'p> = slice::Iter<'p, bool>;

impl Txn {
    /// Whether it can write nothing, in whichever branch: then it is a read, and needs no log entry.
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|operation| match operation {
            Operation::Range(_) => true,
            Operation::Put(_) | Operation::DeleteRange(_) => false,
            Operation::Txn(inner) => inner.is_read_only(),
        })
    }

    /// The list to run, given the next step of the path.
    fn chosen(&self, steps: &mut Steps<'_>) -> (bool, &[Operation]) {
        let succeeded = *steps.next().expect("a path has one step for each transaction on it");
        (succeeded, if succeeded { &self.success } else { &self.failure })
    }
}

impl<R: TablesReader> View<'_, R> {
    /// Evaluates all comparisons.
    pub(crate) fn path(&self, txn: &Txn) -> Result<Path, TablesError> {
        let mut path = Path(Vec::new());
        self.extend_path(txn, &mut path)?;
        Ok(path)
    }

    fn extend_path(&self, txn: &Txn, path: &mut Path) -> Result<(), TablesError> {
        let mut succeeded = true;
        for compare in &txn.compare {
            if !self.holds(compare)? {
                succeeded = false;
                break;
            }
        }
        path.0.push(succeeded);
        for operation in if succeeded { &txn.success } else { &txn.failure } {
            if let Operation::Txn(inner) = operation {
                self.extend_path(inner, path)?;
            }
        }
        Ok(())
    }

    /// Checks the ranges on the path.
    pub(crate) fn check_ranges(&self, txn: &Txn, path: &Path) -> Result<(), CommandError> {
        visit(txn, &mut path.0.iter(), &mut |operation| match operation {
            Operation::Range(range) => self.check_inner_range(range),
            Operation::Put(_) | Operation::DeleteRange(_) | Operation::Txn(_) => Ok(()),
        })
    }

    /// Runs a transaction that only reads.
    ///
    /// # Panics
    /// If it writes: then it had to go through the log.
    pub(crate) fn read_txn(&self, txn: &Txn) -> Result<TxnResult, CommandError> {
        assert!(txn.is_read_only(), "a transaction that writes was taken for a read");
        let path = self.path(txn)?;
        self.check_ranges(txn, &path)?;
        self.read_chosen(txn, &mut path.0.iter())
    }

    fn read_chosen(&self, txn: &Txn, steps: &mut Steps<'_>) -> Result<TxnResult, CommandError> {
        let (succeeded, operations) = txn.chosen(steps);
        let mut responses = Vec::with_capacity(operations.len());
        for operation in operations {
            responses.push(match operation {
                Operation::Range(range) => Outcome::Range(self.range(range)?),
                Operation::Txn(inner) => Outcome::Txn(self.read_chosen(inner, steps)?),
                Operation::Put(_) | Operation::DeleteRange(_) => unreachable!("asserted to be read-only"),
            });
        }
        Ok(TxnResult { succeeded, responses })
    }
}

impl<T: Tables> Transition<'_, T> {
    /// A transaction. Ranges run, and responses are gathered, only if the answer is wanted.
    pub(crate) fn txn(&mut self, txn: &Txn, wanted: bool) -> Result<Outcome, CommandError> {
        let path = self.view().path(txn)?;
        visit(txn, &mut path.0.iter(), &mut |operation| self.check_put(operation))?;
        self.view().check_ranges(txn, &path)?;
        Ok(Outcome::Txn(self.run_chosen(txn, &mut path.0.iter(), wanted)?))
    }

    fn check_put(&self, operation: &Operation) -> Result<(), CommandError> {
        let Operation::Put(put) = operation else {
            return Ok(());
        };
        if (put.ignore_value || put.ignore_lease) && self.view().get(&put.key)?.is_none() {
            return Err(CommandError::KeyNotFound);
        }
        if put.lease.0 != 0 && !self.lease_exists(put.lease)? {
            return Err(CommandError::LeaseNotFound);
        }
        Ok(())
    }

    fn run_chosen(&mut self, txn: &Txn, steps: &mut Steps<'_>, wanted: bool) -> Result<TxnResult, CommandError> {
        let (succeeded, operations) = txn.chosen(steps);
        let mut responses = Vec::new();
        for operation in operations {
            let outcome = match operation {
                Operation::Range(range) if wanted => Outcome::Range(self.view().range(range)?),
                Operation::Range(_) => continue,
                Operation::Put(put) => self.put_checked(put)?,
                Operation::DeleteRange(delete) => self.delete_range(delete, wanted)?,
                Operation::Txn(inner) => Outcome::Txn(self.run_chosen(inner, steps, wanted)?),
            };
            if wanted {
                responses.push(outcome);
            }
        }
        Ok(TxnResult { succeeded, responses })
    }
}

/// Visits the operations on the path, in the order they run.
fn visit<E>(txn: &Txn, steps: &mut Steps<'_>, on: &mut dyn FnMut(&Operation) -> Result<(), E>) -> Result<(), E> {
    let (_, operations) = txn.chosen(steps);
    for operation in operations {
        on(operation)?;
        if let Operation::Txn(inner) = operation {
            visit(inner, steps, on)?;
        }
    }
    Ok(())
}
