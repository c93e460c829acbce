//! The cluster's level ([`steadfast_types::level`]): who offers which, and when the leader raises it.

use std::collections::BTreeMap;

use steadfast_state::command::{Command, Origin, Proposal};
use steadfast_types::disk::Disk;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;
use steadfast_types::{Instant, Level, NodeId};

use crate::Notice;
use crate::node::Node;

/// How often a leader looks whether the level can be raised; what it proposed is applied long before it looks again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the peers that are connected offer.
#[derive(Debug)]
pub(crate) struct Offers {
    offers: BTreeMap<NodeId, Level>,
    next_look: Instant,
    /// The level that the shell was told.
    told: Level,
}

impl Offers {
    pub(crate) fn new(now: Instant) -> Self {
        Offers { offers: BTreeMap::new(), next_look: now, told: Level::FIRST }
    }

    pub(crate) fn connected(&mut self, peer: NodeId, level: Level) {
        self.offers.insert(peer, level);
    }

    /// What it offers when it comes back, it will say then.
    pub(crate) fn disconnected(&mut self, peer: NodeId) {
        self.offers.remove(&peer);
    }
}

impl<S, D: Disk> Node<S, D> {
    /// Every heartbeat interval: raises the level to what all members offer. A member that is away may offer less.
    pub(crate) fn raise_level(&mut self) {
        let is_time = self.now >= self.offers.next_look && self.intake.has_room();
        if self.state.level() >= self.options.level || !self.raft.is_established_leader() || !is_time {
            return;
        }
        self.offers.next_look = self.now + LOOK_EVERY;
        let others = self.raft.configuration().members().into_iter().filter(|id| *id != self.options.id);
        let offered = |id: NodeId| self.offers.offers.get(&id).copied();
        let least = others.map(offered).try_fold(self.options.level, |least, offer| Some(least.min(offer?)));
        let least = if is_planted(Bug::LevelRaisedEarly) { Some(self.options.level) } else { least };
        if let Some(level) = least.filter(|level| *level > self.state.level()) {
            self.intake.enter_term(self.raft.term());
            self.intake.push(Proposal { origin: Origin::default(), command: Command::RaiseLevel(level) }.to_wire().into());
        }
    }

    /// Whether all members know this command.
    pub(crate) fn all_know(&self, command: &Command) -> bool {
        command.level() <= self.state.level()
    }

    /// At the end of a turn.
    pub(crate) fn note_level(&mut self) {
        let level = self.state.level();
        if std::mem::replace(&mut self.offers.told, level) == level {
            return;
        }
        if level > self.options.level {
            return self.fault(format!("the cluster is at level {level} and this release knows {}: start a newer one", self.options.level));
        }
        self.out.notices.push(Notice::Level(level));
    }
}

#[cfg(test)]
mod tests;
