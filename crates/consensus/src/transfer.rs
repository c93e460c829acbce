//! Handing over leadership (Raft thesis, section 3.10).
//!
//! Invariants:
//! 1. While it lasts the leader takes no proposals, so that the target can catch up.
//! 2. The target is told to take over only when it has the whole log, durably.
//! 3. From then on, to the end of the term, the leader answers no read by its lease: the voters do not keep it against the target.
//! 4. After an election timeout it is given up.

use steadfast_types::{Instant, NodeId};

use crate::ProposeError;
use crate::message::Body;
use crate::raft::{Raft, RoleState};

/// A hand-over under way.
#[derive(Debug)]
pub(crate) struct Transfer {
    to: NodeId,
    expires: Instant,
    /// The target was told, since the last heartbeat.
    told: bool,
}

impl Transfer {
    /// The target may not have heard; it is told again.
    pub(crate) fn repeat(&mut self) {
        self.told = false;
    }
}

impl Raft {
    /// Hands over to `to`, or to the most caught-up voter. Given up after an election timeout. Handing over to this node itself, or to the
    /// target of the hand-over under way, is nothing to do.
    ///
    /// # Errors
    /// If this node does not lead, is handing over to another, or if there is no such voter.
    pub fn transfer_leadership(&mut self, to: Option<NodeId>) -> Result<(), ProposeError> {
        let RoleState::Leader(leadership) = &self.role else { return Err(ProposeError::NotLeader { leader: self.leader }) };
        if to == Some(self.config.id) {
            return Ok(());
        }
        let to = to.or_else(|| self.best_successor()).ok_or(ProposeError::BadTarget)?;
        if !self.configuration().voters.contains(&to) {
            return Err(ProposeError::BadTarget);
        }
        match &leadership.transfer {
            Some(transfer) if transfer.to == to => Ok(()),
            Some(_) => Err(ProposeError::Transferring),
            None => {
                self.begin_transfer(to);
                Ok(())
            }
        }
    }

    fn begin_transfer(&mut self, to: NodeId) {
        let expires = self.now + self.config.election_timeout;
        let RoleState::Leader(leadership) = &mut self.role else { return };
        leadership.transfer = Some(Transfer { to, expires, told: false });
    }

    /// The voter that answers and has the most of the log.
    fn best_successor(&self) -> Option<NodeId> {
        let RoleState::Leader(leadership) = &self.role else { return None };
        let voters = &self.configuration().voters;
        let able = leadership.progress.iter().filter(|(id, progress)| {
            let active = progress.is_active(self.now, self.config.election_timeout);
            voters.contains(id) && active
        });
        // The first of equals, so that the choice is the same each time.
        able.rev().max_by_key(|(_, progress)| progress.matched).map(|(&id, _)| id)
    }

    /// Tells the target to take over, once it has everything.
    pub(crate) fn drive_transfer(&mut self) {
        let last = self.log.last().index;
        let RoleState::Leader(leadership) = &mut self.role else { return };
        let Some(transfer) = &mut leadership.transfer else { return };
        let caught_up = leadership.progress.get(&transfer.to).is_some_and(|progress| progress.matched == last);
        if caught_up && !transfer.told {
            transfer.told = true;
            leadership.lease_given_up = true;
            let to = transfer.to;
            self.outbox.send(to, self.message(Body::TimeoutNow {}));
        }
    }

    /// A leader that goes spares the others the wait.
    pub(crate) fn name_successor(&mut self) {
        let last = self.log.last().index;
        let RoleState::Leader(leadership) = &self.role else { return };
        if let Some(to) = self.best_successor().filter(|to| leadership.progress[to].matched == last) {
            self.outbox.send(to, self.message(Body::TimeoutNow {}));
        }
    }

    pub(crate) fn expire_transfer(&mut self) {
        let RoleState::Leader(leadership) = &mut self.role else { return };
        leadership.transfer.take_if(|transfer| self.now >= transfer.expires);
    }

    /// The leader says: take over. Without a pre-vote, whose purpose is to spare a healthy leader.
    pub(crate) fn on_timeout_now(&mut self, from: NodeId) {
        let from_leader = self.leader == Some(from) && matches!(self.role, RoleState::Follower);
        if from_leader && self.may_campaign() {
            self.campaign(true);
        }
    }
}
