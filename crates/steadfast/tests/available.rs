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

#[test]
#[ignore = "starts a cluster of processes, cuts it in two and kills it; takes half a minute"]
fn strong_keys_are_agreed_on_by_a_majority() {
    let mut cluster = Cluster::start_with(3, WITH_FAULTS);
    await_replicas(&cluster);
    let strong = |words: &[&str]| {
        let output = steadfast(&["strong"]).args(words).args(["--endpoints", &cluster.nodes[0].etcd]).output().expect("it runs");
        (output.status.code(), String::from_utf8(if output.status.success() { output.stdout } else { output.stderr }).expect("text"))
    };
    assert_eq!(ask(&cluster.nodes[1].redis, "SET mine:1 x"), Answer::Text("OK".to_owned()));
    let (code, text) = strong(&["add", "mine:"]);
    assert!(code == Some(1) && text.contains("has 1 keys under \"mine:\""), "{text}");
    eventually("the prefix being open again", || {
        (ask(&cluster.nodes[1].redis, "SET mine:1 y") == Answer::Text("OK".to_owned())).then_some(())
    });
    assert_eq!(strong(&["add", "s:"]).0, Some(0));
    let (_, text) = strong(&["list"]);
    assert!(text.contains("s:      strong") && text.contains("held by n1, n2, n3 (epoch 1)"), "{text}");

    // One lock, three who want it; and one counter of all.
    let (each, nodes) = (100, cluster.nodes.iter().map(|node| node.redis.clone()).collect::<Vec<_>>());
    let clients = nodes.iter().cloned().map(|address| {
        std::thread::spawn(move || {
            let mut redis = Redis::connect(&address).unwrap();
            let is_mine = redis.ask(&format!("SET s:lock {address} NX")).unwrap() == Answer::Text("OK".to_owned());
            for _ in 0..each {
                let counted = redis.ask("INCR s:counter").unwrap();
                assert!(matches!(counted, Answer::Integer(_)), "{counted:?}");
            }
            is_mine
        })
    });
    let winners = clients.collect::<Vec<_>>().into_iter().map(|client| client.join().unwrap()).filter(|is_mine| *is_mine).count();
    assert_eq!(winners, 1, "the condition is exact");
    for address in &nodes {
        assert_eq!(ask(address, "GET s:counter"), Answer::Text((3 * each).to_string()), "what is read is never old");
    }

    cut_off_the_third(&cluster);
    let mut third = Redis::connect(&nodes[2]).unwrap();
    third.ask("CONSISTENCY SET strong TIMEOUT 300").unwrap();
    // Until the connections are found dead it may be that something is held by nobody knows whom.
    eventually("no quorum at the third", || {
        let answer = third.ask("GET s:counter").unwrap();
        matches!(&answer, Answer::Error(text) if text.starts_with("NOQUORUM")).then_some(())
    });
    assert_eq!(ask(&nodes[0], "INCR s:counter"), Answer::Integer(3 * each + 1), "the majority goes on");
    heal(&cluster);
    eventually("a quorum at the third", || (third.ask("GET s:counter").unwrap() == Answer::Text((3 * each + 1).to_string())).then_some(()));

    // So much that the journal is cut: what is in front of the cut is in rows alone.
    let large = |number: u64| format!("{number}-{}", "x".repeat(200_000));
    let mut first = Redis::connect(&nodes[0]).unwrap();
    for number in 0..400 {
        assert_eq!(first.ask(&format!("SET s:large:{} {}", number % 40, large(number))).unwrap(), Answer::Text("OK".to_owned()));
    }
    let directories: Vec<_> = cluster.nodes.iter().map(|node| node.data_dir.join("available")).collect();
    for directory in &directories {
        eventually("a journal that is cut", || (journal_bytes(directory) < 400 * 200_000).then_some(()));
    }

    cluster.nodes.iter_mut().for_each(support::Node::kill);
    cluster.nodes.iter_mut().for_each(support::Node::start_again);
    for address in &nodes {
        eventually("the counter after a restart", || {
            let answer = Redis::connect(address).ok()?.ask("GET s:counter").ok()?;
            (answer == Answer::Text((3 * each + 1).to_string())).then_some(())
        });
    }
    for number in 360..400 {
        assert_eq!(ask(&nodes[1], &format!("GET s:large:{}", number % 40)), Answer::Text(large(number)));
    }
    assert_eq!(ask(&nodes[2], "DEL s:counter"), Answer::Integer(1));
    assert_eq!(ask(&nodes[0], "GET s:counter"), Answer::Nothing);
}

