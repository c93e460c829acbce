//! The log, promise by promise.

mod log_support;

use log_support::{Model, SMALL, entry, read_all};
use steadfast_storage::disk::{FileDisk, MemoryDisk};
use steadfast_storage::log::{LogEnding, LogError, LogOptions, OpenedLog, open};
use steadfast_types::disk::Disk;
use steadfast_types::{Entry, HardState, LogIndex, LogPosition, NodeId, Rng, Term};

/// One segment holds all that these tests write.
const ONE_SEGMENT: LogOptions = LogOptions { segment_bytes: 8192 };

fn position(term: u64, index: u64) -> LogPosition {
    LogPosition::new(Term(term), LogIndex(index))
}

fn voted(term: u64, node: u64) -> HardState {
    HardState { term: Term(term), vote: Some(NodeId(node)), suspect: false }
}

/// A log of `count` synced entries of 100 bytes, each in a batch of its own.
fn log_of(disk: &MemoryDisk, options: LogOptions, count: u64) -> OpenedLog<MemoryDisk> {
    let mut log = open(disk, options).unwrap();
    for index in 1..=count {
        log.writer.append(None, None, &[entry(1, index, &[index as u8; 100])]).unwrap();
        log.writer.sync().unwrap();
    }
    log
}

#[test]
fn a_real_directory_keeps_a_log() {
    let directory = tempfile::tempdir().unwrap();
    let entries: Vec<Entry> = (1..50).map(|index| entry(1, index, &vec![3; 10 * index as usize])).collect();
    {
        let mut log = open(&FileDisk::open(directory.path()).unwrap(), SMALL).unwrap();
        for batch in entries.chunks(7) {
            log.writer.append(Some(&voted(1, 7)), None, batch).unwrap();
            log.writer.sync().unwrap();
        }
        log.writer.compact(position(1, 5)).unwrap();
    }
    let log = open(&FileDisk::open(directory.path()).unwrap(), SMALL).unwrap();
    let model = Model { hard_state: voted(1, 7), start: position(1, 5), entries: entries[5..].to_vec() };
    assert!(model.is(&log), "{:?}", log.contents);
}

#[test]
fn a_batch_costs_one_write_and_one_sync() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, LogOptions::default(), 1);
    let (writes, syncs) = (disk.write_count(), disk.sync_count());
    let entries: Vec<Entry> = (2..102).map(|index| entry(1, index, &[0; 300])).collect();
    log.writer.append(Some(&voted(1, 1)), None, &entries).unwrap();
    log.writer.sync().unwrap();
    log.writer.sync().unwrap();
    assert_eq!((disk.write_count() - writes, disk.sync_count() - syncs), (1, 1));
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, SMALL, 2);
    log.writer.append(None, None, &[entry(1, 3, b"lost")]).unwrap();
    disk.fail_syncs(true);
    assert!(matches!(log.writer.sync(), Err(LogError::Poisoned(_))));
    disk.fail_syncs(false);
    let syncs = disk.sync_count();
    assert!(matches!(log.writer.sync(), Err(LogError::Poisoned(_))));
    assert!(matches!(log.writer.append(None, None, &[entry(1, 4, b"")]), Err(LogError::Poisoned(_))));
    assert!(matches!(log.writer.compact(position(1, 1)), Err(LogError::Poisoned(_))));
    assert!(matches!(log.writer.reset(position(1, 9), &voted(1, 1)), Err(LogError::Poisoned(_))));
    assert!(matches!(log.writer.repair(&[entry(1, 1, &[1; 100])]), Err(LogError::Poisoned(_))));
    assert_eq!(disk.sync_count(), syncs);
}

