//! Random commands over few keys and values, answered by the commands over available state and by a real Redis server, whose program is in the
//! environment variable `REDIS_SERVER`. Every answer must be the same, but for the order of what has none.

use std::collections::BTreeMap;

use steadfast_available::Keyspace;
use steadfast_crdt::Actor;
use steadfast_redis_api::commands::table;
use steadfast_redis_api::engine::session::Session;
use steadfast_types::Rng;

mod support;

use support::host::TestHost;
use support::redis::{Redis, RedisServer};
use support::resp::{Value, parse_all};
use support::{run, words};

/// Commands with holes. `@` is a key (`@x` a sorted set whose scores are all equal, as ranges by members are not defined in Redis otherwise: so no key
/// that holds anything else takes its place; `@o` is any key but such a one), `#` a number, `%` another value; `?` may be left out; `:` joins words; `|` is a choice; `+` repeats.
const STRINGS: &str = "
SET @s %v ?NX|XX ?GET ?EX:%t|PX:%T|EXAT:4102444800|KEEPTTL
SET @s %v
SETNX @s %v
SETEX @s %t %v
PSETEX @s %T %v
GET @s
GETSET @s %v
GETDEL @s
GETEX @s ?PERSIST|EX:%t|PXAT:4102444800000
MGET @s+ ?@k
MSET @s:%v+
MSETNX @s:%v+
APPEND @s %v
STRLEN @s
GETRANGE @s #i #i
SUBSTR @s #i #i
SETRANGE @s #u %v
INCR @n
DECR @n
INCRBY @n #j
DECRBY @n #j
INCRBYFLOAT @n #e
INCR @s
SET @n #j
LCS @s @s ?LEN ?IDX ?WITHMATCHLEN ?MINMATCHLEN:#u
SETBIT @s #u 0|1
GETBIT @s #u
BITPOS @s 0|1|2|x ?#i|#i:#i|#i:#i:BYTE|#i:#i:BIT
BITOP AND|OR|XOR @s @s+
BITOP NOT @s @s
BITCOUNT @s ?#i:#i|#i:#i:BYTE|#i:#i:BIT";

const KEYS: &str = "
DEL @k+
UNLINK @k
EXISTS @k+
TOUCH @k+
TYPE @k
TTL @k
PTTL @k
EXPIRE @k %t ?NX|XX|GT|LT
PEXPIRE @k %T ?NX|XX ?GT|LT
EXPIREAT @k 4102444800|4102444801|1 ?NX|XX|GT|LT
PEXPIREAT @k 4102444800000|5
EXPIRETIME @k
PEXPIRETIME @k
PERSIST @k
RENAME @s @s
RENAME @o @o
RENAME @x @x
RENAMENX @o @o
COPY @o @o ?REPLACE ?DB:0
COPY @x @x ?REPLACE
KEYS *|s*|s?|[hz]*
SCAN 0 COUNT 1000 ?MATCH:s* ?TYPE:string|zset
RANDOMKEY
DBSIZE
OBJECT IDLETIME nokey";

const HASHES: &str = "
HSET @h %f:%v+
HMSET @h %f:%v+
HSETNX @h %f %v
HGET @h %f
HMGET @h %f+
HGETALL @h
HKEYS @h
HVALS @h
HLEN @h
HSTRLEN @h %f
HEXISTS @h %f
HDEL @h %f+
HINCRBY @h n1|n2|%f #j
HINCRBYFLOAT @h n1|n2|%f #e
HRANDFIELD @h ?100|100:WITHVALUES
HSCAN @h 0 COUNT 1000 ?MATCH:a*";

const SETS: &str = "
SADD @t %m+
SADD @t %m+
SREM @t %m+
SCARD @t
SISMEMBER @t %m
SMISMEMBER @t %m+
SMEMBERS @t
SMOVE @t @t %m
SPOP @t 100
SRANDMEMBER @t ?100|0
SINTER @t+
SUNION @t+
SDIFF @t+
SINTERSTORE @t @t+
SUNIONSTORE @t @t+
SDIFFSTORE @t @t+
SINTERCARD 2 @t @t ?LIMIT:#i
SSCAN @t 0 COUNT 1000";

