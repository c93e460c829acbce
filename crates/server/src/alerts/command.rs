//! A notice to a command: as JSON on its standard input, in short in its environment. What hangs is killed, with all that it started.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::http::Failure;

/// How long a command may take.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// Runs `command` by the shell. What it writes to its standard error goes where this node's does.
pub(super) async fn run(command: &str, (input, variables): (&[u8], BTreeMap<String, String>), limit: Duration) -> Result<(), Failure> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).envs(variables).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
    let mut child = shell.spawn().map_err(|error| Failure::passing(format!("it does not start: {error}")))?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let ended = tokio::time::timeout(limit, feed(&mut child, input)).await;
    // With it goes what it left behind; by now or when this call is dropped.
    drop(group);
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Failure::passing(format!("it failed: {status}"))),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            let _ = child.wait().await;
            Err(Failure::passing(format!("it was killed: not done within {} s", limit.as_secs_f32())))
        }
    }
}

async fn feed(child: &mut Child, input: &[u8]) -> std::io::Result<std::process::ExitStatus> {
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // An error: it does not want to read.
            let _ = stdin.write_all(input).await;
        }
    };
    let (status, ()) = tokio::join!(child.wait(), write);
    status
}

/// A group of processes that ends with this value.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error: nobody is left in it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, String> {
        BTreeMap::from([("STEADFAST_ALERT_STATUS".to_owned(), "firing".to_owned())])
    }

    #[tokio::test]
    async fn it_is_told_on_its_input_and_in_its_environment() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("told");
        let command = format!("(cat; echo \" $STEADFAST_ALERT_STATUS\") > {}", file.display());
        run(&command, (b"{\"n\":1}", variables()), LIMIT).await.unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), "{\"n\":1} firing\n");
        // One that reads nothing, of more than a pipe holds, is no failure.
        run("true", (&vec![b' '; 1 << 20], variables()), LIMIT).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_fails_or_hangs_is_tried_again_and_what_it_started_is_gone() {
        let failed = run("exit 3", (b"", variables()), LIMIT).await.unwrap_err();
        assert!(!failed.is_final && failed.reason.contains("exit status: 3"), "{failed:?}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let command = format!("sleep 1000 & echo $! > {0}.part; mv {0}.part {0}; wait", file.display());
        let hung = run(&command, (b"", variables()), Duration::from_millis(500)).await.unwrap_err();
        assert!(!hung.is_final && hung.reason.contains("killed"), "{hung:?}");
        // Whether the shell came so far depends on the machine.
        let Ok(id) = std::fs::read_to_string(file) else { return };
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).ok().filter(|stat| !stat.contains(") Z "));
        while state().is_some() {
            tokio::task::yield_now().await;
        }
    }
}
