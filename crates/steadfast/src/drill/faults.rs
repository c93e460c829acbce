//! Carries out the declared faults on a cluster, each at its time, and notes what was done to whom.
//!
//! One after the other: a step that takes longer than until the next one's time delays that. What is still broken at the end is healed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use steadfast_etcd_api::proto::etcdserverpb::cluster_client::ClusterClient;
use steadfast_etcd_api::proto::etcdserverpb::{MemberAddRequest, MemberListRequest, MemberRemoveRequest};
use steadfast_proof::time::Time;
use steadfast_server::fault_table::FaultRequest;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::cluster::Cluster;
use super::damage;
use super::declaration::{Declaration, Direction, Fault, Kind, Target};
use super::sampler::Sampler;
use super::stopwatch::Stopwatch;
use crate::client;
use crate::endpoints::Endpoint;

/// How long a leader, a membership change or a vote is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(100);

/// A fault that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// What.
    pub(super) kind: Kind,
    /// To which nodes.
    pub(super) nodes: Vec<usize>,
    /// When.
    pub(super) began: Time,
    /// When it was over; `None`: not yet.
    pub(super) ended: Option<Time>,
    /// The leader at its beginning: which node, its id and its term.
    pub(super) leader: Option<(usize, u64, u64)>,
}

/// All of them, readable while they happen.
pub(super) type Marks = Arc<Mutex<Vec<Mark>>>;

/// What carries faults out.
pub(super) struct Injector<'a> {
    /// On which cluster.
    pub(super) cluster: &'a mut Cluster,
    /// Who leads.
    pub(super) sampler: &'a Sampler,
    /// The time.
    pub(super) stopwatch: Stopwatch,
    /// What was done.
    pub(super) marks: Marks,
    /// Takes a line for each step.
    pub(super) say: &'a (dyn Fn(String) + Sync),
}

/// The beginning or the end of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    End,
    Begin,
}

/// What happens when, in milliseconds, in rounds: (time, edge, number of the fault over all rounds, fault of the drill).
fn schedule(drill: &Declaration, rounds: u64) -> Vec<(u64, Edge, usize, usize)> {
    let mut steps = Vec::new();
    for round in 0..rounds {
        for (k, fault) in drill.faults.iter().enumerate() {
            let (at, number) = (round * drill.seconds * 1000 + fault.at_ms, steps.len());
            steps.push((at, Edge::Begin, number, k));
            if fault.for_ms > 0 {
                steps.push((at + fault.for_ms, Edge::End, number, k));
            }
        }
    }
    steps.sort_unstable();
    steps
}

