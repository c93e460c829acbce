//! Users: what they may do, how they come in, and what is said when they may not. Where `REDIS_SERVER` is, Redis is asked the same.

use proptest::prelude::*;
use steadfast_available::Keyspace;
use steadfast_crdt::Actor;
use steadfast_redis_api::acl::users::Users;
use steadfast_redis_api::engine::session::Session;
use steadfast_types::Rng;

mod support;

use support::host::TestHost;
use support::redis::RedisServer;
use support::resp::parse_all;
use support::{run, words};

struct World {
    keys: Keyspace,
    host: TestHost,
}

impl World {
    fn new(users: Users) -> Self {
        let host = TestHost { users, now_us: 1_800_000_000_000_000, address: "10.0.0.1".parse().ok(), ..TestHost::default() };
        World { keys: Keyspace::new(Actor::new(1).expect("a place")), host }
    }

    fn connect(&self) -> Session {
        Session::new(1, self.host.users.trust_strangers())
    }

    fn say(&mut self, session: &mut Session, line: &str) -> String {
        let (out, _) = run(session, &mut self.keys, &mut self.host, &words(line));
        out.escape_ascii().to_string().replace("\\r\\n", " ").replace("\\'", "'").trim_end().to_owned()
    }
}

#[test]
fn users_do_what_they_may() {
    let mut world = World::new(Users::new());
    let mut admin = world.connect();
    let rules = "on >secret ~mine:* %R~theirs:* +@read +set +copy -hget +acl|whoami consistency=session";
    assert_eq!(world.say(&mut admin, &format!("ACL SETUSER bob {rules}")), "+OK");
    world.say(&mut admin, "SET theirs:1 x");
    let mut bob = world.connect();
    assert_eq!(world.say(&mut bob, "AUTH bob wrong"), "-WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(world.say(&mut bob, "AUTH bob secret"), "+OK");
    assert_eq!(world.say(&mut bob, "ACL WHOAMI"), "$3 bob");
    let not_the_key = "-NOPERM this user has no permissions to access one of the keys used as arguments";
    let not_the_command = |name: &str| format!("-NOPERM this user has no permissions to run the '{name}' command");
    for (line, answer) in [
        ("SET mine:1 a", "+OK"),
        ("GET mine:1", "$1 a"),
        ("GET theirs:1", "$1 x"),
        ("SET theirs:1 a", not_the_key),
        ("COPY theirs:1 mine:2", ":1"),
        ("COPY mine:1 theirs:2", not_the_key),
        ("MGET mine:1 other", not_the_key),
        ("EXISTS other", not_the_key),
        ("HGET mine:h f", &not_the_command("hget")),
        ("DEL mine:1", &not_the_command("del")),
        ("CONSISTENCY GET", &not_the_command("consistency|get")),
        ("ACL LIST", &not_the_command("acl|list")),
        ("SET mine:1", "-ERR wrong number of arguments for 'set' command"),
    ] {
        assert_eq!(world.say(&mut bob, line), answer, "{line}");
    }
    assert_eq!(bob.level.what.name(), "session");
    assert_eq!(world.say(&mut admin, "ACL SETUSER bob +del"), "+OK");
    assert_eq!(world.say(&mut bob, "DEL mine:1"), ":1");
    assert_eq!(world.say(&mut admin, "ACL DELUSER bob nosuch"), ":1");
    assert_eq!(world.say(&mut bob, "GET mine:1"), "-NOAUTH Authentication required.");
    assert_eq!(world.say(&mut admin, "ACL DELUSER default"), "-ERR The 'default' user cannot be removed");
}

#[test]
fn rights_that_go_while_commands_are_queued_are_gone_when_they_run() {
    let mut world = World::new(Users::new());
    let (mut admin, mut bob) = (world.connect(), world.connect());
    world.say(&mut admin, "ACL SETUSER bob on nopass ~* +@all");
    for line in ["AUTH bob x", "MULTI", "SET a 1", "GET a"] {
        world.say(&mut bob, line);
    }
    world.say(&mut admin, "ACL SETUSER bob -set");
    let denied = "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer \
                  allowed for the following reason: no permission to execute the command or subcommand";
    assert_eq!(world.say(&mut bob, "EXEC"), format!("*2 {denied} $-1"));
    world.say(&mut bob, "MULTI");
    assert_eq!(world.say(&mut bob, "SET a 1"), "-NOPERM this user has no permissions to run the 'set' command");
    assert_eq!(world.say(&mut bob, "EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
    assert!(world.say(&mut admin, "ACL LOG 2").contains("toplevel"));
    assert!(world.say(&mut admin, "ACL LOG 2").contains("$5 multi"));
}

#[test]
fn passwords_are_not_tried_faster_than_one_a_second() {
    let mut world = World::new(Users::with_password(b"right"));
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
    for attempt in 0..10 {
        // Each over a connection of its own.
        let mut session = world.connect();
        assert_eq!(world.say(&mut session, &format!("AUTH {attempt}")), wrong);
    }
    let mut session = world.connect();
    let wait = "-WRONGPASS too many wrong passwords came from your address: try again in 1 s";
    for _ in 0..100_000 / 100 {
        assert_eq!(world.say(&mut session, "AUTH right"), wait);
        assert_eq!(world.say(&mut session, "HELLO 3 AUTH default right"), wait);
    }
    world.host.address = "10.0.0.2".parse().ok();
    assert_eq!(world.say(&mut session, "AUTH right"), "+OK");
    world.host.address = "10.0.0.1".parse().ok();
    world.host.now_us += 1_000_000;
    let mut other = world.connect();
    assert_eq!(world.say(&mut other, "AUTH right"), "+OK");
    assert_eq!(world.host.users.attempts(), (10, 2_000));
    let log = world.say(&mut other, "ACL LOG");
    assert!(log.starts_with("*1 *14 $5 count :2010 $6 reason $4 auth"), "{log}");
}

#[test]
fn rules_that_are_none_change_nothing() {
    let mut world = World::new(Users::new());
    let mut admin = world.connect();
    for (rule, why) in [
        ("+nosuch", "Unknown command or category name in ACL"),
        ("+@nosuch", "Unknown command or category name in ACL"),
        ("+config|nosuch", "Unknown command or category name in ACL"),
        ("foo", "Syntax error"),
        ("%X~a", "Syntax error"),
        ("#abc", "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"),
        ("<no", "The password you are trying to remove from the user does not exist"),
        ("consistency=some", "There is no such level: consistency=eventual, session, causal or strong"),
    ] {
        let answer = world.say(&mut admin, &format!("ACL SETUSER bob on +get {rule}"));
        assert_eq!(answer, format!("-ERR Error in ACL SETUSER modifier '{rule}': {why}"));
    }
    assert_eq!(world.say(&mut admin, "ACL USERS"), "*1 $7 default");
    assert_eq!(world.say(&mut admin, "ACL SETUSER \"a b\" on"), "-ERR Usernames can't contain spaces or null characters");
}

#[test]
fn passwords_to_be_are_as_long_as_asked_for() {
    let mut world = World::new(Users::new());
    let mut admin = world.connect();
    for (bits, digits) in [(1, 1), (4, 1), (5, 2), (256, 64), (4096, 1024)] {
        let password = world.say(&mut admin, &format!("ACL GENPASS {bits}"));
        assert!(password.starts_with(&format!("${digits} ")), "{password}");
    }
    let refused = "-ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096";
    assert_eq!(world.say(&mut admin, "ACL GENPASS 4097"), refused);
}

const RULES: [&str; 34] = [
    "on",
    "off",
    "nopass",
    "resetpass",
    ">a",
    ">b",
    "<a",
    "~*",
    "~k*",
    "%R~r*",
    "%W~w*",
    "%RW~z?",
    "allkeys",
    "resetkeys",
    "+@all",
    "-@all",
    "+@read",
    "-@read",
    "+@write",
    "-@dangerous",
    "+@string",
    "-@string",
    "+@admin",
    "+get",
    "-get",
    "+set",
    "-config|get",
    "+config",
    "+client|setname",
    "-client",
    "reset",
    "&*",
    "+@pubsub",
    "-subscribe",
];

const COMMANDS: [&str; 16] = [
    "GET k1",
    "GET r1",
    "GET z1",
    "SET k1 1",
    "SET w1 1",
    "SET r1 1",
    "MSET k1 1 w1 2",
    "MGET k1 r1",
    "COPY r1 w1",
    "CONFIG GET x",
    "CONFIG SET x y",
    "CLIENT SETNAME a",
    "FLUSHALL",
    "PING",
    "SET k1 1 GET",
    "EXISTS r1",
];

proptest! {
    #[test]
    fn users_are_made_again_by_their_lines(rules in proptest::collection::vec(proptest::sample::select(&RULES[..]), 0..20)) {
        let (mut users, mut again) = (Users::new(), Users::new());
        for rule in rules {
            // Some are refused where they come; then nothing changes.
            let _ = users.set("bob", [rule.as_bytes()]);
        }
        for line in users.lines() {
            let mut parts = line.split(|&byte| byte == b' ').skip(1);
            let name = String::from_utf8(parts.next().expect("a name").to_vec()).expect("text");
            again.set(&name, std::iter::once(&b"reset"[..]).chain(parts)).expect("rules");
        }
        let answers = |users: &Users| {
            let user = users.get("bob").cloned();
            user.map(|user| (user.flags().into_iter().filter(|flag| !flag.contains("sanitize")).collect::<Vec<_>>(), user.command_rules(), user.key_rules()))
        };
        prop_assert_eq!(answers(&users), answers(&again));
    }
}

#[test]
#[ignore = "needs redis-server: REDIS_SERVER"]
fn rights_are_those_of_redis() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let rounds: u64 = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(300);
    for seed in 1..=rounds {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new(Users::new());
        let mut admin = world.connect();
        redis.call(&words("ACL DELUSER bob"));
        let mut said = Vec::new();
        for _ in 0..rng.u64(1..12) {
            let rule = RULES[rng.u64(0..RULES.len() as u64) as usize];
            let line = format!("ACL SETUSER bob {rule}");
            said.push(rule);
            let ours = run(&mut admin, &mut world.keys, &mut world.host, &words(&line)).0;
            assert_eq!(parse_all(&ours), redis.call(&words(&line)), "seed {seed}: {said:?}");
            for command in COMMANDS {
                let line = words(&format!("ACL DRYRUN bob {command}"));
                let ours = run(&mut admin, &mut world.keys, &mut world.host, &line).0;
                assert_eq!(parse_all(&ours), redis.call(&line), "seed {seed}: {said:?}: {command}");
            }
        }
    }
    for line in ["ACL CAT", "ACL CAT nosuch", "ACL GETUSER nosuch", "ACL DRYRUN nosuch GET a", "ACL DRYRUN default nosuch"] {
        let mut world = World::new(Users::new());
        let mut admin = world.connect();
        let ours = run(&mut admin, &mut world.keys, &mut world.host, &words(line)).0;
        assert_eq!(parse_all(&ours), redis.call(&words(line)), "{line}");
    }
}
