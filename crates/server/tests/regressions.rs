//! Every decoder, fed with the inputs that fuzzing has kept: `fuzz/corpus`, which reaches all of their code that was ever reached, and
//! `fuzz/regressions`, each of which found a bug that is mended. Those in `fuzz/unmended` found one that is not, and are moved with the change
//! that mends it. What is checked of each, and how new inputs are looked for, is said in `fuzz/README.md`.

extern crate alloc;

#[allow(unreachable_pub, reason = "there it is a crate")]
#[path = "../../../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use fuzz::{TARGETS, Target};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// What is in a folder, sorted; nothing, if it is not there.
fn list(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// The inputs among `inputs` that break what the target checks.
fn failures(target: &Target, inputs: &[PathBuf]) -> Vec<String> {
    let fails = |path: &&PathBuf| {
        let input = fs::read(path).expect("a readable input");
        catch_unwind(|| (target.check)(&input)).is_err()
    };
    inputs.iter().filter(fails).map(|path| path.display().to_string()).collect()
}

#[test]
fn no_input_that_was_kept_breaks_a_decoder() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let corpus = list(&root().join("corpus").join(target.name));
        assert!(!corpus.is_empty(), "fuzz/corpus/{} has no inputs", target.name);
        failed.extend(failures(target, &corpus));
        failed.extend(failures(target, &list(&root().join("regressions").join(target.name))));
    }
    assert!(failed.is_empty(), "the panics above are of {failed:#?}");
}

#[test]
fn every_folder_of_inputs_has_its_target() {
    let targets: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    for kind in ["corpus", "regressions", "unmended"] {
        for folder in list(&root().join(kind)) {
            let name = folder.file_name().expect("a name").to_str().expect("a name in UTF-8");
            assert!(targets.contains(name), "{} belongs to no target", folder.display());
        }
    }
}

/// A decoder with a bug that is known and not mended is left out: a random input might show just that.
#[test]
fn inputs_without_any_sense_break_no_decoder() {
    let mut random = steadfast_types::Rng::with_seed(1);
    let mended = |target: &&Target| list(&root().join("unmended").join(target.name)).is_empty();
    let targets: Vec<&Target> = TARGETS.iter().filter(mended).collect();
    assert!(!targets.is_empty());
    for round in 0..200usize {
        let input: Vec<u8> = (0..round * 3).map(|_| random.u8(..)).collect();
        targets.iter().for_each(|target| (target.check)(&input));
    }
}
