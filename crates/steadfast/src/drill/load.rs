//! Open-loop clients: each request is sent at its time, whatever became of those before, as from many users who do not wait for each other.
//!
//! A client has connections of its own, and stays at one node until a request fails there; then it goes on to the next. It repeats nothing.
//!
//! Beside them one observer for each node stays with that node, whatever happens to it, and reads: what a node that was paused or cut off
//! says is where an answer from the past would come from. Its answers are judged like all others, and counted nowhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use steadfast_etcd_api::proto::etcdserverpb::kv_client::KvClient;
use steadfast_proof::history::{Answer, Operation, Request};
use steadfast_proof::time::Time;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::declaration::Load;
use super::request::{Ask, Failure};
use super::stopwatch::Stopwatch;
use crate::endpoints::Endpoint;

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_millis(300);

/// Requests under way at a time, at most; one that finds no room is not sent, and counted as bad.
const UNDER_WAY: usize = 20_000;

/// How often each observer reads.
const OBSERVE: Duration = Duration::from_millis(40);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answered in time.
    Good,
    /// It had no effect.
    Bad,
    /// Nobody knows.
    Unknown,
}

/// A request and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Which client.
    pub(super) client: usize,
    /// When it was to be sent.
    pub(super) scheduled: Time,
    /// When its outcome was known.
    pub(super) ended: Time,
    /// What became of it.
    pub(super) outcome: Outcome,
    /// Whether it was a write that is known to be done.
    pub(super) wrote: bool,
    /// The same for the checkers.
    pub(super) operation: Operation,
}

/// Runs a load; the keys are under `prefix`.
pub(super) struct Clients {
    load: Load,
    prefix: String,
    stopwatch: Stopwatch,
    clients: Vec<Client>,
    /// For each key the revision that wrote it last, as far as any client has heard.
    heard: Vec<Mutex<i64>>,
    records: Mutex<Vec<Record>>,
    observers: Vec<KvClient<Channel>>,
    observed: Mutex<Vec<Operation>>,
}

struct Client {
    connections: Vec<KvClient<Channel>>,
    at: AtomicUsize,
}

impl Clients {
    /// Clients of these endpoints.
    pub(super) fn new(load: Load, prefix: &str, endpoints: &[Endpoint], stopwatch: Stopwatch) -> Self {
        let connection = |endpoint: &Endpoint| {
            let address = tonic::transport::Endpoint::from_shared(endpoint.url()).expect("an endpoint is an address");
            KvClient::new(address.connect_timeout(CONNECT_WAIT).tcp_nodelay(true).connect_lazy())
        };
        let client = |number: usize| Client { connections: endpoints.iter().map(connection).collect(), at: AtomicUsize::new(number) };
        let clients = (0..load.clients).map(client).collect();
        let heard = (0..load.keys).map(|_| Mutex::new(0)).collect();
        let observers = endpoints.iter().map(connection).collect();
        let (records, observed) = (Mutex::default(), Mutex::default());
        Clients { load, prefix: prefix.to_owned(), stopwatch, clients, heard, records, observers, observed }
    }

    /// How many requests have ended, and how many of them well.
    pub(super) fn progress(&self) -> (usize, usize) {
        let records = self.records.lock().expect("nothing panics while it holds this");
        (records.len(), records.iter().rev().take(1000).filter(|record| record.outcome == Outcome::Good).count())
    }

    /// Sends requests from `begin` until `end`, and waits for the last.
    pub(super) async fn run(self: &Arc<Self>, begin: Time, end: Time) {
        let mut under_way = JoinSet::new();
        let interval = 1_000_000 / self.load.rate;
        let mut rng = fastrand::Rng::new();
        for number in 0..(end.0 - begin.0) / interval {
            let scheduled = Time(begin.0 + number * interval);
            tokio::time::sleep_until(self.stopwatch.moment(scheduled)).await;
            while under_way.try_join_next().is_some() {}
            let client = usize::try_from(number).unwrap_or(0) % self.load.clients;
            let ask = self.choose(&mut rng, number);
            if under_way.len() < UNDER_WAY {
                under_way.spawn(self.clone().request(client, scheduled, ask));
            } else {
                self.record(client, scheduled, ask, self.stopwatch.now(), Err(Failure::Refused));
            }
        }
        under_way.join_all().await;
    }

    /// Reads from each node until `end`, and waits for the last.
    pub(super) async fn observe(self: &Arc<Self>, begin: Time, end: Time) {
        let mut under_way = JoinSet::new();
        let mut ticks = tokio::time::interval_at(self.stopwatch.moment(begin), OBSERVE);
        while self.stopwatch.now() < end {
            ticks.tick().await;
            while under_way.try_join_next().is_some() {}
            for node in 0..self.observers.len() {
                under_way.spawn(self.clone().read_there(node));
            }
        }
        under_way.join_all().await;
    }

