//! Levels, tokens and acknowledgements: two replicas, and what a connection is told to wait for.

use steadfast_available::Keyspace;
use steadfast_crdt::Actor;
use steadfast_redis_api::engine::session::{Next, Replicas, Session};
use steadfast_redis_api::engine::{answer_late, give_up, unacknowledged};

mod support;

use support::host::TestHost;
use support::{run, words};

struct World {
    session: Session,
    keys: Keyspace,
    host: TestHost,
}

impl World {
    fn new(place: u16) -> Self {
        let mut keys = Keyspace::new(Actor::new(place).expect("a place"));
        keys.set_now(1_800_000_000_000);
        let host = TestHost { now_us: 1_800_000_000_000_000, replicas: 2, ..TestHost::default() };
        World { session: Session::new(7, true), keys, host }
    }

    fn do_it(&mut self, line: &str) -> (String, Next) {
        let (out, next) = run(&mut self.session, &mut self.keys, &mut self.host, &words(line));
        (out.escape_ascii().to_string().replace("\\r\\n", " ").replace("\\'", "'").trim_end().to_owned(), next)
    }

    fn say(&mut self, line: &str) -> String {
        let (said, next) = self.do_it(line);
        assert_eq!(next, Next::Continue, "{line}: {said}");
        said
    }

    fn token(&mut self) -> String {
        self.say("SESSION TOKEN").split(' ').nth(1).expect("a bulk string").to_owned()
    }

    fn hear(&mut self, other: &mut World) {
        while let Some(delta) = other.keys.take_delta() {
            self.keys.apply(&delta).expect("in order");
        }
    }

    fn gave_up(&mut self) -> String {
        let mut out = Vec::new();
        give_up(&mut self.session, 5000, &mut out);
        String::from_utf8(out).expect("text").trim_end().to_owned()
    }
}

const BEHIND: Next = Next::Behind { timeout_ms: 5000 };

#[test]
fn who_comes_with_a_token_sees_what_it_saw() {
    let (mut one, mut other) = (World::new(1), World::new(2));
    one.say("SET a 1");
    let token = one.token();
    assert_eq!(other.say("GET a"), "$-1");
    let with = format!("CONSISTENCY WITH session TOKEN {token} GET a");
    assert_eq!(other.do_it(&with), (String::new(), BEHIND));
    assert!(!other.keys.has_seen(other.session.awaited()));
    assert!(other.gave_up().starts_with("-BEHIND this replica has not seen all that the connection's token says after 5000 ms"));
    assert_eq!(other.say("GET a"), "$-1", "the token was for one command");
    assert_eq!(other.do_it(&format!("SESSION WAIT {token} 5000")), (String::new(), BEHIND));
    assert_eq!(other.gave_up(), ":0");
    other.hear(&mut one);
    assert!(other.keys.has_seen(other.session.awaited()));
    assert_eq!(other.say(&with), "$1 1");
    assert_eq!(other.say(&format!("SESSION WAIT {token} 5000")), ":1");
}

#[test]
fn a_connection_at_a_level_waits_with_each_command_of_data_and_no_other() {
    for level in ["session", "causal"] {
        let (mut one, mut other) = (World::new(1), World::new(2));
        one.say("SADD s a");
        let token = one.token();
        assert_eq!(other.say(&format!("CONSISTENCY SET {level} TIMEOUT 70")), "+OK");
        assert_eq!(other.say("CONSISTENCY GET"), format!("${} {level}", level.len()));
        assert_eq!(other.do_it(&format!("SESSION WAIT {token} 0")), (String::new(), Next::Behind { timeout_ms: 0 }));
        assert_eq!(other.say("PING"), "+PONG");
        for line in ["SMEMBERS s", "SET b 1", "DBSIZE", "KEYS *"] {
            assert_eq!(other.do_it(line), (String::new(), Next::Behind { timeout_ms: 70 }), "{line}");
        }
        assert_eq!(other.say("CONSISTENCY WITH eventual DBSIZE"), ":0");
        assert_eq!(other.say("MULTI"), "+OK");
        assert_eq!(other.say("SMEMBERS s"), "+QUEUED");
        assert_eq!(other.do_it("EXEC"), (String::new(), Next::Behind { timeout_ms: 70 }));
        other.hear(&mut one);
        assert_eq!(other.say("EXEC"), "*1 *1 $1 a");
    }
}

