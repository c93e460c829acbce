//! The loop of the Redis port over real sockets.

mod redis_common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use redis_common::{Client, Event, PATIENCE, Server};
use steadfast_server::redis::{ConnectionId, Limits};

/// A command and its answer.
fn command() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        4 => "[a-z]{0,20}".prop_map(|text| (format!("say {text}\n"), format!("{text}\n"))),
        2 => "[a-z]{0,5}".prop_map(|text| (format!("write {text}\n"), format!("{text}\n"))),
        1 => (0usize..30_000).prop_map(|size| (format!("big {size}\n"), format!("{}\n", "x".repeat(size)))),
        1 => (0usize..100_000).prop_map(|size| (format!("blob {size}\n{}", "b".repeat(size)), format!("{size}\n"))),
        1 => Just(("alarm\n".to_owned(), "resumed\n".to_owned())),
    ]
}

#[test]
fn a_pipeline_is_answered_in_order_however_it_is_split() {
    let server = Server::plain();
    server.reach(u64::MAX);
    let pipelines = (prop::collection::vec(command(), 0..20), prop::collection::vec(any::<prop::sample::Index>(), 0..10));
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((commands, cuts) in pipelines)| {
        let (input, answers): (String, String) = commands.into_iter().unzip();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).chain([0, input.len()]).collect();
        places.sort_unstable();
        let mut client = server.connect();
        let mut sending = client.stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                places.windows(2).for_each(|ends| sending.write_all(&input.as_bytes()[ends[0]..ends[1]]).unwrap());
                // The other half stays open: all is answered before the loop closes it.
                sending.shutdown(Shutdown::Write).unwrap();
            });
            assert!(client.rest() == answers.as_bytes());
        });
    });
}

#[test]
fn the_end_of_a_pipeline_is_answered_before_the_connection_ends() {
    let mut server = Server::plain();
    let mut client = server.connect();
    client.send("say a\nquit\nsay never\n");
    assert_eq!(client.rest(), b"a\n\n");
    server.wait_for(Event::Closed(1));
    let mut half = server.connect();
    half.send("say b\nsay not all of i");
    half.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(half.rest(), b"b\n");
    server.wait_for(Event::Closed(2));
    server.stop();
}

#[test]
fn a_reader_that_takes_nothing_is_paused_and_goes_on_when_it_takes() {
    const COUNT: usize = 5_000;
    let server = Server::start(Limits { output_paused_bytes: 64 << 10, output_cut_bytes: 1 << 20, ..Limits::default() }, None);
    let mut client = server.connect();
    client.send(&"big 9999\n".repeat(COUNT));
    let mut other = server.connect();
    (0..200).for_each(|_| other.round_trip());
    assert!(server.control.ran.load(Ordering::Relaxed) < COUNT as u64, "what the system buffers is less than all answers");
    let mut answers = vec![0; COUNT * 10_000];
    client.stream.read_exact(&mut answers).unwrap();
    client.round_trip();
}

#[test]
fn an_answer_that_is_too_much_cuts_the_connection_off() {
    let server = Server::start(Limits { output_paused_bytes: 1000, output_cut_bytes: 100_000, ..Limits::default() }, None);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.send("say a\n");
    client.expect("a\n");
    client.send("big 100000\n");
    assert_eq!(client.rest(), b"");
    server.wait_for(Event::Closed(1));
    other.round_trip();
}

#[test]
fn an_answer_that_is_held_is_paused_and_cut_off_like_any_other() {
    let server = Server::start(Limits { output_paused_bytes: 100, output_cut_bytes: 10_000, ..Limits::default() }, None);
    let mut client = server.connect();
    client.send("write a\nbig 200\nsay b\n");
    server.wait_for(Event::Turn(1));
    server.connect().round_trip();
    client.expect_nothing();
    assert_eq!(server.control.ran.load(Ordering::Relaxed), 3, "the third is not run before the first is taken");
    server.reach(1);
    client.expect(&format!("a\n{}\nb\n", "x".repeat(200)));
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let server = Server::start(Limits { connections: 3, ..Limits::default() }, None);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::round_trip);
    for _ in 0..200 {
        assert_eq!(server.connect().rest(), b"-ERR max number of clients reached\r\n");
    }
    drop(clients.pop());
    server.wait_for(Event::Closed(3));
    server.connect().round_trip();
    clients.iter_mut().for_each(Client::round_trip);
}

#[test]
fn a_flood_of_connections_is_served() {
    let server = Server::plain();
    let mut clients: Vec<Client> = (0..400).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("say hello\n"));
    clients.iter_mut().rev().for_each(|client| client.expect("hello\n"));
    drop(clients);
    let closed = std::iter::from_fn(|| server.events.recv_timeout(PATIENCE).ok()).filter(|event| matches!(event, Event::Closed(_)));
    assert_eq!(closed.take(400).count(), 400);
}

