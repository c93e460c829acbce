//! What the planner is shown: servers, agents and services, each with its role, its health and its epoch.
//!
//! Two ways see a server's failure: what strong state decided about it ([`HealthView`]), and the leader's own connection to it. What gossip says alone is a
//! suspicion: a plan rests on what was decided, with its observers. Who answers the leader is not failed,
//! whatever is said of it; whom nobody has heard of since the cluster started is judged by the leader's silence alone. A server without an address has
//! lost it to a node that was admitted in its place, and can't come back, whatever gossip says of its end. A server that said goodbye is away
//! on purpose, so it is no case for a plan; it does not count as alive either.
//!
//! Agents are no members of strong state: of them are shown those that take part and those that have a record. Of services those are shown whose
//! restart is declared. Both rest on what was decided alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use steadfast_consensus::Status;
use steadfast_health::HealthState;
use steadfast_health::recovery::observed::{Epoch, Observed, Role, Seen};
use steadfast_health::subject::Subject;
use steadfast_membership::{Role as Place, State};
use steadfast_state::command::Member;
use steadfast_types::NodeId;

use super::ledger::Book;
use crate::checks::declared::{ALL_NODES, Declared};
use crate::checks::restarts::Restart;
use crate::gossip::{Seen as Gossiped, View};
use crate::health::view::{HealthView, NodeHealth, Recorded};

/// Everybody's health: as it was decided, and where nothing was, as gossip has it, which fails nobody.
pub(super) fn health_of(view: &View, decided: &HealthView) -> HealthView {
    let node = |seen: &Gossiped| {
        let recorded = decided.nodes.get(&seen.id).map(|node| (node.health.state, node.health.cause.clone()));
        let (state, cause) = match (seen.state, recorded) {
            (State::Left, _) => (HealthState::Suspect, "said goodbye".to_owned()),
            (State::Suspect, None | Some((HealthState::Healthy, _))) => {
                (HealthState::Suspect, format!("did not answer {}", seen.witnesses.join(", ")))
            }
            // Its name has gone to a node that was admitted in its place, and so have the records of it.
            (State::Failed, None | Some((HealthState::Healthy, _))) if has_successor(view, seen) => {
                (HealthState::Failed, format!("found dead by {}, and another node came under its name", seen.witnesses.join(", ")))
            }
            (State::Failed, None | Some((HealthState::Healthy, _))) => {
                (HealthState::Suspect, format!("found dead by {}, and nothing is decided", seen.witnesses.join(", ")))
            }
            (State::Alive, None) => (HealthState::Healthy, String::new()),
            (State::Alive | State::Suspect | State::Failed, Some(recorded)) => recorded,
        };
        (seen.id, NodeHealth { name: seen.name.clone(), role: seen.role, health: Recorded { state, since_ms: 0, cause } })
    };
    HealthView { nodes: view.members.iter().map(node).collect(), ..HealthView::default() }
}

/// Whether another node that takes part has the name of this one, as a server has whose disk was lost.
fn has_successor(view: &View, seen: &Gossiped) -> bool {
    view.members.iter().any(|other| other.id != seen.id && other.name == seen.name && other.state.is_active())
}

/// What the leader `me` sees of the servers.
pub(super) fn observed(health: &HealthView, status: &Status, members: &[Member], book: &Book, me: NodeId) -> Observed {
    let configuration = &status.configuration;
    let counts =
        |member: &&Member| configuration.is_voter(member.id) || configuration.learners.contains(&member.id) && !member.name.is_empty();
    let seen = |member: &Member| {
        let subject = Subject::Node(member.id);
        let role = match () {
            () if configuration.is_voter(member.id) => Role::Voter,
            () if book.spares.contains(&member.id) => Role::Spare,
            () => Role::Learner,
        };
        let (state, why) = match member.peer_urls.is_empty() {
            true => (HealthState::Failed, "lost its disk: its address was given to the node that came in its place".to_owned()),
            false => state_of(member.id, health, status, me),
        };
        let epoch = book.epochs.get(&subject).copied().unwrap_or(Epoch(0));
        let cause = format!("{} {why}", if member.name.is_empty() { "a server that has not started" } else { &member.name });
        (subject, Seen { role, state, failed_for: Duration::ZERO, epoch, cause })
    };
    let subjects: BTreeMap<Subject, Seen> = members.iter().filter(counts).map(seen).collect();
    Observed { subjects }
}