    async fn read_there(self: Arc<Self>, node: usize) {
        let ask = Ask::Get(Bytes::from(format!("{}k{}", self.prefix, fastrand::usize(..self.load.keys))));
        let invoked = self.stopwatch.now();
        let deadline = Duration::from_millis(self.load.deadline_ms);
        let mut connection = self.observers[node].clone();
        if let Ok(Ok(answer)) = tokio::time::timeout(deadline, ask.send(&mut connection)).await {
            let (request, answer) = (Request::Transaction(ask.transaction()), Some((self.stopwatch.now(), answer)));
            // A number that no request of the load has.
            let operation = Operation { client: usize::MAX - node, request, invoked, answer };
            self.observed.lock().expect("nothing panics while it holds this").push(operation);
        }
    }

    /// Every answer that an observer was given.
    pub(super) fn take_observed(&self) -> Vec<Operation> {
        std::mem::take(&mut *self.observed.lock().expect("nothing panics while it holds this"))
    }

    /// Everything that was asked, by time.
    pub(super) fn take_records(&self) -> Vec<Record> {
        let mut records = std::mem::take(&mut *self.records.lock().expect("nothing panics while it holds this"));
        records.sort_by_key(|record| record.operation.invoked);
        records
    }

    fn choose(&self, rng: &mut fastrand::Rng, number: u64) -> Ask {
        let at = rng.usize(..self.load.keys);
        let key = Bytes::from(format!("{}k{at}", self.prefix));
        let value = || Bytes::from(format!("{number:.<width$}", width = self.load.value_bytes));
        let mut part = rng.u64(..self.load.parts());
        for (size, kind) in [(self.load.put, 0), (self.load.get, 1), (self.load.compare, 2)] {
            if part < size {
                return match kind {
                    0 => Ask::Put(key, value()),
                    1 => Ask::Get(key),
                    _ => Ask::Compare(key, *self.heard[at].lock().expect("nothing panics while it holds this"), value()),
                };
            }
            part -= size;
        }
        Ask::Delete(key)
    }

    async fn request(self: Arc<Self>, number: usize, scheduled: Time, ask: Ask) {
        let client = &self.clients[number];
        let at = client.at.load(Ordering::Relaxed);
        let mut connection = client.connections[at % client.connections.len()].clone();
        let deadline = self.stopwatch.moment(scheduled) + Duration::from_millis(self.load.deadline_ms);
        let invoked = self.stopwatch.now();
        let result = match tokio::time::timeout_at(deadline, ask.send(&mut connection)).await {
            Ok(result) => result,
            Err(_) if ask.writes() => Err(Failure::Unknown),
            Err(_) => Err(Failure::Refused),
        };
        match &result {
            Ok(answer) => self.hear(&ask, answer),
            // The next request goes elsewhere, unless another one has moved on already.
            Err(_) => drop(client.at.compare_exchange(at, at + 1, Ordering::Relaxed, Ordering::Relaxed)),
        }
        self.record(number, scheduled, ask, invoked, result);
    }

    /// Remembers what an answer says of its key.
    fn hear(&self, ask: &Ask, answer: &Answer) {
        let Answer::Done { revision, changed, seen, .. } = answer else { return };
        let last = match (changed, ask) {
            (true, Ask::Delete(_)) => return,
            (true, _) => revision.0,
            (false, _) => {
                let versions = seen.iter().flatten().flat_map(|seen| seen.values());
                versions.map(|version| version.revision.0).max().unwrap_or(0)
            }
        };
        let number = ask.key().strip_prefix(self.prefix.as_bytes()).and_then(|rest| std::str::from_utf8(rest).ok()?[1..].parse().ok());
        if let Some(heard) = number.and_then(|at: usize| self.heard.get(at)) {
            *heard.lock().expect("nothing panics while it holds this") = last;
        }
    }

    fn record(&self, client: usize, scheduled: Time, ask: Ask, invoked: Time, result: Result<Answer, Failure>) {
        let ended = self.stopwatch.now();
        let (outcome, wrote) = match &result {
            Ok(Answer::Done { changed, .. }) => (Outcome::Good, *changed),
            Ok(_) => (Outcome::Good, false),
            Err(Failure::Refused) => (Outcome::Bad, false),
            Err(Failure::Unknown) => (Outcome::Unknown, false),
        };
        let answer = match result {
            Ok(answer) => Some((ended, answer)),
            // A read without an answer has no effect to speak of.
            Err(Failure::Refused) => Some((ended, Answer::Refused)),
            Err(Failure::Unknown) => None,
        };
        let mut records = self.records.lock().expect("nothing panics while it holds this");
        // An open-loop client may have several requests under way, so each is a client of its own to the checkers.
        let operation = Operation { client: records.len(), request: Request::Transaction(ask.transaction()), invoked, answer };
        records.push(Record { client, scheduled, ended, outcome, wrote, operation });
    }
}
