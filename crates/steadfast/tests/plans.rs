//! What fails for good is brought back or taken out by a recovery plan: a voter is replaced without a hand and nothing acknowledged is lost, a service
//! is started anew where it runs, an agent goes.
//!
//! These tests start many processes: `cargo test -p steadfast --test plans -- --ignored --test-threads=1`.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::agents::Agent;
use support::load::Load;
use support::{Cluster, Environment, eventually, steadfast};

const WRITERS: usize = 12;
const VALUE_BYTES: usize = 128;

/// Soon enough for a test, and longer than anything here but a dead node is silent.
const SOON: Environment = &[("STEADFAST_RECOVER_VOTERS_AFTER", "2s")];
const SOON_IF_AGREED: Environment = &[("STEADFAST_RECOVER_VOTERS_AFTER", "2s"), ("STEADFAST_RECOVERY_APPROVAL", "manual")];

const SERVICES_AND_AGENTS: Environment = &[
    ("STEADFAST_RECOVER_SERVICES_AFTER", "1s"),
    ("STEADFAST_RECOVER_AGENTS_AFTER", "2s"),
    ("STEADFAST_RECOVERY_APPROVAL", "agents=manual"),
    ("STEADFAST_ENABLE_SCRIPT_CHECKS", "true"),
];

/// What `steadfast recovery` says to these words.
fn recovery(cluster: &Cluster, words: &[&str]) -> (bool, String) {
    say(cluster, &[&["recovery"], words].concat())
}

