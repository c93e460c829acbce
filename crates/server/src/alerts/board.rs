//! What people have been told and have to be told, of what is true. Pure: time, truth and leadership are handed in.
//!
//! 1. All servers know what is open and what ended lately; only one that leads gives notices.
//! 2. A server that comes to lead gives notices of all that is open and of all that ended lately, as if nothing had been told.

use std::collections::{BTreeMap, VecDeque};

use steadfast_health::alerts::{Alert, Alerts, Config, Labels, Notice};
use steadfast_health::limits::ALERTS;
use steadfast_health::states::Moment;

use super::truth::Truth;

/// For how long an alert that ended is told again, ms: as long as Prometheus does.
const LATELY_MS: u64 = 15 * 60 * 1000;

/// Alerts that ended lately, at most.
const ENDED: usize = 1_024;

/// What is told and to be told.
pub(super) struct Board {
    config: Config,
    open: BTreeMap<Labels, Alert>,
    /// With the monotonic time, ms, until which it is told.
    ended: VecDeque<(u64, Alert)>,
    /// While this server leads.
    alerts: Option<Alerts>,
}

impl Board {
    pub(super) fn new(config: Config) -> Self {
        Board { config, open: BTreeMap::new(), ended: VecDeque::new(), alerts: None }
    }

    /// How many alerts are open.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// All that is open, and all that ended lately.
    pub(super) fn standing(&self) -> Vec<Alert> {
        self.open.values().chain(self.ended.iter().map(|(_, alert)| alert)).cloned().collect()
    }

    /// Takes what is true now; gives what is to be sent.
    pub(super) fn look(&mut self, moment: Moment, truth: Truth, leads: bool) -> Vec<Notice> {
        self.forget(moment);
        self.end(moment, &truth);
        self.begin(moment, truth);
        match (leads, self.alerts.is_some()) {
            (false, _) => self.alerts = None,
            (true, false) => return self.lead(moment),
            (true, true) => {}
        }
        let Some(alerts) = &mut self.alerts else { return Vec::new() };
        alerts.tick(moment.now);
        std::iter::from_fn(|| alerts.next_notice()).collect()
    }

    fn forget(&mut self, moment: Moment) {
        while self.ended.front().is_some_and(|(until, _)| *until <= milliseconds(moment)) {
            self.ended.pop_front();
        }
    }

    fn end(&mut self, moment: Moment, truth: &Truth) {
        let over: Vec<Labels> = self.open.keys().filter(|labels| !truth.contains_key(*labels)).cloned().collect();
        for labels in over {
            let Some(alert) = self.open.remove(&labels) else { continue };
            if let Some(alerts) = &mut self.alerts {
                alerts.resolve(moment, &labels);
            }
            if self.ended.len() == ENDED {
                self.ended.pop_front();
            }
            // The wall clocks of two leaders differ.
            let ends_ms = Some(moment.wall_ms.max(alert.starts_ms));
            self.ended.push_back((milliseconds(moment) + LATELY_MS, Alert { ends_ms, ..alert }));
        }
    }

    fn begin(&mut self, moment: Moment, truth: Truth) {
        for (labels, claim) in truth {
            let starts_ms = match (self.open.get(&labels), claim.since_ms) {
                (Some(known), _) => known.starts_ms,
                (None, 0) => moment.wall_ms,
                (None, since_ms) => since_ms,
            };
            if self.open.len() >= ALERTS && !self.open.contains_key(&labels) {
                // It is true at the next look as well.
                continue;
            }
            // What is back is open, and did not end.
            self.ended.retain(|(_, alert)| alert.labels != labels);
            let alert = Alert { labels: labels.clone(), annotations: claim.annotations, starts_ms, ends_ms: None };
            raise(self.alerts.as_mut(), moment, &alert);
            self.open.insert(labels, alert);
        }
    }

