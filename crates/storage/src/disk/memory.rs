//! A disk in memory that forgets like a real one.
//!
//! 1. What was synced is there after a crash. Of what was not, each sector of 512 bytes is there as written, or as it was, independently.
//! 2. Of the directory operations since the last directory sync, each is there or not, independently; a rename is one operation.
//!
//! Faults come only when a test asks for them: [`MemoryDisk::crashed`], [`MemoryDisk::edit`], [`MemoryDisk::set_capacity`],
//! [`MemoryDisk::fail_syncs`]. It leaves out latency, and reads that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use steadfast_types::disk::{Disk, DiskError, DiskFile};

/// Bytes that are written as one or not at all.
const SECTOR: usize = 512;

/// A directory in memory. Clones share it; [`MemoryDisk::fork`] copies it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryFile {
    state: Arc<Mutex<State>>,
    inode: usize,
}

#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Since the last directory sync, in order.
    pending: Vec<Operation>,
    /// How many bytes all named files may hold; `None`: any number.
    capacity: Option<usize>,
    syncs_fail: bool,
    syncs: u64,
    writes: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors of `current` written since the last sync.
    unsynced: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum Operation {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        MemoryDisk::default()
    }

    /// A copy that shares nothing with this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        MemoryDisk { state: Arc::new(Mutex::new(self.state.lock().clone())) }
    }

    /// What a power failure would leave: `keep` says of each unsynced sector and directory operation whether it survives. This disk is
    /// unchanged, so one moment can be crashed in many ways.
    #[must_use]
    pub fn crashed(&self, mut keep: impl FnMut() -> bool) -> Self {
        let mut state = self.state.lock().clone();
        let mut names = std::mem::take(&mut state.durable_names);
        for operation in std::mem::take(&mut state.pending).into_iter().filter(|_| keep()) {
            operation.apply(&mut names);
        }
        state.inodes.iter_mut().for_each(|inode| inode.crash(&mut keep));
        state.durable_names = names.clone();
        state.names = names;
        MemoryDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// The bytes of a file.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.state.lock();
        state.inodes[state.names[name]].current.clone()
    }

    /// Changes the bytes of a file behind its owner's back, durably: what latent corruption does.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn edit(&self, name: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        let inode = state.names[name];
        change(&mut state.inodes[inode].current);
        change(&mut state.inodes[inode].durable);
    }

    /// From now on a write that would make the files hold more than `bytes` together fails with [`DiskError::Full`].
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.state.lock().capacity = bytes;
    }

    /// Whether syncs of files fail from now on.
    pub fn fail_syncs(&self, fail: bool) {
        self.state.lock().syncs_fail = fail;
    }

    /// How many file syncs were asked for so far.
    pub fn sync_count(&self) -> u64 {
        self.state.lock().syncs
    }

    /// How many writes were made so far.
    pub fn write_count(&self) -> u64 {
        self.state.lock().writes
    }
}

impl Operation {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Operation::Create(name, inode) => {
                names.insert(name, inode);
            }
            Operation::Rename(from, to, inode) => {
                names.remove(&from);
                names.insert(to, inode);
            }
            Operation::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

impl State {
    fn operate(&mut self, operation: Operation) {
        operation.clone().apply(&mut self.names);
        self.pending.push(operation);
    }

    fn has_room(&self, inode: usize, length: usize) -> bool {
        let growth = length.saturating_sub(self.inodes[inode].current.len());
        let used = || self.names.values().map(|&inode| self.inodes[inode].current.len()).sum::<usize>();
        growth == 0 || self.capacity.is_none_or(|capacity| used() + growth <= capacity)
    }
}

impl Inode {
    fn touch(&mut self, from: usize, to: usize) {
        self.unsynced.extend(from / SECTOR..to.div_ceil(SECTOR));
    }

    fn resize(&mut self, length: usize) {
        let before = self.current.len();
        self.current.resize(length, 0);
        self.touch(before.min(length), before.max(length));
    }

