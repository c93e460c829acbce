//! Where the threads of this process are in the program: taken by `steadfast_stacks`, put together and ranked for people.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use steadfast_stacks::{Frame, Stack, Stacks};

use super::part::Part;
use super::threads::Thread;

/// Names of threads that are told of those with one stack.
const NAMES: usize = 12;

/// What is told of all stacks: a part of the frame that an answer is.
const STACKS_BYTES: usize = 1024 * 1024;

/// What a frame takes beside its texts.
const FRAME_BYTES: usize = 64;

/// Columns of a function's name, before its place.
const FUNCTION_COLUMNS: usize = 72;

/// The stacks of this process's threads. Takes somewhat more than a second, on a thread that may block.
pub(super) async fn own_stacks() -> Stacks {
    // An error: the runtime stops, and nobody will see the answer.
    bounded(tokio::task::spawn_blocking(steadfast_stacks::own_stacks).await.unwrap_or_default())
}

/// What fits into an answer, with a word on what does not.
fn bounded(mut stacks: Stacks) -> Stacks {
    let mut left = STACKS_BYTES;
    let all = stacks.threads.len();
    stacks.threads.retain(|stack| {
        let bytes = stack.frames.iter().map(|frame| frame.function.len() + frame.place.len() + FRAME_BYTES).sum();
        let rest = left.checked_sub(bytes);
        left = rest.unwrap_or(left);
        rest.is_some()
    });
    let missing = all - stacks.threads.len();
    if missing > 0 {
        stacks.trouble.get_or_insert_with(|| format!("those of {missing} of {all} threads do not fit into an answer"));
    }
    stacks
}

/// The innermost call of our own code, else the innermost of all.
pub(super) fn place(stack: &Stack) -> Option<&Frame> {
    stack.frames.iter().find(|frame| frame.is_own).or(stack.frames.first())
}

/// The same in words.
pub(super) fn place_in_words(stack: &Stack) -> String {
    let words = |frame: &Frame| match frame.place.as_str() {
        "" => frame.function.clone(),
        place => format!("{} ({place})", frame.function),
    };
    place(stack).map(words).unwrap_or_default()
}

/// The stack of a thread.
pub(super) fn of(part: &Part, thread: i32) -> Option<&Stack> {
    part.stacks.threads.iter().find(|stack| stack.thread == thread)
}

/// Threads with one stack.
struct Group<'a> {
    threads: Vec<&'a Thread>,
    stack: &'a Stack,
}

impl Group<'_> {
    fn most(&self, of: impl Fn(&Thread) -> u64) -> u64 {
        self.threads.iter().map(|thread| of(thread)).max().unwrap_or(0)
    }

    fn is_in(&self, state: &str) -> bool {
        self.threads.iter().any(|thread| thread.state == state)
    }

    /// Who is stuck comes first, then who waits for a disk, then who was busy.
    fn rank(&self) -> impl Ord + use<> {
        Reverse((self.most(|thread| thread.stuck_ms), self.is_in("D"), self.most(|thread| thread.recent_cpu_ms), self.is_in("R")))
    }

    /// Names, each with how many have it.
    fn names(&self) -> String {
        let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        self.threads.iter().for_each(|thread| names.entry(&thread.name).or_default().push(thread.id.to_string()));
        let more = names.len().saturating_sub(NAMES);
        let shown = names.into_iter().take(NAMES).map(|(name, ids)| format!("{name} ({})", ids.join(", ")));
        let shown = shown.collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{shown} and {more} more names") } else { shown }
    }

    /// What they do, in words.
    fn doing(&self) -> String {
        let stuck_ms = self.most(|thread| thread.stuck_ms);
        let mut words = match (stuck_ms, self.is_in("D"), self.is_in("R")) {
            (1.., _, _) => format!("stuck in the kernel for {stuck_ms} ms"),
            (0, true, _) => "waiting for a disk".to_owned(),
            (0, false, true) => "running".to_owned(),
            (0, false, false) => "waiting".to_owned(),
        };
        let busy_ms = self.most(|thread| thread.recent_cpu_ms);
        if busy_ms > 0 {
            let most = if self.threads.len() > 1 { "at most " } else { "" };
            // Writing to a string does not fail.
            let _ = write!(words, ", {most}{busy_ms} ms of processor time between the looks");
        }
        words += if self.stack.is_unmoved { ", at this place at both looks" } else { "" };
        words += if self.stack.is_guessed { " (it could not be stopped: calls may be missing)" } else { "" };
        words
    }
}

