//! Random requests to a real etcd and to a cluster of ours, one after the other: every answer must be equal, but for what each server chooses by
//! itself (ids, terms, times).
//!
//! Needs etcd 3.5.1, which `ETCD_3_5` names: `cargo test -p steadfast --test differential -- --ignored --nocapture`; `.ci/run` installs it.
//! `DIFFERENTIAL_REQUESTS` says how many requests (100,000 without it), `DIFFERENTIAL_SEED` the first seed (1).

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod request;
mod server;

use std::collections::{BTreeMap, BTreeSet};

use auth::AuthGenerator;
use request::{Generator, Request};
use server::{Answer, Kind, Server, WITNESS, concerns};
use steadfast_etcd_api::proto::etcdserverpb::{self as pb, WatchCancelRequest, WatchCreateRequest};
use steadfast_etcd_api::proto::mvccpb::Event;
use support::Cluster;
use support::oracle::Etcd;
use tonic::transport::Channel;

/// Requests of an episode, which begins with no keys.
const EPISODE: usize = 400;
/// So many requests, and the watchers are compared.
const ROUND: usize = 40;

/// How many answers of each kind.
type Mix = BTreeMap<(&'static str, Kind), usize>;

/// The first answer that differs.
#[derive(Debug)]
struct Difference {
    /// Which request.
    at: usize,
    ours: String,
    theirs: String,
}

/// A watcher that lives.
struct Watcher {
    request: WatchCreateRequest,
    /// The first revision that it is told of.
    first: i64,
    /// That was compacted before it began.
    is_late: bool,
    /// It begins in the past: etcd catches it up when it finds the time.
    is_behind: bool,
}

/// The two, in an episode.
struct Pair {
    ours: Server,
    theirs: Server,
    watchers: BTreeMap<i64, Watcher>,
    compacted: i64,
}

impl Pair {
    async fn begin(ours: Channel, theirs: Channel) -> Self {
        // The episode before may have left users there, and a difference the two apart.
        tokio::join!(auth::end(&ours), auth::end(&theirs));
        auth::level(&ours, &theirs).await;
        let (a, b) = tokio::join!(Server::revision(&ours, 0), Server::revision(&theirs, 0));
        tokio::join!(Server::revision(&ours, a.max(b)), Server::revision(&theirs, a.max(b)));
        let (ours, theirs) = tokio::join!(Server::begin(ours, true), Server::begin(theirs, false));
        Pair { ours, theirs, watchers: BTreeMap::new(), compacted: 0 }
    }

    async fn ask(&mut self, request: &Request) -> (Answer, Answer) {
        let (ours, theirs) = tokio::join!(self.ours.ask(request.clone()), self.theirs.ask(request.clone()));
        match request {
            Request::Compact(compact) if ours.kind == Kind::Data => self.compacted = compact.revision,
            Request::Watch(create) => {
                let heard = self.theirs.heard();
                if heard.last >= 0 {
                    let first = if create.start_revision > 0 {
                        create.start_revision
                    } else {
                        heard.told[&heard.last].revision - self.theirs.base + 1
                    };
                    let is_behind = first <= heard.told[&heard.last].revision - self.theirs.base;
                    let watcher = Watcher { request: create.clone(), first, is_late: first < self.compacted, is_behind };
                    self.watchers.insert(heard.last, watcher);
                }
            }
            Request::Unwatch(cancel) => drop(self.watchers.remove(&cancel.watch_id)),
            _ => {}
        }
        (ours, theirs)
    }

    /// Ends the watchers of which nobody knows whether etcd has caught them up: a compaction ends them if it has not, or takes a deletion from them.
    async fn end_unsettled(&mut self, compact: i64) -> Result<(), (String, String)> {
        let heard = self.theirs.heard().told;
        let is_unsettled = |id: &i64, watcher: &Watcher| watcher.is_behind && watcher.first <= compact && heard[id].events.is_empty();
        let unsettled: Vec<_> = self.watchers.iter().filter(|(id, watcher)| is_unsettled(id, watcher)).map(|(id, _)| *id).collect();
        for watch_id in unsettled {
            let (ours, theirs) = self.ask(&Request::Unwatch(WatchCancelRequest { watch_id })).await;
            if ours != theirs {
                return Err((ours.text, theirs.text));
            }
        }
        Ok(())
    }

    /// Whether what etcd answers depends on how far its compaction is: releases before 3.5.16 forget a deletion at the very revision that is compacted,
    /// and a watch from there does not tell it.
    fn is_random(&self, request: &Request) -> bool {
        matches!(request, Request::Watch(watch) if watch.start_revision > 0 && watch.start_revision == self.compacted)
    }

    /// Waits until every watcher of this server has been told all that it must be told; says which has not.
    async fn settle(&self, server: &Server) -> Result<(), String> {
        let last = |events: &[Event]| events.last().and_then(|event| event.kv.as_ref()).map_or(server.base, |kv| kv.mod_revision);
        let witnessed = server.until(|stream| last(&stream.told[&WITNESS].events) >= server.revision).await;
        witnessed.map_err(|_| format!("the witness hears nothing of revision {}", server.revision - server.base))?;
        let events = &server.heard().told[&WITNESS].events;
        for (id, Watcher { request, first, is_late, .. }) in &self.watchers {
            let is_after = |event: &&Event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision - server.base >= *first);
            let expected = events.iter().filter(|event| concerns(request, event)).filter(is_after).count();
            let done =
                server.until(|stream| if *is_late { stream.told[id].canceled.is_some() } else { stream.told[id].events.len() >= expected });
            done.await.map_err(|why| {
                let told = &server.heard().told[id];
                format!("watcher {id} from {first}, late: {is_late}, {expected} events to come: {why}: {told:?}")
            })?;
        }
        Ok(())
    }

    async fn compare_watchers(&mut self) -> Result<(), (String, String)> {
        let (ours, theirs) = tokio::join!(self.settle(&self.ours), self.settle(&self.theirs));
        if ours.is_err() || theirs.is_err() {
            return Err((format!("{ours:?}"), format!("{theirs:?}")));
        }
        let (ours, theirs) = (self.ours.heard().told, self.theirs.heard().told);
        for (id, told) in &theirs {
            if told.canceled.is_some() {
                self.watchers.remove(id);
            }
        }
        if ours == theirs {
            return Ok(());
        }
        let ids: BTreeSet<_> = ours.keys().chain(theirs.keys()).filter(|id| ours.get(id) != theirs.get(id)).collect();
        let of = |told: &server::Transcript| ids.iter().map(|id| format!("watcher {id}: {:?}\n", told.get(id))).collect();
        Err((of(&ours), of(&theirs)))
    }
}

