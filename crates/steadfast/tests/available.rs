//! Available state on real processes: every node takes writes, cut off or not, and afterwards all agree and nothing that was acknowledged is missing.
//!
//! These tests start many processes; `.ci/run` runs them: `cargo test -p steadfast --test available -- --ignored --test-threads=2`.
//! With `PARTITION_SECONDS=180` the partition lasts minutes.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::redis::{Answer, Redis};
use support::{Cluster, Environment, copy_all, eventually, http, steadfast};

/// Nodes that let themselves be cut off.
const WITH_FAULTS: Environment = &[("STEADFAST_FAULTS", "true")];

/// A client that counts, and puts what it counted into a set.
struct Writer {
    acknowledged: Arc<AtomicU64>,
    /// Increments whose answers were lost.
    unknown: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(address: &str, name: &str) -> Self {
        let (acknowledged, unknown, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, lost, stopped) = (acknowledged.clone(), unknown.clone(), stop.clone());
        let (address, name) = (address.to_owned(), name.to_owned());
        let thread = std::thread::spawn(move || {
            let mut connection = None;
            while !stopped.load(Ordering::Relaxed) {
                let Some(redis) = &mut connection else {
                    connection = Redis::connect(&address).ok();
                    if connection.is_none() {
                        std::thread::park_timeout(Duration::from_millis(20));
                    }
                    continue;
                };
                match redis.ask("INCR counted") {
                    Ok(Answer::Integer(_)) => {
                        let count = counted.fetch_add(1, Ordering::Relaxed);
                        // Its loss shows in the set; the counter alone is to be exact.
                        if redis.ask(&format!("SADD members {name}-{count}")).is_err() {
                            connection = None;
                        }
                    }
                    Ok(other) => panic!("INCR was answered {other:?}"),
                    Err(_) => {
                        lost.fetch_add(1, Ordering::Relaxed);
                        connection = None;
                    }
                }
            }
        });
        Writer { acknowledged, unknown, stop, thread }
    }

    fn await_progress(&self, more: u64) {
        let from = self.acknowledged.load(Ordering::Relaxed);
        eventually("progress", || (self.acknowledged.load(Ordering::Relaxed) >= from + more).then_some(()));
    }

    fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic");
        (self.acknowledged.load(Ordering::Relaxed), self.unknown.load(Ordering::Relaxed))
    }
}

fn ask(address: &str, command: &str) -> Answer {
    Redis::connect(address).and_then(|mut redis| redis.ask(command)).unwrap_or_else(|error| panic!("{command} at {address}: {error}"))
}

/// Waits until all nodes give the same answer, and returns it.
fn agreed(cluster: &Cluster, command: &str) -> Answer {
    eventually(&format!("one answer to {command}"), || {
        let answers: Vec<Answer> = cluster.nodes.iter().map(|node| ask(&node.redis, command)).collect();
        answers.iter().all(|answer| *answer == answers[0]).then(|| answers[0].clone())
    })
}

fn number(answer: &Answer) -> u64 {
    match answer {
        Answer::Text(text) => text.parse().expect("a number"),
        Answer::Integer(number) => u64::try_from(*number).expect("a count"),
        other => panic!("{other:?} is no number"),
    }
}

