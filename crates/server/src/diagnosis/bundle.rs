//! What was gathered, as files: texts for people, and one JSON object with the findings. Everything goes through one gate that takes secrets out.

use std::cmp::Reverse;
use std::fmt::Write as _;

use serde_json::{Value, json};
use steadfast_etcd_api::backend::BundleFile;
use steadfast_health::diagnosis::{Finding, Severity, diagnose};
use steadfast_health::redact::redact;

use super::facts::facts;
use super::gather::Gathered;
use super::part::Part;
use super::summary::{summary, time};
use super::threads::Thread;
use super::{clean, logs, stacks};

/// All files, the summary first.
pub(super) fn files(gathered: &Gathered) -> Vec<BundleFile> {
    let findings = diagnose(&facts(gathered));
    let mut files = vec![
        text("summary.txt", &summary(gathered, &findings)),
        object("diagnosis.json", report(gathered, &findings)),
        text("health-history.txt", &history(gathered)),
    ];
    if let Some(part) = &gathered.part {
        files.extend([
            text("log-errors.txt", &errors(&part.log)),
            text("log-recent.txt", &recent(&part.log)),
            text("threads.txt", &threads(part)),
            text("stacks.txt", &stacks::text(part)),
            text("process.txt", &process(part)),
            text("metrics.txt", &part.metrics),
        ]);
    }
    files
}

fn text(name: &str, text: &str) -> BundleFile {
    BundleFile { name: name.to_owned(), text: redact(text) }
}

fn object(name: &str, value: Value) -> BundleFile {
    let text = serde_json::to_string_pretty(&clean::value(value)).unwrap_or_default();
    BundleFile { name: name.to_owned(), text: text + "\n" }
}

fn severity(finding: &Finding) -> &'static str {
    match finding.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

fn report(gathered: &Gathered, findings: &[Finding]) -> Value {
    let target = &gathered.target;
    let (state, since_ms) = gathered.state();
    let finding = |finding: &Finding| json!({ "severity": severity(finding), "rule": finding.rule, "evidence": finding.evidence, "remedy": finding.remedy });
    let peer = |word: &super::gather::Word| match &word.says {
        Ok(sight) => json!({ "name": word.by, "hears": sight.hears(), "sight": sight }),
        Err(reason) => json!({ "name": word.by, "silent_because": reason }),
    };
    let part = gathered.part.as_ref();
    json!({
        "node": {
            "name": target.name,
            "id": format!("{:x}", target.id.0),
            "role": if target.is_agent { "agent" } else { "server" },
            "address": target.address,
            "state": state,
            "since_ms": since_ms,
            "cause": gathered.recorded.as_ref().map(|recorded| recorded.cause.clone()),
            "answered": part.is_some(),
            "silent_because": gathered.silence,
        },
        "gathered": { "by": gathered.by, "at": time(gathered.at_ms) },
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
        "peers": gathered.words.iter().map(peer).collect::<Vec<_>>(),
        "version": part.map(|part| &part.version),
        "up_ms": part.map(|part| part.up_ms),
        "consensus": part.map(|part| &part.consensus),
        "latencies": part.map(|part| &part.latencies),
        "process": part.map(figures),
        "errors": part.map(|part| &part.log.errors),
    })
}

/// The process without its long texts.
fn figures(part: &Part) -> Value {
    let mut value = serde_json::to_value(&part.process).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        ["status", "limits", "environment", "mappings"].iter().for_each(|name| drop(fields.remove(*name)));
        fields.insert("command".to_owned(), clean::command(part.process.command.clone()).into());
        fields.insert("threads".to_owned(), part.threads.len().into());
    }
    value
}

fn history(gathered: &Gathered) -> String {
    let mut out = String::new();
    for change in &gathered.history {
        let of = if change.service.is_empty() { "node".to_owned() } else { format!("service {}", change.service) };
        let (at, from, to) = (time(change.health.since_ms), change.from, change.health.state);
        // Writing to a string does not fail.
        let _ = writeln!(out, "{at} {of}: {from} -> {to}: {}", change.health.cause);
    }
    if out.is_empty() { "No change of its health is recorded.\n".to_owned() } else { out }
}

