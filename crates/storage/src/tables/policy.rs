//! Which files to merge next. A pure choice from a version; nothing here reads a file.
//!
//! Tables are tiered: runs of about the same size are merged once there are `fan_in` of them, so that each row is rewritten a few times
//! in its life. Once the newer runs together outweigh the oldest, all are merged into it, so that replaced rows take no more room than
//! living ones. A run whose keys come in ascending order just grows at its end and is not rewritten, and a file that overlaps no other just moves.
//!
//! Merging much takes long. What is small goes first meanwhile, so that the runs that a read looks into stay few: the smallest merge first is what
//! keeps a steady stream of writes from waiting (Luo and Carey, "On Performance Stability in LSM-based Storage Systems", VLDB 2019).

use bytes::Bytes;
use std::collections::BTreeSet;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::tables::TableId;

use super::options::{RUNS_BEHIND, TablesOptions};
use super::version::{Part, Run, Version};

/// A file is rewritten alone once this share of its rows can be dropped: one in so many.
const DROPPABLE_SHARE: u64 = 4;

/// The same, when space is short.
const DROPPABLE_SHARE_WHEN_SHORT: u64 = 32;

/// Adjacent small files of one run that are made one.
const SMALL_FILES: usize = 8;

/// Files that are to become part of one run. Carried out in slices of bounded size, each a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Campaign {
    pub(super) table: TableId,
    /// The run that takes the rows: the oldest of those that take part and are still there.
    pub(super) target: u64,
    /// The files still to be merged.
    pub(super) files: BTreeSet<u64>,
}

impl Campaign {
    fn has(&self, part: &Part) -> bool {
        self.files.contains(&part.file.meta.id)
    }

    fn takes(&self, run: &Run) -> bool {
        run.id == self.target || run.parts.iter().any(|part| self.has(part))
    }

    /// Bytes still to be merged.
    fn bytes(&self, version: &Version) -> u64 {
        let parts = version.runs(self.table).iter().flat_map(|run| &run.parts);
        parts.filter(|part| self.has(part)).map(|part| part.file.meta.length).sum()
    }
}

/// How many slices should be merged before the next flush, because many runs are there already.
pub(super) fn slices_before_flush(version: &Version) -> usize {
    const RELAXED: usize = RUNS_BEHIND / 2;
    let most_runs = version.tables.values().map(Vec::len).max().unwrap_or(0);
    most_runs.checked_sub(RELAXED).map_or(0, |more| 2 + more / 5)
}

/// One slice of a campaign, as a job needs it.
pub(super) struct Slice {
    pub(super) table: TableId,
    pub(super) target: u64,
    /// Newest first; of each run only the files that take part.
    pub(super) inputs: Vec<Run>,
    /// Where files of the target that take no part begin: between two rows on either side a new file must begin.
    pub(super) others: Vec<Bytes>,
    pub(super) horizon: u64,
    pub(super) trim: Option<Bytes>,
    /// Whether no run is older than the target.
    pub(super) is_oldest: bool,
}

/// Files that become part of an older run as they are.
pub(super) struct Move {
    pub(super) table: TableId,
    pub(super) target: u64,
    pub(super) files: BTreeSet<u64>,
}

/// What is to be done next for a campaign.
pub(super) enum Step {
    Move(Move),
    Merge(Slice),
}

/// The files of which all keys are trimmed.
pub(super) fn trimmed(version: &Version) -> BTreeSet<u64> {
    let of_table = |(table, key): (&TableId, &Bytes)| {
        let parts = version.runs(*table).iter().flat_map(|run| &run.parts);
        parts.filter(|part| part.file.meta.last_key < *key).map(|part| part.file.meta.id).collect::<Vec<_>>()
    };
    version.trims.iter().flat_map(of_table).collect()
}