/// Cuts the third of three nodes off the others.
fn cut_off_the_third(cluster: &Cluster) {
    let names = |from: usize| cluster.nodes[from].name.clone();
    let (first, second, third) = (names(0), names(1), names(2));
    let others = format!(r#"{{"drop_from":["{first}","{second}"],"drop_to":["{first}","{second}"]}}"#);
    let alone = format!(r#"{{"drop_from":["{third}"],"drop_to":["{third}"]}}"#);
    for (node, table) in cluster.nodes.iter().zip([&alone, &alone, &others]) {
        let (head, text) = http::ask(&node.admin, "PUT", "/faults", &[], table, None);
        assert_eq!(head.status, 200, "{text}");
    }
}

fn heal(cluster: &Cluster) {
    for node in &cluster.nodes {
        let (head, text) = http::ask(&node.admin, "DELETE", "/faults", &[], "", None);
        assert_eq!(head.status, 200, "{text}");
    }
}

/// Waits until all replicas know each other.
fn await_replicas(cluster: &Cluster) {
    for node in &cluster.nodes {
        eventually("all replicas", || {
            let mut redis = Redis::connect(&node.redis).ok()?;
            redis.ask(&format!("SET ready {}", node.name)).ok()?;
            (redis.ask("WAIT 2 100").ok()? == Answer::Integer(2)).then_some(())
        });
    }
}

#[test]
#[ignore = "starts a cluster of processes and cuts it in two; takes half a minute"]
#[expect(clippy::disallowed_methods, reason = "how long it takes is told, not judged")]
fn both_sides_of_a_partition_take_writes_and_none_is_lost() {
    let cluster = Cluster::start_with(3, WITH_FAULTS);
    await_replicas(&cluster);
    let writers: Vec<Writer> = cluster.nodes.iter().map(|node| Writer::start(&node.redis, &node.name)).collect();
    writers.iter().for_each(|writer| writer.await_progress(100));
    cut_off_the_third(&cluster);
    // Until the connections are found dead: from then on nothing crosses.
    eventually("the partition", || {
        let mut redis = Redis::connect(&cluster.nodes[2].redis).ok()?;
        redis.ask("INCR probe").ok()?;
        (redis.ask("WAIT 1 100").ok()? == Answer::Integer(0)).then_some(())
    });
    let seconds = std::env::var("PARTITION_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    std::thread::park_timeout(Duration::from_secs(seconds));
    writers.iter().for_each(|writer| writer.await_progress(2000));
    let written: Vec<(u64, u64)> = writers.into_iter().map(Writer::stop).collect();
    heal(&cluster);
    let healed = Instant::now();
    let total: u64 = written.iter().map(|(acknowledged, _)| acknowledged).sum();
    assert_eq!(written.iter().map(|(_, unknown)| unknown).sum::<u64>(), 0, "no client lost its connection");
    assert_eq!(agreed(&cluster, "GET counted"), Answer::Text(total.to_string()), "of {written:?}");
    assert_eq!(number(&agreed(&cluster, "SCARD members")), total);
    println!("{written:?} written on three nodes; all agreed {:.2} s after the end of the partition", healed.elapsed().as_secs_f64());
}

#[test]
#[ignore = "starts a cluster of processes and kills them; takes half a minute"]
fn killed_replicas_come_back_with_all_that_was_acknowledged() {
    let mut cluster = Cluster::start(3);
    await_replicas(&cluster);
    let writers: Vec<Writer> = cluster.nodes.iter().map(|node| Writer::start(&node.redis, &node.name)).collect();
    for round in 0..3 {
        writers.iter().for_each(|writer| writer.await_progress(300));
        cluster.nodes[round].kill();
        writers.iter().enumerate().filter(|(at, _)| *at != round).for_each(|(_, writer)| writer.await_progress(300));
        cluster.nodes[round].start_again();
    }
    writers.iter().for_each(|writer| writer.await_progress(300));
    let written: Vec<(u64, u64)> = writers.into_iter().map(Writer::stop).collect();
    let (acknowledged, unknown) = written.iter().fold((0, 0), |(a, u), (acknowledged, lost)| (a + acknowledged, u + lost));
    let counted = number(&agreed(&cluster, "GET counted"));
    assert!(counted >= acknowledged, "{acknowledged} increments were acknowledged, {counted} are there");
    assert!(counted <= acknowledged + unknown, "{acknowledged} acknowledged and {unknown} unknown, but {counted} are there");
    println!("{written:?} written (acknowledged, unknown); {counted} are there");
}

#[test]
#[ignore = "starts a cluster of processes and cuts it in two; takes some seconds"]
fn levels_hold_across_nodes_and_say_so_when_they_cannot() {
    let cluster = Cluster::start_with(3, WITH_FAULTS);
    await_replicas(&cluster);
    cut_off_the_third(&cluster);
    let (first, third) = (&cluster.nodes[0].redis, &cluster.nodes[2].redis);
    let mut writer = Redis::connect(first).unwrap();
    assert_eq!(writer.ask("SET mine new").unwrap(), Answer::Text("OK".to_owned()));
    assert_eq!(writer.ask("WAIT 2 300").unwrap(), Answer::Integer(1), "one of two others can be reached");
    let Answer::Text(token) = writer.ask("SESSION TOKEN").unwrap() else { panic!("a token") };
    let mut reader = Redis::connect(third).unwrap();
    assert_eq!(reader.ask("GET mine").unwrap(), Answer::Nothing, "eventual: what is there");
    assert_eq!(reader.ask(&format!("SESSION WAIT {token} 100")).unwrap(), Answer::Integer(0));
    let read = format!("CONSISTENCY WITH session TOKEN {token} GET mine");
    let refused = reader.ask(&read).unwrap();
    assert!(matches!(&refused, Answer::Error(_)), "nothing older than the token: {refused:?}");
    assert!(matches!(writer.ask("REPLICATION SET semi-sync 2 TIMEOUT 300").unwrap(), Answer::Text(_)));
    let late = writer.ask("SET mine newer").unwrap();
    assert!(matches!(&late, Answer::Error(text) if text.contains('1') && text.contains('2')), "{late:?} says how many hold it");
    assert_eq!(writer.ask("GET mine").unwrap(), Answer::Text("newer".to_owned()), "it was written all the same");
    heal(&cluster);
    let seen = eventually("the token at the third", || match reader.ask(&read).unwrap() {
        Answer::Error(_) => None,
        answer => Some(answer),
    });
    assert!(seen == Answer::Text("new".to_owned()) || seen == Answer::Text("newer".to_owned()), "{seen:?}");
    eventually("acknowledgements of two", || (writer.ask("SET mine newest").unwrap() == Answer::Text("OK".to_owned())).then_some(()));
    assert_eq!(reader.ask("GET mine").unwrap(), Answer::Text("newest".to_owned()), "both others hold it when it is acknowledged");
}

#[test]
#[ignore = "starts a cluster of processes and restores an old copy of a directory; takes some seconds"]
fn a_directory_that_is_an_old_copy_is_set_aside() {
    let mut cluster = Cluster::start(3);
    await_replicas(&cluster);
    let actor = |cluster: &Cluster| {
        std::net::TcpStream::connect(&cluster.nodes[2].admin).ok()?;
        let (_, text) = http::ask(&cluster.nodes[2].admin, "GET", "/status", &[], "", None);
        let status: serde_json::Value = serde_json::from_str(&text).ok()?;
        status["available"]["actor"].as_u64()
    };
    cluster.nodes[2].kill();
    let (directory, copy) = (cluster.nodes[2].data_dir.join("available"), cluster.path().join("copy"));
    copy_all(&directory, &copy);
    cluster.nodes[2].start_again();
    let before = eventually("an actor", || actor(&cluster));
    let mut redis = Redis::connect(&cluster.nodes[2].redis).unwrap();
    for count in 1..=10 {
        assert_eq!(redis.ask("INCR counted").unwrap(), Answer::Integer(count));
    }
    eventually("all hold it", || (redis.ask("WAIT 2 100").unwrap() == Answer::Integer(2)).then_some(()));
    cluster.nodes[2].kill();
    std::fs::remove_dir_all(&directory).unwrap();
    copy_all(&copy, &directory);
    cluster.nodes[2].start_again();
    eventually("another actor", || actor(&cluster).filter(|now| *now != before));
    assert_eq!(agreed(&cluster, "GET counted"), Answer::Text("10".to_owned()), "what it had forgotten came from the others");
    assert!(directory.with_extension("fenced-1").join("replica.json").exists(), "the copy is kept for people");
    assert_eq!(ask(&cluster.nodes[2].redis, "INCR counted"), Answer::Integer(11));
    assert_eq!(agreed(&cluster, "GET counted"), Answer::Text("11".to_owned()));
}

#[test]
#[ignore = "starts a cluster of processes; takes some seconds"]
fn the_command_line_reaches_every_replica_and_shows_how_they_are() {
    let cluster = Cluster::start(3);
    await_replicas(&cluster);
    let endpoints = &cluster.nodes[1].etcd;
    let redis = |words: &[&str]| {
        let output = steadfast(&["redis", "--endpoints", endpoints]).args(words).output().expect("it runs");
        let (good, bad) = (String::from_utf8(output.stdout).expect("text"), String::from_utf8(output.stderr).expect("text"));
        (output.status.code(), good.trim_end().to_owned(), bad.trim_end().to_owned())
    };
    assert_eq!(redis(&["RPUSH", "list", "a", "-b"]), (Some(0), "2".to_owned(), String::new()));
    let third = &cluster.nodes[2];
    eventually("the list at the third", || {
        let (_, text, _) = redis(&["--node", &third.name, "LRANGE", "list", "0", "-1"]);
        (text == "1) a\n2) -b").then_some(())
    });
    assert_eq!(redis(&["--json", "LRANGE", "list", "0", "-1"]).1, r#"["a","-b"]"#);
    assert_eq!(redis(&["GET", "nothing"]).1, "(nothing)");
    let (code, _, text) = redis(&["INCR", "list"]);
    assert!(code == Some(1) && text.contains("WRONGTYPE Operation against a key"), "{text}");
    let (code, _, text) = redis(&["--node", "n9", "PING"]);
    assert!(code == Some(2) && text.contains(&third.name), "it names those that there are: {text}");
    let (code, text, _) = redis(&["--level", "session", "GET", "nothing"]);
    assert_eq!((code, text.as_str()), (Some(0), "(nothing)"));
    eventually("all replicas in the status", || {
        let output = steadfast(&["status", "--json", "--endpoints", endpoints]).output().expect("it runs");
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let nodes = status["nodes"].as_array().expect("nodes");
        let is_whole = |node: &serde_json::Value| {
            node["available"]["peers"].as_array().is_some_and(|peers| peers.len() == 2) && node["available"]["keys"].as_u64() >= Some(2)
        };
        nodes.iter().all(is_whole).then_some(())
    });
    let output = steadfast(&["status", "--endpoints", endpoints]).output().expect("it runs");
    println!("{}", String::from_utf8(output.stdout).expect("text"));
}