fn errors(log: &logs::Log) -> String {
    let mut out = "Warnings and errors by pattern, the most frequent first: count, first, last, pattern\n".to_owned();
    for group in &log.errors {
        let _ = writeln!(out, "{:>8} {} {} {}", group.count, time(group.first_ms), time(group.last_ms), group.pattern);
    }
    if log.others > 0 {
        let _ = writeln!(out, "{:>8} of further patterns", log.others);
    }
    out
}

fn recent(log: &logs::Log) -> String {
    let gone = if log.gone > 0 { format!("({} lines before these are not kept)\n", log.gone) } else { String::new() };
    gone + &log.recent
}

fn threads(part: &Part) -> String {
    let mut out = "Two looks a second apart; stuck threads come first, then the busy ones. STATE: R running, S sleeping, D uninterruptible, T stopped.\n\
                   CALL: number of the system call. +CPU, +WAIT: processor time, and time in wait for a processor, between the looks. stacks.txt has more.\n"
        .to_owned();
    let _ = writeln!(
        out,
        "{:>8} {:<16} STATE {:>9} {:>8} {:>8} {:>4} {:<28} IN",
        "ID", "NAME", "CPU ms", "+CPU ms", "+WAIT ms", "CALL", "WAITS FOR"
    );
    let mut rows: Vec<&Thread> = part.threads.iter().collect();
    rows.sort_by_key(|thread| Reverse((thread.stuck_ms, thread.state == "D", thread.recent_cpu_ms)));
    for thread in rows {
        let call = thread.system_call.map_or("-".to_owned(), |number| number.to_string());
        let stuck = if thread.stuck_ms > 0 { format!(" (stuck for {} ms)", thread.stuck_ms) } else { String::new() };
        let waits_for = if thread.waits_for.is_empty() { "-" } else { &thread.waits_for };
        let place = stacks::of(part, thread.id).map(stacks::place_in_words).unwrap_or_default();
        let line = format!(
            "{:>8} {:<16} {:<5} {:>9} {:>8} {:>8} {call:>4} {:<28} {place}",
            thread.id,
            thread.name,
            thread.state,
            thread.cpu_ms,
            thread.recent_cpu_ms,
            thread.recent_wait_ms,
            format!("{waits_for}{stuck}"),
        );
        out += line.trim_end();
        out.push('\n');
    }
    for thread in part.threads.iter().filter(|thread| !thread.kernel_stack.is_empty()) {
        let _ = writeln!(out, "\n{} {} in the kernel:\n{}", thread.id, thread.name, thread.kernel_stack.trim_end());
    }
    out
}

fn process(part: &Part) -> String {
    let process = &part.process;
    let mut out = format!("pid {}\ncommand {}\n", process.pid, clean::command(process.command.clone()).join(" "));
    let _ = writeln!(out, "environment, names only: {}", process.environment.join(" "));
    out += "\ndescriptors\n";
    process.descriptors.iter().for_each(|(kind, count)| out.push_str(&format!("{count:>12} {kind}\n")));
    out += "\nread and written\n";
    process.io.iter().for_each(|(name, value)| out.push_str(&format!("{value:>16} {name}\n")));
    out += "\nmemory maps by name: bytes, how many\n";
    process.mappings.iter().for_each(|map| out.push_str(&format!("{:>16} {:>6} {}\n", map.bytes, map.count, map.name)));
    out += "\npressure, of the last minute: shares in which tasks of this machine waited\n";
    let pressure = &process.pressure;
    for (what, share) in [("processor, some", pressure.cpu_some), ("memory, all", pressure.memory_full), ("disk, all", pressure.io_full)] {
        let share = share.map_or("not told by this kernel".to_owned(), |share| format!("{}.{} %", share / 10, share % 10));
        let _ = writeln!(out, "{share:>12} {what}");
    }
    let _ = write!(out, "\nlimits\n{}\nstatus\n{}", process.limits, process.status);
    out
}

