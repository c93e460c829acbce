//! What comes out of consensus, and what follows from applying it.
//!
//! Committed entries are held back while a snapshot is being installed or the tables' background work has fallen behind. What is held back is
//! bounded: a leader proposes nothing meanwhile, and a follower takes no entries beyond [`HELD_BACK_BYTES`].

use steadfast_consensus::Outputs as RaftOutputs;
use steadfast_state::{Answer as AnswerFor, Changes, Gather, StateFault};
use steadfast_storage::tables::Pressure;
use steadfast_types::disk::Disk;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Entry, LogIndex, Revision};

use crate::jobs::{Job, Kind};
use crate::node::{Node, Waiter};
use crate::snapshot_receive::Receiving;
use crate::{Answer, LogCommand, Notice, PeerMessage};

/// Entries that a follower may hold back, bytes.
pub(crate) const HELD_BACK_BYTES: usize = 32 * 1024 * 1024;

impl<S, D: Disk> Node<S, D> {
    pub(crate) fn ask_for_reads(&mut self) {
        if let Some(number) = self.reads.take_request() {
            self.raft.request_read(number);
        }
    }

    /// Whether anything came out.
    pub(crate) fn drain_consensus(&mut self) -> bool {
        let RaftOutputs { log_write, messages, committed, read_ready, fetch, snapshot_wanted, role, configuration } =
            self.raft.take_outputs();
        let anything = log_write.is_some() || !messages.is_empty() || !committed.is_empty() || read_ready.is_some() || role.is_some();
        if let Some(write) = log_write {
            if let Some(hard_state) = write.hard_state {
                self.hard_state = hard_state;
            }
            self.out.log.push(LogCommand::Write(write));
        }
        for (to, message) in messages {
            self.send(to, &PeerMessage::Raft(message));
        }
        if let Some(role) = role {
            self.out.notices.push(Notice::Role(role));
        }
        if let Some((position, configuration)) = configuration {
            self.configuration_at = position.index;
            self.out.notices.push(Notice::Configuration(position, configuration));
        }
        self.on_committed(committed);
        if let Some(ready) = read_ready {
            self.reads.confirmed(ready);
        }
        for fetch in fetch {
            let reader = self.log_reader.clone();
            self.out.jobs.push(Job(Kind::Fetch { follower: fetch.follower, from: fetch.from, max_bytes: fetch.max_bytes, reader }));
        }
        for (follower, at_least) in snapshot_wanted {
            self.begin_snapshot(follower, at_least);
        }
        self.update_leadership();
        anything
    }

    fn on_committed(&mut self, committed: Vec<Entry>) {
        self.held_back_bytes += committed.iter().map(Entry::size).sum::<usize>();
        self.held_back.extend(committed);
        self.apply_held_back();
    }

    /// Whether the tables can take no more for now.
    pub(crate) fn must_hold_back(&self) -> bool {
        self.is_faulted
            || self.receiving.as_ref().is_some_and(Receiving::is_installing)
            || self.state.tables().pressure() == Pressure::Behind
    }

    /// Applies what is committed, as far as may be.
    pub(crate) fn apply_held_back(&mut self) {
        let mut last = None;
        while let Some(index) = self.held_back.front().map(|entry| entry.index) {
            // A snapshot installed meanwhile may hold it already.
            let is_known = index <= self.state.applied().index;
            if !is_known && self.must_hold_back() {
                break;
            }
            let Some(entry) = self.held_back.pop_front() else { break };
            self.held_back_bytes -= entry.size();
            if !is_known && !self.apply(&entry) {
                return;
            }
            last = Some(entry.index);
        }
        if let Some(last) = last {
            self.raft.applied(last);
        }
    }

    /// False if the node can't go on.
    pub(crate) fn apply(&mut self, entry: &Entry) -> bool {
        let was_member = self.state.configuration().contains(self.options.id);
        let (with_previous, any) = (self.with_previous, self.options.events);
        let events = if !any {
            Gather::Nothing
        } else if with_previous {
            Gather::EventsWithPrevious
        } else {
            Gather::Events
        };
        let answer = AnswerFor { node: self.options.id, incarnation: self.options.incarnation, events };
        let applied = match self.state.apply(entry, answer) {
            Ok(applied) => applied,
            Err(StateFault::Tables(error)) => {
                self.damaged(error.0);
                return false;
            }
            Err(fault @ (StateFault::Entry { .. } | StateFault::OutOfOrder { .. })) => {
                self.fault(format!("entry {} can't be applied: {fault}", entry.position()));
                return false;
            }
        };
        for (request, response) in applied.outcomes {
            if let Some(slot) = self.proposals.complete(request) {
                self.out.answers.push((slot, Answer::Applied(response)));
            }
        }
        if !applied.events.is_empty() || applied.are_events_too_many {
            self.out.events.push(Changes { revision: applied.revision, events: applied.events, with_previous });
        }
        self.out.auth.extend(applied.auth);
        self.leases.apply(self.now, &applied.leases);
        self.out.notices.extend(applied.alarms.iter().map(|(alarm, is_raised)| Notice::Alarm(*alarm, *is_raised)));
        if applied.members_changed {
            self.out.notices.push(Notice::MembersChanged);
        }
        if entry.term > self.last_applied_term {
            self.last_applied_term = entry.term;
            self.proposals.term_applied(entry.term);
        }
        self.after_apply(was_member);
        true
    }

    /// A node that was not a member before is not removed: a new one replays configurations from before it was added.
    pub(crate) fn after_apply(&mut self, was_member: bool) {
        if was_member && !self.state.configuration().contains(self.options.id) {
            self.out.notices.push(Notice::Removed);
        }
        if let Some(index) = self.state.condemned().filter(|_| !self.is_faulted) {
            self.damaged(format!("entry {index} says that their state is not that of the other members"));
        }
    }

    /// This node can't go on: nothing more is applied until the shell has stopped it.
    pub(crate) fn fault(&mut self, reason: String) {
        self.leave(Notice::Fault(reason));
    }

    /// The tables can't be believed any more: nothing more is applied until the shell has opened the node again.
    pub(crate) fn damaged(&mut self, what: String) {
        self.leave(Notice::TablesDamaged(what));
    }

    /// The first reason counts.
    fn leave(&mut self, reason: Notice) {
        if !std::mem::replace(&mut self.is_faulted, true) {
            self.out.notices.push(reason);
        }
    }

    pub(crate) fn update_leadership(&mut self) {
        if !self.raft.is_established_leader() {
            return self.leases.stop();
        }
        // Its own first entry must be applied: then all leases granted before are known here.
        if !self.leases.is_running() && self.last_applied_term == self.raft.term() {
            match self.state.reader().leases() {
                Ok(leases) => self.leases.start(self.now, leases),
                Err(error) => self.damaged(error.0),
            }
        }
    }

    pub(crate) fn answer_reads(&mut self) {
        if self.is_faulted {
            return;
        }
        let applied = if is_planted(Bug::ReadBeforeApplied) { LogIndex(u64::MAX) } else { self.state.applied().index };
        for waiter in self.reads.applied(applied) {
            match waiter {
                Waiter::Client(slot) => self.out.answers.push((slot, Answer::Readable)),
                Waiter::Lease { caller, question } => self.answer_lease(caller, question),
            }
        }
        let revision = if is_planted(Bug::SessionReadEarly) { Revision(i64::MAX) } else { self.state.revision() };
        let reached = self.revision_waits.reached(revision);
        self.out.answers.extend(reached.into_iter().map(|slot| (slot, Answer::Readable)));
    }
}