/// What is seen of agents and of services.
pub(super) fn others(
    view: &View,
    decided: &HealthView,
    health: &HealthView,
    restarts: &Declared<Restart>,
    book: &Book,
) -> BTreeMap<Subject, Seen> {
    let seen = |subject: Subject, role, name: &str, of: &Recorded| {
        let epoch = book.epochs.get(&subject).copied().unwrap_or(Epoch(0));
        let cause = format!("{name} {}", of.cause);
        (subject, Seen { role, state: of.state, failed_for: Duration::ZERO, epoch, cause })
    };
    let active: BTreeSet<NodeId> = view.members.iter().filter(|seen| seen.state.is_active()).map(|seen| seen.id).collect();
    let known: BTreeMap<NodeId, &NodeHealth> = decided.nodes.iter().chain(&health.nodes).map(|(id, node)| (*id, node)).collect();
    let agents = known.iter().filter(|(id, node)| node.role == Place::Agent && (active.contains(id) || decided.nodes.contains_key(id)));
    let agents = agents.map(|(id, node)| seen(Subject::Node(*id), Role::Agent, &node.name, &node.health));
    let is_declared = |(node, service): &(NodeId, String)| {
        let names = [ALL_NODES, known.get(node).map_or(ALL_NODES, |node| &node.name)];
        names.iter().filter_map(|name| restarts.get(*name)).flatten().any(|restart| restart.service == *service)
    };
    let services = decided.services.iter().filter(|(key, _)| is_declared(key)).map(|((node, name), health)| {
        let words = format!("{name} on {}:", known.get(node).map_or("", |node| node.name.as_str()));
        seen(Subject::Service { node: *node, name: name.clone() }, Role::Service, &words, health)
    });
    agents.chain(services).collect()
}

/// How a server is, and why, in words that follow its name.
pub(super) fn state_of(node: NodeId, health: &HealthView, status: &Status, me: NodeId) -> (HealthState, String) {
    let answers = node == me || status.followers.iter().any(|follower| follower.id == node && follower.active);
    match (health.nodes.get(&node).map(|node| &node.health), answers) {
        (None, true) => (HealthState::Healthy, "answers its leader".to_owned()),
        (None, false) => (HealthState::Failed, "does not answer its leader, and nobody has heard of it".to_owned()),
        (Some(health), true) if health.state == HealthState::Failed => {
            (HealthState::Suspect, format!("{}, but answers its leader", health.cause))
        }
        (Some(health), true | false) => (health.state, health.cause.clone()),
    }
}

#[cfg(test)]
mod tests {
    use steadfast_consensus::{FollowerStatus, Role as RaftRole};
    use steadfast_types::{Configuration, LogIndex, LogPosition, Term};

    use super::*;

    fn status(active: &[u64]) -> Status {
        let mut configuration = Configuration::of_voters([1, 2, 3].map(NodeId));
        configuration.learners = [4, 5, 6].map(NodeId).into();
        let follower = |id| FollowerStatus { id: NodeId(id), matched: LogIndex(1), active: active.contains(&id), snapshot: false };
        Status {
            role: RaftRole::Leader,
            term: Term(1),
            leader: Some(NodeId(1)),
            commit: LogIndex(1),
            last: LogPosition::new(Term(1), LogIndex(1)),
            configuration,
            followers: (2..=6).map(follower).collect(),
            suspect: false,
        }
    }

    fn health(of: &[(u64, HealthState)]) -> HealthView {
        let node = |(id, state): &(u64, HealthState)| {
            let health = Recorded { state: *state, since_ms: 0, cause: "found dead by n9".to_owned() };
            (NodeId(*id), NodeHealth { name: format!("n{id}"), role: Place::Server, health })
        };
        HealthView { nodes: of.iter().map(node).collect(), ..HealthView::default() }
    }