impl Injector<'_> {
    /// Carries all out, from `begin` on.
    pub(super) async fn run(&mut self, drill: &Declaration, begin: Time, rounds: u64) -> Result<()> {
        let mut active: Vec<(usize, usize)> = Vec::new();
        for (at_ms, edge, number, k) in schedule(drill, rounds) {
            tokio::time::sleep_until(self.stopwatch.moment(begin + Duration::from_millis(at_ms))).await;
            let fault = &drill.faults[k];
            match edge {
                Edge::Begin => {
                    let mark = self.begin(number, fault).await.with_context(|| format!("fault {} ({})", k + 1, fault.kind))?;
                    active.push((number, mark));
                }
                Edge::End => {
                    let Some(at) = active.iter().position(|(other, _)| *other == number) else { continue };
                    let (_, mark) = active.remove(at);
                    self.end(number, fault, mark).await.with_context(|| format!("the end of fault {} ({})", k + 1, fault.kind))?;
                }
            }
        }
        Ok(())
    }

    async fn begin(&mut self, number: usize, fault: &Fault) -> Result<usize> {
        let nodes = self.targets(fault.node).await?;
        let leader = self.sampler.leader().and_then(|node| self.sampler.now()[node].map(|view| (node, view.id, view.term)));
        let names: Vec<&str> = nodes.iter().map(|at| self.cluster.nodes[*at].name.as_str()).collect();
        let leads = nodes.len() == 1 && leader.is_some_and(|(at, ..)| at == nodes[0]);
        (self.say)(format!("{} of {}{}", fault.kind, names.join(", "), if leads { ", the leader" } else { "" }));
        self.strike(number, fault, &nodes).await?;
        let mark = {
            let mut marks = self.marks.lock().expect("nothing panics while it holds this");
            marks.push(Mark { kind: fault.kind, nodes: nodes.clone(), began: self.stopwatch.now(), ended: None, leader });
            marks.len() - 1
        };
        self.follow_up(fault.kind, &nodes).await?;
        if fault.for_ms == 0 {
            self.over(mark);
        }
        Ok(mark)
    }

    /// The blow itself: the moment from which times are counted.
    async fn strike(&mut self, number: usize, fault: &Fault, nodes: &[usize]) -> Result<()> {
        match fault.kind {
            // All have their signal before the first is waited for.
            Kind::Kill | Kind::CorruptLog | Kind::Replace => {
                nodes.iter().try_for_each(|at| self.cluster.nodes[*at].process.signal(Signal::KILL))
            }
            Kind::Pause => nodes.iter().try_for_each(|at| self.cluster.nodes[*at].process.signal(Signal::STOP)),
            Kind::Partition | Kind::OneWay | Kind::Chain | Kind::SlowDisk | Kind::SlowNetwork => {
                for (at, request) in self.requests(fault, nodes) {
                    let node = &mut self.cluster.nodes[at];
                    node.faults.insert(number, request);
                    node.push_faults(0).await?;
                }
                Ok(())
            }
            Kind::ClockJump => {
                for at in nodes {
                    self.cluster.nodes[*at].push_faults(fault.ms.unwrap_or(0)).await?;
                }
                Ok(())
            }
            Kind::FullDisk => nodes.iter().try_for_each(|at| self.cluster.disks[*at].fill()),
            Kind::Restart => Ok(()),
        }
    }

    /// What else belongs to the fault, and may take its time.
    async fn follow_up(&mut self, kind: Kind, nodes: &[usize]) -> Result<()> {
        match kind {
            Kind::Kill => self.await_end(nodes).await,
            Kind::Restart => self.restart(nodes).await,
            Kind::CorruptLog => {
                self.await_end(nodes).await?;
                for at in nodes {
                    let (file, offset) = damage::one_sector(&self.cluster.nodes[*at].data_dir)?;
                    (self.say)(format!("damaged the sector at {offset} of {}", file.display()));
                }
                Ok(())
            }
            Kind::Replace => {
                self.await_end(nodes).await?;
                for at in nodes {
                    self.lose(*at).await?;
                }
                Ok(())
            }
            Kind::Pause
            | Kind::Partition
            | Kind::OneWay
            | Kind::Chain
            | Kind::SlowDisk
            | Kind::SlowNetwork
            | Kind::FullDisk
            | Kind::ClockJump => Ok(()),
        }
    }

    async fn end(&mut self, number: usize, fault: &Fault, mark: usize) -> Result<()> {
        let nodes = self.marks.lock().expect("nothing panics while it holds this")[mark].nodes.clone();
        (self.say)(format!("{} ends", fault.kind));
        match fault.kind {
            Kind::Kill | Kind::CorruptLog => {
                for at in nodes {
                    self.cluster.start_node(at).await?;
                }
            }
            Kind::Pause => nodes.iter().try_for_each(|at| self.cluster.nodes[*at].process.signal(Signal::CONT))?,
            Kind::Partition | Kind::OneWay | Kind::Chain | Kind::SlowDisk | Kind::SlowNetwork => self.clear(number).await?,
            Kind::FullDisk => {
                for at in nodes {
                    self.cluster.disks[at].empty()?;
                    let stopped = !self.cluster.nodes[at].process.runs();
                    (self.say)(format!(
                        "{} {}",
                        self.cluster.nodes[at].name,
                        if stopped { "had stopped: starting it" } else { "runs still" }
                    ));
                    self.cluster.start_node(at).await?;
                }
            }
            Kind::Replace => {
                for at in nodes {
                    self.rejoin(at).await?;
                }
            }
            Kind::Restart | Kind::ClockJump => {}
        }
        self.over(mark);
        Ok(())
    }

    fn over(&self, mark: usize) {
        self.marks.lock().expect("nothing panics while it holds this")[mark].ended = Some(self.stopwatch.now());
    }

    /// The nodes that are meant, now.
    async fn targets(&self, target: Target) -> Result<Vec<usize>> {
        let count = self.cluster.nodes.len();
        match target {
            Target::All => Ok((0..count).collect()),
            Target::Any => Ok(vec![fastrand::usize(..count)]),
            Target::Number(number) if number <= count => Ok(vec![number - 1]),
            Target::Number(number) => bail!("there is no n{number}: the cluster has {count} nodes"),
            Target::Leader => Ok(vec![self.leader().await?]),
            Target::Follower => {
                let leader = self.leader().await?;
                // One without a fault, if there is one: several faults at a time are to hit several nodes.
                let others = (1..count).map(|k| (leader + k) % count);
                let chosen = others.min_by_key(|at| self.cluster.nodes[*at].faults.len());
                Ok(vec![chosen.context("a cluster of one has no follower")?])
            }
        }
    }

    async fn leader(&self) -> Result<usize> {
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            if let Some(leader) = self.sampler.leader() {
                return Ok(leader);
            }
            tokio::time::sleep(RETRY).await;
        }
        bail!("no node leads, {} s long", PATIENCE.as_secs())
    }

    async fn await_end(&mut self, nodes: &[usize]) -> Result<()> {
        for at in nodes {
            self.cluster.nodes[*at].process.ended().await?;
        }
        Ok(())
    }

    async fn restart(&mut self, nodes: &[usize]) -> Result<()> {
        for at in nodes {
            self.cluster.nodes[*at].process.signal(Signal::TERM)?;
            self.cluster.nodes[*at].process.ended().await?;
            self.cluster.start_node(*at).await?;
            self.cluster.nodes[*at].await_ready().await?;
        }
        Ok(())
    }

    /// What each node is to inject for this fault.
    fn requests(&self, fault: &Fault, nodes: &[usize]) -> Vec<(usize, FaultRequest)> {
        let ms = fault.ms.unwrap_or(0);
        let others = |at: usize| (0..self.cluster.nodes.len()).filter(|other| *other != at).collect::<Vec<_>>();
        let peers = |nodes: &[usize]| nodes.iter().map(|at| self.cluster.nodes[*at].peer.clone()).collect::<Vec<_>>();
        let nothing = FaultRequest::default;
        let one = |at: usize| match (fault.kind, fault.direction) {
            (Kind::SlowDisk, _) => FaultRequest { slow_sync_ms: ms, ..nothing() },
            (Kind::SlowNetwork, _) => FaultRequest { delay_ms: ms, ..nothing() },
            (Kind::OneWay, Some(Direction::In)) => FaultRequest { drop_from: peers(&others(at)), ..nothing() },
            (Kind::OneWay, _) => FaultRequest { drop_to: peers(&others(at)), ..nothing() },
            _ => FaultRequest { drop_from: peers(&others(at)), drop_to: peers(&others(at)), ..nothing() },
        };
        if fault.kind != Kind::Chain {
            return nodes.iter().map(|at| (*at, one(*at))).collect();
        }
        let row: Vec<usize> = nodes.iter().take(1).flat_map(|first| [vec![*first], others(*first)].concat()).collect();
        let far = |place: usize| peers(&row[(place + 2).min(row.len())..]);
        let cut = |place: usize| FaultRequest { drop_from: far(place), drop_to: far(place), ..nothing() };
        (0..row.len().saturating_sub(2)).map(|place| (row[place], cut(place))).collect()
    }

    /// No node injects this fault any longer.
    async fn clear(&mut self, number: usize) -> Result<()> {
        for node in &mut self.cluster.nodes {
            if node.faults.remove(&number).is_some() && node.process.runs() {
                node.push_faults(0).await?;
            }
        }
        Ok(())
    }

    // --- replacing a node ----------------------------------------------------------------------------------------------------

    /// Removes a dead member and everything it had.
    async fn lose(&mut self, at: usize) -> Result<()> {
        let peer = format!("http://{}", self.cluster.nodes[at].peer);
        let others = self.others(at);
        until_done("the removal of the lost member", async || {
            let mut client = membership(&others).await?;
            let members = client.member_list(MemberListRequest { linearizable: true }).await?.into_inner().members;
            if let Some(member) = members.iter().find(|member| member.peer_ur_ls.contains(&peer)) {
                client.member_remove(MemberRemoveRequest { id: member.id }).await?;
            }
            Ok(())
        })
        .await?;
        let directory = &self.cluster.nodes[at].data_dir;
        std::fs::remove_dir_all(directory).with_context(|| format!("cannot empty {}", directory.display()))
    }

    /// Adds a member in its place, with nothing, and waits until it votes.
    async fn rejoin(&mut self, at: usize) -> Result<()> {
        let peer = format!("http://{}", self.cluster.nodes[at].peer);
        let others = self.others(at);
        until_done("the addition of the new member", async || {
            let mut client = membership(&others).await?;
            let members = client.member_list(MemberListRequest { linearizable: true }).await?.into_inner().members;
            if members.iter().all(|member| !member.peer_ur_ls.contains(&peer)) {
                client.member_add(MemberAddRequest { peer_ur_ls: vec![peer.clone()], is_learner: false }).await?;
            }
            Ok(())
        })
        .await?;
        let peers: Vec<String> = (0..self.cluster.nodes.len()).filter(|k| *k != at).map(|k| self.cluster.nodes[k].peer.clone()).collect();
        join_instead(&mut self.cluster.nodes[at].argv, &peers.join(","));
        self.cluster.start_node(at).await?;
        self.cluster.nodes[at].await_ready().await?;
        let sampler = self.sampler;
        until_done("the vote of the new member", async || match sampler.now()[at] {
            Some(view) if !view.learner && view.leader != 0 => Ok(()),
            _ => bail!("it has none yet"),
        })
        .await
    }

    fn others(&self, at: usize) -> Vec<Endpoint> {
        self.cluster.endpoints.iter().enumerate().filter(|(k, _)| *k != at).map(|(_, endpoint)| endpoint.clone()).collect()
    }
}

