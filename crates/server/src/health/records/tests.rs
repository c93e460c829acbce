//! The records over a store in memory, with judges that race.

use super::*;
use crate::health::view::Change;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use steadfast_coordination::Memory;
use steadfast_coordination::memory::Fault;
use steadfast_health::HealthState;
use steadfast_membership::Role;

const CLUSTER: ClusterId = ClusterId(0xc1);

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn stamp() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn open(store: &Memory, me: u64, term: u64) -> Result<(Book<Memory>, BTreeMap<String, Known>), BookError> {
    block_on(Book::open(store.clone(), (CLUSTER, NodeId(me)), Term(term), stamp))
}

fn ruling(node: u64, from: HealthState, to: HealthState) -> Ruling {
    Ruling {
        node: NodeId(node),
        name: format!("a/{node}"),
        role: Role::Agent,
        service: String::new(),
        from,
        to,
        cause: "why".into(),
        observers: vec!["n1".into(), "n2".into()],
        at_ms: 1_700_000_000_123,
    }
}

fn failed(node: u64) -> Decision {
    Decision::Changed(ruling(node, HealthState::Healthy, HealthState::Failed))
}

fn keys(store: &Memory) -> Vec<String> {
    let (_, records) = block_on(read_all(store)).unwrap();
    records.iter().map(|record| record.key.to_string()).collect()
}

fn events(store: &Memory) -> Vec<Change> {
    let (_, records) = block_on(read_all(store)).unwrap();
    let event = |record| match read(record) {
        Ok(Some(Entry::Event(event))) => Some(event),
        _ => None,
    };
    records.iter().filter_map(event).collect()
}

#[test]
fn what_is_written_is_read_and_nothing_is_written_for_nothing() {
    let store = Memory::new();
    let (mut book, known) = open(&store, 1, 1).unwrap();
    assert!(known.is_empty());
    assert_eq!((block_on(book.record(&[])).unwrap(), store.revision()), (0, Revision(1)));
    let service = Ruling { service: "db%/x".into(), ..ruling(5, HealthState::Recovering, HealthState::Failed) };
    let first = Ruling { service: "web".into(), ..ruling(5, HealthState::Healthy, HealthState::Healthy) };
    let decisions = [failed(5), Decision::Changed(service), Decision::Changed(first)];
    assert_eq!(block_on(book.record(&decisions)).unwrap(), 2);
    assert_eq!(store.revision(), Revision(2), "one batch");
    assert_eq!(
        keys(&store),
        [
            "steadfast/health/events/000000000001",
            "steadfast/health/events/000000000002",
            "steadfast/health/nodes/a%2F5",
            "steadfast/health/services/a%2F5/db%25%2Fx",
            "steadfast/health/services/a%2F5/web",
        ]
    );
    let (_, known) = open(&store, 2, 2).unwrap();
    let node = &known["a/5"];
    assert_eq!((node.id, node.state, node.has_record, node.services.len()), (NodeId(5), HealthState::Failed, true, 2));
    let event = &events(&store)[0];
    assert_eq!((event.number, event.from, event.health.state), (1, HealthState::Healthy, HealthState::Failed));
    assert_eq!((event.health.since_ms, event.health.cause.as_str()), (1_700_000_000_123, "why"));
    let (_, records) = block_on(read_all(&store)).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&records[2].value).unwrap();
    assert_eq!(
        (&json["state"], &json["since"], &json["observers"][1]),
        (&"failed".into(), &"2023-11-14T22:13:20.123Z".into(), &"n2".into())
    );
}

#[test]
fn who_goes_takes_all_its_records_along_and_a_successor_of_its_name_keeps_its_own() {
    let store = Memory::new();
    let (mut book, _) = open(&store, 1, 1).unwrap();
    let service = Decision::Changed(Ruling { service: "db".into(), ..ruling(5, HealthState::Recovering, HealthState::Failed) });
    block_on(book.record(&[failed(5), service.clone(), failed(50)])).unwrap();
    block_on(book.record(&[Decision::NodeGone("a/5".into()), service])).unwrap();
    let left: Vec<String> = keys(&store).into_iter().filter(|key| !key.contains("events")).collect();
    assert_eq!(left, ["steadfast/health/nodes/a%2F50", "steadfast/health/services/a%2F5/db"]);
    block_on(book.record(&[Decision::ServiceGone("a/5".into(), "db".into())])).unwrap();
    assert_eq!(keys(&store).iter().filter(|key| !key.contains("events")).count(), 1);
}