    /// Begins to lead: what ended lately is told at once, what is open as if it had begun now.
    fn lead(&mut self, moment: Moment) -> Vec<Notice> {
        let mut alerts = Alerts::new(self.config.clone());
        self.open.values().for_each(|alert| raise(Some(&mut alerts), moment, alert));
        self.alerts = Some(alerts);
        let mut groups: BTreeMap<Labels, Vec<Alert>> = BTreeMap::new();
        for (_, alert) in &self.ended {
            let value = |name: &String| alert.labels.get(name).map(|value| (name.clone(), value.clone()));
            let group = self.config.group_by.iter().filter_map(value).collect();
            groups.entry(group).or_default().push(alert.clone());
        }
        groups.into_iter().map(|(group, alerts)| Notice { group, alerts, repeats: 0 }).collect()
    }
}

fn milliseconds(moment: Moment) -> u64 {
    moment.now.0 / 1000
}

fn raise(alerts: Option<&mut Alerts>, moment: Moment, alert: &Alert) {
    let Some(alerts) = alerts else { return };
    let begun = Moment { wall_ms: alert.starts_ms, ..moment };
    if let Err(error) = alerts.raise(begun, alert.labels.clone(), alert.annotations.clone()) {
        tracing::debug!(%error, "an alert is not taken");
    }
}

#[cfg(test)]
mod tests {
    use super::super::truth::tests::view;
    use super::super::truth::truth;
    use super::*;
    use steadfast_health::HealthState::{self, Failed, Healthy, Recovering};
    use steadfast_types::Instant;

    fn at(s: u64) -> Moment {
        Moment { now: Instant(s * 1_000_000), wall_ms: 1_000_000 + s * 1_000 }
    }

    /// Looks every second from `from` to before `until`; gives when notices came and what they say.
    fn looks(board: &mut Board, (from, until): (u64, u64), states: &[HealthState], leads: bool) -> Vec<(u64, bool, usize)> {
        let look = |s| {
            let notices = board.look(at(s), truth("c", &view(states), &[]), leads);
            notices.into_iter().map(move |notice| (s, notice.is_resolved(), notice.alerts.len())).collect::<Vec<_>>()
        };
        (from..until).flat_map(look).collect()
    }

    #[test]
    fn the_leader_tells_in_groups_and_when_it_is_over() {
        let mut board = Board::new(Config::default());
        assert_eq!(looks(&mut board, (0, 30), &[Failed, Failed, Healthy], true), [(10, false, 2)], "the first look begins to lead");
        assert_eq!(board.standing().iter().map(|alert| alert.starts_ms).collect::<Vec<_>>(), [7_000, 7_000], "as it was recorded");
        assert_eq!(looks(&mut board, (30, 200), &[Failed, Recovering, Healthy], true), [(70, false, 2)], "one ended, one open");
        assert_eq!(looks(&mut board, (200, 300), &[Healthy; 3], true), [(200, true, 1)]);
        assert_eq!((board.open(), board.standing().len()), (0, 2));
        assert_eq!(looks(&mut board, (1_200, 1_300), &[Healthy; 3], true), []);
        assert!(board.standing().is_empty(), "after a quarter of an hour it is not told any more");
    }

    #[test]
    fn who_comes_to_lead_says_all_again() {
        let mut board = Board::new(Config::default());
        assert_eq!(looks(&mut board, (0, 60), &[Failed, Failed], false), [], "another leads");
        assert_eq!(looks(&mut board, (60, 70), &[Failed, Healthy], false), []);
        let told = looks(&mut board, (70, 90), &[Failed, Healthy], true);
        assert_eq!(told, [(70, true, 1), (80, false, 1)], "what ended at once, what is open as a group");
        assert_eq!(looks(&mut board, (90, 100), &[Failed, Healthy], false), []);
        assert_eq!(looks(&mut board, (100, 120), &[Failed, Healthy], true), [(100, true, 1), (110, false, 1)]);
    }

    #[test]
    fn what_is_back_did_not_end() {
        let mut board = Board::new(Config::default());
        looks(&mut board, (0, 20), &[Failed], true);
        looks(&mut board, (20, 21), &[Healthy], true);
        looks(&mut board, (21, 22), &[Failed], true);
        assert_eq!(board.standing().iter().map(|alert| alert.ends_ms).collect::<Vec<_>>(), [None]);
    }
}
