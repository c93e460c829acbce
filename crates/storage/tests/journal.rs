//! The journal against its model, through crashes at every moment; and all single damages to a small journal.

mod log_support;

use log_support::TappedDisk;
use proptest::prelude::*;
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::journal::{Because, CutJob, Journal, JournalError, JournalOptions, OpenedJournal, Sequence, SyncJob, open};
use steadfast_types::Rng;
use steadfast_types::disk::Disk;

const SECTOR: usize = 512;

fn options(salt: u64) -> JournalOptions {
    JournalOptions { file_bytes: 4096, salt }
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        count: usize,
        size: usize,
    },
    Write,
    /// A sync begins; others go on meanwhile.
    BeginSync,
    FinishSync,
    Sync,
    /// All but so many of the durable records are held elsewhere; the files are removed now, or not before the next start.
    Cut {
        keep: u64,
        now: bool,
    },
    /// A process ends and another one begins: what was written is there.
    Restart,
    Crash,
    /// A sync fails, and the process with it.
    SyncFails,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1usize..6, prop_oneof![0usize..80, 0usize..1500, 4000usize..6000]).prop_map(|(count, size)| Step::Append { count, size }),
        6 => Just(Step::Write),
        3 => Just(Step::BeginSync),
        3 => Just(Step::FinishSync),
        2 => Just(Step::Sync),
        3 => (prop_oneof![0u64..4, 0u64..20], any::<bool>()).prop_map(|(keep, now)| Step::Cut { keep, now }),
        1 => Just(Step::Restart),
        2 => Just(Step::Crash),
        1 => Just(Step::SyncFails),
    ]
}

/// A journal under test beside what it must hold.
struct Pair {
    disk: TappedDisk,
    journal: Journal<TappedDisk>,
    job: Option<SyncJob<TappedDisk>>,
    /// The content of each record ever appended, from sequence 1.
    records: Vec<Vec<u8>>,
    /// Held elsewhere up to here.
    after: Sequence,
    /// Known to be durable up to here.
    durable: Sequence,
    rng: Rng,
}

/// What a journal holds after `after`: it must be the model's, and reach at least to `durable`.
fn found<D: Disk>(disk: &D, records: &[Vec<u8>], after: Sequence, durable: Sequence, salt: u64) -> OpenedJournal<D> {
    let mut next = after.next();
    let opened = open(disk, options(salt), after, |sequence, record| {
        assert_eq!(sequence, next, "without gaps");
        assert_eq!(record, records[sequence.0 as usize - 1], "record {sequence}");
        next = sequence.next();
    });
    let opened = opened.unwrap_or_else(|error| panic!("what was not synced is no damage: {error}"));
    assert_eq!(opened.last.next(), next);
    assert!(!opened.is_new || durable == Sequence(0), "a journal does not vanish");
    assert!(opened.last >= durable, "{} is gone, and up to {durable} was durable", opened.last.next());
    opened
}

impl Pair {
    fn new(seed: u64) -> Self {
        let disk = TappedDisk::default();
        let OpenedJournal { journal, last, is_new, was_torn } = found(&disk, &[], Sequence(0), Sequence(0), seed);
        assert!(last == Sequence(0) && is_new && !was_torn);
        Pair { disk, journal, job: None, records: Vec::new(), after: last, durable: last, rng: Rng::with_seed(seed) }
    }

    fn append(&mut self, count: usize, size: usize) {
        for _ in 0..count {
            let length = self.rng.usize(0..=size);
            let record: Vec<u8> = std::iter::repeat_with(|| self.rng.u8(..)).take(length).collect();
            self.records.push(record);
            assert_eq!(self.journal.append(self.records.last().unwrap()).0, self.records.len() as u64);
        }
    }

