//! Clients: what they ask, and what an answer means for the history.
//!
//! Each client has one request under way at a time and gives up on it after a while, not knowing what became of it. Keys are few, so that
//! requests meet; every value is unique. Keys under leases are apart from the others and only ever written under theirs, so that their end has
//! one cause.

use std::collections::BTreeMap;

use bytes::Bytes;
use steadfast_node::{Answer as NodeAnswer, LeaseTtl, Refusal, RequestBody};
use steadfast_proof::Violation;
use steadfast_proof::history::{Answer, Lease, Operation, Request, Seen, Span, Step, Transaction, Version};
use steadfast_proof::time::Time;
use steadfast_state::command::{
    Command, CommandError, Compare, DeleteRange, KeySpan, KeyValue, Operand, Operation as CommandStep, Outcome, Put, Range, RangeResult,
    Relation, Txn, TxnResult,
};
use steadfast_types::time::Duration;
use steadfast_types::{LeaseId, Revision, Rng};

use crate::cluster::administrator;

/// Keys under one lease.
const LEASED_KEYS: usize = 2;

/// Who has asked for what a restored state holds.
pub const RESTORER: usize = usize::MAX;

/// Names a request: its place in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationNumber(pub usize);

impl OperationNumber {
    /// Of what nobody waits for.
    pub const NOBODY: OperationNumber = OperationNumber(usize::MAX);
}

/// What clients do in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Habits {
    /// How many keys they share.
    pub keys: usize,
    /// Whether they read, write and delete several keys at once too.
    pub wide: bool,
    /// The share of their requests that is about a queue: keys that are written in ascending order and deleted in it.
    pub queue: f64,
    /// Whether they use leases.
    pub leases: bool,
}

/// All clients and everything they did.
#[derive(Debug)]
pub struct Workload {
    rng: Rng,
    habits: Habits,
    operations: Vec<Operation>,
    /// The revision each client saw last of each key, to compare with.
    known: BTreeMap<(usize, Bytes), Revision>,
    /// The leases that were asked for.
    leases: Vec<Lease>,
    /// The lease that a client has just been granted.
    fresh: BTreeMap<usize, Lease>,
    /// Counts the values.
    values: usize,
    /// The queue's keys: from which on they may be there, and the next to be written.
    queue: (usize, usize),
}

impl Workload {
    /// Clients with these habits.
    pub fn new(rng: Rng, habits: Habits) -> Self {
        Workload {
            rng,
            habits,
            operations: Vec::new(),
            known: BTreeMap::new(),
            leases: Vec::new(),
            fresh: BTreeMap::new(),
            values: 0,
            queue: (0, 0),
        }
    }

    /// Such clients in a cluster that begins with a state: what these requests have left, and these leases.
    #[must_use]
    pub fn beginning_with(self, operations: Vec<Operation>, leases: Vec<Lease>) -> Self {
        Workload { operations, leases, ..self }
    }

    /// A client asks something at random.
    pub fn invoke(&mut self, client: usize, now: Time) -> OperationNumber {
        let fresh = self.fresh.remove(&client).filter(|_| self.rng.bool());
        let request = match self.rng.u8(0..4) {
            // Where the grant is not known yet, what comes next shows it.
            _ if let Some(lease) = fresh => Request::KeepAlive { lease },
            _ if self.rng.f64() < self.habits.queue => Request::Transaction(self.queue(client)),
            0 if self.habits.leases => self.about_leases(client),
            1 if self.habits.wide => Request::Transaction(self.wide(client)),
            _ => Request::Transaction(self.narrow(client)),
        };
        self.begin(client, request, now)
    }

    /// A client writes a key, to see whether that works.
    pub fn probe(&mut self, client: usize, now: Time) -> OperationNumber {
        let put = self.put(client, key(0), 0);
        self.begin(client, Request::Transaction(Transaction::of(put)), now)
    }

    /// About one key.
    fn narrow(&mut self, client: usize) -> Transaction {
        let key = self.any_key();
        match self.rng.u8(0..10) {
            0..3 => Transaction::of(Step::Read(Span::one(key))),
            3..6 => Transaction::of(self.put(client, key, 0)),
            6..7 => Transaction::of(Step::Delete(Span::one(key))),
            _ => {
                let (expected, value) = (self.expected(client, &key), self.unique_value(client));
                Transaction::compare_and_put(key, expected, value)
            }
        }
    }