const SORTED: &str = "
ZADD @z ?NX|XX ?GT|LT ?CH #f:%m+
ZADD @z #f:%m+
ZADD @z #f:%m+
ZADD @z ?NX|XX ?GT|LT INCR #f %m
ZINCRBY @z #f %m
ZREM @z %m+
ZSCORE @z %m
ZMSCORE @z %m+
ZCARD @z
ZRANK @z %m
ZREVRANK @z %m
ZCOUNT @z #b #b
ZLEXCOUNT @x #x #x
ZRANGE @z #i #i ?REV ?WITHSCORES
ZRANGE @z #b #b BYSCORE ?REV ?LIMIT:#i:#i ?WITHSCORES
ZRANGE @x #x #x BYLEX ?REV ?LIMIT:#i:#i
ZRANGE @x #i #i BYLEX|LIMIT:0:1 WITHSCORES
ZRANGEBYSCORE @z #b #b ?LIMIT:#u:#i ?WITHSCORES
ZREVRANGEBYSCORE @z #b #b ?LIMIT:#u:#i ?WITHSCORES
ZRANGEBYLEX @x #x #x ?LIMIT:#u:#i
ZREVRANGEBYLEX @x #x #x ?LIMIT:#u:#i
ZREVRANGE @z #i #i ?WITHSCORES
ZRANGESTORE @z @z #i #i ?REV
ZRANGESTORE @z @z #b #b BYSCORE ?LIMIT:#u:#i
ZREMRANGEBYRANK @z #i #i
ZREMRANGEBYSCORE @z #b #b
ZREMRANGEBYLEX @x #x #x
ZADD @x 0:%m+
ZADD @x 0:%m+
ZPOPMIN @z ?#u
ZPOPMAX @z ?#u
ZMPOP 2 @z @z MIN|MAX ?COUNT:#u
ZRANDMEMBER @z ?100|100:WITHSCORES
ZUNION 2 @z @z|@t ?WEIGHTS:2:#f ?AGGREGATE:SUM|AGGREGATE:MIN|AGGREGATE:MAX ?WITHSCORES
ZINTER 2 @z @z|@t ?WEIGHTS:2:#f ?AGGREGATE:MAX ?WITHSCORES
ZDIFF 2 @z @z|@t ?WITHSCORES
ZUNIONSTORE @z 2 @z @t|@z ?WEIGHTS:#f:#f ?AGGREGATE:SUM|AGGREGATE:MIN|AGGREGATE:MAX
ZINTERSTORE @z 2 @z @t|@z ?AGGREGATE:MIN
ZDIFFSTORE @z 2 @z @t|@z
ZINTERCARD 2 @z @z ?LIMIT:#i
ZSCAN @z 0 COUNT 1000";

const LISTS: &str = "
LPUSH @l %v+
RPUSH @l %v+
RPUSH @l %v+
LPUSHX @l %v+
RPUSHX @l %v
LPOP @l ?#u
RPOP @l ?#u
LMPOP 2 @l @l LEFT|RIGHT ?COUNT:#u
LMOVE @l @l LEFT|RIGHT LEFT|RIGHT
RPOPLPUSH @l @l
LLEN @l
LINDEX @l #i
LSET @l #i %v
LRANGE @l #i #i
LTRIM @l #i #i
LINSERT @l BEFORE|AFTER %v %v
LREM @l #i %v
LPOS @l %v ?RANK:#i ?COUNT:#i ?MAXLEN:#i";

const OTHERS: &str = "
PFADD @p %m+
PFADD @p
DEL @p
TYPE @p
EXPIRE @p %t
RENAME @p @p
COPY @p @p ?REPLACE
PFCOUNT @p+
PFMERGE @p @p+
PING
PING %v
ECHO %v
SELECT 0
MULTI
MULTI
EXEC
EXEC
EXEC
DISCARD
WATCH @s
UNWATCH
CLIENT GETNAME
CLIENT SETNAME abc
CLIENT NO-EVICT on
NOSUCH %v %v
COMMAND GETKEYS SET @s %v
COMMAND GETKEYS ZUNIONSTORE @z 2 @z @z
HELLO 2|3";