    /// Takes the step, and checks what a power failure at any moment of it would leave.
    fn step(&mut self, step: &Step) {
        self.disk.tap();
        // What holds at the beginning of the step and at its end; between them, the lesser.
        let (after, durable) = (self.after, self.durable);
        match *step {
            Step::Append { count, size } => self.append(count, size),
            Step::Write => self.journal.write().unwrap(),
            Step::BeginSync => self.job = self.journal.begin_sync().unwrap().or(self.job.take()),
            Step::FinishSync => self.finish_sync(),
            Step::Sync => {
                self.finish_sync();
                self.durable = self.journal.sync().unwrap();
                assert_eq!(self.durable.0, self.records.len() as u64);
            }
            Step::Cut { keep, now } => self.cut(keep, now),
            Step::Restart => self.reopen(self.disk.inner.fork()),
            Step::Crash => self.crash(),
            Step::SyncFails => self.fail_sync(),
        }
        for moment in self.disk.untap() {
            let after_crash = moment.crashed(|| self.rng.bool());
            found(&after_crash, &self.records, after.max(self.after), durable.min(self.durable), 1);
        }
    }

    fn finish_sync(&mut self) {
        if let Some(job) = self.job.take() {
            let through = job.through();
            assert_eq!(self.journal.finish_sync(job.run()), Ok(through));
            assert_eq!(self.journal.durable(), through);
            self.durable = through;
        }
    }

    fn cut(&mut self, keep: u64, now: bool) {
        let through = Sequence(self.durable.0.saturating_sub(keep)).max(self.after);
        let before = self.journal.file_count();
        // It is so before the journal hears of it, and after a crash in between.
        self.after = through;
        let job = self.journal.cut(through);
        let removed = job.as_ref().map_or(0, CutJob::file_count);
        assert!(removed + self.journal.file_count() == before && self.journal.file_count() > 0);
        if let Some(job) = job.filter(|_| now) {
            job.run().unwrap();
        }
    }

    fn crash(&mut self) {
        let all = self.rng.u8(..4);
        let disk = self.disk.inner.crashed(|| all == 0 || (all > 1 && self.rng.bool()));
        self.reopen(disk);
    }

    fn reopen(&mut self, inner: MemoryDisk) {
        let salt = self.rng.u64(..);
        self.job = None;
        self.disk = TappedDisk::default();
        self.disk.inner = inner;
        self.disk.tap();
        let opened = found(&self.disk, &self.records, self.after, self.durable, salt);
        let opening = self.disk.untap();
        for moment in opening {
            found(&moment.crashed(|| self.rng.bool()), &self.records, self.after, self.durable, 2);
        }
        // What was found is durable.
        found(&self.disk.inner.crashed(|| false), &self.records, self.after, opened.last, 3);
        self.records.truncate(opened.last.0 as usize);
        (self.journal, self.durable) = (opened.journal, opened.last);
    }

    fn fail_sync(&mut self) {
        self.finish_sync();
        self.journal.write().unwrap();
        if let Some(job) = self.journal.begin_sync().unwrap() {
            self.disk.inner.fail_syncs(true);
            let poisoned = self.journal.finish_sync(job.run()).unwrap_err();
            self.disk.inner.fail_syncs(false);
            assert!(matches!(poisoned, JournalError::Poisoned(_)));
            let writes = self.disk.inner.write_count();
            self.journal.append(b"never written");
            assert_eq!(self.journal.write(), Err(poisoned.clone()));
            assert_eq!(self.journal.begin_sync().unwrap_err(), poisoned);
            assert_eq!(self.disk.inner.write_count(), writes, "nothing is tried again");
            self.reopen(self.disk.inner.fork());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// What was synced is there after every crash, what is there is a prefix, and nothing is made up.
    #[test]
    fn a_journal_is_its_model_through_crashes_at_every_moment(seed: u64, steps in prop::collection::vec(step(), 1..40)) {
        let mut pair = Pair::new(seed);
        for step in &steps {
            pair.step(step);
        }
        pair.step(&Step::Crash);
    }

    /// Bytes that mean nothing, under the names of a journal: opening ends, with an error or without.
    #[test]
    fn files_of_garbage_do_no_harm(files in prop::collection::vec((0u32..4, prop::collection::vec(any::<u8>(), 0..3000)), 0..4), zeros in 0usize..1024) {
        let disk = MemoryDisk::new();
        for (number, bytes) in files {
            let name = format!("journal-{number:08x}");
            disk.create(&name).unwrap();
            disk.edit(&name, |content| *content = [&vec![0; zeros][..], &bytes].concat());
        }
        let _ = open(&disk, options(1), Sequence(0), |_, _| panic!("nobody wrote a record"));
    }

    /// A few bytes of a real journal changed: no panic, and nothing is told that was not written.
    #[test]
    fn damaged_files_do_no_harm(seed: u64, edits in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u8>()), 1..20)) {
        let (disk, records) = sample(seed);
        let names = disk.list().unwrap();
        for (name, at, byte) in edits {
            disk.edit(&names[name as usize % names.len()], |bytes| {
                let at = at as usize % bytes.len();
                bytes[at] = byte;
            });
        }
        let _ = open(&disk, options(1), Sequence(0), |sequence, record| assert_eq!(record, records[sequence.0 as usize - 1]));
    }
}

