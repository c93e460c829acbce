//! Directories that begin with a state, and those that should.

use steadfast_state::command::{KeyValue, Member};
use steadfast_state::reader::{Change, Write};
use steadfast_state::seed::{FOUNDED, Seed, SeedError, SeedOptions, Seeded};
use steadfast_storage::disk::MemoryDisk;
use steadfast_types::time::Duration;
use steadfast_types::{Configuration, Instant, Level, LogIndex, NodeId, Revision};

use super::*;
use crate::start::{Opened, Options, open};
use crate::{AutoCompaction, Node};

const WRITES: i64 = 5000;

fn planted() -> (MemoryDisk, Seeded) {
    let disk = MemoryDisk::new();
    let settle = |tables: &mut LsmTables<MemoryDisk>| flush(tables).map_err(SeedError::disk);
    let options = SeedOptions { compact: Revision(-1), bump: 0 };
    let mut seed = Seed::new(tables(&disk, small()).expect("empty"), options, settle);
    for revision in (2..).map(Revision).take(WRITES as usize) {
        let kv = KeyValue { key: format!("{:04}", revision.0 % 1000).into(), value: vec![7; 100].into(), ..KeyValue::default() };
        let kv = KeyValue { create_revision: revision, mod_revision: revision, version: 1, ..kv };
        seed.write(Write { revision, sub: 0, change: Change::Put(kv) }).expect("in order");
    }
    let (tables, seeded) = seed.finish(std::iter::empty()).expect("finished");
    plant(&disk, tables).expect("planted");
    (disk, seeded)
}

fn small() -> TablesOptions {
    TablesOptions { memtable_bytes: 64 * 1024, ..TablesOptions::default() }
}

fn bootstrap() -> Bootstrap {
    let member = Member { id: NodeId(1), name: "n1".into(), ..Member::default() };
    Bootstrap { configuration: Configuration::of_voters([NodeId(1)]), members: vec![member], level: Level::NEWEST }
}

fn options() -> Options {
    Options {
        id: NodeId(1),
        incarnation: 1,
        seed: 1,
        heartbeat_interval: Duration::from_millis(100),
        election_timeout: Duration::from_millis(1000),
        lease_reads: false,
        request_timeout: Duration::from_secs(5),
        append_bytes: 1 << 20,
        recent_entry_bytes: 1 << 20,
        log_retention_bytes: 4096,
        auto_compaction: AutoCompaction::Off,
        autopilot: crate::Autopilot::default(),
        level: Level::NEWEST,
        log: LogOptions::default(),
        tables: small(),
        events: false,
        quota_bytes: 0,
        lost_tables: None,
    }
}

fn start(disk: &MemoryDisk) -> Box<Node<(), MemoryDisk>> {
    match open(disk, options(), bootstrap(), Instant(1)).expect("it starts") {
        Opened::Running(node, _) => node,
        Opened::Repairing(_) => panic!("nothing is lost"),
    }
}

#[test]
fn a_cluster_begins_with_what_was_planted_and_its_log_behind_it() {
    let (disk, seeded) = planted();
    // Twice, as a crash may have it.
    for _ in 0..2 {
        found(&disk, small(), &bootstrap(), seeded.hash).expect("founded");
    }
    for _ in 0..2 {
        let node = start(&disk);
        assert_eq!(node.status().applied, FOUNDED);
        assert_eq!((node.reader().revision(), node.reader().members().expect("intact").len()), (Revision(WRITES + 1), 1));
    }
    let contents = log::open(&disk, LogOptions::default()).expect("a log").contents;
    assert_eq!((contents.start, contents.last.index), (FOUNDED, LogIndex(2)));
}

#[test]
fn the_same_writes_have_the_same_name() {
    assert_eq!(planted().1, planted().1);
}

#[test]
fn what_is_not_the_agreed_state_is_refused() {
    let (disk, seeded) = planted();
    assert!(matches!(found(&disk, small(), &bootstrap(), seeded.hash + 1), Err(PlantError::Other)));
    assert!(matches!(found(&MemoryDisk::new(), small(), &bootstrap(), seeded.hash), Err(PlantError::Other)));
}

/// Whatever of the tables is damaged after the cluster was founded, that does not keep a founder from coming up and asking the others.
#[test]
fn a_founder_whose_tables_are_damaged_is_no_other_founder() {
    let (disk, seeded) = planted();
    found(&disk, small(), &bootstrap(), seeded.hash).expect("founded");
    let files = disk.list().expect("a list").into_iter().filter(|name| !name.starts_with("log-"));
    for name in files {
        let damaged = disk.fork();
        damaged.edit(&name, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x5a));
        found(&damaged, small(), &bootstrap(), seeded.hash).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
