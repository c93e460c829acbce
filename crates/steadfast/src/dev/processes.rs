//! The node processes of a `steadfast dev` cluster: started, signalled, and waited for.
//!
//! Invariant: a signal is sent only to a child that has not been waited for, so it never reaches a stranger that got its process id.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::num::NonZero;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

use super::plan::{NodePlan, Plan};
use crate::serve::PARENT_PIPE;
use crate::show;

/// How much of the end of a log is searched for a node's last words, bytes.
const LAST_WORDS_BYTES: u64 = 8 * 1024;

/// All nodes, running and ended.
#[derive(Debug)]
pub(super) struct Processes {
    nodes: Vec<Process>,
    waiting: JoinSet<(usize, std::io::Result<ExitStatus>)>,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    running: bool,
    /// Closed with this process: the node's sign to stop.
    _pipe: Option<ChildStdin>,
}

/// A node that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Which of the plan's nodes.
    pub(super) node: usize,
    /// How; unknown if it could not be waited for.
    status: Option<ExitStatus>,
}

impl Processes {
    /// Starts every node of the plan.
    pub(super) fn start(plan: &Plan) -> Result<Self> {
        let mut processes = Processes { nodes: Vec::new(), waiting: JoinSet::new() };
        for (k, node) in plan.nodes.iter().enumerate() {
            let mut child = spawn(node, plan.nodes.len()).with_context(|| format!("cannot start {}", node.name))?;
            let pid = child.id().expect("a child that was not waited for has an id");
            processes.nodes.push(Process { pid, running: true, _pipe: child.stdin.take() });
            processes.waiting.spawn(async move { (k, child.wait().await) });
        }
        Ok(processes)
    }

    /// The process id of each node, also of those that have ended.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|process| process.pid).collect()
    }

    /// The nodes that have not ended.
    pub(super) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&k| self.nodes[k].running).collect()
    }

    /// The nodes that have ended.
    pub(super) fn ended(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&k| !self.nodes[k].running).collect()
    }

    /// The next node to end; never returns when none runs. May be dropped and called again: nothing is lost.
    pub(super) async fn next_ended(&mut self) -> Ended {
        match self.waiting.join_next().await {
            Some(joined) => {
                let (node, status) = joined.expect("waiting for a child does not panic and is not aborted");
                self.nodes[node].running = false;
                Ended { node, status: status.ok() }
            }
            None => std::future::pending().await,
        }
    }

    /// Sends a signal to each node that runs.
    pub(super) fn signal_running(&self, signal: Signal) {
        for process in self.nodes.iter().filter(|process| process.running) {
            let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw).expect("the kernel gave this id");
            // The only failure left is that it has just ended, which is what is wanted.
            let _ = kill_process(pid, signal);
        }
    }
}

/// How many threads serve a node's connections, if not one for each processor; read by the runtime (`tokio`).
const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";

/// One node's share of the processors of a machine that `nodes` share.
fn worker_threads(nodes: usize) -> usize {
    (std::thread::available_parallelism().map_or(1, NonZero::get) / nodes).max(1)
}

fn spawn(node: &NodePlan, nodes: usize) -> Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(&node.log);
    let log = log.with_context(|| format!("cannot write its log {}", node.log.display()))?;
    let mut command = Command::new(&node.argv[0]);
    // What this process was told about a node of its own would contradict the command line.
    for setting in ["CONFIG", "JOIN", "ADVERTISE_CLIENT", "ADVERTISE_PEER", "CLUSTER_TOKEN"] {
        command.env_remove(format!("STEADFAST_{setting}"));
    }
    if std::env::var_os(WORKER_THREADS).is_none() {
        command.env(WORKER_THREADS, worker_threads(nodes).to_string());
    }
    command.args(&node.argv[1..]).env(PARENT_PIPE, "1").stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    // A group of its own: Ctrl-C reaches this process alone, which then stops the nodes in order.
    Ok(command.process_group(0).spawn()?)
}

impl Ended {
    /// How it ended, as the rest of a sentence.
    pub(super) fn how(&self) -> String {
        match self.status {
            None => "ended".into(),
            Some(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => format!("was killed by {}", show::signal_name(signal)),
                (None, Some(0)) => "stopped".into(),
                (None, code) => format!("ended with status {}", code.unwrap_or(-1)),
            },
        }
    }

    /// The error it printed last, if it ended by one.
    pub(super) fn last_words(&self, node: &NodePlan) -> Option<String> {
        let failed = self.status.is_some_and(|status| status.code().is_some_and(|code| code != 0));
        if failed { last_error(File::open(&node.log).ok()?) } else { None }
    }
}

/// The last line of a log, if it is an error of this program or a panic.
fn last_error(mut log: File) -> Option<String> {
    let start = log.metadata().ok()?.len().saturating_sub(LAST_WORDS_BYTES);
    log.seek(SeekFrom::Start(start)).ok()?;
    let mut end = Vec::new();
    log.take(LAST_WORDS_BYTES).read_to_end(&mut end).ok()?;
    let end = String::from_utf8_lossy(&end);
    let words = end.lines().rev().find_map(|line| line.strip_prefix("steadfast: "))?;
    Some(words.trim_end_matches('.').to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(raw: i32) -> String {
        Ended { node: 0, status: Some(ExitStatus::from_raw(raw)) }.how()
    }

    #[test]
    fn the_end_is_told_in_words() {
        assert_eq!(ended(0), "stopped");
        assert_eq!(ended(256), "ended with status 1");
        assert_eq!(ended(9), "was killed by SIGKILL");
        assert_eq!(ended(34), "was killed by signal 34");
    }

    #[test]
    fn the_last_error_of_a_log_is_found() {
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        std::fs::write(file.path(), "starting\nsteadfast: first\nmore\nsteadfast: the disk is full\n").expect("writes");
        assert_eq!(last_error(file.reopen().expect("opens")).as_deref(), Some("the disk is full"));
        std::fs::write(file.path(), "starting\n").expect("writes");
        assert_eq!(last_error(file.reopen().expect("opens")), None);
    }
}
