//! Commands of many elements: what they leave is what commands of one element each would leave, and replicas that hear of them agree.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use steadfast_available::Keyspace;
use steadfast_crdt::Actor;
use steadfast_redis_api::engine::session::Session;

mod support;

use support::host::TestHost;
use support::{run, words};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

struct Replica {
    keys: Keyspace,
    session: Session,
    host: TestHost,
}

impl Replica {
    fn new(place: u16) -> Self {
        let mut keys = Keyspace::new(Actor::new(place).expect("a place"));
        keys.set_now(1_800_000_000_000);
        Replica { keys, session: Session::new(1, true), host: TestHost { now_us: 1_800_000_000_000_000, ..TestHost::default() } }
    }

    fn say(&mut self, line: &str) -> Vec<u8> {
        run(&mut self.session, &mut self.keys, &mut self.host, &words(line)).0
    }

    fn contents(&mut self) -> Vec<String> {
        let reads = ["SMISMEMBER s a b c d e", "SCARD s", "HMGET h a b c d e", "HLEN h", "ZRANGE z 0 -1 WITHSCORES", "LRANGE l 0 -1"];
        reads.into_iter().map(|read| self.say(read).escape_ascii().to_string()).collect()
    }
}

/// A command, and what it is one element at a time.
#[derive(Clone, Debug)]
struct Batch {
    whole: String,
    singly: Vec<String>,
}

fn batch() -> impl Strategy<Value = Batch> {
    let elements = vec((select(&NAMES[..]), 0..5_u8), 1..6);
    let kinds = [
        "SADD s",
        "SREM s",
        "HSET h",
        "HDEL h",
        "ZADD z",
        "ZADD z NX",
        "ZADD z XX",
        "ZADD z GT",
        "ZREM z",
        "RPUSH l",
        "LPUSH l",
        "LREM l 0",
    ];
    (select(kinds.to_vec()), elements).prop_map(|(kind, mut elements)| {
        if kind.starts_with("LREM") {
            elements.truncate(1);
        }
        let word = |(name, value): &(&str, u8)| match &kind[..4] {
            "HSET" => format!("{name} {value}"),
            "ZADD" => format!("{value} {name}"),
            _ => (*name).to_owned(),
        };
        let said: Vec<String> = elements.iter().map(word).collect();
        Batch { whole: format!("{kind} {}", said.join(" ")), singly: said.iter().map(|word| format!("{kind} {word}")).collect() }
    })
}

/// What a replica does: commands, or hearing all that the others said.
fn steps() -> impl Strategy<Value = Vec<(usize, Option<Batch>)>> {
    vec((0..3_usize, prop_oneof![4 => batch().prop_map(Some), 1 => Just(None)]), 1..40)
}

fn exchange(replicas: &mut [Replica], heard: &mut [usize; 3], deltas: &mut Vec<(usize, steadfast_available::exchange::Delta)>, at: usize) {
    for (number, replica) in replicas.iter_mut().enumerate() {
        while let Some(delta) = replica.keys.take_delta() {
            deltas.push((number, delta));
        }
    }
    for (_, delta) in &deltas[heard[at]..] {
        replicas[at].keys.apply(delta).expect("what it depends on came before");
    }
    heard[at] = deltas.len();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_command_leaves_what_its_elements_leave_one_by_one(batches in vec(batch(), 1..30)) {
        let (mut whole, mut singly) = (Replica::new(1), Replica::new(1));
        for batch in &batches {
            whole.say(&batch.whole);
            batch.singly.iter().for_each(|command| _ = singly.say(command));
            prop_assert_eq!(whole.contents(), singly.contents(), "{:?}", batch);
        }
        // One write of one key has one version, or two where a key is there again.
        prop_assert!(whole.keys.last_write() <= singly.keys.last_write());
    }

    #[test]
    fn replicas_that_hear_of_the_same_commands_agree(steps in steps()) {
        let (mut replicas, mut heard, mut deltas) = ([1, 2, 3].map(Replica::new), [0; 3], Vec::new());
        for (at, step) in steps {
            match step {
                Some(batch) => _ = replicas[at].say(&batch.whole),
                None => exchange(&mut replicas, &mut heard, &mut deltas, at),
            }
        }
        for at in [0, 1, 2, 0, 1, 2] {
            exchange(&mut replicas, &mut heard, &mut deltas, at);
        }
        let contents = replicas.iter_mut().map(|replica| (replica.contents(), replica.keys.digest(0, u32::MAX).sum)).collect::<Vec<_>>();
        prop_assert_eq!(&contents[0], &contents[1]);
        prop_assert_eq!(&contents[0], &contents[2]);
        // And one that hears of everything at the end.
        let mut late = Replica::new(4);
        deltas.iter().for_each(|(_, delta)| _ = late.keys.apply(delta));
        prop_assert_eq!(&contents[0], &(late.contents(), late.keys.digest(0, u32::MAX).sum));
    }
}
