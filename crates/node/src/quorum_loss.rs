//! A cluster that lost its quorum for good begins anew, as the one member whose disk this is.
//!
//! Everything in the log counts as committed, acknowledged or not, and a last entry of our own removes all other members. It is as if the node had
//! then been given a snapshot of that: its log begins behind it, so that whoever joins later is given the state whole, and the log's beginning,
//! which followed from members that are no more, is never replayed again.
//!
//! Invariants:
//! 1. Nothing is changed unless the whole log after the tables' state is intact.
//! 2. After a crash anywhere within, it can be done again, and comes to the same keys and members.
//!
//! Left out: keeping the old members away. Before it changes anything here, the caller makes the cluster another one by its id.

use std::collections::BTreeSet;

use bytes::Bytes;
use steadfast_state::command::{Command, Member, Origin, Proposal};
use steadfast_state::{Answer, Gather, OpenStateError, State, StateFault};
use steadfast_storage::log::{self, LogContents, LogError, LogOptions, LogReader};
use steadfast_storage::tables::{self, JobError, LsmTables, TablesOptions};
use steadfast_types::disk::Disk;
use steadfast_types::tables::TablesError;
use steadfast_types::wire::Wire;
use steadfast_types::{Configuration, Entry, HardState, Level, LogIndex, LogPosition, NodeId, Payload, Revision, Term, limits};

use crate::proposals::pack;
use crate::repair::Loss;
use crate::seed::{flush, make_durable};
use crate::start::{Bootstrap, loss};

/// What a disk holds of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its log's last entry: of several survivors the one with the greatest has everything that the others have.
    pub last: LogPosition,
    /// The newest term it knows.
    pub term: Term,
    /// The newest configuration in its log.
    pub configuration: Configuration,
    /// It may have lost the end of its log in a crash of its own.
    pub suspect: bool,
    /// The members, as of the state in its tables; those that its log added later have ids alone.
    pub members: Vec<Member>,
}

/// What a cluster began anew with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Where its log begins.
    pub position: LogPosition,
    /// The revision of its keys.
    pub revision: Revision,
}

