//! Checkpoints of available state: rows in tables, so that the journal can be cut and a restart does not replay all of history.
//!
//! A checkpoint is *fuzzy* (Gray, Reuter: Transaction Processing, 1992, 11.3): it is made while writes go on, a few rows a turn, and each row is taken as it
//! is at that moment. It begins between two turns, at a position of the journal. The rows that were written to before that position and since the last
//! checkpoint began are all taken, then what the replica had seen at that position is written ([`Keyspace::seen_row`](steadfast_available::Keyspace::seen_row)).
//! The thread that runs commands copies rows out of memory; it never waits for the tables, which a thread of their own writes.
//!
//! # Invariants
//! 1. The tables hold, of each row, its state at the position of the last whole checkpoint or at a later one, and never one later than the journal is
//!    durable: a batch of rows is given out only when the journal is durable up to the turn in which the rows were taken.
//! 2. A checkpoint's position reaches the tables with its last batch, and a batch is there as a whole or not at all, after those before it
//!    ([`Tables`](steadfast_types::tables::Tables), rule 3). So a crash leaves some whole checkpoint, and maybe newer rows.
//! 3. The journal from that position on, replayed over such rows, gives what was there when the journal ended. For the last change of a
//!    dot decides about it, whatever else is there (`Keyspace` says so of its rows); and all changes after the position are replayed.
//! 4. The journal is cut up to the position of a checkpoint that is durable in the tables, and not before.
//!
//! # Use
//! At the start: [`RowTables::open`], [`RowTables::load`]; the journal is opened from [`Loaded::from`] on, and replayed over [`Loaded::keys`].
//! Then, after each turn's delta is in the journal, [`Checkpointer::turn_ended`]; what [`Checkpointer::next_batch`] gives goes to [`RowTables::put`],
//! and what [`RowTables::progress`] says, to [`Checkpointer::saved`], which tells up to where the journal may be cut.

mod checkpointer;
mod row_tables;

pub use checkpointer::{Batch, CheckpointOptions, Checkpointer, OtherRows};
pub use row_tables::{LoadError, Loaded, Progress, RowTables};
