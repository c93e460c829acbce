//! What every node does for its own health's sake: it looks at itself each two seconds, and tells the leader when something has changed, and each
//! [`REPORT_AGAIN`] in any case. A thousand nodes that are well put thirty-three questions a second.

use std::sync::Arc;
use std::time::Duration;

use steadfast_health::pause::{Config, OwnPause};
use steadfast_health::{HealthState, Suspicion, Way};
use steadfast_membership::{Role, State};
use steadfast_types::{ClusterId, Instant, NodeId};
use tokio::sync::watch;
use tokio::time::timeout;

use super::cause::about;
use super::desk::ReportDesk;
use super::observer::{Observed, Observer};
use super::report::{Against, Declared, NodeReport, ReportAnswer, ServiceReport};
use super::soft::Soft;
use crate::clock::Clock;
use crate::gossip::Gossip;
use crate::identity::random;
use crate::peers::{self, Link, Topic};

/// How often a node looks at itself.
const LOOK: Duration = Duration::from_secs(2);

/// What has not changed is told again so often.
const REPORT_AGAIN: Duration = Duration::from_secs(30);

/// Nobody took it: after so long at most it is told again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Who is asked in vain says who leads; so many are asked in a row.
const HOPS: usize = 3;

/// What a node reports from.
pub(super) struct Reporter {
    pub(super) cluster: ClusterId,
    pub(super) node: NodeId,
    pub(super) gossip: Gossip,
    pub(super) link: Link,
    pub(super) clock: Clock,
    /// On servers.
    pub(super) desk: Option<ReportDesk>,
    /// On servers.
    pub(super) observer: Option<Observer>,
    pub(super) services: watch::Receiver<Arc<Vec<ServiceReport>>>,
    pub(super) declared: watch::Sender<Arc<Declared>>,
    pub(super) soft: Soft,
}

/// What a report says, without figures that change always.
type Gist = (bool, Vec<String>, Vec<(String, HealthState)>, Vec<(NodeId, Way, Suspicion)>);

/// Whether a report says something else than another.
pub(super) fn gist(report: &NodeReport) -> Gist {
    let soft = report.soft_errors.iter().map(about).collect();
    let services = report.services.iter().map(|service| (service.service.clone(), service.state)).collect();
    (report.has_say || report.against.is_empty(), soft, services, report.against.iter().flat_map(by_way).collect())
}

fn by_way(against: &Against) -> impl Iterator<Item = (NodeId, Way, Suspicion)> {
    against.assessments.iter().map(|assessment| (against.node, assessment.way, assessment.suspicion))
}

impl Reporter {
    /// Reports for as long as the node runs.
    pub(super) async fn run(mut self) {
        let mut own = OwnPause::new(self.clock.now(), Config::default());
        let (mut told, mut told_at, mut leader) = (None, Instant(0), None);
        // Who is not heard asks ever less often.
        let mut patience = Duration::ZERO;
        let again = REPORT_AGAIN.mul_f64(0.9 + (random() % 200) as f64 / 1000.0);
        loop {
            let now = self.clock.now();
            own.turn(now, now + LOOK + ANSWER_LIMIT * HOPS as u32);
            let report = self.look(own.has_say(now));
            let news = gist(&report);
            let is_due = now.since(told_at) >= patience;
            if told.as_ref().is_some_and(|told| *told != news) || is_due {
                let is_taken = self.tell(report, &mut leader).await;
                patience = if is_taken { again } else { (patience * 2).clamp(LOOK, ASK_AGAIN) };
                (told, told_at) = (is_taken.then_some(news), now);
            }
            // An error: nothing checks services here.
            let is_unfed = timeout(LOOK, self.services.changed()).await.is_ok_and(|changed| changed.is_err());
            if is_unfed {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    fn look(&mut self, has_say: bool) -> NodeReport {
        let now = self.clock.now();
        let Observed { has_say: observer_has_say, against, own } =
            self.observer.as_ref().map(|observer| observer.observed(now)).unwrap_or_default();
        let mut soft_errors = self.soft.sample(now);
        soft_errors.extend(own);
        NodeReport {
            cluster: self.cluster,
            node: self.node,
            has_say: has_say && observer_has_say,
            soft_errors,
            services: self.services.borrow_and_update().to_vec(),
            against,
            checks_revision: self.declared.borrow().revision,
            wall_ms: 0,
        }
    }

    /// Puts the report to whoever leads; whether it was taken.
    async fn tell(&mut self, report: NodeReport, leader: &mut Option<String>) -> bool {
        for _ in 0..HOPS {
            let asked_at = self.clock.now();
            let report = NodeReport { wall_ms: Clock::wall_ms(), ..report.clone() };
            let answer = match (&self.desk, &leader) {
                (Some(desk), None) => Some(desk.take(report)),
                (_, Some(address)) => self.ask(&address.clone(), report).await,
                (None, None) => match self.some_server() {
                    Some(address) => self.ask(&address, report).await,
                    None => None,
                },
            };
            match answer {
                Some(ReportAnswer::Taken { wall_ms, declared }) => {
                    self.note(asked_at, wall_ms, declared);
                    if self.desk.is_some() {
                        // The desk knows better each time.
                        *leader = None;
                    }
                    return true;
                }
                Some(ReportAnswer::Ask(address)) if leader.as_ref() != Some(&address) => *leader = Some(address),
                Some(ReportAnswer::Ask(_) | ReportAnswer::NotNow(_)) | None => {
                    *leader = None;
                    return false;
                }
            }
        }
        false
    }

    async fn ask(&self, address: &str, report: NodeReport) -> Option<ReportAnswer> {
        match peers::ask(&self.link, address, Topic::Health, &report.write(), ANSWER_LIMIT).await {
            Ok(answer) => ReportAnswer::read(answer).ok(),
            Err(error) => {
                tracing::debug!(%error, "a report of health was not taken");
                None
            }
        }
    }

    /// A server that takes part, at random.
    fn some_server(&self) -> Option<String> {
        let view = self.gossip.view();
        let servers: Vec<_> = view.members.iter().filter(|seen| seen.role == Role::Server && seen.state == State::Alive).collect();
        let at = usize::try_from(random() % servers.len().max(1) as u64).unwrap_or(0);
        servers.get(at).map(|seen| seen.address.to_string())
    }

    /// The offset is what is left when half of the way is taken for each direction.
    fn note(&mut self, asked_at: Instant, wall_ms: u64, declared: Option<Declared>) {
        let half = self.clock.now().since(asked_at).as_millis() / 2;
        let theirs = wall_ms.saturating_add(u64::try_from(half).unwrap_or(u64::MAX));
        self.soft.set_clock_offset(Clock::wall_ms().abs_diff(theirs));
        if let Some(declared) = declared {
            self.declared.send_replace(Arc::new(declared));
        }
    }
}