/// Why a cluster can't begin anew from this disk.
#[derive(Debug, thiserror::Error)]
pub enum QuorumLossError {
    /// The log.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// The tables can't be opened.
    #[error("the tables: {0}")]
    Tables(#[from] tables::OpenError),
    /// A flush or a merge failed.
    #[error("the tables: {0}")]
    Job(#[from] JobError),
    /// A table is damaged.
    #[error("the tables: {0}")]
    Damaged(#[from] TablesError),
    /// The state in the tables.
    #[error("the state: {0}")]
    State(#[from] OpenStateError),
    /// An entry of the log.
    #[error("the log can't be applied: {0}")]
    Apply(#[from] StateFault),
    /// The disk lost part of the log, or the tables that the log follows on.
    #[error("this disk itself lost {0}: take another survivor's, or restore a snapshot")]
    Incomplete(&'static str),
    /// There is nothing.
    #[error("it holds nothing yet: no entry was ever written here")]
    Empty,
    /// The cluster uses what this release does not know.
    #[error("the cluster is at level {cluster} and this release knows {}: use the release that ran here, or a newer one", Level::NEWEST)]
    Level {
        /// What the state says.
        cluster: Level,
    },
    /// This node is no member any more.
    #[error("this node was removed from its cluster: take another survivor's disk")]
    Removed,
}

/// A disk whose log and state fit together.
struct Whole<D: Disk> {
    state: State<LsmTables<D>>,
    contents: LogContents,
    reader: LogReader<D>,
    writer: log::LogWriter<D>,
}

/// Reads what a disk holds. The node must not run.
///
/// # Errors
/// A cluster can't begin anew from it.
pub fn examine<D: Disk>(disk: &D, options: TablesOptions, bootstrap: &Bootstrap) -> Result<Survivor, QuorumLossError> {
    let Whole { state, contents, .. } = whole(disk, options, bootstrap)?;
    let configuration = match contents.configurations.last() {
        Some((position, configuration)) if position.index > state.applied().index => configuration,
        Some(_) | None => state.configuration(),
    };
    Ok(Survivor {
        last: contents.last.max(state.applied()),
        term: contents.hard_state.term,
        configuration: configuration.clone(),
        suspect: contents.hard_state.suspect,
        members: state.reader().members()?,
    })
}

/// Makes the node `id` the only member, with everything that its log holds. Durable on return. The node must not run.
///
/// # Errors
/// See [`QuorumLossError`]; if it is of the disk, the same can be tried again.
pub fn begin_alone<D: Disk>(disk: &D, options: TablesOptions, bootstrap: &Bootstrap, id: NodeId) -> Result<Begun, QuorumLossError> {
    let Whole { mut state, contents, reader, mut writer } = whole(disk, options, bootstrap)?;
    let mut next = state.applied().index.next();
    while next <= contents.last.index {
        for entry in reader.read(next, limits::APPEND_BYTES)? {
            next = entry.index.next();
            apply(&mut state, &entry)?;
        }
    }
    let members = state.reader().members()?;
    if !members.iter().any(|member| member.id == id) {
        return Err(QuorumLossError::Removed);
    }
    let term = contents.hard_state.term.next();
    let others: BTreeSet<NodeId> = members.iter().map(|member| member.id).filter(|other| *other != id).collect();
    let entry = Entry { term, index: state.applied().index.next(), payload: alone(id, &others) };
    apply(&mut state, &entry)?;
    make_durable(state.tables_mut())?;
    writer.reset(entry.position(), &HardState { term, ..HardState::default() })?;
    Ok(Begun { position: entry.position(), revision: state.revision() })
}

fn whole<D: Disk>(disk: &D, options: TablesOptions, bootstrap: &Bootstrap) -> Result<Whole<D>, QuorumLossError> {
    let log::OpenedLog { writer, reader, contents } = log::open(disk, LogOptions::default())?;
    let mut state = State::open(LsmTables::open(disk, options)?)?;
    if state.level() > Level::NEWEST {
        return Err(QuorumLossError::Level { cluster: state.level() });
    }
    if contents.last.max(state.applied()) == LogPosition::default() {
        return Err(QuorumLossError::Empty);
    }
    let is_log_gone = contents.last == LogPosition::default() && contents.hard_state.term == Term(0);
    if is_log_gone {
        return Err(QuorumLossError::Incomplete("its log"));
    }
    if state.applied().index == LogIndex(0) && state.configuration().members().is_empty() {
        bootstrap.write(&mut state);
    }
    let Loss { state: lost_state, holes } = loss(true, state.applied(), &contents);
    match (lost_state || state.condemned().is_some(), holes.is_empty()) {
        (true, _) => Err(QuorumLossError::Incomplete("its state")),
        (false, false) => Err(QuorumLossError::Incomplete("a part of its log")),
        (false, true) => Ok(Whole { state, contents, reader, writer }),
    }
}

/// The entry that leaves the one member.
fn alone(id: NodeId, others: &BTreeSet<NodeId>) -> Payload {
    let remove = |id: &NodeId| Proposal { origin: Origin::default(), command: Command::MemberRemove { id: *id } }.to_wire().into();
    let removals: Vec<Bytes> = others.iter().map(remove).collect();
    let batch = if removals.is_empty() { Bytes::new() } else { pack(&removals).0 };
    Payload::Change { configuration: Configuration::of_voters([id]), batch }
}

fn apply<D: Disk>(state: &mut State<LsmTables<D>>, entry: &Entry) -> Result<(), QuorumLossError> {
    state.apply(entry, Answer { node: NodeId::default(), incarnation: 0, events: Gather::Nothing })?;
    Ok(flush(state.tables_mut())?)
}

#[cfg(test)]
mod tests;