const VALUES: [&str; 12] = ["", "a", "b", "foo", "10", "-3", "3.5", "abc def", "9223372036854775807", "hello world", "héllo", "007"];
const MEMBERS: [&str; 12] = ["a", "b", "c", "d", "aa", "bb", "1", "2", "30", "foo", "", "x y"];
const INTEGERS: [&str; 12] = ["0", "1", "2", "3", "5", "10", "-1", "-2", "-3", "-5", "-100", "100"];
const WIDE: [&str; 14] =
    ["1", "2", "3", "5", "10", "-1", "-10", "0", "100", "9223372036854775807", "-9223372036854775808", "x", "1.5", "01"];
const SCORES: [&str; 14] = ["1", "2", "3", "1.5", "0", "-1", "10", "3.1", "1e20", "inf", "-inf", "0.00001", "x", "+2"];
const BOUNDS: [&str; 14] = ["1", "(1", "2", "(2", "3", "-inf", "+inf", "inf", "0", "(3.1", "10", "x", "(inf", "-1"];
const LEX_BOUNDS: [&str; 10] = ["-", "+", "[a", "(a", "[b", "(b", "[c", "(foo", "[", "x"];
const FLOATS: [&str; 10] = ["1", "0.5", "-2.25", "3", "1e3", "-1", "100.125", "x", "0", "7"];

struct Mix<'a> {
    rng: &'a mut Rng,
}

impl Mix<'_> {
    fn one_of<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.rng.u64(0..from.len() as u64) as usize]
    }

    fn command(&mut self, template: &str) -> Vec<Vec<u8>> {
        let mut command = Vec::new();
        for token in template.split(' ') {
            let token = match token.strip_prefix('?') {
                Some(_) if self.rng.u64(0..3) > 0 && token.len() > 2 => continue,
                Some(optional) if token.len() > 2 => optional,
                _ => token,
            };
            let choices: Vec<&str> = token.split('|').collect();
            let token = self.one_of(&choices);
            let (token, repeats) = match token.strip_suffix('+').filter(|token| !token.is_empty()) {
                Some(token) => (token, 1 + self.rng.u64(0..3)),
                None => (token, 1),
            };
            for _ in 0..repeats {
                token.split(':').for_each(|hole| command.push(self.fill(hole)));
            }
        }
        // SPOP without its count takes a member by chance.
        if self.rng.u64(0..60) == 0 && command.len() > 1 && command[0] != b"SPOP" {
            command.pop();
        }
        if self.rng.u64(0..80) == 0 {
            command.push(b"extra".to_vec());
        }
        command
    }

    fn fill(&mut self, hole: &str) -> Vec<u8> {
        let text = match hole {
            "@k" => {
                let letter = self.one_of(&["s", "n", "h", "t", "z", "x", "l"]);
                self.key(letter)
            }
            "@o" => {
                let letter = self.one_of(&["s", "n", "h", "t", "z", "l"]);
                self.key(letter)
            }
            _ if hole.len() == 2 && hole.starts_with('@') => {
                // In Redis a sketch is a string; here it is not.
                let letter = if hole != "@p" && self.rng.u64(0..25) == 0 {
                    self.one_of(if hole == "@x" { &["s", "h", "t", "l"] } else { &["s", "h", "t", "z", "l"] })
                } else {
                    &hole[1..]
                };
                self.key(letter)
            }
            "#i" => self.one_of(&INTEGERS).to_owned(),
            "#u" => self.one_of(&INTEGERS[..6]).to_owned(),
            "#j" => self.one_of(&WIDE).to_owned(),
            "#f" => self.one_of(&SCORES).to_owned(),
            "#e" => self.one_of(&FLOATS).to_owned(),
            "#b" => self.one_of(&BOUNDS).to_owned(),
            "#x" => self.one_of(&LEX_BOUNDS).to_owned(),
            "%v" => self.one_of(&VALUES).to_owned(),
            "%m" | "%f" => self.one_of(&MEMBERS).to_owned(),
            "%t" => self.one_of(&["100", "200", "1000", "5000", "300", "400", "0", "x", "-1"]).to_owned(),
            "%T" => self.one_of(&["100000", "2000000", "500000", "9223372036854775807"]).to_owned(),
            other => other.to_owned(),
        };
        text.into_bytes()
    }

    fn key(&mut self, letter: &str) -> String {
        format!("{letter}{}", 1 + self.rng.u64(0..3))
    }
}

