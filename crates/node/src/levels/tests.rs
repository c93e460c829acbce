//! Clusters of mixed releases.

use super::*;
use crate::hand::{Cluster, Up};
use crate::{MembershipChange, RequestBody};

const OLD: NodeId = NodeId(3);

/// Three nodes that began at the first level, of which the last knows no other.
fn mixed() -> Cluster {
    let mut cluster = Cluster::founded_at(Level::FIRST, 3);
    let disk = cluster.stop(OLD);
    cluster.start_at(Level::FIRST, OLD, disk);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    cluster
}

fn level(cluster: &Cluster, id: NodeId) -> Level {
    cluster.node(id).state().level()
}

#[test]
fn the_level_is_raised_once_all_members_offer_it() {
    let mut cluster = mixed();
    cluster.run(500);
    assert_eq!([1, 2, 3].map(|id| level(&cluster, NodeId(id))), [Level::FIRST; 3]);
    let disk = cluster.stop(OLD);
    cluster.run(500);
    assert_eq!(level(&cluster, NodeId(1)), Level::FIRST, "who is away may offer less");
    cluster.start(OLD, disk);
    cluster.run(500);
    assert_eq!([1, 2, 3].map(|id| level(&cluster, NodeId(id))), [Level::NEWEST; 3]);
    let told = |id| cluster.notices.iter().filter(|notice| **notice == (NodeId(id), Notice::Level(Level::NEWEST))).count();
    assert_eq!([1, 2, 3].map(told), [1; 3]);
    assert_eq!(cluster.node(NodeId(1)).state().hash(), cluster.node(OLD).state().hash());
}

#[test]
fn an_older_release_does_not_start_in_a_cluster_that_uses_more() {
    let mut cluster = mixed();
    let disk = cluster.stop(OLD);
    cluster.start(OLD, disk);
    cluster.run(500);
    cluster.write(NodeId(1), 100, 200);
    cluster.run(100);
    let disk = cluster.stop(OLD);
    match cluster.start_at(Level::FIRST, OLD, disk) {
        Up::Down(why) => assert!(why.contains("at level 2 and this release knows 1"), "{why}"),
        up => panic!("it is {up}"),
    }
}

#[test]
fn what_a_level_brought_is_not_done_before() {
    let mut cluster = mixed();
    for (gone, upgraded) in [(2, false), (3, true)] {
        if upgraded {
            let disk = cluster.stop(OLD);
            cluster.start(OLD, disk);
            cluster.run(500);
        }
        cluster.ask(NodeId(1), RequestBody::ChangeMembership(MembershipChange::Remove(NodeId(gone))));
        cluster.run(200);
        let removed = cluster.node(NodeId(1)).reader().removed_members().expect("the tables are well");
        assert_eq!(removed, if upgraded { vec![NodeId(gone)] } else { vec![] });
    }
}
