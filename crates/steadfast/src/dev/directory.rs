//! The directory of a `steadfast dev` cluster: the lock that keeps a second one out, `dev.json` that says what it was made with, and
//! `cluster.json` that says what runs now.
//!
//! Invariants:
//! 1. `dev.json` is written, durably, before the first node starts; from then on the layout never changes.
//! 2. `cluster.json` appears whole or not at all, and only while the cluster serves or after it did: a stale one is removed at the start.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::processes::Processes;

/// The version of the directory's layout that this program writes and reads.
const FORMAT: u32 = 1;
/// Log files beyond this many bytes are put aside at the start, one old one each is kept.
const LOG_BYTES: u64 = 16 * 1024 * 1024;

/// What a directory was made with; part of the cluster's membership, so it can't change later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    /// How many nodes.
    pub(super) nodes: u8,
    /// Added to every port.
    pub(super) port_offset: u16,
}

#[derive(Serialize, Deserialize)]
struct DevFile {
    format: u32,
    #[serde(flatten)]
    layout: Layout,
}

/// The part of any version's `dev.json` that says which version it is.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

/// A locked directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    layout: Layout,
    fresh: bool,
    /// Held until the end of the process, whatever the end.
    _lock: File,
}

impl Directory {
    /// Makes the directory if needed, locks it, and settles the layout: what it was made with, which a wish may not contradict.
    pub(super) fn open(path: &Path, nodes: Option<u8>, port_offset: Option<u16>) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| cannot_use(path))?;
        let path = path.canonicalize().with_context(|| cannot_use(path))?;
        if path.to_str().is_none() {
            bail!("the path {} is not UTF-8, which cluster.json can't hold: choose another --data-dir", path.display());
        }
        let lock = lock(&path)?;
        let recorded = read_layout(&path)?;
        let layout = match recorded {
            Some(layout) => agree(&path, layout, nodes, port_offset)?,
            None => Layout { nodes: nodes.unwrap_or(3), port_offset: port_offset.unwrap_or(0) },
        };
        Ok(Directory { path, layout, fresh: recorded.is_none(), _lock: lock })
    }

    /// Where, absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is made with.
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether no cluster was started in it yet, so that ports may still be chosen freely.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Records the layout, and makes room for logs.
    pub(super) fn prepare(&self, plan: &Plan) -> Result<()> {
        if self.fresh {
            let file = DevFile { format: FORMAT, layout: self.layout };
            write_atomically(&self.path, "dev.json", &serde_json::to_vec(&file)?)?;
        }
        let logs = self.path.join("logs");
        fs::create_dir_all(&logs).with_context(|| cannot_use(&logs))?;
        plan.nodes.iter().try_for_each(|node| put_long_log_aside(&node.log))
    }

    /// Says in `cluster.json` who runs where.
    pub(super) fn write_cluster(&self, plan: &Plan, processes: &Processes) -> Result<()> {
        let cluster = plan.cluster_json(&processes.pids());
        write_atomically(&self.path, "cluster.json", &serde_json::to_vec_pretty(&cluster)?)
    }
}

fn cannot_use(path: &Path) -> String {
    format!("cannot use the directory {} (choose another with --data-dir, or change its owner)", path.display())
}

fn lock(path: &Path) -> Result<File> {
    let file = path.join("lock");
    let mut lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file).with_context(|| cannot_use(path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            let owner = match lock.read_to_string(&mut owner) {
                Ok(_) if !owner.trim().is_empty() => format!(" (pid {})", owner.trim()),
                _ => String::new(),
            };
            bail!("another `steadfast dev`{owner} runs in {}: stop it first, or choose another --data-dir", path.display());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot lock {}", file.display())),
    }
    // Nobody runs now. Whoever reads this process's id in the lock reads of this process in `cluster.json`, or finds none yet.
    match fs::remove_file(path.join("cluster.json")) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(|| cannot_use(path)),
        _ => {}
    }
    // The pid is for people only; the lock itself is the kernel's.
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
}

