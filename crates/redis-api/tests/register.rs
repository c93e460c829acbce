//! Commands as changes of a register do what they do on a key of a keyspace.

use bytes::Bytes;
use proptest::prelude::*;
use steadfast_available::Keyspace;
use steadfast_crdt::Actor;
use steadfast_redis_api::engine::register::{Effect, apply, reads};
use steadfast_redis_api::engine::session::Session;
use steadfast_redis_api::protocol::reply::Version;
use steadfast_redis_api::protocol::request::OwnedArguments;

mod support;

use support::host::TestHost;
use support::{run, words};

/// Commands on the key `k`. `%` is one of few values, `#` a number.
const COMMANDS: &str = "SET k %|SET k # NX GET|SET k % XX KEEPTTL|SET k % EX 1|GET k|GETEX k PX 40|GETEX k PERSIST|GETDEL k|APPEND k %|STRLEN k
INCR k|INCRBY k #|DECRBY k #|INCRBYFLOAT k #.1|SETRANGE k 3 %|GETRANGE k 0 -2|SETBIT k 9 1|BITCOUNT k|SETNX k %
DEL k|UNLINK k|EXISTS k|EXISTS k k|TYPE k|TTL k|PTTL k|EXPIRE k 1|PEXPIRE k #|EXPIRE k -1|PEXPIREAT k 1700000000050|PEXPIRETIME k|PERSIST k|RENAME k k|DEL k k
HSET k % #|HSET k % # % %|HSETNX k % %|HGET k %|HMGET k % %|HGETALL k|HDEL k %|HDEL k % %|HLEN k|HINCRBY k % #|HINCRBYFLOAT k % #.7|HSCAN k 0 COUNT 1|HEXISTS k %
SADD k %|SADD k % % %|SREM k %|SMEMBERS k|SISMEMBER k %|SCARD k|SPOP k|SRANDMEMBER k|SRANDMEMBER k -3|SSCAN k 0 COUNT 2|SINTER k k|SDIFFSTORE k k k
ZADD k # %|ZADD k # % # %|ZADD k GT CH # %|ZINCRBY k #.3 %|ZREM k %|ZRANGE k 0 -1 WITHSCORES|ZSCORE k %|ZRANK k %|ZPOPMIN k|ZCOUNT k (1 +inf|ZREMRANGEBYRANK k 0 0
LPUSH k % %|RPUSH k % %|LPOP k|RPOP k|LRANGE k 0 -1|LINSERT k BEFORE % %|LSET k 1 %|LREM k 0 %|LTRIM k 0 3|LINDEX k -1|LLEN k|LMOVE k k LEFT RIGHT|LPUSHX k %
PFADD k % %|PFADD k|PFCOUNT k|PFMERGE k|PFMERGE k k|GET k x|SET k|EXPIRE k x|INCRBY k y";

fn command() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let lines: Vec<&str> = COMMANDS.split(['|', '\n']).collect();
    let lines = proptest::sample::select(lines);
    let holes = proptest::collection::vec((proptest::sample::select(vec!["a", "b", "7", "-3", "10.5", "\"\""]), -3..60_i64), 6);
    (lines, holes).prop_map(|(line, holes)| {
        let mut line = line.to_owned();
        for (value, number) in holes {
            line = line.replacen('%', value, 1).replacen('#', &number.to_string(), 1);
        }
        words(&line)
    })
}

/// A request may say how it is to run.
fn how() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["", "", "CONSISTENCY WITH strong", "consistency with STRONG token abc"])
}

fn change(command: &[Vec<u8>], value: Option<&Bytes>, version: Version, host: &mut TestHost) -> Effect {
    let arguments = OwnedArguments::new(command.iter().map(Vec::as_slice));
    let now_ms = host.now_us / 1000;
    apply(arguments.as_arguments(), value, now_ms, version, host).expect("a value that was given")
}

proptest! {
    #[test]
    fn a_register_answers_as_a_key_does(
        steps in proptest::collection::vec((command(), 0..30_u64, how()), 1..40), random in any::<u64>(), speaks_three in any::<bool>()
    ) {
        let version = if speaks_three { Version::Three } else { Version::Two };
        let (mut keys, mut session) = (Keyspace::new(Actor::default()), Session::new(1, true));
        session.version = version;
        let (mut value, mut now_ms): (Option<Bytes>, u64) = (None, 1_700_000_000_000);
        for (at, (command, passes, how)) in steps.into_iter().enumerate() {
            now_ms += passes;
            keys.set_now(now_ms);
            let host = || TestHost { now_us: now_ms * 1000, random: random ^ at as u64, ..TestHost::default() };
            let (answer, _) = run(&mut session, &mut keys, &mut host(), &command);
            let asked = words(how).into_iter().chain(command.iter().cloned()).collect::<Vec<_>>();
            let effect = change(&asked, value.as_ref(), version, &mut host());
            prop_assert_eq!(&effect, &change(&command, value.as_ref(), version, &mut host()), "not the same twice");
            let is_refused = effect.answer.starts_with(b"-ERR Invalid command");
            let line = command.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
            if !is_refused {
                let text = |answer: &[u8]| String::from_utf8_lossy(answer).into_owned();
                prop_assert_eq!(text(&effect.answer), text(&answer), "{}", line);
            }
            let arguments = OwnedArguments::new(command.iter().map(Vec::as_slice));
            prop_assert!(effect.change.is_none() || !reads(arguments.as_arguments()), "{}", line);
            prop_assert!(effect.change.is_none() || !effect.answer.starts_with(b"-"), "{}", line);
            prop_assert!(effect.change.as_ref() != Some(&value), "{} changes nothing", line);
            value = effect.change.unwrap_or(value);
            // A key past its deadline may be in the value until it is written again.
            prop_assert!(value.is_some() || !keys.contains(b"k"), "{}", line);
            let shown = change(&words("EXISTS k"), value.as_ref(), version, &mut host());
            prop_assert_eq!(shown.answer, format!(":{}\r\n", u8::from(keys.contains(b"k"))).into_bytes(), "{}", line);
        }
    }

    #[test]
    fn bytes_that_are_no_value_are_refused_or_read_as_one(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let arguments = OwnedArguments::new([b"DEL".as_slice(), b"k"]);
        let effect = apply(arguments.as_arguments(), Some(&Bytes::from(bytes)), 0, Version::Two, &mut TestHost::default());
        prop_assert!(effect.is_err() || effect.is_ok_and(|effect| effect.change == Some(None)));
    }
}

#[test]
fn what_names_other_keys_or_none_is_refused() {
    for line in ["MSET k 1 l 2", "RENAME k l", "DEL k l", "SINTERSTORE k l m", "KEYS *", "PING", "COPY k l", "nonsense k"] {
        let effect = change(&words(line), None, Version::Two, &mut TestHost::default());
        assert!(effect.answer.starts_with(b"-ERR"), "{line}: {:?}", String::from_utf8_lossy(&effect.answer));
        assert_eq!(effect.change, None, "{line}");
    }
}
