//! Every bound of this crate, in one place, with its reason.

/// Requests to one subject that a timeout detector keeps in view: it condemns after a handful, and more say nothing new.
pub const OUTSTANDING_REQUESTS: usize = 64;

/// Arrivals that the accrual detector learns from: as in Cassandra and Akka. At a beat a second these are the last quarter of an hour.
pub const PHI_WINDOW: usize = 1_000;

/// The longest pause between two arrivals that the accrual detector learns from, us: an hour. It keeps sums exact, and one outage from
/// dulling the detector for as long as the window lasts.
pub const PHI_INTERVAL_US: u64 = 3_600_000_000;

/// Pieces of evidence that a verdict names, the strongest first: three ways of ten observers.
pub const VERDICT_EVIDENCE: usize = 30;

/// Changes of state that are remembered of one subject; older ones go.
pub const HISTORY_EVENTS: usize = 64;

/// Bytes of a text that came from outside and is kept in an event, a result or a finding.
pub const DETAIL_BYTES: usize = 1_024;

/// Checks that one node runs.
pub const CHECKS: usize = 4_096;

/// Runs of checks at the same time on one node; further ones wait their turn, the longest due first.
pub const RUNNING_CHECKS: usize = 64;

/// Services of one node whose restart is declared.
pub const RESTARTS: usize = 256;

/// Words of a check's command.
pub const CHECK_WORDS: usize = 64;

/// Bytes of a check's name, address, path or one word of its command.
pub const CHECK_TEXT_BYTES: usize = 1_024;

/// Recovery plans that have ended and are kept to be read; older ones are deleted.
pub const ENDED_PLANS: usize = 256;

/// Alerts that are open at the same time. Beyond it new ones are refused, and counted.
pub const ALERTS: usize = 10_000;

/// Notices that wait to be sent. Beyond it the oldest goes, and is counted: what is still true is said again when it is repeated.
pub const NOTICES: usize = 1_024;

/// Labels of an alert.
pub const ALERT_LABELS: usize = 32;

/// Patterns that a grouping of log lines holds; lines of further patterns are counted together.
pub const LOG_PATTERNS: usize = 1_000;

/// Bytes of a log line that are looked at.
pub const LOG_LINE_BYTES: usize = 4_096;

/// Findings of one diagnosis.
pub const FINDINGS: usize = 100;

/// `text`, cut at a character's border to at most `bytes` bytes.
#[must_use]
pub fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
