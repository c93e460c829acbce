//! What the leader changes about the members by itself, as a table and on a cluster.

use steadfast_consensus::Role;
use steadfast_types::{LogIndex, LogPosition, Term};

use super::*;
use crate::hand::Cluster;
use crate::{MembershipChange, RequestBody};

const SECOND: Duration = Duration::from_secs(1);

/// This learner is kept for a voter's place.
const SPARE: u64 = 10;

/// Node 1 leads. `live` answer it, all that it has; members from 7 on are learners, and 9 is behind.
fn status(voters: &[u64], learners: &[u64], live: &[u64]) -> Status {
    let mut configuration = Configuration::of_voters(voters.iter().copied().map(NodeId));
    configuration.learners = learners.iter().copied().map(NodeId).collect();
    let matched = |id: u64| LogIndex(if id == 9 { 100 } else { 1000 });
    let follower = |id: &u64| FollowerStatus { id: NodeId(*id), matched: matched(*id), active: live.contains(id), snapshot: false };
    Status {
        role: Role::Leader,
        term: Term(1),
        leader: Some(NodeId(1)),
        commit: LogIndex(1000),
        last: LogPosition::new(Term(1), LogIndex(1000)),
        configuration,
        followers: voters.iter().chain(learners).filter(|id| **id != 1).map(follower).collect(),
        suspect: false,
    }
}

/// What is decided after things have stood so for ten seconds.
fn decided(policy: Autopilot, status: &Status) -> Option<String> {
    let begin = Instant(1);
    let mut watchman = Watchman::default();
    watchman.look(begin, status);
    let now = begin + 10 * SECOND;
    watchman.look(now, status);
    let members: Vec<Member> =
        status.configuration.members().into_iter().map(|id| Member { id, learner: id.0 >= 7, ..Member::default() }).collect();
    let spares = BTreeSet::from([NodeId(SPARE)]);
    decide(policy, &watchman, (&members, Some(&spares)), status, NodeId(1), now)
        .map(|change| format!("{} by {:?}", change.target, change.commands))
}

#[test]
fn dead_voters_are_replaced_and_learners_promoted_if_the_policy_says_so() {
    let replace = |seconds| Autopilot { replace_after: Some(seconds * SECOND), promote_after: None };
    let promote = |seconds| Autopilot { replace_after: None, promote_after: Some(seconds * SECOND) };
    let remove = |id: u64| Command::MemberRemove { id: NodeId(id) };
    let vote = |id: u64| Command::MemberPromote { id: NodeId(id) };
    let change = |target: &str, commands: &[Command]| Some(format!("{target} by {commands:?}"));
    for (policy, status, expected) in [
        (Autopilot::default(), status(&[1, 2, 3], &[7], &[2, 7]), None),
        // Replaced by a learner in one change; not too early, not by one that is behind or silent, not when all answer.
        (replace(10), status(&[1, 2, 3], &[7], &[2, 7]), change("voters=1,2,7", &[remove(3), vote(7)])),
        (replace(11), status(&[1, 2, 3], &[7], &[2, 7]), None),
        (replace(10), status(&[1, 2, 3], &[9], &[2, 9]), None),
        (replace(10), status(&[1, 2, 3], &[7], &[2]), None),
        (replace(10), status(&[1, 2, 3], &[7], &[2, 3, 7]), None),
        (replace(10), status(&[1, 2, 3], &[7, 8], &[2, 8]), change("voters=1,2,8 learners=7", &[remove(3), vote(8)])),
        // Without a learner, only if there is a voter too many.
        (replace(10), status(&[1, 2, 3], &[], &[2]), None),
        (replace(10), status(&[1, 2, 3, 4], &[], &[2, 4]), change("voters=1,2,4", &[remove(3)])),
        (replace(10), status(&[1, 2, 3, 4, 5], &[], &[2, 4]), None),
        // Two dead ones leave one after the other.
        (replace(10), status(&[1, 2, 3, 4, 5], &[7], &[2, 4, 7]), change("voters=1,2,3,4,7", &[remove(5), vote(7)])),
        (replace(10), status(&[1, 2, 3, 4, 5, 6], &[], &[2, 4, 6]), change("voters=1,2,3,4,6", &[remove(5)])),
        // Never if too few of those to come are alive.
        (replace(10), status(&[1, 2, 3, 4, 5], &[7], &[7]), None),
        (promote(10), status(&[1, 2, 3], &[7], &[2, 3, 7]), change("voters=1,2,3,7", &[vote(7)])),
        (promote(10), status(&[1, 2, 3], &[7], &[2, 7]), change("voters=1,2,3,7", &[vote(7)])),
        (promote(11), status(&[1, 2, 3], &[7], &[2, 3, 7]), None),
        (promote(10), status(&[1, 2, 3], &[9], &[2, 3, 9]), None),
        (promote(10), status(&[1, 2, 3], &[7], &[2, 3]), None),
        (promote(10), status(&[1, 2], &[7], &[7]), change("voters=1,2,7", &[vote(7)])),
        // A spare waits for a place; another learner does not.
        (promote(10), status(&[1, 2, 3], &[SPARE], &[2, 3, SPARE]), None),
        (promote(10), status(&[1, 2, 3], &[8, SPARE], &[2, 3, 8, SPARE]), change("voters=1,2,3,8 learners=a", &[vote(8)])),
        (replace(10), status(&[1, 2, 3], &[SPARE], &[2, SPARE]), change("voters=1,2,a", &[remove(3), vote(SPARE)])),
    ] {
        assert_eq!(decided(policy, &status), expected, "{policy:?} of {}", status.configuration);
    }
    let mut joint = status(&[1, 2, 3], &[7], &[2, 7]);
    joint.configuration.outgoing = [NodeId(1)].into();
    assert_eq!(decided(replace(10), &joint), None);
}

