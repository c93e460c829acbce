//! What happens while a drill runs: a line that is written anew on a terminal, plain lines elsewhere. On standard error.

use std::convert::Infallible;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use steadfast_proof::time::Time;

use super::load::Clients;
use super::sampler::Sampler;
use super::stopwatch::Stopwatch;

/// How often the line is written anew.
const REFRESH: Duration = Duration::from_millis(250);

/// The progress of one drill.
pub(super) struct Progress {
    name: String,
    terminal: bool,
}

impl Progress {
    /// For the drill of this name.
    pub(super) fn new(name: &str) -> Self {
        Progress { name: name.to_owned(), terminal: std::io::stderr().is_terminal() }
    }

    /// Says what happened, on a line that stays.
    pub(super) fn say(&self, text: String) {
        self.write(&format!("{}{}: {text}\n", self.begin(), self.name));
    }

    /// Shows how far it is, for as long as it is polled.
    pub(super) async fn follow(
        &self,
        stopwatch: Stopwatch,
        end: Time,
        clients: &Clients,
        sampler: &Sampler,
        names: &[String],
    ) -> Infallible {
        loop {
            tokio::time::sleep(REFRESH).await;
            if self.terminal {
                let (ended, good) = clients.progress();
                let left = end.since(stopwatch.now()).as_secs();
                let leader = sampler.leader().map_or("nobody", |at| &names[at]);
                let recent = good as f64 * 100.0 / ended.clamp(1, 1000) as f64;
                self.write(&format!(
                    "{}{}: {left} s left, {ended} requests, of the last {recent:.1} % good, {leader} leads",
                    self.begin(),
                    self.name
                ));
            }
        }
    }

    /// Back to the beginning of an empty line.
    fn begin(&self) -> &'static str {
        if self.terminal { "\r\x1b[K" } else { "" }
    }

    fn write(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        // Nobody may be reading, and the drill goes on all the same.
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}
