//! Replication from the leader's side: what goes to each follower, and what its answers mean.
//!
//! Sending happens once per drain ([`Raft::take_outputs`]), so that all proposals of a loop turn share their appends.
//!
//! Invariants:
//! 1. Every append is a true part of the leader's log: entries read back from disk are checked against the log's terms, and a failed read
//!    leads to nothing but another attempt.
//! 2. A follower that has not answered for an election timeout gets nothing but heartbeats.
//! 3. When the commit index moves and no append goes out to a follower anyway, an empty one tells it at once: followers answer their own
//!    clients when they apply.

use alloc::vec::Vec;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Entry, Instant, LogIndex, LogPosition, NodeId, Term, time::Duration};

use crate::log::Log;
use crate::message::Body;
use crate::outbox::Outbox;
use crate::progress::{Mode, Progress};
use crate::raft::{Raft, RoleState};
use crate::{FetchEntries, Message};

/// What sending to a follower needs of the leader.
struct Sender<'a> {
    log: &'a Log,
    outbox: &'a mut Outbox,
    term: Term,
    now: Instant,
    election_timeout: Duration,
    append_bytes: usize,
}

impl Sender<'_> {
    /// Sends all that may be sent to `to` now.
    fn drive(&mut self, to: NodeId, progress: &mut Progress) {
        match progress.mode {
            Mode::Probe { sent: None } if progress.is_active(self.now, self.election_timeout) => self.probe(to, progress),
            Mode::Replicate => self.stream(to, progress),
            Mode::Probe { .. } | Mode::Snapshot => {}
        }
    }

    /// Asks whether the logs meet before `next`, sending along what is at hand.
    fn probe(&mut self, to: NodeId, progress: &mut Progress) {
        if progress.next <= self.log.start().index {
            // One whose connection broke gets it when it has answered again: it may be down, and by then there may be a newer one.
            if progress.connected {
                self.want_snapshot(to, progress);
            }
            return;
        }
        let entries = self.log.read(progress.next, self.append_bytes);
        progress.mode = Mode::Probe { sent: Some(self.now) };
        self.append(to, progress, entries);
    }

    /// Keeps appends flowing as far as the window allows.
    fn stream(&mut self, to: NodeId, progress: &mut Progress) {
        // The log may have been compacted past a follower that was slow, or while entries were being fetched for it. One that does not even
        // answer gets a snapshot when it is back: by then there may be a newer one.
        if progress.next <= self.log.start().index {
            progress.probe_from(progress.next);
            return self.drive(to, progress);
        }
        while progress.next <= self.log.last().index && progress.window_open() && progress.fetching.is_none() {
            let entries = self.log.read(progress.next, self.append_bytes);
            if entries.is_empty() {
                progress.fetching = Some(progress.next);
                self.outbox.fetch.push(FetchEntries { follower: to, from: progress.next, max_bytes: self.append_bytes });
            } else {
                self.stream_entries(to, progress, entries);
            }
        }
        if progress.told_commit < self.log.commit() || progress.prompt {
            self.append(to, progress, Vec::new());
        }
    }

    /// Sends entries from `next` on and moves past them.
    fn stream_entries(&mut self, to: NodeId, progress: &mut Progress, entries: Vec<Entry>) {
        let bytes = entries.iter().map(Entry::size).sum();
        let last = entries.last().map_or(progress.next.previous(), |entry| entry.index);
        self.append(to, progress, entries);
        progress.sent(last, bytes);
    }

    fn append(&mut self, to: NodeId, progress: &mut Progress, entries: Vec<Entry>) {
        progress.told_commit = self.log.commit();
        progress.prompt = false;
        let previous = self.log.position(progress.next.previous());
        let body = Body::Append { previous, entries, commit: self.log.commit() };
        self.outbox.send(to, Message { term: self.term, body });
    }

    fn want_snapshot(&mut self, to: NodeId, progress: &mut Progress) {
        progress.probe_from(progress.next);
        progress.mode = Mode::Snapshot;
        self.outbox.snapshot_wanted.push((to, progress.next));
    }

    /// Whether entries read back from disk are this log's, from `from` on.
    fn are_ours(&self, from: LogIndex, entries: &[Entry]) -> bool {
        is_planted(Bug::ReadErrorSkipsEntries)
            || entries
                .iter()
                .zip(from.0..)
                .all(|(entry, index)| entry.index.0 == index && self.log.term_at(entry.index) == Some(entry.term))
    }
}

