//! Snapshots and hashes: between two clusters of Steadfast, and, with real clients, between Steadfast and etcd.
//!
//! The ignored ones need etcd 3.5.1, which `ETCD_3_5` names (its `etcdutl` lies beside it), and etcdctl 3.4 and 3.5, which `ETCDCTL_3_4` and
//! `ETCDCTL_3_5` name: `cargo test -p steadfast --test snapshots -- --ignored`; `.ci/run` installs them.
//!
//! A million keys there and back, not part of CI:
//! `cargo test --release -p steadfast --test snapshots -- --ignored --nocapture million`

mod support;

#[path = "snapshots/data.rs"]
mod data;
#[path = "snapshots/nodes.rs"]
mod nodes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use data::Client;
use nodes::{Nodes, restore};
use support::oracle::{Etcd, etcdutl};
use support::{Cluster, etcdctl, steadfast};

/// One cluster at a time: two that look for free ports at the same moment find the same.
async fn turn() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn run(arguments: &[&str]) -> Output {
    steadfast(arguments).output().expect("the program starts")
}

#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn save(endpoint: &str, directory: &Path) -> PathBuf {
    let file = directory.join("snapshot.db");
    succeeds(&["snapshot", "save", text(&file), "--endpoints", endpoint]);
    file
}

fn save_by_etcdctl(variable: &str, endpoint: &str, file: &Path) {
    let mut command = std::process::Command::new(etcdctl::program(variable));
    let output = command.env("ETCDCTL_API", "3").args(["--endpoints", endpoint, "snapshot", "save", text(file)]).output().expect("it runs");
    assert!(output.status.success(), "{variable}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A snapshot restored with its revisions as they are is the same cluster over again, also on a node that joins later.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_begins_with_a_snapshot_and_others_join_it() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().expect("a scratch directory");
    let cluster = Cluster::alone();
    let mut client = Client::connect(&cluster.nodes[0].etcd).await;
    client.write(1, 40).await;
    let before = client.everything().await;
    let file = save(&cluster.nodes[0].etcd, directory.path());
    let mut nodes = Nodes::restored(1, &file, directory.path(), &["--bump-revision", "0"]);
    nodes.start_all();
    let mut restored = Client::connect(&nodes.etcd(0)).await;
    assert_eq!(restored.everything().await, before);
    restored.write(2, 10).await;
    nodes.join();
    let mut joined = Client::connect(&nodes.etcd(1)).await;
    assert_eq!(joined.everything().await, restored.everything().await);
    // And once more from its own directory.
    nodes.kill(0);
    nodes.start(0);
    assert_eq!(Client::connect(&nodes.etcd(0)).await.everything().await, restored.everything().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_revision_is_raised_above_all_that_were_given() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().expect("a scratch directory");
    let cluster = Cluster::alone();
    let mut client = Client::connect(&cluster.nodes[0].etcd).await;
    client.write(3, 20).await;
    let before = client.keys(0).await.expect("the present");
    let file = save(&cluster.nodes[0].etcd, directory.path());
    let mut nodes = Nodes::restored(1, &file, directory.path(), &[]);
    nodes.start_all();
    let mut restored = Client::connect(&nodes.etcd(0)).await;
    let raised = restored.revision().await;
    assert_eq!(raised, client.revision().await + 1_000_000_000);
    assert_eq!(restored.keys(0).await.expect("the present"), before);
    assert!(restored.keys(raised - 1).await.expect_err("the past").contains("compacted"));
    assert!(restored.put("new").await > raised);
}

/// Nodes that restored different things do not form a cluster; nor does one that is told another list than it was restored for.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_different_states_do_not_mix() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().expect("a scratch directory");
    let cluster = Cluster::alone();
    let mut client = Client::connect(&cluster.nodes[0].etcd).await;
    client.put("first").await;
    let file = save(&cluster.nodes[0].etcd, directory.path());
    let mut nodes = Nodes::planned(2, directory.path());
    assert!(nodes.restore(0, &file, &[]).status.success());
    // The same file with other arguments is another state.
    assert!(nodes.restore(1, &file, &["--bump-revision", "0"]).status.success());
    nodes.start(0);
    nodes.start(1);
    let told = nodes.await_any_end();
    assert!(told.contains("was told otherwise") && told.contains("restored state"), "{told}");

    let elsewhere = nodes.serve_with(0, &["--cluster-token", "another"]);
    assert!(elsewhere.contains("was restored as one of n1="), "{elsewhere}");
}

/// A file that is not whole is refused in words that help, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_snapshots_are_refused_and_leave_nothing() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().expect("a scratch directory");
    let cluster = Cluster::alone();
    Client::connect(&cluster.nodes[0].etcd).await.write(4, 20).await;
    let file = save(&cluster.nodes[0].etcd, directory.path());
    let whole = fs::read(&file).expect("it was saved");
    let pages = whole.len() - 32;
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        bytes
    };
    let cases: [(&str, Vec<u8>, &[&str], &str); 7] = [
        ("cut", whole[..whole.len() - 1].to_vec(), &[], "cut short"),
        ("a page less", whole[..whole.len() - 4096].to_vec(), &[], "is damaged or cut short"),
        ("no seal", whole[..pages].to_vec(), &[], "--skip-hash-check"),
        ("changed", changed(pages / 2), &[], "is damaged or cut short"),
        ("pages missing", whole[..pages - 4096].to_vec(), &["--skip-hash-check"], "cut short"),
        ("metas gone", vec![7; 8192], &["--skip-hash-check"], "not a bbolt file"),
        ("empty", Vec::new(), &["--skip-hash-check"], "no snapshot"),
    ];
    let damaged = directory.path().join("damaged.db");
    let place = directory.path().join("place");
    for (what, bytes, flags, expected) in cases {
        fs::write(&damaged, bytes).expect("written");
        let output = restore(&damaged, &place, "n1", "n1=127.0.0.1:2380", flags);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{what}: {said}");
    }
    let mut left: Vec<_> = fs::read_dir(directory.path()).expect("a list").map(|entry| entry.expect("an entry").file_name()).collect();
    left.sort();
    assert_eq!(left, ["damaged.db", "snapshot.db"], "nothing else is left");
    fs::write(&damaged, &whole[..pages]).expect("written");
    assert!(restore(&damaged, &place, "n1", "n1=127.0.0.1:2380", &["--skip-hash-check"]).status.success(), "pages are enough then");
    let again = restore(&file, &place, "n1", "n1=127.0.0.1:2380", &[]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is not empty"));
    let wrong = restore(&file, &directory.path().join("other"), "n9", "n1=127.0.0.1:2380", &[]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("`n9`, is not listed"), "{}", String::from_utf8_lossy(&wrong.stderr));
}

