//! What happens by itself: deadlines, repeats, the end of leases, comparisons of hashes.

use steadfast_consensus::Role;
use steadfast_state::command::{Command, Origin, Proposal};
use steadfast_types::disk::Disk;
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;

use crate::Refusal;
use crate::node::{Caller, LeaseCaller, Node, Waiter};

/// How often the leader asks all replicas to compare their hashes, if anything was applied.
const COMPARE_HASHES_EVERY: Duration = Duration::from_secs(10);

impl<S, D: Disk> Node<S, D> {
    /// Every heartbeat interval, and whenever a client's deadline passes.
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
        for slot in timed_out {
            self.refuse(slot, Refusal::TimedOut);
        }
        if let Some(leader) = self.raft.leader().filter(|leader| *leader != self.options.id) {
            let term = self.raft.term();
            let again = self.proposals.resend_overdue(term, now, 2 * self.options.heartbeat_interval);
            self.forward(leader, term, again);
        }
        self.give_up_stuck_snapshots();
        self.compare_hashes();
        let clients = self.proposals.next_deadline().min(self.reads.next_deadline()).min(self.calls.next_deadline());
        self.next_timer = (now + self.options.heartbeat_interval).min(clients.max(now + Duration::from_millis(1)));
    }

    pub(crate) fn end_leases(&mut self) {
        for id in self.leases.due(self.now) {
            let proposal = Proposal { origin: Origin::default(), command: Command::LeaseRevoke { id } };
            if self.raft.role() == Role::Leader {
                self.intake.enter_term(self.raft.term());
                self.intake.push(proposal.to_wire().into());
            }
        }
    }

    pub(crate) fn compare_hashes(&mut self) {
        let (at, index) = self.hashes_compared;
        if !self.raft.is_established_leader() || self.now.since(at) < COMPARE_HASHES_EVERY {
            return;
        }
        let Some((checked, hash)) = self.state.remembered_hash() else { return };
        self.hashes_compared = (self.now, checked);
        if checked > index {
            let command = Command::CompareHash { index: checked, hash };
            self.intake.enter_term(self.raft.term());
            self.intake.push(Proposal { origin: Origin::default(), command }.to_wire().into());
        }
    }
}
