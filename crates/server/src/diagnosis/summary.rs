//! What was gathered, on one screen: who, how, since when, what is likely wrong, the key figures.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use steadfast_health::diagnosis::{Finding, Severity};

use super::gather::Gathered;
use super::latencies::Latency;
use super::part::Part;

/// Findings on the first screen; the others are counted, and in the JSON.
const SHOWN: usize = 10;

/// What is shown of a finding's evidence, bytes.
const EVIDENCE_BYTES: usize = 200;

/// The text.
pub(super) fn summary(gathered: &Gathered, findings: &[Finding]) -> String {
    let mut text = head(gathered);
    text += &found(findings);
    match &gathered.part {
        Some(part) => text += &figures(part),
        None => text += "\nIts own words are missing: no log, no threads, no figures of its process are in this bundle.\n",
    }
    text
}

fn head(gathered: &Gathered) -> String {
    let target = &gathered.target;
    let role = if target.is_agent { "agent" } else { "server" };
    let (state, since_ms) = gathered.state();
    let since = since_ms.map_or(String::new(), |since_ms| format!(" for {}", span(since_ms)));
    let mut text = format!("{} ({role}, id {:x}) at {}\n", target.name, target.id.0, target.address);
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<10}{value}\n"));
    line("state", &format!("{state}{since}"));
    if let Some(recorded) = &gathered.recorded {
        line("because", &recorded.cause);
    }
    match (&gathered.part, &gathered.silence) {
        (Some(part), _) => line("answered", &format!("yes: version {}, up {}, pid {}", part.version, span(part.up_ms), part.process.pid)),
        (None, Some(silence)) => line("answered", &format!("NO: {silence}")),
        (None, None) => line("answered", "NO"),
    }
    for word in &gathered.words {
        line(&format!("{} says", word.by), &said(word));
    }
    line("gathered", &format!("by {} at {}", gathered.by, time(gathered.at_ms)));
    text
}

fn said(word: &super::gather::Word) -> String {
    let sight = match &word.says {
        Ok(sight) => sight,
        Err(reason) => return format!("nothing: {reason}"),
    };
    let mut text = match &sight.state {
        Some(state) => format!("{state} for {}", span(sight.since_ms)),
        None => "not known to gossip there".to_owned(),
    };
    if !sight.witnesses.is_empty() {
        // Writing to a string does not fail.
        let _ = write!(text, ", found silent by {}", sight.witnesses.join(", "));
    }
    match sight.is_connected {
        Some(true) => text += ", connected",
        Some(false) => text += ", NOT connected",
        None => {}
    }
    if let Some(behind) = &sight.behind {
        let answers = if behind.answers { "answers" } else { "does not answer" };
        let _ = write!(text, ", as a follower {answers} and is {} entries behind", behind.entries);
    }
    text
}

fn found(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "\nNothing was found to be wrong.\n".to_owned();
    }
    let mut text = format!("\n{} findings, the worst first:\n", findings.len());
    for (number, finding) in findings.iter().take(SHOWN).enumerate() {
        let evidence = steadfast_health::limits::cut(&finding.evidence, EVIDENCE_BYTES);
        let _ = writeln!(text, "{:>3}. {} {}: {evidence}", number + 1, word(finding.severity), finding.rule);
        // One remedy for several findings of a rule.
        let is_last = findings.get(number + 1).is_none_or(|next| next.rule != finding.rule) || number + 1 == SHOWN;
        if is_last {
            let _ = writeln!(text, "     -> {}", finding.remedy);
        }
    }
    if findings.len() > SHOWN {
        let _ = writeln!(text, "     and {} more in diagnosis.json", findings.len() - SHOWN);
    }
    text
}

/// A severity in a word.
pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
    }
}

fn figures(part: &Part) -> String {
    let mut text = "\n".to_owned();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<12}{value}\n"));
    if let Some(consensus) = &part.consensus {
        let leader = consensus.leader.as_deref().unwrap_or("none");
        let (commit, applied) = (consensus.commit_index, consensus.applied_index);
        line("consensus", format!("{} in term {}, leader {leader}, committed {commit}, applied {applied}", consensus.role, consensus.term));
        consensus.errors.iter().chain(&consensus.alarms).for_each(|error| line("alarm", error.clone()));
    }
    part.latencies.iter().for_each(|latency| line(&latency.what, times(latency)));
    let process = &part.process;
    let limit = process.memory_limit_bytes.map_or("no limit".to_owned(), |limit| format!("limit {}", size(limit)));
    let resident = process.resident_bytes.map_or("unknown".to_owned(), size);
    let peak = process.peak_resident_bytes.map_or("unknown".to_owned(), size);
    line("memory", format!("{resident}, at most {peak}, {limit}"));
    let limit = process.descriptor_limit.map_or("no limit".to_owned(), |limit| format!("limit {limit}"));
    line("descriptors", format!("{}, {limit}", process.open_descriptors()));
    line("threads", threads(part));
    let pressure = &process.pressure;
    line("pressure", format!("cpu {}, memory {}, disk {}", share(pressure.cpu_some), share(pressure.memory_full), share(pressure.io_full)));
    line("disk", format!("{} used", share(process.disk_used_per_mille)));
    let errors: u64 = part.log.errors.iter().map(|group| group.count).sum::<u64>() + part.log.others;
    line("log", format!("{errors} warnings and errors of {} patterns since it began", part.log.errors.len()));
    text
}

/// Times, as the JSON has them too.
fn times(latency: &Latency) -> String {
    let shown = |bound: Option<u64>| bound.map_or("beyond 5 s".to_owned(), |us| format!("up to {} ms", us as f64 / 1000.0));
    match latency.count {
        0 => "none yet".to_owned(),
        count => format!("p50 {}, p99 {}, of {count}", shown(latency.p50_us), shown(latency.p99_us)),
    }
}

fn threads(part: &Part) -> String {
    let count = |state: &str| part.threads.iter().filter(|thread| thread.state == state).count();
    let busiest = part.threads.iter().max_by_key(|thread| thread.recent_cpu_ms).filter(|thread| thread.recent_cpu_ms > 0);
    let busiest = busiest.map_or(String::new(), |thread| format!(", busiest {} ({} ms of a second)", thread.name, thread.recent_cpu_ms));
    format!("{}: {} running, {} sleeping, {} uninterruptible{busiest}", part.threads.len(), count("R"), count("S"), count("D"))
}

fn share(per_mille: Option<u64>) -> String {
    per_mille.map_or("unknown".to_owned(), |share| format!("{}.{} %", share / 10, share % 10))
}

fn size(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A span for people: two units of it.
pub(super) fn span(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        0 => format!("{milliseconds} ms"),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds @ 3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        seconds => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A wall clock's reading.
pub(super) fn time(wall_ms: u64) -> String {
    // Years beyond 9999 have no such form.
    let wall_ms = wall_ms.min(253_402_300_799_000);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(wall_ms)).to_string()
}