/// The same requests to both, and the same hashes, after each piece of work and at several revisions.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd: ETCD_3_5"]
async fn hashes_are_etcds() {
    let _turn = turn().await;
    let (etcd, cluster) = (Etcd::start(), Cluster::alone());
    let mut theirs = Client::connect(&etcd.endpoint).await;
    let mut ours = Client::connect(&cluster.nodes[0].etcd).await;
    let mut compared = 0;
    for seed in 0..30 {
        theirs.write(seed, 12).await;
        ours.write(seed, 12).await;
        let (revision, compact) = (theirs.revision().await, theirs.compact);
        assert_eq!(ours.revision().await, revision);
        let middle = (revision + compact.max(1)) / 2;
        for at in [0, -1, 1, 2, compact - 1, compact, compact + 1, middle, revision - 1, revision, revision + 1] {
            assert_eq!(
                ours.hash_kv(at).await,
                theirs.hash_kv(at).await,
                "round {seed}: revision {at}, compacted {compact}, now {revision}"
            );
            compared += 1;
        }
    }
    // With every key gone.
    for client in [&mut ours, &mut theirs] {
        client.delete_all().await;
    }
    let revision = theirs.revision().await;
    for compact in [revision - 1, revision] {
        for client in [&mut ours, &mut theirs] {
            client.compact(compact).await;
        }
        for at in [0, compact, revision] {
            assert_eq!(ours.hash_kv(at).await, theirs.hash_kv(at).await, "all deleted, revision {at}, compacted {compact}");
        }
    }
    println!("{compared} hashes and errors compared");
}

