//! What is told when, by example and by random histories.

use super::*;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use proptest::prelude::*;

fn at(s: u64) -> Moment {
    Moment { now: Instant(s * 1_000_000), wall_ms: s * 1_000 }
}

fn labels(name: &str, node: u64) -> Labels {
    [("alertname", name.to_string()), ("node", node.to_string())].into_iter().map(|(k, v)| (k.to_string(), v)).collect()
}

fn raise(alerts: &mut Alerts, s: u64, name: &str, node: u64) {
    alerts.raise(at(s), labels(name, node), Labels::new()).unwrap();
}

/// Every notice that is made until `end`, and when, s.
fn notices(alerts: &mut Alerts, end: u64) -> Vec<(u64, Notice)> {
    let mut made = Vec::new();
    while alerts.next_change() <= at(end).now {
        let now = alerts.next_change();
        alerts.tick(now);
        made.extend(core::iter::from_fn(|| alerts.next_notice()).map(|notice| (now.0 / 1_000_000, notice)));
    }
    made
}

#[test]
fn what_breaks_together_is_told_together_and_repeated_ever_less_often() {
    let mut alerts = Alerts::new(Config::default());
    (0..5).for_each(|node| raise(&mut alerts, node, "NodeFailed", node));
    raise(&mut alerts, 3, "DiskFull", 1);
    let made = notices(&mut alerts, 24 * 3_600);
    let of = |name: &str| -> Vec<(u64, usize)> {
        let of_name = made.iter().filter(|(_, notice)| notice.group["alertname"] == name);
        of_name.map(|(s, notice)| (*s, notice.alerts.len())).collect()
    };
    let minutes: Vec<u64> = of("NodeFailed").iter().map(|(s, _)| s / 60).collect();
    assert_eq!(minutes, [0, 15, 45, 105, 225, 465, 945, 1425], "minutes");
    assert_eq!(of("NodeFailed")[0], (10, 5));
    assert_eq!(of("DiskFull")[0], (13, 1));
}

#[test]
fn resolved_is_told_once_and_only_if_firing_was() {
    let mut alerts = Alerts::new(Config::default());
    raise(&mut alerts, 0, "NodeFailed", 1);
    alerts.resolve(at(5), &labels("NodeFailed", 1));
    assert_eq!((alerts.count(), notices(&mut alerts, 1_000).len()), (0, 0), "never told");

    raise(&mut alerts, 2_000, "NodeFailed", 1);
    assert_eq!(notices(&mut alerts, 2_100).len(), 1);
    alerts.resolve(at(2_200), &labels("NodeFailed", 1));
    let made = notices(&mut alerts, 100_000);
    assert_eq!(made.len(), 1);
    assert!(made[0].1.is_resolved());
    assert_eq!(made[0].1.alerts[0].ends_ms, Some(2_200_000));
    assert_eq!(alerts.count(), 0);
}

#[test]
fn bounds_hold() {
    let mut alerts = Alerts::new(Config { group_by: alloc::vec!["node".into()], ..Config::default() });
    for node in 0..ALERTS as u64 {
        raise(&mut alerts, 0, "NodeFailed", node);
    }
    assert_eq!(alerts.raise(at(0), labels("NodeFailed", u64::MAX), Labels::new()), Err(AlertError::TooMany));
    raise(&mut alerts, 1, "NodeFailed", 7);
    alerts.tick(at(100).now);
    assert_eq!(alerts.dropped(), (ALERTS - NOTICES) as u64);
    assert_eq!(core::iter::from_fn(|| alerts.next_notice()).count(), NOTICES);
    assert_eq!(alerts.raise(at(0), Labels::new(), Labels::new()), Err(AlertError::Labels));
}

proptest! {
    #[test]
    fn people_know_what_is_true_in_the_end(changes in prop::collection::vec((0..40u64, any::<bool>(), 0..3u64, 0..3u64), 0..80)) {
        let mut alerts = Alerts::new(Config::default());
        let mut open = BTreeSet::new();
        let mut believed: BTreeSet<Labels> = BTreeSet::new();
        let mut told = 0;
        let mut s = 0;
        let hear = |made: Vec<(u64, Notice)>, believed: &mut BTreeSet<Labels>| {
            for alert in made.iter().flat_map(|(_, notice)| &notice.alerts) {
                match alert.ends_ms {
                    None => believed.insert(alert.labels.clone()),
                    Some(_) => {
                        assert!(believed.remove(&alert.labels), "resolved, and nobody knew of it");
                        true
                    }
                };
            }
            made.len()
        };
        for (wait, raises, group, node) in changes {
            s += wait;
            told += hear(notices(&mut alerts, s), &mut believed);
            let labels = labels(&alloc::format!("A{group}"), node);
            if raises {
                alerts.raise(at(s), labels.clone(), Labels::new()).unwrap();
                open.insert(labels);
            } else {
                alerts.resolve(at(s), &labels);
                open.remove(&labels);
            }
        }
        told += hear(notices(&mut alerts, s + 120), &mut believed);
        prop_assert_eq!(&believed, &open);
        prop_assert_eq!(alerts.count(), open.len());
        // Three groups, at most one notice a minute each, and the first after ten seconds.
        prop_assert!(told as u64 <= 3 * ((s + 120) / 10 + 1));
    }
}
