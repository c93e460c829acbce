//! The settings file of a node: TOML, its keys named like the flags.

use std::fs;
use std::path::Path;

use anyhow::Result;
use clap::{Args, Command};

use super::settings::Settings;
use crate::usage::UsageError;

/// Larger files are no settings, bytes.
const FILE_BYTES: u64 = 1024 * 1024;

/// Reads a file, refusing keys that it doesn't know.
pub(super) fn read(path: &Path) -> Result<Settings> {
    let shown = path.display();
    let too_large = fs::metadata(path).is_ok_and(|metadata| metadata.len() > FILE_BYTES);
    if too_large {
        return Err(UsageError(format!("{shown} is larger than 1 MiB: it can't be a settings file")).into());
    }
    let text = fs::read_to_string(path)
        .map_err(|error| UsageError(format!("cannot read the settings file {shown} ({error}): give a readable one with --config")))?;
    parse(&text).map_err(|problem| UsageError(format!("{shown}: {problem}")).into())
}

fn parse(text: &str) -> Result<Settings, String> {
    let table: toml::Table = text.parse().map_err(|error| with_line(text, &error))?;
    let known = known_keys();
    if let Some(unknown) = table.keys().find(|key| !known.contains(key)) {
        let remedy = match nearest(unknown, &known) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("the keys are {}", known.join(", ")),
        };
        return Err(format!("{unknown:?} is not a setting: {remedy}"));
    }
    toml::from_str(text).map_err(|error| with_line(text, &error))
}

/// The names of all settings, which are those of the flags.
fn known_keys() -> Vec<String> {
    let command = Settings::augment_args(Command::new("serve"));
    command.get_arguments().filter_map(|argument| argument.get_long()).map(String::from).collect()
}

fn with_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    match error.span() {
        Some(span) => format!("line {}: {message}", text[..span.start.min(text.len())].matches('\n').count() + 1),
        None => message,
    }
}

/// The known key that needs the fewest changes, if they are few for its length.
fn nearest<'a>(unknown: &str, known: &'a [String]) -> Option<&'a str> {
    let near = known.iter().map(|key| (distance(unknown, key), key)).min()?;
    (near.0 <= near.1.len().div_ceil(3)).then_some(near.1)
}

/// The number of characters to insert, delete or replace to get from one word to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_a_key() {
        let text = r#"
            name = "n1"
            role = "server"
            data-dir = "/data"
            listen-client = "127.0.0.1:2379"
            listen-peer = "127.0.0.1:2380"
            listen-admin = "127.0.0.1:7070"
            listen-redis = "127.0.0.1:6379"
            redis-durability = "always"
            redis-memory-bytes = 1000000000
            advertise-client = ["http://n1:2379"]
            advertise-peer = "n1:2380"
            initial-cluster = ["n1=n1:2380", "n2=n2:2380"]
            cluster-token = "a"
            join = "n1:2380,n2:2380"
            heartbeat-interval-ms = 100
            election-timeout-ms = 1000
            lease-reads = false
            memtable-bytes = 16777216
            block-cache-bytes = 16777216
            log-retention-bytes = 67108864
            auto-compaction-mode = "revision"
            auto-compaction-retention = "10000"
            promote-learners-after = "30s"
            quota-backend-bytes = 8589934592
            replace-dead-voters-after = "10m"
            recover-voters-after = "0"
            recover-others-after = "5m"
            recover-agents-after = "4m"
            recover-services-after = "20s"
            recovery-approval = "voters=manual,services=automatic"
            auth-token = "simple"
            bcrypt-cost = 10
            cert-file = "file.pem"
            key-file = "file.pem"
            trusted-ca-file = "file.pem"
            client-cert-auth = false
            auto-tls = false
            peer-cert-file = "file.pem"
            peer-key-file = "file.pem"
            peer-trusted-ca-file = "file.pem"
            peer-cert-allowed-cn = "peer"
            peer-auto-tls = false
            gossip-key-file = "file"
            insecure-peers = false
            insecure-admin = false
            enable-script-checks = false
            alert-webhook = ["https://hooks.example/x"]
            alert-command = "logger"
            alertmanager = "http://alerts:9093"
            log-format = "json"
            faults = true
        "#;
        let keys: Vec<String> = text.parse::<toml::Table>().expect("valid").keys().cloned().collect();
        let mut known = known_keys();
        known.sort();
        assert_eq!(keys, known);
        parse(text).expect("all keys with values of their kinds");
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest() {
        let error = parse("data_dir = 'x'").expect_err("unknown");
        assert_eq!(error, "\"data_dir\" is not a setting: did you mean data-dir?");
        let error = parse("[server]\nname = 'x'").expect_err("unknown");
        assert!(error.contains("did you mean") || error.contains("the keys are"), "{error}");
        assert!(parse("quite-another-thing = 1").expect_err("unknown").contains("the keys are name, role, data-dir"), "{error}");
    }

    #[test]
    fn errors_name_their_line() {
        let error = parse("name = 'n1'\nlisten-peer = 'nowhere'\n").expect_err("not an address");
        assert!(error.starts_with("line 2: "), "{error}");
        let error = parse("name = 'n1'\n\nname = ").expect_err("not TOML");
        assert!(error.starts_with("line 3: "), "{error}");
        assert!(!error.contains('\n'));
        let error = parse("heartbeat-interval-ms = -1").expect_err("negative");
        assert!(error.starts_with("line 1: "), "{error}");
    }

    #[test]
    fn distances_count_changes() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
