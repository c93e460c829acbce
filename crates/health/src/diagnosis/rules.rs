//! The rules of diagnosis, from causes to effects.

use super::*;

/// Every rule.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "killed for want of memory",
        look: memory_kills,
        remedy: "give the node more memory, or find what grows: compare its memory with its peers'",
    },
    Rule { name: "memory nearly full", look: memory, remedy: "raise its limit before the kernel kills it, or take load away" },
    Rule {
        name: "descriptors nearly used up",
        look: descriptors,
        remedy: "raise the limit of open files (LimitNOFILE of its unit), and see who holds so many connections",
    },
    Rule {
        name: "threads stuck in the kernel",
        look: stuck_threads,
        remedy: "the disk or a network file system does not answer: read the kernel's log, and replace the disk if it reports errors",
    },
    Rule {
        name: "waiting for the disk",
        look: waiting_threads,
        remedy: "compare its syncs with its peers', and see who else writes to this disk",
    },
    Rule {
        name: "busy thread",
        look: busy_threads,
        remedy: "one thread does all it can: stacks.txt shows in what; it bounds what the node can do",
    },
    Rule { name: "soft error", look: soft_errors, remedy: "see the rule's reason in docs/health.md; it is tolerated, and should not stay" },
    Rule {
        name: "heard one way only",
        look: one_way,
        remedy: "packets are lost in one direction: look at firewalls, routes and the network card between the two",
    },
    Rule {
        name: "cut off",
        look: cut_off,
        remedy: "nobody hears it: if its process lives, its network is down; else start it, or let the recovery replace it",
    },
    Rule { name: "heard by some", look: partly_cut_off, remedy: "the network is split: compare what those who hear it have in common" },
    Rule {
        name: "flapping",
        look: flapping,
        remedy: "it changes too often to be trusted: look for what repeats (restarts, a cron job, a bad cable) at the times of its changes",
    },
    Rule {
        name: "failed before",
        look: failures,
        remedy: "read the evidence of its last failure, and see whether it was repaired or only restarted",
    },
    Rule { name: "errors in its log", look: log, remedy: "start with the most frequent pattern that began when its health changed" },
];

/// A share as a severity, if it is worth a word.
fn nearly_full(used: u64, limit: u64) -> Option<Severity> {
    match u128::from(used) * 100 / u128::from(limit.max(1)) {
        95.. => Some(Severity::Critical),
        80..95 => Some(Severity::Warning),
        0..80 => None,
    }
}

fn share(what: &str, figures: Option<(u64, u64)>) -> Vec<(Severity, String)> {
    let found = figures.and_then(|(used, limit)| Some((nearly_full(used, limit)?, format!("{used} of {limit} {what}"))));
    found.into_iter().collect()
}

fn memory_kills(facts: &Facts) -> Vec<(Severity, String)> {
    let kills = facts.memory_kills.filter(|kills| *kills > 0);
    kills.map(|kills| (Severity::Critical, format!("the kernel has killed {kills} times"))).into_iter().collect()
}

fn memory(facts: &Facts) -> Vec<(Severity, String)> {
    share("bytes", facts.memory)
}

fn descriptors(facts: &Facts) -> Vec<(Severity, String)> {
    share("descriptors", facts.descriptors)
}

fn stuck_threads(facts: &Facts) -> Vec<(Severity, String)> {
    let stuck = facts.threads.iter().filter(|thread| thread.uninterruptible && thread.for_ms >= 1_000);
    let say = |thread: &Thread| format!("{} waits in {} for {} ms{}", thread.name, thread.waits_for, thread.for_ms, called_from(thread));
    stuck.map(|thread| (Severity::Critical, say(thread))).collect()
}

/// Where a thread is in the program, as the end of a sentence.
fn called_from(thread: &Thread) -> String {
    match (thread.place.as_str(), thread.is_unmoved) {
        ("", _) => String::new(),
        (place, true) => format!(", both times in {place}"),
        (place, false) => format!(", at last in {place}"),
    }
}

/// Uninterruptible at both looks, but not stuck: it did get something between them.
fn waiting_threads(facts: &Facts) -> Vec<(Severity, String)> {
    let waiting = facts.threads.iter().filter(|thread| thread.waited_twice && thread.for_ms < 1_000);
    let say = |thread: &Thread| format!("{} did so at two looks a second apart{}", thread.name, called_from(thread));
    waiting.map(|thread| (Severity::Warning, say(thread))).collect()
}

/// Nine tenths of a second between the looks.
fn busy_threads(facts: &Facts) -> Vec<(Severity, String)> {
    let busy = facts.threads.iter().filter(|thread| thread.busy_ms >= 900);
    let say = |thread: &Thread| format!("{} ran for {} ms of a second{}", thread.name, thread.busy_ms, called_from(thread));
    busy.map(|thread| (Severity::Warning, say(thread))).collect()
}

fn soft_errors(facts: &Facts) -> Vec<(Severity, String)> {
    let found = soft_errors::find(&facts.figures).into_iter();
    found
        .map(|error| (Severity::Warning, format!("{}: {}, bound {}", error.rule.name, error.measured.value, error.measured.bound)))
        .collect()
}

fn one_way(facts: &Facts) -> Vec<(Severity, String)> {
    let one_way = facts.peers.iter().filter(|view| view.hears != view.is_heard);
    let say = |view: &PeerView| match view.hears {
        true => format!("{} hears it, and is not heard by it", view.peer),
        false => format!("it hears {}, and is not heard there", view.peer),
    };
    one_way.map(|view| (Severity::Critical, say(view))).collect()
}

fn hearing(facts: &Facts) -> usize {
    facts.peers.iter().filter(|view| view.hears).count()
}

fn cut_off(facts: &Facts) -> Vec<(Severity, String)> {
    let is_cut_off = !facts.peers.is_empty() && hearing(facts) == 0;
    is_cut_off.then(|| (Severity::Critical, format!("none of {} peers hears it", facts.peers.len()))).into_iter().collect()
}

fn partly_cut_off(facts: &Facts) -> Vec<(Severity, String)> {
    let hearing = hearing(facts);
    let is_partly = hearing > 0 && hearing < facts.peers.len();
    is_partly.then(|| (Severity::Warning, format!("{hearing} of {} peers hear it", facts.peers.len()))).into_iter().collect()
}

fn flapping(facts: &Facts) -> Vec<(Severity, String)> {
    let count = facts.history.iter().filter(|change| change.why.contains("flapping")).count();
    (count > 0).then(|| (Severity::Warning, format!("held for flapping {count} times"))).into_iter().collect()
}

fn failures(facts: &Facts) -> Vec<(Severity, String)> {
    let last = facts.history.iter().rev().find(|change| change.to == HealthState::Failed);
    last.map(|change| (Severity::Note, format!("change {}: {}", change.number, change.why))).into_iter().collect()
}

/// The most frequent patterns.
fn log(facts: &Facts) -> Vec<(Severity, String)> {
    let mut groups: Vec<&Group> = facts.log.iter().collect();
    groups.sort_by_key(|group| Reverse(group.count));
    groups.into_iter().take(10).map(|group| (Severity::Note, format!("{} times: {}", group.count, group.pattern))).collect()
}
