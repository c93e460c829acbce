//! What is received is told by whole revisions, however the messages are cut.

use steadfast_etcd_api::proto::mvccpb::KeyValue;
use steadfast_types::Rng;

use super::*;

fn event(key: u8, revision: i64) -> Event {
    Event {
        r#type: EventType::Put.into(),
        kv: Some(KeyValue { key: vec![key].into(), mod_revision: revision, ..KeyValue::default() }),
        prev_kv: None,
    }
}

#[test]
fn revisions_are_told_whole_however_they_are_cut() {
    let mut rng = Rng::with_seed(3);
    for _ in 0..500 {
        let mut events = Vec::new();
        for revision in 5..5 + rng.i64(1..6) {
            (0..rng.u8(1..5)).for_each(|key| events.push(event(key, revision)));
        }
        let (next, mut received, mut told) = (Revision(rng.i64(1..8)), Received::default(), Vec::new());
        let mut rest = events.as_slice();
        while !rest.is_empty() {
            let (message, after) = rest.split_at(rng.usize(1..=rest.len()));
            // Only a fragment may end in the middle of a revision.
            let is_cut = after.first().is_some_and(|first| {
                first.kv.as_ref().map(|kv| kv.mod_revision) == message.last().and_then(|last| Some(last.kv.as_ref()?.mod_revision))
            });
            received.add(message.to_vec(), next, is_cut || (!after.is_empty() && rng.bool())).expect("small");
            told.extend(received.whole.drain(..));
            rest = after;
        }
        let keys: Vec<(i64, Vec<u8>)> = told
            .iter()
            .map(|changes| (changes.revision.0, changes.changes.iter().map(|change| change.key().bytes()[0]).collect()))
            .collect();
        let expected: Vec<(i64, Vec<u8>)> = (next.0.max(5)
            ..=events.last().and_then(|last| Some(last.kv.as_ref()?.mod_revision)).expect("one"))
            .map(|revision| {
                let of = |event: &&Event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision == revision);
                (revision, events.iter().filter(of).filter_map(|event| Some(event.kv.as_ref()?.key[0])).collect())
            })
            .collect();
        assert_eq!(keys, expected);
    }
}

#[test]
fn a_revision_without_end_is_refused() {
    let mut received = Received::default();
    let large = |revision| {
        let kv = KeyValue { key: "k".into(), value: vec![0; 8 << 20].into(), mod_revision: revision, ..KeyValue::default() };
        Event { r#type: EventType::Put.into(), kv: Some(kv), prev_kv: None }
    };
    for revision in 1..20 {
        assert_eq!(received.add(vec![large(revision)], Revision(1), true), Ok(()), "large revisions, one after the other");
        received.whole.clear();
    }
    let refused = (0..9).map(|_| received.add(vec![large(20)], Revision(1), true)).find(Result::is_err);
    assert_eq!(refused, Some(Err(WatchError::TooLarge)));
}

#[test]
fn progress_is_told_only_if_it_is_news() {
    let mut received = Received::default();
    received.progress(Revision(4), Revision(5));
    assert_eq!(received.whole, []);
    received.add(vec![event(1, 5)], Revision(5), false).expect("small");
    received.progress(Revision(5), Revision(5));
    assert_eq!(received.whole.len(), 1);
    received.progress(Revision(9), Revision(5));
    assert_eq!(received.whole.pop_back(), Some(Changes { revision: Revision(9), changes: Vec::new() }));
}