/// The most useful merge, if any is worth its writing, and need not wait for those that are under way, the smallest of which is the last.
pub(super) fn choose(version: &Version, options: &TablesOptions, under_way: &[Campaign]) -> Option<Campaign> {
    let most_bytes = under_way.last().map_or(u64::MAX, |smallest| smallest.bytes(version) / 2);
    let most_runs = version.tables.iter().filter_map(|(table, runs)| {
        let is_busy = |run: &Run| under_way.iter().any(|campaign| campaign.table == *table && campaign.takes(run));
        let free = &runs[..runs.iter().position(is_busy).unwrap_or(runs.len())];
        let campaign = of_runs(*table, free, free.len() == runs.len(), options)?;
        (campaign.bytes(version) <= most_bytes).then_some((free.len(), campaign))
    });
    if let Some((_, campaign)) = most_runs.max_by_key(|(runs, _)| *runs) {
        return Some(campaign);
    }
    if !under_way.is_empty() {
        return None;
    }
    version
        .tables
        .keys()
        .find_map(|table| of_rewrite(version, *table, DROPPABLE_SHARE).or_else(|| of_small_files(version, *table, options)))
}

/// A merge that may give space back, however much it writes: of all runs of a table, for what newer ones replace shows only then; or of a file that
/// is known to hold rows that can go.
pub(super) fn reclaim(version: &Version) -> Option<Campaign> {
    let of_table = |(table, runs): (&TableId, &Vec<Run>)| match runs.len() {
        0 => None,
        1 => of_rewrite(version, *table, DROPPABLE_SHARE_WHEN_SHORT),
        _ => Some(campaign(*table, runs)),
    };
    version.tables.iter().find_map(of_table)
}

/// The next step of a campaign; `None` once it is done.
pub(super) fn step(version: &Version, campaign: &mut Campaign) -> Option<Step> {
    let runs = version.runs(campaign.table);
    // Nothing may be left of the target: slices of which all rows could be dropped have used it up.
    if !is_planted(Bug::MergeIntoNothing) {
        campaign.target = runs.iter().rfind(|run| campaign.takes(run))?.id;
    }
    let files = leave_alone(runs, campaign);
    if !files.is_empty() {
        return Some(Step::Move(Move { table: campaign.table, target: campaign.target, files }));
    }
    let select = |run: &Run| {
        let parts: Vec<Part> = run.parts.iter().filter(|part| campaign.has(part)).cloned().collect();
        (!parts.is_empty()).then_some(Run { id: run.id, parts })
    };
    let inputs: Vec<Run> = runs.iter().filter_map(select).collect();
    if inputs.is_empty() {
        return None;
    }
    let target = runs.iter().find(|run| run.id == campaign.target);
    let others = target.into_iter().flat_map(|run| &run.parts).filter(|part| !campaign.has(part));
    Some(Step::Merge(Slice {
        table: campaign.table,
        target: campaign.target,
        inputs,
        others: others.map(|part| Bytes::copy_from_slice(part.first_key())).collect(),
        horizon: version.horizon(campaign.table),
        trim: version.trims.get(&campaign.table).cloned(),
        is_oldest: runs.last().is_some_and(|run| run.id == campaign.target),
    }))
}

/// If several runs are merged: takes files out of the campaign that overlap no other, and returns those of them that have to change their run.
fn leave_alone<'a>(runs: &'a [Run], campaign: &mut Campaign) -> BTreeSet<u64> {
    let target = campaign.target;
    let of_run = |run: &'a Run| {
        run.parts.iter().map(move |part| (part, run.id == target)).filter(|(part, is_there)| *is_there || campaign.has(part))
    };
    let mut parts: Vec<(&Part, bool)> = runs.iter().flat_map(of_run).collect();
    if parts.iter().all(|(_, is_there)| *is_there) {
        return BTreeSet::new();
    }
    parts.sort_by(|(one, _), (other, _)| one.first_key().cmp(other.first_key()));
    let mut reached: Option<&[u8]> = None;
    let (mut moves, mut stays) = (BTreeSet::new(), BTreeSet::new());
    for (at, (part, is_there)) in parts.iter().enumerate() {
        let last = &part.file.meta.last_key[..];
        let overlaps_former = reached.is_some_and(|reached| reached >= part.first_key());
        let overlaps_next = parts.get(at + 1).is_some_and(|(next, _)| last >= next.first_key());
        // A file that was shortened holds rows that are elsewhere now: its merge gives their space back.
        if !overlaps_former && !overlaps_next && part.from.is_none() {
            if *is_there { &mut stays } else { &mut moves }.insert(part.file.meta.id);
        }
        reached = reached.max(Some(last));
    }
    campaign.files.retain(|file| !stays.contains(file));
    moves
}

