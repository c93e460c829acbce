//! Alerts: what people are told, once and not a thousand times. Takes what is true now, gives notices to send.
//!
//! An alert is its labels; alerts with the same values of the grouping labels are one group and go out in one notice.
//! 1. An alert that is raised again while it is open is the same alert: nothing new is said.
//! 2. A group is first told [`Config::group_wait`] after its first alert, so that what breaks together is told together; what joins or ends later
//!    is told [`Config::group_interval`] after the last notice at the earliest.
//! 3. What stays true is told again, after a wait that doubles from [`Config::repeat_first`] to [`Config::repeat_longest`].
//! 4. A resolved alert is told once, if its firing was told; one that comes and goes before the first notice is never told.
//! 5. Alerts and notices are bounded; what is refused or dropped is counted.
//!
//! Notices have what the alerts of Alertmanager's API v2 have. Left out: sending, and trying again to send.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use steadfast_types::{Instant, wire_struct};

use crate::limits::{ALERT_LABELS, ALERTS, DETAIL_BYTES, NOTICES};
use crate::states::Moment;

#[cfg(test)]
mod tests;

/// The labels of an alert: who it is.
pub type Labels = BTreeMap<String, String>;

/// How often people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The labels whose values make a group.
    pub group_by: Vec<String>,
    /// How long a new group waits for others to join.
    pub group_wait: Duration,
    /// The shortest time between two notices of a group that has changed.
    pub group_interval: Duration,
    /// After what time an unchanged group is told again at first.
    pub repeat_first: Duration,
    /// After what time it is told again at last.
    pub repeat_longest: Duration,
}

impl Default for Config {
    /// By alert name and cluster; within 10 s, changes each minute, repeats after 15 minutes and at last after 8 hours.
    fn default() -> Self {
        Config {
            group_by: alloc::vec!["alertname".into(), "cluster".into()],
            group_wait: Duration::from_secs(10),
            group_interval: Duration::from_secs(60),
            repeat_first: Duration::from_secs(15 * 60),
            repeat_longest: Duration::from_secs(8 * 3_600),
        }
    }
}

/// Why an alert is not taken. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    /// Too many are open.
    #[error("{ALERTS} alerts are open already")]
    TooMany,
    /// It has no labels, too many, or too long ones.
    #[error("an alert has 1 to {ALERT_LABELS} labels and annotations of at most {DETAIL_BYTES} bytes each")]
    Labels,
}

/// An alert in a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Who it is.
    pub labels: Labels,
    /// What else there is to say.
    pub annotations: Labels,
    /// When it was raised, ms since 1970 by the wall clock.
    pub starts_ms: u64,
    /// When it was resolved, the same way; none while it is open.
    pub ends_ms: Option<u64>,
}
wire_struct!(Alert { labels, annotations, starts_ms, ends_ms });

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The values of the grouping labels.
    pub group: Labels,
    /// The alerts of the group: those open, and those resolved since the last notice.
    pub alerts: Vec<Alert>,
    /// How often this has been said unchanged before.
    pub repeats: u32,
}

impl Notice {
    /// Whether nothing of the group is open any more.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        self.alerts.iter().all(|alert| alert.ends_ms.is_some())
    }
}

#[derive(Clone, Debug)]
struct Open {
    alert: Alert,
    /// A notice has named it as open.
    told: bool,
}

#[derive(Clone, Debug)]
struct Group {
    alerts: BTreeMap<Labels, Open>,
    /// Something has changed since the last notice.
    changed: bool,
    /// When the last notice was made, and when the group may be told of a change.
    told: Option<Instant>,
    change_due: Instant,
    repeats: u32,
}

/// What is open, and what waits to be sent.
#[derive(Clone, Debug)]
pub struct Alerts {
    config: Config,
    groups: BTreeMap<Labels, Group>,
    count: usize,
    notices: VecDeque<Notice>,
    dropped: u64,
}

fn fits(labels: &Labels) -> bool {
    labels.len() <= ALERT_LABELS && labels.iter().all(|(name, value)| name.len() <= DETAIL_BYTES && value.len() <= DETAIL_BYTES)
}

