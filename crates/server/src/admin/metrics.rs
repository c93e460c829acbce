//! Every metric of a node: its name, unit and meaning in one table, and a handle on each that costs one atomic operation to use.
//!
//! A node has a registry of its own, so that several in one process do not mix. Gauges that follow from the node's status are set when
//! metrics are read, not when the status changes: see `Metrics::observe`.

use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::status::AdminStatus;

/// Upper bounds of the buckets of times, seconds: from a fast disk's sync to a disk in trouble.
const SECONDS: [f64; 16] = [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// One metric, as it is described to readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// What it says.
    pub text: &'static str,
}

macro_rules! metrics_table {
    ($($field:ident: $kind:ident, $name:literal, $unit:ident, $text:literal;)*) => {
        /// A handle on each metric of one node; clones are handles on the same ones.
        #[derive(Clone)]
        pub struct Metrics {
            $(#[doc = $text] pub $field: $kind,)*
            prometheus: PrometheusHandle,
        }

        /// Every metric there is.
        pub const METRICS: &[Description] = &[$(Description { name: $name, unit: Unit::$unit, text: $text },)*];

        impl Metrics {
            fn register(prometheus: PrometheusHandle) -> Self {
                Metrics { $($field: metrics_table!(@register $kind, $name, $unit, $text),)* prometheus }
            }
        }
    };
    (@register Counter, $name:literal, $unit:ident, $text:literal) => {{
        metrics::describe_counter!($name, Unit::$unit, $text);
        metrics::counter!($name)
    }};
    (@register Gauge, $name:literal, $unit:ident, $text:literal) => {{
        metrics::describe_gauge!($name, Unit::$unit, $text);
        metrics::gauge!($name)
    }};
    (@register Histogram, $name:literal, $unit:ident, $text:literal) => {{
        metrics::describe_histogram!($name, Unit::$unit, $text);
        metrics::histogram!($name)
    }};
}

metrics_table! {
    leader: Gauge, "steadfast_leader", Count, "1 on the node that leads its cluster, 0 on the others.";
    leader_known: Gauge, "steadfast_leader_known", Count, "1 if the node knows a leader.";
    term: Gauge, "steadfast_term", Count, "The Raft term the node is in.";
    leader_changes: Counter, "steadfast_leader_changes_total", Count, "Changes of leader this node has seen.";
    commit_index: Gauge, "steadfast_commit_index", Count, "The log index known to be committed.";
    applied_index: Gauge, "steadfast_applied_index", Count, "The log index applied to the state.";
    revision: Gauge, "steadfast_revision", Count, "The revision of the key space.";
    compact_revision: Gauge, "steadfast_compact_revision", Count, "The revision below which history is gone.";
    members: Gauge, "steadfast_members", Count, "Members of the cluster, learners included.";
    log_bytes: Gauge, "steadfast_log_bytes", Bytes, "Size of the log on disk.";
    table_bytes: Gauge, "steadfast_table_bytes", Bytes, "Size of the tables on disk.";
    quota_bytes: Gauge, "steadfast_quota_bytes", Bytes, "What the tables may take on disk before writes are refused; 0 without a quota.";
    alarms: Gauge, "steadfast_alarms", Count, "Alarms that are raised, of all members.";
    resident_bytes: Gauge, "process_resident_memory_bytes", Bytes, "Memory of the process that is in use, by the name that Prometheus gives it.";
    proposals: Counter, "steadfast_proposals_total", Count, "Commands that clients gave this node.";
    proposals_refused: Counter, "steadfast_proposals_refused_total", Count, "Commands refused because too much was waiting, or for lack of a leader.";
    reads: Counter, "steadfast_reads_total", Count, "Linearizable reads that clients asked of this node.";
    log_sync_seconds: Histogram, "steadfast_log_sync_seconds", Seconds, "Time of one append to the log with its sync.";
    commit_seconds: Histogram, "steadfast_commit_seconds", Seconds, "Time from a client's command to its answer.";
    queued_requests: Gauge, "steadfast_queued_requests", Count, "Client requests that wait for the core loop.";
    queued_peer_frames: Gauge, "steadfast_queued_peer_frames", Count, "Frames that wait to be sent to all peers together.";
    peer_sessions: Gauge, "steadfast_peer_sessions", Count, "Peers whose connection to this node is open.";
    peer_frames_sent: Counter, "steadfast_peer_frames_sent_total", Count, "Frames sent to peers.";
    peer_frames_received: Counter, "steadfast_peer_frames_received_total", Count, "Frames received from peers.";
    peer_frames_dropped: Counter, "steadfast_peer_frames_dropped_total", Count, "Frames to peers dropped because their queue was full or they were gone.";
    peer_bytes_sent: Counter, "steadfast_peer_bytes_sent_total", Bytes, "Bytes sent to peers.";
    peer_bytes_received: Counter, "steadfast_peer_bytes_received_total", Bytes, "Bytes received from peers.";
    peer_connections_refused: Counter, "steadfast_peer_connections_refused_total", Count, "Connections to the peer port that were refused.";
    client_handshakes_failed: Counter, "steadfast_client_handshakes_failed_total", Count, "Connections to the client port that were refused before or in the TLS handshake.";
    client_certificate_expiry: Gauge, "steadfast_client_certificate_expiry_timestamp_seconds", Seconds, "When the client port's certificate expires, seconds since 1970; 0 without TLS.";
    client_certificate_stale: Gauge, "steadfast_client_certificate_stale", Count, "1 while the client port's certificate files can't be used and an older certificate is in use.";
    peer_certificate_expiry: Gauge, "steadfast_peer_certificate_expiry_timestamp_seconds", Seconds, "When the peer port's certificate expires, seconds since 1970; 0 without TLS.";
    peer_certificate_stale: Gauge, "steadfast_peer_certificate_stale", Count, "1 while the peer port's certificate files can't be used and an older certificate is in use.";
    gossip_sent: Counter, "steadfast_gossip_packets_sent_total", Count, "Packets of gossip sent, by datagram and by stream.";
    gossip_received: Counter, "steadfast_gossip_packets_received_total", Count, "Packets of gossip received, those that were refused included.";
    gossip_dropped: Counter, "steadfast_gossip_packets_dropped_total", Count, "Packets of gossip that were not sent or not taken, because too many waited, the system refused them, or a drill's faults took them.";
    gossip_malformed: Counter, "steadfast_gossip_packets_malformed_total", Count, "Packets refused because they are none, or of a format that this version does not speak.";
    gossip_foreign: Counter, "steadfast_gossip_packets_foreign_total", Count, "Packets refused because they are of another cluster, or say that they come from this node.";
    gossip_oversized: Counter, "steadfast_gossip_packets_oversized_total", Count, "Packets refused because they are larger than any may be.";
    gossip_unopened: Counter, "steadfast_gossip_packets_unopened_total", Count, "Packets refused because none of the keys in --gossip-key-file opens them.";
    gossip_healthy: Gauge, "steadfast_gossip_members_healthy", Count, "Servers and agents that take part, this node included.";
    gossip_suspect: Gauge, "steadfast_gossip_members_suspect", Count, "Servers and agents that somebody got no answer from.";
    gossip_failed: Gauge, "steadfast_gossip_members_failed", Count, "Servers and agents that were found dead.";
    health_reports: Counter, "steadfast_health_reports_total", Count, "Reports of nodes about their health that this node took as the leader.";
    health_reports_refused: Counter, "steadfast_health_reports_refused_total", Count, "Reports that this node did not take: it does not lead, or they are malformed or no member's.";
    health_verdicts: Counter, "steadfast_health_decisions_total", Count, "Changes of health that this node decided as the leader.";
    health_events: Counter, "steadfast_health_events_written_total", Count, "Events of health that this node wrote as the leader.";
    health_degraded: Gauge, "steadfast_health_nodes_degraded", Count, "Nodes that strong state holds to be degraded.";
    health_suspect: Gauge, "steadfast_health_nodes_suspect", Count, "Nodes that strong state holds to be suspect.";
    health_failed: Gauge, "steadfast_health_nodes_failed", Count, "Nodes that strong state holds to have failed.";
    health_recovering: Gauge, "steadfast_health_nodes_recovering", Count, "Nodes that strong state holds to recover.";
    health_services: Gauge, "steadfast_health_services", Count, "Services that strong state has the health of.";
    health_services_unwell: Gauge, "steadfast_health_services_unwell", Count, "Those of them that are not healthy.";
    alerts_open: Gauge, "steadfast_alerts_open", Count, "Alerts that are open, on every server that has receivers.";
    alert_notices_sent: Counter, "steadfast_alert_notices_sent_total", Count, "Notices that receivers of alerts took, and pushes to Alertmanagers.";
    alert_deliveries_failed: Counter, "steadfast_alert_delivery_failures_total", Count, "Deliveries of alerts that failed; most are tried again.";
    alert_notices_dropped: Counter, "steadfast_alert_notices_dropped_total", Count, "Notices that were given up, or had no room.";
    watchers: Gauge, "steadfast_watchers", Count, "Watchers of this node's clients.";
    watch_events: Counter, "steadfast_watch_events_total", Count, "Events sent to watchers.";
    leases: Gauge, "steadfast_leases", Count, "Leases in the state.";
    checks_declared: Gauge, "steadfast_service_checks", Count, "Service checks that this node runs, heartbeats included.";
    checks_passed: Counter, "steadfast_service_checks_passed_total", Count, "Results of service checks that passed.";
    checks_warned: Counter, "steadfast_service_checks_warned_total", Count, "Results of service checks that passed with a warning.";
    checks_failed: Counter, "steadfast_service_checks_failed_total", Count, "Results of service checks that failed, those without an answer in time included.";
    checks_timed_out: Counter, "steadfast_service_checks_timed_out_total", Count, "Runs of service checks that were ended because their time was over.";
    check_seconds: Histogram, "steadfast_service_check_seconds", Seconds, "Time of one run of a service check.";
    services: Gauge, "steadfast_services", Count, "Services that are checked on this node.";
    services_failed: Gauge, "steadfast_services_failed", Count, "Services on this node that have failed.";
    recovery_plans_open: Gauge, "steadfast_recovery_plans_open", Count, "Recovery plans at work; on the leader, 0 on the others, as the other counts of plans.";
    recovery_plans_waiting: Gauge, "steadfast_recovery_plans_waiting", Count, "Recovery plans that wait for approval.";
    recovery_plans_done: Gauge, "steadfast_recovery_plans_done", Count, "Recovery plans kept to be read that were carried out.";
    recovery_plans_failed: Gauge, "steadfast_recovery_plans_failed", Count, "Recovery plans kept to be read that failed.";
    recovery_plans_cancelled: Gauge, "steadfast_recovery_plans_cancelled", Count, "Recovery plans kept to be read that were cancelled.";
    recovery_attempts: Counter, "steadfast_recovery_attempts_total", Count, "Attempts at steps of recovery plans that this node began.";
    recovery_attempts_failed: Counter, "steadfast_recovery_attempts_failed_total", Count, "Those of them that failed.";
    recovery_steps: Counter, "steadfast_recovery_steps_total", Count, "Steps of recovery plans that this node carried out.";
    snapshots_sent: Counter, "steadfast_snapshots_sent_total", Count, "Snapshots handed over to other members.";
    snapshots_installed: Counter, "steadfast_snapshots_installed_total", Count, "Snapshots taken over from other members.";
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// The metrics of one node, all at zero.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .expect("the buckets are not empty")
            .build_recorder();
        metrics::with_local_recorder(&recorder, || Metrics::register(recorder.handle()))
    }

    /// Sets the gauges that follow from the node's status.
    pub fn observe(&self, status: &AdminStatus) {
        let flag = |truth: bool| if truth { 1.0 } else { 0.0 };
        self.leader.set(flag(status.leader == Some(status.node)));
        self.leader_known.set(flag(status.leader.is_some()));
        self.term.set(status.term as f64);
        self.commit_index.set(status.commit_index as f64);
        self.applied_index.set(status.applied_index as f64);
        self.revision.set(status.revision as f64);
        self.compact_revision.set(status.compact_revision as f64);
        self.members.set(status.members as f64);
        self.log_bytes.set(status.log_bytes as f64);
        self.table_bytes.set(status.table_bytes as f64);
        self.quota_bytes.set(status.quota_bytes as f64);
        self.alarms.set(status.alarms as f64);
        self.queued_requests.set(status.queued_requests as f64);
        self.queued_peer_frames.set(status.queued_peer_frames as f64);
        self.watchers.set(status.watchers as f64);
        self.leases.set(status.leases as f64);
        if let Some(bytes) = resident_bytes() {
            self.resident_bytes.set(bytes as f64);
        }
    }

    /// All metrics in Prometheus' text form.
    pub fn render(&self) -> String {
        self.prometheus.render()
    }

    /// Takes the samples of histograms together. Without it they would pile up while nobody reads the metrics.
    pub fn tidy_up(&self) {
        self.prometheus.run_upkeep();
    }
}