/// After a failed sync the page cache shows what the disk may not have: the next start writes it once more before it believes it.
#[test]
fn what_was_not_proven_durable_is_durable_after_a_restart() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, SMALL, 2);
    log.writer.append(Some(&voted(4, 2)), None, &[entry(1, 3, &[1; 900]), entry(1, 4, b"here")]).unwrap();
    drop(log);
    let writes = disk.write_count();
    assert_eq!(open(&disk, SMALL).unwrap().contents.last, position(1, 4));
    assert!(disk.write_count() > writes, "syncing alone would prove nothing");
    let contents = open(&disk.crashed(|| false), SMALL).unwrap().contents;
    assert_eq!((contents.last, contents.hard_state), (position(1, 4), voted(4, 2)));
}

/// Of a batch that is nothing but a hard state its header is on the disk twice, so that damage to one sector can't take it. A crash may leave the second alone.
#[test]
fn a_hard_state_of_which_a_crash_left_the_copy_alone_is_made_whole() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, ONE_SEGMENT, 2);
    log.writer.append(Some(&voted(4, 2)), None, &[]).unwrap();
    let mut sectors = 0;
    let torn = disk.crashed(|| {
        sectors += 1;
        sectors == 2
    });
    assert_eq!(open(&torn, ONE_SEGMENT).unwrap().contents.hard_state, voted(4, 2), "the copy says all");
    let name = "log-00000001";
    let first = torn.bytes(name).windows(8).rposition(|bytes| bytes == [4, 0, 0, 0, 0, 0, 0, 0]).expect("the copy's term");
    for sector in [first / 512 - 1, first / 512] {
        let torn = torn.fork();
        torn.edit(name, |bytes| bytes[sector * 512 + 100] ^= 1);
        let contents = open(&torn, ONE_SEGMENT).unwrap().contents;
        assert_eq!(contents.hard_state.term, Term(4), "sector {sector}");
    }
}

#[test]
fn a_full_disk_changes_nothing() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, ONE_SEGMENT, 3);
    disk.set_capacity(Some(disk.bytes("log-00000001").len()));
    let large = [entry(1, 4, &[9; 9000])];
    assert_eq!(log.writer.append(None, None, &large), Err(LogError::Full));
    assert_eq!(log.writer.reset(position(2, 50), &voted(2, 1)), Err(LogError::Full));
    assert_eq!(log.writer.last(), position(1, 3));
    log.writer.append(None, None, &[entry(1, 4, b"small ones still fit")]).unwrap();
    log.writer.sync().unwrap();
    disk.set_capacity(None);
    log.writer.append(None, Some(LogIndex(4)), &large).unwrap();
    log.writer.sync().unwrap();
    let log = open(&disk.crashed(|| false), ONE_SEGMENT).unwrap();
    assert_eq!(read_all(&log.reader, LogIndex(3)), large);
}

#[test]
fn an_entry_damaged_under_a_running_log_is_noticed_and_mended() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, ONE_SEGMENT, 5);
    let at = find(&disk.bytes("log-00000001"), &[3; 100]);
    disk.edit("log-00000001", |bytes| bytes[at + 50] ^= 1);
    let wanted: Vec<Entry> = (1..=5).map(|index| entry(1, index, &[index as u8; 100])).collect();
    assert_eq!(log.reader.read(LogIndex(1), 10_000).unwrap(), wanted[..2], "what stands before it is handed out");
    assert_eq!(log.reader.read(LogIndex(3), 10_000), Err(LogError::Damaged { index: LogIndex(3) }));
    assert_eq!(log.writer.repair(&[entry(2, 3, b"")]), Err(LogError::NotARepair { position: position(2, 3) }));
    assert_eq!(log.writer.repair(&[entry(1, 6, b"")]), Err(LogError::NotARepair { position: position(1, 6) }));
    log.writer.repair(&wanted[2..3]).unwrap();
    assert_eq!(read_all(&log.reader, LogIndex(0)), wanted);
    let again = open(&disk.crashed(|| false), ONE_SEGMENT).unwrap();
    assert_eq!((again.contents.holes.len(), read_all(&again.reader, LogIndex(0))), (0, wanted));
    assert!(!again.contents.hard_state.suspect);
}