#[test]
fn the_last_thousand_events_are_kept() {
    let store = Memory::new();
    let (mut book, _) = open(&store, 1, 1).unwrap();
    let (down, up) = (ruling(5, HealthState::Healthy, HealthState::Suspect), ruling(5, HealthState::Suspect, HealthState::Healthy));
    let decisions: Vec<Decision> = (0..1_203).map(|k| Decision::Changed(if k % 2 == 0 { down.clone() } else { up.clone() })).collect();
    assert_eq!(block_on(book.record(&decisions)).unwrap(), 1_203);
    let numbers: Vec<u64> = events(&store).iter().map(|event| event.number).collect();
    assert_eq!(numbers, (204..=1_203).collect::<Vec<_>>());
    // The head of another life of the cluster is not there, its events are.
    let (mut book, _) = block_on(Book::open(store.clone(), (ClusterId(2), NodeId(1)), Term(1), stamp)).unwrap();
    block_on(book.record(&[failed(6)])).unwrap();
    assert_eq!(events(&store).last().unwrap().number, 1_204);
}

#[test]
fn a_judge_of_an_older_term_writes_nothing_more() {
    let store = Memory::new();
    let (mut old, _) = open(&store, 1, 1).unwrap();
    block_on(old.record(&[failed(5)])).unwrap();
    let (mut new, _) = open(&store, 2, 2).unwrap();
    block_on(new.record(&[failed(6)])).unwrap();
    assert!(matches!(block_on(old.record(&[failed(7)])), Err(BookError::Overtaken)));
    assert!(matches!(open(&store, 1, 1), Err(BookError::Outdated)));
    assert_eq!(events(&store).len(), 2);
}

#[test]
fn what_others_have_written_there_is_left_alone() {
    let store = Memory::new();
    let put = |name: &str| {
        let write = Write::put(Key::new(name.to_owned()).unwrap(), "mine");
        block_on(store.commit(Batch::default().then(write))).unwrap();
    };
    put("steadfast/health/nodes/a%2F5");
    put("steadfast/health/notes");
    let (mut book, known) = open(&store, 1, 1).unwrap();
    assert!(known.is_empty());
    block_on(book.record(&[failed(5), failed(6)])).unwrap();
    let (_, records) = block_on(read_all(&store)).unwrap();
    assert_eq!(records.iter().filter(|record| record.value == "mine").count(), 2);
    put("steadfast/@c1/health/head");
    assert!(matches!(open(&store, 1, 1), Err(BookError::Store(_))));
}

proptest! {
    /// Two judges, answers that get lost: each event has a number of its own, none is missing, and each judge'"'"'s writes are there or it knows.
    #[test]
    fn two_judges_never_write_one_number_twice(
        steps in prop::collection::vec((0..2usize, 1..4u64), 1..30),
        faults in prop::collection::vec(prop::sample::select(vec![Fault::None, Fault::None, Fault::Refused, Fault::RequestLost, Fault::AnswerLost, Fault::Delayed]), 0..30),
    ) {
        let store = Memory::new();
        let mut books = [open(&store, 1, 3).unwrap().0, open(&store, 2, 3).unwrap().0];
        store.plan_faults(faults);
        let mut written = 0;
        for (who, count) in steps {
            let node = |k: u64| 10 + who as u64 * 100 + k;
            let decisions: Vec<Decision> = (0..count).map(|k| failed(node(k))).collect();
            match block_on(books[who].record(&decisions)) {
                Ok(events) => {
                    prop_assert_eq!(events, count);
                    written += count;
                }
                Err(_) => books[who] = open(&store, who as u64 + 1, 3).unwrap().0,
            }
        }
        let numbers: Vec<u64> = events(&store).iter().map(|event| event.number).collect();
        prop_assert_eq!(&numbers, &(1..=numbers.len() as u64).collect::<Vec<_>>());
        // A creation of the head whose answer was lost may be found only later: then its judge says that it does not know.
        prop_assert!(numbers.len() as u64 >= written);
    }
}