/// The requests of a seed: with users and roles every other one, else with watchers that stay.
fn episode(seed: u64) -> Vec<Request> {
    if seed.is_multiple_of(2) {
        let mut generator = AuthGenerator::new(seed);
        return (0..EPISODE).map(|_| generator.next()).collect();
    }
    let mut generator = Generator::new(seed);
    (0..EPISODE).map(|_| generator.next()).collect()
}

/// Asks both all requests, from an empty store on.
async fn run(ours: &Channel, theirs: &Channel, requests: &[Request], mix: &mut Mix) -> Result<(), Difference> {
    let mut pair = Pair::begin(ours.clone(), theirs.clone()).await;
    if pair.ours.base != pair.theirs.base {
        panic!("the revisions differ from the beginning: {} and {}", pair.ours.base, pair.theirs.base);
    }
    // Once requests are checked, the streams of watchers are nobody's.
    let has_users = requests.iter().any(|request| matches!(request, Request::By(..)));
    for (at, request) in requests.iter().enumerate() {
        if pair.is_random(request) {
            continue;
        }
        let settles = !has_users && (at % ROUND == 0 || matches!(request, Request::Unwatch(_) | Request::Compact(_)));
        if settles && let Err((ours, theirs)) = pair.compare_watchers().await {
            return Err(Difference { at, ours, theirs });
        }
        if let Request::Compact(compact) = request
            && let Err((ours, theirs)) = pair.end_unsettled(compact.revision).await
        {
            return Err(Difference { at, ours, theirs });
        }
        let (ours, theirs) = pair.ask(request).await;
        *mix.entry((request.name(), theirs.kind)).or_default() += 1;
        if ours.text != theirs.text && !auth::is_meant(request, &ours, &theirs) {
            return Err(Difference { at, ours: ours.text, theirs: theirs.text });
        }
    }
    if has_users {
        return Ok(());
    }
    pair.compare_watchers().await.map_err(|(ours, theirs)| Difference { at: requests.len(), ours, theirs })
}

