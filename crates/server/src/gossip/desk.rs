//! The peer port's desk with gossip in front: messages by stream go to the task, agents are told whether they are welcome, all else goes on.

use bytes::Bytes;
use steadfast_state::command::Member;
use steadfast_types::wire::Wire;

use super::Gossip;
use crate::formation::{AttendAnswer, AttendRefusal, Attending};
use crate::genesis::Genesis;
use crate::peers::{Reception, Topic};

/// What a server tells agents.
pub(crate) trait Attendance: Send + Sync + 'static {
    /// How the cluster began.
    fn genesis(&self) -> Genesis;

    /// Its members now; an error in words while they are not known.
    fn members(&self) -> Result<Vec<Member>, String>;

    /// The answer to a report of a node's health.
    fn report(&self, report: Bytes) -> Bytes;
}

/// Answers about gossip, and hands the rest on.
pub(crate) struct Desk<R, A> {
    /// Or why there is none.
    gossip: Result<Gossip, &'static str>,
    attendance: A,
    behind: R,
}

impl<R: Reception, A: Attendance> Desk<R, A> {
    pub(crate) fn new(gossip: Result<Gossip, &'static str>, attendance: A, behind: R) -> Self {
        Desk { gossip, attendance, behind }
    }

    fn attend(&self, question: Bytes) -> AttendAnswer {
        let not_now = |reason: String| AttendAnswer::Refused(AttendRefusal::NotNow(reason));
        let Ok(agent) = Attending::from_wire(question) else { return not_now("the question is malformed".to_owned()) };
        let gossip = match &self.gossip {
            Ok(gossip) => gossip,
            Err(reason) => return AttendAnswer::Refused(AttendRefusal::NoGossip((*reason).to_owned())),
        };
        if let Some(elder) = gossip.view().named(&agent.name).filter(|seen| is_in_the_way(seen, &agent)) {
            return AttendAnswer::Refused(AttendRefusal::NameTaken(elder.address.to_string()));
        }
        match self.attendance.members() {
            Ok(members) => AttendAnswer::Welcome { genesis: self.attendance.genesis(), members },
            Err(reason) => not_now(reason),
        }
    }
}

/// Whether a member has the older right to its name. One at the same address is an earlier self of the agent.
fn is_in_the_way(seen: &super::Seen, agent: &Attending) -> bool {
    let is_itself = seen.id == agent.node || seen.address.to_string() == agent.address;
    !is_itself && (seen.born, seen.id) < (agent.born, agent.node)
}

impl<R: Reception, A: Attendance> Reception for Desk<R, A> {
    async fn answer(&self, topic: Topic, question: Bytes) -> Bytes {
        match topic {
            Topic::Gossip => match &self.gossip {
                Ok(gossip) => gossip.answer(question).await,
                Err(_) => Bytes::new(),
            },
            Topic::Attend => self.attend(question).to_wire().into(),
            Topic::Health => self.attendance.report(question),
            Topic::Founding | Topic::Claim | Topic::Diagnosis | Topic::Admit | Topic::Restart => self.behind.answer(topic, question).await,
        }
    }
}
