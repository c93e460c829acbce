//! Notices as JSON: to webhooks and commands in the form of Alertmanager's webhooks (version 4), which many programs take already; to Alertmanager in
//! the form of its API v2.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use steadfast_health::alerts::{Alert, Labels, Notice};

use super::truth;

/// What stands for the end of what has none, as in Alertmanager.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// For how long Alertmanager believes an alert that nobody says again: four times as long as we say it again, as Prometheus does.
const BELIEVED: Duration = Duration::from_secs(240);

/// The form of the text of times.
fn time(wall_ms: u64) -> String {
    // Years beyond 9999 have no such form.
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(wall_ms.min(253_402_300_799_000))).to_string()
}

/// Firing or resolved.
pub(super) fn status(notice: &Notice) -> &'static str {
    if notice.is_resolved() { "resolved" } else { "firing" }
}

/// What all alerts of a notice have in common.
fn common(alerts: &[Alert], of: fn(&Alert) -> &Labels) -> Labels {
    let Some((first, rest)) = alerts.split_first() else { return Labels::new() };
    let is_common = |(name, value): &(&String, &String)| rest.iter().all(|alert| of(alert).get(*name) == Some(*value));
    of(first).iter().filter(is_common).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A notice for a webhook or a command. `link`: where people look further.
pub(super) fn notice(notice: &Notice, link: &str) -> Value {
    let alert = |alert: &Alert| {
        json!({
            "status": if alert.ends_ms.is_some() { "resolved" } else { "firing" },
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": time(alert.starts_ms),
            "endsAt": alert.ends_ms.map_or(NEVER.to_owned(), time),
            "generatorURL": link,
        })
    };
    let group: Vec<String> = notice.group.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    json!({
        "version": "4",
        "groupKey": format!("{{{}}}", group.join(",")),
        "truncatedAlerts": 0,
        "status": status(notice),
        "receiver": "steadfast",
        "groupLabels": notice.group,
        "commonLabels": common(&notice.alerts, |alert| &alert.labels),
        "commonAnnotations": common(&notice.alerts, |alert| &alert.annotations),
        "externalURL": link,
        "alerts": notice.alerts.iter().map(alert).collect::<Vec<_>>(),
        "repeats": notice.repeats,
    })
}

/// Alerts for Alertmanager, as of `wall_ms`.
pub(super) fn alerts<'a>(alerts: impl IntoIterator<Item = &'a Alert>, wall_ms: u64, link: &str) -> Value {
    let believed_ms = wall_ms + BELIEVED.as_millis() as u64;
    let alert = |alert: &Alert| {
        json!({
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": time(alert.starts_ms),
            "endsAt": time(alert.ends_ms.unwrap_or(believed_ms)),
            "generatorURL": link,
        })
    };
    alerts.into_iter().map(alert).collect()
}

/// What a command finds in its environment, beside the notice on its standard input.
pub(super) fn variables(notice: &Notice) -> BTreeMap<String, String> {
    let count = |is_open: bool| notice.alerts.iter().filter(|alert| alert.ends_ms.is_none() == is_open).count().to_string();
    let summaries: Vec<&str> = notice.alerts.iter().filter_map(|alert| alert.annotations.get("summary")).map(String::as_str).collect();
    let summary = steadfast_health::limits::cut(&summaries.join("; "), 4096).to_owned();
    let own = [
        ("STATUS", status(notice).to_owned()),
        ("NAME", notice.group.get("alertname").cloned().unwrap_or_default()),
        ("FIRING", count(true)),
        ("RESOLVED", count(false)),
        ("REPEATS", notice.repeats.to_string()),
        ("SUMMARY", summary),
    ];
    // A NUL can't be in an environment.
    own.into_iter().map(|(name, value)| (format!("STEADFAST_ALERT_{name}"), value.replace('\0', ""))).collect()
}

/// An alert that says nothing.
pub(super) fn test(cluster: &str, node: &str, wall_ms: u64) -> Alert {
    let labels = truth::labels("SteadfastTest", cluster, node, "info");
    let annotations = truth::annotations("a test of the way of alerts: nothing is wrong", "somebody called `steadfast alert test`", node);
    Alert { labels, annotations, starts_ms: wall_ms, ends_ms: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(node: &str, ends_ms: Option<u64>) -> Alert {
        let (labels, annotations) = (truth::labels("NodeFailed", "c", node, "critical"), truth::annotations(node, "d", node));
        Alert { labels, annotations, starts_ms: 1_000, ends_ms }
    }

    #[test]
    fn a_notice_says_what_is_common_and_what_is_not() {
        let group = Labels::from([("alertname".to_owned(), "NodeFailed".to_owned())]);
        let both = Notice { group, alerts: vec![alert("n1", None), alert("n2", Some(2_000))], repeats: 3 };
        let value = notice(&both, "http://n1:2379");
        assert_eq!((&value["status"], &value["repeats"], &value["version"]), (&json!("firing"), &json!(3), &json!("4")));
        assert_eq!(value["commonLabels"], json!({ "alertname": "NodeFailed", "cluster": "c", "severity": "critical" }));
        assert_eq!(value["alerts"][0]["endsAt"], NEVER);
        assert_eq!(
            (&value["alerts"][1]["status"], &value["alerts"][1]["endsAt"]),
            (&json!("resolved"), &json!("1970-01-01T00:00:02.000Z"))
        );
        let variables = variables(&both);
        assert_eq!((variables["STEADFAST_ALERT_STATUS"].as_str(), variables["STEADFAST_ALERT_FIRING"].as_str()), ("firing", "1"));
        assert_eq!(variables["STEADFAST_ALERT_SUMMARY"], "n1; n2");
    }

    #[test]
    fn alertmanager_believes_for_a_while_and_knows_ends() {
        let value = alerts(&[alert("n1", None), alert("n2", Some(2_000))], 60_000, "http://n1:2379");
        assert_eq!((&value[0]["startsAt"], &value[0]["endsAt"]), (&json!("1970-01-01T00:00:01.000Z"), &json!("1970-01-01T00:05:00.000Z")));
        assert_eq!((&value[1]["endsAt"], &value[1]["labels"]["node"]), (&json!("1970-01-01T00:00:02.000Z"), &json!("n2")));
    }
}