/// The server's time, in microseconds.
fn now_us(redis: &mut Redis) -> u64 {
    let Value::Array(parts) = redis.call(&words("TIME")) else { panic!("no time") };
    let number = |value: &Value| match value {
        Value::Bulk(text) => String::from_utf8_lossy(text).parse::<u64>().expect("a number"),
        other => panic!("{other:?}"),
    };
    number(&parts[0]) * 1_000_000 + number(&parts[1])
}

/// The answer with what may differ taken out of it.
fn normal(command: &[Vec<u8>], value: Value) -> Value {
    let name = String::from_utf8_lossy(&command[0]).to_ascii_lowercase();
    match (name.as_str(), value) {
        ("smembers" | "sunion" | "sinter" | "sdiff" | "keys" | "hkeys" | "hvals" | "spop", value) => sorted(value, 1),
        ("srandmember", value @ Value::Array(_)) => sorted(value, 1),
        ("hgetall", value) => sorted(value, 2),
        ("hrandfield" | "zrandmember", Value::Array(values)) => {
            let nests = values.iter().any(|value| matches!(value, Value::Array(_)));
            sorted(Value::Array(values), if command.len() > 3 && !nests { 2 } else { 1 })
        }
        ("srandmember" | "hrandfield" | "zrandmember" | "randomkey", Value::Bulk(_)) => Value::Bulk(Vec::new()),
        ("scan" | "sscan", Value::Array(parts)) => Value::Array(parts.into_iter().map(|part| sorted(part, 1)).collect()),
        ("hscan" | "zscan", Value::Array(parts)) => Value::Array(parts.into_iter().map(|part| sorted(part, 2)).collect()),
        ("hello", Value::Array(_) | Value::Map(_)) => Value::Simple(b"hello".to_vec()),
        // The server's clock goes on.
        ("ttl" | "expiretime", Value::Integer(seconds)) if seconds > 0 => Value::Integer((seconds + 5) / 10),
        ("pttl" | "pexpiretime", Value::Integer(ms)) if ms > 0 => Value::Integer((ms + 5000) / 10_000),
        (_, value) => value,
    }
}

fn sorted(value: Value, group: usize) -> Value {
    let sort = |values: Vec<Value>| {
        let mut groups: Vec<Vec<Value>> = values.chunks(group).map(<[Value]>::to_vec).collect();
        groups.sort();
        groups.concat()
    };
    match value {
        Value::Array(values) => Value::Array(sort(values)),
        Value::Set(values) => Value::Set(sort(values)),
        Value::Map(values) => Value::Map(sort(values)),
        other => other,
    }
}

/// Whether an answer says that something was changed or found.
fn is_rich(value: &Value) -> bool {
    match value {
        Value::Null | Value::Error(_) | Value::Integer(0) | Value::Boolean(false) => false,
        Value::Array(values) | Value::Set(values) | Value::Map(values) => !values.is_empty(),
        _ => true,
    }
}

