//! From what was gathered to the facts that the rules of diagnosis look at.

use std::sync::LazyLock;

use steadfast_health::diagnosis::{Facts, Past, PeerView, Thread};
use steadfast_health::grouping::Group;
use steadfast_health::soft_errors::NodeFigures;

use super::gather::Gathered;
use super::latencies::syncs;
use super::part::Part;
use super::sight::Sight;
use super::{logs, process, stacks};

static NOTHING: LazyLock<Part> = LazyLock::new(Part::default);

/// All that is known; of a silent node that is what the others know.
pub(super) fn facts(gathered: &Gathered) -> Facts {
    let part = gathered.part.as_ref().unwrap_or(&NOTHING);
    let process = &part.process;
    Facts {
        history: history(gathered),
        log: part.log.errors.iter().map(group).collect(),
        threads: part.threads.iter().map(|one| thread(part, one)).collect(),
        descriptors: process.descriptor_limit.map(|limit| (process.open_descriptors(), limit)),
        memory: process.resident_bytes.zip(process.memory_limit_bytes),
        memory_kills: process.memory_kills,
        figures: figures(gathered, part, process),
        peers: peers(gathered),
    }
}

fn history(gathered: &Gathered) -> Vec<Past> {
    let own = gathered.history.iter().filter(|change| change.service.is_empty());
    own.map(|change| Past { number: change.number, to: change.health.state, why: change.health.cause.clone() }).collect()
}

fn group(group: &logs::ErrorGroup) -> Group {
    Group { pattern: group.pattern.clone(), count: group.count, first_ms: group.first_ms, last_ms: group.last_ms }
}

fn thread(part: &Part, thread: &super::threads::Thread) -> Thread {
    let stack = stacks::of(part, thread.id);
    Thread {
        name: thread.name.clone(),
        uninterruptible: thread.state == "D",
        waits_for: thread.waits_for.clone(),
        for_ms: thread.stuck_ms,
        waited_twice: thread.waited_twice,
        busy_ms: thread.recent_cpu_ms,
        place: stack.map(stacks::place_in_words).unwrap_or_default(),
        is_unmoved: stack.is_some_and(|stack| stack.is_unmoved),
    }
}

/// The value in the middle.
fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

fn figures(gathered: &Gathered, part: &Part, process: &process::Process) -> NodeFigures {
    let sync = syncs(&part.latencies);
    let sights: Vec<&Sight> = gathered.words.iter().filter_map(|word| word.says.as_ref().ok()).collect();
    NodeFigures {
        sync_p99_us: sync.and_then(|sync| sync.p99_us),
        sync_p50_us: sync.and_then(|sync| sync.p50_us),
        peers_sync_p50_us: median(sights.iter().filter_map(|sight| sight.sync_p50_us).collect()),
        clock_offset_ms: clock_offset_ms(gathered),
        disk_used_per_mille: process.disk_used_per_mille,
        inodes_used_per_mille: process.inodes_used_per_mille,
        memory_pressure_per_mille: process.pressure.memory_full,
        cpu_pressure_per_mille: process.pressure.cpu_some,
        disk_pressure_per_mille: process.pressure.io_full,
        ..NodeFigures::default()
    }
}

/// How far the node's wall clock is from the median of its peers', each held against the clock of the one who asked, at the arrival of its words.
fn clock_offset_ms(gathered: &Gathered) -> Option<u64> {
    let ahead = |wall_ms: u64, heard_ms: u64| i128::from(wall_ms) - i128::from(heard_ms);
    let own = ahead(gathered.part.as_ref()?.wall_ms, gathered.heard_ms);
    let peers = gathered.words.iter().filter_map(|word| Some(ahead(word.says.as_ref().ok()?.wall_ms, word.heard_ms)));
    u64::try_from((own - median(peers.collect())?).abs()).ok()
}

fn peers(gathered: &Gathered) -> Vec<PeerView> {
    let view = |word: &super::gather::Word| {
        let hears = word.says.as_ref().ok()?.hears();
        // What a silent node hears is not known; then nothing is said of it.
        let is_heard = gathered.part.as_ref().map_or(hears, |part| part.hears.contains(&word.by));
        Some(PeerView { peer: word.by.clone(), hears, is_heard })
    };
    gathered.words.iter().filter_map(view).collect()
}