fn groups(part: &Part) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<(&[Frame], bool, bool), Group<'_>> = BTreeMap::new();
    for thread in &part.threads {
        let Some(stack) = of(part, thread.id) else { continue };
        let key = (&stack.frames[..], stack.is_unmoved, stack.is_guessed);
        groups.entry(key).or_insert_with(|| Group { threads: Vec::new(), stack }).threads.push(thread);
    }
    let mut groups: Vec<Group<'_>> = groups.into_values().collect();
    groups.sort_by_key(Group::rank);
    groups
}

/// The text of all.
pub(super) fn text(part: &Part) -> String {
    let mut out = String::new();
    if let Some(trouble) = &part.stacks.trouble {
        let _ = writeln!(out, "Not all stacks in the program could be taken: {trouble}.");
        out += "threads.txt has what the kernel shows of each thread.\n\n";
    }
    if part.stacks.threads.is_empty() {
        return out;
    }
    let longest_us = part.stacks.threads.iter().map(|stack| stack.stopped_us).max().unwrap_or(0);
    out += "Where each thread is in the program, the innermost call first, at the second of two looks a second apart; threads with equal\n\
            stacks are together. Stuck ones come first, then those that wait for a disk, then the busy ones. > marks Steadfast's own code.\n";
    let _ = writeln!(out, "For this no thread stood still for longer than {longest_us} us.");
    for (number, group) in groups(part).iter().enumerate() {
        let count = group.threads.len();
        let plural = if count == 1 { "thread" } else { "threads" };
        let _ = writeln!(out, "\n{}. {count} {plural}: {}\n   {}", number + 1, group.names(), group.doing());
        for frame in &group.stack.frames {
            let mark = if frame.is_own { '>' } else { ' ' };
            let line = format!("   {mark} {:<FUNCTION_COLUMNS$} {}", frame.function, frame.place);
            out += line.trim_end();
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(id: i32, name: &str, state: &str, recent_cpu_ms: u64) -> Thread {
        Thread { id, name: name.into(), state: state.into(), recent_cpu_ms, ..Thread::default() }
    }

    fn stack(thread: i32, functions: &[&str]) -> Stack {
        let frame = |name: &&str| Frame { function: (*name).into(), place: "a.rs:1".into(), is_own: name.starts_with("steadfast") };
        Stack { thread, frames: functions.iter().map(frame).collect(), is_unmoved: true, ..Stack::default() }
    }

    #[test]
    fn equal_stacks_are_one_and_the_stuck_and_busy_come_first() {
        let mut threads: Vec<Thread> = (1..=20).map(|id| thread(id, "worker", "S", 0)).collect();
        threads.extend([thread(21, "core", "R", 900), thread(22, "log-writer", "D", 1)]);
        let mut stacks: Vec<Stack> = (1..=20).map(|id| stack(id, &["epoll_wait"])).collect();
        stacks.extend([stack(21, &["memcpy", "steadfast_node::turn"]), stack(22, &["fsync", "steadfast_storage::sync"])]);
        let part = Part { threads, stacks: Stacks { trouble: None, threads: stacks }, ..Part::default() };
        let text = text(&part);
        let heads: Vec<&str> = text.lines().filter(|line| line.contains("thread") && line.contains(". ") && line.contains(": ")).collect();
        assert_eq!(heads.len(), 3, "{text}");
        assert!(heads[0].starts_with("1. 1 thread: log-writer (22)") && heads[1].starts_with("2. 1 thread: core (21)"), "{text}");
        assert!(heads[2].starts_with("3. 20 threads: worker (1, 2, 3"), "{text}");
        assert_eq!(place_in_words(of(&part, 21).expect("it is there")), "steadfast_node::turn (a.rs:1)");
    }

    #[test]
    fn stacks_that_do_not_fit_are_counted() {
        let frame = Frame { function: "f".repeat(160), ..Frame::default() };
        let stack = |thread| Stack { thread, frames: vec![frame.clone(); 96], ..Stack::default() };
        let told = bounded(Stacks { trouble: None, threads: (0..512).map(stack).collect() });
        assert!(serde_json::to_vec(&told).expect("JSON").len() <= STACKS_BYTES);
        let missing = 512 - told.threads.len();
        assert!(missing < 512 && told.trouble.is_some_and(|trouble| trouble.contains(&format!("{missing} of 512"))));
    }

    #[test]
    fn without_stacks_it_says_why() {
        let part = Part { stacks: Stacks { trouble: Some("no ptrace here".into()), threads: Vec::new() }, ..Part::default() };
        assert!(text(&part).contains("no ptrace here.\nthreads.txt"));
    }
}
