//! The log against its model: random histories with crashes at every moment, and every single damage to small logs.

mod log_support;

use log_support::{Model, Pair, SMALL, Step, check_damaged};
use proptest::prelude::*;
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::log::{LogContents, LogEnding, open};
use steadfast_types::disk::Disk;
use steadfast_types::{Entry, HardState, Rng, Term};

const SECTOR: usize = 512;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..5, prop_oneof![0usize..80, 0usize..1500], any::<bool>(), any::<bool>())
            .prop_map(|(count, size, new_term, hard_state)| Step::Append { count, size, new_term, hard_state }),
        2 => (1u64..6, 1usize..4, 0usize..600).prop_map(|(back, count, size)| Step::Replace { back, count, size }),
        4 => Just(Step::Sync),
        1 => (0u64..6).prop_map(|keep| Step::Compact { keep }),
        1 => (1u64..9).prop_map(|ahead| Step::Reset { ahead }),
        1 => (0usize..6000).prop_map(|room| Step::Full { room }),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was synced survives every crash, and what was not leaves no trace of harm.
    #[test]
    fn a_log_is_its_model_through_crashes_at_every_moment(seed: u64, steps in prop::collection::vec(step(), 1..40)) {
        let mut pair = Pair::new(seed, SMALL);
        for step in &steps {
            pair.step(step);
            pair.check();
        }
    }

    /// A crash and then decay of a few synced sectors: nothing is lost in silence, and what decays elsewhere does no harm.
    #[test]
    fn decay_after_a_crash_is_noticed(seed: u64, steps in prop::collection::vec(step(), 1..30), sectors in 1usize..4) {
        let mut pair = Pair::new(seed, SMALL);
        for step in &steps {
            pair.step(step);
        }
        let disk = pair.disk.inner.crashed(|| pair.rng.bool());
        pair.reopen_on(disk);
        let disk = pair.disk.inner.fork();
        for _ in 0..sectors {
            damage_a_sector(&disk, &mut pair.rng);
        }
        // With several sectors gone all signs of the newest hard state may be among them: then there may be nothing left to open.
        if open(&disk.fork(), SMALL).is_ok() {
            check_many_damages(&disk, pair.model(), &pair.ever);
        }
    }
}

fn damage_a_sector(disk: &MemoryDisk, rng: &mut Rng) {
    let names = disk.list().unwrap();
    let name = &names[rng.usize(..names.len())];
    let sector = rng.usize(..disk.bytes(name).len() / SECTOR);
    let (at, mask) = (sector * SECTOR + rng.usize(..SECTOR), rng.u8(1..));
    disk.edit(name, |bytes| bytes[at] ^= mask);
}

/// As [`check_damaged`], where more than one sector is damaged: the start may be forgotten too.
fn check_many_damages(disk: &MemoryDisk, model: &Model, ever: &[Entry]) {
    let contents = open(&disk.fork(), SMALL).unwrap().contents;
    if contents.start == model.start {
        check_damaged(disk, SMALL, model, ever);
    } else {
        assert!(contents.hard_state.suspect && contents.start.index < model.start.index, "{contents:?}");
    }
}

/// A history with all there is: several segments, batches of one and of several sectors, cuts, votes, a compaction.
fn sample(seed: u64) -> Pair {
    let mut pair = Pair::new(seed, SMALL);
    for round in 0..3 {
        let steps = [
            Step::Append { count: 2, size: 100, new_term: true, hard_state: true },
            Step::Append { count: 3, size: 700, new_term: false, hard_state: false },
            Step::Replace { back: 2, count: 1, size: 50 },
            Step::Append { count: 1, size: 10, new_term: false, hard_state: false },
        ];
        for step in &steps {
            pair.step(step);
            pair.step(&Step::Sync);
        }
        if round == 1 {
            pair.step(&Step::Compact { keep: 5 });
        }
    }
    pair
}

/// Applies each damage to a copy of the sample's disk; `judge` gets what was found in each.
fn each_damage(
    pair: &Pair,
    damages: impl Fn(&str, usize) -> Vec<usize>,
    damage: impl Fn(&mut Vec<u8>, usize),
    judge: impl Fn(&LogContents),
) {
    for name in pair.disk.inner.list().unwrap() {
        for place in damages(&name, pair.disk.inner.bytes(&name).len()) {
            let disk = pair.disk.inner.fork();
            disk.edit(&name, |bytes| damage(bytes, place));
            judge(&check_damaged(&disk, SMALL, pair.model(), &pair.ever));
        }
    }
}

