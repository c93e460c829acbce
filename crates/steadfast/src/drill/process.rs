//! The process of one node: started by the drill, or found running by its command line.
//!
//! Invariant: a child is signalled only before it was waited for, so that a signal never reaches a stranger that got its process id.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::running::Running;
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
    Found(Running),
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
    /// The process with this command line.
    pub(super) fn find(argv: &[String]) -> Result<Self> {
        match Running::find(argv).next() {
            Some(process) => Ok(Process::Found(process)),
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
            Process::Found(process) => process.runs(),
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
        match self {
            Process::Child(child) => {
                let pid = Pid::from_raw(i32::try_from(child.id())?).context("no process id")?;
                kill_process(pid, signal).with_context(|| format!("cannot signal process {}", child.id()))?;
            }
            Process::Found(process) => process.signal(signal),
            Process::None => {}
        }
        Ok(())
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
