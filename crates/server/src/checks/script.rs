//! Checks by a script: a program and its arguments, no shell between. It ends with status 0 if all is well, 1 for a warning, else it has failed: the
//! convention of Nagios' plugins, which Consul follows too.
//!
//! It runs as the node's user in `/`, with the node's `PATH`, `STEADFAST_CHECK`, `STEADFAST_SERVICE` and nothing else in its environment, its
//! input closed, its output and errors read as one and kept to their last lines.
//!
//! It leads a process group of its own. When the run is over, by its end or because nobody waits for it any more, the whole group is killed: what it has
//! started in the background does not outlive it. (A process that leaves the group, by `setsid`, does.) Of a command that starts a service that is
//! not so: once it has ended by itself, what it started goes on ([`Script::leaves_processes`]).

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use steadfast_health::checks::tally::Outcome;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::dial::in_words;
use super::progress::Progress;

/// What is read at once, bytes.
const PIECE_BYTES: usize = 8 * 1024;

/// What a pipe holds on Linux, bytes: so much may be left to read of what has ended.
const PIPE_BYTES: usize = 64 * 1024;

/// Where programs are looked for if the node itself has no `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs it once.
pub(super) async fn probe(command: &[String], check: &str, service: &str, progress: &Progress) -> Outcome {
    let variables = &[("STEADFAST_CHECK", check), ("STEADFAST_SERVICE", service)];
    match (Script { command, variables, leaves_processes: false }).run(progress).await {
        Ok(ended) => ended.judge(),
        Err(words) => Outcome::Failed(words),
    }
}

/// A command that is run once.
pub(crate) struct Script<'a> {
    /// A program and its arguments.
    pub(crate) command: &'a [String],
    /// What its environment has beside `PATH`.
    pub(crate) variables: &'a [(&'a str, &'a str)],
    /// What it has started goes on when it has ended.
    pub(crate) leaves_processes: bool,
}

/// How a command ended, and its last lines.
pub(crate) struct Ended {
    status: ExitStatus,
    said: String,
}

/// What a node says that runs no scripts.
pub(super) fn not_run() -> Outcome {
    Outcome::Warned(
        "not run: this node runs no scripts; start it with --enable-script-checks, or check by tcp, http, grpc or heartbeat".into(),
    )
}

impl Script<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// It can't be started, in words.
    pub(crate) async fn run(&self, progress: &Progress) -> Result<Ended, String> {
        let (program, arguments) = self.command.split_first().ok_or("no program is named")?;
        let failed = |error: std::io::Error| format!("{program} can't be started: {}", in_words(&error));
        progress.waits_for("its script");
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let mut output = pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?;
        let mut start = Command::new(program);
        start.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| OsString::from(PATH)));
        start.envs(self.variables.iter().copied()).current_dir("/").process_group(0).kill_on_drop(true);
        start.stdin(Stdio::null()).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        let mut child = start.spawn().map_err(failed)?;
        // It holds the pipe's other end.
        drop(start);
        // After `child`, so that it is dropped before: see there.
        let mut group = Group::of(&child)?;
        listen(&group, &mut output, progress).await?;
        group.is_spared = self.leaves_processes;
        drop(group);
        read_rest(&mut output, progress);
        let status = child.wait().await.map_err(|error| in_words(&error))?;
        Ok(Ended { status, said: progress.last_lines() })
    }
}

/// Takes what it says, until it has ended.
async fn listen(group: &Group, output: &mut pipe::Receiver, progress: &Progress) -> Result<(), String> {
    let (mut piece, mut is_open) = (vec![0; PIECE_BYTES], true);
    loop {
        tokio::select! {
            ended = group.exit.readable() => return ended.map(drop).map_err(|error| in_words(&error)),
            read = output.read(&mut piece), if is_open => match read {
                Ok(0) | Err(_) => is_open = false,
                Ok(length) => progress.said(&piece[..length]),
            },
        }
    }
}

/// What is left in the pipe. Others that have left the group may write for ever, so no more than that.
fn read_rest(output: &mut pipe::Receiver, progress: &Progress) {
    let (mut piece, mut bytes) = (vec![0; PIECE_BYTES], 0);
    while bytes < PIPE_BYTES
        && let Ok(length @ 1..) = output.try_read(&mut piece)
    {
        progress.said(&piece[..length]);
        bytes += length;
    }
}

impl Ended {
    /// As a check's result.
    pub(crate) fn judge(&self) -> Outcome {
        let said = if self.said.is_empty() { String::new() } else { format!(": {}", self.said) };
        match (self.status.code(), std::os::unix::process::ExitStatusExt::signal(&self.status)) {
            (Some(0), _) => Outcome::Passed,
            (Some(1), _) => Outcome::Warned(format!("exit status 1{said}")),
            (Some(code), _) => Outcome::Failed(format!("exit status {code}{said}")),
            (None, Some(signal)) => Outcome::Failed(format!("ended by signal {signal}{said}")),
            (None, None) => Outcome::Failed(format!("it ended in an unknown way{said}")),
        }
    }
}

/// The processes of a run, killed when this is dropped. That must be before their leader is waited for: until then its number is nobody else's.
struct Group {
    leader: Pid,
    /// Becomes readable when the leader ends, which is not waited for by that.
    exit: AsyncFd<OwnedFd>,
    /// Who is left of it when it is dropped goes on.
    is_spared: bool,
}

impl Group {
    #[allow(deprecated, reason = "sound with a descriptor that it owns; what replaces it is not safe")]
    fn of(child: &Child) -> Result<Self, String> {
        let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).ok_or("it has no process id")?;
        let watched = pidfd_open(leader, PidfdFlags::empty()).map_err(std::io::Error::from);
        let watched = watched.and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE));
        match watched {
            Ok(exit) => Ok(Group { leader, exit, is_spared: false }),
            Err(error) => {
                kill(leader);
                Err(format!("its process can't be watched: {}", in_words(&error)))
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_spared {
            kill(self.leader);
        }
    }
}

fn kill(leader: Pid) {
    // An error: nobody of it is left.
    let _ = kill_process_group(leader, Signal::KILL);
}