/// Leaves out what the difference does not need.
async fn shrink(ours: &Channel, theirs: &Channel, mut requests: Vec<Request>) -> (Vec<Request>, Difference) {
    let mut difference = None;
    let mut size = requests.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < requests.len() {
            let mut fewer = requests.clone();
            fewer.drain(from..(from + size).min(requests.len()));
            match run(ours, theirs, &fewer, &mut Mix::new()).await {
                Err(found) => {
                    fewer.truncate(found.at + 1);
                    (requests, difference) = (fewer, Some(found));
                }
                Ok(()) => from += size,
            }
        }
        size /= 2;
    }
    let again = run(ours, theirs, &requests, &mut Mix::new()).await.err();
    (requests, again.or(difference).expect("a difference that is there each time"))
}

fn show(mix: &Mix) {
    let kinds = [Kind::Data, Kind::Nothing, Kind::Error];
    println!("{:<16} {:>9} {:>9} {:>9}", "request", "data", "nothing", "refused");
    let names: BTreeSet<_> = mix.keys().map(|(name, _)| name).collect();
    for name in names {
        let [data, nothing, error] = kinds.map(|kind| mix.get(&(*name, kind)).copied().unwrap_or_default());
        println!("{name:<16} {data:>9} {nothing:>9} {error:>9}");
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs etcd 3.5.1 (ETCD_3_5) and starts a cluster of processes; takes some minutes"]
async fn random_requests_are_answered_as_etcd_answers_them() {
    let (wanted, first) = (number("DIFFERENTIAL_REQUESTS", 100_000), number("DIFFERENTIAL_SEED", 1));
    let (etcd, cluster) = (Etcd::start(), Cluster::start_with(3, &[("STEADFAST_BCRYPT_COST", "4")]));
    cluster.leader();
    let theirs = Server::connect(&etcd.endpoint).await;
    let (mut mix, mut nodes) = (Mix::new(), Vec::new());
    for node in &cluster.nodes {
        nodes.push(Server::connect(&node.etcd).await);
    }
    for seed in (first..).take(wanted.div_ceil(EPISODE as u64) as usize) {
        let ours = &nodes[seed as usize % nodes.len()];
        let requests = episode(seed);
        if let Err(found) = run(ours, &theirs, &requests, &mut mix).await {
            eprintln!(
                "seed {seed}, request {}: {:?}\n  ours {}\n  etcd {}\nshrinking",
                found.at,
                requests.get(found.at),
                found.ours,
                found.theirs
            );
            let (requests, found) = shrink(ours, &theirs, requests[..(found.at + 1).min(EPISODE)].to_vec()).await;
            let listed: String = requests.iter().fold(String::new(), |text, request| text + &format!("  {request:?}\n"));
            panic!("seed {seed}: after\n{listed}\n  ours {}\n  etcd {}", found.ours, found.theirs);
        }
    }
    show(&mix);
    let of = |kind| mix.iter().filter(|((_, k), _)| *k == kind).map(|(_, count)| count).sum::<usize>();
    let (data, all) = (of(Kind::Data), mix.values().sum::<usize>());
    println!("{all} requests from seed {first} on; {data} answers changed or returned data");
    assert!(2 * data >= all, "too few requests do anything");
}

#[tokio::test]
#[ignore = "starts a node; takes some seconds"]
async fn a_large_range_streams_in_pieces() {
    let cluster = Cluster::alone();
    let channel = Server::connect(&cluster.nodes[0].etcd).await;
    let mut kv = pb::kv_client::KvClient::new(auth::named(&channel, &auth::Who::Nobody, &auth::Tokens::new()));
    for key in ["a", "b", "c", "d", "e"] {
        kv.put(pb::PutRequest { key: key.into(), value: vec![b'v'; 700_000].into(), ..pb::PutRequest::default() }).await.expect("written");
    }
    let range = pb::RangeRequest { key: "a".into(), range_end: "z".into(), limit: 4, ..pb::RangeRequest::default() };
    let whole = kv.range(range.clone()).await.expect("read").into_inner();
    let (merged, pieces) = server::streamed(&mut kv, range).await.expect("read");
    assert_eq!((merged.kvs.len(), merged.more, merged.count, pieces), (4, true, 5, 5));
    assert_eq!(merged, whole);
}
