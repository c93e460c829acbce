//! Each way an option can be wrong, and what is said about it.

use super::*;

fn good() -> ServerOptions {
    ServerOptions::local("n1", "data")
}

fn cluster(list: &str) -> Start {
    Start::parse_initial_cluster("token", list).unwrap()
}

#[test]
fn the_defaults_are_good() {
    good().validate().unwrap();
}

#[test]
fn each_fault_names_its_option() {
    type Spoil = fn(&mut ServerOptions);
    let cases: [(&str, Spoil); 23] = [
        ("name", |o| o.name = String::new()),
        ("name", |o| o.name = "a b".into()),
        ("name", |o| o.name = "x".repeat(65)),
        ("data-dir", |o| o.data_dir = PathBuf::new()),
        ("listen-peer", |o| o.listen_peer = o.listen_client),
        ("listen-admin", |o| o.listen_admin = "0.0.0.0:2380".parse().unwrap()),
        ("advertise-peer", |o| o.advertise_peer = "0.0.0.0:2380".into()),
        ("advertise-peer", |o| o.advertise_peer = "host".into()),
        ("advertise-peer", |o| o.advertise_peer = "host:0".into()),
        ("advertise-peer", |o| o.advertise_peer = "a/b:1".into()),
        ("advertise-client", |o| o.advertise_client.clear()),
        ("advertise-client", |o| o.advertise_client = vec!["127.0.0.1:2379".into()]),
        ("initial-cluster", |o| o.start = cluster("n2=127.0.0.1:2380")),
        ("initial-cluster", |o| o.start = cluster("n1=127.0.0.1:2381")),
        ("initial-cluster", |o| o.start = cluster("n1=127.0.0.1:2380,n1=127.0.0.1:2381")),
        ("initial-cluster", |o| o.start = cluster("n1=127.0.0.1:2380,n2=127.0.0.1:2380")),
        ("cluster-token", |o| o.start = Start::parse_initial_cluster("", "n1=127.0.0.1:2380").unwrap()),
        ("join", |o| o.start = Start::parse_join("127.0.0.1:2380")),
        ("join", |o| o.start = Start::parse_join("")),
        ("heartbeat-interval-ms", |o| o.heartbeat_interval_ms = 1),
        ("election-timeout-ms", |o| o.election_timeout_ms = 499),
        ("memtable-bytes", |o| o.memtable_bytes = 0),
        ("quota-backend-bytes", |o| o.quota_backend_bytes = 1000),
    ];
    for (number, (option, spoil)) in cases.into_iter().enumerate() {
        let mut options = good();
        spoil(&mut options);
        let error = options.validate().expect_err(&format!("case {number} ({option}) is wrong"));
        assert_eq!(error.option, option, "case {number}: {error}");
        assert!(!error.remedy.is_empty());
    }
}

#[test]
fn the_command_lines_forms_are_read() {
    let start = cluster("n1=http://10.0.0.1:2380, n2=[fd00::1]:2380,");
    let members = vec![("n1".to_owned(), "10.0.0.1:2380".to_owned()), ("n2".to_owned(), "[fd00::1]:2380".to_owned())];
    assert_eq!(start, Start::InitialCluster { token: "token".into(), members });
    let error = Start::parse_initial_cluster("token", "n1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "initial-cluster: `n1` is not of the form NAME=HOST:PORT; list all members like n1=10.0.0.1:2380,n2=10.0.0.2:2380"
    );
    assert_eq!(peer_url("h:1"), "http://h:1");
    assert_eq!(peer_address(&peer_url("h:1")), "h:1");
}

#[test]
fn options_survive_serialisation_in_kebab_case() {
    let options = good();
    let text = serde_json::to_string(&options).unwrap();
    assert!(text.contains("\"heartbeat-interval-ms\":100"), "{text}");
    assert!(text.contains("\"initial-cluster\""), "{text}");
    assert_eq!(serde_json::from_str::<ServerOptions>(&text).unwrap(), options);
    let unknown = text.replacen("lease-reads", "leased-reads", 1);
    assert!(serde_json::from_str::<ServerOptions>(&unknown).is_err());
}
