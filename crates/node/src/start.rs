//! How a node comes up from its disk.
//!
//! The tables hold the state up to some applied entry; the log holds everything after it. What each lost, if anything, decides: a node that is
//! whole runs; one that lost what peers have repairs itself first; one that can't be told from a forgetful one does not start.

use core::ops::Range;
use std::collections::BTreeSet;

use steadfast_consensus::{Config, Raft, Recovered};
use steadfast_state::command::Member;
use steadfast_state::{OpenStateError, State};
use steadfast_storage::log::{self, LogContents, LogError, LogOptions, LogReader, OpenedLog};
use steadfast_storage::tables::{self, LsmTables, TablesOptions};
use steadfast_types::disk::Disk;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::tables::Tables;
use steadfast_types::time::Duration;
use steadfast_types::{Configuration, Entry, Instant, Level, LogIndex, LogPosition, NodeId, Term, limits};

use crate::node::Parts;
use crate::repair::{Hole, Loss, RepairParts};
use crate::{AutoCompaction, Autopilot, LogDriver, Node, Repair};

/// How one node runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub id: NodeId,
    /// Random, new for each process life.
    pub incarnation: u64,
    /// Makes all the node's choices; new for each process life.
    pub seed: u64,
    /// How often a leader shows that it lives.
    pub heartbeat_interval: Duration,
    /// Without a leader for this long, followers elect another.
    pub election_timeout: Duration,
    /// See [`Config::lease_reads`].
    pub lease_reads: bool,
    /// What a client waits at most for a question that the leader must confirm.
    pub request_timeout: Duration,
    /// See [`Config::append_bytes`].
    pub append_bytes: usize,
    /// See [`Config::recent_entry_bytes`].
    pub recent_entry_bytes: usize,
    /// Log kept behind the last checkpoint, bytes.
    pub log_retention_bytes: u64,
    /// The highest level that it takes part in: [`Level::NEWEST`], or less, to try a mixed cluster.
    pub level: Level,
    /// The log.
    pub log: LogOptions,
    /// The tables.
    pub tables: TablesOptions,
    /// How much history is kept.
    pub auto_compaction: AutoCompaction,
    /// What this node changes about the members by itself, as their leader.
    pub autopilot: Autopilot,
    /// Whether anybody watches: events come out only then.
    pub events: bool,
    /// What the tables' files may take before commands that take more are refused, bytes; 0: no bound. See `alarms.rs`.
    pub quota_bytes: u64,
    /// An earlier life of this process found that its tables are not to be used.
    pub lost_tables: Option<LostTables>,
}

/// Why tables that are there are not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostTables {
    /// Who may have the state.
    pub members: BTreeSet<NodeId>,
    /// A state before this entry is of no use.
    pub at_least: LogIndex,
}

/// The very first state of a cluster, before its log's first entry; the same on all its members, those that join later too.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The initial voters.
    pub configuration: Configuration,
    /// The same, with names and addresses.
    pub members: Vec<Member>,
    /// What all of them knew.
    pub level: Level,
}

impl Bootstrap {
    pub(crate) fn write<T: Tables>(&self, state: &mut State<T>) {
        state.bootstrap(self.configuration.clone(), self.members.clone(), self.level);
    }
}

/// A node that has come up.
pub enum Opened<S, D: Disk> {
    /// It runs.
    Running(Box<Node<S, D>>, Box<LogDriver<D>>),
    /// It asks its peers for what it lost.
    Repairing(Box<Repair<D>>),
}