fn campaign(table: TableId, runs: &[Run]) -> Campaign {
    let files = runs.iter().flat_map(|run| &run.parts).map(|part| part.file.meta.id).collect();
    Campaign { table, target: runs.last().expect("runs are merged, not nothing").id, files }
}

/// Merges of whole runs, newest first; `are_all`: the last of them is the oldest of the table.
fn of_runs(table: TableId, runs: &[Run], are_all: bool, options: &TablesOptions) -> Option<Campaign> {
    if runs.len() < options.fan_in {
        return None;
    }
    // Runs far smaller than a memtable cost a read as much as large ones, and next to nothing to merge.
    let floor = (options.memtable_bytes / 64) as u64;
    let sizes: Vec<u64> = runs.iter().map(|run| run.bytes().max(floor)).collect();
    let (oldest, newer) = sizes.split_last()?;
    if are_all && newer.iter().sum::<u64>() >= *oldest {
        return Some(campaign(table, runs));
    }
    (0..runs.len()).find_map(|start| {
        let mut sum = sizes[start];
        let mut end = start + 1;
        while end < runs.len() && sizes[end] <= sum {
            sum += sizes[end];
            end += 1;
        }
        (end - start >= options.fan_in).then(|| campaign(table, &runs[start..end]))
    })
}

/// A file of which much can be dropped.
fn of_rewrite(version: &Version, table: TableId, share: u64) -> Option<Campaign> {
    let runs = version.runs(table);
    let horizon = version.horizon(table);
    let is_worth = |part: &Part, is_oldest: bool| {
        let meta = &part.file.meta;
        let tombstones = if is_oldest { meta.tombstones.estimate(horizon) } else { 0 };
        (meta.superseded.estimate(horizon) + tombstones) * share >= meta.rows
    };
    runs.iter().enumerate().find_map(|(number, run)| {
        let start = run.parts.iter().position(|part| is_worth(part, number + 1 == runs.len()))?;
        Some(of_parts(table, run, start, 1))
    })
}

/// Small files side by side in one run, as ascending keys leave them.
fn of_small_files(version: &Version, table: TableId, options: &TablesOptions) -> Option<Campaign> {
    let small = options.file_bytes / SMALL_FILES as u64;
    version.runs(table).iter().find_map(|run| {
        let all_small = |parts: &[Part]| parts.iter().all(|part| part.file.meta.length < small);
        let start = run.parts.windows(SMALL_FILES).position(all_small)?;
        Some(of_parts(table, run, start, SMALL_FILES))
    })
}