#[test]
fn tokens_say_what_was_written_in_the_same_turn_and_seen_elsewhere() {
    let (mut one, mut other, mut third) = (World::new(1), World::new(2), World::new(3));
    one.say("SET a 1");
    let token = one.token();
    third.do_it(&format!("SESSION WAIT {token} 1"));
    third.say("SET b 1");
    let both = third.token();
    other.hear(&mut third);
    assert_eq!(other.do_it(&format!("SESSION WAIT {both} 1")).1, Next::Behind { timeout_ms: 1 });
    other.hear(&mut one);
    assert_eq!(other.say(&format!("SESSION WAIT {both} 1")), ":1");
}

#[test]
fn answers_to_writes_wait_for_as_many_replicas_as_was_asked_for() {
    let mut world = World::new(1);
    assert_eq!(world.say("SET a 1"), "+OK");
    assert_eq!(world.say("REPLICATION SET semi-sync 2 TIMEOUT 30"), "+OK");
    assert_eq!(world.say("REPLICATION GET"), "$11 semi-sync 2");
    for line in ["SET a 2", "CONSISTENCY WITH causal INCR a", "SADD s a b c"] {
        let (said, next) = world.do_it(line);
        let write = world.keys.last_write().expect("a write");
        assert_eq!(next, Next::Acknowledge { write, replicas: Replicas::Some(2), timeout_ms: 30 }, "{line}");
        assert!(!said.is_empty());
        assert_eq!(world.session.last_write, Some(write));
    }
    // What changed nothing waits for nothing.
    for line in ["GET a", "DEL nosuch", "SREM s x", "ZADD z XX 1 a"] {
        world.say(line);
    }
    world.say("REPLICATION SET sync");
    world.say("MULTI");
    world.say("SET a 3");
    assert_eq!(world.say("SESSION TOKEN"), "+QUEUED");
    let write = world.keys.last_write();
    let (said, next) = world.do_it("EXEC");
    assert!(said.starts_with("*2 +OK $"));
    assert_ne!(world.keys.last_write(), write);
    assert_eq!(next, Next::Acknowledge { write: world.keys.last_write().expect("a write"), replicas: Replicas::All, timeout_ms: 30 });
    let mut out = Vec::new();
    unacknowledged(&world.session, 1, 2, 30, &mut out);
    let said = String::from_utf8(out).expect("text");
    assert!(said.starts_with("-NOREPLICAS 1 of 2 other replicas hold this write after 30 ms, and its outcome is unknown"), "{said}");
    world.say("REPLICATION SET async");
    world.say("SET a 4");
    world.host.acknowledged = 1;
    world.say("MULTI");
    world.say("WAIT 2 0");
    assert_eq!(world.say("EXEC"), "*1 :1");
}

#[test]
fn who_wants_no_answers_gets_none_late_either() {
    let (mut one, mut other) = (World::new(1), World::new(2));
    one.say("SET a 1");
    let token = one.token();
    other.say("CLIENT REPLY SKIP");
    assert_eq!(other.do_it(&format!("CONSISTENCY WITH session TOKEN {token} GET a")).1, BEHIND);
    assert_eq!(other.gave_up(), "");
    assert_eq!(other.say("PING"), "+PONG");
    one.say("REPLICATION SET sync");
    for (mode, line) in [("SKIP", "SET a 2"), ("SKIP", "WAIT 2 0"), ("OFF", "SET a 3")] {
        one.say(&format!("CLIENT REPLY {mode}"));
        let (said, next) = one.do_it(line);
        assert!(matches!(next, Next::Acknowledge { .. } | Next::Wait { .. }) && said.is_empty(), "{line}");
        let mut out = Vec::new();
        unacknowledged(&one.session, 0, 2, 5000, &mut out);
        answer_late(&one.session, &mut out, |reply| reply.integer(0));
        assert_eq!(out, b"");
    }
    assert_eq!(one.say("CLIENT REPLY ON"), "+OK");
    one.do_it("WAIT 2 0");
    let mut out = Vec::new();
    answer_late(&one.session, &mut out, |reply| reply.integer(0));
    assert_eq!(out, b":0\r\n");
}

