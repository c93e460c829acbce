//! A snapshot of this process as the system sees it: memory, descriptors, limits, maps, pressure, what it reads and writes, how full its disk is.
//!
//! Of the environment only names are told. What the system does not say, or not to us, is left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use procfs::process::{FDTarget, LimitValue, MMapPath, Process as Proc};
use procfs::{CpuPressure, Current, IoPressure, MemoryPressure};
use serde::{Deserialize, Serialize};

use super::clean;

/// Names of mappings that are told, the largest ones; the others are one row.
const MAPPINGS: usize = 40;

/// The process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(super) pid: u32,
    pub(super) command: Vec<String>,
    /// The names of its variables.
    pub(super) environment: Vec<String>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) peak_resident_bytes: Option<u64>,
    /// Of its control group.
    pub(super) memory_limit_bytes: Option<u64>,
    pub(super) memory_kills: Option<u64>,
    /// How many descriptors are open of each kind.
    pub(super) descriptors: BTreeMap<String, u64>,
    pub(super) descriptor_limit: Option<u64>,
    /// Memory maps by name, the largest first.
    pub(super) mappings: Vec<Mapping>,
    pub(super) pressure: Pressure,
    /// Bytes and calls, as in `/proc/self/io`.
    pub(super) io: BTreeMap<String, u64>,
    pub(super) disk_used_per_mille: Option<u64>,
    pub(super) inodes_used_per_mille: Option<u64>,
    /// `/proc/self/status`.
    pub(super) status: String,
    /// `/proc/self/limits`.
    pub(super) limits: String,
}

/// The mappings of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mapping {
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) bytes: u64,
}

/// Shares of the last minute in which the machine's tasks waited, of a thousand (PSI).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pressure {
    /// Some waited for a processor.
    pub(super) cpu_some: Option<u64>,
    /// All waited for memory.
    pub(super) memory_full: Option<u64>,
    /// All waited for a disk.
    pub(super) io_full: Option<u64>,
}

impl Process {
    /// The process now. `data_dir`: where its data is. It reads files, so it belongs on a thread that may block.
    pub(super) fn now(data_dir: &Path) -> Self {
        let Ok(own) = Proc::myself() else { return Process { pid: std::process::id(), ..Process::default() } };
        let status = own.status().ok();
        let bytes = |kibibytes: Option<u64>| kibibytes.map(|kibibytes| kibibytes * 1024);
        let (memory_limit_bytes, memory_kills) = control_group();
        let (disk_used_per_mille, inodes_used_per_mille) = disk(data_dir);
        Process {
            pid: std::process::id(),
            command: clean::command(own.cmdline().unwrap_or_default()),
            environment: names(&own),
            resident_bytes: bytes(status.as_ref().and_then(|status| status.vmrss)),
            peak_resident_bytes: bytes(status.as_ref().and_then(|status| status.vmhwm)),
            memory_limit_bytes,
            memory_kills,
            descriptors: descriptors(&own),
            descriptor_limit: descriptor_limit(&own),
            mappings: mappings(&own),
            pressure: pressure(),
            io: io(&own),
            disk_used_per_mille,
            inodes_used_per_mille,
            status: fs::read_to_string("/proc/self/status").unwrap_or_default(),
            limits: fs::read_to_string("/proc/self/limits").unwrap_or_default(),
        }
    }

    /// How many descriptors are open.
    pub(super) fn open_descriptors(&self) -> u64 {
        self.descriptors.values().sum()
    }
}

fn names(own: &Proc) -> Vec<String> {
    let variables = own.environ().unwrap_or_default();
    let mut names: Vec<String> = variables.into_keys().map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn descriptors(own: &Proc) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for descriptor in own.fd().into_iter().flatten().flatten() {
        let kind = match descriptor.target {
            FDTarget::Path(path) if path.starts_with("/dev") => "device",
            FDTarget::Path(_) => "file",
            FDTarget::Socket(_) | FDTarget::Net(_) => "socket",
            FDTarget::Pipe(_) => "pipe",
            FDTarget::AnonInode(_) => "event",
            FDTarget::MemFD(_) => "memory",
            FDTarget::Other(..) | FDTarget::Unknown(..) => "other",
        };
        *counts.entry(kind.to_owned()).or_default() += 1;
    }
    counts
}

