//! How much memory a watcher costs that has nothing to do.
#![cfg(target_os = "linux")]

use steadfast_state::command::KeySpan;
use steadfast_state::watch::{Sink, StreamId, WatchDelivery, WatchHub, WatchRequest};
use steadfast_types::{Revision, Rng};

/// Drops everything.
struct Nowhere;

impl Sink for Nowhere {
    fn room(&mut self, _stream: StreamId) -> bool {
        true
    }
    fn deliver(&mut self, _stream: StreamId, _delivery: WatchDelivery) {}
}

/// The bytes of memory this process has resident.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: u64 = statm.split(' ').nth(1).expect("the second field").parse().expect("a number");
    pages * 4096
}

/// Creates watchers, a thousand a stream, and returns the bytes each took.
fn bytes_each(watchers: u64, keys: impl Fn(u64) -> KeySpan) -> u64 {
    let mut hub = WatchHub::new(Revision(1), Rng::with_seed(1));
    let before = resident();
    for n in 0..watchers {
        let request = WatchRequest { keys: keys(n), ..WatchRequest::default() };
        hub.create(StreamId(n / 1000), &request, Revision(1), &mut Nowhere);
    }
    assert_eq!(hub.watchers() as u64, watchers);
    (resident() - before) / watchers
}

#[test]
fn a_hundred_thousand_idle_watchers_are_cheap() {
    const WATCHERS: u64 = 100_000;
    let prefix = |n: u64| (format!("/registry/{n:08}/"), format!("/registry/{n:08}0"));
    let shared = bytes_each(WATCHERS, |_| KeySpan { key: "a".into(), range_end: "b".into() });
    let distinct_keys = bytes_each(WATCHERS, |n| KeySpan::single(prefix(n).0.into()));
    let distinct_ranges = bytes_each(WATCHERS, |n| KeySpan { key: prefix(n).0.into(), range_end: prefix(n).1.into() });
    println!("bytes a watcher: {shared} of one range, {distinct_keys} of keys of their own, {distinct_ranges} of ranges of their own");
    assert!(shared < 200, "{shared} bytes");
    assert!(distinct_keys < 600, "{distinct_keys} bytes");
    assert!(distinct_ranges < 1000, "{distinct_ranges} bytes");
}
