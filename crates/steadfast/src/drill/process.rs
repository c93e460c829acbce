//! The process of one node: started by the drill, or found running by its process id.
//!
//! Invariant: a signal is sent to a child that was not waited for, or to a process whose command line is the node's; so it never reaches a
//! stranger that got the process id.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::serve::PARENT_PIPE;

/// How often it is looked whether a process has ended.
const POLL: Duration = Duration::from_millis(5);
/// A node that has not ended by then never will.
const END_WAIT: Duration = Duration::from_secs(15);

/// A node's process.
#[derive(Debug)]
pub(super) enum Process {
    /// Started by the drill; with a pipe to its standard input, it ends with the drill.
    Child(Child),
    /// Running before the drill.
    Found {
        /// Its process id.
        pid: i32,
        /// Its command line, as the kernel shows it.
        line: Vec<u8>,
    },
    /// It has ended.
    None,
}

/// What a process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// The drill.
    WithDrill,
    /// Itself alone.
    OnItsOwn,
}

impl Process {
    /// The process with this command line: the one of this id, or one that was started since.
    pub(super) fn find(pid: i32, argv: &[String]) -> Result<Self> {
        let line: Vec<u8> = argv.iter().flat_map(|word| word.bytes().chain([0])).collect();
        let others = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        match std::iter::once(pid).chain(others).find(|pid| has_line(*pid, &line)) {
            Some(pid) => Ok(Process::Found { pid, line }),
            None => bail!("no process runs `{}`: start all nodes of the cluster before a drill", argv.join(" ")),
        }
    }

    /// Starts a node, with its messages in a file.
    pub(super) fn start(argv: &[String], log: &Path, life: Life) -> Result<Self> {
        let (program, arguments) = argv.split_first().context("an empty command line")?;
        let file = OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        // What this process was told about a node would contradict the command line.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"STEADFAST_")) {
            if name != "STEADFAST_LOG" && name != "STEADFAST_PLANT" {
                command.env_remove(name);
            }
        }
        command.args(arguments).env("STEADFAST_FAULTS", "true").stdout(file.try_clone()?).stderr(file).process_group(0);
        match life {
            Life::WithDrill => command.env(PARENT_PIPE, "1").stdin(Stdio::piped()),
            Life::OnItsOwn => command.stdin(Stdio::null()),
        };
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        Ok(Process::Child(child))
    }

    /// Whether it runs. A child that has ended is waited for.
    pub(super) fn runs(&mut self) -> bool {
        let runs = match self {
            Process::Child(child) => matches!(child.try_wait(), Ok(None)),
            Process::Found { pid, line } => has_line(*pid, line),
            Process::None => false,
        };
        if !runs {
            *self = Process::None;
        }
        runs
    }

    /// Sends a signal, if it runs.
    pub(super) fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.runs() {
            return Ok(());
        }
        let pid = match self {
            Process::Child(child) => i32::try_from(child.id())?,
            Process::Found { pid, .. } => *pid,
            Process::None => return Ok(()),
        };
        kill_process(Pid::from_raw(pid).context("no process id")?, signal).with_context(|| format!("cannot signal process {pid}"))
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&mut self) -> Result<()> {
        let give_up = Instant::now() + END_WAIT;
        while self.runs() {
            if Instant::now() > give_up {
                bail!("a process that was to end still runs after {} s", END_WAIT.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// Whether the process runs and has this command line; that of one that has ended is empty even before its parent has been told.
fn has_line(pid: i32, line: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_found_by_its_command_line_alone() {
        let argv = ["sleep".to_string(), format!("700.{:09}", std::process::id())];
        Process::find(1, &argv).expect_err("nothing runs yet");
        let mut child = Command::new(&argv[0]).arg(&argv[1]).spawn().expect("starts");
        let mut found = Process::find(1, &argv).expect("it runs");
        assert!(found.runs());
        found.signal(Signal::KILL).expect("it is ours");
        found.ended().await.expect("it ends");
        assert!(!found.runs() && !child.wait().expect("a child").success());
    }
}