/// Some parts of one run, and those after them that go on with the same key: a tombstone must not go before what it hides.
fn of_parts(table: TableId, run: &Run, start: usize, count: usize) -> Campaign {
    let mut end = start + count;
    while run.parts.get(end).is_some_and(|next| next.first_key() == &run.parts[end - 1].file.meta.last_key[..]) {
        end += 1;
    }
    Campaign { table, target: run.id, files: run.parts[start..end].iter().map(|part| part.file.meta.id).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::file::TableFile;
    use super::super::manifest::{Droppable, FileMeta};
    use super::*;

    const MIB: u64 = 1 << 20;
    const TABLE: TableId = TableId(1);

    fn run(id: u64, mib: &[u64]) -> Run {
        let part = |(number, mib): (usize, &u64)| {
            let key = Bytes::from(format!("{number}"));
            let (first_key, last_key) = (key.clone(), key);
            let meta = FileMeta { id: id * 100 + number as u64, length: mib * MIB, rows: 100, first_key, last_key, ..FileMeta::default() };
            Part { file: TableFile::new(meta), from: None }
        };
        Run { id, parts: mib.iter().enumerate().map(part).collect() }
    }

    fn version(runs: Vec<Run>) -> Version {
        Version { tables: [(TABLE, runs)].into(), ..Version::default() }
    }

    fn chosen(runs: Vec<Run>) -> Option<Vec<u64>> {
        let version = version(runs);
        choose(&version, &TablesOptions::default(), &[]).map(|campaign| campaign.files.into_iter().collect())
    }

    #[test]
    fn runs_of_one_size_are_merged_into_the_oldest_of_them() {
        assert_eq!(chosen((1..=3).map(|id| run(id, &[16])).collect()), None);
        assert_eq!(
            chosen(vec![run(1, &[16]), run(2, &[16]), run(3, &[16]), run(4, &[16]), run(5, &[100])]),
            Some(vec![100, 200, 300, 400])
        );
        assert_eq!(chosen(vec![run(1, &[1]), run(2, &[16]), run(3, &[16]), run(4, &[100])]), None);
    }

    #[test]
    fn what_is_small_does_not_wait_for_what_is_large() {
        let chosen = |runs: &[Run], under_way: &[Campaign]| {
            let campaign = choose(&version(runs.to_vec()), &TablesOptions::default(), under_way)?;
            Some(campaign.files.into_iter().collect::<Vec<_>>())
        };
        let small: Vec<Run> = (1..=4).map(|id| run(id, &[16])).collect();
        let large: Vec<Run> = (5..=8).map(|id| run(id, &[64])).collect();
        let runs = [&small[..], &large].concat();
        let campaign = |runs: &[Run]| [campaign(TABLE, runs)];
        assert_eq!(chosen(&runs, &campaign(&large)), Some(vec![100, 200, 300, 400]));
        assert_eq!(chosen(&runs[1..], &campaign(&large)), None, "three are too few");
        assert_eq!(chosen(&runs, &campaign(&large[..1])), None, "they are as much as is left of what is under way");
        assert_eq!(chosen(&runs, &[&campaign(&large)[..], &campaign(&small)].concat()), None, "it is under way itself");
    }

    #[test]
    fn many_runs_make_flushes_wait() {
        let waits = |runs: u64| slices_before_flush(&version((1..=runs).map(|id| run(id, &[1])).collect()));
        assert_eq!([1, 19, 20, 30, 40].map(waits), [0, 0, 2, 4, 6]);
    }

    /// A run of files, each with its number and its first and last key.
    fn of_files(id: u64, files: &[(u64, &'static str, &'static str)]) -> Run {
        let part = |&(id, first, last): &(u64, &'static str, &'static str)| {
            let meta = FileMeta { id, rows: 100, first_key: first.into(), last_key: last.into(), ..FileMeta::default() };
            Part { file: TableFile::new(meta), from: None }
        };
        Run { id, parts: files.iter().map(part).collect() }
    }

    #[test]
    fn files_that_overlap_no_other_are_not_rewritten() {
        let runs = vec![
            of_files(1, &[(10, "a", "b"), (11, "m", "p")]),
            of_files(2, &[(20, "b", "c"), (21, "i", "j")]),
            of_files(3, &[(30, "d", "e"), (31, "k", "m"), (32, "q", "z")]),
        ];
        let mut campaign = campaign(TABLE, &runs);
        let mut version = version(runs);
        let Some(Step::Move(moves)) = step(&version, &mut campaign) else { panic!("21 can just move") };
        assert_eq!((moves.target, moves.files, campaign.files.len()), (3, [21].into(), 5));
        campaign.files.remove(&21);
        let runs = version.tables.get_mut(&TABLE).expect("there");
        let moved = runs[1].parts.pop().expect("21");
        runs[2].parts.insert(1, moved);
        let Some(Step::Merge(slice)) = step(&version, &mut campaign) else { panic!("the others are to be merged") };
        let inputs: Vec<u64> = slice.inputs.iter().flat_map(|run| &run.parts).map(|part| part.file.meta.id).collect();
        assert_eq!((inputs, slice.others), (vec![10, 11, 20, 31], ["d", "i", "q"].map(Bytes::from).into()));
    }

    #[test]
    fn what_is_left_goes_into_the_oldest_run_that_is_left() {
        let runs: Vec<Run> = (1..=3).map(|id| run(id, &[16])).collect();
        let mut campaign = campaign(TABLE, &runs);
        campaign.files.remove(&300);
        let Some(Step::Merge(slice)) = step(&version(runs[..2].to_vec()), &mut campaign) else { panic!("two are left") };
        assert_eq!((slice.target, slice.is_oldest), (2, true));
        assert!(step(&version(Vec::new()), &mut campaign).is_none());
    }

    #[test]
    fn newer_runs_that_outweigh_the_oldest_are_merged_into_it() {
        let runs = vec![run(1, &[16]), run(2, &[16]), run(3, &[70]), run(4, &[50, 50])];
        assert_eq!(chosen(runs), Some(vec![100, 200, 300, 400, 401]));
    }

    #[test]
    fn to_reclaim_space_runs_are_merged_and_files_rewritten_that_are_otherwise_left() {
        let mut version = Version::default();
        version.tables.insert(TABLE, vec![run(1, &[16]), run(2, &[100])]);
        let files = |campaign: Option<Campaign>| campaign.map(|campaign| campaign.files.into_iter().collect::<Vec<_>>());
        assert_eq!((files(choose(&version, &TablesOptions::default(), &[])), files(reclaim(&version))), (None, Some(vec![100, 200])));
        for (superseded, expected) in [(0, None), (3, None), (4, Some(vec![7]))] {
            let superseded = Droppable { rows: superseded, low: 1, high: 1 };
            let meta = FileMeta { id: 7, rows: 100, superseded, ..FileMeta::default() };
            version.tables.insert(TABLE, vec![Run { id: 1, parts: vec![Part { file: TableFile::new(meta), from: None }] }]);
            assert_eq!((files(choose(&version, &TablesOptions::default(), &[])), files(reclaim(&version))), (None, expected));
        }
    }

    #[test]
    fn files_that_share_a_key_are_rewritten_together() {
        let part = |id: u64, keys: [&'static str; 2], tombstones: u64| {
            let tombstones = Droppable { rows: tombstones, low: 1, high: 1 };
            let (first_key, last_key) = (Bytes::from(keys[0]), Bytes::from(keys[1]));
            let meta = FileMeta { id, rows: 2, first_key, last_key, tombstones, ..FileMeta::default() };
            Part { file: TableFile::new(meta), from: None }
        };
        let parts =
            vec![part(1, ["a", "b"], 0), part(2, ["c", "k"], 1), part(3, ["k", "k"], 0), part(4, ["k", "m"], 0), part(5, ["n", "z"], 0)];
        assert_eq!(chosen(vec![Run { id: 1, parts }]), Some(vec![2, 3, 4]));
    }

    #[test]
    fn small_files_of_a_growing_run_are_made_one() {
        assert_eq!(chosen(vec![run(1, &[32, 1, 1, 1, 1, 1, 1, 1])]), None);
        assert_eq!(chosen(vec![run(1, &[32, 1, 1, 1, 1, 1, 1, 1, 1])]), Some((101..109).collect()));
    }

    #[test]
    fn a_file_is_rewritten_once_the_horizon_frees_much_of_it() {
        let meta = FileMeta { id: 7, rows: 100, superseded: Droppable { rows: 50, low: 1001, high: 1050 }, ..FileMeta::default() };
        let mut version = Version::default();
        version.tables.insert(TABLE, vec![Run { id: 1, parts: vec![Part { file: TableFile::new(meta), from: None }] }]);
        for (horizon, expected) in [(1000, false), (1020, false), (1025, true), (2000, true)] {
            version.horizons.insert(TABLE, horizon);
            assert_eq!(choose(&version, &TablesOptions::default(), &[]).is_some(), expected, "horizon {horizon}");
        }
    }
}