/// A journal of several files, all of it durable, in writes of one and of several records.
fn sample(seed: u64) -> (MemoryDisk, Vec<Vec<u8>>) {
    let mut pair = Pair::new(seed);
    for (count, size) in [(1, 20), (3, 200), (2, 900), (1, 1500), (5, 30), (2, 700), (1, 2000), (1, 10), (3, 90)] {
        pair.append(count, size);
        pair.step(&Step::Sync);
    }
    (pair.disk.inner.fork(), pair.records)
}

/// How many records are found, or why not.
fn count(disk: &MemoryDisk, records: &[Vec<u8>]) -> Result<usize, JournalError> {
    let mut count = 0;
    open(disk, options(9), Sequence(0), |sequence, record| {
        assert_eq!(record, records[sequence.0 as usize - 1]);
        count += 1;
    })?;
    Ok(count)
}

/// Each damage to a copy of the sample: all records are there, or it is said that they are not.
fn each_damage(
    seed: u64,
    places: impl Fn(usize) -> Vec<usize>,
    damage: impl Fn(&mut Vec<u8>, usize),
    least: impl Fn(&str, usize) -> usize,
) {
    let (disk, records) = sample(seed);
    let mut noticed = 0;
    for name in disk.list().unwrap() {
        for place in places(disk.bytes(&name).len()) {
            let damaged = disk.fork();
            damaged.edit(&name, |bytes| damage(bytes, place));
            match count(&damaged, &records) {
                Ok(count) => assert!(count >= least(&name, records.len()), "{name}, {place}: {count} of {}", records.len()),
                Err(JournalError::Damaged { .. } | JournalError::Missing { .. }) => noticed += 1,
                Err(error) => panic!("{name}, {place}: {error}"),
            }
        }
    }
    assert!(noticed > 0);
}

#[test]
fn no_flipped_byte_loses_a_record_in_silence() {
    each_damage(1, |length| (0..length).collect(), |bytes, at| bytes[at] ^= 1 << (at % 8), |_, all| all);
}

#[test]
fn no_bad_sector_loses_a_record_in_silence() {
    for fill in [0xff, 0x5a] {
        each_damage(
            2,
            |length| (0..length / SECTOR).collect(),
            |bytes, sector| bytes[sector * SECTOR..(sector + 1) * SECTOR].fill(fill),
            |_, all| all,
        );
    }
}