#[test]
fn a_hole_is_reported_and_what_follows_is_kept() {
    let disk = MemoryDisk::new();
    log_of(&disk, ONE_SEGMENT, 5);
    let at = find(&disk.bytes("log-00000001"), &[3; 100]);
    disk.edit("log-00000001", |bytes| bytes[at - 100..at].fill(0xff));
    let contents = open(&disk, ONE_SEGMENT).unwrap().contents;
    assert_eq!((contents.holes, contents.last, contents.ending), (vec![LogIndex(3)..LogIndex(4)], position(1, 5), LogEnding::Clean));
    assert!(contents.hard_state.suspect && open(&disk.crashed(|| false), ONE_SEGMENT).unwrap().contents.hard_state.suspect);
}

/// A disk that confirmed a write and lost it leaves the blanks that were there before. If later batches say that it was synced it is a hole,
/// not a torn end.
#[test]
fn a_write_lost_without_a_trace_is_a_hole_if_others_follow() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, ONE_SEGMENT, 2);
    let before = disk.bytes("log-00000001");
    for index in 3..=5 {
        log.writer.append(None, None, &[entry(1, index, &[index as u8; 100])]).unwrap();
        log.writer.sync().unwrap();
    }
    let at = find(&disk.bytes("log-00000001"), &[3; 100]) / 512 * 512;
    disk.edit("log-00000001", |bytes| bytes[at..at + 512].copy_from_slice(&before[at..at + 512]));
    let contents = open(&disk, ONE_SEGMENT).unwrap().contents;
    assert_eq!((contents.holes, contents.last, contents.ending), (vec![LogIndex(3)..LogIndex(4)], position(1, 5), LogEnding::Clean));
    assert!(contents.hard_state.suspect);
}

/// The last write went astray: its place looks as if it had never been made, but it stands elsewhere.
#[test]
fn a_last_write_found_elsewhere_makes_the_node_suspect() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, ONE_SEGMENT, 2);
    let before = disk.bytes("log-00000001");
    log.writer.append(None, None, &[entry(1, 3, &[3; 100])]).unwrap();
    log.writer.sync().unwrap();
    let at = find(&disk.bytes("log-00000001"), &[3; 100]) / 512 * 512;
    disk.edit("log-00000001", |bytes| {
        bytes.copy_within(at..at + 512, at + 1024);
        bytes[at..at + 512].copy_from_slice(&before[at..at + 512]);
    });
    let contents = open(&disk, ONE_SEGMENT).unwrap().contents;
    assert_eq!((contents.last, contents.ending, contents.hard_state.suspect), (position(1, 2), LogEnding::Damaged, true));
}

/// Two batches, then one sync, then a bad sector: nobody says that the first was synced, but nothing proves that it was not.
#[test]
fn damage_before_an_unproven_end_keeps_the_end() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, ONE_SEGMENT, 2);
    for index in 3..=4 {
        log.writer.append(None, None, &[entry(1, index, &[index as u8; 100])]).unwrap();
    }
    log.writer.sync().unwrap();
    let at = find(&disk.bytes("log-00000001"), &[3; 100]);
    for damaged in [at, at / 512 * 512] {
        let disk = disk.fork();
        disk.edit("log-00000001", |bytes| bytes[damaged] ^= 1);
        let log = open(&disk, ONE_SEGMENT).unwrap();
        assert_eq!((log.contents.holes, log.contents.last), (vec![LogIndex(3)..LogIndex(4)], position(1, 4)));
        assert!(log.contents.hard_state.suspect);
        assert_eq!(log.reader.read(LogIndex(4), 1).unwrap(), [entry(1, 4, &[4; 100])]);
    }
}

