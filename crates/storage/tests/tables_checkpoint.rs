//! Checkpoints: from one node's tables to another's, in pieces, cut, damaged, and beside readers that live on.

mod tables_common;

use core::ops::Bound;
use fastrand::Rng;
use steadfast_storage::disk::MemoryDisk;
use steadfast_storage::tables::{Checkpoint, Incoming, IncomingError, LsmTables, TablesOptions};
use steadfast_types::disk::Disk;
use steadfast_types::tables::{Tables, TablesReader};
use tables_common::{History, KEYS, WatchedDisk, apply, check, position, settle, small};

struct Node<D: Disk> {
    disk: D,
    tables: LsmTables<D>,
    history: History,
}

fn node<D: Disk>(disk: D, batches: u64, seed: u64) -> Node<D> {
    let mut tables = LsmTables::open(&disk, small()).unwrap();
    let (mut history, mut random) = (History::default(), Rng::with_seed(seed));
    for index in 1..=batches {
        history.extend(&mut random).iter().for_each(|call| apply(&mut tables, call));
        tables.commit(position(index));
        settle(&mut tables);
    }
    Node { disk, tables, history }
}

fn transfer<D: Disk, E: Disk>(checkpoint: &Checkpoint<D>, incoming: &mut Incoming<E>, random: &mut Rng) {
    while incoming.received() < checkpoint.total_bytes() {
        let bytes = checkpoint.read(incoming.received(), random.usize(1..5000)).unwrap();
        assert!(!bytes.is_empty());
        incoming.write(incoming.received(), &bytes).unwrap();
    }
    assert!(checkpoint.read(checkpoint.total_bytes(), 100).unwrap().is_empty());
}

#[test]
fn a_checkpoint_makes_the_same_tables_elsewhere() {
    for seed in 0..10 {
        let mut random = Rng::with_seed(seed);
        let mut sender = node(MemoryDisk::new(), 200, seed);
        let receiver = node(MemoryDisk::new(), random.u64(0..100), seed + 100);
        let checkpoint = sender.tables.checkpoint();
        assert_eq!(checkpoint.applied(), sender.tables.durable());
        // The sender goes on: the checkpoint keeps its files.
        for index in 201..260 {
            sender.history.extend(&mut random).iter().for_each(|call| apply(&mut sender.tables, call));
            sender.tables.commit(position(index));
            settle(&mut sender.tables);
        }
        let mut incoming = Incoming::begin(&receiver.disk).unwrap();
        transfer(&checkpoint, &mut incoming, &mut random);
        let received = incoming.finish().unwrap();
        assert_eq!(received.applied(), checkpoint.applied());

        let (reader, old) = (receiver.tables.reader(), receiver.history.at(receiver.history.batches.len() as u64));
        let retired = receiver.tables.retire();
        received.install().unwrap();
        let mut tables = LsmTables::open_after(&receiver.disk, small(), &retired).unwrap();
        drop(receiver.tables);
        check(&reader, &old, &mut random);
        assert_eq!(tables.applied(), checkpoint.applied());
        check(&tables.reader(), &sender.history.at(tables.applied().index.0), &mut random);

        // Once nobody reads the old files they go.
        drop((reader, retired));
        settle(&mut tables);
        let mut bare = MemoryDisk::new();
        let mut incoming = Incoming::begin(&bare).unwrap();
        transfer(&tables.checkpoint(), &mut incoming, &mut random);
        incoming.finish().unwrap().install().unwrap();
        assert_eq!(receiver.disk.list().unwrap().len(), bare.list().unwrap().len());
        bare = bare.crashed(|| false);
        check(&LsmTables::open(&bare, small()).unwrap().reader(), &sender.history.at(tables.applied().index.0), &mut random);
    }
}

/// What came from a node that has itself received its tables, and goes on being written: nothing of it may have a name that is given again.
#[test]
fn tables_handed_on_from_node_to_node_can_be_written_on() {
    for seed in 0..10 {
        let mut random = Rng::with_seed(seed);
        let Node { disk: _first, mut tables, mut history } = node(MemoryDisk::new(), 100, seed);
        let mut index = 100;
        for _ in 0..4 {
            settle(&mut tables);
            let disk = MemoryDisk::new();
            let mut incoming = Incoming::begin(&disk).unwrap();
            let checkpoint = tables.checkpoint();
            transfer(&checkpoint, &mut incoming, &mut random);
            incoming.finish().unwrap().install().unwrap();
            // The log goes on where the checkpoint ends.
            index = checkpoint.applied().index.0;
            tables = LsmTables::open(&disk, small()).unwrap();
            history.batches.truncate(usize::try_from(index).unwrap());
            for _ in 0..random.u64(20..120) {
                index += 1;
                history.extend(&mut random).iter().for_each(|call| apply(&mut tables, call));
                tables.commit(position(index));
                settle(&mut tables);
            }
            check(&tables.reader(), &history.at(index), &mut random);
        }
        assert!(index > 100);
    }
}

