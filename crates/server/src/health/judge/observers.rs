//! Who observes a node, and what gossip has found out through them.

use std::collections::BTreeSet;
use std::time::Duration;

use steadfast_health::verdict::Report;
use steadfast_health::{Assessment, Figures, HealthState, Suspicion, Way};
use steadfast_membership::State;
use steadfast_types::NodeId;

use super::accusations::against;
use super::world::{Heard, Turn, World};
use super::{Judge, OBSERVERS};
use crate::gossip::Seen;

/// How often everybody is pinged, and how long an answer may take: the words of evidence.
const PING: (u64, u64) = (500, 300);

impl Judge {
    /// Its observers in standing, and what those say that have something to say.
    pub(super) fn observers(&self, Turn { world, members, accusers }: &Turn<'_>, seen: &Seen) -> (BTreeSet<NodeId>, Vec<Report>) {
        let report = |observer: NodeId, assessment: Assessment| Report {
            observer,
            age: Duration::ZERO,
            has_say: true,
            assessments: vec![assessment],
        };
        let lasting = world.moment.now.since(seen.since);
        let silent = |strength| {
            let silent_ms = steadfast_health::evidence::milliseconds(lasting).saturating_add(PING.1);
            Assessment::held(Way::Heartbeat, strength, lasting, Figures::Silent { silent_ms, interval_ms: PING.0 })
        };
        let speaker = self.speaker(world, seen);
        let reports: Vec<Report> = match seen.state {
            State::Alive => vec![report(speaker, Assessment::clear(Way::Heartbeat))],
            // Whose inquiry this node holds; others say nothing of theirs until they are over.
            State::Suspect => vec![report(speaker, silent(Suspicion::Suspect))],
            State::Failed => {
                let witnesses = seen.witness_ids.iter().filter(|witness| self.has_standing(world, **witness, seen));
                witnesses.map(|witness| report(*witness, silent(Suspicion::Hard))).collect()
            }
            State::Left => vec![],
        };
        let mut standing: BTreeSet<NodeId> = reports.iter().map(|report| report.observer).collect();
        // Those first that have something to say themselves.
        let accuses = |other: &Seen| {
            let of = |heard: &&&Heard| heard.report.node == other.id;
            accusers.iter().find(of).is_some_and(|heard| against(heard, seen, world.moment.now).is_some())
        };
        let is_free = |other: &&Seen| other.state == State::Alive && other.id != seen.id && !self.is_condemned(other);
        let (first, others): (Vec<&Seen>, Vec<&Seen>) = members.values().copied().filter(is_free).partition(|other| accuses(other));
        for filler in first.into_iter().chain(others) {
            if standing.len() >= OBSERVERS as usize {
                break;
            }
            standing.insert(filler.id);
        }
        (standing, reports)
    }

    /// Who says that a node lives: this one; of itself another one, or nobody where nobody else is.
    fn speaker(&self, world: &World<'_>, seen: &Seen) -> NodeId {
        if seen.id != self.me {
            return self.me;
        }
        let other = world.members.iter().find(|other| other.id != self.me && other.state == State::Alive);
        other.map_or(NodeId(0), |other| other.id)
    }

    fn is_condemned(&self, member: &Seen) -> bool {
        self.nodes.get(&member.name).is_some_and(|tracked| {
            tracked.id == member.id && matches!(tracked.health.state(), HealthState::Failed | HealthState::Recovering)
        })
    }

    /// Whether a witness's word counts. One that died after it had spoken was a witness all the same.
    fn has_standing(&self, world: &World<'_>, witness: NodeId, about: &Seen) -> bool {
        let Some(witness) = world.members.iter().find(|member| member.id == witness) else { return false };
        match witness.state {
            State::Alive | State::Suspect => !self.is_condemned(witness),
            State::Failed | State::Left => witness.since >= about.since,
        }
    }
}
