//! Snapshots: where they end, and where the log goes on. Their contents and their way from node to node are the shell's business.
//!
//! Invariants:
//! 1. A snapshot at or below the commit index changes nothing.
//! 2. A snapshot of an entry that the log holds drops nothing of the log.
//! 3. The leader goes on by log after what the follower says it holds.

use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Configuration, LogPosition, NodeId};

use crate::follower::Following;
use crate::membership::Configurations;
use crate::message::Body;
use crate::progress::Mode;
use crate::raft::{Raft, RoleState};

/// What a snapshot would be to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotFit {
    /// All of it is committed here: not wanted.
    Old,
    /// The log holds its last entry: the log stays as it is, and the state machine may take the snapshot or wait for the log.
    Within,
    /// The log ends before it, or differs: the log on disk must be replaced by an empty one that begins after it.
    Replaces,
}

impl Raft {
    /// What a snapshot that ends at `position` would be to this node now. The shell asks before it installs one.
    pub fn snapshot_fit(&self, position: LogPosition) -> SnapshotFit {
        if position.index <= self.log.commit() && !is_planted(Bug::OldSnapshotInstalled) {
            SnapshotFit::Old
        } else if self.log.holds(position) {
            SnapshotFit::Within
        } else {
            SnapshotFit::Replaces
        }
    }

    /// State machine and tables now hold this snapshot, durably. If [`Raft::snapshot_fit`] said `Replaces`, the reset of the log to start after
    /// it has been handed to the log writer, behind all writes taken so far, and no output was taken since. Ignored at or below the commit
    /// index. Entries up to `position` will not come out as committed.
    pub fn snapshot_installed(&mut self, position: LogPosition, configuration: Configuration) {
        match self.snapshot_fit(position) {
            SnapshotFit::Old => {}
            SnapshotFit::Within => {
                self.log.skip_to(position.index);
                self.configuration_settled();
                self.continue_change();
            }
            SnapshotFit::Replaces => self.replace_log(position, configuration.clone()),
        }
        self.following.verified = self.following.verified.max(self.log.commit());
        self.end_suspicion();
        if let (RoleState::Follower, Some(leader)) = (&self.role, self.leader) {
            let body = match self.log.holds(position) && position.index <= self.log.durable() {
                true => Body::SnapshotInstalled { position, configuration },
                false => Body::AppendAccepted { matched: self.log.durable().min(self.following.verified) },
            };
            self.outbox.send_when_durable(leader, self.message(body));
        }
    }

    fn replace_log(&mut self, position: LogPosition, configuration: Configuration) {
        let role = self.role();
        assert!(!matches!(self.role, RoleState::Leader(_)), "a leader has every committed entry and takes no snapshot ({role:?})");
        if position.term > self.term() {
            self.adopt_term(position.term);
        }
        self.log.reset(position);
        self.outbox.reset(position.index);
        self.configurations = Configurations::new(position, configuration);
        self.configuration_changed();
        self.following = Following::new(position.index);
    }

    /// On the leader: a follower has installed a snapshot that ends at `position`.
    pub(crate) fn on_snapshot_installed(&mut self, from: NodeId, position: LogPosition) {
        let ours = self.log.holds(position) || position.index < self.log.start().index;
        if ours {
            self.on_append_accepted(from, position.index);
        }
    }

    /// The hand-over to `follower` ended; `position` is what it now holds, `None` if it failed (it is tried again after a heartbeat interval).
    pub fn snapshot_sent(&mut self, follower: NodeId, position: Option<LogPosition>) {
        let RoleState::Leader(leadership) = &mut self.role else { return };
        let Some(progress) = leadership.progress.get_mut(&follower).filter(|progress| progress.mode == Mode::Snapshot) else { return };
        match position {
            Some(position) => progress.probe_from(position.index.next()),
            None => progress.mode = Mode::Probe { sent: Some(self.now) },
        }
    }
}
