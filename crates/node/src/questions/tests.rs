//! A leader that is behind with applying.

use steadfast_state::command::{Command, Put};
use steadfast_types::{LeaseId, NodeId};

use crate::hand::Cluster;
use crate::{Answer, RequestBody};

fn answer(cluster: &Cluster, slot: u64) -> Option<&Answer> {
    cluster.answers.iter().find(|(answered, _)| *answered == slot).map(|(_, answer)| answer)
}

#[test]
fn a_leader_that_has_not_applied_a_grant_does_not_deny_the_lease() {
    let mut cluster = Cluster::new(3);
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    let leader = cluster.leader().expect("a leader");
    let follower = NodeId(leader.0 % 3 + 1);
    cluster.starved = Some(leader);
    let id = LeaseId(7);
    let fill = |cluster: &mut Cluster| {
        let put = Put { key: "wide".into(), value: vec![1; 4000].into(), ..Put::default() };
        cluster.ask(leader, RequestBody::Propose(Command::Put(put)))
    };
    // One memtable waits to be flushed, the other is full as soon as this is applied: then the leader applies no more.
    fill(&mut cluster);
    cluster.run(8);
    fill(&mut cluster);
    cluster.run(usize::from(follower < leader));
    let grant = cluster.ask(follower, RequestBody::Propose(Command::LeaseGrant { id, ttl_s: 60 }));
    cluster.run(8);
    assert!(matches!(answer(&cluster, grant), Some(Answer::Applied(response)) if response.result.is_ok()));
    assert!(cluster.node(leader).state().applied() < cluster.node(follower).state().applied());
    let (asked, kept) = (cluster.ask(follower, RequestBody::TimeToLive(id)), cluster.ask(leader, RequestBody::KeepAlive(id)));
    cluster.run(8);
    assert_eq!((answer(&cluster, asked), answer(&cluster, kept)), (None, None), "the leader can't tell yet");
    cluster.starved = None;
    cluster.run(40);
    for slot in [asked, kept] {
        let Some(Answer::Lease(ttl)) = answer(&cluster, slot) else { panic!("{:?}", answer(&cluster, slot)) };
        assert!(ttl.remaining_s.is_some_and(|left| left > 50), "{ttl:?}");
    }
}