#[test]
fn no_flipped_byte_loses_an_entry_in_silence() {
    for seed in 0..2 {
        let pair = sample(seed);
        let single = |contents: &LogContents| assert!(!contents.hard_state_lost, "one sector never loses the hard state: {contents:?}");
        each_damage(&pair, |_, length| (0..length).collect(), |bytes, at| bytes[at] ^= 1 << (at % 8), single);
    }
}

#[test]
fn no_cut_file_loses_an_entry_in_silence() {
    let pair = sample(3);
    each_damage(&pair, |_, length| (1..length).collect(), |bytes, length| bytes.truncate(length), |_| {});
}

#[test]
fn no_bad_sector_loses_an_entry_in_silence() {
    let pair = sample(4);
    let sectors = |_: &str, length: usize| (0..length / SECTOR).collect::<Vec<_>>();
    for fill in [0, 0xff, 0x5a] {
        each_damage(&pair, sectors, |bytes, sector| bytes[sector * SECTOR..(sector + 1) * SECTOR].fill(fill), |_| {});
    }
}

/// A misdirected write: a sector of the log stands where another should.
#[test]
fn no_misplaced_sector_loses_an_entry_in_silence() {
    let pair = sample(5);
    for from in pair.disk.inner.list().unwrap() {
        let source = pair.disk.inner.bytes(&from);
        for sector in source.chunks(SECTOR) {
            let sectors = |_: &str, length: usize| (0..length / SECTOR).collect::<Vec<_>>();
            each_damage(&pair, sectors, |bytes, to| bytes[to * SECTOR..(to + 1) * SECTOR].copy_from_slice(sector), |_| {});
        }
    }
}

/// Damage before the last batch never costs what stands behind it.
#[test]
fn damage_in_the_middle_keeps_the_end() {
    let pair = sample(6);
    let names = pair.disk.inner.list().unwrap();
    assert!(names.len() >= 2, "the sample has several segments: {names:?}");
    let (newest, earlier) = names.split_last().unwrap();
    let in_middle = |name: &str, length: usize| if name == newest { (0..2 * SECTOR).collect() } else { (0..length).collect::<Vec<_>>() };
    assert!(!earlier.is_empty());
    let kept = |contents: &LogContents| {
        assert_eq!((contents.ending, contents.last), (LogEnding::Clean, pair.model().last()));
    };
    each_damage(&pair, in_middle, |bytes, at| bytes[at] ^= 0x10, kept);
}

/// All ways in which the sectors of the last batches can be torn, for small batches; each must recover every synced batch without suspicion.
#[test]
fn every_torn_write_is_recognised() {
    let mut rng = Rng::with_seed(7);
    for sizes in [&[10][..], &[900], &[2000], &[10, 10], &[900, 10], &[10, 900, 10]] {
        let mut pair = Pair::new(8, SMALL);
        pair.step(&Step::Append { count: 3, size: 40, new_term: true, hard_state: true });
        pair.step(&Step::Sync);
        let term = pair.term;
        for (&size, vote) in sizes.iter().zip([false, true, false]) {
            let mut model = pair.model().clone();
            let entries = log_support::entries_after(model.last(), term, 1, 0, &mut rng);
            let entries = [log_support::entry(term.0, entries[0].index.0, &vec![7; size])];
            let hard_state = vote.then_some(HardState { term: Term(term.0 + 1), ..HardState::default() });
            pair.writer.append(hard_state.as_ref(), None, &entries).unwrap();
            model.append(hard_state, None, &entries);
            pair.states.push(model);
        }
        let mut unsynced = 0;
        let _ = pair.disk.inner.crashed(|| {
            unsynced += 1;
            true
        });
        for mask in 0u32..1 << unsynced {
            let mut bit = 0;
            let disk = pair.disk.inner.crashed(|| {
                bit += 1;
                mask & (1 << (bit - 1)) != 0
            });
            let opened = open(&disk, SMALL).unwrap();
            assert!(pair.states.iter().any(|model| model.is(&opened)), "{sizes:?} {mask:b}: {:?}", opened.contents);
        }
    }
}
