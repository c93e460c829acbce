//! One look at all threads of a process: each is stopped by ptrace, its registers and stack are copied, and it goes on.
//!
//! A thread that does not stop in [`PATIENCE`] is in a system call that can't be interrupted. It is left as it is, and looked at from outside; should it
//! stop meanwhile it is let go when the look ends, which is soon: such threads come last.
#![allow(clippy::disallowed_methods, reason = "it measures how long a thread is stopped, and has no event to wait for with a bound")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use procfs::process::{MemoryMap, Process};

use crate::{THREADS, blocked};

/// How long a thread may take to stop. One that runs, or sleeps, takes some microseconds.
const PATIENCE: Duration = Duration::from_millis(5);

/// Between two questions whether it has stopped.
const PAUSE: Duration = Duration::from_micros(20);

/// What is copied of a stack, from its top. Deeper ones are cut.
const STACK_BYTES: u64 = 256 * 1024;

/// Below the stack pointer, what a function may use without moving it.
const RED_ZONE: u64 = 128;

/// The registers from which unwinding begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) pc: u64,
    pub(crate) sp: u64,
    /// The frame pointer.
    pub(crate) fp: u64,
    /// The link register, where there is one.
    pub(crate) lr: u64,
}

/// A copy of the used part of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) from: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Copy {
    /// The word at an address; an error beyond the copy.
    pub(crate) fn word(&self, address: u64) -> Result<u64, ()> {
        let at = usize::try_from(address.checked_sub(self.from).ok_or(())?).map_err(drop)?;
        let end = at.checked_add(8).ok_or(())?;
        let bytes = self.bytes.get(at..end).ok_or(())?;
        Ok(u64::from_le_bytes(bytes.try_into().map_err(drop)?))
    }
}

/// What was copied of a thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) thread: i32,
    pub(crate) registers: Registers,
    pub(crate) stack: Copy,
    pub(crate) stopped: Duration,
    /// It did not stop.
    pub(crate) is_guessed: bool,
}

/// What a look found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) samples: Vec<Sample>,
    /// Why a thread could not be looked at.
    pub(crate) refused: Option<Errno>,
}

/// What the guard is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A thread is being stopped.
    Stopping,
    /// It runs again.
    Running,
}

/// Looks at all threads of a process but one. `guard` hears when a thread is stopped, and ends this process if that takes too long.
pub(crate) fn look(process: i32, passed_over: i32, guard: &Sender<Phase>) -> Result<Look, String> {
    let there = Process::new(process).and_then(|process| Ok((process.maps()?.0, threads(&process)?)));
    let (maps, threads) = there.map_err(|error| format!("/proc/{process}: {error}"))?;
    let target = Target { process, maps, memory: memory(process)? };
    let mut found = Look::default();
    let mut late = Vec::new();
    for thread in threads.into_iter().filter(|thread| *thread != passed_over) {
        // An error: the guard has gone, and with it this process.
        let _ = guard.send(Phase::Stopping);
        let taken = target.take(thread);
        let _ = guard.send(Phase::Running);
        match taken {
            Ok(Some(sample)) => found.samples.push(sample),
            Ok(None) => late.push(thread),
            Err(Errno::ESRCH) => {}
            Err(errno) => found.refused = Some(errno),
        }
    }
    found.samples.extend(late.into_iter().filter_map(|thread| target.guess(thread)));
    found.samples.sort_by_key(|sample| sample.thread);
    Ok(found)
}

fn memory(process: i32) -> Result<File, String> {
    let path = format!("/proc/{process}/mem");
    File::open(&path).map_err(|error| crate::refusal::words(process, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)))
}

/// All threads, the uninterruptible ones last.
fn threads(process: &Process) -> procfs::ProcResult<Vec<i32>> {
    let tasks = process.tasks()?.flatten().take(THREADS);
    let mut threads: Vec<(bool, i32)> = tasks.map(|task| (task.stat().is_ok_and(|stat| stat.state == 'D'), task.tid)).collect();
    threads.sort_unstable();
    Ok(threads.into_iter().map(|(_, thread)| thread).collect())
}

/// What can be told of a thread that is not stopped, for tests.
#[cfg(test)]
pub(crate) fn guess(process: i32, thread: i32) -> Option<Sample> {
    let maps = Process::new(process).and_then(|process| process.maps()).ok()?.0;
    Target { process, maps, memory: memory(process).ok()? }.guess(thread)
}

/// The process that is looked at.
struct Target {
    process: i32,
    maps: Vec<MemoryMap>,
    memory: File,
}

impl Target {
    /// Stops the thread, copies, lets it go. `None`: it did not stop, and is still traced.
    fn take(&self, thread: i32) -> Result<Option<Sample>, Errno> {
        let id = Pid::from_raw(thread);
        ptrace::seize(id, ptrace::Options::empty())?;
        let began = Instant::now();
        ptrace::interrupt(id)?;
        let Some(signal) = await_stop(id, began)? else { return Ok(None) };
        let copied = registers(id).map(|registers| (registers, self.stack(registers.sp)));
        // A signal that came first is for the thread: it gets it now.
        ptrace::detach(id, signal)?;
        let stopped = began.elapsed();
        let (registers, stack) = copied?;
        Ok(Some(Sample { thread, registers, stack, stopped, is_guessed: false }))
    }

    /// What can be told of a thread that runs on, or stands in the kernel.
    fn guess(&self, thread: i32) -> Option<Sample> {
        let text = fs::read_to_string(format!("/proc/{}/task/{thread}/syscall", self.process)).ok()?;
        let (sp, pc) = blocked::place(&text)?;
        let stack = self.stack(sp);
        Some(Sample { thread, registers: Registers { pc, sp, ..Registers::default() }, stack, stopped: Duration::ZERO, is_guessed: true })
    }

    fn stack(&self, sp: u64) -> Copy {
        let from = sp.saturating_sub(RED_ZONE) & !7;
        let Some(map) = self.maps.iter().find(|map| (map.address.0..map.address.1).contains(&sp)) else { return Copy::default() };
        let from = from.max(map.address.0);
        let length = (map.address.1 - from).min(STACK_BYTES);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        // A page that is not there ends it.
        let read = self.memory.read_at(&mut bytes, from).unwrap_or(0);
        bytes.truncate(read);
        Copy { from, bytes }
    }
}

/// The signal that has to be handed on, if the thread stopped for one. `None`: it did not stop in time.
fn await_stop(id: Pid, began: Instant) -> Result<Option<Option<nix::sys::signal::Signal>>, Errno> {
    loop {
        match waitpid(id, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG))? {
            WaitStatus::PtraceEvent(..) => return Ok(Some(None)),
            WaitStatus::Stopped(_, signal) => return Ok(Some(Some(signal))),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Err(Errno::ESRCH),
            WaitStatus::StillAlive if began.elapsed() > PATIENCE => return Ok(None),
            WaitStatus::StillAlive | WaitStatus::Continued(_) | WaitStatus::PtraceSyscall(_) => std::thread::sleep(PAUSE),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn registers(id: Pid) -> Result<Registers, Errno> {
    let all = ptrace::getregs(id)?;
    Ok(Registers { pc: all.rip, sp: all.rsp, fp: all.rbp, lr: 0 })
}

#[cfg(target_arch = "aarch64")]
fn registers(id: Pid) -> Result<Registers, Errno> {
    let all = ptrace::getregs(id)?;
    Ok(Registers { pc: all.pc, sp: all.sp, fp: all.regs[29], lr: all.regs[30] })
}