#[test]
#[ignore = "needs redis-server: REDIS_SERVER"]
fn answers_are_those_of_redis() {
    let rounds: u64 = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(450);
    let first: u64 = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let families =
        [STRINGS, STRINGS, KEYS, HASHES, SETS, SORTED, SORTED, LISTS, OTHERS].map(|family| family.trim().lines().collect::<Vec<_>>());
    let mut mix: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    let mut differences: BTreeMap<String, String> = BTreeMap::new();
    let server = RedisServer::start();
    for seed in first..first + rounds {
        let mut rng = Rng::with_seed(seed);
        let mut redis = server.connect();
        redis.call(&words("FLUSHALL"));
        let (mut session, mut store, mut host) =
            (Session::new(1, true), Keyspace::new(Actor::new(1).expect("a place")), TestHost::default());
        let mut queued: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut history = Vec::new();
        for _ in 0..250 {
            let family = &families[rng.u64(0..families.len() as u64) as usize];
            let template = family[rng.u64(0..family.len() as u64) as usize];
            let command = Mix { rng: &mut rng }.command(template);
            history.push(command.iter().map(|word| format!("{:?}", String::from_utf8_lossy(word))).collect::<Vec<_>>().join(" "));
            // Within a transaction the question would be queued.
            if session.queued_commands().is_none() {
                host.now_us = now_us(&mut redis);
            }
            store.set_now(host.now_us / 1000);
            let (ours, _) = run(&mut session, &mut store, &mut host, &command);
            let (ours, theirs) = (parse_all(&ours), redis.call(&command));
            let name = String::from_utf8_lossy(&command[0]).to_ascii_lowercase();
            let counts = mix.entry(name.clone()).or_default();
            counts.0 += 1;
            counts.1 += u64::from(!matches!(theirs, Value::Error(_)));
            counts.2 += u64::from(is_rich(&theirs));
            let (ours, theirs) = match (name.as_str(), ours, theirs) {
                ("exec", Value::Array(ours), Value::Array(theirs)) if ours.len() == queued.len() && theirs.len() == queued.len() => {
                    let normal = |values: Vec<Value>| {
                        Value::Array(queued.iter().zip(values).map(|(command, value)| normal(command, value)).collect())
                    };
                    (normal(ours), normal(theirs))
                }
                (_, ours, theirs) => (normal(&command, ours), normal(&command, theirs)),
            };
            match ours {
                Value::Simple(ref text) if text == b"QUEUED" => queued.push(command),
                _ if session.queued_commands().is_none() => queued.clear(),
                _ => {}
            }
            if ours != theirs {
                let tail = history[history.len().saturating_sub(6)..].join("\n    ");
                differences.entry(name).or_insert(format!("seed {seed}\n    {tail}\n  ours   {ours:?}\n  theirs {theirs:?}"));
                break;
            }
        }
    }
    let sum = mix.values().fold((0, 0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1, sum.2 + counts.2));
    for (name, (all, answered, rich)) in &mix {
        println!("{name:<18} {all:>6} of which no error {answered:>6}, with data or change {rich:>6}");
    }
    println!("{} commands, {} without error, {} ({}%) with data or change", sum.0, sum.1, sum.2, 100 * sum.2 / sum.0.max(1));
    for (name, difference) in &differences {
        println!("DIFFERENT {name}: {difference}");
    }
    assert!(differences.is_empty(), "{} commands answer differently", differences.len());
    assert!(2 * sum.2 >= sum.0, "too few commands change or find anything");
}

/// The facts of a command without what has no order, and without notes for people.
fn facts(value: Value) -> Value {
    match value {
        Value::Set(values) => sorted(Value::Set(values.into_iter().map(facts).collect()), 1),
        // Subcommands.
        Value::Array(values) if values.iter().all(|value| matches!(value, Value::Array(_))) => {
            sorted(Value::Array(values.into_iter().map(facts).collect()), 1)
        }
        Value::Array(values) => Value::Array(values.into_iter().map(facts).collect()),
        Value::Map(values) => {
            let pairs = values.chunks(2).filter(|pair| pair[0] != Value::Bulk(b"notes".to_vec()));
            Value::Map(pairs.flatten().cloned().map(facts).collect())
        }
        other => other,
    }
}

#[test]
#[ignore = "needs redis-server: REDIS_SERVER"]
fn facts_of_commands_are_those_of_redis() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.call(&words("HELLO 3"));
    let mut keys = Keyspace::new(Actor::new(1).expect("a place"));
    let (mut session, mut host) = (Session::new(1, true), TestHost::default());
    run(&mut session, &mut keys, &mut host, &words("HELLO 3"));
    for command in table::all().filter(|command| command.group != table::Group::Consistency) {
        let line = words(&format!("COMMAND INFO {}", command.name));
        let (ours, _) = run(&mut session, &mut keys, &mut host, &line);
        assert_eq!(facts(parse_all(&ours)), facts(redis.call(&line)), "{}", command.name);
    }
    for name in steadfast_redis_api::commands::unsupported::names() {
        let theirs = redis.call(&words(&format!("COMMAND INFO {name}")));
        assert_ne!(theirs, Value::Array(vec![Value::Null]), "{name} is no command of Redis");
    }
}
