//! `steadfast bench` on a real cluster, alone and beside etcd.
//!
//! Needs etcd 3.5.1, which `ETCD_3_5` names: `cargo test -p steadfast --test bench -- --ignored`; `.ci/run` installs it.

mod support;

use serde_json::Value;
use support::oracle::Etcd;
use support::{Cluster, steadfast};

fn bench(endpoints: &str, arguments: &[&str]) -> Value {
    let common = ["--endpoints", endpoints, "--seconds", "1", "--keys", "50", "--watchers", "5", "--json"];
    let output = steadfast(&["bench"]).args(arguments).args(common).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Every figure of a side is there and makes sense, and nothing failed.
fn check(side: &Value) {
    assert_eq!(side["failed"], 0, "{side}");
    check_figures(side);
}

fn check_figures(side: &Value) {
    assert!(side["a_second"].as_f64().is_some_and(|rate| rate > 0.0), "{side}");
    let times = ["p50_ms", "p99_ms", "p99_9_ms", "longest_ms"].map(|name| side[name].as_f64().expect("a number"));
    assert!(times[0] > 0.0 && times.is_sorted(), "{side}");
}

#[test]
#[ignore = "needs etcd 3.5.1 (ETCD_3_5) and starts two clusters of processes; takes half a minute"]
fn every_work_is_measured_alone_and_beside_etcd_and_nothing_stays() {
    let (cluster, etcd) = (Cluster::start(3), Etcd::members(3));
    cluster.settle();
    let endpoints = cluster.endpoints().join(",");
    let against = etcd.iter().map(|etcd| etcd.endpoint.as_str()).collect::<Vec<_>>().join(",");
    let works = ["put", "get", "get-serializable", "txn", "keep-alive", "watch", "hand-over"];
    let report = bench(&endpoints, &[&works[..], &["--clients", "4", "--against", &against]].concat());
    let rows = report["rows"].as_array().expect("a list");
    assert_eq!(rows.iter().map(|row| row["work"].as_str().expect("a name")).collect::<Vec<_>>(), works);
    for row in rows {
        check(&row["measured"]);
        // etcd drops some of what it is asked while it hands over.
        if row["work"] == "hand-over" { check_figures(&row["against"]) } else { check(&row["against"]) }
    }
    let report = bench(&endpoints, &["put", "get", "--clients", "2,3", "--rate", "100"]);
    let rows = report["rows"].as_array().expect("a list");
    assert_eq!(rows.len(), 4);
    for row in rows {
        check(&row["measured"]);
        let done = row["measured"]["done"].as_u64().expect("a count");
        assert!((90..=101).contains(&done), "a hundred a second for one second: {row}");
    }
    for endpoints in [&endpoints, &against] {
        let left =
            steadfast(&["kv", "get", "--prefix", "steadfast-bench/", "--json", "--endpoints", endpoints]).output().expect("it starts");
        assert_eq!(String::from_utf8_lossy(&left.stdout).matches("steadfast-bench").count(), 0, "{left:?}");
    }
}
