//! A cluster goes on from one member's disk, whatever of the work was cut off and repeated.

use proptest::prelude::*;
use steadfast_state::command::{KeySpan, Put, Range};
use steadfast_storage::disk::MemoryDisk;

use super::*;
use crate::hand::{CACHE_BYTES, Cluster};
use crate::{MembershipChange, RequestBody};

const SURVIVOR: NodeId = NodeId(1);
const KEYS: usize = 40;

fn options() -> TablesOptions {
    TablesOptions { memtable_bytes: 2048, cache_bytes: CACHE_BYTES, block_bytes: 512, ..TablesOptions::default() }
}

fn bootstrap(size: u64) -> Bootstrap {
    let ids = || (1..=size).map(NodeId);
    let member = |id: NodeId| Member { id, peer_urls: vec![format!("http://{id}")], ..Member::default() };
    Bootstrap { configuration: Configuration::of_voters(ids()), members: ids().map(member).collect(), level: Level::NEWEST }
}

/// The disk of one of three nodes with so many keys, of which the tables hold some. The last one was acknowledged to nobody, and is on no
/// other disk.
fn survivor() -> MemoryDisk {
    let mut cluster = Cluster::new(3);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    cluster.write(SURVIVOR, KEYS - 1, 150);
    let leader = cluster.leader().expect("they have converged");
    cluster.ask(leader, RequestBody::MoveLeader(SURVIVOR));
    cluster.run(50);
    assert_eq!(cluster.leader(), Some(SURVIVOR));
    cluster.stop(NodeId(2));
    cluster.stop(NodeId(3));
    let put = Put { key: "unacknowledged".into(), ..Put::default() };
    let slot = cluster.ask(SURVIVOR, RequestBody::Propose(Command::Put(put)));
    cluster.run(5);
    assert!(cluster.answers.iter().all(|(answered, _)| *answered != slot));
    cluster.stop(SURVIVOR)
}

fn keys(cluster: &Cluster) -> usize {
    let range = Range { keys: KeySpan { key: [0][..].into(), range_end: [0][..].into() }, ..Range::default() };
    cluster.node(SURVIVOR).reader().range(&range).expect("intact").result.kvs.len()
}

/// A cluster of the survivor alone.
fn started(disk: MemoryDisk) -> Cluster {
    let mut cluster = Cluster::new(1);
    cluster.stop(SURVIVOR);
    cluster.start(SURVIVOR, disk);
    assert!(cluster.converges(500, &mut |_, _, _| 1), "{}", cluster.machines[&SURVIVOR].up);
    cluster
}

#[test]
fn a_survivor_tells_what_it_holds_and_nothing_changes() {
    let disk = survivor();
    let found = examine(&disk, options(), &bootstrap(3)).expect("whole");
    assert_eq!(found.configuration, Configuration::of_voters((1..=3).map(NodeId)));
    assert!(found.last.index > LogIndex(KEYS as u64) && !found.suspect, "{found:?}");
    assert_eq!(examine(&disk, options(), &bootstrap(3)).expect("whole"), found);
}

#[test]
fn the_survivor_serves_alone_and_gives_its_state_to_who_joins() {
    let disk = survivor();
    let found = examine(&disk, options(), &bootstrap(3)).expect("whole");
    let begun = begin_alone(&disk, options(), &bootstrap(3), SURVIVOR).expect("begun");
    assert_eq!(begun.position, LogPosition::new(found.term.next(), found.last.index.next()));
    let mut cluster = started(disk);
    assert_eq!(keys(&cluster), KEYS);
    assert_eq!(cluster.node(SURVIVOR).reader().members().expect("intact").len(), 1);
    let joiner = NodeId(9);
    let add = MembershipChange::Add { id: joiner, peer_urls: vec!["http://9".into()], learner: true };
    cluster.ask(SURVIVOR, RequestBody::ChangeMembership(add));
    cluster.run(20);
    cluster.join(joiner);
    assert!(cluster.converges(2000, &mut |_, _, _| 1), "the joiner has the same state, by its hash");
    cluster.write(SURVIVOR, 3, 10);
}

#[test]
fn what_the_disk_lost_is_not_made_up() {
    let disk = survivor();
    let logs: Vec<String> = disk.list().expect("a list").into_iter().filter(|name| name.starts_with("log-")).collect();
    let error = |disk: &MemoryDisk| examine(disk, options(), &bootstrap(3)).expect_err("not whole").to_string();
    let without_log = disk.fork();
    logs.iter().for_each(|name| without_log.remove(name).expect("removed"));
    assert_eq!(error(&without_log), "this disk itself lost its log: take another survivor's, or restore a snapshot");
    assert_eq!(error(&MemoryDisk::new()), "it holds nothing yet: no entry was ever written here");
    let before = disk.fork();
    assert!(matches!(begin_alone(&disk, options(), &bootstrap(3), NodeId(7)), Err(QuorumLossError::Removed)));
    assert_eq!(examine(&disk, options(), &bootstrap(3)).expect("whole"), examine(&before, options(), &bootstrap(3)).expect("whole"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// The disk fills up at any point, and then the power fails.
    #[test]
    fn it_can_be_cut_off_anywhere_and_repeated(free in prop::collection::vec(0usize..60_000, 0..3), seed in any::<u64>()) {
        let mut disk = survivor();
        let mut rng = steadfast_types::Rng::with_seed(seed);
        for free in free {
            let used: usize = disk.list().expect("a list").iter().map(|name| disk.bytes(name).len()).sum();
            disk.set_capacity(Some(used + free));
            let _ = begin_alone(&disk, options(), &bootstrap(3), SURVIVOR);
            disk = disk.crashed(|| rng.bool());
            disk.set_capacity(None);
        }
        begin_alone(&disk, options(), &bootstrap(3), SURVIVOR).expect("begun");
        let disk = disk.crashed(|| false);
        let cluster = started(disk);
        prop_assert_eq!(keys(&cluster), KEYS);
        prop_assert_eq!(cluster.node(SURVIVOR).reader().members().expect("intact").len(), 1);
    }
}
