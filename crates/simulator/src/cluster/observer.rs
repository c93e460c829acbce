//! Feeds the checkers with what nodes do, and trusts nothing that nodes say of themselves.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_node::{LogCommand, LogDone, Notice, PeerMessage};
use steadfast_proof::auth::Era;
use steadfast_state::Event;
use steadfast_state::auth::AuthEvent;
use steadfast_types::wire::Wire;
use steadfast_types::{NodeId, Revision};

use super::administrator::rights;
use super::machine::{Machine, SimulatedOutputs};
use super::recovery::records::written;
use super::watchers::change;
use crate::checkers::bounds::Bounds;
use crate::checkers::brakes::Brakes;
use crate::checkers::leaders::Leaders;
use crate::checkers::log_agreement::LogAgreement;
use crate::checkers::promises::Promises;
use crate::checkers::recovery::Recovery;
use crate::checkers::state_agreement::StateAgreement;
use steadfast_proof::Violation;
use steadfast_proof::history::Change;
use steadfast_proof::time::Time;

/// The checkers that watch a run while it goes on.
#[derive(Debug, Default)]
pub(super) struct Observer {
    pub(super) leaders: Leaders,
    pub(super) log: LogAgreement,
    promises: Promises,
    pub(super) bounds: Bounds,
    pub(super) state: StateAgreement,
    pub(super) recovery: Recovery,
    pub(super) brakes: Brakes,
}

impl Observer {
    /// A process came up.
    pub(super) fn started(&mut self, machine: &Machine) -> Result<(), Violation> {
        self.recovery.began(machine.id);
        if let Some(node) = machine.node() {
            let status = node.status().consensus;
            if status.suspect || self.recovery.is_wiped(machine.id) {
                self.promises.started_suspect(machine.id, status.term, status.last.index);
            } else {
                self.promises.started(machine.id, status.term, status.last.index)?;
            }
        }
        self.applied(machine)
    }

    /// The log driver has done its work.
    pub(super) fn synced(&mut self, node: NodeId, done: &LogDone) {
        if let Some(sequence) = done.synced {
            self.promises.synced(node, sequence);
        }
    }

    /// A node's turn gave this.
    pub(super) fn turned(&mut self, now: Time, machine: &Machine, outputs: &SimulatedOutputs) -> Result<(), Violation> {
        for notice in &outputs.notices {
            match notice {
                Notice::SnapshotInstalled(position) => self.promises.installed(machine.id, *position),
                Notice::Diverged(what) => return Err(Violation::new("state agreement", format!("{} says: {what}", machine.id))),
                _ => {}
            }
        }
        for command in &outputs.log {
            match command {
                LogCommand::Write(write) => self.promises.written(machine.id, write),
                LogCommand::Reset { position, .. } => self.promises.reset(machine.id, *position),
                LogCommand::Compact { .. } => {}
            }
        }
        for (to, frame) in &outputs.frames {
            self.sent(machine.id, *to, frame)?;
        }
        for changes in &outputs.events {
            self.changed(now, machine.id, &changes.events)?;
        }
        for event in &outputs.auth {
            if let AuthEvent::RightsChanged { revision, auth } = event {
                let era = Era { rights: rights(auth), revision: *revision, began: (now, now) };
                self.state.rights_changed(machine.id, era)?;
            }
        }
        if let Some(node) = machine.node() {
            self.bounds.check(machine.id, node.queued())?;
        }
        self.applied(machine)
    }

    fn sent(&mut self, from: NodeId, to: NodeId, frame: &Bytes) -> Result<(), Violation> {
        let message = PeerMessage::from_wire(frame.clone())
            .map_err(|error| Violation::new("wire", format!("{from} sends {to} a frame that does not decode: {error}")))?;
        let PeerMessage::Raft(message) = message else { return Ok(()) };
        self.recovery.observe(from, to, &message)?;
        self.leaders.observe(from, &message)?;
        self.log.observe(from, &message)?;
        self.promises.observe(from, to, &message)
    }

    fn changed(&mut self, now: Time, node: NodeId, events: &[Event]) -> Result<(), Violation> {
        let mut by_revision: BTreeMap<Revision, Vec<Change>> = BTreeMap::new();
        for event in events {
            by_revision.entry(event.kv.mod_revision).or_default().push(change(event));
        }
        for (revision, changes) in by_revision {
            if self.brakes.is_news(revision) {
                self.brakes.written(revision, written(&changes))?;
            }
            self.state.changed(now, node, revision, changes)?;
        }
        Ok(())
    }

    fn applied(&mut self, machine: &Machine) -> Result<(), Violation> {
        match machine.node() {
            Some(node) => self.state.applied(machine.id, node.state().applied().index, node.state().hash()),
            None => Ok(()),
        }
    }
}
