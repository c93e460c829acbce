//! Who is a member: the configurations of the log, and their change in two steps (Raft paper, section 6).
//!
//! Invariants:
//! 1. A configuration is in force as soon as its entry is in the log, committed or not; when the entry is cut off, the one before is again.
//! 2. A change starts only when the one before is committed, and so is an entry of the leader's own term. (Joint consensus would be safe
//!    without the second half; with it, no two leaders ever have changes under way from different beginnings.)
//! 3. A change of voters goes through a joint configuration; when that is committed the leader appends the final one by itself.
//! 4. A change of learners only takes one step: no majority changes.
//! 5. A leader that is no voter of a committed configuration gives up leadership, after telling everyone that it is committed.

use alloc::collections::{BTreeSet, VecDeque};
use bytes::Bytes;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Configuration, LogIndex, LogPosition, NodeId, Payload};

use crate::ProposeError;
use crate::raft::{Raft, RoleState};

/// The configuration in force and those it may still fall back to: from the last committed one on, each with the entry it came with.
#[derive(Debug)]
pub(crate) struct Configurations {
    history: VecDeque<(LogPosition, Configuration)>,
}

impl Configurations {
    /// Starts from the configuration of a snapshot.
    pub(crate) fn new(position: LogPosition, configuration: Configuration) -> Self {
        Configurations { history: VecDeque::from([(position, configuration)]) }
    }

    fn in_force(&self) -> &(LogPosition, Configuration) {
        self.history.back().expect("the last committed configuration stays")
    }

    pub(crate) fn latest(&self) -> &Configuration {
        &self.in_force().1
    }

    /// The entry that brought the configuration in force.
    pub(crate) fn position(&self) -> LogPosition {
        self.in_force().0
    }

    pub(crate) fn push(&mut self, position: LogPosition, configuration: Configuration) {
        self.history.push_back((position, configuration));
    }

    /// The log was cut from `index` on.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        while self.history.len() > 1 && self.position().index >= index {
            self.history.pop_back();
        }
    }

    /// The log is committed up to `commit`: nothing falls back to before the last configuration up to there. Returns whether that is news.
    pub(crate) fn committed(&mut self, commit: LogIndex) -> bool {
        let before = self.history.len();
        while self.history.get(1).is_some_and(|(position, _)| position.index <= commit) {
            self.history.pop_front();
        }
        self.history.len() < before
    }

    /// Members of any configuration that may be in force.
    pub(crate) fn all_members(&self) -> BTreeSet<NodeId> {
        self.history.iter().flat_map(|(_, configuration)| configuration.members()).collect()
    }

    /// Whether `node` votes in any configuration that may be in force. A node whose removal is in its log and perhaps not committed must
    /// still stand for election: it may be the only one with a log that can win (Raft thesis, section 4.2.2).
    pub(crate) fn may_campaign(&self, node: NodeId) -> bool {
        self.history.iter().any(|(_, configuration)| configuration.is_voter(node))
    }
}

/// The configuration that a change to `target` begins with.
fn first_step(current: &Configuration, target: &Configuration) -> Configuration {
    let learners = target.learners.difference(&target.voters).copied().collect();
    let outgoing = if target.voters == current.voters { BTreeSet::new() } else { current.voters.clone() };
    Configuration { voters: target.voters.clone(), outgoing, learners }
}

impl Raft {
    /// Moves to `target` (voters and learners; its `outgoing` is ignored) through a joint configuration when the voters change by it; the
    /// second step follows by itself when the first is committed. `batch` is applied with the first.
    ///
    /// # Errors
    /// If this node does not lead, is handing over, has too much uncommitted, has another change under way, or has committed nothing in its
    /// term yet; or if `target` has no voter.
    pub fn propose_configuration(&mut self, target: Configuration, batch: Bytes) -> Result<LogPosition, ProposeError> {
        if target.voters.is_empty() {
            return Err(ProposeError::NoVoters);
        }
        let size = batch.len();
        self.may_propose(size)?;
        let current = self.configurations.latest();
        let changing = current.is_joint() || self.configurations.position().index > self.log.commit();
        if changing || !(self.is_established_leader() || is_planted(Bug::NewMajorityAlone)) {
            return Err(ProposeError::ChangeUnderWay);
        }
        let configuration = first_step(current, &target);
        Ok(self.append_own(Payload::Change { configuration, batch }))
    }

    /// On a leader, after the commit index moved or another began to lead: the second step of a change whose first is committed.
    pub(crate) fn continue_change(&mut self) {
        let current = self.configurations.latest();
        let committed = self.configurations.position().index <= self.log.commit();
        if current.is_joint() && committed && self.is_established_leader() {
            let configuration =
                Configuration { voters: current.voters.clone(), outgoing: BTreeSet::new(), learners: current.learners.clone() };
            self.append_own(Payload::Change { configuration, batch: Bytes::new() });
        }
    }

    /// A configuration came into force, or fell back: the shell is told, and a leader keeps track of exactly its members.
    pub(crate) fn configuration_changed(&mut self) {
        self.configuration_news = true;
        self.track_members();
    }

    /// The commit index moved: configurations before the last committed one are over, and with them, after the next drain, the lanes to members
    /// that only they had.
    pub(crate) fn configuration_settled(&mut self) {
        self.lanes_outdated |= self.configurations.committed(self.log.commit());
    }

    /// On a leader: keeps one lane to each member of the configurations that may be in force. So a removed member still hears that its
    /// removal is committed, if it is there to hear it.
    pub(crate) fn track_members(&mut self) {
        self.lanes_outdated = false;
        let next = self.log.last().index.next();
        let RoleState::Leader(leadership) = &mut self.role else { return };
        let mut members = self.configurations.all_members();
        members.remove(&self.config.id);
        leadership.track(&members, next, self.now);
    }
}
