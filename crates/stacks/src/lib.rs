//! The stacks of a process's threads, in the program itself, without a line of code that is not safe: a child of the process takes them.
//!
//! | step | file | who | does |
//! | --- | --- | --- | --- |
//! | 1 | `asking` | the process | starts its own program again with [`COMMAND`], lets it trace, waits for it with a bound |
//! | 2 | `tracer` | the child | looks twice, a second apart, then unwinds, names and prints what it has |
//! | 3 | `look` | the child | stops one thread after another by ptrace, copies registers and stack, lets it go on at once |
//! | 4 | `blocked` | the child | for a thread that does not stop: what the kernel says of its system call |
//! | 5 | `modules`, `unwind`, `names` | the child | from copies to frames: the unwinding tables, then symbols and lines |
//!
//! Invariants:
//! 1. Of the threads at most one is stopped on purpose at any time, and the one that waits for the child never is: so it can always kill the child.
//! 2. A look has a thread of the child to itself. When that ends, however it does, the kernel lets go of all that it traces.
//! 3. The child traces nobody but its parent, and only if that runs the same program.
//! 4. Copies of stacks don't leave the child: only names of functions and lines of the source do. There are no secrets among those.
//! 5. If memory is short the child is killed, not its parent.
//!
//! Left out: registers beyond those that unwinding takes, values of variables, code that is made while the program runs.

mod asking;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod blocked;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod look;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod modules;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod names;
mod refusal;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tracer;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod unwind;

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests;

pub use asking::own_stacks;

use serde::{Deserialize, Serialize};

/// The command of the program by which it runs [`print_parents_stacks`].
pub const COMMAND: &str = "thread-stacks";

/// The thread that waits for the child. It has no stack of its own in what comes back.
pub const WATCHER: &str = "stack-watch";

/// Threads of which stacks are taken.
pub const THREADS: usize = 512;

/// Frames of a stack that are told, the innermost ones.
pub const FRAMES: usize = 96;

/// What is told of a function's name, bytes.
pub const NAME_BYTES: usize = 160;

/// What was seen of all threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// Why there are none, or not of all, and what helps.
    pub trouble: Option<String>,
    /// In the order of their ids.
    pub threads: Vec<Stack>,
}

/// A thread's stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The thread's id.
    pub thread: i32,
    /// At the second look, the innermost first.
    pub frames: Vec<Frame>,
    /// The first look found it at the very same place.
    pub is_unmoved: bool,
    /// It did not stop, being in an uninterruptible system call: frames were found without registers, and some may be missing.
    pub is_guessed: bool,
    /// For how long it was stopped at most, us.
    pub stopped_us: u64,
}

/// A call: of a function that is there as code, or of one that was inlined into it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Frame {
    /// The function.
    pub function: String,
    /// File and line of the source, or the library; empty if that is not known.
    pub place: String,
    /// The source is Steadfast's.
    pub is_own: bool,
}

impl Stacks {
    fn none(trouble: impl Into<String>) -> Self {
        Stacks { trouble: Some(trouble.into()), threads: Vec::new() }
    }
}

/// Prints the stacks of the parent of this process as JSON of [`Stacks`]. Other processes can't be asked for.
pub fn print_parents_stacks() -> std::io::Result<()> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let stacks = tracer::parents_stacks();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let stacks = Stacks::none("stacks in the program are not supported on this processor: on x86_64 and aarch64 they are");
    Ok(serde_json::to_writer(std::io::stdout().lock(), &stacks)?)
}