    /// About several keys.
    fn wide(&mut self, client: usize) -> Transaction {
        let (one, other) = (self.rng.usize(0..self.habits.keys), self.rng.usize(0..self.habits.keys));
        let some = Span { first: key(one.min(other)), end: Some(key(one.max(other) + 1)) };
        let all = Span { first: "".into(), end: Some("z".into()) };
        match self.rng.u8(0..6) {
            0 => Transaction::of(Step::Read(some)),
            1 => Transaction::of(Step::Read(all)),
            2 => Transaction::of(Step::Delete(some)),
            _ => {
                let conditions = vec![(key(one), self.expected(client, &key(one)))];
                let mut then = vec![self.put(client, key(one), 0)];
                match self.rng.bool() {
                    true if one != other => then.push(self.put(client, key(other), 0)),
                    // A transaction writes no key twice.
                    false if one < other => {
                        let rest = Span { first: key(one + 1), end: Some(key(other + 1)) };
                        then.push(Step::Delete(rest));
                    }
                    _ => {}
                }
                then.push(Step::Read(some.clone()));
                Transaction { conditions, then, otherwise: vec![Step::Read(some)] }
            }
        }
    }

    /// About the queue: somebody puts more in, or takes some out, or looks.
    fn queue(&mut self, client: usize) -> Transaction {
        let (front, end) = self.queue;
        let queued = |from, to| Span { first: queue_key(from), end: Some(queue_key(to)) };
        match self.rng.u8(0..8) {
            0 => Transaction::of(Step::Read(queued(front, end + 1))),
            1..3 if front < end => {
                self.queue.0 = self.rng.usize(front..end) + 1;
                Transaction::of(Step::Delete(queued(front, self.queue.0)))
            }
            _ => {
                self.queue.1 += self.rng.usize(1..5);
                let puts = (end..self.queue.1).map(|number| self.put(client, queue_key(number), 0)).collect();
                Transaction { conditions: Vec::new(), then: puts, otherwise: Vec::new() }
            }
        }
    }

    /// A client asks for a lease of its own.
    pub fn grant(&mut self, client: usize, now: Time) -> (OperationNumber, Lease) {
        let request = self.new_lease();
        let Request::Grant { lease, .. } = request else { unreachable!("a new lease is granted") };
        (self.begin(client, request, now), lease)
    }

    fn new_lease(&mut self) -> Request {
        let lease = 1000 + self.leases.len() as Lease;
        self.leases.push(lease);
        Request::Grant { lease, ttl: Duration::from_secs(self.rng.u64(1..5)) }
    }

    fn about_leases(&mut self, client: usize) -> Request {
        let recent = self.leases.len().saturating_sub(4)..self.leases.len();
        if recent.is_empty() || self.rng.u8(0..5) == 0 {
            return self.new_lease();
        }
        let lease = self.leases[self.rng.usize(recent)];
        match self.rng.u8(0..10) {
            0..5 => Request::KeepAlive { lease },
            5..9 => {
                let key = leased_key(lease, self.rng.usize(0..LEASED_KEYS));
                Request::Transaction(Transaction::of(self.put(client, key, lease)))
            }
            _ => Request::Revoke { lease },
        }
    }

    fn any_key(&mut self) -> Bytes {
        key(self.rng.usize(0..self.habits.keys))
    }

    fn expected(&self, client: usize, key: &Bytes) -> Revision {
        self.known.get(&(client, key.clone())).copied().unwrap_or_default()
    }

    fn put(&mut self, client: usize, key: Bytes, lease: Lease) -> Step {
        Step::Put { key, value: self.unique_value(client), lease, asks: self.rng.bool() }
    }

