//! `steadfast drill` as users run it. Those that start clusters take their time: `cargo test -p steadfast --test drill -- --ignored
//! --test-threads=2`.

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use support::steadfast;

fn drill(arguments: &[&str]) -> Output {
    steadfast(&[&["drill"], arguments].concat()).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a report")).expect("JSON")
}

#[test]
fn the_list_names_every_drill_with_its_purpose() {
    let output = drill(&["list"]);
    let shown = text(&output.stdout);
    let names = "no-fault kill-leader kill-any pause-leader partition-leader one-way-partition chain-partition slow-disk full-disk corrupt-log \
                 clock-jump rolling-restart replace-node all-at-once membership";
    assert!(output.status.success());
    for name in names.split_whitespace() {
        assert!(shown.contains(&format!("\n{name}: ")), "{name} in {shown}");
    }
}

#[test]
fn what_can_not_be_run_is_refused_in_a_line_that_says_why() {
    for (arguments, status, expected) in [
        (&["nonsense"][..], 2, "\"nonsense\" is no drill: give one of no-fault, kill-leader"),
        (&["list", "kill-leader"], 2, "list stands alone"),
        (&["missing.toml"], 1, "cannot read the drill missing.toml"),
        (&["kill-leader", "--against", "./nowhere"], 2, "there is no directory"),
        (&["kill-leader", "--against", "127.0.0.1:1"], 1, "not run: kill-leader"),
        (&["kill-leader", "--minutes", "0"], 2, "0 is not in 1..=240"),
        (&["kill-leader", "--cpu-load"], 2, "are for `drill membership` alone"),
        (&["membership", "kill-leader"], 2, "membership stands alone"),
        (&["membership", "--agents", "3"], 2, "3 is not in 4..=200"),
    ] {
        let output = drill(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
    }
    let shown = text(&drill(&["kill-leader", "--against", "127.0.0.1:1"]).stdout);
    assert!(shown.contains("a kill needs the nodes' processes, and endpoints alone do not lead to them"), "{shown}");
}

#[test]
#[ignore = "starts clusters of processes and breaks them; takes half a minute"]
fn a_killed_and_a_parted_leader_pass_and_are_reported() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (report, page) = (scratch.path().join("report.json"), scratch.path().join("report.html"));
    let files = ["--json", report.to_str().expect("UTF-8"), "--html", page.to_str().expect("UTF-8")];
    let output = drill(&[&["kill-leader", "partition-leader"], &files[..]].concat());
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));

    let report = json(&report);
    assert_eq!(report["passed"], true);
    for (drill, name) in report["drills"].as_array().expect("a list").iter().zip(["kill-leader", "partition-leader"]) {
        assert_eq!((&drill["name"], &drill["passed"]), (&name.into(), &true.into()));
        let count = |kind: &str| drill["requests"][kind].as_u64().expect("a number");
        assert_eq!(count("good") + count("bad") + count("unknown"), 300 * drill["seconds"].as_f64().expect("a number") as u64);
        assert_eq!(drill["checkers"].as_array().expect("a list").len(), 5);
        assert!(drill["leader_changes"].as_u64() >= Some(1));
        for fault in drill["faults"].as_array().expect("a list") {
            let time = |name: &str| fault[name].as_f64().unwrap_or_else(|| panic!("{name} in {fault}"));
            assert!(fault["of_leader"] == true && time("elect_ms") < 4000.0 && time("first_write_ms") < 5000.0 && time("notice_ms") > 0.0);
        }
        let availability = |name: &str| drill["availability"][name].as_f64().expect("a number");
        assert!(availability("low") < availability("value") && availability("value") < availability("high"), "{drill}");
    }
    assert!(fs::read_to_string(page).expect("a page").contains("<svg"));
}

const IMPOSSIBLE: &str = "\
name = 'impossible'
purpose = 'A leader dies, and nobody may notice.'
seconds = 3

[[fault]]
at-ms = 500
for-ms = 1000
kind = 'kill'
node = 'leader'

[expect]
longest-gap-ms = 1
leader-changes-at-most = 0
";

#[test]
#[ignore = "starts a cluster of processes; takes some seconds"]
fn an_expectation_that_is_missed_fails() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (declaration, report) = (scratch.path().join("impossible.toml"), scratch.path().join("report.json"));
    fs::write(&declaration, IMPOSSIBLE).expect("writes");
    let output = drill(&[declaration.to_str().expect("UTF-8"), "--json", report.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("1 of 1 drills failed: impossible"), "{}", text(&output.stderr));
    let drill = &json(&report)["drills"][0];
    let problems: Vec<&str> = drill["problems"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].starts_with("the longest gap was ") && problems[1].starts_with("the number of leader changes was 1"),
        "{problems:?}"
    );
    assert!(drill["checkers"].as_array().expect("a list").iter().all(|checker| checker["violation"].is_null()));
}

#[test]
#[ignore = "starts 23 processes and breaks them in turn; takes more than a minute"]
fn the_membership_notices_what_it_should_and_nothing_else() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (report, page) = (scratch.path().join("report.json"), scratch.path().join("report.html"));
    let files = ["--json", report.to_str().expect("UTF-8"), "--html", page.to_str().expect("UTF-8")];
    let output = drill(&[&["membership"], &files[..]].concat());
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("false removals  0 in "), "{}", text(&output.stdout));

    let report = json(&report);
    let drill = &report["drills"][0];
    assert_eq!(
        (&report["passed"], &drill["servers"], &drill["agents"], &drill["false_removals"]),
        (&true.into(), &3.into(), &20.into(), &0.into())
    );
    let faults = drill["faults"].as_array().expect("a list");
    assert_eq!(faults.len(), 9);
    for fault in faults {
        let notices = fault["notices_ms"].as_array().expect("a list").len();
        let is_death = !["slow", "lossy", "restart-all"].contains(&fault["kind"].as_str().expect("text"));
        assert_eq!(notices, if is_death { 22 } else { 0 }, "{fault}");
    }
    assert!(fs::read_to_string(page).expect("a page").contains("<circle"));
}