async fn membership(endpoints: &[Endpoint]) -> Result<ClusterClient<Channel>> {
    Ok(ClusterClient::new(client::connect_any(endpoints).await?))
}

/// Tries again until it is done.
async fn until_done(what: &str, mut attempt: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > give_up => {
                return Err(error.context(format!("{what} did not come about in {} s", PATIENCE.as_secs())));
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// A node's command line with `--join` in the place of `--initial-cluster`.
fn join_instead(argv: &mut [String], peers: &str) {
    for at in 0..argv.len().saturating_sub(1) {
        if argv[at] == "--initial-cluster" || argv[at] == "--join" {
            argv[at] = "--join".into();
            argv[at + 1] = peers.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_repeats_in_rounds_and_ends_come_before_beginnings() {
        let text = "name = 'x'\npurpose = 'y'\nseconds = 5\n\
            [[fault]]\nat-ms = 1000\nfor-ms = 2000\nkind = 'kill'\nnode = 'n1'\n[[fault]]\nat-ms = 3000\nkind = 'restart'\nnode = 'n2'\n";
        let drill = super::super::declaration::parse(text).expect("valid");
        let times = |rounds| schedule(&drill, rounds).into_iter().map(|(at, edge, _, k)| (at, edge, k)).collect::<Vec<_>>();
        assert_eq!(times(1), [(1000, Edge::Begin, 0), (3000, Edge::End, 0), (3000, Edge::Begin, 1)]);
        assert_eq!(times(2)[3..], [(6000, Edge::Begin, 0), (8000, Edge::End, 0), (8000, Edge::Begin, 1)]);
    }

    #[test]
    fn a_replaced_node_joins() {
        let mut argv = ["p", "serve", "--initial-cluster", "a=1,b=2", "--x", "y"].map(String::from);
        join_instead(&mut argv, "1,2");
        assert_eq!(argv.join(" "), "p serve --join 1,2 --x y");
    }
}