/// Zeros and a file's end may be what a power failure leaves; but only of the last write (of three records), for which nothing vouches.
#[test]
fn what_looks_torn_is_damage_if_a_later_record_vouches_for_it() {
    let zeros = |bytes: &mut Vec<u8>, sector: usize| bytes[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
    each_damage(3, |length| (0..length / SECTOR).collect(), zeros, |_, all| all - 3);
    // Without its end the last file vouches for nothing of what it held.
    let newest = sample(3).0.list().unwrap().pop().unwrap();
    let least = |name: &str, all: usize| if name == newest { 0 } else { all };
    each_damage(3, |length| (0..length).step_by(7).collect(), |bytes, length| bytes.truncate(length), least);
}

#[test]
fn a_missing_file_is_noticed() {
    let (disk, records) = sample(4);
    let names = disk.list().unwrap();
    assert!(names.len() >= 3, "the sample has several files: {names:?}");
    for name in &names[..names.len() - 1] {
        let missing = disk.fork();
        missing.remove(name).unwrap();
        let error = count(&missing, &records).unwrap_err();
        let expected =
            if name == &names[0] { matches!(error, JournalError::Missing { .. }) } else { matches!(error, JournalError::Damaged { .. }) };
        assert!(expected, "{name}: {error}");
    }
}

#[test]
fn damage_in_the_middle_is_told_with_its_place_and_changes_nothing() {
    let (disk, records) = sample(5);
    let name = disk.list().unwrap().swap_remove(0);
    disk.edit(&name, |bytes| bytes[2 * SECTOR + 9] ^= 1);
    let before = disk.bytes(&name);
    let error = count(&disk, &records).unwrap_err();
    let JournalError::Damaged { file, offset, sequence, because } = &error else { panic!("{error}") };
    assert_eq!((file, *offset, *sequence, *because), (&name, 1024, Sequence(1), Because::WasDurable));
    assert_eq!(
        error.to_string(),
        "journal-00000001 is damaged at byte 1024, where record 1 of the journal belongs: a later record says that it was durable"
    );
    assert_eq!(disk.bytes(&name), before);
}

#[test]
fn a_full_disk_poisons() {
    let mut pair = Pair::new(6);
    pair.step(&Step::Append { count: 3, size: 100 });
    pair.step(&Step::Sync);
    pair.disk.inner.set_capacity(Some(pair.disk.used()));
    let appended = pair.journal.append(&[7; 5000]);
    assert!(matches!(pair.journal.write(), Err(JournalError::Poisoned(_))));
    pair.disk.inner.set_capacity(None);
    assert!(matches!(pair.journal.write(), Err(JournalError::Poisoned(_))), "it is not tried again");
    assert_eq!(found(&pair.disk.inner, &pair.records, Sequence(0), Sequence(3), 1).last.next(), appended);
}

#[test]
fn one_write_and_one_sync_for_many_records() {
    let mut pair = Pair::new(7);
    pair.step(&Step::Append { count: 1, size: 10 });
    pair.step(&Step::Sync);
    let (writes, syncs) = (pair.disk.inner.write_count(), pair.disk.inner.sync_count());
    pair.append(20, 40);
    pair.journal.write().unwrap();
    let job = pair.journal.begin_sync().unwrap().unwrap();
    assert!(pair.journal.begin_sync().unwrap().is_none(), "one at a time");
    assert!(pair.journal.finish_sync(job.run()).unwrap() == Sequence(21) && pair.journal.begin_sync().unwrap().is_none());
    assert_eq!((pair.disk.inner.write_count(), pair.disk.inner.sync_count()), (writes + 1, syncs + 1));
}

#[test]
fn a_cut_removes_whole_files_that_are_durable_and_the_next_start_the_rest() {
    let (disk, records) = sample(8);
    let all = Sequence(records.len() as u64);
    let OpenedJournal { mut journal, .. } = open(&disk, options(1), Sequence(0), |_, _| ()).unwrap();
    assert!(journal.cut(Sequence(0)).is_none());
    let files = journal.file_count();
    let job = journal.cut(Sequence(12)).unwrap();
    assert_eq!(job.file_count() + journal.file_count(), files);
    job.run().unwrap();
    assert_eq!(disk.list().unwrap().len(), journal.file_count());
    journal.append(&[1; 5000]);
    journal.append(&[2; 5000]);
    journal.write().unwrap();
    let files = journal.file_count();
    let kept = journal.cut(Sequence(all.0 + 2)).unwrap();
    assert_eq!((kept.file_count(), journal.file_count() >= 3), (files - journal.file_count(), true), "what is not durable is kept");
    drop(kept);
    journal.sync().unwrap();
    drop(journal);
    let mut told = Vec::new();
    let opened = open(&disk, options(2), all.next(), |sequence, record| told.push((sequence, record.to_vec()))).unwrap();
    assert_eq!((opened.last, told), (Sequence(all.0 + 2), vec![(Sequence(all.0 + 2), vec![2; 5000])]));
    assert_eq!((opened.journal.file_count(), disk.list().unwrap().len()), (2, 2), "a start removes what is not needed");
    assert!(matches!(count(&disk, &records), Err(JournalError::Missing { needed: Sequence(1), .. })));
}
