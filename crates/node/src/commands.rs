//! Commands on their way to the log: this node's own to the leader, and what a leader has gathered into entries.

use steadfast_consensus::Role;
use steadfast_types::disk::Disk;
use steadfast_types::{NodeId, Term};

use crate::forward::Taken;
use crate::node::Node;
use crate::proposals::Forwarding;
use crate::{Notice, PeerMessage};

impl<S, D: Disk> Node<S, D> {
    /// Hands this node's commands and questions to the leader, whoever it is, and puts what a leader has gathered into the log.
    pub(crate) fn hand_over(&mut self) {
        let term = self.raft.term();
        match (self.raft.role(), self.raft.leader()) {
            (Role::Leader, _) => {
                self.intake.enter_term(term);
                while let Some(proposal) = self.proposals.hand_to_self(term) {
                    self.intake.push(proposal);
                }
                self.propose();
                self.answer_own_calls();
            }
            (_, Some(leader)) => {
                self.intake.leave();
                if self.proposals.has_unsent() {
                    let frames = self.proposals.hand_to_leader(term, self.now);
                    self.forward(leader, term, frames);
                }
                let patience = self.options.heartbeat_interval;
                for (number, question) in self.calls.due(self.now, patience) {
                    self.send(leader, &PeerMessage::Call { term, number, question });
                }
            }
            (_, None) => self.intake.leave(),
        }
    }

    pub(crate) fn forward(&mut self, leader: NodeId, term: Term, frames: Vec<Forwarding>) {
        let incarnation = self.options.incarnation;
        for Forwarding { stream, first, batch } in frames {
            self.send(leader, &PeerMessage::Forward { term, incarnation, stream, first, batch });
        }
    }

    pub(crate) fn on_forward(&mut self, from: NodeId, term: Term, incarnation: u64, frame: Forwarding) {
        if self.raft.role() != Role::Leader || self.raft.term() != term {
            return;
        }
        self.intake.enter_term(term);
        let stream = frame.stream;
        match self.intake.take(from, incarnation, frame) {
            Ok(Taken::Yes | Taken::Full) => {}
            Ok(Taken::Gap(next)) => self.send(from, &PeerMessage::ForwardExpected { term, incarnation, stream, next }),
            Err(error) => self.out.notices.push(Notice::JobFailed(format!("peer {from} forwarded a malformed batch: {error}"))),
        }
    }

    /// Puts what is gathered into the log, as few entries as may be.
    pub(crate) fn propose(&mut self) {
        while !self.must_hold_back() {
            let Some((batch, count)) = self.intake.next_batch() else { return };
            // Busy or handing over: what is gathered waits; if leadership goes, everyone hands over again.
            if self.raft.propose(batch).is_err() {
                return;
            }
            self.intake.proposed(count);
        }
    }
}
