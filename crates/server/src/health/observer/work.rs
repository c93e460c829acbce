//! Checkpoint plus heartbeat: the work of the replicated log, by those who see it from outside.
//!
//! The leader knows of each follower how far its log is durable, and whether it answers; a follower knows how far its leader says that all is
//! committed. Whoever answers and does not advance, though there is something to do, has a disk or a core that is stuck.
//!
//! Left out: a follower that waits for a snapshot, which takes as long as it takes; and a leader without a quorum, about which nothing can be decided.

use std::collections::BTreeMap;
use std::time::Duration;

use steadfast_consensus::{Role, Status};
use steadfast_health::Assessment;
use steadfast_health::detectors::checkpoint::{Checkpoint, Config, Progress};
use steadfast_health::detectors::{Bounds, Detector, heartbeat};
use steadfast_types::{Instant, NodeId};

/// Nothing moved for so long: no disk that works takes it for one write. Three times that is hard.
const STALLED: Duration = Duration::from_secs(10);

/// The beats are there to tell how long it lived without advancing. Its silence is for the connections to tell.
const BEATS: heartbeat::Config =
    heartbeat::Config { interval: Duration::from_secs(1), suspect_intervals: u32::MAX, hard_intervals: u32::MAX };

fn config() -> Config {
    Config { heartbeat: BEATS, stall: Bounds::new(STALLED, STALLED * 3) }
}

/// The work of others, as far as it can be seen from here.
#[derive(Debug, Default)]
pub(super) struct Work(BTreeMap<NodeId, Checkpoint>);

impl Work {
    /// Takes how this node stands now; `None`: it is not known, and nobody is heard.
    pub(super) fn feed(&mut self, now: Instant, status: Option<&Status>) {
        let Some(status) = status else { return };
        let seen = seen(status);
        self.0.retain(|node, _| seen.contains_key(node));
        for (node, progress) in seen {
            let detector = self.0.entry(node).or_insert_with(|| Checkpoint::new(now, config()));
            if let Some(progress) = progress {
                detector.observe(now, progress);
            }
        }
    }

    pub(super) fn assess(&self, now: Instant) -> impl Iterator<Item = (NodeId, Assessment)> {
        self.0.iter().map(move |(node, detector)| (*node, detector.assess(now)))
    }

    /// This node stood still.
    pub(super) fn forgive(&mut self, now: Instant, pause: Duration) {
        super::forgive(&mut self.0.values_mut().collect::<Vec<_>>(), now, pause);
    }
}

/// Whose work this node sees, and how far it is with those who answer.
fn seen(status: &Status) -> BTreeMap<NodeId, Option<Progress>> {
    let life = status.term.0;
    match (status.role, status.leader) {
        (Role::Leader, _) => {
            let progress = |at: u64, is_away: bool| Progress { life, at, idle: is_away || at >= status.commit.0 };
            let followers = status.followers.iter();
            followers.map(|follower| (follower.id, follower.active.then(|| progress(follower.matched.0, follower.snapshot)))).collect()
        }
        (Role::Follower, Some(leader)) => {
            let progress = Progress { life, at: status.commit.0, idle: status.commit >= status.last.index };
            BTreeMap::from([(leader, Some(progress))])
        }
        (Role::Follower | Role::PreCandidate | Role::Candidate, _) => BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_consensus::FollowerStatus;
    use steadfast_health::{Suspicion, Way};
    use steadfast_types::{Configuration, LogIndex, LogPosition, Term};

    fn at(s: u64) -> Instant {
        Instant(s * 1_000_000)
    }

    fn leading(commit: u64, matched: u64, active: bool, snapshot: bool) -> Status {
        Status {
            role: Role::Leader,
            term: Term(3),
            leader: Some(NodeId(1)),
            commit: LogIndex(commit),
            last: LogPosition { term: Term(3), index: LogIndex(commit + 5) },
            configuration: Configuration::default(),
            followers: vec![FollowerStatus { id: NodeId(2), matched: LogIndex(matched), active, snapshot }],
            suspect: false,
        }
    }

    /// What is held after a minute of this, a status each second.
    fn after(status: impl Fn(u64) -> Status) -> Vec<(NodeId, Way, Suspicion)> {
        let mut work = Work::default();
        (0..60).for_each(|s| work.feed(at(s), Some(&status(s))));
        let held = work.assess(at(60)).filter(|(_, assessment)| assessment.suspicion >= Suspicion::Soft);
        held.map(|(node, assessment)| (node, assessment.way, assessment.suspicion)).collect()
    }

    #[test]
    fn a_follower_that_answers_and_does_not_advance_is_stuck() {
        assert_eq!(after(|s| leading(100 + s, 50, true, false)), [(NodeId(2), Way::Checkpoint, Suspicion::Hard)]);
        assert_eq!(after(|s| leading(100 + s, 50 + s, true, false)), [], "it is behind and advances");
        assert_eq!(after(|_| leading(100, 100, true, false)), [], "there is nothing to do");
        assert_eq!(after(|s| leading(100 + s, 50, s < 5, false)), [], "it does not answer: that is another way's to tell");
        assert_eq!(after(|s| leading(100 + s, 50, true, true)), [], "it waits for a snapshot");
    }

    #[test]
    fn a_leader_that_commits_nothing_of_what_its_followers_have_is_stuck() {
        let following =
            |commit: u64, last: u64| Status { role: Role::Follower, followers: vec![], ..leading(commit, 0, true, false) }.with(last);
        assert_eq!(after(|s| following(100, 101 + s)), [(NodeId(1), Way::Checkpoint, Suspicion::Hard)]);
        assert_eq!(after(|s| following(100 + s, 101 + s)), []);
        assert_eq!(after(|_| following(100, 100)), []);
    }

    trait With {
        fn with(self, last: u64) -> Self;
    }

    impl With for Status {
        fn with(mut self, last: u64) -> Self {
            self.last.index = LogIndex(last);
            self
        }
    }

    #[test]
    fn another_term_and_another_role_begin_anew() {
        let mut work = Work::default();
        (0..60).for_each(|s| work.feed(at(s), Some(&leading(100 + s, 50, true, false))));
        work.feed(at(60), Some(&Status { term: Term(4), ..leading(160, 0, true, false) }));
        assert!(work.assess(at(61)).all(|(_, assessment)| assessment.suspicion < Suspicion::Soft));
        work.feed(at(62), Some(&Status { role: Role::Candidate, leader: None, followers: vec![], ..leading(160, 0, true, false) }));
        assert_eq!(work.assess(at(63)).count(), 0);
    }
}
