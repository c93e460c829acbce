//! Where a thread stands that does not stop: the kernel tells the stack pointer and the program counter of a thread that waits in a system call.
//!
//! The frame pointer is not told. Code that is compiled with frame pointers, as Rust's standard library is, can't be unwound without: `unwind` looks for it.

/// Stack pointer and program counter, of what `/proc/PID/task/TID/syscall` says. `None`: it runs, or stands outside a system call, or it is malformed.
pub(crate) fn place(text: &str) -> Option<(u64, u64)> {
    let mut from_behind = text.split_ascii_whitespace().rev();
    let pc = hexadecimal(from_behind.next()?)?;
    let sp = hexadecimal(from_behind.next()?)?;
    Some((sp, pc))
}

fn hexadecimal(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_in_a_system_call_has_a_place() {
        assert_eq!(place("202 0x7f 0x189 0x0 0x0 0x0 0x0 0x7ffd10 0x7f01\n"), Some((0x7ffd10, 0x7f01)));
        assert_eq!(place("running\n"), None);
        assert_eq!(place(""), None);
        assert_eq!(place("-1 0x7ffd10 zz"), None);
    }
}