#[test]
fn a_cut_transfer_resumes_where_it_stopped() {
    let sender = node(MemoryDisk::new(), 150, 1);
    let checkpoint = sender.tables.checkpoint();
    let disk = MemoryDisk::new();
    let mut incoming = Incoming::begin(&disk).unwrap();
    let first = checkpoint.read(0, 3000).unwrap();
    incoming.write(0, &first).unwrap();
    let doubled = incoming.write(0, &first);
    assert_eq!(doubled, Err(IncomingError::OutOfOrder { offset: 0, expected: 3000 }));
    assert!(matches!(incoming.write(3001, &first), Err(IncomingError::OutOfOrder { .. })));
    transfer(&checkpoint, &mut incoming, &mut Rng::with_seed(2));
    incoming.finish().unwrap().install().unwrap();
    assert_eq!(LsmTables::open(&disk, small()).unwrap().applied(), checkpoint.applied());
}

#[test]
fn a_short_or_overlong_stream_is_refused_and_leaves_nothing() {
    let sender = node(MemoryDisk::new(), 60, 3);
    let checkpoint = sender.tables.checkpoint();
    let stream = checkpoint.read(0, usize::MAX).unwrap();
    assert_eq!(stream.len() as u64, checkpoint.total_bytes());
    let disk = MemoryDisk::new();
    for cut in (0..stream.len()).step_by(7) {
        let mut incoming = Incoming::begin(&disk).unwrap();
        incoming.write(0, &stream[..cut]).unwrap();
        assert!(matches!(incoming.finish(), Err(IncomingError::Incomplete { .. })), "cut at {cut}");
        assert_eq!(disk.list().unwrap(), Vec::<String>::new());
    }
    let mut incoming = Incoming::begin(&disk).unwrap();
    incoming.write(0, &stream).unwrap();
    assert!(matches!(incoming.write(stream.len() as u64, b"x"), Err(IncomingError::Damaged(_))));
    assert!(incoming.finish().is_err());
    assert_eq!(disk.list().unwrap(), Vec::<String>::new());
}

#[test]
fn every_flipped_byte_of_a_stream_is_refused() {
    let sender = node(MemoryDisk::new(), 30, 4);
    let stream = sender.tables.checkpoint().read(0, usize::MAX).unwrap();
    let disk = MemoryDisk::new();
    for at in 0..stream.len() {
        let mut damaged = stream.to_vec();
        damaged[at] ^= 4;
        let mut incoming = Incoming::begin(&disk).unwrap();
        let refused = damaged.chunks(997).try_for_each(|chunk| incoming.write(incoming.received(), chunk)).is_err();
        assert!(refused || incoming.finish().is_err(), "byte {at}");
        assert_eq!(disk.list().unwrap(), Vec::<String>::new(), "byte {at}");
    }
}

#[test]
fn an_empty_checkpoint_is_one_too() {
    let sender = node(MemoryDisk::new(), 0, 0);
    let disk = MemoryDisk::new();
    let mut incoming = Incoming::begin(&disk).unwrap();
    transfer(&sender.tables.checkpoint(), &mut incoming, &mut Rng::with_seed(0));
    incoming.finish().unwrap().install().unwrap();
    assert_eq!(LsmTables::open(&disk, small()).unwrap().applied(), Default::default());
}

#[test]
fn a_full_disk_refuses_the_checkpoint_and_keeps_the_tables() {
    let sender = node(MemoryDisk::new(), 150, 5);
    let receiver = node(MemoryDisk::new(), 50, 6);
    receiver.disk.set_capacity(Some(20_000));
    let stream = sender.tables.checkpoint().read(0, usize::MAX).unwrap();
    let mut incoming = Incoming::begin(&receiver.disk).unwrap();
    let before = receiver.disk.list().unwrap();
    let refused = stream.chunks(1000).try_for_each(|chunk| incoming.write(incoming.received(), chunk));
    assert!(matches!(refused, Err(IncomingError::Disk(_))), "{refused:?}");
    drop(incoming);
    assert_eq!(receiver.disk.list().unwrap(), before);
    check(&receiver.tables.reader(), &receiver.history.at(50), &mut Rng::with_seed(1));
}

