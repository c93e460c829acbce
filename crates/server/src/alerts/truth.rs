//! What is true of the cluster that people are to be told: nodes and services that are not well, alarms, and what recovery can't do by itself.

use std::collections::BTreeMap;

use steadfast_health::HealthState;
use steadfast_health::alerts::Labels;
use steadfast_health::limits::{DETAIL_BYTES, cut};
use steadfast_health::redact::redact;
use steadfast_state::alarm::{Alarm, AlarmKind};
use steadfast_types::NodeId;

use crate::health::view::{HealthView, Recorded};
use crate::recovery::{Concern, ConcernKind};

/// What is said of an alert beside its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) annotations: Labels,
    /// Since when it is true, ms since 1970; 0: nobody wrote it down.
    pub(super) since_ms: u64,
}

/// Everything that is true, by its labels.
pub(super) type Truth = BTreeMap<Labels, Claim>;

/// What the records and alarms say.
pub(super) fn truth(cluster: &str, health: &HealthView, alarms: &[Alarm]) -> Truth {
    let name = |id: NodeId| health.nodes.get(&id).map_or_else(|| format!("{:x}", id.0), |node| node.name.clone());
    let nodes = health.nodes.values().filter_map(|node| subject(cluster, &node.name, None, &node.health));
    let services = health.services.iter().filter_map(|((id, service), health)| subject(cluster, &name(*id), Some(service), health));
    let alarms = alarms.iter().map(|alarm| raised(cluster, &name(alarm.member), alarm.kind));
    nodes.chain(services).chain(alarms).collect()
}

/// What recovery waits for, could not do, or does not do.
pub(super) fn of_recovery(cluster: &str, health: &HealthView, concerns: &[Concern]) -> Truth {
    let claim = |concern: &Concern| {
        let node = health.nodes.get(&concern.node).map_or_else(|| concern.node.to_string(), |node| node.name.clone());
        let what = concern.service.as_ref().map_or_else(|| format!("node {node}"), |service| format!("service {service} on {node}"));
        let (name, severity, summary) = match concern.kind {
            ConcernKind::Waits => ("RecoveryWaits", "warning", format!("the recovery plan of {what} waits for approval")),
            ConcernKind::Failed => ("RecoveryFailed", "critical", format!("the recovery plan of {what} has failed")),
            ConcernKind::Withheld => ("RecoveryWithheld", "critical", format!("nothing is done about {what}, which is failed")),
        };
        let mut labels = labels(name, cluster, &node, severity);
        labels.extend(concern.service.as_ref().map(|service| ("service".to_owned(), fit(service))));
        let description = format!("{}: {}", concern.subject, concern.words);
        (labels, Claim { annotations: annotations(&summary, &description, &node), since_ms: 0 })
    };
    concerns.iter().map(claim).collect()
}

/// Which states are told, as the end of the alert's name and as its severity.
fn told(state: HealthState) -> Option<(&'static str, &'static str)> {
    match state {
        HealthState::Failed => Some(("Failed", "critical")),
        HealthState::Suspect => Some(("Suspect", "warning")),
        HealthState::Degraded => Some(("Degraded", "warning")),
        HealthState::Healthy | HealthState::Recovering => None,
    }
}

fn subject(cluster: &str, node: &str, service: Option<&String>, health: &Recorded) -> Option<(Labels, Claim)> {
    let (end, severity) = told(health.state)?;
    let kind = if service.is_some() { "Service" } else { "Node" };
    let mut labels = labels(&format!("{kind}{end}"), cluster, node, severity);
    let what = match service {
        Some(service) => format!("service {service} on {node}"),
        None => format!("node {node}"),
    };
    labels.extend(service.map(|service| ("service".to_owned(), fit(service))));
    let annotations = annotations(&format!("{what} is {}", health.state), &health.cause, node);
    Some((labels, Claim { annotations, since_ms: health.since_ms }))
}

