//! What happens by itself: deadlines, repeats, the end of leases, comparisons of hashes.

use steadfast_consensus::Role;
use steadfast_state::alarm::AlarmKind;
use steadfast_state::command::{Command, Origin, Proposal};
use steadfast_types::disk::Disk;
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;

use crate::Refusal;
use crate::node::{Caller, Compared, LeaseCaller, Node, Waiter};

/// How often the leader has all replicas remember their hashes, to compare them (`alarms.rs`), if anything was written.
const COMPARE_HASHES_EVERY: Duration = Duration::from_secs(10);

/// How often while some member is corrupt, to see it repaired.
const COMPARE_REPAIRED_EVERY: Duration = Duration::from_secs(1);

impl<S, D: Disk> Node<S, D> {
    /// Every heartbeat interval: so a client hears of its deadline at most that much late.
    pub(crate) fn on_timer(&mut self) {
        let now = self.now;
        let mut timed_out = self.proposals.expire(now);
        timed_out.extend(self.calls.expire(now).into_iter().filter_map(|caller| match caller {
            Caller::Client(slot) => Some(slot),
            Caller::Reserved(_) => None,
        }));
        timed_out.extend(self.reads.expire(now).into_iter().filter_map(|waiter| match waiter {
            Waiter::Client(slot) | Waiter::Lease { caller: LeaseCaller::Local(slot), .. } => Some(slot),
            Waiter::Lease { caller: LeaseCaller::Remote { .. }, .. } => None,
        }));
        timed_out.extend(self.revision_waits.expire(now));
        for slot in timed_out {
            self.refuse(slot, Refusal::TimedOut);
        }
        if let Some(leader) = self.raft.leader().filter(|leader| *leader != self.options.id) {
            let term = self.raft.term();
            let again = self.proposals.resend_overdue(term, now, 2 * self.options.heartbeat_interval);
            self.forward(leader, term, again);
        }
        self.end_idle_snapshots();
        self.steer_membership();
        self.raise_level();
        self.compare_hashes();
        self.tend_alarms();
        self.compact_by_itself();
        self.give_way_if_held_back();
        self.next_timer = now + self.options.heartbeat_interval;
    }

    pub(crate) fn end_leases(&mut self) {
        self.leases.turn(self.now, self.options.heartbeat_interval);
        // Without room they stay due.
        if self.raft.role() != Role::Leader || !self.intake.has_room() {
            return;
        }
        for id in self.leases.due(self.now) {
            let proposal = Proposal { origin: Origin::default(), command: Command::LeaseRevoke { id } };
            self.intake.enter_term(self.raft.term());
            self.intake.push(proposal.to_wire().into());
        }
    }

    /// A leader that can't apply can't propose either: after an election timeout it lets another lead, if there is one to.
    fn give_way_if_held_back(&mut self) {
        if self.raft.role() != Role::Leader || !self.must_hold_back() {
            self.held_back_since = None;
            return;
        }
        let since = *self.held_back_since.get_or_insert(self.now);
        if self.now.since(since) >= self.options.election_timeout {
            self.held_back_since = None;
            // Without a voter to take over, the best this leader can do is to go on.
            let _ = self.raft.transfer_leadership(None);
        }
    }

    fn compact_by_itself(&mut self) {
        if !self.raft.is_established_leader() {
            return self.compactor.stop();
        }
        if !self.intake.has_room() {
            return;
        }
        let (current, compacted) = (self.state.revision(), self.state.compact_revision());
        let keep = self.options.auto_compaction;
        // What a client raised for reasons of its own is no reason to forget anything.
        let lacks_space = self.state.alarms().all().any(|(alarm, raised)| alarm.kind == AlarmKind::NoSpace && !raised.by_hand);
        let all_of_it = lacks_space.then(|| self.compactor.due_without_space(keep, self.now, current, compacted)).flatten();
        if let Some(revision) = all_of_it.or_else(|| self.compactor.due(keep, self.now, current, compacted)) {
            self.intake.enter_term(self.raft.term());
            self.intake.push(Proposal { origin: Origin::default(), command: Command::Compact { revision } }.to_wire().into());
        }
    }

    fn compare_hashes(&mut self) {
        let Compared { at, hash: before } = self.compared;
        let is_awaited = self.state.alarms().is_any(AlarmKind::Corrupt);
        let every = if is_awaited { COMPARE_REPAIRED_EVERY } else { COMPARE_HASHES_EVERY };
        if !self.raft.is_established_leader() || self.now.since(at) < every {
            return;
        }
        let hash = self.state.hash();
        self.compared = Compared { at: self.now, hash: Some(hash) };
        if before == Some(hash) && !is_awaited {
            return;
        }
        let (index, hash) = self.state.remembered_hash().unwrap_or_default();
        let command = Command::CompareHash { index, hash };
        self.intake.enter_term(self.raft.term());
        self.intake.push(Proposal { origin: Origin::default(), command }.to_wire().into());
    }
}

#[cfg(test)]
mod tests;