#[test]
#[ignore = "starts a cluster of processes, cuts it in two and kills it; takes half a minute"]
fn users_are_the_same_on_all_nodes_and_outlast_the_processes() {
    let mut cluster = Cluster::start_with(3, WITH_FAULTS);
    await_replicas(&cluster);
    let nodes: Vec<String> = cluster.nodes.iter().map(|node| node.redis.clone()).collect();
    let ok = || Answer::Text("OK".to_owned());
    let as_user = |address: &str, user: &str| {
        let mut redis = Redis::connect(address).unwrap();
        let answer = redis.ask(&format!("AUTH {user}")).unwrap();
        (redis, answer)
    };
    assert_eq!(ask(&nodes[0], "ACL SETUSER ann on >secret ~* +@all"), ok());
    assert_eq!(as_user(&nodes[0], "ann secret").1, ok(), "it is in force there when it is answered");
    let mut ann = eventually("the user at the third", || Some(as_user(&nodes[2], "ann secret")).filter(|(_, answer)| *answer == ok())).0;
    let refused = ask(&nodes[1], "ACL SETUSER ann +nonsense");
    assert!(matches!(&refused, Answer::Error(text) if text.contains("nonsense")), "{refused:?}");
    assert_eq!(ask(&nodes[1], "ACL DELUSER ann nobody"), Answer::Integer(1));
    eventually("the end of her connection", || ann.ask("PING").is_err().then_some(()));

    // All at once: none is lost.
    let each = 5;
    std::thread::scope(|scope| {
        for (node, address) in nodes.iter().enumerate() {
            scope.spawn(move || {
                for number in 0..each {
                    assert_eq!(
                        ask(address, &format!("ACL SETUSER user-{node}-{number} on >pw{number} ~* +@all")),
                        Answer::Text("OK".to_owned())
                    );
                }
            });
        }
    });
    let Answer::Many(users) = agreed(&cluster, "ACL USERS") else { panic!("a list") };
    assert_eq!(users.len(), 3 * each + 1, "{users:?}");
    let Answer::Many(rules) = agreed(&cluster, "ACL LIST") else { panic!("a list") };
    assert_eq!(rules.len(), users.len());

    // A side without a majority goes on with those that it knows, and says that it can't change them.
    cut_off_the_third(&cluster);
    let unknown = eventually("no quorum at the third", || match ask(&nodes[2], "ACL SETUSER late on") {
        Answer::Error(text) => Some(text),
        _ => None,
    });
    assert!(unknown.starts_with("UNKNOWN"), "{unknown}");
    assert_eq!(as_user(&nodes[2], "user-0-0 pw0").1, ok());
    assert_eq!(ask(&nodes[0], "ACL SETUSER default resetpass >closed"), ok());
    let with_password = |address: &str, command: &str| as_user(address, "default closed").0.ask(command).unwrap();
    heal(&cluster);
    eventually("the third to be closed to strangers", || matches!(ask(&nodes[2], "GET any"), Answer::Error(_)).then_some(()));

    cluster.nodes.iter_mut().for_each(support::Node::kill);
    cluster.nodes.iter_mut().for_each(support::Node::start_again);
    for address in &nodes {
        let mut stranger = eventually("a connection", || Redis::connect(address).ok());
        let refused = stranger.ask("GET any").unwrap();
        assert!(matches!(&refused, Answer::Error(text) if text.starts_with("NOAUTH")), "from the first moment: {refused:?}");
        assert_eq!(as_user(address, "user-2-4 pw4").1, ok());
    }
    eventually("one list of users", || {
        let lists: Vec<Answer> = nodes.iter().map(|address| with_password(address, "ACL LIST")).collect();
        lists.iter().all(|list| *list == lists[0]).then_some(())
    });
}

/// Bytes of the files of a replica's journal.
fn journal_bytes(directory: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file())).filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}
