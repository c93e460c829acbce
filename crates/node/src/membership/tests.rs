//! What may be asked of a cluster's members, as a table.

use steadfast_consensus::{FollowerStatus, Role};
use steadfast_types::{LogIndex, LogPosition, Term};

use super::*;

fn nodes(ids: &[u64]) -> impl Iterator<Item = NodeId> {
    ids.iter().copied().map(NodeId)
}

/// Node 1 leads; `live` answer it; node 9 is a learner that has `learned` of a hundred entries.
fn status(voters: &[u64], live: &[u64], learned: u64) -> Status {
    let mut configuration = Configuration::of_voters(nodes(voters));
    configuration.learners.insert(NodeId(9));
    let matched = |id: u64| LogIndex(if id == 9 { learned } else { 100 });
    let follower = |id| FollowerStatus { id: NodeId(id), matched: matched(id), active: live.contains(&id), snapshot: false };
    Status {
        role: Role::Leader,
        term: Term(1),
        leader: Some(NodeId(1)),
        commit: LogIndex(100),
        last: LogPosition::new(Term(1), LogIndex(100)),
        configuration,
        followers: voters.iter().chain(&[9]).filter(|id| **id != 1).map(|id| follower(*id)).collect(),
        suspect: false,
    }
}

fn add(id: u64, url: &str, learner: bool) -> MembershipChange {
    MembershipChange::Add { id: NodeId(id), peer_urls: vec![url.into()], learner }
}

fn outcome(change: &MembershipChange, status: &Status) -> Result<String, Refusal> {
    let known = status.configuration.members();
    let member = |id: &NodeId| Member { id: *id, peer_urls: vec![format!("u{id}")], learner: *id == NodeId(9), ..Member::default() };
    let members: Vec<Member> = known.iter().map(member).collect();
    plan(change, &members, status, NodeId(1)).map(|(target, _)| target.to_string())
}

#[test]
fn changes_are_judged() {
    let whole = status(&[1, 2, 3], &[2, 3, 9], 95);
    let one_down = status(&[1, 2, 3], &[2, 9], 95);
    let alone = status(&[1], &[9], 95);
    let text = |text: &str| Ok(text.to_owned());
    let replace = |voter, learner| MembershipChange::Replace { voter: NodeId(voter), learner: NodeId(learner) };
    let (promote, remove) = (|id| MembershipChange::Promote(NodeId(id)), |id| MembershipChange::Remove(NodeId(id)));
    for (change, status, expected) in [
        (add(4, "new", true), &whole, text("voters=1,2,3 learners=4,9")),
        (add(4, "new", true), &one_down, text("voters=1,2,3 learners=4,9")),
        (add(4, "new", false), &whole, text("voters=1,2,3 learners=4,9")),
        (add(4, "new", false), &one_down, text("voters=1,2,3 learners=4,9")),
        (add(4, "new", false), &alone, text("voters=1 learners=4,9")),
        (add(3, "new", true), &whole, Err(Refusal::MemberExists)),
        (add(4, "u2", true), &whole, Err(Refusal::PeerUrlExists)),
        (remove(3), &whole, text("voters=1,2 learners=9")),
        (remove(3), &one_down, text("voters=1,2 learners=9")),
        (remove(2), &one_down, Err(Refusal::NotEnoughMembers)),
        (remove(1), &whole, text("voters=2,3 learners=9")),
        (remove(9), &one_down, text("voters=1,2,3")),
        (remove(1), &alone, Err(Refusal::NotEnoughMembers)),
        (remove(7), &whole, Err(Refusal::MemberNotFound)),
        (promote(9), &whole, text("voters=1,2,3,9")),
        (promote(2), &whole, Err(Refusal::MemberNotLearner)),
        (promote(7), &whole, Err(Refusal::MemberNotFound)),
        (replace(3, 9), &one_down, text("voters=1,2,9")),
        (replace(3, 9), &whole, Err(Refusal::VoterAnswers)),
        (replace(1, 9), &one_down, Err(Refusal::VoterAnswers)),
        (replace(4, 9), &whole, Err(Refusal::MemberNotFound)),
        (replace(3, 2), &whole, Err(Refusal::MemberNotLearner)),
        (replace(3, 9), &self::status(&[1, 2, 3], &[2], 95), Err(Refusal::LearnerNotReady)),
        (replace(3, 9), &self::status(&[1, 2, 3], &[9], 99 - CAUGHT_UP), Err(Refusal::LearnerNotReady)),
        (replace(3, 9), &self::status(&[1, 2, 3, 4, 5], &[9], 95), Err(Refusal::NotEnoughMembers)),
    ] {
        assert_eq!(outcome(&change, status), expected, "{change:?} of {}", status.configuration);
    }
    assert_eq!(outcome(&promote(9), &self::status(&[1, 2, 3], &[2, 3, 9], 80)), Err(Refusal::LearnerNotReady));
    assert_eq!(outcome(&promote(9), &self::status(&[1, 2, 3], &[2, 3], 100)), Err(Refusal::LearnerNotReady));
    let mut joint = whole;
    joint.configuration.outgoing = nodes(&[1, 2]).collect();
    assert_eq!(outcome(&remove(3), &joint), Err(Refusal::ChangeUnderWay));
}

#[test]
fn a_new_voter_counts_once_it_has_caught_up() {
    let voter = |id| Member { id: NodeId(id), ..Member::default() };
    let members = [voter(1), voter(2), voter(3), voter(9)];
    let target = |live: &[u64], learned| awaited(&members, &status(&[1, 2, 3], live, learned), NodeId(1)).map(|target| target.to_string());
    assert_eq!(target(&[2, 3, 9], 100).as_deref(), Some("voters=1,2,3,9"));
    assert_eq!(target(&[2, 3, 9], 100 - CAUGHT_UP).as_deref(), Some("voters=1,2,3,9"));
    assert_eq!(target(&[2, 3, 9], 99 - CAUGHT_UP), None);
    assert_eq!(target(&[2, 3], 100), None, "it does not answer");
    assert_eq!(target(&[9], 100), None, "too few of the others do");
    let learner = [voter(1), voter(2), voter(3), Member { learner: true, ..voter(9) }];
    assert_eq!(awaited(&learner, &status(&[1, 2, 3], &[2, 3, 9], 100), NodeId(1)), None, "it is to be promoted by hand");
    let mut joint = status(&[1, 2, 3], &[2, 3, 9], 100);
    joint.configuration.outgoing = nodes(&[1, 2]).collect();
    assert_eq!(awaited(&members, &joint, NodeId(1)), None);
}
