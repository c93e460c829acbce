//! Why a process may not be traced, in words, with what helps.

use std::fs;

use nix::errno::Errno;

/// Why, for a process whose child was refused.
pub(crate) fn words(process: i32, errno: Errno) -> String {
    match errno {
        Errno::EPERM | Errno::EACCES => not_permitted(tracer_of(process), yama().as_deref()),
        Errno::ENOSYS | Errno::EIO => "this kernel has no ptrace".to_owned(),
        other => format!("its threads can't be traced: {}", other.desc()),
    }
}

fn not_permitted(tracer: Option<i32>, yama: Option<&str>) -> String {
    match (tracer, yama) {
        (Some(tracer), _) => format!("process {tracer} traces the node (a debugger, or strace): end it first"),
        (None, Some("2")) => {
            "kernel.yama.ptrace_scope is 2, which leaves tracing to root: set it to 1 (sysctl kernel.yama.ptrace_scope=1), \
             or give the node CAP_SYS_PTRACE"
                .to_owned()
        }
        (None, Some("3")) => {
            "kernel.yama.ptrace_scope is 3, which forbids all tracing until the next boot: set it to 1 in /etc/sysctl.d".to_owned()
        }
        (None, _) => {
            "the kernel refuses it: a seccomp profile, capabilities of the program's file, or another security module forbid ptrace. \
             In a container allow the system call ptrace, and give the program's file no capabilities"
                .to_owned()
        }
    }
}

/// Who traces it already.
fn tracer_of(process: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let tracer: i32 = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()?;
    (tracer != 0 && tracer != own_id()).then_some(tracer)
}

fn own_id() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}

/// What the security module Yama allows; `None` without it.
fn yama() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_remedy() {
        assert!(not_permitted(Some(7), Some("2")).contains("process 7"));
        assert!(not_permitted(None, Some("2")).contains("ptrace_scope=1"));
        assert!(not_permitted(None, Some("3")).contains("next boot"));
        assert!(not_permitted(None, Some("1")).contains("seccomp"));
        assert!(not_permitted(None, None).contains("seccomp"));
        assert!(words(own_id(), Errno::ESRCH).contains("traced"));
    }
}