fn raised(cluster: &str, node: &str, kind: AlarmKind) -> (Labels, Claim) {
    let (name, summary, description) = match kind {
        AlarmKind::NoSpace => ("NoSpace", "writes are refused", "its quota is used up; see docs/etcd.md on alarm NOSPACE"),
        AlarmKind::Corrupt => {
            ("Corrupt", "its state differs from the majority's", "it serves nobody until a snapshot has replaced its state")
        }
    };
    let annotations = annotations(&format!("node {node}: {summary}"), description, node);
    (labels(name, cluster, node, "critical"), Claim { annotations, since_ms: 0 })
}

/// As much of a text as an alert takes, without secrets.
fn fit(text: &str) -> String {
    cut(&redact(text), DETAIL_BYTES).to_owned()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), fit(value))).collect()
}

pub(super) fn labels(name: &str, cluster: &str, node: &str, severity: &str) -> Labels {
    pairs([("alertname", name), ("cluster", cluster), ("node", node), ("severity", severity)])
}

pub(super) fn annotations(summary: &str, description: &str, node: &str) -> Labels {
    pairs([("summary", summary), ("description", description), ("diagnose", &format!("steadfast diagnose {node}"))])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::health::view::NodeHealth;
    use steadfast_membership::Role;

    /// A view with nodes `n1`, `n2`, … in these states.
    pub(in crate::alerts) fn view(states: &[HealthState]) -> HealthView {
        let node = |(at, state): (usize, &HealthState)| {
            let health = Recorded { state: *state, since_ms: 7_000, cause: "condemned: token=XYZZY".into() };
            (NodeId(at as u64 + 1), NodeHealth { name: format!("n{}", at + 1), role: Role::Server, health })
        };
        HealthView { nodes: states.iter().enumerate().map(node).collect(), ..HealthView::default() }
    }

    #[test]
    fn what_recovery_can_t_do_by_itself_is_told() {
        let concern = |kind, service: Option<&str>| Concern {
            kind,
            node: NodeId(1),
            service: service.map(str::to_owned),
            subject: "node 1".into(),
            words: "there is no spare".into(),
        };
        let concerns =
            [concern(ConcernKind::Waits, None), concern(ConcernKind::Failed, Some("db")), concern(ConcernKind::Withheld, Some("db"))];
        let truth = of_recovery("c", &view(&[HealthState::Failed]), &concerns);
        let told: Vec<&str> = truth.values().map(|claim| claim.annotations["summary"].as_str()).collect();
        let expected = [
            "the recovery plan of service db on n1 has failed",
            "the recovery plan of node n1 waits for approval",
            "nothing is done about service db on n1, which is failed",
        ];
        assert_eq!(told, expected);
        let of = |name: &str| truth.keys().find(|labels| labels["alertname"] == name).map(|labels| labels["severity"].clone());
        assert_eq!((of("RecoveryWaits").as_deref(), of("RecoveryWithheld").as_deref()), (Some("warning"), Some("critical")));
        assert_eq!(truth.values().next().map(|claim| claim.annotations["description"].as_str()), Some("node 1: there is no spare"));
    }

    #[test]
    fn who_is_not_well_is_told_and_nobody_else() {
        use HealthState::{Degraded, Failed, Healthy, Recovering, Suspect};
        let mut view = view(&[Healthy, Recovering, Degraded, Suspect, Failed]);
        let health = Recorded { state: Failed, since_ms: 9, cause: "refused".into() };
        view.services.insert((NodeId(1), "db".into()), health);
        let truth = truth("c", &view, &[Alarm { kind: AlarmKind::NoSpace, member: NodeId(1) }]);
        let told: Vec<String> =
            truth.keys().map(|labels| format!("{} {} {}", labels["alertname"], labels["node"], labels["severity"])).collect();
        let expected = [
            "NoSpace n1 critical",
            "NodeDegraded n3 warning",
            "NodeFailed n5 critical",
            "NodeSuspect n4 warning",
            "ServiceFailed n1 critical",
        ];
        assert_eq!(told, expected);
        assert!(!format!("{truth:?}").contains("XYZZY"));
        let claim = &truth[&labels("NodeFailed", "c", "n5", "critical")];
        assert_eq!((claim.since_ms, claim.annotations["summary"].as_str()), (7_000, "node n5 is failed"));
    }
}
