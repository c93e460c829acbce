//! Each loss that a node can come up with, and its way back.

use steadfast_state::command::{Command, KeySpan, Put, Range};
use steadfast_storage::disk::MemoryDisk;
use steadfast_types::disk::Disk;

use super::*;
use crate::RequestBody;
use crate::hand::{CACHE_BYTES, Cluster, Up};

const LAST: NodeId = NodeId(3);

/// Three nodes with forty keys, of which the tables hold some; node 3 is down. Gives its disk.
fn cluster() -> (Cluster, MemoryDisk) {
    filled(Cluster::new(3))
}

fn filled(mut cluster: Cluster) -> (Cluster, MemoryDisk) {
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    cluster.write(NodeId(1), 40, 150);
    cluster.run(20);
    let disk = cluster.stop(LAST);
    (cluster, disk)
}

fn names(disk: &MemoryDisk, prefix: &str, is_log: bool) -> Vec<String> {
    let names = disk.list().expect("a list");
    names.into_iter().filter(|name| name.starts_with("log-") == is_log && name.starts_with(prefix)).collect()
}

fn remove(disk: &MemoryDisk, names: &[String]) {
    names.iter().for_each(|name| disk.remove(name).expect("removed"));
}

fn damage(disk: &MemoryDisk, names: &[String]) {
    names.iter().for_each(|name| disk.edit(name, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x5a)));
}

/// What is said, without the numbers.
fn said(up: &Up) -> String {
    let digit = |c: char| if c.is_ascii_digit() { '#' } else { c };
    let text: String = up.to_string().chars().map(digit).collect();
    text.split('#').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("#")
}

#[test]
fn what_is_lost_decides_how_a_node_comes_up() {
    let (mut cluster, whole) = cluster();
    let log_gone = "the log is gone but the state is not: remove this member, empty its directory, and add it again as a new one";
    type Loss = (&'static str, fn(&MemoryDisk), &'static str);
    let losses: [Loss; 6] = [
        ("nothing", |_| (), "running from #@"),
        ("the log", |disk| remove(disk, &names(disk, "", true)), log_gone),
        (
            "the log, and the tables damaged",
            |disk| {
                remove(disk, &names(disk, "", true));
                damage(disk, &names(disk, "", false));
            },
            log_gone,
        ),
        ("the tables", |disk| remove(disk, &names(disk, "", false)), "repairing the state"),
        ("the tables damaged", |disk| damage(disk, &names(disk, "", false)), "repairing the state"),
        ("all of it", |disk| remove(disk, &disk.list().expect("a list")), "running from #@"),
    ];
    for (what, lose, expected) in losses {
        let disk = whole.fork();
        lose(&disk);
        assert_eq!(said(cluster.start(LAST, disk)), expected, "lost: {what}");
    }
}

#[test]
fn the_only_node_repairs_nothing() {
    let mut cluster = Cluster::new(1);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    cluster.write(NodeId(1), 40, 150);
    let disk = cluster.stop(NodeId(1));
    damage(&disk, &names(&disk, "", false));
    let up = cluster.start(NodeId(1), disk).to_string();
    assert_eq!(up, "the state is damaged, and this cluster has no other member to repair it from: restore a snapshot");
}

#[test]
fn lost_tables_come_back_from_the_peers() {
    let (mut cluster, disk) = cluster();
    damage(&disk, &names(&disk, "", false));
    assert!(matches!(cluster.start(LAST, disk), Up::Repairing(_)));
    assert!(cluster.converges(1000, &mut |_, _, _| 1), "{}", cluster.machines[&LAST].up);
}

/// Whatever sector of the log is damaged, the node is repaired, or its log's end is cut off and it is suspect; in the end it has everything.
/// A cluster for each: a disk that goes back in time is no fault that any node could survive.
#[test]
fn every_damaged_sector_of_the_log_comes_back() {
    let (mut repaired, mut ran) = (0, 0);
    // All is in the log alone.
    let cluster = || filled(Cluster::with_memtable(3, 1 << 20));
    let (_, whole) = cluster();
    for name in names(&whole, "", true) {
        for sector in 0..whole.bytes(&name).len() / 512 {
            let (mut cluster, disk) = cluster();
            disk.edit(&name, |bytes| bytes[sector * 512..][..512].iter_mut().for_each(|byte| *byte ^= 0x5a));
            match cluster.start(LAST, disk) {
                Up::Repairing(_) => repaired += 1,
                Up::Running(_) => ran += 1,
                Up::Down(why) => panic!("{name}, sector {sector}: {why}"),
            }
            assert!(cluster.converges(1500, &mut |_, _, _| 1), "{name}, sector {sector}: {}", cluster.machines[&LAST].up);
            cluster.write(LAST, 1, 10);
        }
    }
    assert!(repaired >= 3 && ran >= 3, "{repaired} repaired, {ran} ran");
}

