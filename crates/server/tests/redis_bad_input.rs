//! Clients that mean ill, or know no better, against one replica: others are served all the while.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use steadfast_crdt::Actor;
use steadfast_server::available::{Durability, Running, Settings, start};
use steadfast_server::redis::Limits;
use tempfile::TempDir;

/// Longer than anything takes; only what hangs waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Replica {
    running: Option<Running>,
    _directory: TempDir,
}

impl Replica {
    fn start(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (actor, durability) = (Actor::new(1).unwrap(), Durability::Never);
        let running = start(Settings {
            directory: directory.path().join("keys"),
            listener,
            durability,
            actor,
            limits,
            tls: None,
            peers: None,
            strong: None,
            users: None,
            memory_bytes: usize::MAX,
        })
        .unwrap();
        Replica { running: Some(running), _directory: directory }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.running.as_ref().unwrap().address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().unwrap();
        }
    }
}

struct Client {
    stream: TcpStream,
}

impl Client {
    fn expect(&mut self, wanted: &str) {
        let mut got = vec![0; wanted.len()];
        self.stream.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), wanted);
    }

    fn say(&mut self, line: &str, wanted: &str) {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.expect(wanted);
    }

    /// All that comes until the other side ends.
    fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // What was sent and not read may make the end a reset.
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

#[test]
fn broken_frames_are_answered_once_and_end_their_connection() {
    let replica = Replica::start(Limits::default());
    let mut other = replica.connect();
    for (bytes, answer) in [
        ("*1\r\n!4\r\nPING\r\n", "-ERR Protocol error: expected '$', got '!'\r\n"),
        ("*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*1\r\n$99999999999999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*2147483648\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("set \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        let mut client = replica.connect();
        client.stream.write_all(format!("PING\r\n{bytes}PING\r\n").as_bytes()).unwrap();
        assert_eq!(client.rest(), format!("+PONG\r\n{answer}"), "{bytes:?}");
        other.say("PING", "+PONG\r\n");
    }
    let mut endless = replica.connect();
    let _ = endless.stream.write_all(&[b'a'; 80_000]);
    assert_eq!(endless.rest(), "-ERR Protocol error: too big inline request\r\n");
    other.say("PING", "+PONG\r\n");
}

#[test]
fn what_is_announced_and_does_not_come_costs_nothing() {
    let replica = Replica::start(Limits::default());
    let mut announcing: Vec<Client> = (0..200).map(|_| replica.connect()).collect();
    for client in &mut announcing {
        // Half a gibibyte each, of which a few bytes come.
        client.stream.write_all(b"*2147483647\r\n$3\r\nSET\r\n$536870912\r\nabc").unwrap();
    }
    let mut other = replica.connect();
    other.say("PING", "+PONG\r\n");
    let mut info = replica.connect();
    info.stream.write_all(b"INFO memory\r\nQUIT\r\n").unwrap();
    let said = info.rest();
    let resident = said.lines().find_map(|line| line.strip_prefix("used_memory_rss:")).and_then(|bytes| bytes.parse::<u64>().ok());
    assert!(resident.is_some_and(|bytes| bytes < 1 << 30), "{said}");
}

#[test]
fn a_million_members_of_a_set_hold_nobody_up() {
    const MEMBERS: usize = 1_000_000;
    const IN_ONE: usize = 1_000;
    let replica = Replica::start(Limits::default());
    let (mut client, mut other) = (replica.connect(), replica.connect());
    for first in (0..MEMBERS).step_by(IN_ONE) {
        let members: Vec<String> = (first..first + IN_ONE).map(|member| member.to_string()).collect();
        client.say(&format!("SADD s {}", members.join(" ")), &format!(":{IN_ONE}\r\n"));
        other.say("SISMEMBER s 0", ":1\r\n");
    }
    client.say("SCARD s", &format!(":{MEMBERS}\r\n"));
    client.say("SREM s 0 1 2 1000001", ":3\r\n");
    client.say("SISMEMBER s 2", ":0\r\n");
    client.say("DEL s", ":1\r\n");
    other.say("EXISTS s", ":0\r\n");
}

#[test]
fn who_does_not_read_is_not_written_for_without_bound() {
    const ASKED: usize = 20_000;
    let replica = Replica::start(Limits { output_paused_bytes: 64 << 10, ..Limits::default() });
    let (mut slow, mut other) = (replica.connect(), replica.connect());
    other.say(&format!("SET a {}", "x".repeat(9_000)), "+OK\r\n");
    // In the background, as the replica stops reading too.
    let mut sending = slow.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || sending.write_all("GET a\r\n".repeat(ASKED).as_bytes()).unwrap());
    (0..100).for_each(|_| other.say("PING", "+PONG\r\n"));
    let mut counts = replica.connect();
    counts.stream.write_all(b"INFO stats\r\nQUIT\r\n").unwrap();
    let said = counts.rest();
    let ran = said.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).and_then(|count| count.parse::<usize>().ok());
    assert!(ran.is_some_and(|ran| ran < ASKED), "what the system buffers is less than all answers: {said}");
    let answer = format!("$9000\r\n{}\r\n", "x".repeat(9_000));
    (0..ASKED).for_each(|_| slow.expect(&answer));
    sender.join().unwrap();
    slow.say("PING", "+PONG\r\n");
}

#[test]
fn passwords_are_not_tried_without_bound() {
    let replica = Replica::start(Limits::default());
    let (mut admin, mut there) = (replica.connect(), replica.connect());
    admin.say("ACL SETUSER bob on >secret +@all ~*", "+OK\r\n");
    there.say("AUTH bob secret", "+OK\r\n");
    let (mut wrong, mut unread) = (0, 0);
    for _ in 0..50 {
        let mut client = replica.connect();
        client.stream.write_all(b"AUTH bob guess\r\nAUTH bob guess\r\nQUIT\r\n").unwrap();
        let said = client.rest();
        wrong += said.matches("invalid username-password pair").count();
        unread += said.matches("too many wrong passwords came from your address").count();
    }
    // The bucket loses one a second, however long this takes.
    assert_eq!(wrong + unread, 100);
    assert!((10..100).contains(&wrong), "{wrong} were looked at");
    there.say("SET a 1", "+OK\r\n");
    admin.say("ACL WHOAMI", "$7\r\ndefault\r\n");
}
