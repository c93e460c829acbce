//! Connections: who they are, their transactions, and what they are told of commands.

use steadfast_available::Keyspace;
use steadfast_crdt::Actor;
use steadfast_redis_api::acl::users::Users;
use steadfast_redis_api::commands::{table, unsupported};
use steadfast_redis_api::engine::session::{Next, Session};

mod support;

use support::host::TestHost;
use support::{feed, run, words};

struct World {
    session: Session,
    keys: Keyspace,
    host: TestHost,
}

impl World {
    fn new(password: Option<&str>) -> Self {
        let keys = Keyspace::new(Actor::new(1).expect("a place"));
        let users = password.map_or_else(Users::new, |password| Users::with_password(password.as_bytes()));
        let host = TestHost { users, now_us: 1_800_000_000_000_000, ..TestHost::default() };
        World { session: Session::new(7, password.is_none()), keys, host }
    }

    fn say(&mut self, line: &str) -> String {
        self.keys.set_now(self.host.now_us / 1000);
        let (out, _) = run(&mut self.session, &mut self.keys, &mut self.host, &words(line));
        out.escape_ascii().to_string().replace("\\r\\n", " ").trim_end().to_owned()
    }
}

#[test]
fn strangers_may_only_say_who_they_are() {
    let mut world = World::new(Some("secret"));
    assert_eq!(world.say("GET a"), "-NOAUTH Authentication required.");
    assert_eq!(world.say("NOSUCH"), "-ERR unknown command \\'NOSUCH\\', with args beginning with:");
    assert!(world.say("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    assert_eq!(world.say("AUTH wrong"), "-WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(world.say("AUTH secret"), "+OK");
    assert_eq!(world.say("GET a"), "$-1");
    assert_eq!(world.say("RESET"), "+RESET");
    assert_eq!(world.say("GET a"), "-NOAUTH Authentication required.");
    assert!(world.say("HELLO 3 AUTH default secret SETNAME me").starts_with("%7 "));
    assert_eq!(world.say("GET a"), "_");
    assert_eq!(world.say("CLIENT GETNAME"), "$2 me");
}

#[test]
fn transactions_are_run_whole_or_not_at_all() {
    let mut world = World::new(None);
    assert_eq!(world.say("EXEC"), "-ERR EXEC without MULTI");
    assert_eq!(world.say("MULTI"), "+OK");
    assert_eq!(world.say("MULTI"), "-ERR MULTI calls can not be nested");
    assert_eq!(world.say("SET a 1"), "+QUEUED");
    assert_eq!(world.say("LPUSH a 1"), "+QUEUED");
    assert_eq!(world.say("INCR a"), "+QUEUED");
    assert_eq!(world.say("EXEC"), "*3 +OK -WRONGTYPE Operation against a key holding the wrong kind of value :2");
    world.say("MULTI");
    world.say("SET a 5");
    assert_eq!(world.say("SET a"), "-ERR wrong number of arguments for \\'set\\' command");
    assert_eq!(world.say("EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(world.say("GET a"), "$1 2");
}

#[test]
fn watched_keys_hold_a_transaction_up_if_they_change() {
    for (change, is_run) in [("SET a 2", false), ("DEL a", false), ("EXPIRE a 100", false), ("SET b 2", true), ("GET a", true)] {
        let mut world = World::new(None);
        world.say("SET a 1");
        world.say("WATCH a");
        world.say(change);
        world.say("MULTI");
        world.say("SET c 1");
        assert_eq!(world.say("EXEC"), if is_run { "*1 +OK" } else { "*-1" }, "{change}");
    }
}

#[test]
fn a_watched_key_that_came_and_went_has_changed() {
    for is_there in [false, true] {
        let mut world = World::new(None);
        if is_there {
            world.say("SET a 1");
        }
        world.say("WATCH a");
        for line in ["DEL a", "SET a 1", "DEL a", "MULTI", "SET c 1"] {
            world.say(line);
        }
        assert_eq!(world.say("EXEC"), "*-1", "{is_there}");
    }
}

#[test]
fn there_is_one_score_of_zero() {
    let mut world = World::new(None);
    world.say("ZADD z -0 a 0 b 1 c");
    world.say("ZUNIONSTORE y 1 z WEIGHTS -1");
    assert_eq!(world.say("ZRANGE z 0 -1 WITHSCORES"), "*6 $1 a $1 0 $1 b $1 0 $1 c $1 1");
    assert_eq!(world.say("ZPOPMAX y 3"), "*6 $1 b $1 0 $1 a $1 0 $1 c $2 -1");
}

#[test]
fn a_watched_key_whose_deadline_comes_has_changed() {
    let mut world = World::new(None);
    world.say("SET a 1 EX 10");
    world.say("WATCH a");
    world.host.now_us += 11_000_000;
    world.say("MULTI");
    world.say("GET a");
    assert_eq!(world.say("EXEC"), "*-1");
}

#[test]
fn answers_may_be_turned_off() {
    let mut world = World::new(None);
    assert_eq!(world.say("CLIENT REPLY SKIP"), "");
    assert_eq!(world.say("PING"), "");
    assert_eq!(world.say("PING"), "+PONG");
    assert_eq!(world.say("CLIENT REPLY OFF"), "");
    assert_eq!(world.say("PING"), "");
    assert_eq!(world.say("CLIENT REPLY ON"), "+OK");
    assert_eq!(world.say("PING"), "+PONG");
}

#[test]
fn waiting_is_left_to_the_shell() {
    let mut world = World::new(None);
    let (out, next) = run(&mut world.session, &mut world.keys, &mut world.host, &words("WAIT 2 100"));
    assert_eq!((out.as_slice(), next), (b"".as_slice(), Next::Wait { replicas: 2, timeout_ms: 100 }));
    world.say("MULTI");
    world.say("WAIT 2 100");
    assert_eq!(world.say("EXEC"), "*1 :0");
}

#[test]
fn bytes_that_are_no_request_are_answered_once() {
    let mut world = World::new(None);
    let out = feed(&mut world.session, &mut world.keys, &mut world.host, b"PING\r\n*1\r\n!\r\nPING\r\n");
    assert_eq!(out, b"+PONG\r\n-ERR Protocol error: expected '$', got '!'\r\n");
}

#[test]
fn each_name_is_of_one_command_supported_or_not() {
    let mut names: Vec<&str> = table::all().map(|command| command.name).chain(unsupported::names()).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
    for name in unsupported::names() {
        assert!(World::new(None).say(name).contains("is not supported here"), "{name}");
    }
    for command in table::all() {
        assert!(command.run.is_some() == command.subcommands.is_empty() || command.name == "command", "{}", command.name);
        assert!(!command.summary.is_empty());
    }
}