#[test]
fn a_pipeline_without_end_does_not_hold_up_others() {
    const COUNT: usize = 1_000_000;
    let server = Server::plain();
    let mut client = server.connect();
    let mut sending = client.stream.try_clone().unwrap();
    let mut other = server.connect();
    std::thread::scope(|scope| {
        scope.spawn(move || sending.write_all(&b"\n".repeat(COUNT)).unwrap());
        scope.spawn(|| (0..100).for_each(|_| other.round_trip()));
        let mut answers = vec![0; COUNT];
        client.stream.read_exact(&mut answers).unwrap();
    });
    let most = server.control.most_in_a_turn.load(Ordering::Relaxed);
    assert!((2..=4096).contains(&most), "{most} commands of a connection in a turn");
}

#[test]
fn a_large_command_comes_whole_or_is_refused() {
    let server = Server::start(Limits { input_cut_bytes: 10 << 20, ..Limits::default() }, None);
    let mut client = server.connect();
    client.send(&format!("blob 9000000\n{}say after\n", "b".repeat(9_000_000)));
    client.expect("9000000\nafter\n");
    client.send("blob 18000000\n");
    let _ = client.stream.write_all(&vec![b'b'; 18_000_000]);
    assert_eq!(client.rest(), b"");
    server.wait_for(Event::Closed(1));
    // A line that never ends is no command either.
    let mut endless = server.connect();
    let _ = endless.stream.write_all(&vec![b'b'; 18_000_000]);
    assert_eq!(endless.rest(), b"");
}

#[test]
fn held_answers_go_in_order_when_their_mark_is_reached() {
    let server = Server::plain();
    let (mut writer, mut reader) = (server.connect(), server.connect());
    writer.send("say first\nwrite a\nsay b\n");
    server.wait_for(Event::Turn(1));
    writer.expect("first\n");
    writer.send("say c\n");
    reader.round_trip();
    reader.send("write d\n");
    server.wait_for(Event::Turn(2));
    writer.send("write e\n");
    server.wait_for(Event::Turn(3));
    server.connect().round_trip();
    writer.expect_nothing();
    reader.expect_nothing();
    server.reach(1);
    writer.expect("a\nb\nc\n");
    server.connect().round_trip();
    writer.expect_nothing();
    reader.expect_nothing();
    server.reach(2);
    reader.expect("d\n");
    writer.expect_nothing();
    server.reach(3);
    writer.expect("e\n");
    writer.round_trip();
}

#[test]
fn a_connection_that_waits_runs_nothing_until_it_is_resumed() {
    let server = Server::plain();
    let mut client = server.connect();
    client.send("say a\nwait\nsay b\n");
    server.wait_for(Event::Waits(1));
    client.send("say c\n");
    client.expect("a\n");
    server.connect().round_trip();
    client.expect_nothing();
    server.control.resume.lock().unwrap().extend([ConnectionId(1), ConnectionId(77)]);
    server.handle.wake();
    client.expect("resumed\nb\nc\n");
    client.send("alarm\n");
    client.expect("resumed\n");
    client.send("wait\n");
    server.control.close.lock().unwrap().push(ConnectionId(1));
    server.handle.wake();
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_connection_on_which_nothing_moves_is_closed_if_that_is_wanted() {
    let server = Server::start(Limits { idle: Some(Duration::from_millis(1)), ..Limits::default() }, None);
    assert_eq!(server.connect().rest(), b"");
    server.wait_for(Event::Closed(1));
}

#[test]
fn a_stop_waits_for_answers_that_wait() {
    let mut server = Server::start(Limits { stop: PATIENCE, ..Limits::default() }, None);
    let (mut client, mut idle, mut waiting) = (server.connect(), server.connect(), server.connect());
    idle.round_trip();
    waiting.send("wait\n");
    server.wait_for(Event::Waits(3));
    client.send("write a\n");
    server.wait_for(Event::Turn(1));
    server.handle.stop();
    assert_eq!((idle.rest(), waiting.rest()), (vec![], vec![]));
    assert!(TcpStream::connect(server.address).is_err());
    client.expect_nothing();
    server.reach(1);
    assert_eq!(client.rest(), b"a\n");
    server.join();
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut server = Server::start(Limits { stop: Duration::ZERO, ..Limits::default() }, None);
    let mut client = server.connect();
    client.send("write a\n");
    server.wait_for(Event::Turn(1));
    server.stop();
    assert_eq!(client.stream.read(&mut [0; 10]).unwrap_or(0), 0);
    server.wait_for(Event::Closed(1));
}
