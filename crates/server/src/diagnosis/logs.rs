//! The last lines of this process's log, in memory: they are there also if the log went to a terminal. Warnings and errors are grouped by their
//! pattern from the start of the process on.
//!
//! There is one log in a process, as there is one subscriber; [`recent_log`] is a handle on it, and the layer that fills it.
//!
//! 1. Lines take at most [`KEPT_BYTES`], whatever is logged; the oldest go first.
//! 2. Secrets are taken out when the log is read. Lines that nobody reads cost no more than their bytes.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use steadfast_health::grouping::{Group, Grouping};
use steadfast_health::limits::{LOG_LINE_BYTES, cut};
use steadfast_health::redact::redact;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::clock::Clock;

/// What all kept lines take together: some thousands of them.
pub const KEPT_BYTES: usize = 256 * 1024;

/// Patterns of errors that are told, the most frequent ones.
const TOLD_GROUPS: usize = 200;

/// What is told of a pattern, bytes.
const PATTERN_BYTES: usize = 512;

#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    gone: u64,
    errors: Grouping,
}

/// The recent log; clones are handles on the same one. As a layer of a subscriber it keeps what is logged.
#[derive(Clone, Default)]
pub struct RecentLog(Arc<Mutex<Kept>>);

static OF_THE_PROCESS: LazyLock<RecentLog> = LazyLock::new(RecentLog::default);

/// This process's log. Whoever makes the process's subscriber gives it this as a layer.
pub fn recent_log() -> RecentLog {
    OF_THE_PROCESS.clone()
}

/// What the log has to tell, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Log {
    pub(super) errors: Vec<ErrorGroup>,
    /// Errors and warnings of further patterns.
    pub(super) others: u64,
    /// The last lines.
    pub(super) recent: String,
    /// Lines before them that are not kept.
    pub(super) gone: u64,
}

/// As `steadfast_health::grouping::Group`, for JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ErrorGroup {
    pub(super) pattern: String,
    pub(super) count: u64,
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
}

impl From<&Group> for ErrorGroup {
    fn from(group: &Group) -> Self {
        let pattern = cut(&group.pattern, PATTERN_BYTES).to_owned();
        ErrorGroup { pattern, count: group.count, first_ms: group.first_ms, last_ms: group.last_ms }
    }
}

impl RecentLog {
    fn keep(&self, wall_ms: u64, level: Level, text: &str) {
        let text = cut(text, LOG_LINE_BYTES);
        let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(wall_ms));
        let line = format!("{time} {level:>5} {text}\n");
        let mut kept = self.0.lock();
        if level <= Level::WARN {
            kept.errors.take(wall_ms, text);
        }
        kept.bytes += line.len();
        kept.lines.push_back(line);
        while kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.len();
            kept.gone += 1;
        }
    }

    /// What it has to tell now.
    pub(crate) fn told(&self) -> Log {
        let (lines, gone, errors, others) = {
            let kept = self.0.lock();
            let errors = kept.errors.groups().into_iter().take(TOLD_GROUPS).map(ErrorGroup::from).collect();
            (kept.lines.iter().map(String::as_str).collect::<String>(), kept.gone, errors, kept.errors.others())
        };
        // All lines together: a key in PEM goes over several.
        Log { errors, others, recent: redact(&lines), gone }
    }
}

impl<S: Subscriber> Layer<S> for RecentLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line { message: String::new(), fields: String::new() };
        event.record(&mut line);
        let metadata = event.metadata();
        let text = format!("{}: {}{}", metadata.target(), line.message, line.fields);
        self.keep(Clock::wall_ms(), *metadata.level(), &text);
    }
}

/// An event as text.
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn what_is_logged_is_kept_grouped_and_without_secrets() {
        let log = RecentLog::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
            for peer in 0..100 {
                tracing::warn!(peer, "cannot reach the peer");
            }
            tracing::error!(password = "XYZZY", "login with token=XYZZY failed");
            tracing::info!("node started");
        });
        let told = log.told();
        let counts: Vec<(u64, &str)> = told.errors.iter().map(|group| (group.count, group.pattern.as_str())).collect();
        assert_eq!(counts[0].0, 100);
        assert!(counts[0].1.ends_with("cannot reach the peer peer=<n>") && counts.len() == 2, "{counts:?}");
        assert!(told.recent.lines().count() == 102 && told.recent.contains(" INFO ") && told.recent.contains("node started"));
        assert!(!format!("{told:?}").contains("XYZZY"), "{told:?}");
    }

    proptest! {
        #[test]
        fn however_much_is_logged_the_last_lines_are_kept_within_bounds(lengths in prop::collection::vec(0..9_000usize, 0..200)) {
            let log = RecentLog::default();
            for (at, length) in lengths.iter().enumerate() {
                log.keep(at as u64, Level::INFO, &"x".repeat(*length));
            }
            let told = log.told();
            prop_assert!(told.recent.len() <= KEPT_BYTES);
            prop_assert_eq!(told.recent.lines().count() as u64 + told.gone, lengths.len() as u64);
            let all_fit = lengths.iter().map(|length| length.min(&LOG_LINE_BYTES) + 40).sum::<usize>() <= KEPT_BYTES;
            prop_assert!(!all_fit || told.gone == 0);
        }
    }
}