/// The memory of this process that is in use, bytes, where the system says so.
pub fn resident_bytes() -> Option<u64> {
    let statistics = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statistics.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_and_well_named() {
        for description in METRICS {
            let Description { name, unit, text } = description;
            // What every process has goes by Prometheus' names, which `etcdctl check datascale` looks for.
            let named = name.starts_with("steadfast_") || name.starts_with("process_");
            assert!(named && text.ends_with('.'), "{name}");
            assert_eq!(*unit == Unit::Bytes, name.contains("_bytes"), "{name}: bytes are named so");
            assert_eq!(*unit == Unit::Seconds, name.ends_with("_seconds"), "{name}: seconds are named so");
        }
        let names: std::collections::BTreeSet<_> = METRICS.iter().map(|description| description.name).collect();
        assert_eq!(names.len(), METRICS.len());
    }

    #[test]
    fn registries_do_not_mix_and_render_what_was_counted() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.proposals.increment(3);
        one.log_sync_seconds.record(0.0007);
        one.tidy_up();
        let text = one.render();
        for line in [
            "# HELP steadfast_proposals_total Commands that clients gave this node.",
            "# TYPE steadfast_proposals_total counter",
            "steadfast_proposals_total 3",
            "steadfast_log_sync_seconds_bucket{le=\"0.001\"} 1",
            "steadfast_log_sync_seconds_bucket{le=\"0.0005\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!other.render().contains("steadfast_proposals_total 3"));
    }

    #[test]
    fn memory_in_use_is_known() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
