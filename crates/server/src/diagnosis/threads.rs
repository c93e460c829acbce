//! The threads of this process: each one's name, state, what it waits for in the kernel, and what it did between two looks.
//!
//! A thread is stuck if both looks found it uninterruptible and it did not run between them. The stack in the kernel is there if the system
//! shows it to us, which takes privileges that a node should not have.
//!
//! Left out: stacks in the program itself, which `stacks` has.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use procfs::process::{Process, Syscall, Task};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;

/// Between two looks: from a second on the rules call an uninterruptible thread stuck.
const BETWEEN: Duration = Duration::from_millis(1050);

/// Threads that are told.
const THREADS: usize = 1024;

/// What is told of a stack, bytes.
const STACK_BYTES: usize = 2048;

/// A thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thread {
    pub(super) id: i32,
    pub(super) name: String,
    /// As Linux has it: `R`, `S`, `D`, ….
    pub(super) state: String,
    /// Where it waits in the kernel; empty if that is not known.
    pub(super) waits_for: String,
    /// The number of the system call that it is in.
    pub(super) system_call: Option<i64>,
    /// Processor time since it began, ms.
    pub(super) cpu_ms: u64,
    /// Processor time between two looks, ms.
    pub(super) recent_cpu_ms: u64,
    /// Time it waited for a processor between two looks, ms.
    pub(super) recent_wait_ms: u64,
    /// For how long it was seen to be uninterruptible without having run, ms.
    pub(super) stuck_ms: u64,
    /// It was uninterruptible at both looks, whether or not it ran between them.
    #[serde(default)]
    pub(super) waited_twice: bool,
    pub(super) kernel_stack: String,
}

/// What one look finds of a thread.
struct Glance {
    thread: Thread,
    run_ns: u64,
    wait_ns: u64,
    switches: Option<u64>,
}

/// All threads, after two looks.
pub(super) async fn look_twice() -> Vec<Thread> {
    let took = Clock::stopwatch();
    let before = blocking(look).await;
    tokio::time::sleep(BETWEEN).await;
    let after = blocking(look).await;
    let between_ms = u64::try_from(took().as_millis()).unwrap_or(u64::MAX);
    after.into_values().map(|glance| glance.since(&before, between_ms)).collect()
}

async fn blocking<T: Send + Default + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // An error: the runtime stops, and nobody will see the answer.
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

fn look() -> BTreeMap<i32, Glance> {
    let Ok(tasks) = Process::myself().and_then(|own| own.tasks()) else { return BTreeMap::new() };
    // One that ended meanwhile is left out.
    tasks.flatten().take(THREADS).filter_map(|task| Some((task.tid, glance(&task)?))).collect()
}

fn glance(task: &Task) -> Option<Glance> {
    let stat = task.stat().ok()?;
    let file = |name: &str| fs::read_to_string(format!("/proc/self/task/{}/{name}", task.tid)).unwrap_or_default();
    let ticks_ms = 1000 / procfs::ticks_per_second().max(1);
    let system_call = match task.syscall() {
        Ok(Syscall::Blocked { syscall_number, .. }) => Some(syscall_number),
        Ok(_) | Err(_) => None,
    };
    let times = task.schedstat().ok();
    let status = task.status().ok();
    let kernel_stack = file("stack");
    let thread = Thread {
        id: task.tid,
        name: stat.comm,
        state: stat.state.to_string(),
        waits_for: Some(file("wchan")).filter(|place| place != "0").unwrap_or_default(),
        system_call,
        cpu_ms: (stat.utime + stat.stime) * ticks_ms,
        kernel_stack: steadfast_health::limits::cut(&kernel_stack, STACK_BYTES).to_owned(),
        ..Thread::default()
    };
    Some(Glance {
        thread,
        run_ns: times.as_ref().map_or(0, |times| times.sum_exec_runtime),
        wait_ns: times.as_ref().map_or(0, |times| times.run_delay),
        switches: status.and_then(|status| Some(status.voluntary_ctxt_switches? + status.nonvoluntary_ctxt_switches?)),
    })
}

impl Glance {
    fn since(self, before: &BTreeMap<i32, Glance>, between_ms: u64) -> Thread {
        let Some(earlier) = before.get(&self.thread.id) else { return self.thread };
        let stood_still = self.switches.is_some() && self.switches == earlier.switches;
        let waited_twice = self.thread.state == "D" && earlier.thread.state == "D";
        Thread {
            recent_cpu_ms: self.run_ns.saturating_sub(earlier.run_ns) / 1_000_000,
            recent_wait_ms: self.wait_ns.saturating_sub(earlier.wait_ns) / 1_000_000,
            stuck_ms: if waited_twice && stood_still { between_ms } else { 0 },
            waited_twice,
            ..self.thread
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn threads_are_seen_with_what_they_do() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let idle = std::thread::Builder::new().name("an-idle-one".into()).spawn(move || ended.recv()).unwrap();
        let threads = look_twice().await;
        drop(end);
        idle.join().unwrap().unwrap_err();
        let seen = threads.iter().find(|thread| thread.name == "an-idle-one").expect("it lives");
        assert_eq!((seen.state.as_str(), seen.stuck_ms), ("S", 0));
        assert!(threads.len() >= 2);
    }

    #[test]
    fn stuck_is_who_is_uninterruptible_in_both_looks_and_did_not_run() {
        let glance = |state: &str, switches| Glance {
            thread: Thread { id: 7, state: state.into(), ..Thread::default() },
            run_ns: 0,
            wait_ns: 0,
            switches: Some(switches),
        };
        let stuck_ms = |earlier: Glance, later: Glance| later.since(&BTreeMap::from([(7, earlier)]), 1050).stuck_ms;
        assert_eq!(stuck_ms(glance("D", 3), glance("D", 3)), 1050);
        assert_eq!(stuck_ms(glance("D", 3), glance("D", 4)), 0);
        assert_eq!(stuck_ms(glance("S", 3), glance("D", 3)), 0);
    }
}