/// What the program says to these words.
fn say(cluster: &Cluster, words: &[&str]) -> (bool, String) {
    let (endpoints, end) = (cluster.endpoints().join(","), words.iter().position(|word| *word == "--").unwrap_or(words.len()));
    let arguments = [&words[..end], &["--endpoints", &endpoints], &words[end..]].concat();
    let output = steadfast(&arguments).output().expect("it runs");
    (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// The keys under a prefix.
fn keys(cluster: &Cluster, prefix: &str) -> Vec<String> {
    let (_, text) = say(cluster, &["kv", "get", "--prefix", prefix, "--keys-only"]);
    text.lines().map(str::to_owned).filter(|line| line.starts_with(prefix)).collect()
}

fn plans(cluster: &Cluster) -> Vec<Value> {
    let (_, text) = recovery(cluster, &["list", "--json"]);
    let shown: Value = serde_json::from_str(&text).unwrap_or_default();
    shown["plans"].as_array().cloned().unwrap_or_default()
}

/// Waits for a plan in this state.
fn await_plan(cluster: &Cluster, state: &str) -> Value {
    eventually(&format!("a plan that is {state}"), || plans(cluster).into_iter().find(|plan| plan["state"] == state))
}

/// All steps done, in order; and the same for people.
fn assert_carried_out(cluster: &Cluster, plan: &Value, dead: &str, replacement: &str) {
    let steps = plan["steps"].as_array().expect("a list");
    let names: Vec<&str> = steps.iter().filter_map(|step| step["name"].as_str()).collect();
    assert_eq!(names, ["identify", "fence", "stop", "checkpoint", "prepare", "catch up", "replace", "verify"]);
    assert!(steps.iter().all(|step| step["state"] == "done"), "{plan}");
    assert_eq!(plan["kind"], format!("replaced by {replacement}"), "{plan}");
    assert!(plan["cause"].as_str().is_some_and(|cause| cause.starts_with(dead)), "{plan}");
    let name = plan["plan"].as_str().expect("a name");
    let (good, text) = recovery(cluster, &["show", name]);
    assert!(good && text.starts_with(&format!("{name}, done")) && text.contains("7. replace: let ") && text.contains("(done)"), "{text}");
    let (good, text) = recovery(cluster, &["list"]);
    assert!(good && text.contains(name) && text.contains("done"), "{text}");
    println!("{text}");
}

/// `count` voters, all of them up.
fn await_voters(cluster: &Cluster, names: &[&str]) {
    eventually("the voters all up", || {
        let status = cluster.status();
        let nodes = status["nodes"].as_array()?;
        let voters = nodes.iter().filter(|node| ["leader", "follower"].iter().any(|role| node["role"] == *role));
        let mut voters: Vec<&str> = voters.filter_map(|node| node["name"].as_str()).collect();
        voters.sort_unstable();
        (voters == names && nodes.len() == names.len()).then_some(())
    });
}

fn end_for_good(cluster: &mut Cluster, at: usize) {
    cluster.nodes[at].kill();
    std::fs::remove_dir_all(&cluster.nodes[at].data_dir).expect("removed");
}

/// One of the three that the cluster began with, not its leader; the fourth is the spare.
fn voter_that_follows(cluster: &Cluster) -> usize {
    (cluster.leader() + 1) % 3
}

#[test]
#[ignore = "starts a cluster of processes and destroys one; takes half a minute"]
fn a_spare_takes_the_place_of_a_voter_whose_disk_is_lost() {
    let mut cluster = Cluster::start_with(3, SOON);
    let load = Load::start("spare", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(500);
    cluster.start_spare(4);
    cluster.await_catch_up(3);
    assert_eq!(cluster.status_of("n4").expect("it is there")["role"], "learner");
    let lost = voter_that_follows(&cluster);
    let dead = cluster.nodes[lost].name.clone();
    end_for_good(&mut cluster, lost);
    load.await_progress(500);
    let plan = await_plan(&cluster, "done");
    load.await_progress(500);
    let acknowledged = load.stop();

    cluster.nodes.remove(lost);
    let names: Vec<String> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    await_voters(&cluster, &names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_carried_out(&cluster, &plan, &dead, "n4");
    acknowledged.verify(&cluster.endpoints());
    // It is an ordinary server now: the others need it, and have it.
    let leader = cluster.leader();
    let other = (0..3).find(|at| *at != leader && cluster.nodes[*at].name != "n4").expect("one of three");
    let load = Load::start("after", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    cluster.nodes[other].kill();
    load.await_progress(500);
    cluster.nodes[other].start_again();
    cluster.await_catch_up(other);
    load.stop().verify(&cluster.endpoints());
}

#[test]
#[ignore = "starts a cluster of processes and wipes a disk; takes half a minute"]
fn a_voter_whose_disk_was_wiped_comes_back_and_takes_its_own_place() {
    let mut cluster = Cluster::start_with(3, SOON);
    let load = Load::start("wiped", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    load.await_progress(500);
    let wiped = voter_that_follows(&cluster);
    let name = cluster.nodes[wiped].name.clone();
    let id = |cluster: &Cluster| cluster.status_of(&name).and_then(|node| node["id"].as_str().map(str::to_owned));
    let before = id(&cluster);
    end_for_good(&mut cluster, wiped);
    // As a supervisor would: the same command, at once.
    cluster.nodes[wiped].start_again();
    let plan = await_plan(&cluster, "done");
    load.await_progress(500);
    let acknowledged = load.stop();
    await_voters(&cluster, &["n1", "n2", "n3"]);
    assert_carried_out(&cluster, &plan, &name, &name);
    assert_ne!(id(&cluster), before, "it is somebody else");
    cluster.settle();
    acknowledged.verify(&cluster.endpoints());
    // Its directory is a member's like any other's.
    let load = Load::start("again", &cluster.endpoints(), WRITERS, VALUE_BYTES);
    cluster.nodes[wiped].kill();
    cluster.nodes[wiped].start_again();
    cluster.await_catch_up(wiped);
    load.await_progress(500);
    load.stop().verify(&cluster.endpoints());
}

#[test]
#[ignore = "starts a cluster of processes and destroys one; takes half a minute"]
fn a_plan_waits_until_a_person_agrees() {
    let mut cluster = Cluster::start_with(3, SOON_IF_AGREED);
    cluster.start_spare(4);
    cluster.await_catch_up(3);
    let (good, text) = recovery(&cluster, &["list"]);
    assert!(good && text.contains("There are no recovery plans"), "{text}");
    let lost = voter_that_follows(&cluster);
    end_for_good(&mut cluster, lost);
    let waiting = await_plan(&cluster, "waiting for approval");
    let name = waiting["plan"].as_str().expect("a name");
    let steps = |plan: &Value| plan["steps"].as_array().expect("a list").iter().map(|step| step["state"].clone()).collect::<Vec<_>>();
    let (good, text) = recovery(&cluster, &["approve", "nobody-1"]);
    assert!(!good && text.contains("there is no plan `nobody-1`"), "{text}");
    // The first step changes nothing, and needs nobody's word.
    let waits = eventually("a plan before its fence", || plans(&cluster).into_iter().find(|plan| steps(plan)[0] == "done"));
    assert_eq!(steps(&waits)[1], "waiting for approval");
    let (good, text) = recovery(&cluster, &["cancel", name]);
    assert!(good && text.contains("cancelled"), "{text}");
    let next = await_plan(&cluster, "waiting for approval");
    let second = next["plan"].as_str().expect("a name");
    assert_ne!(name, second);
    let (good, text) = recovery(&cluster, &["approve", second]);
    assert!(good, "{text}");
    let done = await_plan(&cluster, "done");
    assert_eq!(done["plan"], *second);
    let (good, text) = recovery(&cluster, &["cancel", second]);
    assert!(!good && text.contains("the plan has ended"), "{text}");
    cluster.nodes.remove(lost);
    let names: Vec<String> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    await_voters(&cluster, &names.iter().map(String::as_str).collect::<Vec<_>>());
}

/// A process that sleeps, whose number is in a file; the restart command begins another one, and notes its epoch.
struct Sleeper {
    pid: PathBuf,
    epochs: PathBuf,
}

impl Sleeper {
    fn new(directory: &Path, name: &str) -> Self {
        let sleeper = Sleeper { pid: directory.join(format!("{name}.pid")), epochs: directory.join(format!("{name}.epochs")) };
        let started = Command::new("sh").args(["-c", &sleeper.command()]).status().expect("it runs");
        assert!(started.success());
        sleeper
    }

    fn command(&self) -> String {
        format!("sleep 1000 >/dev/null 2>&1 & echo $! > {}", self.pid.display())
    }

    fn pid(&self) -> Pid {
        let text = fs::read_to_string(&self.pid).expect("a number");
        Pid::from_raw(text.trim().parse().expect("a number")).expect("a process")
    }

    fn kill(&self) {
        kill_process(self.pid(), Signal::KILL).expect("it runs");
    }

    /// The epochs under which it was started anew.
    fn epochs(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.epochs).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Declares its check and its restart.
    fn declare(&self, cluster: &Cluster, node: &str, service: &str) {
        // A process that was killed and not waited for is none any more; status 1 would be a warning.
        let check = format!("grep -qs '^State:.[RS]' /proc/$(cat {})/status || exit 2", self.pid.display());
        let figures = ["--interval", "300ms", "--timeout", "300ms", "--fall", "2", "--rise", "1"];
        let words =
            [&["service", "check", "add", "--node", node, "--service", service, "--script"], &figures[..], &["--", "sh", "-c", &check]];
        let (good, text) = say(cluster, &words.concat());
        assert!(good, "{text}");
        let restart = format!("{}; echo $STEADFAST_EPOCH >> {}", self.command(), self.epochs.display());
        let words = ["service", "restart", "set", "--node", node, "--service", service, "--", "sh", "-c", &restart];
        let (good, text) = say(cluster, &words);
        assert!(good && text.contains("is declared for"), "{text}");
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // An error: it has ended.
        let _ = kill_process(self.pid(), Signal::KILL);
    }
}

fn service_state(cluster: &Cluster, node: &str, service: &str) -> Option<String> {
    let (_, text) = say(cluster, &["kv", "get", &format!("steadfast/health/services/{node}/{service}")]);
    let record: Value = serde_json::from_str(text.trim()).ok()?;
    record["state"].as_str().map(str::to_owned)
}

fn await_service(cluster: &Cluster, node: &str, service: &str, state: &str) {
    eventually(&format!("{service} on {node} being {state}"), || (service_state(cluster, node, service)? == state).then_some(()));
}

/// The plan about this subject, once it is so.
fn await_plan_of(cluster: &Cluster, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || plans(cluster).into_iter().find(&is_it))
}

#[test]
#[ignore = "starts a cluster of processes and an agent, and kills services; takes three minutes, most of it a probation"]
fn services_are_started_anew_where_they_run_and_an_agent_that_stays_dead_goes() {
    let cluster = Cluster::start_with(3, SERVICES_AND_AGENTS);
    let mut agent = Agent::start(&cluster, 1, &["--enable-script-checks"]);
    let directory = cluster.directory.path().to_path_buf();
    let (orders, proxy) = (Sleeper::new(&directory, "orders"), Sleeper::new(&directory, "proxy"));
    orders.declare(&cluster, "n2", "orders");
    proxy.declare(&cluster, "a1", "proxy");
    await_service(&cluster, "n2", "orders", "healthy");
    await_service(&cluster, "a1", "proxy", "healthy");
    assert_eq!(plans(&cluster), Vec::<Value>::new());

    let before = [orders.pid(), proxy.pid()];
    orders.kill();
    proxy.kill();
    for (sleeper, before, name) in [(&orders, before[0], "orders"), (&proxy, before[1], "proxy")] {
        let is_about = |plan: &Value| plan["subject"].as_str().is_some_and(|subject| subject.contains(name));
        await_plan_of(&cluster, "a plan that has started it anew", |plan| is_about(plan) && plan["steps"][4]["state"] == "done");
        assert_ne!(sleeper.pid(), before, "another process runs");
    }
    await_service(&cluster, "n2", "orders", "healthy");
    await_service(&cluster, "a1", "proxy", "healthy");
    for name in ["orders", "proxy"] {
        let is_done = |plan: &Value| plan["subject"].as_str().is_some_and(|subject| subject.contains(name)) && plan["state"] == "done";
        let plan = await_plan_of(&cluster, "a service that is well for long enough", is_done);
        assert_eq!((&plan["kind"], &plan["epoch"]), (&Value::from("started anew"), &Value::from(1)), "{plan}");
    }
    assert_eq!((orders.epochs(), proxy.epochs()), (vec!["1".to_owned()], vec!["1".to_owned()]), "once each");
    let epochs = keys(&cluster, "steadfast/@").into_iter().filter(|key| key.contains("/recovery/epochs/") && key.ends_with(".orders"));
    assert_eq!(epochs.count(), 1, "the epoch is there for everybody");
    println!("{}", recovery(&cluster, &["list"]).1);

    // The agent stays dead: its plan waits for a word, as its role's policy says.
    agent.kill();
    let waiting = await_plan_of(&cluster, "a plan that waits", |plan| plan["kind"] == "removed" && plan["state"] == "waiting for approval");
    let name = waiting["plan"].as_str().expect("a name");
    assert_eq!(keys(&cluster, "steadfast/health/nodes/a1"), ["steadfast/health/nodes/a1"]);
    let (good, text) = recovery(&cluster, &["approve", name]);
    assert!(good, "{text}");
    await_plan_of(&cluster, "the agent's removal", |plan| plan["plan"] == name && plan["state"] == "done");
    eventually("no record of it", || keys(&cluster, "steadfast/health/nodes/a1").is_empty().then_some(()));
    assert!(keys(&cluster, "steadfast/health/services/a1/").is_empty());
    let (_, declared) = say(&cluster, &["service", "check", "list", "--node", "a1"]);
    assert!(declared.contains("proxy"), "what was declared stays\n{declared}");

    // It comes back as an agent like any other.
    agent.begin(&cluster);
    await_service(&cluster, "a1", "proxy", "healthy");
    eventually("no mark of it", || keys(&cluster, "steadfast/@").iter().all(|key| !key.contains("/recovery/removed/")).then_some(()));
}