    /// How a node is asked. Reads are done with the local state once the node lets them.
    pub fn body(&self, number: OperationNumber) -> RequestBody {
        match &self.operations[number.0].request {
            Request::Transaction(transaction) if transaction.conditions.is_empty() && transaction.then.len() == 1 => {
                match &transaction.then[0] {
                    Step::Read(_) => RequestBody::Linearize,
                    Step::Put { key, value, lease, asks } => RequestBody::Propose(Command::Put(put_command(key, value, *lease, *asks))),
                    Step::Delete(span) => RequestBody::Propose(Command::DeleteRange(DeleteRange { keys: keys(span), prev_kv: true })),
                }
            }
            Request::Transaction(transaction) => RequestBody::Propose(Command::Txn(Txn {
                compare: transaction.conditions.iter().map(comparison).collect(),
                success: transaction.then.iter().map(command_step).collect(),
                failure: transaction.otherwise.iter().map(command_step).collect(),
            })),
            Request::Grant { lease, ttl } => RequestBody::Propose(Command::LeaseGrant { id: LeaseId(*lease), ttl_s: ttl.as_secs() as i64 }),
            Request::KeepAlive { lease } => RequestBody::KeepAlive(LeaseId(*lease)),
            Request::Revoke { lease } => RequestBody::Propose(Command::LeaseRevoke { id: LeaseId(*lease) }),
            Request::Administer(change) => RequestBody::Propose(Command::Auth(administrator::command(change))),
            Request::Authenticate => RequestBody::Linearize,
        }
    }

    /// What a request reads.
    pub fn range(&self, number: OperationNumber) -> Range {
        let Request::Transaction(transaction) = &self.operations[number.0].request else { unreachable!("only reads are read") };
        let Some(Step::Read(span)) = transaction.then.first() else { unreachable!("only reads are read") };
        Range { keys: keys(span), ..Range::default() }
    }