fn descriptor_limit(own: &Proc) -> Option<u64> {
    match own.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(limit) => Some(limit),
        LimitValue::Unlimited => None,
    }
}

fn mappings(own: &Proc) -> Vec<Mapping> {
    let mut by_name: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for map in own.maps().map(|maps| maps.0).unwrap_or_default() {
        let name = match map.pathname {
            MMapPath::Path(path) => path.display().to_string(),
            MMapPath::Anonymous => "(anonymous)".to_owned(),
            other => format!("({})", format!("{other:?}").to_lowercase()),
        };
        let (count, bytes) = by_name.entry(name).or_default();
        *count += 1;
        *bytes += map.address.1.saturating_sub(map.address.0);
    }
    let mut mappings: Vec<Mapping> = by_name.into_iter().map(|(name, (count, bytes))| Mapping { name, count, bytes }).collect();
    mappings.sort_by_key(|mapping| std::cmp::Reverse(mapping.bytes));
    let small = mappings.split_off(mappings.len().min(MAPPINGS));
    if !small.is_empty() {
        let total = |of: fn(&Mapping) -> u64| small.iter().map(of).sum();
        mappings.push(Mapping {
            name: "(others)".to_owned(),
            count: total(|mapping| mapping.count),
            bytes: total(|mapping| mapping.bytes),
        });
    }
    mappings
}

fn pressure() -> Pressure {
    let per_mille = |percent: f32| (f64::from(percent) * 10.0).round() as u64;
    Pressure {
        cpu_some: CpuPressure::current().ok().map(|pressure| per_mille(pressure.some.avg60)),
        memory_full: MemoryPressure::current().ok().map(|pressure| per_mille(pressure.full.avg60)),
        io_full: IoPressure::current().ok().map(|pressure| per_mille(pressure.full.avg60)),
    }
}

fn io(own: &Proc) -> BTreeMap<String, u64> {
    let Ok(io) = own.io() else { return BTreeMap::new() };
    let rows = [
        ("read by calls, bytes", io.rchar),
        ("written by calls, bytes", io.wchar),
        ("read calls", io.syscr),
        ("write calls", io.syscw),
        ("read from the disk, bytes", io.read_bytes),
        ("written to the disk, bytes", io.write_bytes),
    ];
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What its control group (version 2) lets it have, and how often the kernel has killed in it.
fn control_group() -> (Option<u64>, Option<u64>) {
    let of_process = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = of_process.lines().find_map(|line| line.strip_prefix("0::/")) else { return (None, None) };
    let folder = Path::new("/sys/fs/cgroup").join(path);
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let limit = read("memory.max").and_then(|text| text.trim().parse().ok());
    let kills = read("memory.events").and_then(|text| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()));
    (limit, kills)
}

/// Bytes and inodes of the data's file system that are used, of a thousand.
fn disk(data_dir: &Path) -> (Option<u64>, Option<u64>) {
    let Ok(system) = rustix::fs::statvfs(data_dir) else { return (None, None) };
    let used = |total: u64, free: u64| (total > 0).then(|| (total - free.min(total)).saturating_mul(1000) / total);
    (used(system.f_blocks, system.f_bavail), used(system.f_files, system.f_ffree))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let process = Process::now(Path::new("/"));
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(process.open_descriptors() >= 3 && process.descriptor_limit.is_some_and(|limit| limit >= process.open_descriptors()));
        assert!(!process.mappings.is_empty() && process.mappings.len() <= MAPPINGS + 1);
        assert!(process.environment.contains(&"PATH".to_owned()));
        assert!(process.disk_used_per_mille.is_some_and(|used| used <= 1000));
        assert!(process.status.contains("VmRSS") && process.limits.contains("Max open files"));
    }
}