/// Why a node did not come up. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// The tables.
    #[error("the tables: {0}")]
    Tables(#[from] tables::OpenError),
    /// The state in the tables.
    #[error("the state: {0}")]
    State(#[from] OpenStateError),
    /// The state is there and the log is not: what this node acknowledged and voted is forgotten.
    #[error("the log is gone but the state is not: remove this member, empty its directory, and add it again as a new one")]
    LogGone,
    /// The cluster uses what this release does not know.
    #[error("the cluster is at level {cluster} and this release knows {known}: start the release that ran here, or a newer one")]
    Level {
        /// What the state says.
        cluster: Level,
        /// What was asked for here.
        known: Level,
    },
    /// Something is lost and there is no peer to ask.
    #[error("{0} is damaged, and this cluster has no other member to repair it from: restore a snapshot")]
    NoPeers(&'static str),
}

/// Recovers a node.
///
/// # Errors
/// If the disk fails, was written by a newer version, or lost what nobody can give back.
pub fn open<S, D: Disk>(disk: &D, options: Options, bootstrap: Bootstrap, now: Instant) -> Result<Opened<S, D>, OpenError> {
    let OpenedLog { mut writer, reader, contents } = log::open(disk, options.log)?;
    let mut lost_tables = options.lost_tables.clone();
    let mut state = match lost_tables {
        Some(_) => None,
        None => open_state(disk, &options, &bootstrap)?,
    };
    if let Some(cluster) = state.as_ref().map(State::level).filter(|cluster| *cluster > options.level) {
        return Err(OpenError::Level { cluster, known: options.level });
    }
    // A crash came between the verdict and the repair.
    if let Some((condemned, at_least)) = state.as_ref().and_then(|state| Some((state, state.condemned()?))) {
        lost_tables = Some(LostTables { members: condemned.configuration().members(), at_least });
        state = None;
    }
    let applied = state.as_ref().map_or(LogPosition::default(), State::applied);
    let is_fresh = contents.last == LogPosition::default() && contents.hard_state.term == Term(0);
    // Tables are written only when the log has been.
    if is_fresh && (state.is_none() || applied.index > LogIndex(0)) && !is_planted(Bug::LostLogStarts) {
        return Err(OpenError::LogGone);
    }
    let loss = loss(state.is_some(), applied, &contents);
    if loss.is_any() {
        let mut peers = peers(&bootstrap, state.as_ref().map(State::configuration), &contents);
        peers.extend(lost_tables.iter().flat_map(|lost| &lost.members));
        peers.remove(&options.id);
        if peers.is_empty() {
            return Err(OpenError::NoPeers(if loss.state { "the state" } else { "the log" }));
        }
        let floor = contents.start.index.max(applied.index).max(lost_tables.map_or(LogIndex(0), |lost| lost.at_least));
        let parts = RepairParts { disk: disk.clone(), options, bootstrap, writer, reader, loss, peers, floor };
        return Ok(Opened::Repairing(Box::new(Repair::new(parts, now))));
    }
    let Some(state) = state else { return Err(OpenError::NoPeers("the state")) };
    let mut log_start = contents.start;
    let mut terms = known_terms(&contents);
    let mut entries = Vec::new();
    if holds(&contents, applied) {
        entries = entries_after(&reader, applied.index, contents.last.index)?;
        terms.retain(|(first, _)| *first <= applied.index);
    } else {
        // A snapshot was installed and the log not reset yet.
        writer.reset(applied, &contents.hard_state)?;
        log_start = applied;
        terms.clear();
    }
    let recovered =
        Recovered { hard_state: contents.hard_state, snapshot: applied, configuration: state.configuration().clone(), terms, entries };
    let config = Config {
        id: options.id,
        heartbeat_interval: options.heartbeat_interval,
        election_timeout: options.election_timeout,
        lease_reads: options.lease_reads,
        clock_drift_percent: 5,
        append_bytes: options.append_bytes,
        recent_entry_bytes: options.recent_entry_bytes,
    };
    let raft = Raft::new(config, recovered, options.seed, now);
    let log_bytes = writer.size_bytes();
    let configuration_at = contents.configurations.last().map_or(LogIndex(0), |(position, _)| position.index);
    let hard_state = contents.hard_state;
    let parts = Parts {
        options,
        bootstrap,
        disk: disk.clone(),
        raft,
        state,
        log_reader: reader,
        hard_state,
        log_start,
        log_bytes,
        configuration_at,
    };
    Ok(Opened::Running(Box::new(Node::new(parts, now)), Box::new(LogDriver::new(writer))))
}

/// The state in the tables, or the first state of a new cluster; `None` if the tables are damaged.
fn open_state<D: Disk>(disk: &D, options: &Options, bootstrap: &Bootstrap) -> Result<Option<State<LsmTables<D>>>, OpenError> {
    let tables = match LsmTables::open(disk, options.tables.clone()) {
        Ok(tables) => tables,
        Err(tables::OpenError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut state = match State::open(tables) {
        Ok(state) => state,
        Err(OpenStateError::Tables(_)) => return Ok(None),
        Err(error @ OpenStateError::Format(_)) => return Err(error.into()),
    };
    // Tables flushed before the first entry hold it already.
    let is_empty = state.applied().index == LogIndex(0) && state.configuration().members().is_empty();
    if is_empty && !bootstrap.configuration.voters.is_empty() {
        bootstrap.write(&mut state);
    }
    Ok(Some(state))
}

/// Whether the log continues the state at `position`.
fn holds(contents: &LogContents, position: LogPosition) -> bool {
    position == contents.start || term_at(contents, position.index) == Some(position.term)
}

fn term_at(contents: &LogContents, index: LogIndex) -> Option<Term> {
    if index > contents.last.index {
        return None;
    }
    contents.terms.iter().rev().find(|(first, _)| *first <= index).map(|(_, term)| *term)
}

/// What must come back from the peers before this node may run.
pub(crate) fn loss(has_state: bool, applied: LogPosition, contents: &LogContents) -> Loss {
    let missing = contents
        .holes
        .iter()
        .filter(|hole| is_needed(hole.end, applied.index, contents.last.index))
        .map(|hole| hole_of(contents, hole))
        .collect();
    // Tables that end before the log begins are of no use: what is between is gone here.
    let gap = applied.index < contents.start.index;
    Loss { state: !has_state || gap, holes: missing }
}

/// Whether a hole before `end` must be mended once the state is at `applied`. One that covers just the applied entry counts: only with that
/// entry's term is it known that the log goes on from there; unless nothing follows.
pub(crate) fn is_needed(end: LogIndex, applied: LogIndex, last: LogIndex) -> bool {
    end > applied && applied < last
}

/// A hole with the entry that names it for the peers: the intact one after it, or, at the log's end, the last one itself.
fn hole_of(contents: &LogContents, hole: &Range<LogIndex>) -> Hole {
    let after = term_at(contents, hole.end).map(|term| LogPosition::new(term, hole.end));
    Hole { from: hole.start, end: hole.end, anchor: after.unwrap_or(contents.last) }
}

/// The terms of the log behind its last hole that is not repaired (the state is beyond it): in a hole they are not known, and a wrong one
/// could let two logs seem to meet that don't.
fn known_terms(contents: &LogContents) -> Vec<(LogIndex, Term)> {
    let Some(known_from) = contents.holes.last().map(|hole| hole.end) else { return contents.terms.clone() };
    let Some(term) = term_at(contents, known_from) else { return Vec::new() };
    let later = contents.terms.iter().filter(|(first, _)| *first > known_from);
    core::iter::once((known_from, term)).chain(later.copied()).collect()
}

/// Everyone who may have what this node lost.
fn peers(bootstrap: &Bootstrap, state: Option<&Configuration>, contents: &LogContents) -> BTreeSet<NodeId> {
    let logged = contents.configurations.iter().map(|(_, configuration)| configuration);
    logged.chain(state).chain([&bootstrap.configuration]).flat_map(Configuration::members).collect()
}

fn entries_after<D: Disk>(reader: &LogReader<D>, after: LogIndex, last: LogIndex) -> Result<Vec<Entry>, LogError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = after.next();
    while next <= last {
        entries.extend(reader.read(next, limits::APPEND_BYTES)?);
        next = entries.last().map_or(last, |entry| entry.index).next();
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
