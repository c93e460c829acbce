//! Questions that only the leader can answer: leases' times, and whether a membership change may be.

use steadfast_consensus::{ProposeError, Role};
use steadfast_state::command::{Batch, Member, Origin, Proposal};
use steadfast_types::disk::Disk;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::wire::Wire;
use steadfast_types::{NodeId, Term, limits};

use crate::message::{CallAnswer, Question};
use crate::node::{Caller, LeaseCaller, LeaseQuestion, Node, Waiter};
use crate::{Answer, LeaseTtl, MembershipChange, PeerMessage, Refusal};

impl<S, D: Disk> Node<S, D> {
    pub(crate) fn answer_own_calls(&mut self) {
        let patience = self.options.heartbeat_interval;
        for (number, question) in self.calls.due(self.now, patience) {
            match question {
                // Not established yet: asked again after `patience`.
                Question::KeepAlive(_) | Question::TimeToLive(_) if !self.leases.is_running() => {}
                Question::KeepAlive(id) => self.answer_own_call(number, LeaseQuestion::KeepAlive(id)),
                Question::TimeToLive(id) => self.answer_own_call(number, LeaseQuestion::TimeToLive(id)),
                Question::ChangeMembership { origin, change } => match self.change_membership(origin, &change) {
                    Ok(()) => drop(self.calls.answered(number)),
                    Err(refusal) => self.on_call_answer(number, CallAnswer::Refused(refusal)),
                },
            }
        }
    }

    fn answer_own_call(&mut self, number: u64, question: LeaseQuestion) {
        if let Some(Caller::Client(slot)) = self.calls.answered(number) {
            self.await_lease(LeaseCaller::Local(slot), question);
        }
    }

    /// A lease is renewed as soon as that is asked for, so that it does not end meanwhile; what is answered, [`Node::answer_lease`] finds out.
    fn await_lease(&mut self, caller: LeaseCaller<S>, question: LeaseQuestion) {
        self.lease_time(question);
        if is_planted(Bug::LeaseAnsweredEarly) {
            return self.answer_lease(caller, question);
        }
        self.reads.add(Waiter::Lease { caller, question }, self.now + self.options.request_timeout);
    }

    /// Renews or looks at a lease.
    fn lease_time(&mut self, question: LeaseQuestion) -> LeaseTtl {
        let remaining_s = match question {
            LeaseQuestion::KeepAlive(id) => self.leases.renew(id, self.now),
            LeaseQuestion::TimeToLive(id) => self.leases.remaining_s(id, self.now),
        };
        LeaseTtl { remaining_s }
    }

    /// Answers when this node has been confirmed as the leader and has applied all that was committed when it was asked: another node may have applied,
    /// and answered, a grant or a revocation before. One that leads no more can't say.
    pub(crate) fn answer_lease(&mut self, caller: LeaseCaller<S>, question: LeaseQuestion) {
        let ttl = self.leases.is_running().then(|| self.lease_time(question));
        match (caller, ttl) {
            (LeaseCaller::Local(slot), Some(ttl)) => self.out.answers.push((slot, Answer::Lease(ttl))),
            (LeaseCaller::Local(slot), None) => self.refuse(slot, Refusal::LeaderChanged),
            (LeaseCaller::Remote { node, number }, Some(ttl)) => {
                self.send(node, &PeerMessage::CallAnswer { number, answer: CallAnswer::Lease(ttl) });
            }
            // It asks the new leader.
            (LeaseCaller::Remote { .. }, None) => {}
        }
    }

    pub(crate) fn on_call(&mut self, from: NodeId, term: Term, number: u64, question: Question) {
        // With too much waiting, whoever asks asks again.
        if self.raft.role() != Role::Leader || self.raft.term() != term || self.reads.len() >= limits::QUEUED_REQUESTS {
            return;
        }
        self.intake.enter_term(term);
        match question {
            Question::KeepAlive(_) | Question::TimeToLive(_) if !self.leases.is_running() => {}
            Question::KeepAlive(id) => self.await_lease(LeaseCaller::Remote { node: from, number }, LeaseQuestion::KeepAlive(id)),
            Question::TimeToLive(id) => self.await_lease(LeaseCaller::Remote { node: from, number }, LeaseQuestion::TimeToLive(id)),
            // A doubled question must not be refused because of what the first one began.
            Question::ChangeMembership { origin, .. } if !self.intake.is_new_change(origin) => {}
            Question::ChangeMembership { origin, change } => {
                if let Err(refusal) = self.change_membership(origin, &change) {
                    self.send(from, &PeerMessage::CallAnswer { number, answer: CallAnswer::Refused(refusal) });
                }
            }
        }
    }

    pub(crate) fn on_call_answer(&mut self, number: u64, answer: CallAnswer) {
        let slot = match self.calls.answered(number) {
            Some(Caller::Client(slot)) => Some(slot),
            Some(Caller::Reserved(request)) => self.proposals.complete(request),
            None => None,
        };
        let Some(slot) = slot else { return };
        self.out.answers.push((
            slot,
            match answer {
                CallAnswer::Lease(ttl) => Answer::Lease(ttl),
                CallAnswer::Refused(refusal) => Answer::Refused(refusal),
            },
        ));
    }

    pub(crate) fn change_membership(&mut self, origin: Origin, change: &MembershipChange) -> Result<(), Refusal> {
        // What the members are must be known before it is judged: all changes before this one are applied here.
        if self.state.applied().index < self.configuration_at
            || self.last_applied_term != self.raft.term() && !is_planted(Bug::NewMajorityAlone)
        {
            return Err(Refusal::ChangeUnderWay);
        }
        let members = self.members();
        let (target, mut commands) = crate::membership::plan(change, &members, &self.raft.status(), self.options.id)?;
        let last = commands.pop().map(|command| Proposal { origin, command });
        let others = commands.into_iter().map(|command| Proposal { origin: Origin::default(), command });
        let batch = Batch { proposals: others.chain(last).collect() };
        match self.raft.propose_configuration(target, batch.to_wire().into()) {
            Ok(_) => Ok(()),
            Err(ProposeError::NotLeader { .. } | ProposeError::Transferring) => Err(Refusal::LeaderChanged),
            Err(ProposeError::Busy) => Err(Refusal::TooManyRequests),
            Err(ProposeError::NoVoters) => Err(Refusal::NotEnoughMembers),
            Err(_) => Err(Refusal::ChangeUnderWay),
        }
    }

    /// The members as applied here.
    pub fn members(&self) -> Vec<Member> {
        self.state.reader().members().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