/// From etcd to three nodes of Steadfast, and from there to etcd: nothing is lost or changed on the way.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and etcdctl: ETCD_3_5, ETCDCTL_3_4, ETCDCTL_3_5"]
async fn from_etcd_to_steadfast_and_back() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().expect("a scratch directory");
    let etcd = Etcd::start();
    let mut client = Client::connect(&etcd.endpoint).await;
    for seed in 0..20 {
        client.write(seed, 12).await;
    }
    let before = client.everything().await;
    let from_etcd = directory.path().join("etcd.db");
    save_by_etcdctl("ETCDCTL_3_5", &etcd.endpoint, &from_etcd);
    let mut nodes = Nodes::restored(3, &from_etcd, directory.path(), &["--bump-revision", "0"]);
    nodes.start_all();
    for node in 0..3 {
        assert_eq!(Client::connect(&nodes.etcd(node)).await.everything_once_at(before.revision).await, before, "node {node}");
    }
    let clusters: Vec<u64> = cluster_ids(&nodes).await;
    assert!(clusters.windows(2).all(|pair| pair[0] == pair[1]), "one cluster");

    for (name, variable) in [("3.4", Some("ETCDCTL_3_4")), ("3.5", Some("ETCDCTL_3_5")), ("own", None)] {
        let file = directory.path().join(format!("{name}.db"));
        match variable {
            Some(variable) => save_by_etcdctl(variable, &nodes.etcd(1), &file),
            None => fs::rename(save(&nodes.etcd(1), directory.path()), &file).expect("renamed"),
        }
        let status = etcdutl(&["snapshot", "status", text(&file), "-w", "json"]);
        assert!(status.status.success(), "{name}: {}", String::from_utf8_lossy(&status.stderr));
        let theirs: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
        let ours: serde_json::Value = serde_json::from_str(&succeeds(&["snapshot", "status", text(&file), "--json"])).expect("JSON");
        let hash = u32::from_str_radix(ours["hash"].as_str().expect("text"), 16).expect("hexadecimal");
        assert_eq!(theirs["hash"], hash);
        for (their_name, our_name) in [("revision", "revision"), ("totalKey", "total_keys"), ("totalSize", "total_bytes")] {
            assert_eq!(theirs[their_name], ours[our_name], "{name}: {our_name}");
        }
        println!("{}", String::from_utf8_lossy(&etcdutl(&["snapshot", "status", text(&file), "-w", "table"]).stdout));
        let back = Etcd::restored(&file);
        assert_eq!(Client::connect(&back.endpoint).await.everything().await, before, "{name}");
    }
}

/// What etcdctl 3.5 says, and whether it went well.
fn etcdctl_says(endpoint: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(etcdctl::program("ETCDCTL_3_5"));
    let output = command.env("ETCDCTL_API", "3").args(["--endpoints", endpoint]).args(arguments).output().expect("it runs");
    // What it logs are JSON objects.
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said.lines().filter(|line| !line.starts_with('{')).map(|line| format!("{line}\n")).collect())
}

/// Users, their passwords, roles and whether they count go from etcd to Steadfast and back; or are left out on purpose.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and etcdctl: ETCD_3_5, ETCDCTL_3_5"]
async fn users_and_roles_go_both_ways() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().expect("a scratch directory");
    let etcd = Etcd::start();
    for command in [
        "user add root:secret",
        "user add reader:pass",
        "user add nobody --no-password",
        "role add some",
        "role grant-permission some read k --prefix=true",
        "role grant-permission some readwrite k2",
        "user grant-role reader some",
        "user grant-role root root",
        "put k1 v1",
        "put other v2",
        "auth enable",
    ] {
        let (done, said) = etcdctl_says(&etcd.endpoint, &command.split(' ').collect::<Vec<_>>());
        assert!(done, "{command}: {said}");
    }
    let rules = |endpoint: &str| {
        let reader = ["--user", "reader:pass"];
        [
            etcdctl_says(endpoint, &["get", "k1"]),
            etcdctl_says(endpoint, &[&reader[..], &["get", "k1"]].concat()),
            etcdctl_says(endpoint, &[&reader[..], &["put", "k2", "v"]].concat()),
            etcdctl_says(endpoint, &[&reader[..], &["put", "k1", "v"]].concat()),
            etcdctl_says(endpoint, &[&reader[..], &["get", "other"]].concat()),
            etcdctl_says(endpoint, &["--user", "reader:wrong", "get", "k1"]),
            etcdctl_says(endpoint, &["--user", "root:secret", "role", "get", "some"]),
            etcdctl_says(endpoint, &["--user", "root:secret", "user", "list"]),
        ]
    };
    let expected = rules(&etcd.endpoint);
    assert_eq!(expected.each_ref().map(|(done, _)| *done), [false, true, true, false, false, false, true, true], "{expected:?}");

    let from_etcd = directory.path().join("etcd.db");
    let (done, said) = etcdctl_says(&etcd.endpoint, &["--user", "root:secret", "snapshot", "save", text(&from_etcd)]);
    assert!(done, "{said}");
    let mut nodes = Nodes::restored(1, &from_etcd, directory.path(), &["--bump-revision", "0"]);
    nodes.start_all();
    assert_eq!(rules(&nodes.etcd(0)), expected);
    let back = directory.path().join("back.db");
    succeeds(&["snapshot", "save", text(&back), "--endpoints", &nodes.etcd(0), "--user", "root:secret"]);
    assert_eq!(rules(&Etcd::restored(&back).endpoint), expected);

    let open = tempfile::tempdir().expect("a scratch directory");
    let mut nodes = Nodes::restored(1, &back, open.path(), &["--without-users"]);
    nodes.start_all();
    assert_eq!(etcdctl_says(&nodes.etcd(0), &["get", "other"]), (true, "other\nv2\n".to_owned()));
}

