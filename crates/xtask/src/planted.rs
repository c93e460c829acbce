//! Plants each bug and lets the simulator look for it, or the scorecard if it is one of membership.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use xtask::root;

/// A bug and how the hunt for it ended.
struct Hunt {
    what: String,
    /// Caught or missed, the checker, the seeds.
    result: Option<[String; 3]>,
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let (mut seeds, mut chosen) = ("10000".to_owned(), Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seeds" => seeds = rest.next().cloned().ok_or("--seeds needs a number")?,
            number if number.parse::<u32>().is_ok() => chosen.push(number.to_owned()),
            other => return Err(format!("{other:?} is not the number of a bug; usage:\n{}", crate::USAGE)),
        }
    }
    let simulator = build()?;
    let mut hunts = bugs(&simulator)?;
    if let Some(unknown) = chosen.iter().find(|number| !hunts.contains_key(&key(number))) {
        return Err(format!("there is no bug {unknown}: `{} bugs` lists them", simulator.display()));
    }
    hunts.retain(|number, _| chosen.is_empty() || chosen.iter().any(|chosen| key(chosen) == *number));
    hunt(&simulator, &seeds, &mut hunts)?;
    print(&hunts);
    let missed = hunts.values().filter(|hunt| hunt.result.as_ref().is_none_or(|[verdict, ..]| verdict != "caught")).count();
    println!("\n{} caught, {missed} missed", hunts.len() - missed);
    Ok(ExitCode::from(u8::from(missed > 0)))
}

/// Bugs of membership that show in the scorecard's scenarios; those after them need the whole simulated cluster.
const SCORECARD: std::ops::RangeInclusive<u32> = 201..=203;

/// Whose part it is to find a bug.
fn hunter(simulator: &Path, number: u32) -> PathBuf {
    if SCORECARD.contains(&number) { simulator.with_file_name("steadfast-scorecard") } else { simulator.to_owned() }
}

fn key(number: &str) -> u32 {
    number.parse().unwrap_or(u32::MAX)
}

fn build() -> Result<PathBuf, String> {
    let target = root().join("target/planted");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--package", "steadfast-simulator", "--package", "steadfast-scorecard", "--package", "steadfast"]);
    cargo.arg("--target-dir").arg(&target);
    let built = cargo.current_dir(root()).env("RUSTFLAGS", "--cfg planted").status().map_err(|error| format!("cargo: {error}"))?;
    if built.success() { Ok(target.join("release/steadfast-simulator")) } else { Err("the programs were not built".into()) }
}

fn bugs(simulator: &Path) -> Result<BTreeMap<u32, Hunt>, String> {
    let listed = Command::new(simulator).arg("bugs").output().map_err(|error| format!("{}: {error}", simulator.display()))?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let bug = |line: &str| {
        let (number, what) = line.split_once('\t')?;
        Some((number.parse().ok()?, Hunt { what: what.to_owned(), result: None }))
    };
    let bugs: BTreeMap<u32, Hunt> = text.lines().filter_map(bug).collect();
    if bugs.is_empty() { Err(format!("{} lists no bugs: {text}", simulator.display())) } else { Ok(bugs) }
}

/// Each bug in a process of its own, as many at a time as there are cores.
fn hunt(simulator: &Path, seeds: &str, hunts: &mut BTreeMap<u32, Hunt>) -> Result<(), String> {
    let numbers: Vec<u32> = hunts.keys().copied().collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut hunter = Command::new(hunter(simulator, *number));
                    // One run of the scorecard is a whole scenario.
                    let seeds = if SCORECARD.contains(number) { "10" } else { seeds };
                    let output = hunter.args(["catch", &number.to_string(), "--seeds", seeds]).output();
                    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
                    let mut results = results.lock().expect("no thread panics");
                    eprintln!("[{}/{}] {}", results.len() + 1, numbers.len(), text.as_deref().unwrap_or("the simulator did not run"));
                    results.push((*number, text.unwrap_or_default()));
                }
            });
        }
    });
    for (number, text) in results.into_inner().expect("no thread panics") {
        let fields: Vec<String> = text.split('\t').skip(1).map(str::to_owned).collect();
        let result: [String; 3] = fields.try_into().map_err(|_| format!("bug {number}: the simulator said {text:?}"))?;
        hunts.get_mut(&number).expect("it was listed").result = Some(result);
    }
    Ok(())
}

fn print(hunts: &BTreeMap<u32, Hunt>) {
    println!("\n{:>5}  {:<58}  {:<7}  {:<22}  {:>6}", "bug", "what", "", "checker", "seeds");
    for (number, hunt) in hunts {
        if let Some([verdict, checker, seeds]) = &hunt.result {
            println!("{number:>5}  {:<58}  {verdict:<7}  {checker:<22}  {seeds:>6}", hunt.what);
        }
    }
}
