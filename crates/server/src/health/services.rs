//! Between the checks that run on a node and its reports to the leader: the services' health goes one way, what is declared for it the other.

use std::sync::Arc;

use steadfast_health::checks::definition::Definition;
use steadfast_health::checks::restart::Restart;
use steadfast_health::limits::RESTARTS;
use steadfast_types::wire::Wire;
use tokio::sync::watch;

use super::desk::ChecksOf;
use super::report::{Declared, ServiceReport};
use crate::checks::{self, Following};

/// The services of this node as its reports have them.
pub(crate) fn reported(checks: watch::Receiver<Arc<Vec<checks::ServiceReport>>>) -> watch::Receiver<Arc<Vec<ServiceReport>>> {
    mapped(checks, |services| services.iter().map(report).collect())
}

fn report(service: &checks::ServiceReport) -> ServiceReport {
    let evidence = service.evidence.iter().map(|testimony| testimony.evidence.clone()).collect();
    ServiceReport { service: service.service.clone(), state: service.state, evidence }
}

/// What an agent's checks are, from the answers to its reports.
pub(crate) fn declared(answers: watch::Receiver<Arc<Declared>>) -> watch::Receiver<Arc<Vec<Definition>>> {
    mapped(answers, |declared| declared.checks.clone())
}

/// How an agent's services are started anew, from the answers to its reports.
pub(crate) fn restarts(answers: watch::Receiver<Arc<Declared>>) -> watch::Receiver<Arc<Vec<Restart>>> {
    mapped(answers, |declared| declared.restarts.clone())
}

/// What the leader answers to those that report: nothing while it has not read yet what is declared.
pub(crate) fn checks_of(checks: Following, restarts: Following<Restart>) -> ChecksOf {
    Arc::new(move |name| {
        let (all, all_restarts) = (checks.borrow().clone()?, restarts.borrow().clone()?);
        let checks = checks::declared::for_node(&all, name);
        let mut restarts = checks::declared::for_node(&all_restarts, name);
        restarts.truncate(RESTARTS);
        Some(Declared { revision: fingerprint(&checks, &restarts), checks, restarts })
    })
}

/// Another one for other declarations; 0 for none.
fn fingerprint(checks: &[Definition], restarts: &[Restart]) -> u64 {
    if checks.is_empty() && restarts.is_empty() {
        return 0;
    }
    let bytes = [checks.to_vec().to_wire(), restarts.to_vec().to_wire()].concat();
    u64::from(crc32c::crc32c(&bytes)) << 32 | (bytes.len() as u64 & u64::from(u32::MAX)).max(1)
}

/// The latest value in another form, for as long as anybody listens.
fn mapped<A, B>(mut from: watch::Receiver<Arc<A>>, map: fn(&A) -> B) -> watch::Receiver<Arc<B>>
where
    A: Send + Sync + 'static,
    B: Default + PartialEq + Send + Sync + 'static,
{
    let (publish, to) = watch::channel(Arc::default());
    tokio::spawn(async move {
        loop {
            let latest = from.borrow_and_update().clone();
            let next = Arc::new(map(&latest));
            publish.send_if_modified(|before| {
                let is_news = *before != next;
                *before = next;
                is_news
            });
            tokio::select! {
                changed = from.changed() => if changed.is_err() { return },
                () = publish.closed() => return,
            }
        }
    });
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_health::checks::definition::Kind;

    #[test]
    fn other_checks_have_another_fingerprint_and_none_has_none() {
        let check = |name: &str| Definition::new(name, "orders", Kind::Heartbeat);
        let restart = Restart { service: "orders".into(), command: vec!["true".into()], timeout_ms: 1 };
        let mut prints = vec![fingerprint(&[], &[])];
        for checks in [vec![check("a")], vec![check("b")], vec![check("a"), check("b")]] {
            prints.extend([fingerprint(&checks, &[]), fingerprint(&checks, std::slice::from_ref(&restart))]);
        }
        prints.push(fingerprint(&[], &[restart]));
        assert_eq!(prints[0], 0);
        assert_eq!(prints.iter().collect::<std::collections::BTreeSet<_>>().len(), prints.len());
    }
}