/// The batch that replaced entries 2 to 4 is lost: the old ones must not come back in its place.
#[test]
fn what_a_lost_batch_replaced_does_not_come_back() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, ONE_SEGMENT, 4);
    for (cut, first) in [(Some(2), 2), (None, 3), (None, 4)] {
        log.writer.append(None, cut.map(LogIndex), &[entry(2, first, &[40 + first as u8; 100])]).unwrap();
        log.writer.sync().unwrap();
    }
    let at = find(&disk.bytes("log-00000001"), &[42; 100]);
    disk.edit("log-00000001", |bytes| bytes[at] ^= 1);
    assert_eq!(open(&disk.fork(), ONE_SEGMENT).unwrap().contents.holes, [LogIndex(2)..LogIndex(3)], "the header is intact");
    disk.edit("log-00000001", |bytes| bytes[at - 150] ^= 1);
    let log = open(&disk, ONE_SEGMENT).unwrap();
    assert_eq!(log.contents.holes, [LogIndex(2)..LogIndex(3)], "the header is lost too");
    assert_eq!(log.reader.read(LogIndex(3), 1).unwrap()[0].term, Term(2));
}

#[test]
fn damage_to_the_last_batch_makes_the_node_suspect_and_keeps_its_vote() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, ONE_SEGMENT, 3);
    log.writer.append(Some(&voted(7, 2)), None, &[entry(1, 4, &[4; 100])]).unwrap();
    log.writer.sync().unwrap();
    let at = find(&disk.bytes("log-00000001"), &[4; 100]);
    for damaged in [at, at - 150] {
        let disk = disk.fork();
        disk.edit("log-00000001", |bytes| bytes[damaged] ^= 1);
        let contents = open(&disk, ONE_SEGMENT).unwrap().contents;
        assert_eq!((contents.ending, contents.last, contents.hard_state_lost), (LogEnding::Damaged, position(1, 3), false));
        assert_eq!(contents.hard_state, HardState { suspect: true, ..voted(7, 2) });
        // The suspicion is durable, and goes when the node says so.
        let mut log = open(&disk.crashed(|| false), ONE_SEGMENT).unwrap();
        assert_eq!((log.contents.ending, log.contents.hard_state.suspect), (LogEnding::Clean, true));
        log.writer.append(Some(&voted(8, 1)), None, &[entry(8, 4, b"new")]).unwrap();
        log.writer.sync().unwrap();
        assert_eq!(log.writer.last(), position(8, 4));
        assert_eq!(log.writer.hard_state(), voted(8, 1));
    }
}

#[test]
fn a_log_of_a_later_format_is_refused_untouched() {
    let disk = MemoryDisk::new();
    log_of(&disk, ONE_SEGMENT, 3);
    disk.edit("log-00000001", |bytes| {
        bytes[4] = 2;
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..8]), &bytes[12..176]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    });
    let before = disk.bytes("log-00000001");
    let refused = open(&disk, ONE_SEGMENT).unwrap_err();
    assert_eq!(refused, LogError::NewerFormat { file: "log-00000001".to_owned(), version: 2 });
    assert!(refused.to_string().contains("run the newer version"));
    assert!(disk.bytes("log-00000001") == before && disk.list().unwrap().len() == 1);
}

#[test]
fn a_log_of_which_nothing_is_left_is_refused() {
    let disk = MemoryDisk::new();
    log_of(&disk, ONE_SEGMENT, 3);
    disk.edit("log-00000001", |bytes| bytes.fill(0));
    assert_eq!(open(&disk, ONE_SEGMENT).unwrap_err(), LogError::Unreadable);
}

#[test]
fn files_of_others_are_left_alone() {
    let disk = MemoryDisk::new();
    for name in ["log-book", "table-1", "log-0000000G"] {
        disk.create(name).unwrap();
    }
    disk.create("log-new").unwrap();
    log_of(&disk, SMALL, 1);
    assert_eq!(disk.list().unwrap(), ["log-00000001", "log-0000000G", "log-book", "table-1"]);
}

