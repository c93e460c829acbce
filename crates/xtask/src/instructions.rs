//! Counts the instructions of the core path: what a request costs inside of three nodes, without sockets and threads. They hardly differ from run to run, as times
//! do, so that a change that costs something shows.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use xtask::root;

/// The work, how many requests come in at once, and how many in all.
const ROWS: [(&str, u32, u32); 6] =
    [("put", 1, 640), ("put", 16, 6_400), ("put", 256, 25_600), ("read", 1, 640), ("read", 64, 6_400), ("read-follower", 64, 6_400)];

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let is_planted = match arguments {
        [] => false,
        [flag] if flag == "--planted" => true,
        other => return Err(format!("{other:?} is not expected; usage:\n{}", crate::USAGE)),
    };
    let program = build(is_planted)?;
    println!("{:<14} {:>7} {:>22}", "request", "at once", "instructions a request");
    for (work, batch, requests) in ROWS {
        let counted = count(&program, work, batch, requests)?;
        println!("{work:<14} {batch:>7} {:>22}", counted / u64::from(requests));
    }
    Ok(ExitCode::SUCCESS)
}

fn build(is_planted: bool) -> Result<PathBuf, String> {
    let target = root().join(if is_planted { "target/planted" } else { "target" });
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--package", "steadfast-node", "--example", "core_path", "--target-dir"]).arg(&target);
    if is_planted {
        cargo.env("RUSTFLAGS", "--cfg planted");
    }
    let built = cargo.current_dir(root()).status().map_err(|error| format!("cargo: {error}"))?;
    if built.success() { Ok(target.join("release/examples/core_path")) } else { Err("the program was not built".into()) }
}

fn count(program: &Path, work: &str, batch: u32, requests: u32) -> Result<u64, String> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*core_path::measured*"]);
    valgrind.arg(program).args([work, &batch.to_string(), &requests.to_string()]);
    let output = valgrind.output().map_err(|error| format!("valgrind: {error}: install Debian's package valgrind"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let counted = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    counted.filter(|counted| output.status.success() && *counted > 0).ok_or_else(|| format!("callgrind counted nothing: {text}"))
}