    fn crash(&mut self, keep: &mut impl FnMut() -> bool) {
        let mut after = self.durable.clone();
        for sector in std::mem::take(&mut self.unsynced).into_iter().filter(|_| keep()) {
            let range = sector * SECTOR..self.current.len().min((sector + 1) * SECTOR);
            if range.is_empty() {
                after.truncate(range.start.min(after.len()));
                continue;
            }
            after.resize(after.len().max(range.end), 0);
            after[range.clone()].copy_from_slice(&self.current[range]);
        }
        self.current.clone_from(&after);
        self.durable = after;
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn open(&self, name: &str) -> Result<MemoryFile, DiskError> {
        match self.state.lock().names.get(name) {
            Some(&inode) => Ok(MemoryFile { state: self.state.clone(), inode }),
            None => Err(DiskError::NotFound(name.to_owned())),
        }
    }

    fn create(&self, name: &str) -> Result<MemoryFile, DiskError> {
        let mut state = self.state.lock();
        let inode = match state.names.get(name) {
            Some(&inode) => {
                state.inodes[inode].resize(0);
                inode
            }
            None => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.operate(Operation::Create(name.to_owned(), inode));
                inode
            }
        };
        Ok(MemoryFile { state: self.state.clone(), inode })
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        let Some(&inode) = state.names.get(from) else { return Err(DiskError::NotFound(from.to_owned())) };
        state.operate(Operation::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        if state.names.contains_key(name) {
            state.operate(Operation::Remove(name.to_owned()));
        }
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        state.durable_names = state.names.clone();
        state.pending.clear();
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let state = self.state.lock();
        let bytes = &state.inodes[self.inode].current;
        let from = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        let from = usize::try_from(offset).map_err(|_| DiskError::Full("memory".to_owned()))?;
        let to = from + bytes.len();
        if !state.has_room(self.inode, to) {
            return Err(DiskError::Full("memory".to_owned()));
        }
        state.writes += 1;
        let inode = &mut state.inodes[self.inode];
        if to > inode.current.len() {
            inode.resize(to);
        }
        inode.current[from..to].copy_from_slice(bytes);
        inode.touch(from, to);
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        state.syncs += 1;
        if state.syncs_fail {
            return Err(DiskError::Failed("memory: the sync failed, as asked".to_owned()));
        }
        let inode = &mut state.inodes[self.inode];
        inode.durable.resize(inode.current.len(), 0);
        for sector in std::mem::take(&mut inode.unsynced) {
            let range = (sector * SECTOR).min(inode.current.len())..inode.current.len().min((sector + 1) * SECTOR);
            inode.durable[range.clone()].copy_from_slice(&inode.current[range]);
        }
        Ok(())
    }

    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.state.lock().inodes[self.inode].current.len() as u64)
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        let length = usize::try_from(length).map_err(|_| DiskError::Full("memory".to_owned()))?;
        if !state.has_room(self.inode, length) {
            return Err(DiskError::Full("memory".to_owned()));
        }
        state.inodes[self.inode].resize(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
        let disk = MemoryDisk::new();
        let file = disk.create("a").unwrap();
        file.write_at(0, &[1; 1024]).unwrap();
        file.sync().unwrap();
        disk.sync_directory().unwrap();
        file.write_at(0, &[2; 1536]).unwrap();
        disk.create("b").unwrap();
        let mut choices = [false, true, false, true].into_iter();
        let after = disk.crashed(|| choices.next().unwrap());
        assert_eq!(after.list().unwrap(), ["a"]);
        assert_eq!(after.bytes("a"), [[2; 512], [1; 512], [2; 512]].concat());
        assert_eq!(disk.crashed(|| false).bytes("a"), [1; 1024]);
        assert_eq!(disk.crashed(|| true).list().unwrap(), ["a", "b"]);
        assert_eq!(disk.bytes("a"), [2; 1536], "the disk that was asked goes on");
    }

    #[test]
    fn a_full_disk_and_a_failing_sync_say_so() {
        let disk = MemoryDisk::new();
        disk.set_capacity(Some(100));
        let file = disk.create("a").unwrap();
        assert!(matches!(file.write_at(0, &[0; 101]), Err(DiskError::Full(_))));
        file.write_at(0, &[7; 100]).unwrap();
        disk.fail_syncs(true);
        assert!(file.sync().is_err());
        assert_eq!(disk.crashed(|| false).list().unwrap(), Vec::<String>::new());
    }
}
