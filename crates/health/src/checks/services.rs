//! The health of one node's services, by their checks: a service is as the worst of its checks says.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use steadfast_types::NodeId;

use super::definition::Check;
use super::tally::{Outcome, Tally};
use crate::limits::CHECKS;
use crate::states::{Config, Event, Health, HealthState, Moment};
use crate::subject::Subject;
use crate::verdict::{Rule, Testimony};

/// One check's service and its results.
#[derive(Clone, Debug)]
struct Checked {
    service: String,
    tally: Tally,
}

/// The services of one node.
#[derive(Clone, Debug)]
pub struct Services {
    node: NodeId,
    config: Config,
    checks: BTreeMap<String, Checked>,
    health: BTreeMap<String, Health>,
}

impl Services {
    /// A node without checks.
    #[must_use]
    pub fn new(node: NodeId, config: Config) -> Self {
        Services { node, config, checks: BTreeMap::new(), health: BTreeMap::new() }
    }

    /// A check begins at `now`; without results so far, in place of one of the same name. How many there may be is for the scheduler; here one too many is left out.
    pub fn add(&mut self, moment: Moment, check: &Check) {
        let definition = check.definition();
        if self.checks.len() >= CHECKS && !self.checks.contains_key(&definition.name) {
            return;
        }
        let service = definition.service.clone();
        let subject = || Subject::Service { node: self.node, name: service.clone() };
        self.health.entry(service.clone()).or_insert_with(|| Health::new(subject(), self.config));
        if let Some(before) = self.checks.insert(definition.name.clone(), Checked { service, tally: Tally::new(moment.now, check) }) {
            self.forget_unchecked(&before.service);
        }
    }

    /// A check ends. A service without checks is forgotten.
    pub fn remove(&mut self, check: &str) {
        if let Some(before) = self.checks.remove(check) {
            self.forget_unchecked(&before.service);
        }
    }

    fn forget_unchecked(&mut self, service: &str) {
        if !self.checks.values().any(|checked| checked.service == service) {
            self.health.remove(service);
        }
    }

    /// The health of a service.
    #[must_use]
    pub fn health(&self, service: &str) -> Option<&Health> {
        self.health.get(service)
    }

    /// Every service and its health.
    pub fn all(&self) -> impl Iterator<Item = (&String, &Health)> {
        self.health.iter()
    }

    /// A result; the changes of its service that follow.
    pub fn take(&mut self, moment: Moment, check: &str, outcome: Outcome) -> Vec<Event> {
        let Some(checked) = self.checks.get_mut(check) else { return Vec::new() };
        checked.tally.take(moment.now, outcome);
        let service = checked.service.clone();
        let of_service = || self.checks.values().filter(|checked| checked.service == service);
        let state = of_service().map(|checked| checked.tally.state()).max().unwrap_or(HealthState::Recovering);
        let evidence = of_service().flat_map(|checked| checked.tally.assess(moment.now).evidence);
        let evidence = evidence.map(|evidence| Testimony { observer: self.node, evidence }).collect();
        let Some(health) = self.health.get_mut(&service) else { return Vec::new() };
        health.judge(moment, state, Rule::Checked, evidence)
    }

    /// Time has passed; the changes that follow.
    pub fn tick(&mut self, moment: Moment) -> Vec<Event> {
        self.health.values_mut().flat_map(|health| health.tick(moment)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::definition::{Definition, Kind};
    use super::*;
    use steadfast_types::Instant;

    fn services() -> Services {
        let mut services = Services::new(NodeId(7), Config::default());
        for name in ["port", "page"] {
            let check = Definition::new(name, "orders", Kind::Tcp { address: "localhost:80".into() }).validate().unwrap();
            services.add(at(0), &check);
        }
        services
    }

    fn at(s: u64) -> Moment {
        Moment { now: Instant(s * 1_000_000), wall_ms: 0 }
    }

    fn failed() -> Outcome {
        Outcome::Failed("refused".into())
    }

    #[test]
    fn a_service_is_as_its_worst_check_says_and_the_event_names_it() {
        let mut services = services();
        for s in 0..10 {
            services.take(at(s * 10), "port", Outcome::Passed);
            services.take(at(s * 10), "page", Outcome::Passed);
        }
        assert_eq!(services.health("orders").unwrap().state(), HealthState::Healthy);
        assert_eq!(services.take(at(100), "page", failed())[0].to, HealthState::Degraded);
        assert!(services.take(at(110), "page", failed()).is_empty());
        let event = services.take(at(120), "page", failed()).remove(0);
        assert_eq!((event.to, event.number), (HealthState::Failed, 3));
        assert_eq!(event.subject, Subject::Service { node: NodeId(7), name: "orders".into() });
        assert_eq!(alloc::format!("{}", event.evidence[0].evidence), "check: 3 of 3 checks failed in a row: refused");
    }

    #[test]
    fn a_check_that_is_declared_for_another_service_leaves_the_one_it_had() {
        let mut services = services();
        for name in ["port", "page"] {
            assert!(services.health("orders").is_some());
            services.add(at(1), &Definition::new(name, "logs", Kind::Heartbeat).validate().unwrap());
        }
        assert!(services.health("orders").is_none() && services.health("logs").is_some());
    }

    #[test]
    fn a_service_without_checks_is_forgotten() {
        let mut services = services();
        services.remove("port");
        assert!(services.health("orders").is_some());
        services.remove("page");
        assert!(services.health("orders").is_none());
        assert!(services.take(at(1), "page", failed()).is_empty());
    }
}