#[test]
fn a_crash_while_receiving_leaves_the_old_tables_or_the_new() {
    let sender = node(MemoryDisk::new(), 100, 7);
    let stream = sender.tables.checkpoint().read(0, usize::MAX).unwrap();
    let receive = |receiver: &Node<WatchedDisk>| {
        let mut incoming = Incoming::begin(&receiver.disk).unwrap();
        stream.chunks(4000).for_each(|chunk| incoming.write(incoming.received(), chunk).unwrap());
        let retired = receiver.tables.retire();
        incoming.finish().unwrap().install().unwrap();
        drop(LsmTables::open_after(&receiver.disk, small(), &retired).unwrap());
    };
    let mut seen = [0, 0];
    for seed in 0..100 {
        let mut random = Rng::with_seed(seed);
        let receiver = node(WatchedDisk::new(MemoryDisk::new()), 40, seed % 4);
        let (old, new) = (receiver.tables.durable(), sender.tables.durable());
        let operations = {
            let rehearsal = node(WatchedDisk::new(MemoryDisk::new()), 40, seed % 4);
            let before = rehearsal.disk.operations();
            receive(&rehearsal);
            rehearsal.disk.operations() - before
        };
        // Most of them write files; the last ones are what matters.
        receiver.disk.crash_after(operations - 1 - random.u64(0..operations.min(10)), seed);
        receive(&receiver);
        let left = receiver.disk.take_crash().expect("the crash came");
        let tables = LsmTables::open(&left, small()).unwrap();
        let is_new = tables.applied() == new;
        assert!(is_new || tables.applied() == old);
        seen[usize::from(is_new)] += 1;
        let history = if is_new { &sender.history } else { &receiver.history };
        check(&tables.reader(), &history.at(tables.applied().index.0), &mut random);
    }
    assert!(seen.iter().all(|&times| times > 10), "{seen:?}");
}

#[test]
fn a_job_of_retired_tables_changes_nothing() {
    let mut old = node(MemoryDisk::new(), 50, 8);
    old.tables.insert(KEYS, "late".into(), 10_000, Some("value".into()));
    old.tables.commit(position(51));
    old.tables.flush_now();
    let late = old.tables.next_job().expect("a flush was asked for");
    let retired = old.tables.retire();
    let names = old.disk.list().unwrap();
    let mut new = LsmTables::open_after(&old.disk, small(), &retired).unwrap();
    let done = late.run();
    new.finish_job(done).unwrap();
    assert_eq!(old.disk.list().unwrap(), names);
    assert_eq!(new.reader().get(KEYS, b"late", u64::MAX).unwrap(), None);
}

#[test]
fn data_far_larger_than_memory_is_kept_and_read() {
    let disk = MemoryDisk::new();
    let options =
        TablesOptions { memtable_bytes: 64 << 10, cache_bytes: 64 << 10, file_bytes: 256 << 10, slice_bytes: 512 << 10, ..small() };
    let mut tables = LsmTables::open(&disk, options.clone()).unwrap();
    let key = |number: u64| bytes::Bytes::from(format!("{:08x}", number.wrapping_mul(0x9e37_79b1) as u32));
    for number in 0..40_000 {
        tables.insert(KEYS, key(number), number, Some(vec![number as u8; 100].into()));
        if number % 50 == 49 {
            tables.commit(position(number / 50 + 1));
            settle(&mut tables);
            let statistics = tables.statistics();
            assert!(statistics.memtable_bytes < 128 << 10 && statistics.cache_bytes <= 64 << 10, "{statistics:?}");
        }
    }
    let statistics = tables.statistics();
    assert!(statistics.disk_bytes > 4 << 20 && statistics.runs[&KEYS] <= 12, "{statistics:?}");
    drop(tables);
    let tables = LsmTables::open(&disk, options).unwrap();
    let reader = tables.reader();
    let flushed = tables.applied().index.0 * 50;
    for number in (0..flushed).step_by(97) {
        let row = reader.get(KEYS, &key(number), u64::MAX).unwrap().expect("the row was flushed");
        assert_eq!((row.version, &row.value[..]), (number, &[number as u8; 100][..]));
    }
    let scanned = reader.scan(KEYS, (Bound::Unbounded, Bound::Unbounded), u64::MAX).map(|row| row.unwrap().key).collect::<Vec<_>>();
    assert!(scanned.len() as u64 == flushed && scanned.is_sorted());
}
