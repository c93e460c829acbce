//! Processes of nodes that this one did not start: found by their command line.
//!
//! Invariant: each is held by a file descriptor that was opened before its command line was read the last time, and is signalled through it
//! (pidfd_open(2)). So a signal never reaches a stranger that got its process id.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How often it is looked whether a process has ended: only a parent is told.
const POLL: Duration = Duration::from_millis(10);

/// A process that runs under a command line.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its process id, to be shown.
    pub(crate) pid: i32,
    handle: OwnedFd,
    /// Its command line, as the kernel shows it: each word ends with a zero byte.
    line: Vec<u8>,
}

impl Running {
    /// The processes with exactly this command line, as far as this user may see them.
    pub(crate) fn find(argv: &[String]) -> impl Iterator<Item = Running> {
        let line: Vec<u8> = argv.iter().flat_map(|word| word.bytes().chain([0])).collect();
        let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter_map(move |pid| Running::hold(pid, &line))
    }

    fn hold(pid: i32, line: &[u8]) -> Option<Self> {
        if !has_line(pid, line) {
            return None;
        }
        let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        has_line(pid, line).then(|| Running { pid, handle, line: line.to_vec() })
    }

    /// Sends it a signal. It does not reach one that has ended, nor one of another user, which shows in that it does not end.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    /// Whether it runs still.
    pub(crate) fn runs(&self) -> bool {
        has_line(self.pid, &self.line)
    }

    /// Returns once it has ended.
    pub(crate) async fn ended(&self) {
        while self.runs() {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Whether the process runs and has this command line; that of one that has ended is empty even before its parent has been told.
fn has_line(pid: i32, line: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Starts it, and waits until it runs: the kernel lets a parent go on a moment before its child's command line can be read.
    fn start(argv: &[String]) -> Child {
        let mut child = Command::new(&argv[0]).args(&argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        child.stdout.as_mut().expect("piped").read_exact(&mut [0; 8]).expect("its first words");
        child
    }

    #[test]
    fn only_the_exact_command_line_is_found() {
        let argv = ["sh".to_string(), "-c".into(), "echo started; read line".into(), format!("process {}", std::process::id())];
        assert!(Running::find(&argv).next().is_none(), "nothing runs yet");
        let mut started = start(&argv);
        let mut other = start(&[argv.as_slice(), &["0".to_string()]].concat());

        let found: Vec<Running> = Running::find(&argv).collect();
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [i32::try_from(started.id()).expect("a process id")]);
        assert!(found[0].runs());

        found[0].signal(Signal::TERM);
        assert!(!started.wait().expect("a child").success());
        assert!(!found[0].runs() && other.try_wait().expect("a child").is_none());
        other.kill().expect("it runs");
        other.wait().expect("a child");
    }
}
