//! `steadfast dev`: a whole cluster on this machine, one process a node, for trying things out and for breaking them.
//!
//! The nodes are real: each is `steadfast serve` with a directory, a log file and ports of its own, and can be killed and started again by
//! hand with the command that `cluster.json` holds. A node that dies stays down, so that what follows can be watched.
//!
//! The nodes end with the cluster: each child's standard input is a pipe from this process, and a node that was started this way stops, as on
//! SIGTERM, when the pipe closes, which the kernel sees to even if this process is killed. A node started by hand has no such pipe: it is
//! found by its command line when the cluster is stopped, and outlives a `dev` that is killed.
//!
//! Left out: TLS, other hosts, and starting dead nodes again.

mod by_hand;
mod directory;
mod identities;
mod plan;
mod processes;
mod ready;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};
use tokio::time::Instant;

use crate::endpoints::Endpoint;
use crate::{show, status};
use by_hand::ByHand;
use directory::Directory;
use plan::{NodePlan, Plan};
use processes::{Ended, Processes};
use ready::{Progress, Readiness};

/// Once a majority serves, the rest get this long before the cluster is called up without them.
const STRAGGLER_WAIT: Duration = Duration::from_secs(3);
/// While no majority serves, what is missing is said this often.
const PATIENCE: Duration = Duration::from_secs(10);
/// A node that has not stopped this long after SIGTERM is killed.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// Signals that come this soon after the first are the same request: a supervisor signals the process and its group, a closing terminal hangs
/// up what it has just interrupted.
const SAME_REQUEST: Duration = Duration::from_secs(2);
/// A node killed with SIGKILL has ended by then, unless this user may not kill it.
const KILL_WAIT: Duration = Duration::from_secs(2);

/// What `steadfast dev` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Node K serves the etcd API on 127.0.0.1:2379+10(K-1), its peers on the port after that, the Redis
protocol on 127.0.0.1:6379+10(K-1), and health and metrics on 127.0.0.1:7070+10(K-1). As soon as the cluster serves, DIR/cluster.json says who runs
where. Logs are in DIR/logs.

Examples:
  steadfast dev                                     three nodes, in ./steadfast-data
  steadfast dev --nodes 5 --data-dir /tmp/five --port-offset 1000
  steadfast dev                                     again: the same cluster, with its data

Ctrl-C stops all nodes and removes nothing.")]
pub(crate) struct DevArgs {
    /// How many nodes, 1 to 9 [default: 3, or what the directory was made with]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: Option<u8>,
    /// Where the nodes keep their data; made if it is missing
    #[arg(long, value_name = "DIR", default_value = "./steadfast-data")]
    data_dir: PathBuf,
    /// Added to every port [default: 0, or what the directory was made with]
    #[arg(long, value_name = "N")]
    port_offset: Option<u16>,
}

/// Starts the cluster and keeps it until a signal ends it.
pub(crate) fn run(args: &DevArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(cluster(args))
}

async fn cluster(args: &DevArgs) -> Result<()> {
    let started = Instant::now();
    let mut stop = StopSignals::listen()?;
    let directory = Directory::open(&args.data_dir, args.nodes, args.port_offset)?;
    let plan = Plan::new(directory.path(), directory.layout(), &std::env::current_exe()?)?;
    identities::check(&plan)?;
    plan.check_ports(directory.is_fresh())?;
    directory.prepare(&plan)?;
    let mut processes = Processes::start(&plan)?;
    let mut readiness = Readiness::watch(&plan);

    let outcome = tokio::select! {
        outcome = until_serving(&plan, &mut processes, &mut readiness) => outcome,
        () = stop.next() => Ok(Serving::Interrupted),
    };
    let result = match outcome {
        Ok(Serving::Up { missing }) => {
            directory.write_cluster(&plan, &processes)?;
            introduce(&plan, &processes, &missing, started.elapsed()).await;
            tokio::select! {
                () = supervise(&plan, &mut processes, &mut readiness) => Ok(()),
                () = stop.next() => Ok(()),
            }
        }
        Ok(Serving::Interrupted) => Ok(()),
        Err(error) => Err(error),
    };
    stop_all(&plan, &mut processes, &mut stop).await;
    result
}

/// How the start ended.
enum Serving {
    /// The cluster serves; these nodes do not, each with what is known.
    Up { missing: Vec<(usize, String)> },
    /// A signal came first.
    Interrupted,
}