fn read_layout(path: &Path) -> Result<Option<Layout>> {
    let file = path.join("dev.json");
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return refuse_foreign(path).map(|()| None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let damaged = |error| {
        anyhow!(
            "{} is damaged ({error}): restore it as {{\"format\":{FORMAT},\"nodes\":N,\"port_offset\":N}} with the numbers the cluster was \
             started with, or choose another --data-dir",
            file.display()
        )
    };
    let AnyFormat { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format > FORMAT {
        bail!(
            "{} was written by a newer Steadfast (format {format}, this one knows {FORMAT}): start it with that version, or choose another \
             --data-dir",
            path.display()
        );
    }
    let DevFile { layout, .. } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if !(1..=9).contains(&layout.nodes) {
        return Err(damaged(serde::de::Error::custom("nodes must be 1 to 9")));
    }
    Ok(Some(layout))
}

/// A directory without `dev.json` is new, unless it plainly is something else of ours.
fn refuse_foreign(path: &Path) -> Result<()> {
    if path.join("IDENTITY").exists() {
        bail!("{} is the data directory of a single node (`steadfast serve`): choose another --data-dir", path.display());
    }
    match (1..=9).map(|k| path.join(format!("n{k}"))).find(|node| node.exists()) {
        None => Ok(()),
        Some(node) => bail!(
            "{} holds {} but no dev.json, so it was not made by `steadfast dev` or has lost that file: choose another --data-dir",
            path.display(),
            node.file_name().unwrap_or_default().display()
        ),
    }
}

fn agree(path: &Path, made_with: Layout, nodes: Option<u8>, port_offset: Option<u16>) -> Result<Layout> {
    if let Some(nodes) = nodes.filter(|nodes| *nodes != made_with.nodes) {
        bail!(
            "{} holds a cluster of {} nodes, not {nodes}: leave --nodes out to start it, or choose another --data-dir for a new one",
            path.display(),
            made_with.nodes
        );
    }
    if let Some(offset) = port_offset.filter(|offset| *offset != made_with.port_offset) {
        bail!(
            "the members of the cluster in {} know each other by the ports of --port-offset {}, not {offset}: leave --port-offset out to \
             start it, or choose another --data-dir for a new one",
            path.display(),
            made_with.port_offset
        );
    }
    Ok(made_with)
}

fn put_long_log_aside(log: &Path) -> Result<()> {
    match fs::metadata(log) {
        Ok(metadata) if metadata.len() > LOG_BYTES => {
            fs::rename(log, log.with_extension("log.old")).with_context(|| format!("cannot rename {}", log.display()))
        }
        _ => Ok(()),
    }
}

/// Replaces a file so that a reader, or a crash, sees the old one or the new one.
fn write_atomically(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (temporary, target) = (directory.join(format!("{name}.tmp")), directory.join(name));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &target)?;
        File::open(directory)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> tempfile::TempDir {
        tempfile::tempdir().expect("a scratch directory")
    }

    fn recorded(text: &str) -> tempfile::TempDir {
        let scratch = scratch();
        fs::write(scratch.path().join("dev.json"), text).expect("writes");
        scratch
    }

    fn refusal(scratch: &tempfile::TempDir, nodes: Option<u8>, port_offset: Option<u16>) -> String {
        format!("{:#}", Directory::open(scratch.path(), nodes, port_offset).expect_err("must be refused"))
    }

    #[test]
    fn a_new_directory_takes_the_wishes_or_the_defaults() {
        let scratch = scratch();
        let directory = Directory::open(&scratch.path().join("new"), None, Some(7)).expect("opens");
        assert!(directory.is_fresh());
        assert_eq!(directory.layout(), Layout { nodes: 3, port_offset: 7 });
    }

    #[test]
    fn an_old_directory_keeps_what_it_was_made_with() {
        let scratch = recorded(r#"{"format":1,"nodes":5,"port_offset":100}"#);
        let directory = Directory::open(scratch.path(), None, None).expect("opens");
        assert!(!directory.is_fresh());
        assert_eq!(directory.layout(), Layout { nodes: 5, port_offset: 100 });
        drop(directory);
        assert!(refusal(&scratch, Some(3), None).contains("a cluster of 5 nodes, not 3"));
        assert!(refusal(&scratch, None, Some(0)).contains("--port-offset 100, not 0"));
        Directory::open(scratch.path(), Some(5), Some(100)).expect("the same wishes are fine");
    }

    #[test]
    fn the_second_one_is_kept_out() {
        let scratch = scratch();
        let _first = Directory::open(scratch.path(), None, None).expect("opens");
        let expected = format!("another `steadfast dev` (pid {})", std::process::id());
        assert!(refusal(&scratch, None, None).contains(&expected));
    }

    #[test]
    fn newer_and_damaged_records_are_refused() {
        let newer = refusal(&recorded(r#"{"format":2,"layout":"unknown"}"#), None, None);
        assert!(newer.contains("newer Steadfast (format 2, this one knows 1)"), "{newer}");
        for damaged in
            ["", "{", r#"{"format":1}"#, r#"{"format":1,"nodes":0,"port_offset":0}"#, r#"{"format":1,"nodes":3,"port_offset":-1}"#]
        {
            assert!(refusal(&recorded(damaged), None, None).contains("is damaged"), "{damaged}");
        }
    }

    #[test]
    fn other_directories_of_ours_are_refused() {
        let node = scratch();
        fs::write(node.path().join("IDENTITY"), "").expect("writes");
        assert!(refusal(&node, None, None).contains("data directory of a single node"));
        let lost = scratch();
        fs::create_dir(lost.path().join("n2")).expect("makes");
        assert!(refusal(&lost, None, None).contains("holds n2 but no dev.json"));
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_an_error_with_a_remedy() {
        let scratch = scratch();
        let file = scratch.path().join("file");
        fs::write(&file, "").expect("writes");
        let error = format!("{:#}", Directory::open(&file, None, None).expect_err("must be refused"));
        assert!(error.contains("--data-dir"), "{error}");
    }
}
