//! Rules of the house that the compiler does not check: which room may use which, and that the map is true.
//!
//! They run as ordinary tests, see `tests/tidy.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The longest source file, lines. A file is about one thing; where one grew longer it was about two.
pub const FILE_LINES: usize = 900;

/// Which of our crates each of our crates may depend on. The arrows of ARCHITECTURE.md.
pub const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("bbolt", &[]),
    ("stacks", &[]),
    ("coordination", &["types"]),
    ("consensus", &["types"]),
    ("membership", &["types"]),
    ("scorecard", &["types", "membership"]),
    ("state", &["types"]),
    ("crdt", &["types"]),
    ("register", &["types", "crdt"]),
    ("available", &["types", "crdt"]),
    ("placement", &["types", "available"]),
    ("replica", &["types", "crdt", "register", "available"]),
    ("redis-api", &["types", "crdt", "available"]),
    ("health", &["types"]),
    ("storage", &["types"]),
    ("checkpoints", &["types", "crdt", "available", "storage"]),
    ("snapshots", &["types", "state", "bbolt"]),
    ("node", &["types", "consensus", "state", "storage"]),
    ("etcd-api", &["types", "state"]),
    ("client", &["types", "coordination", "etcd-api"]),
    (
        "server",
        &[
            "types",
            "coordination",
            "membership",
            "health",
            "consensus",
            "state",
            "bbolt",
            "storage",
            "snapshots",
            "stacks",
            "node",
            "etcd-api",
            "crdt",
            "register",
            "available",
            "checkpoints",
            "replica",
            "redis-api",
        ],
    ),
    ("proof", &["types"]),
    ("steadfast", &["types", "coordination", "state", "snapshots", "stacks", "proof", "etcd-api", "client", "server"]),
    (
        "simulator",
        &["types", "consensus", "membership", "health", "state", "storage", "node", "crdt", "available", "replica", "redis-api", "proof"],
    ),
    ("xtask", &[]),
];

/// Crates that must be `no_std`, which proves that they reach no clock, file, socket or thread.
pub const CORES: &[&str] =
    &["types", "consensus", "membership", "health", "state", "crdt", "register", "available", "placement", "replica"];

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/xtask lies two levels below the root").to_owned()
}

/// The folders in `crates/`, by name.
pub fn crates(root: &Path) -> BTreeSet<String> {
    let folders = std::fs::read_dir(root.join("crates")).expect("crates/ is readable");
    folders.map(|entry| entry.expect("an entry of crates/").file_name().into_string().expect("a name in UTF-8")).collect()
}

/// Our crates that each crate's manifest names as dependencies (those for tests alone left out).
pub fn arrows(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let manifest = |name: &String| {
        let text = std::fs::read_to_string(root.join("crates").join(name).join("Cargo.toml")).expect("a manifest");
        text.parse::<toml::Table>().expect("a manifest in TOML")
    };
    let dependencies = |name: String| {
        let manifest = manifest(&name);
        let table = manifest.get("dependencies").and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let ours = table.keys().filter_map(|key| key.strip_prefix("steadfast-")).map(str::to_owned).collect();
        (name, ours)
    };
    crates(root).into_iter().map(dependencies).collect()
}

/// Every Rust source file in `crates/`.
pub fn sources(root: &Path) -> Vec<PathBuf> {
    let mut folders = vec![root.join("crates")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
