//! Clients: what they ask, and what an answer means for the history.
//!
//! Each client has one request under way at a time and gives up on it after a while, not knowing what became of it. Keys are few, so that
//! requests meet; every value is unique.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_node::{Answer as NodeAnswer, Refusal};
use steadfast_state::command::{
    Command, Compare, DeleteRange, KeySpan, KeyValue, Operand, Operation as Step, Outcome, Put, Range, RangeResult, Relation, Txn,
};
use steadfast_types::{Revision, Rng};

use crate::checkers::Violation;
use crate::history::{Action, Answer, Operation, Seen};
use crate::world::Time;

/// Names a request: its place in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationNumber(pub usize);

impl OperationNumber {
    /// Of what nobody waits for.
    pub const NOBODY: OperationNumber = OperationNumber(usize::MAX);
}

/// All clients and everything they did.
#[derive(Debug)]
pub struct Workload {
    rng: Rng,
    keys: usize,
    operations: Vec<Operation>,
    /// The revision each client saw last of each key, to compare with.
    known: BTreeMap<(usize, Bytes), Revision>,
}

impl Workload {
    /// Clients that share `keys` keys.
    pub fn new(rng: Rng, keys: usize) -> Self {
        Workload { rng, keys, operations: Vec::new(), known: BTreeMap::new() }
    }

    /// A client asks something at random.
    pub fn invoke(&mut self, client: usize, now: Time) -> OperationNumber {
        let key = key(self.rng.usize(0..self.keys));
        let value = self.unique_value(client);
        let action = match self.rng.u8(0..10) {
            0..3 => Action::Get { key },
            3..6 => Action::Put { key, value },
            6..7 => Action::Delete { key },
            _ => {
                let expected = self.known.get(&(client, key.clone())).copied().unwrap_or_default();
                Action::CompareAndPut { key, expected, value }
            }
        };
        self.begin(client, action, now)
    }

    /// A client writes a key, to see whether that works.
    pub fn probe(&mut self, client: usize, now: Time) -> OperationNumber {
        let action = Action::Put { key: key(0), value: self.unique_value(client) };
        self.begin(client, action, now)
    }

    /// The command that does a request; `None`: a read, which needs none.
    pub fn command(&self, number: OperationNumber) -> Option<Command> {
        match self.operations[number.0].action.clone() {
            Action::Get { .. } => None,
            Action::Put { key, value } => Some(Command::Put(Put { key, value, prev_kv: true, ..Put::default() })),
            Action::Delete { key } => Some(Command::DeleteRange(DeleteRange { keys: one(key), prev_kv: true })),
            Action::CompareAndPut { key, expected, value } => Some(Command::Txn(Txn {
                compare: vec![Compare { keys: one(key.clone()), relation: Relation::Equal, operand: Operand::ModRevision(expected) }],
                success: vec![Step::Put(Put { key: key.clone(), value, prev_kv: true, ..Put::default() })],
                failure: vec![Step::Range(Range { keys: one(key), ..Range::default() })],
            })),
        }
    }

    /// What a request reads.
    pub fn range(&self, number: OperationNumber) -> Range {
        Range { keys: one(self.operations[number.0].action.key().clone()), ..Range::default() }
    }

    /// The answer to a write came. Gives what it means, `None` if that is unknown.
    ///
    /// # Errors
    /// No such answer is right for the request, whatever else happened.
    pub fn interpret(&self, number: OperationNumber, answer: NodeAnswer) -> Result<Option<Answer>, Violation> {
        let operation = &self.operations[number.0];
        match answer {
            NodeAnswer::Applied(response) => match response.result {
                Ok(outcome) => done(response.revision, outcome).map(Some).ok_or_else(|| strange(operation)),
                Err(error) => Err(Violation::new("answers", format!("{operation:?} was refused: {error}"))),
            },
            NodeAnswer::Refused(refusal) => Ok(nothing_done(refusal).then_some(Answer::Refused)),
            NodeAnswer::Readable | NodeAnswer::Lease(_) | NodeAnswer::Done => Err(strange(operation)),
        }
    }

    /// A request's answer reached its client. Whether the client still waited for it.
    pub fn answered(&mut self, number: OperationNumber, now: Time, answer: Answer) {
        let operation = &mut self.operations[number.0];
        if let Answer::Done { revision, changed, seen } = &answer {
            let newest = if *changed { *revision } else { revision_of(seen) };
            self.known.insert((operation.client, operation.action.key().clone()), newest);
        }
        operation.answer = Some((now, answer));
    }

    /// A request.
    pub fn operation(&self, number: OperationNumber) -> &Operation {
        &self.operations[number.0]
    }

    /// All requests, by time of invocation.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    fn begin(&mut self, client: usize, action: Action, invoked: Time) -> OperationNumber {
        self.operations.push(Operation { client, action, invoked, answer: None });
        OperationNumber(self.operations.len() - 1)
    }

    /// A value no other request has, sometimes large enough for several sectors.
    fn unique_value(&mut self, client: usize) -> Bytes {
        let filler = if self.rng.u8(0..8) == 0 { self.rng.usize(0..6_000) } else { self.rng.usize(0..40) };
        format!("{client}-{}-{}", self.operations.len(), "x".repeat(filler)).into()
    }
}

/// The key of this number.
pub fn key(number: usize) -> Bytes {
    format!("key-{number}").into()
}

fn one(key: Bytes) -> KeySpan {
    KeySpan { key, range_end: Bytes::new() }
}

/// What a range over one key saw.
pub fn seen(result: &RangeResult) -> Seen {
    seen_key(result.kvs.first())
}

fn seen_key(kv: Option<&KeyValue>) -> Seen {
    kv.map_or(Seen::Absent, |kv| Seen::Present(kv.mod_revision, kv.value.clone()))
}

fn revision_of(seen: &Seen) -> Revision {
    match seen {
        Seen::Present(revision, _) => *revision,
        Seen::Absent | Seen::Unknown => Revision(0),
    }
}

/// What an outcome means; `None` if no request of this workload has such an outcome.
fn done(revision: Revision, outcome: Outcome) -> Option<Answer> {
    let (changed, seen) = match outcome {
        Outcome::Put { prev_kv } => (true, seen_key(prev_kv.as_ref())),
        Outcome::Deleted { deleted, prev_kvs } => (deleted > 0, seen_key(prev_kvs.first())),
        Outcome::Txn(result) => match (result.succeeded, result.responses.into_iter().next()?) {
            (true, Outcome::Put { prev_kv }) => (true, seen_key(prev_kv.as_ref())),
            (false, Outcome::Range(range)) => (false, seen(&range)),
            _ => return None,
        },
        Outcome::Done | Outcome::Range(_) | Outcome::LeaseGranted { .. } | Outcome::Claimed(_) => return None,
    };
    Some(Answer::Done { revision, changed, seen })
}

/// Whether a refusal says for certain that nothing was done.
fn nothing_done(refusal: Refusal) -> bool {
    match refusal {
        Refusal::TimedOut | Refusal::LeaderChanged | Refusal::Stopped => false,
        Refusal::TooManyRequests
        | Refusal::NotLeader
        | Refusal::MemberNotFound
        | Refusal::MemberExists
        | Refusal::PeerUrlExists
        | Refusal::MemberNotLearner
        | Refusal::LearnerNotReady
        | Refusal::ChangeUnderWay
        | Refusal::NotEnoughMembers
        | Refusal::BadTransferee => true,
    }
}

fn strange(operation: &Operation) -> Violation {
    Violation::new("answers", format!("{operation:?} got the answer of another kind of request"))
}
