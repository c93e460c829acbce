//! Where reports come in: on the leader they are kept for the judge, elsewhere the sender is told who leads.
//!
//! What grows: one report for each node that gossip shows to take part; the judge lets go those of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use steadfast_types::wire::Wire;
use steadfast_types::{ClusterId, Instant, NodeId};
use tokio::sync::Notify;

use super::judge::Heard;
use super::report::{Declared, NodeReport, ReportAnswer};
use super::reporter::gist;
use crate::admin::Metrics;
use crate::clock::Clock;
use crate::gossip::Gossip;

/// Who leads, as a server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leader {
    /// This node.
    Me,
    /// The one at this peer address.
    At(String),
    /// Nobody is known to.
    Unknown,
}

/// The checks that are declared for a node of this name, if they are known.
pub(crate) type ChecksOf = Arc<dyn Fn(&str) -> Option<Declared> + Send + Sync>;

/// The desk of one server; clones share it.
#[derive(Clone)]
pub(crate) struct ReportDesk(Arc<Inner>);

struct Inner {
    cluster: ClusterId,
    gossip: Gossip,
    clock: Clock,
    metrics: Metrics,
    leader: Box<dyn Fn() -> Leader + Send + Sync>,
    checks: ChecksOf,
    reports: Mutex<BTreeMap<NodeId, Heard>>,
    news: Notify,
}

impl ReportDesk {
    pub(crate) fn new(
        cluster: ClusterId,
        gossip: Gossip,
        (clock, metrics): (Clock, Metrics),
        leader: impl Fn() -> Leader + Send + Sync + 'static,
        checks: ChecksOf,
    ) -> Self {
        let (leader, reports, news) = (Box::new(leader), Mutex::default(), Notify::new());
        ReportDesk(Arc::new(Inner { cluster, gossip, clock, metrics, leader, checks, reports, news }))
    }

    /// The answer to a report that came on the peer port.
    pub(crate) fn answer(&self, question: Bytes) -> Bytes {
        let answer = match NodeReport::read(question) {
            Ok(report) => self.take(report),
            Err(error) => ReportAnswer::NotNow(error.to_string()),
        };
        let counter = match &answer {
            ReportAnswer::Taken { .. } => &self.0.metrics.health_reports,
            ReportAnswer::Ask(_) | ReportAnswer::NotNow(_) => &self.0.metrics.health_reports_refused,
        };
        counter.increment(1);
        answer.to_wire().into()
    }

    /// Takes a report, if this node leads.
    pub(crate) fn take(&self, report: NodeReport) -> ReportAnswer {
        let view = self.0.gossip.view();
        let from = view.members.iter().find(|seen| seen.id == report.node && seen.state.is_active());
        let Some(from) = from.filter(|_| report.cluster == self.0.cluster) else {
            return ReportAnswer::NotNow("the node does not take part in the membership, as far as is known here".to_owned());
        };
        match (self.0.leader)() {
            Leader::Me => {}
            Leader::At(address) => return ReportAnswer::Ask(address),
            Leader::Unknown => return ReportAnswer::NotNow("no leader is known".to_owned()),
        }
        let declared = (self.0.checks)(&from.name).filter(|declared| declared.revision != report.checks_revision);
        self.keep(report);
        ReportAnswer::Taken { wall_ms: self.reckoned_ms(), declared }
    }

    fn keep(&self, report: NodeReport) {
        let news = gist(&report);
        let ahead_ms = i64::try_from(report.wall_ms).unwrap_or(i64::MAX).saturating_sub_unsigned(Clock::wall_ms());
        let heard = Heard { at: self.0.clock.now(), ahead_ms, report: Arc::new(report) };
        let before = self.0.reports.lock().insert(heard.report.node, heard);
        if before.is_none_or(|before| gist(&before.report) != news) {
            self.0.news.notify_one();
        }
    }

    /// What the clocks say of those who have reported, this node's included: one that is wrong makes no others wrong.
    fn reckoned_ms(&self) -> u64 {
        let mut ahead: Vec<i64> = self.0.reports.lock().values().map(|heard| heard.ahead_ms).collect();
        ahead.sort_unstable();
        Clock::wall_ms().saturating_add_signed(ahead.get(ahead.len() / 2).copied().unwrap_or(0))
    }

    /// Forgets all reports: a new judge begins, to whom only what is said from now on counts.
    pub(super) fn begin(&self) {
        self.0.reports.lock().clear();
    }

    /// The reports of those who take part. Others are let go.
    pub(super) fn reports(&self, is_member: impl Fn(NodeId) -> bool) -> BTreeMap<NodeId, Heard> {
        let mut reports = self.0.reports.lock();
        reports.retain(|node, _| is_member(*node));
        reports.clone()
    }

    /// When something else is reported than before.
    pub(super) async fn news(&self) {
        self.0.news.notified().await;
    }

    /// The time, as reports are stamped with it.
    pub(super) fn now(&self) -> Instant {
        self.0.clock.now()
    }
}