#[test]
fn strong_is_for_keys_under_strong_prefixes_one_by_one() {
    let mut world = World::new(1);
    let refused =
        "-NOTSTRONG 'a' is under no strong prefix: make one of its prefixes strong in the cluster's strong state, or use the level causal";
    assert_eq!(world.say("CONSISTENCY WITH strong GET a"), refused);
    world.host.registers = Some(b"r:".to_vec());
    assert_eq!(world.say("CONSISTENCY WITH strong GET a"), refused);
    assert_eq!(world.say("GET a"), "$-1");
    for line in ["GET r:1", "SET r:1 x NX", "DEL r:1", "CONSISTENCY WITH strong GET r:1", "CONSISTENCY WITH causal GET r:1"] {
        assert_eq!(world.do_it(line), (String::new(), Next::Register), "{line}");
    }
    assert!(
        world.say("MGET r:1 r:2").starts_with("-NOTSTRONG 'r:1' is under a strong prefix, and such keys are read and written one by one")
    );
    assert!(world.say("WATCH r:1").starts_with("-NOTSTRONG 'r:1' is under a strong prefix, and such keys are no part of transactions"));
    world.say("MULTI");
    assert!(world.say("GET r:1").starts_with("-NOTSTRONG 'r:1' is under a strong prefix, and such keys are no part of transactions"));
    assert_eq!(world.say("EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
    world.say("CONSISTENCY SET strong");
    assert_eq!(world.do_it("GET r:1"), (String::new(), Next::Register));
    assert!(world.say("MULTI").starts_with("-NOTSTRONG transactions are not strong"));
    assert!(world.say("DBSIZE").starts_with("-NOTSTRONG the level strong is one of single keys"));
    assert_eq!(world.say("PING"), "+PONG");
    assert_eq!(world.say("RESET"), "+RESET");
    assert_eq!(world.say("CONSISTENCY GET"), "$8 eventual");
}

#[test]
fn keys_that_are_about_to_become_strong_are_used_by_nobody() {
    let mut world = World::new(1);
    world.say("MULTI");
    assert_eq!(world.say("SET c:1 x"), "+QUEUED");
    world.host.closed = Some(b"c:".to_vec());
    let refused = "-TRYAGAIN 'c:1' is under a prefix that is being made strong: until all replicas know, nobody uses it";
    assert_eq!(world.say("EXEC"), format!("*1 {refused}"), "what was queued before does not run");
    for line in ["GET c:1", "SET c:1 x", "DEL a c:1", "CONSISTENCY WITH strong GET c:1", "RENAME a c:1", "WATCH c:1"] {
        assert_eq!(world.say(line), refused, "{line}");
    }
    assert_eq!(world.say("SET c x"), "+OK");
}

#[test]
fn what_is_wrong_is_named_with_what_is_right() {
    let mut world = World::new(1);
    for (line, answer) in [
        ("CONSISTENCY SET most", "-ERR 'most' is no level: eventual, session, causal or strong"),
        ("CONSISTENCY SET causal TIMEOUT -1", "-ERR timeout is negative"),
        ("CONSISTENCY SET causal 5", "-ERR syntax error"),
        ("CONSISTENCY WITH session TOKEN x GET a", "-ERR 'x' is no token: SESSION TOKEN gives one"),
        ("CONSISTENCY WITH session TOKEN 100", "-ERR wrong number of arguments for 'consistency|with' command"),
        (
            "CONSISTENCY WITH session PING",
            "-ERR CONSISTENCY WITH runs commands that read or write keys, and 'ping' does not: send it by itself",
        ),
        ("CONSISTENCY WITH session NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with:"),
        ("SESSION WAIT 1ff 10", "-ERR '1ff' is no token: SESSION TOKEN gives one"),
        ("REPLICATION SET some", "-ERR 'some' is no mode of replication: async, semi-sync k or sync"),
        ("REPLICATION SET semi-sync 0", "-ERR semi-sync waits for 1 replica or more, not '0': for none there is async, for all sync"),
    ] {
        assert_eq!(world.say(line), answer, "{line}");
    }
    world.say("MULTI");
    assert!(world.say("CONSISTENCY WITH causal GET a").starts_with("-ERR CONSISTENCY WITH inside MULTI is not allowed"));
}