async fn cluster_ids(nodes: &Nodes) -> Vec<u64> {
    let mut ids = Vec::new();
    for node in 0..nodes.len() {
        ids.push(Client::connect(&nodes.etcd(node)).await.cluster_id().await);
    }
    ids
}

/// While clients write, a snapshot is of one revision: counters that are always written together are equal in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_under_load_is_of_one_revision() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().expect("a scratch directory");
    let cluster = Cluster::alone();
    let endpoint = cluster.nodes[0].etcd.clone();
    let writer = tokio::spawn({
        let endpoint = endpoint.clone();
        async move {
            let mut client = Client::connect(&endpoint).await;
            for round in 0.. {
                client.put_pair(round).await;
                if round % 50 == 49 {
                    let revision = client.revision().await;
                    client.compact(revision - 5).await;
                }
            }
        }
    });
    let mut watch = Client::connect(&endpoint).await;
    while watch.revision().await < 500 {}
    let files: Vec<PathBuf> = (0..5)
        .map(|number| {
            let file = directory.path().join(format!("{number}.db"));
            fs::rename(save(&endpoint, directory.path()), &file).expect("renamed");
            file
        })
        .collect();
    writer.abort();
    for (number, file) in files.iter().enumerate() {
        let home = directory.path().join(format!("home{number}"));
        fs::create_dir(&home).expect("made");
        let mut nodes = Nodes::restored(1, file, &home, &["--bump-revision", "0"]);
        nodes.start_all();
        let keys = Client::connect(&nodes.etcd(0)).await.keys(0).await.expect("the present");
        let [first, second] = &keys[..] else { panic!("two keys: {keys:?}") };
        assert_eq!((&first.value, first.mod_revision), (&second.value, second.mod_revision), "snapshot {number}");
    }
}

#[expect(clippy::disallowed_methods, reason = "figures for people, on which nothing depends")]
fn stopwatch() -> Box<dyn Fn() -> f64> {
    let begin = std::time::Instant::now();
    Box::new(move || begin.elapsed().as_secs_f64())
}

/// A million keys from etcd to Steadfast and back, with equal hashes; prints times and memory.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and needs etcd and etcdctl: ETCD_3_5, ETCDCTL_3_5"]
async fn a_million_keys_there_and_back() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().expect("a scratch directory");
    let etcd = Etcd::start();
    let mut client = Client::connect(&etcd.endpoint).await;
    let keys = std::env::var("KEYS").map_or(1_000_000, |keys| keys.parse().expect("a number"));
    client.fill(keys).await;
    let revision = client.revision().await;
    let hash = client.hash_kv(0).await.expect("a hash");
    let took = |what: &str, stopwatch: Box<dyn Fn() -> f64>| println!("{what}: {:.1} s", stopwatch());
    let there = directory.path().join("there.db");
    save_by_etcdctl("ETCDCTL_3_5", &etcd.endpoint, &there);
    drop(etcd);
    println!("{keys} keys, {} bytes", fs::metadata(&there).expect("it was saved").len());

    let begin = stopwatch();
    let mut nodes = Nodes::planned(1, directory.path());
    let peak = nodes.restore_measured(0, &there, &["--bump-revision", "0"]);
    took("steadfast snapshot restore", begin);
    println!("  most memory: {} MiB", peak >> 20);
    nodes.start_all();
    let mut restored = Client::connect(&nodes.etcd(0)).await;
    assert_eq!(restored.revision().await, revision);
    let begin = stopwatch();
    assert_eq!(restored.hash_kv(0).await.expect("a hash"), hash);
    took("HashKV, equal", begin);
    println!("  most memory of the node: {} MiB", nodes.peak_memory_bytes(0) >> 20);
    let begin = stopwatch();
    let back = save(&nodes.etcd(0), directory.path());
    took("steadfast snapshot save", begin);
    println!("  {} bytes; most memory of the node: {} MiB", fs::metadata(&back).expect("saved").len(), nodes.peak_memory_bytes(0) >> 20);
    let begin = stopwatch();
    let etcd = Etcd::restored(&back);
    took("etcdutl snapshot restore, and etcd's start", begin);
    let mut client = Client::connect(&etcd.endpoint).await;
    assert_eq!((client.revision().await, client.hash_kv(0).await.expect("a hash")), (revision, hash));
}
