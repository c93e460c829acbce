//! How an executor brings about what a step of a plan wants.

use steadfast_consensus::{FollowerStatus, Status};
use steadfast_health::recovery::observed::{Observed, Seen};
use steadfast_health::recovery::step::Effect;
use steadfast_health::states::HealthState;
use steadfast_health::subject::Subject;
use steadfast_node::{MembershipChange, RequestBody};
use steadfast_types::NodeId;

use super::records::{Book, epoch_key};
use super::{ANSWER_WITHIN, Executor};
use crate::cluster::Cluster;
use crate::workload::OperationNumber;

/// A spare that misses no more entries has caught up.
const CAUGHT_UP: u64 = 64;

impl Cluster {
    /// Whether an effect is there; if not, it is asked for.
    pub(super) fn bring_about(
        &mut self,
        node: NodeId,
        status: &Status,
        (book, observed): (&Book, &Observed),
        effect: &Effect,
        executor: &mut Executor,
    ) -> Result<(), String> {
        let configuration = &status.configuration;
        let seen = |subject: &Subject| observed.subjects.get(subject);
        let change = match effect {
            Effect::RevokeHeld { .. } | Effect::SaveCheckpoint { .. } | Effect::StartService { .. } => return Ok(()),
            Effect::ConfirmFailed(subject) => return holds(seen(subject).is_some_and(|seen| seen.state == HealthState::Failed)),
            Effect::AwaitFit(subject) => return holds(seen(subject).is_some_and(Seen::is_fit)),
            Effect::ConfirmGone(id) => return holds(!configuration.contains(*id)),
            Effect::AwaitCaughtUp(id) => {
                let caught_up = |follower: &&FollowerStatus| {
                    follower.id == *id && follower.active && follower.matched.0 + CAUGHT_UP >= status.last.index.0
                };
                return holds(status.followers.iter().any(|follower| caught_up(&follower)));
            }
            Effect::RaiseEpoch { subject, epoch } => {
                let (known, revision) = book.epochs.get(&subject.node()).copied().unwrap_or_default();
                if known < *epoch {
                    let put = (epoch_key(subject.node()), revision, Some(epoch.0.to_be_bytes().to_vec()));
                    executor.pending = Some((self.propose_records(node, vec![put]), None));
                }
                return holds(known >= *epoch);
            }
            Effect::AddLearner(id) if configuration.contains(*id) => return Ok(()),
            Effect::AddLearner(id) => MembershipChange::Add { id: *id, peer_urls: vec![format!("http://node-{id}:2380")], learner: true },
            Effect::SwapVoters { remove, add } if configuration.voters.contains(add) && !configuration.contains(*remove) => return Ok(()),
            Effect::SwapVoters { remove, add } => MembershipChange::Replace { voter: *remove, learner: *add },
            Effect::RemoveNode(id) if !configuration.contains(*id) => return Ok(()),
            Effect::RemoveNode(id) if configuration.voters.contains(id) => return Err("it votes".into()),
            Effect::RemoveNode(id) => MembershipChange::Remove(*id),
        };
        self.trace.milestone(self.queue.now(), &[41, node.0], || format!("{node} asks for {change:?}"));
        self.ask(node, OperationNumber::NOBODY, RequestBody::ChangeMembership(change), ANSWER_WITHIN);
        Err("it is asked for".into())
    }
}

fn holds(is_so: bool) -> Result<(), String> {
    is_so.then_some(()).ok_or_else(|| "not yet".into())
}
