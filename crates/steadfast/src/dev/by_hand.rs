//! Nodes of a `steadfast dev` cluster that somebody started again by hand: found by their command line, so that they end with the rest.
//!
//! Invariant: each is held by a file descriptor that was opened before its command line was read the last time, and is signalled through it
//! (pidfd_open(2)). So a signal never reaches a stranger that got its process id.
//!
//! Left out: nodes under another command line than the one that `cluster.json` holds.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::plan::Plan;

/// How often it is looked whether a process has ended: only a parent is told.
const POLL: Duration = Duration::from_millis(10);

/// A process that is no child of this one and runs a node of the plan.
#[derive(Debug)]
pub(super) struct ByHand {
    /// Which of the plan's nodes.
    pub(super) node: usize,
    /// Its process id, to be shown.
    pub(super) pid: i32,
    handle: OwnedFd,
    /// Its command line, as the kernel shows it.
    line: Vec<u8>,
}

/// The processes that run these nodes of the plan, as far as this user may see them.
pub(super) fn find(plan: &Plan, nodes: &[usize]) -> Vec<ByHand> {
    let wanted: Vec<(usize, Vec<u8>)> = nodes.iter().map(|&node| (node, as_the_kernel_shows(&plan.nodes[node].argv))).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| wanted.iter().find_map(|(node, line)| ByHand::hold(*node, pid, line))).collect()
}

/// The form of /proc/PID/cmdline: each word ends with a zero byte.
fn as_the_kernel_shows(argv: &[String]) -> Vec<u8> {
    argv.iter().flat_map(|word| word.bytes().chain([0])).collect()
}

/// Whether the process runs and has this command line; that of one that has ended is empty even before its parent has been told.
fn has_line(pid: i32, line: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line)
}

impl ByHand {
    fn hold(node: usize, pid: i32, line: &[u8]) -> Option<Self> {
        if !has_line(pid, line) {
            return None;
        }
        let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        has_line(pid, line).then(|| ByHand { node, pid, handle, line: line.to_vec() })
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        // It has ended, which is what is wanted, or is another user's, which shows in that it does not end.
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    /// Whether it runs still.
    pub(super) fn runs(&self) -> bool {
        has_line(self.pid, &self.line)
    }

    /// Returns once it has ended.
    pub(super) async fn ended(&self) {
        while self.runs() {
            tokio::time::sleep(POLL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::super::directory::Layout;
    use super::*;

    #[test]
    fn only_the_exact_command_line_is_found() {
        let mut plan = Plan::new(Path::new("/data"), Layout { nodes: 2, port_offset: 0 }, Path::new("/bin/steadfast")).expect("valid");
        let (first, second) = (format!("600.{:09}", std::process::id()), format!("601.{:09}", std::process::id()));
        plan.nodes[0].argv = vec!["sleep".into(), first.clone()];
        plan.nodes[1].argv = vec!["sleep".into(), second];
        let mut started = Command::new("sleep").arg(&first).spawn().expect("starts");
        let mut other = Command::new("sleep").args([&first, "0"]).spawn().expect("starts");

        let found = find(&plan, &[0, 1]);
        let pids: Vec<_> = found.iter().map(|process| (process.node, process.pid)).collect();
        assert_eq!(pids, [(0, i32::try_from(started.id()).expect("a process id"))]);
        assert!(find(&plan, &[1]).is_empty() && found[0].runs());

        found[0].signal(Signal::TERM);
        assert!(!started.wait().expect("a child").success());
        assert!(!found[0].runs() && other.try_wait().expect("a child").is_none());
        other.kill().expect("it runs");
        other.wait().expect("a child");
    }
}
