//! Looks at a process that the test has started: what is seen, and that it always goes on.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use nix::sys::ptrace;
use nix::unistd::Pid;
use procfs::process::Process;

use crate::look::{Look, look};
use crate::{Frame, tracer};

/// The process: a thread that waits in a function of its own, and the first one, which repeats what it is told.
#[test]
#[ignore = "it is what the other tests look at"]
fn a_process_to_look_at() {
    let (_held, never) = channel::<()>();
    std::thread::Builder::new().name("waiting".into()).spawn(move || waits_here(&never)).expect("a thread");
    for line in std::io::stdin().lines() {
        println!("heard {}", line.expect("text"));
    }
}

#[inline(never)]
fn waits_here(never: &std::sync::mpsc::Receiver<()>) {
    let _ = std::hint::black_box(never.recv());
}

struct Other {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Other {
    fn start() -> Self {
        let own = std::env::current_exe().expect("this program");
        let mut command = Command::new(own);
        command.args(["--exact", "tests::a_process_to_look_at", "--ignored", "--nocapture", "--test-threads=1"]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let mut other = Other { process, output };
        other.repeats("one");
        other
    }

    fn id(&self) -> i32 {
        i32::try_from(self.process.id()).expect("an id")
    }

    /// It runs: it says what it is told.
    fn repeats(&mut self, word: &str) {
        writeln!(self.process.stdin.as_mut().expect("piped"), "{word}").expect("it reads");
        let expected = format!("heard {word}\n");
        let mut line = String::new();
        while !line.ends_with(&expected) {
            line.clear();
            assert!(self.output.read_line(&mut line).expect("text") > 0, "it has ended");
        }
    }

    /// The thread that waits, once it does.
    fn waiting(&self) -> i32 {
        let is = |task: &procfs::process::Task| task.stat().is_ok_and(|stat| stat.comm == "waiting" && stat.state == 'S');
        let find = || Process::new(self.id()).expect("it lives").tasks().expect("threads").flatten().find(is);
        std::iter::repeat_with(find).flatten().next().expect("the thread").tid
    }

    fn look(&self, passed_over: i32) -> Look {
        look(self.id(), passed_over, &channel().0).expect("it may be looked at")
    }

    /// Until nobody traces any of its threads.
    fn await_untraced(&self) {
        let traced = || {
            let tasks = Process::new(self.id()).expect("it lives").tasks().expect("threads");
            tasks.flatten().any(|task| task.status().is_ok_and(|status| status.tracerpid != 0))
        };
        while traced() {
            std::thread::yield_now();
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.process.kill().expect("it was not waited for");
        self.process.wait().expect("a child");
    }
}

fn functions(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.function.as_str()).collect()
}

#[test]
fn a_thread_is_seen_where_it_waits_twice_and_goes_on() {
    let mut other = Other::start();
    let waiting = other.waiting();
    let looks = [other.look(0), other.look(0)];
    other.await_untraced();
    other.repeats("two");
    let stacks = tracer::told(other.id(), &looks);
    assert!(stacks.trouble.is_none() && stacks.threads.len() >= 2, "{stacks:?}");
    let waiting = stacks.threads.iter().find(|stack| stack.thread == waiting).expect("it was seen");
    let frame = waiting.frames.iter().find(|frame| frame.function == "steadfast_stacks::tests::waits_here").expect("its function");
    assert!(frame.place.starts_with("stacks/src/tests.rs:"), "{frame:?}");
    assert!(waiting.is_unmoved && !waiting.is_guessed, "{waiting:?}");
    let outermost = waiting.frames.last().expect("frames");
    assert!(outermost.place.starts_with("stacks/src/tests.rs:"), "what all threads have is left out: {waiting:?}");
}

#[test]
fn without_registers_the_same_functions_are_found() {
    let other = Other::start();
    let sample = |look: Look| look.samples.into_iter().find(|sample| sample.thread == other.waiting()).expect("it was seen");
    // Both while it is in the same call: it goes back to it after it was stopped.
    let both = || Some((sample(other.look(0)), crate::look::guess(other.id(), other.waiting())?));
    let pairs = std::iter::repeat_with(both).take(1000).flatten();
    let (taken, guessed) = pairs.into_iter().find(|(taken, guessed)| taken.registers.sp == guessed.registers.sp).expect("it waits");
    let frames = |sample: crate::look::Sample| {
        let look = || Look { samples: vec![sample.clone()], refused: None };
        tracer::told(other.id(), &[look(), look()]).threads.remove(0)
    };
    let (taken, guessed) = (frames(taken), frames(guessed));
    assert!(guessed.is_guessed && functions(&guessed.frames).contains(&"steadfast_stacks::tests::waits_here"), "{guessed:?}");
    assert_eq!(functions(&guessed.frames).last(), functions(&taken.frames).last());
}

#[test]
fn who_is_passed_over_has_no_stack() {
    let other = Other::start();
    assert!(other.look(other.waiting()).samples.iter().all(|sample| sample.thread != other.waiting()));
}

#[test]
fn what_a_look_leaves_stopped_runs_on_when_the_look_has_ended() {
    let mut other = Other::start();
    let tasks = Process::new(other.id()).expect("it lives").tasks().expect("threads");
    let threads: Vec<i32> = tasks.flatten().map(|task| task.tid).collect();
    let leave = move || {
        for thread in threads.into_iter().map(Pid::from_raw) {
            ptrace::seize(thread, ptrace::Options::empty()).expect("permitted");
            ptrace::interrupt(thread).expect("traced");
            nix::sys::wait::waitpid(thread, Some(nix::sys::wait::WaitPidFlag::__WALL)).expect("it stops");
        }
    };
    std::thread::spawn(leave).join().expect("no panic");
    other.repeats("three");
    other.await_untraced();
}

#[test]
fn who_is_traced_already_is_refused_with_a_reason() {
    let other = Other::start();
    let (process, waiting) = (other.id(), other.waiting());
    // On a thread of its own, with which the tracing ends.
    let trace_and_look = move || {
        ptrace::seize(Pid::from_raw(waiting), ptrace::Options::empty()).expect("permitted");
        std::thread::spawn(move || look(process, 0, &channel().0)).join().expect("no panic").expect("it may be looked at")
    };
    let looked = std::thread::spawn(trace_and_look).join().expect("no panic");
    assert_eq!(looked.refused, Some(nix::errno::Errno::EPERM));
    assert!(looked.samples.iter().any(|sample| sample.thread == process), "the others are seen");
    other.await_untraced();
}

#[test]
fn a_parent_that_runs_another_program_is_not_looked_at() {
    // The parent of this process is cargo, or a shell.
    assert!(tracer::parent().expect_err("another program").to_string().contains("another program"));
}
