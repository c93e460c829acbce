//! The node's side: it starts the child, permits it to trace, and waits for it with a bound.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{PTracer, Pid, PidfdFlags, pidfd_open, set_ptracer};

use crate::{COMMAND, Stacks, WATCHER};

/// How long the child may take in all: a second between its looks, and the reading of tables and names. Then it is killed.
const LIMIT: Timespec = Timespec { tv_sec: 4, tv_nsec: 0 };

/// What is read of its answer.
const ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// One child at a time: a thread has one tracer.
static ALONE: Mutex<()> = Mutex::new(());

/// The stacks of this process's threads; takes somewhat more than a second, and 4 s at most. The program must run [`crate::print_parents_stacks`] when it is
/// started with [`COMMAND`].
#[must_use]
pub fn own_stacks() -> Stacks {
    let watcher = thread::Builder::new().name(WATCHER.to_owned()).spawn(watch);
    match watcher.map(thread::JoinHandle::join) {
        Ok(Ok(stacks)) => stacks,
        Ok(Err(_)) => Stacks::none("the thread that waits for the second process failed"),
        Err(error) => Stacks::none(format!("no thread could be started: {error}")),
    }
}

fn watch() -> Stacks {
    let Ok(_alone) = ALONE.try_lock() else { return Stacks::none("somebody else looks at the threads at this moment: ask again") };
    by_child().unwrap_or_else(|error| Stacks::none(format!("no second process to look at the threads: {error}")))
}

fn by_child() -> io::Result<Stacks> {
    // No pipe: nobody has to read while the child writes.
    let mut answer = File::from(memfd_create("thread-stacks", MemfdFlags::CLOEXEC)?);
    // This program, even if its file was replaced. It needs no environment, and so has no secret of it.
    let mut child = Command::new("/proc/self/exe")
        .arg(COMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(answer.try_clone()?)
        .stderr(Stdio::null())
        .spawn()?;
    let ended = permit_and_wait(&mut child);
    // An error: it ended already.
    let _ = child.kill();
    let status = child.wait()?;
    // An error: this kernel has no Yama, and nobody had to be permitted.
    let _ = set_ptracer(PTracer::None);
    if !ended? {
        return Ok(Stacks::none("the second process did not end in time, and was killed"));
    }
    answer.rewind()?;
    let mut text = Vec::new();
    answer.take(ANSWER_BYTES).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).unwrap_or_else(|_| Stacks::none(format!("the second process told nothing ({status})"))))
}

/// Lets the child trace this process, and waits for its end; false if that does not come in time.
fn permit_and_wait(child: &mut Child) -> io::Result<bool> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let _ = set_ptracer(PTracer::ProcessID(id));
    let handle = pidfd_open(id, PidfdFlags::empty())?;
    // Open until it has ended: that is how it knows that it is still wanted.
    let mut input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let own = rustix::thread::gettid().as_raw_nonzero().get();
    input.write_all(&own.to_le_bytes())?;
    Ok(poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&LIMIT))? > 0)
}