    #[test]
    fn who_answers_its_leader_is_not_failed() {
        let state =
            |node: u64, said: &[(u64, HealthState)], active: &[u64]| state_of(NodeId(node), &health(said), &status(active), NodeId(1)).0;
        assert_eq!(state(1, &[], &[]), HealthState::Healthy, "the leader itself");
        assert_eq!(state(2, &[(2, HealthState::Failed)], &[]), HealthState::Failed);
        assert_eq!(state(2, &[(2, HealthState::Failed)], &[2]), HealthState::Suspect);
        assert_eq!(state(2, &[(2, HealthState::Suspect)], &[]), HealthState::Suspect);
        assert_eq!(state(2, &[], &[2]), HealthState::Healthy);
        assert_eq!(state(2, &[], &[]), HealthState::Failed, "nobody has heard of it");
    }

    #[test]
    fn what_gossip_says_alone_fails_nobody() {
        let seen = |id: u64, state: State| Gossiped {
            id: NodeId(id),
            name: format!("n{id}"),
            role: Place::Server,
            address: ([127, 0, 0, 1], 2380).into(),
            state,
            since: steadfast_types::Instant(0),
            witnesses: vec!["n9".to_owned()],
            witness_ids: vec![NodeId(9)],
            incarnation: steadfast_membership::Incarnation::of_life(1),
            born: 0,
        };
        let shown = |state: State, decided: &[(u64, HealthState)]| {
            let view = View { members: vec![seen(2, state)], is_admitted: true };
            health_of(&view, &health(decided)).nodes[&NodeId(2)].health.state
        };
        assert_eq!(shown(State::Failed, &[]), HealthState::Suspect);
        assert_eq!(shown(State::Failed, &[(2, HealthState::Healthy)]), HealthState::Suspect, "the judge has not said so yet");
        assert_eq!(shown(State::Failed, &[(2, HealthState::Failed)]), HealthState::Failed);
        assert_eq!(shown(State::Left, &[(2, HealthState::Failed)]), HealthState::Suspect, "away on purpose");
        let successor = Gossiped { id: NodeId(3), ..seen(2, State::Alive) };
        let view = View { members: vec![seen(2, State::Failed), successor], is_admitted: true };
        assert_eq!(health_of(&view, &health(&[])).nodes[&NodeId(2)].health.state, HealthState::Failed, "its name is taken");
        assert_eq!(shown(State::Alive, &[(2, HealthState::Degraded)]), HealthState::Degraded);
        assert_eq!(shown(State::Alive, &[]), HealthState::Healthy);
    }

    #[test]
    fn servers_are_shown_as_what_they_are() {
        let member = |id: u64| Member {
            id: NodeId(id),
            name: if id == 6 { String::new() } else { format!("n{id}") },
            peer_urls: if id == 2 { Vec::new() } else { vec![format!("http://h:{id}")] },
            ..Member::default()
        };
        let members: Vec<Member> = (1..=7).map(member).collect();
        let mut book = Book::default();
        book.spares.extend([NodeId(2), NodeId(5)]);
        book.epochs.insert(Subject::Node(NodeId(3)), Epoch(4));
        let seen = observed(&health(&[(3, HealthState::Failed)]), &status(&[2, 4, 5]), &members, &book, NodeId(1));
        let roles: Vec<(u64, Role)> = seen.subjects.iter().map(|(subject, seen)| (subject.node().0, seen.role)).collect();
        // One that was added and has not started is nobody's case; one that is no member any more is not there.
        assert_eq!(roles, [(1, Role::Voter), (2, Role::Voter), (3, Role::Voter), (4, Role::Learner), (5, Role::Spare)]);
        let failed = seen.node(NodeId(3)).expect("it is there");
        assert_eq!((failed.state, failed.epoch, failed.cause.as_str()), (HealthState::Failed, Epoch(4), "n3 found dead by n9"));
        let wiped = seen.node(NodeId(2)).expect("it is there");
        assert_eq!(wiped.state, HealthState::Failed, "another node has its address, whoever answers");
    }
}