impl Raft {
    /// The leader's lanes, and what sending on them needs.
    fn lanes(&mut self) -> Option<(&mut alloc::collections::BTreeMap<NodeId, Progress>, Sender<'_>)> {
        let RoleState::Leader(leadership) = &mut self.role else { return None };
        let sender = Sender {
            log: &self.log,
            outbox: &mut self.outbox,
            term: self.hard_state.term,
            now: self.now,
            election_timeout: self.config.election_timeout,
            append_bytes: self.config.append_bytes,
        };
        Some((&mut leadership.progress, sender))
    }

    /// Sends what there is to send to all followers; once per drain.
    pub(crate) fn drive_followers(&mut self) {
        let Some((lanes, mut sender)) = self.lanes() else { return };
        for (&id, progress) in lanes {
            sender.drive(id, progress);
        }
        self.drive_transfer();
        self.leave_if_removed();
        if self.lanes_outdated {
            self.track_members();
        }
    }

    /// A leader that the committed configuration does not know as a voter has told everyone by now, and goes; see `membership`.
    fn leave_if_removed(&mut self) {
        let committed = self.configurations.position().index <= self.log.commit();
        let configuration = self.configuration();
        if committed && !configuration.is_joint() && !configuration.is_voter(self.config.id) {
            self.name_successor();
            self.step_down();
        }
    }

    pub(crate) fn on_append_accepted(&mut self, from: NodeId, matched: LogIndex) {
        let (last, start) = (self.log.last(), self.log.start().index);
        let Some(progress) = self.heard_follower(from) else { return };
        assert!(matched <= last.index, "{from} holds entry {matched} of this leader's log, which ends at {last}");
        progress.accepted(matched, start);
        self.advance_commit();
    }

    pub(crate) fn on_append_rejected(&mut self, from: NodeId, rejected: LogIndex, hint: LogPosition) {
        let below = rejected.previous().min(hint.index);
        let meeting = self.log.last_not_after(below, hint.term);
        let Some(progress) = self.heard_follower(from) else { return };
        if progress.is_rejection_news(rejected) {
            progress.probe_from(meeting.next());
        }
    }

    pub(crate) fn on_heartbeat_reply(&mut self, from: NodeId, round: u64, verified: LogIndex) {
        let Some(progress) = self.heard_follower(from) else { return };
        progress.heartbeat_answered(round, verified);
        self.round_answered(from, round);
    }

    /// `entries` are what a [`FetchEntries`] for `follower` asked for: from `from` on, without gaps. `None`: the log no longer holds them. An
    /// empty list: they could not be read now.
    pub fn entries_fetched(&mut self, follower: NodeId, from: LogIndex, entries: Option<Vec<Entry>>) {
        let Some((lanes, mut sender)) = self.lanes() else { return };
        let Some(progress) = lanes.get_mut(&follower).filter(|progress| progress.fetching == Some(from)) else { return };
        progress.fetching = None;
        if progress.mode != Mode::Replicate || progress.next != from {
            return;
        }
        match entries {
            None => sender.want_snapshot(follower, progress),
            Some(entries) if !entries.is_empty() && sender.are_ours(from, &entries) && from > sender.log.start().index => {
                sender.stream_entries(follower, progress, entries);
            }
            // Tried again at the next heartbeat, from the last entry that is certain.
            Some(_) => {
                progress.probe_from(from);
                progress.mode = Mode::Probe { sent: Some(sender.now) };
            }
        }
    }
}