/// Waits until all nodes serve, or a majority does and the others have had their chance.
async fn until_serving(plan: &Plan, processes: &mut Processes, readiness: &mut Readiness) -> Result<Serving> {
    let mut progress = Progress::new(plan.nodes.len());
    let mut complain = tokio::time::interval_at(Instant::now() + PATIENCE, PATIENCE);
    loop {
        if progress.hopeless() {
            bail!("the cluster can't start, a majority of its nodes has ended: {}", progress.missing(readiness, plan));
        }
        if progress.all_known() && progress.has_majority() {
            break;
        }
        let stragglers = progress.majority_since().map(|since| since + STRAGGLER_WAIT);
        tokio::select! {
            node = readiness.next() => progress.ready(node),
            ended = processes.next_ended() => {
                let reason = report(plan, &ended);
                progress.ended(ended.node, reason);
            }
            () = sleep_until(stragglers) => break,
            _ = complain.tick(), if !progress.has_majority() => {
                show::say(format!("still waiting after {} s: {}", progress.waited().as_secs(), progress.missing(readiness, plan)));
            }
        }
    }
    Ok(Serving::Up { missing: progress.missing_nodes(readiness) })
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Reports nodes that die and nodes that came late, for as long as it is polled.
async fn supervise(plan: &Plan, processes: &mut Processes, readiness: &mut Readiness) {
    loop {
        tokio::select! {
            node = readiness.next() => show::say(format!("{} serves now.", plan.nodes[node].name)),
            ended = processes.next_ended() => {
                report(plan, &ended);
            }
        }
    }
}

/// Says in one line that a node has ended; returns how and why.
fn report(plan: &Plan, ended: &Ended) -> String {
    let node = &plan.nodes[ended.node];
    let mut how = ended.how();
    if let Some(why) = ended.last_words(node) {
        how = format!("{how} ({why})");
    }
    show::say(format!("{} {how}. Start it again with: {}", node.name, node.command_line()));
    how
}

/// Prints who runs where, and what to try.
async fn introduce(plan: &Plan, processes: &Processes, missing: &[(usize, String)], took: Duration) {
    let endpoints: Vec<Endpoint> = plan.nodes.iter().map(NodePlan::endpoint).collect();
    let roles = status::roles(&endpoints).await;
    let up = plan.nodes.len() - missing.len();
    show::say(format!(
        "{up} of {} nodes serve after {:.2} s. Data, logs and cluster.json are in {}",
        plan.nodes.len(),
        took.as_secs_f64(),
        plan.directory.display()
    ));
    show::say("");
    show::say(plan::table(plan, &processes.pids(), &roles, missing));
    show::say("");
    for (node, reason) in missing {
        show::say(format!("{} does not serve: {reason}. Its log is {}", plan.nodes[*node].name, plan.nodes[*node].log.display()));
    }
    if !missing.is_empty() {
        show::say("");
    }
    let leader = roles.iter().position(|role| role == "leader").map(|node| (plan.nodes[node].name.clone(), processes.pids()[node]));
    show::say(plan::what_to_try(plan, &show::program(), leader));
}

/// Ends what still runs, also what was started by hand: SIGTERM to each, a bounded wait, then SIGKILL. A second signal shortens the wait.
async fn stop_all(plan: &Plan, processes: &mut Processes, stop: &mut StopSignals) {
    let by_hand = by_hand::find(plan, &processes.ended());
    let children = processes.running().into_iter().map(|node| plan.nodes[node].name.clone());
    let names: Vec<String> = children.chain(by_hand.iter().map(|one| by_hand_name(plan, one))).collect();
    if names.is_empty() {
        return;
    }
    show::say(format!("\nStopping {}.", names.join(", ")));
    processes.signal_running(Signal::TERM);
    by_hand.iter().for_each(|one| one.process.signal(Signal::TERM));
    let why_killed = tokio::select! {
        () = all_ended(processes, &by_hand) => return,
        () = tokio::time::sleep(STOP_WAIT) => "did not stop in time and is killed",
        () = stop.insists() => "is killed at your second signal",
    };
    kill_all(plan, processes, &by_hand, why_killed).await;
}

async fn all_ended(processes: &mut Processes, by_hand: &[ByHand]) {
    while !processes.running().is_empty() {
        processes.next_ended().await;
    }
    for one in by_hand {
        one.process.ended().await;
    }
}

async fn kill_all(plan: &Plan, processes: &mut Processes, by_hand: &[ByHand], why: &str) {
    for node in processes.running() {
        show::say(format!("{} {why}.", plan.nodes[node].name));
    }
    processes.signal_running(Signal::KILL);
    for one in by_hand {
        if one.process.runs() {
            show::say(format!("{} {why}.", by_hand_name(plan, one)));
            one.process.signal(Signal::KILL);
        }
    }
    while !processes.running().is_empty() {
        processes.next_ended().await;
    }
    for one in by_hand {
        if tokio::time::timeout(KILL_WAIT, one.process.ended()).await.is_err() {
            show::say(format!("{} still runs: end it as the user who started it.", by_hand_name(plan, one)));
        }
    }
}

fn by_hand_name(plan: &Plan, one: &ByHand) -> String {
    format!("{} (started by hand, process {})", plan.nodes[one.node].name, one.process.pid)
}

/// The signals that end the cluster.
struct StopSignals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
    /// When the first one came.
    first: Option<Instant>,
}

impl StopSignals {
    fn listen() -> Result<Self> {
        Ok(StopSignals {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hangup: unix::signal(SignalKind::hangup())?,
            first: None,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
        self.first.get_or_insert_with(Instant::now);
    }

    /// Returns at a signal that is not the first request to stop, nor a part of it.
    async fn insists(&mut self) {
        loop {
            let first = self.first;
            self.next().await;
            if first.is_some_and(|first| first.elapsed() >= SAME_REQUEST) {
                return;
            }
        }
    }
}