    /// The answer to a request came. Gives what it means, `None` if that is unknown.
    ///
    /// # Errors
    /// No such answer is right for the request, whatever else happened.
    pub fn interpret(&self, number: OperationNumber, answer: NodeAnswer) -> Result<Option<Answer>, Violation> {
        let operation = &self.operations[number.0];
        let strange = || Violation::new("answers", format!("{operation:?} got the answer of another kind of request"));
        match (answer, &operation.request) {
            (NodeAnswer::Refused(refusal), _) => Ok(nothing_done(refusal).then_some(Answer::Refused)),
            (NodeAnswer::Lease(LeaseTtl { remaining_s }), Request::KeepAlive { .. }) => {
                let alive = |seconds| Answer::Alive(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
                Ok(Some(remaining_s.map_or(Answer::LeaseNotFound, alive)))
            }
            (NodeAnswer::Applied(response), request) => match (response.result, request) {
                (Ok(outcome), Request::Transaction(transaction)) => {
                    done(transaction, response.revision, outcome).map(Some).ok_or_else(strange)
                }
                (Ok(Outcome::LeaseGranted { id, ttl_s }), Request::Grant { lease, .. }) if id.0 == *lease => {
                    Ok(Some(Answer::Alive(Duration::from_secs(u64::try_from(ttl_s).unwrap_or(0)))))
                }
                (Ok(Outcome::Done), Request::Revoke { .. }) => Ok(Some(Answer::Revoked { revision: response.revision })),
                (Ok(Outcome::Done), Request::Administer(_)) => Ok(Some(Answer::Accepted { revision: response.revision })),
                (Err(CommandError::NoSpace), _) => Ok(Some(Answer::Refused)),
                (Err(CommandError::LeaseNotFound), request) if concerns_lease(request) => Ok(Some(Answer::LeaseNotFound)),
                (Err(error), _) => Err(Violation::new("answers", format!("{operation:?} was refused: {error}"))),
                (Ok(_), _) => Err(strange()),
            },
            (NodeAnswer::Readable | NodeAnswer::Lease(_) | NodeAnswer::Done, _) => Err(strange()),
        }
    }

    /// A request's answer reached its client. Whether the client still waited for it.
    pub fn answered(&mut self, number: OperationNumber, now: Time, answer: Answer) {
        let operation = &mut self.operations[number.0];
        if let (Answer::Done { revision, succeeded, seen, .. }, Request::Transaction(transaction)) = (&answer, &operation.request) {
            for (key, version) in seen.iter().flatten().flatten() {
                self.known.insert((operation.client, key.clone()), version.revision);
            }
            for step in if *succeeded { &transaction.then } else { &transaction.otherwise } {
                if let Step::Put { key, .. } = step {
                    self.known.insert((operation.client, key.clone()), *revision);
                }
            }
        }
        if let (Answer::Alive(_), Request::Grant { lease, .. }) = (&answer, &operation.request) {
            self.fresh.insert(operation.client, *lease);
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

    /// A client asks this.
    pub fn begin(&mut self, client: usize, request: Request, invoked: Time) -> OperationNumber {
        self.operations.push(Operation { client, request, invoked, answer: None });
        OperationNumber(self.operations.len() - 1)
    }

    /// A value that no other request has, sometimes large enough for several sectors.
    pub fn unique_value(&mut self, client: usize) -> Bytes {
        self.values += 1;
        let filler = if self.rng.u8(0..8) == 0 { self.rng.usize(0..6_000) } else { self.rng.usize(0..40) };
        format!("{client}-{}-{}", self.values, "x".repeat(filler)).into()
    }
}

/// The key of this number.
pub fn key(number: usize) -> Bytes {
    format!("key-{number}").into()
}

/// The key of this number in the queue.
fn queue_key(number: usize) -> Bytes {
    format!("queue-{number:06}").into()
}

/// The key of this number under a lease.
pub fn leased_key(lease: Lease, number: usize) -> Bytes {
    format!("leased-{lease}-{number}").into()
}

/// The keys as a request names them.
pub fn keys(span: &Span) -> KeySpan {
    // An empty first key of a range is etcd's smallest key.
    let key = if span.first.is_empty() { Bytes::from_static(&[0]) } else { span.first.clone() };
    KeySpan { key, range_end: span.end.clone().unwrap_or_default() }
}

fn put_command(key: &Bytes, value: &Bytes, lease: Lease, asks: bool) -> Put {
    Put { key: key.clone(), value: value.clone(), lease: LeaseId(lease), prev_kv: asks, ..Put::default() }
}

fn comparison((key, expected): &(Bytes, Revision)) -> Compare {
    Compare { keys: keys(&Span::one(key.clone())), relation: Relation::Equal, operand: Operand::ModRevision(*expected) }
}

fn command_step(step: &Step) -> CommandStep {
    match step {
        Step::Read(span) => CommandStep::Range(Range { keys: keys(span), ..Range::default() }),
        Step::Put { key, value, lease, asks } => CommandStep::Put(put_command(key, value, *lease, *asks)),
        Step::Delete(span) => CommandStep::DeleteRange(DeleteRange { keys: keys(span), prev_kv: true }),
    }
}

fn concerns_lease(request: &Request) -> bool {
    match request {
        Request::Transaction(transaction) => transaction.steps().any(|step| matches!(step, Step::Put { lease, .. } if *lease != 0)),
        Request::Revoke { .. } => true,
        Request::Grant { .. } | Request::KeepAlive { .. } | Request::Administer(_) | Request::Authenticate => false,
    }
}

/// What a range saw.
pub fn seen(result: &RangeResult) -> Seen {
    result.kvs.iter().map(seen_key).collect()
}

fn seen_key(kv: &KeyValue) -> (Bytes, Version) {
    (kv.key.clone(), Version { revision: kv.mod_revision, value: kv.value.clone() })
}

/// What an outcome of a transaction means; `None` if it has no such outcome.
fn done(transaction: &Transaction, revision: Revision, outcome: Outcome) -> Option<Answer> {
    let (succeeded, outcomes) = match outcome {
        Outcome::Txn(TxnResult { succeeded, responses }) => (succeeded, responses),
        outcome => (true, vec![outcome]),
    };
    let steps = if succeeded { &transaction.then } else { &transaction.otherwise };
    if steps.len() != outcomes.len() {
        return None;
    }
    let (mut changed, mut all) = (false, Vec::new());
    for (step, outcome) in steps.iter().zip(&outcomes) {
        all.push(match (step, outcome) {
            // The client did not ask what was there.
            (Step::Put { asks: false, .. }, Outcome::Put { .. }) => {
                changed = true;
                None
            }
            (Step::Delete(_), Outcome::Deleted { deleted, prev_kvs }) if *deleted as usize > prev_kvs.len() => {
                changed = true;
                None
            }
            (step, outcome) => Some(match (step, outcome) {
                (Step::Put { .. }, Outcome::Put { prev_kv }) => {
                    changed = true;
                    prev_kv.iter().map(seen_key).collect()
                }
                (Step::Delete(_), Outcome::Deleted { deleted, prev_kvs }) => {
                    changed |= *deleted > 0;
                    prev_kvs.iter().map(seen_key).collect()
                }
                (Step::Read(_), Outcome::Range(range)) => seen(range),
                _ => return None,
            }),
        });
    }
    Some(Answer::Done { revision, changed, succeeded, seen: all })
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
        | Refusal::VoterAnswers
        | Refusal::BadTransferee
        | Refusal::LevelTooLow
        | Refusal::NoSpace => true,
    }
}