#[test]
fn segments_come_and_go() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, SMALL, 60);
    let files = disk.list().unwrap().len();
    assert!(files > 5, "{files}");
    assert_eq!(log.writer.size_bytes(), 4096 * files as u64);
    let point = log.writer.compaction_point(1000);
    let kept = log.writer.bytes_after(point.index);
    assert!((1000..1200).contains(&kept), "{kept}");
    log.writer.compact(point).unwrap();
    assert!(disk.list().unwrap().len() <= 4);
    assert_eq!(log.writer.compaction_point(u64::MAX), point);
    log.writer.compact(position(1, 60)).unwrap();
    let log = open(&disk.crashed(|| true), SMALL).unwrap();
    assert_eq!((log.contents.start, log.contents.last), (position(1, 60), position(1, 60)));
    assert_eq!(disk.list().unwrap().len(), 1);
}

#[test]
fn removals_that_a_crash_undid_are_made_up_for() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, SMALL, 30);
    let files = disk.list().unwrap().len();
    log.writer.compact(position(1, 30)).unwrap();
    let disk = disk.crashed(|| false);
    assert!(disk.list().unwrap().len() >= files && files > 2);
    let log = open(&disk, SMALL).unwrap();
    assert_eq!((log.contents.start, log.contents.holes.len()), (position(1, 30), 0));
    assert!(disk.list().unwrap().len() <= 2 && log.writer.size_bytes() <= 2 * 4096);
}

/// Segments grow while they are written; a torn growth is no damage.
#[test]
fn a_growing_segment_survives_crashes() {
    let options = LogOptions { segment_bytes: 8 * 1024 * 1024 };
    let (disk, mut rng) = (MemoryDisk::new(), Rng::with_seed(3));
    let mut log = open(&disk, options).unwrap();
    for index in 1..=60u64 {
        log.writer.append(None, None, &[entry(1, index, &vec![index as u8; 100_000])]).unwrap();
        if index % 3 == 0 {
            let opened = open(&disk.crashed(|| rng.bool()), options).unwrap();
            assert!(opened.contents.last.index.0 >= index - 1 && !opened.contents.hard_state.suspect, "{:?}", opened.contents);
        }
        log.writer.sync().unwrap();
    }
    assert_eq!(disk.list().unwrap().len(), 1);
    assert!(disk.bytes("log-00000001").len() < 8 * 1024 * 1024);
    assert_eq!(open(&disk.crashed(|| false), options).unwrap().contents.last, position(1, 60));
}

#[test]
fn a_torn_batch_that_outran_the_blanks_is_no_damage() {
    let options = LogOptions { segment_bytes: 8 * 1024 * 1024 };
    let (disk, mut rng) = (MemoryDisk::new(), Rng::with_seed(4));
    let mut log = log_of(&disk, options, 2);
    log.writer.append(None, None, &[entry(1, 3, &vec![3; 3 << 20])]).unwrap();
    for _ in 0..5 {
        // The first segment's blanks reach as far as the first of these sectors; only those made for this batch are torn.
        let mut sectors = 0;
        let torn = disk.crashed(|| {
            sectors += 1;
            sectors < 3000 || rng.u8(..10) > 0
        });
        let contents = open(&torn, options).unwrap().contents;
        assert_eq!((contents.last, contents.ending, contents.hard_state.suspect), (position(1, 2), LogEnding::Torn, false));
    }
}

#[test]
fn a_batch_larger_than_a_segment_has_one_of_its_own() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, SMALL, 2);
    let large = entry(1, 3, &vec![8; 100_000]);
    log.writer.append(None, None, std::slice::from_ref(&large)).unwrap();
    log.writer.append(None, None, &[entry(1, 4, b"after")]).unwrap();
    log.writer.sync().unwrap();
    let log = open(&disk.crashed(|| false), SMALL).unwrap();
    assert_eq!((&log.reader.read(LogIndex(3), 1).unwrap()[..], log.contents.last), (&[large][..], position(1, 4)));
}

