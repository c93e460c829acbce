//! What the child does: two looks at its parent, a second apart, then everything that takes time.

use std::io::Read as _;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use std::{fs, io, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getppid, nice, set_parent_process_death_signal};
use rustix::thread::set_current_timer_slack;

use crate::look::{Look, Phase, Sample, look};
use crate::modules::modules;
use crate::names::Names;
use crate::unwind::Unwinder;
use crate::{Stack, Stacks, refusal};

/// Between two looks.
const BETWEEN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A thread that is stopped for longer is let go by ending this process.
const LONGEST_STOP: Duration = Duration::from_millis(100);

/// What this process ends with then.
pub(crate) const STOPPED_TOO_LONG: i32 = 3;

/// The stacks of the threads of this process's parent.
pub(crate) fn parents_stacks() -> Stacks {
    both_looks().map_or_else(Stacks::none, |(process, looks)| told(process, &looks))
}

fn both_looks() -> Result<(i32, [Look; 2]), String> {
    // An error: the parent has gone, or goes on without.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // Our memory is the first to go, not our parent's. An error: then that is left to chance.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let process = parent().map_err(|error| format!("looking at the parent: {error}"))?;
    let passed_over = permission().map_err(|error| format!("waiting for the parent's word: {error}"))?;
    let first = look_alone(process, passed_over)?;
    if !is_still_wanted() {
        return Err("the node has lost interest".to_owned());
    }
    let second = look_alone(process, passed_over)?;
    // What is left to do takes a processor, and has time. An error: then it takes it from others.
    let _ = nice(19);
    Ok((process, [first, second]))
}

/// The parent's id, if it runs the same program as this process.
pub(crate) fn parent() -> io::Result<i32> {
    let parent = getppid().ok_or(io::ErrorKind::NotFound)?.as_raw_nonzero().get();
    let file = |of: &str| fs::metadata(format!("/proc/{of}/exe")).map(|file| (file.dev(), file.ino()));
    if file("self")? != file(&parent.to_string())? {
        return Err(io::Error::other("it runs another program, and nodes show their stacks to themselves alone"));
    }
    Ok(parent)
}

/// Waits until the parent lets itself be traced; the thread of it that is passed over.
fn permission() -> io::Result<i32> {
    let mut word = [0; 4];
    io::stdin().lock().read_exact(&mut word)?;
    Ok(i32::from_le_bytes(word))
}

/// Waits; false if standard input ends meanwhile: the parent has given up.
fn is_still_wanted() -> bool {
    let input = io::stdin();
    poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&BETWEEN)).is_ok_and(|ready| ready == 0)
}

/// A look by a thread that ends with it, so that whatever it traces is let go.
fn look_alone(process: i32, passed_over: i32) -> Result<Look, String> {
    let (phases, heard) = channel();
    thread::spawn(move || guard(&heard));
    let looking = thread::spawn(move || {
        // It sleeps for some microseconds at a time while a thread stands still. An error: then for some more.
        let _ = set_current_timer_slack(NonZero::new(1));
        look(process, passed_over, &phases)
    });
    looking.join().map_err(|_| "the look at its threads failed".to_owned())?
}

/// Ends this process if a thread is stopped for too long: then the kernel lets it go.
fn guard(phases: &Receiver<Phase>) {
    while let Ok(phase) = phases.recv() {
        if phase == Phase::Stopping && phases.recv_timeout(LONGEST_STOP) == Err(RecvTimeoutError::Timeout) {
            std::process::exit(STOPPED_TOO_LONG);
        }
    }
}

/// The second look, with names, beside the first.
pub(crate) fn told(process: i32, looks: &[Look; 2]) -> Stacks {
    let modules = modules(process);
    let (mut unwinder, mut names) = (Unwinder::new(&modules), Names::new(&modules));
    let [first, second] = looks;
    let mut stack = |sample: &Sample| {
        let earlier = first.samples.iter().find(|earlier| earlier.thread == sample.thread);
        let addresses = unwinder.addresses(sample);
        let stopped = earlier.map_or(sample.stopped, |earlier| earlier.stopped.max(sample.stopped));
        Stack {
            thread: sample.thread,
            is_unmoved: earlier.is_some_and(|earlier| unwinder.addresses(earlier) == addresses),
            frames: names.frames(&addresses),
            is_guessed: sample.is_guessed,
            stopped_us: u64::try_from(stopped.as_micros()).unwrap_or(u64::MAX),
        }
    };
    let threads: Vec<Stack> = second.samples.iter().map(&mut stack).collect();
    Stacks { trouble: second.refused.map(|errno| refusal::words(process, errno)), threads }
}