#[test]
fn who_answers_in_between_was_not_silent() {
    let (silent, well) = (status(&[1, 2, 3], &[7], &[2, 7]), status(&[1, 2, 3], &[7], &[2, 3, 7]));
    let mut watchman = Watchman::default();
    let at = |second: u64| Instant(1) + Duration::from_secs(second);
    for (second, status) in [(0, &silent), (4, &well), (5, &silent), (9, &silent)] {
        watchman.look(at(second), status);
    }
    assert_eq!(watchman.time_as(NodeId(3), Standing::Silent, at(9)), Some(4 * SECOND));
    assert_eq!(watchman.time_as(NodeId(2), Standing::Silent, at(9)), None);
    assert_eq!(watchman.time_as(NodeId(7), Standing::InSync, at(9)), Some(9 * SECOND));
}

#[test]
fn a_dead_voter_is_replaced_by_the_learner_and_the_cluster_then_bears_another_loss() {
    let mut cluster = Cluster::with_autopilot(3, Autopilot { promote_after: None, replace_after: Some(2 * SECOND) });
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    let learner = MembershipChange::Add { id: NodeId(4), peer_urls: vec!["http://4".into()], learner: true };
    cluster.ask(NodeId(1), RequestBody::ChangeMembership(learner));
    cluster.run(50);
    cluster.join(NodeId(4));
    cluster.write(NodeId(1), 3, 20);
    cluster.run(500);
    let voters = |cluster: &Cluster| cluster.node(NodeId(1)).state().configuration().voters.iter().map(|id| id.0).collect::<Vec<_>>();
    assert_eq!(voters(&cluster), [1, 2, 3], "all answer");
    let told = |cluster: &Cluster| cluster.notices.iter().filter(|(_, notice)| matches!(notice, Notice::Autopilot(_))).count();
    assert_eq!(told(&cluster), 0);
    cluster.stop(NodeId(3));
    cluster.run(150);
    assert_eq!(voters(&cluster), [1, 2, 3], "not yet");
    cluster.run(350);
    assert_eq!(voters(&cluster), [1, 2, 4]);
    assert_eq!(told(&cluster), 1);
    let members: Vec<_> = cluster.node(NodeId(1)).members().into_iter().map(|member| (member.id.0, member.learner)).collect();
    assert_eq!(members, [(1, false), (2, false), (4, false)]);
    cluster.stop(NodeId(2));
    cluster.run(300);
    cluster.write(NodeId(4), 3, 20);
    cluster.run(500);
    assert_eq!(voters(&cluster), [1, 2, 4], "nobody is there to take its place");
}

#[test]
fn a_learner_in_sync_becomes_a_voter() {
    let mut cluster = Cluster::with_autopilot(2, Autopilot { promote_after: Some(SECOND), replace_after: None });
    assert!(cluster.converges(500, &mut |_, _, _| 1));
    let learner = MembershipChange::Add { id: NodeId(3), peer_urls: vec!["http://3".into()], learner: true };
    cluster.ask(NodeId(1), RequestBody::ChangeMembership(learner));
    cluster.run(300);
    assert!(!cluster.node(NodeId(1)).state().configuration().is_voter(NodeId(3)), "it has not started");
    cluster.join(NodeId(3));
    cluster.run(300);
    assert!(cluster.node(NodeId(1)).state().configuration().is_voter(NodeId(3)));
    assert!(cluster.node(NodeId(1)).members().iter().all(|member| !member.learner));
}
