//! A process that has its own stacks taken, by a child that is this same program.
//!
//! It has no test harness: the program must know the command by which it is started again. With `-- FIGURES` it also says how long threads stood still.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use steadfast_stacks::{COMMAND, Stack, Stacks, WATCHER, own_stacks, print_parents_stacks};

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some(COMMAND) => print_parents_stacks().expect("it prints"),
        Some(word) if word.parse::<u32>().is_ok() => figures(word.parse().expect("a number")),
        // As test harnesses are asked for what they have.
        Some("--list") => {}
        Some(_) | None => both_kinds_of_threads_are_seen(),
    }
}

#[inline(never)]
fn spins_here(end: &AtomicBool, turns: &AtomicU64) {
    while !end.load(Ordering::Relaxed) {
        turns.fetch_add(1, Ordering::Relaxed);
    }
}

#[inline(never)]
fn waits_here(end: &mpsc::Receiver<()>) {
    let _ = std::hint::black_box(end.recv());
}

fn find_in<'a>(stacks: &'a Stacks, function: &str) -> Option<&'a Stack> {
    stacks.threads.iter().find(|stack| stack.frames.iter().any(|frame| frame.function.ends_with(function)))
}

fn thread_in<'a>(stacks: &'a Stacks, function: &str) -> &'a Stack {
    find_in(stacks, function).unwrap_or_else(|| panic!("{function} in {stacks:#?}"))
}

fn both_kinds_of_threads_are_seen() {
    let (end, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stop, stopped) = mpsc::channel();
    let (seen_end, seen_turns) = (end.clone(), turns.clone());
    let spinning = std::thread::spawn(move || spins_here(&seen_end, &seen_turns));
    let waiting = std::thread::spawn(move || waits_here(&stopped));
    // On a busy machine threads begin late. If they are never seen, what follows says what is seen.
    let have_begun = || turns.load(Ordering::Relaxed) > 0 && find_in(&own_stacks(), "::waits_here").is_some_and(|stack| stack.is_unmoved);
    let _ = (0..1000).any(|_| have_begun());
    // One asks while another does: one of the two is told so.
    let other = std::thread::spawn(own_stacks);
    let (one, other) = (own_stacks(), other.join().expect("no panic"));
    let (stacks, refused) = if one.trouble.is_none() { (one, other) } else { (other, one) };
    assert_eq!(stacks.trouble, None);
    assert!(refused.trouble.is_some_and(|trouble| trouble.contains("ask again")));
    assert!(thread_in(&stacks, "::waits_here").is_unmoved);
    thread_in(&stacks, "::spins_here");
    assert!(!stacks.threads.iter().flat_map(|stack| &stack.frames).any(|frame| frame.function.contains("permit_and_wait")), "{WATCHER}");
    let before = turns.load(Ordering::Relaxed);
    while turns.load(Ordering::Relaxed) == before {
        std::thread::yield_now();
    }
    end.store(true, Ordering::Relaxed);
    drop(stop);
    spinning.join().expect("no panic");
    waiting.join().expect("no panic");
    println!("own stacks: ok");
}

/// How long threads stand still, of many looks at twenty of them, half of which are busy.
fn figures(times: u32) {
    let end = Arc::new(AtomicBool::new(false));
    for _ in 0..10 {
        let end = end.clone();
        std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        });
        std::thread::spawn(std::thread::park);
    }
    let mut stops: Vec<u64> =
        (0..times).flat_map(|_| own_stacks().threads).filter(|stack| !stack.is_guessed).map(|stack| stack.stopped_us).collect();
    stops.sort_unstable();
    let share = |per_mille: usize| stops.get(stops.len().saturating_sub(1) * per_mille / 1000).copied().unwrap_or(0);
    println!("{} stops, us: p50 {}, p99 {}, longest {}", stops.len(), share(500), share(990), share(1000));
}
