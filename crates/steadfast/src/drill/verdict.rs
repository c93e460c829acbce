//! What the checkers say of a drill's history.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use steadfast_proof::history::{Change, History, Revised, Seen};
use steadfast_proof::store::Store;
use steadfast_proof::time::Time;
use steadfast_proof::watches::{Delivery, Watch};
use steadfast_proof::{Violation, durability, linearizability, watches};
use steadfast_types::Revision;

use super::watcher::span;

/// What a node says, by its name, or why it says nothing.
pub(super) type Said<T> = (String, Result<T, String>);

/// Everything that is known at the end.
pub(super) struct Evidence {
    /// All requests, by time of invocation.
    pub(super) operations: Vec<steadfast_proof::history::Operation>,
    /// What the watch was told that was live all the time.
    pub(super) live: Watch,
    /// What each node tells of the whole time when all is healed.
    pub(super) replicas: Vec<Said<Watch>>,
    /// What each node says is there, and the revision it says so of.
    pub(super) contents: Vec<Said<(Revision, Seen)>>,
    /// The last revision of the drill, which is everyone's.
    pub(super) last: Revision,
    /// Where the drill's keys are.
    pub(super) prefix: String,
}

/// A checker's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    /// Which.
    pub(super) checker: &'static str,
    /// What it looked for, in words.
    pub(super) promise: &'static str,
    /// What it found; `None`: all is well.
    pub(super) violation: Option<String>,
}

/// Asks all checkers.
pub(super) fn judge(evidence: Evidence) -> Vec<Verdict> {
    let Evidence { operations, live, replicas, contents, last, prefix } = evidence;
    let changes = replicas.iter().find_map(|(_, watch)| watch.as_ref().ok()).map(changes).unwrap_or_default();
    let agreement = agree(&replicas, &changes);
    let history = History { operations, changes };
    let told = |result: Result<(), Violation>| result.err().map(|violation| violation.message);
    let verdict = |checker, promise, violation| Verdict { checker, promise, violation };
    vec![
        verdict(
            "linearizability",
            "every answer is right at one moment between its question and itself",
            told(linearizability::check(&history)),
        ),
        verdict("durability", "nothing that was acknowledged is lost", told(durability::check(&history))),
        verdict(
            "watches",
            "a watch tells every change once, in order, whole, also across lost connections",
            told(watches::check(&live, &history.changes, &BTreeSet::new(), Some(last))),
        ),
        verdict("agreement", "every node tells the same history once all is healed", agreement),
        verdict("contents", "what is read back from every node is what the history leaves", read_back(&contents, &history, &prefix)),
    ]
}

/// The changes that a watch was told.
fn changes(watch: &Watch) -> BTreeMap<Revision, Revised> {
    let mut changes: BTreeMap<Revision, Revised> = BTreeMap::new();
    let events = watch.deliveries.iter().flat_map(|delivery| match delivery {
        Delivery::Events(events) => &events[..],
        Delivery::Progress(_) | Delivery::Compacted(_) => &[],
    });
    for event in events {
        // When it was seen matters to leases alone, and a drill has none.
        let revised = changes.entry(event.revision).or_insert_with(|| Revised { seen: Time(0), changes: Vec::new() });
        revised.changes.push(Change { key: event.key.clone(), value: event.value.clone(), lease: 0 });
    }
    changes
}

fn agree(replicas: &[Said<Watch>], expected: &BTreeMap<Revision, Revised>) -> Option<String> {
    for (name, watch) in replicas {
        let told = match watch {
            Ok(watch) => changes(watch),
            Err(error) => return Some(format!("{name} does not tell its history: {error}")),
        };
        if told != *expected {
            let at = expected.keys().chain(told.keys()).filter(|revision| told.get(revision) != expected.get(revision)).min();
            return Some(format!("{name} tells another history than {}, from revision {at:?} on", replicas[0].0));
        }
    }
    None
}

fn read_back(contents: &[Said<(Revision, Seen)>], history: &History, prefix: &str) -> Option<String> {
    let store = match Store::new(&history.changes) {
        Ok(store) => store,
        Err(violation) => return Some(violation.message),
    };
    for (name, answer) in contents {
        match answer {
            Err(error) => return Some(format!("{name} can't be read: {error}")),
            Ok((revision, seen)) => {
                let expected = store.read(&span(prefix), *revision);
                if *seen != expected {
                    let differ = |key: &&bytes::Bytes| seen.get(*key) != expected.get(*key);
                    let key = seen.keys().chain(expected.keys()).find(differ);
                    return Some(format!("{name} has at {revision} another value of {key:?} than the history leaves"));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use steadfast_proof::history::{Answer, Operation, Request, Step, Transaction, Version};
    use steadfast_proof::watches::Event;

    use super::*;

    const KEY: &str = "p/k";

    fn watch(value: &'static str, previous: bool) -> Watch {
        let event = Event { revision: Revision(2), key: KEY.into(), value: Some(value.into()), previous: None };
        Watch { span: span("p/"), from: Revision(2), previous, deliveries: vec![Delivery::Events(vec![event])] }
    }

    fn evidence() -> Evidence {
        let request = Request::Transaction(Transaction::of(Step::Put { key: KEY.into(), value: "v".into(), lease: 0, asks: true }));
        let answer = Answer::Done { revision: Revision(2), changed: true, succeeded: true, seen: vec![Some(Seen::new())] };
        let seen: Seen = [(Bytes::from(KEY), Version { revision: Revision(2), value: "v".into() })].into();
        Evidence {
            operations: vec![Operation { client: 0, request, invoked: Time(1), answer: Some((Time(2), answer)) }],
            live: watch("v", true),
            replicas: vec![("n1".into(), Ok(watch("v", false))), ("n2".into(), Ok(watch("v", false)))],
            contents: vec![("n1".into(), Ok((Revision(2), seen)))],
            last: Revision(2),
            prefix: "p/".into(),
        }
    }

    fn broken(evidence: Evidence) -> Vec<&'static str> {
        judge(evidence).into_iter().filter(|verdict| verdict.violation.is_some()).map(|verdict| verdict.checker).collect()
    }

    #[test]
    fn a_good_history_passes_all() {
        assert_eq!(broken(evidence()), [""; 0]);
    }

    #[test]
    fn each_broken_promise_is_found() {
        let lost = |name: &str| (name.to_owned(), Ok(Watch { deliveries: vec![], ..watch("v", false) }));
        assert_eq!(
            broken(Evidence { replicas: vec![lost("n1"), lost("n2")], ..evidence() }),
            ["linearizability", "durability", "watches", "contents"]
        );
        let live = Watch { deliveries: vec![], ..watch("v", true) };
        assert_eq!(broken(Evidence { live, ..evidence() }), ["watches"]);
        assert_eq!(broken(Evidence { replicas: vec![("n1".into(), Ok(watch("v", false))), lost("n2")], ..evidence() }), ["agreement"]);
        assert_eq!(broken(Evidence { contents: vec![("n1".into(), Ok((Revision(2), Seen::new())))], ..evidence() }), ["contents"]);
        assert_eq!(
            broken(Evidence { replicas: vec![("n1".into(), Ok(watch("v", false))), ("n2".into(), Err("down".into()))], ..evidence() }),
            ["agreement"]
        );
    }
}
