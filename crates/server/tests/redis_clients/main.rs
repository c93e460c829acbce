//! Clients that others wrote, against one replica in this process: redis-py, whose Python is in `PYTHON_REDIS`; Redis's own `redis-cli` and
//! `redis-benchmark`, which lie beside the program in `REDIS_SERVER`; and redis-rs. Those are left out of the ordinary tests that need
//! programs.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use redis::{Commands, RedisError, RedisResult};
use steadfast_crdt::Actor;
use steadfast_server::available::{Durability, Running, Settings, start};
use steadfast_server::redis::Limits;
use tempfile::TempDir;

struct Replica {
    running: Option<Running>,
    _directory: TempDir,
}

impl Replica {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (actor, durability) = (Actor::new(1).unwrap(), Durability::Never);
        let running = start(Settings {
            directory: directory.path().join("keys"),
            listener,
            durability,
            actor,
            limits: Limits::default(),
            tls: None,
            peers: None,
            strong: None,
            users: None,
            memory_bytes: usize::MAX,
        });
        Replica { running: Some(running.unwrap()), _directory: directory }
    }

    fn port(&self) -> u16 {
        self.running.as_ref().unwrap().address().port()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().unwrap();
        }
    }
}

/// What a program says that has to end well.
fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{errors}", output.status);
    out.into_owned()
}

fn named(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} names the program")).into()
}

#[test]
#[ignore = "needs Python with redis-py: PYTHON_REDIS"]
fn redis_py() {
    let replica = Replica::start();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/redis_clients/python.py");
    let found = said(Command::new(named("PYTHON_REDIS")).arg(script).arg(replica.port().to_string()));
    assert_eq!(found.lines().filter(|line| *line == "acl deluser").count(), 2, "both protocols: {found}");
}

#[test]
#[ignore = "needs redis-cli beside redis-server: REDIS_SERVER"]
fn redis_cli() {
    let replica = Replica::start();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(named("REDIS_SERVER").with_file_name("redis-cli"));
        said(command.args(["-e", "-p", &replica.port().to_string()]).args(arguments))
    };
    assert_eq!(run(&["set", "a", "b c"]), "OK\n");
    assert_eq!(run(&["-3", "--json", "hset", "h", "f", "1"]), "1\n");
    assert_eq!(run(&["-3", "--json", "hgetall", "h"]), "{\"f\":\"1\"}\n");
    assert_eq!(run(&["--scan", "--pattern", "a*"]), "a\n");
    assert!(run(&["--bigkeys"]).contains("Biggest   hash found"));
    assert!(run(&["info", "server"]).contains("redis_version:7.0.15"));
    assert!(run(&["command", "docs", "get"]).contains("summary"));
    assert_eq!(run(&["acl", "whoami"]), "default\n");
    assert_eq!(run(&["consistency", "get"]), "eventual\n");
}

#[test]
#[ignore = "needs redis-benchmark beside redis-server: REDIS_SERVER"]
fn redis_benchmark() {
    let replica = Replica::start();
    let mut command = Command::new(named("REDIS_SERVER").with_file_name("redis-benchmark"));
    let tests = "ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset";
    let arguments = ["-n", "5000", "-c", "20", "-P", "8", "-r", "1000", "--csv", "-t", tests, "-p"];
    let found = said(command.args(arguments).arg(replica.port().to_string()));
    // A line for each kind, ping in two forms and ranges with what fills their list, after one of headings.
    assert_eq!(found.lines().filter(|line| line.starts_with('"')).count(), 18, "{found}");
}

fn client(replica: &Replica, protocol: &str) -> RedisResult<redis::Connection> {
    redis::Client::open(format!("redis://127.0.0.1:{}/?protocol={protocol}", replica.port()))?.get_connection()
}

#[test]
fn redis_rs() {
    let replica = Replica::start();
    for protocol in ["resp2", "resp3"] {
        let use_it = || {
            let mut client = client(&replica, protocol)?;
            let _: () = redis::cmd("FLUSHALL").query(&mut client)?;
            let _: () = client.set("a", 41)?;
            assert_eq!(client.incr::<_, _, i64>("a", 1)?, 42);
            assert_eq!(client.get::<_, Option<String>>("none")?, None);
            assert_eq!(client.hset_multiple::<_, _, _, ()>("h", &[("f", 1), ("g", 2)]), Ok(()));
            let mut fields: Vec<(String, i64)> = client.hgetall("h")?;
            fields.sort();
            assert_eq!(fields, [("f".to_owned(), 1), ("g".to_owned(), 2)]);
            assert_eq!(client.sadd::<_, _, i64>("s", &["a", "b", "a"])?, 2);
            let _: () = client.zadd_multiple("z", &[(1.5, "a"), (0.5, "b")])?;
            assert_eq!(client.zrange_withscores::<_, Vec<(String, f64)>>("z", 0, -1)?, [("b".to_owned(), 0.5), ("a".to_owned(), 1.5)]);
            assert_eq!(client.rpush::<_, _, i64>("l", &[1, 2, 3])?, 3);
            assert_eq!(client.lrange::<_, Vec<i64>>("l", 0, -1)?, [1, 2, 3]);
            let mut keys: Vec<String> = client.scan()?.collect::<Result<_, _>>()?;
            keys.sort();
            assert_eq!(keys, ["a", "h", "l", "s", "z"]);
            let answers: (i64, Vec<String>) = redis::pipe().atomic().incr("a", 1).smembers("s").query(&mut client)?;
            assert_eq!((answers.0, answers.1.len()), (43, 2));
            let refused: RedisResult<i64> = client.llen("a");
            assert_eq!(refused.unwrap_err().code(), Some("WRONGTYPE"));
            let token: String = redis::cmd("SESSION").arg("TOKEN").query(&mut client)?;
            let value: i64 = redis::cmd("CONSISTENCY").arg(&["WITH", "causal", "TOKEN", &token, "GET", "a"]).query(&mut client)?;
            assert_eq!(value, 43);
            Ok::<(), RedisError>(())
        };
        use_it().unwrap();
    }
}