#[cfg(test)]
mod tests {
    use super::super::gather::{Target, Word};
    use super::super::logs::{ErrorGroup, Log};
    use super::super::process::Process;
    use super::super::sight::Sight;
    use super::*;
    use crate::health::view::{Change, Recorded};
    use steadfast_health::HealthState;
    use steadfast_types::NodeId;

    const PLANTED: &str = "got password=XYZZY from http://u:XYZZY@h/";

    fn target() -> Target {
        Target { id: NodeId(2), name: "n2".into(), is_agent: false, address: "127.0.0.1:2381".into() }
    }

    fn spoiled_part() -> Part {
        let log = Log {
            errors: vec![ErrorGroup { pattern: PLANTED.into(), count: 3, first_ms: 1, last_ms: 2 }],
            recent: format!("{PLANTED}\n-----BEGIN PRIVATE KEY-----\nXYZZY\n-----END PRIVATE KEY-----\n"),
            ..Log::default()
        };
        let process = Process { command: vec!["--token".into(), "XYZZY".into()], status: PLANTED.into(), ..Process::default() };
        let threads = vec![Thread { kernel_stack: PLANTED.into(), name: "a".into(), ..Thread::default() }];
        Part { name: "n2".into(), log, process, threads, metrics: PLANTED.into(), ..Part::default() }
    }

    fn sight(state: &str) -> Sight {
        Sight { state: Some(state.into()), since_ms: 12_000, witnesses: vec!["n3".into()], is_connected: Some(false), ..Sight::default() }
    }

    fn word(by: &str, state: &str) -> Word {
        Word { by: by.into(), says: Ok(sight(state)), heard_ms: 0 }
    }

    fn found<'a>(files: &'a [BundleFile], name: &str) -> &'a str {
        &files.iter().find(|file| file.name == name).unwrap_or_else(|| panic!("{name}")).text
    }

    #[test]
    fn no_secret_leaves_by_any_file() {
        let recorded = Recorded { state: HealthState::Failed, since_ms: 5, cause: PLANTED.into() };
        let change = Change {
            number: 1,
            node: NodeId(2),
            name: "n2".into(),
            service: String::new(),
            from: HealthState::Healthy,
            health: recorded.clone(),
        };
        let gathered = Gathered {
            target: target(),
            part: Some(spoiled_part()),
            words: vec![Word { by: "n1".into(), says: Err(PLANTED.into()), heard_ms: 0 }],
            recorded: Some(recorded),
            history: vec![change],
            ..Gathered::default()
        };
        let files = files(&gathered);
        assert_eq!(files[0].name, "summary.txt");
        for file in &files {
            assert!(!file.text.contains("XYZZY"), "{}: {}", file.name, file.text);
        }
        let report: Value = serde_json::from_str(found(&files, "diagnosis.json")).expect("JSON");
        assert_eq!(report["node"]["state"], "failed");
        // And what a node gives out has none before that.
        assert!(!format!("{:?}", spoiled_part().clean()).contains("XYZZY"));
    }

    #[test]
    fn of_a_silent_node_there_is_what_the_others_know() {
        let words = vec![word("n1", "failed"), word("n3", "failed")];
        let silence = Some("127.0.0.1:2381: cannot connect".to_owned());
        let files = files(&Gathered { target: target(), silence, words, by: "n1".into(), ..Gathered::default() });
        let summary = found(&files, "summary.txt");
        for part in ["n2 (server, id 2)", "failed for 12 s", "NO: 127.0.0.1:2381: cannot connect", "found silent by n3", "CRITICAL cut off"]
        {
            assert!(summary.contains(part), "{part} in {summary}");
        }
        assert!(summary.lines().count() <= 24, "one screen: {summary}");
        assert!(!files.iter().any(|file| file.name == "threads.txt"));
    }
}