impl Alerts {
    /// Nothing is open.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Alerts { config, groups: BTreeMap::new(), count: 0, notices: VecDeque::new(), dropped: 0 }
    }

    /// How many alerts are kept: open, or resolved and not yet told.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many notices were dropped because nobody sent them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn group_of(&self, labels: &Labels) -> Labels {
        let value = |name: &String| labels.get(name).map(|value| (name.clone(), value.clone()));
        self.config.group_by.iter().filter_map(value).collect()
    }

    /// Something is true now.
    ///
    /// # Errors
    /// If it does not fit, or too many are open.
    pub fn raise(&mut self, moment: Moment, labels: Labels, annotations: Labels) -> Result<(), AlertError> {
        if labels.is_empty() || !fits(&labels) || !fits(&annotations) {
            return Err(AlertError::Labels);
        }
        let key = self.group_of(&labels);
        let known = self.groups.get_mut(&key).and_then(|group| group.alerts.get_mut(&labels).map(|open| (open, &mut group.changed)));
        if let Some((open, changed)) = known {
            // One that was resolved and is back before that was told has never gone.
            *changed |= open.alert.ends_ms.is_some() && !open.told;
            open.alert.ends_ms = None;
            open.alert.annotations = annotations;
            return Ok(());
        }
        if self.count >= ALERTS {
            return Err(AlertError::TooMany);
        }
        self.count += 1;
        let change_due = moment.now + self.config.group_wait;
        let new = Group { alerts: BTreeMap::new(), changed: true, told: None, change_due, repeats: 0 };
        let group = self.groups.entry(key).or_insert(new);
        group.changed = true;
        let alert = Alert { labels: labels.clone(), annotations, starts_ms: moment.wall_ms, ends_ms: None };
        group.alerts.insert(labels, Open { alert, told: false });
        Ok(())
    }

    /// Something is no longer true.
    pub fn resolve(&mut self, moment: Moment, labels: &Labels) {
        let key = self.group_of(labels);
        let Some(group) = self.groups.get_mut(&key) else { return };
        let Some(open) = group.alerts.get_mut(labels).filter(|open| open.alert.ends_ms.is_none()) else { return };
        if open.told {
            open.alert.ends_ms = Some(moment.wall_ms);
            group.changed = true;
            return;
        }
        group.alerts.remove(labels);
        self.count -= 1;
        if group.alerts.is_empty() {
            self.groups.remove(&key);
        }
    }

    /// When [`Alerts::tick`] has something to say next.
    #[must_use]
    pub fn next_change(&self) -> Instant {
        self.groups.values().map(|group| group.due(&self.config)).min().unwrap_or(Instant::NEVER)
    }

    /// Time has passed: makes the notices that are due.
    pub fn tick(&mut self, now: Instant) {
        let config = self.config.clone();
        let due: Vec<Labels> = self.groups.iter().filter(|(_, group)| group.due(&config) <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let before = group.alerts.len();
            let notice = group.tell(now, &config, &key);
            self.count -= before - group.alerts.len();
            if group.alerts.is_empty() {
                self.groups.remove(&key);
            }
            self.queue(notice);
        }
    }

    fn queue(&mut self, notice: Notice) {
        if self.notices.len() == NOTICES {
            self.notices.pop_front();
            self.dropped += 1;
        }
        self.notices.push_back(notice);
    }

    /// The next notice to send.
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }
}

impl Group {
    fn due(&self, config: &Config) -> Instant {
        match self.told {
            _ if self.changed => self.change_due,
            Some(told) => told + config.repeat_first.saturating_mul(1 << self.repeats.min(31)).min(config.repeat_longest),
            None => Instant::NEVER,
        }
    }

    fn tell(&mut self, now: Instant, config: &Config, key: &Labels) -> Notice {
        self.repeats = if self.changed { 0 } else { self.repeats.saturating_add(1) };
        self.changed = false;
        self.told = Some(now);
        self.change_due = now + config.group_interval;
        let alerts = self.alerts.values().map(|open| open.alert.clone()).collect();
        self.alerts.retain(|_, open| open.alert.ends_ms.is_none());
        self.alerts.values_mut().for_each(|open| open.told = true);
        Notice { group: key.clone(), alerts, repeats: self.repeats }
    }
}
