//! Which setting wins, what they make together, and what is said of those that do not fit.

use super::*;

fn given(text: &str) -> Settings {
    toml::from_str(text).expect("valid settings")
}

fn refusal(settings: Settings) -> String {
    let error = settings.into_options().expect_err("must be refused");
    assert!(error.is::<UsageError>(), "{error}");
    error.to_string()
}

#[test]
fn the_file_speaks_only_where_the_flags_are_silent() {
    let flags = given("name = 'flag'\nelection-timeout-ms = 2000");
    let file = given("name = 'file'\ndata-dir = '/file'\nlease-reads = true");
    let both = flags.over(file).expect("no contradiction");
    assert_eq!(both, given("name = 'flag'\nelection-timeout-ms = 2000\ndata-dir = '/file'\nlease-reads = true"));
}

#[test]
fn defaults_fill_the_rest() {
    let options = given("name = 'n1'\ndata-dir = '/data'").into_options().expect("enough");
    assert_eq!(options, ServerOptions { start: Start::Resume, ..ServerOptions::local("n1", "/data") });
}

#[test]
fn a_node_is_reached_where_the_initial_cluster_says() {
    let text =
        "name = 'n2'\ndata-dir = '/data'\nlisten-peer = '0.0.0.0:2380'\ninitial-cluster = 'n1=a:2380, n2=b:2380'\ninsecure-peers = true";
    let options = given(text).into_options().expect("valid");
    assert_eq!(options.advertise_peer, "b:2380");
    let members = vec![("n1".to_string(), "a:2380".to_string()), ("n2".to_string(), "b:2380".to_string())];
    assert_eq!(options.start, Start::InitialCluster { token: "steadfast".into(), members });
}

#[test]
fn a_joining_node_is_reached_where_it_listens() {
    let text = "name = 'n4'\ndata-dir = '/data'\nlisten-peer = '10.0.0.4:2380'\nlisten-client = '10.0.0.4:2379'\njoin = ['10.0.0.1:2380']\ninsecure-peers = true";
    let options = given(text).into_options().expect("valid");
    assert_eq!(options.advertise_peer, "10.0.0.4:2380");
    assert_eq!(options.advertise_client, ["http://10.0.0.4:2379"]);
    assert_eq!(options.start, Start::Join { peers: vec!["10.0.0.1:2380".into()] });
}

#[test]
fn what_is_missing_is_named_with_all_ways_to_give_it() {
    let text = refusal(given("data-dir = '/data'"));
    assert_eq!(text, "name is missing: give --name n1, or STEADFAST_NAME, or name in the --config file");
    assert!(refusal(given("name = 'n1'")).contains("STEADFAST_DATA_DIR"));
}

#[test]
fn forming_and_joining_exclude_each_other_wherever_they_come_from() {
    let error = given("join = 'a:1'").over(given("initial-cluster = 'n1=b:1'")).expect_err("contradiction");
    let expected = "initial-cluster (from the file) and join (from its flag or variable) exclude each other";
    assert!(error.to_string().starts_with(expected), "{error}");
    let error = given("join = 'a:1'").over(given("cluster-token = 'x'")).expect_err("contradiction");
    assert!(error.to_string().contains("only for --initial-cluster"), "{error}");
}

#[test]
fn with_tls_clients_are_told_so() {
    let options = given("name = 'n1'\ndata-dir = '/data'\ncert-file = 'c'\nkey-file = 'k'").into_options().expect("valid");
    assert_eq!(options.advertise_client, ["https://127.0.0.1:2379"]);
}

#[test]
fn nodes_on_several_machines_authenticate_or_it_is_said_that_they_do_not() {
    let text = refusal(given("name = 'n1'\ndata-dir = '/data'\ninitial-cluster = 'n1=10.0.0.1:2380'"));
    assert!(text.starts_with("peer-cert-file: peers at 10.0.0.1:2380 are beyond this machine"), "{text}");
    assert!(text.contains("--insecure-peers"), "{text}");
}

#[test]
fn the_wildcard_is_no_address_for_others() {
    assert!(refusal(given("name = 'n1'\ndata-dir = '/data'\nlisten-peer = '0.0.0.0:2380'")).contains("advertise-peer"));
    assert!(refusal(given("name = 'n1'\ndata-dir = '/data'\nlisten-client = '0.0.0.0:2379'")).contains("advertise-client"));
}