#[test]
fn the_terms_in_a_hole_are_not_known() {
    let terms = vec![(LogIndex(1), Term(1)), (LogIndex(8), Term(3))];
    let (start, last) = (LogPosition::default(), LogPosition::new(Term(3), LogIndex(9)));
    let mut contents = LogContents {
        hard_state: steadfast_types::HardState::default(),
        hard_state_lost: false,
        start,
        terms,
        last,
        configurations: vec![],
        holes: vec![LogIndex(4)..LogIndex(6)],
        ending: log::LogEnding::Clean,
    };
    assert_eq!(known_terms(&contents), [(LogIndex(6), Term(1)), (LogIndex(8), Term(3))]);
    for (applied, is_needed) in [(3, true), (4, true), (5, true), (6, false), (7, false)] {
        let loss = loss(true, LogPosition::new(Term(1), LogIndex(applied)), &contents);
        assert_eq!(loss.is_any(), is_needed, "applied: {applied}");
    }
    contents.holes = vec![LogIndex(8)..LogIndex(10)];
    assert!(known_terms(&contents).is_empty());
    let at_end = Hole { from: LogIndex(8), end: LogIndex(10), anchor: last };
    assert_eq!(loss(true, LogPosition::new(Term(1), LogIndex(7)), &contents).holes, [at_end]);
    assert!(!loss(true, last, &contents).is_any(), "nothing follows what is applied");
}

/// What the tables lack is replayed: at most what they may hold in memory, however much there is.
#[test]
fn a_restart_replays_no_more_when_there_is_more_data() {
    let memtable = 2048;
    for keys in [50, 500] {
        let mut cluster = Cluster::with_memtable(1, memtable);
        assert!(cluster.converges(500, &mut |_, _, _| 1));
        cluster.write(NodeId(1), keys, 150);
        cluster.run(20);
        let before = cluster.node(NodeId(1)).status();
        let disk = cluster.stop(NodeId(1));
        let Up::Running((node, _)) = cluster.start(NodeId(1), disk) else { panic!("it does not run") };
        let after = node.status();
        let replayed = before.applied.index.0 - after.applied.index.0;
        assert!(before.applied.index.0 > keys as u64 && replayed <= 2 * memtable as u64 / 150, "{replayed} of {keys}");
        assert!(after.log_bytes <= 4 * 16 * 1024, "{} bytes of log for {keys} keys", after.log_bytes);
    }
}

#[test]
fn data_may_be_larger_than_memory() {
    let (memtable, keys, bytes) = (4096, 1000, 1000);
    let mut cluster = Cluster::with_memtable(1, memtable);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    cluster.write(NodeId(1), keys, bytes);
    for at in (0..keys).rev() {
        let span = KeySpan { key: format!("key {at}").into(), range_end: "".into() };
        let found = cluster.node(NodeId(1)).reader().range(&Range { keys: span, ..Range::default() }).expect("readable").result.kvs;
        assert!(found.len() == 1 && found[0].value[..] == vec![at as u8; bytes][..], "key {at}");
    }
    let tables = cluster.node(NodeId(1)).status().tables;
    assert!(tables.disk_bytes > (keys * bytes) as u64, "{tables:?}");
    let in_memory = tables.memtable_bytes as u64 + tables.cache_bytes;
    assert!(tables.cache_bytes > 0 && in_memory <= (2 * memtable + CACHE_BYTES) as u64, "{in_memory} bytes in memory");
}

/// A leader's last entries reached nobody, it lost some of them, and others went on without it: none was committed, so they may go.
#[test]
fn what_only_a_damaged_leader_had_is_given_up() {
    let cut_off = || {
        let mut cluster = Cluster::with_memtable(3, 1 << 20);
        assert!(cluster.converges(500, &mut |_, _, _| 1));
        cluster.write(NodeId(1), 10, 150);
        let leader = cluster.leader().expect("a leader");
        for at in 0..6 {
            let put = Put { key: format!("lonely {at}").into(), value: vec![at; 600].into(), ..Put::default() };
            cluster.ask(leader, RequestBody::Propose(Command::Put(put)));
            cluster.step(&mut |from, _, _| usize::from(from != leader));
        }
        let disk = cluster.stop(leader);
        assert!((0..500).any(|_| {
            cluster.run(1);
            cluster.leader().is_some()
        }));
        (cluster, leader, disk)
    };
    let (_, _, whole) = cut_off();
    let mut repaired = 0;
    for name in names(&whole, "", true) {
        for sector in 0..whole.bytes(&name).len() / 512 {
            let (mut cluster, former, disk) = cut_off();
            disk.edit(&name, |bytes| bytes[sector * 512..][..512].iter_mut().for_each(|byte| *byte ^= 0x5a));
            repaired += usize::from(matches!(cluster.start(former, disk), Up::Repairing(_)));
            // Nobody writes anything meanwhile.
            assert!(cluster.converges(1500, &mut |_, _, _| 1), "{name}, sector {sector}: {}", cluster.machines[&former].up);
        }
    }
    assert!(repaired >= 6, "{repaired}");
}