#[test]
fn readers_are_undisturbed_by_the_writer() {
    let disk = MemoryDisk::new();
    let mut log = log_of(&disk, SMALL, 1);
    let reader = log.reader.clone();
    let done = std::sync::atomic::AtomicBool::new(false);
    let is_done = || done.load(std::sync::atomic::Ordering::Acquire);
    let read = || {
        let mut seen = 0;
        let mut from = LogIndex(1);
        while !is_done() || seen == 0 {
            match reader.read(from, 3000) {
                Ok(entries) => {
                    assert!(entries.iter().zip(0..).all(|(entry, number)| entry.index.0 == from.0 + number));
                    seen += entries.len();
                }
                Err(LogError::Compacted { start }) => from = start.index.next(),
                Err(error) => panic!("{error}"),
            }
        }
    };
    std::thread::scope(|threads| {
        threads.spawn(read);
        for round in 1..500u64 {
            let last = log.writer.last().index.0;
            let cut = (round % 5 == 0).then_some(LogIndex(last));
            let first = if cut.is_some() { last } else { last + 1 };
            log.writer.append(None, cut, &[entry(round, first, &[1; 300]), entry(round, first + 1, &[2; 30])]).unwrap();
            log.writer.sync().unwrap();
            if round % 20 == 0 {
                log.writer.compact(log.writer.compaction_point(2000)).unwrap();
            }
            if round % 150 == 0 {
                log.writer.reset(position(round, first + 100), &voted(round, 1)).unwrap();
                log.writer.append(None, None, &[entry(round, first + 101, b"")]).unwrap();
            }
        }
        done.store(true, std::sync::atomic::Ordering::Release);
    });
}

/// The log of format 1 that stands in `fixtures`: whatever this program becomes, it opens it.
#[test]
fn format_1_still_opens() {
    let disk = MemoryDisk::new();
    let file = disk.create("log-00000001").unwrap();
    steadfast_types::disk::DiskFile::write_at(&file, 0, include_bytes!("fixtures/log-format-1")).unwrap();
    let log = open(&disk, ONE_SEGMENT).unwrap();
    assert!(fixture().is(&log), "{:?}", log.contents);
}

/// What was written to the fixture: four batches, one of them cutting, one repairing.
fn fixture() -> Model {
    let change = entry(2, 3, b"");
    let configuration = steadfast_types::Configuration::of_voters([NodeId(1), NodeId(2)]);
    let payload = steadfast_types::Payload::Change { configuration, batch: bytes::Bytes::from_static(b"change") };
    let entries = vec![
        entry(1, 2, b"two"),
        Entry { payload, ..change },
        entry(2, 4, &[4; 600]),
        Entry { payload: steadfast_types::Payload::Empty, ..entry(3, 5, b"") },
    ];
    Model { hard_state: voted(3, 9), start: position(1, 1), entries }
}

fn write_fixture(disk: &MemoryDisk) {
    let Model { hard_state, start, entries } = fixture();
    let mut log = open(disk, ONE_SEGMENT).unwrap();
    log.writer.append(Some(&voted(1, 2)), None, &[entry(1, 1, b"one"), entry(1, 2, b"two"), entry(1, 3, b"gone")]).unwrap();
    log.writer.append(None, Some(LogIndex(3)), &entries[1..3]).unwrap();
    log.writer.append(Some(&hard_state), None, &entries[3..]).unwrap();
    log.writer.compact(start).unwrap();
    log.writer.repair(&entries[..1]).unwrap();
}

#[test]
fn the_fixture_is_what_is_written_today() {
    let disk = MemoryDisk::new();
    write_fixture(&disk);
    if std::env::var_os("WRITE_LOG_FIXTURE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/log-format-1"), disk.bytes("log-00000001")).unwrap();
    }
    assert_eq!(disk.list().unwrap(), ["log-00000001"]);
    assert!(disk.bytes("log-00000001") == include_bytes!("fixtures/log-format-1"), "the bytes changed: that is a new format version");
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|window| window == needle).expect("it was written")
}
