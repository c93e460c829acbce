//! The rules of the house.

use std::collections::BTreeSet;
use std::fs::read_to_string;

use xtask::{ARROWS, CORES, FILE_LINES, arrows, crates, root, sources};

#[test]
fn dependencies_point_one_way() {
    for (name, uses) in arrows(&root()) {
        let (_, allowed) =
            ARROWS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("crates/{name} is not in the list of arrows"));
        for used in uses {
            assert!(allowed.contains(&used.as_str()), "crates/{name} must not depend on crates/{used}");
        }
    }
}

#[test]
fn cores_are_no_std() {
    for name in CORES {
        let lib = read_to_string(root().join("crates").join(name).join("src/lib.rs")).unwrap();
        assert!(lib.lines().any(|line| line == "#![no_std]"), "crates/{name} is a core and must be no_std");
    }
}

#[test]
fn the_map_names_each_crate_and_no_other() {
    let map = read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named: BTreeSet<String> =
        map.split("`crates/").skip(1).filter_map(|rest| rest.split(['`', '/']).next()).map(str::to_owned).collect();
    assert_eq!(named, crates(&root()), "ARCHITECTURE.md names the crates on the left");
}

#[test]
fn each_file_says_what_it_is_and_is_about_one_thing() {
    for path in sources(&root()) {
        let text = read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap().display();
        assert!(text.starts_with("//!"), "{shown} does not open with a `//!` that says what it is");
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES, "{shown} has {lines} lines: split it by concept");
    }
}
