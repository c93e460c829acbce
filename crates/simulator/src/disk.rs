//! A disk in memory that behaves as badly as a real one may.
//!
//! It lives longer than the processes that use it: [`SimulatedDisk::power_failure`] ends the process's handles and keeps only what a
//! machine without power keeps; [`SimulatedDisk::kill`] ends them and keeps everything, as the operating system's cache does.
//!
//! Invariants:
//! 1. Bytes that a successful [`DiskFile::sync`] covered survive every crash, until they are overwritten or a corruption is asked for.
//! 2. Of what was written later, each sector survives or not by itself (torn and reordered writes), in any of the versions it had; so does
//!    the file's length.
//! 3. Creations, renames and removals since the last [`Disk::sync_directory`] survive or not, in order for each name; a rename is atomic.
//! 4. After a failed sync the lost sectors read as written until the machine stops, and a later sync does not write them.
//! 5. The same seed and the same calls give the same bytes. Reading draws no randomness.
//!
//! A misdirected write shows in the sector that it hit: that holds what another should. Left out: the sector that it missed, which holds what it held before, and reads that fail.

mod directory;
mod inode;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use steadfast_types::Rng;
use steadfast_types::disk::{Disk, DiskError, DiskFile};
use xxhash_rust::xxh3::Xxh3;

use directory::{Directory, InodeId};
use inode::Inode;
pub use inode::SECTOR_BYTES;

/// How a disk misbehaves from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DiskFaults {
    /// The probability that a sync fails.
    pub sync_failure: f64,
    /// No file can grow and none can be made.
    pub full: bool,
}

/// A handle on a simulated disk, for one process life. Clones are handles for the same life.
#[derive(Clone)]
pub struct SimulatedDisk {
    shared: Arc<Mutex<Shared>>,
    life: u64,
}

/// An open file of a [`SimulatedDisk`].
pub struct SimulatedFile {
    disk: SimulatedDisk,
    name: String,
    inode: InodeId,
    _open: Arc<()>,
}

struct Shared {
    rng: Rng,
    directory: Directory,
    inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    life: u64,
    operations_until_failure: Option<u64>,
    faults: DiskFaults,
    failures: u64,
}

impl SimulatedDisk {
    /// An empty disk whose whole misfortune follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let shared = Shared {
            rng: Rng::with_seed(seed),
            directory: Directory::default(),
            inodes: BTreeMap::new(),
            next_inode: InodeId(1),
            life: 0,
            operations_until_failure: None,
            faults: DiskFaults::default(),
            failures: 0,
        };
        SimulatedDisk { shared: Arc::new(Mutex::new(shared)), life: 0 }
    }

    /// The machine loses its power now: all handles are dead, and of what was not synced a random part is kept.
    pub fn power_failure(&self) {
        self.shared.lock().power_failure();
    }

    /// The machine loses its power at the change after the next `operations` changes (writes, syncs, directory changes), in the middle of
    /// whatever makes it.
    pub fn power_failure_after(&self, operations: u64) {
        self.shared.lock().operations_until_failure = Some(operations);
    }

    /// The process is killed and the machine goes on: all handles are dead, nothing is lost.
    pub fn kill(&self) {
        let mut shared = self.shared.lock();
        shared.life += 1;
        shared.operations_until_failure = None;
    }

    /// Whether this handle's process life is over.
    pub fn is_dead(&self) -> bool {
        self.shared.lock().life != self.life
    }

    /// A handle for the next process on this machine.
    #[must_use]
    pub fn reopen(&self) -> SimulatedDisk {
        let life = self.shared.lock().life;
        SimulatedDisk { shared: Arc::clone(&self.shared), life }
    }

    /// Changes how the disk misbehaves.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.shared.lock().faults = faults;
    }

    /// Takes back [`SimulatedDisk::power_failure_after`], if the power has not failed yet.
    pub fn cancel_power_failure(&self) {
        self.shared.lock().operations_until_failure = None;
    }

    /// How many calls failed because of [`DiskFaults`], ever.
    pub fn failures(&self) -> u64 {
        self.shared.lock().failures
    }

    /// Damages one sector of `name` where it rests: some bits flip, or all of it becomes zeros. Whether there was such a sector.
    pub fn corrupt(&self, name: &str, sector: u64) -> bool {
        let shared = &mut *self.shared.lock();
        let Some(inode) = shared.directory.lookup(name).and_then(|id| shared.inodes.get_mut(&id)) else { return false };
        inode.corrupt(sector, &mut shared.rng)
    }

    /// Damages one random sector that holds something, of a file whose name `wanted` accepts; says which.
    pub fn corrupt_any(&self, wanted: impl Fn(&str) -> bool) -> Option<(String, u64)> {
        let (name, sector) = {
            let shared = &mut *self.shared.lock();
            let files: Vec<_> = shared.directory.names().filter(|(name, _)| wanted(name)).collect();
            let (name, inode) = shared.rng.choice(files)?;
            (name.to_owned(), shared.inodes.get(&inode)?.any_sector(&mut shared.rng)?)
        };
        self.corrupt(&name, sector).then_some((name, sector))
    }

    /// Damages the sector that was written last to the last of the files that `wanted` accepts; says which.
    pub fn corrupt_newest(&self, wanted: impl Fn(&str) -> bool) -> Option<(String, u64)> {
        let (name, sector) = {
            let shared = self.shared.lock();
            let (name, inode) = shared.directory.names().filter(|(name, _)| wanted(name)).last()?;
            (name.to_owned(), shared.inodes.get(&inode)?.newest_sector()?)
        };
        self.corrupt(&name, sector).then_some((name, sector))
    }

    /// The files that `lost` accepts are gone, for good.
    pub fn lose(&self, lost: impl Fn(&str) -> bool) {
        let mut shared = self.shared.lock();
        let names: Vec<String> = shared.directory.names().map(|(name, _)| name.to_owned()).filter(|name| lost(name)).collect();
        names.iter().for_each(|name| shared.directory.remove(name));
        shared.directory.sync();
    }

    /// The machine gets a new, empty disk. All handles are dead.
    pub fn wipe(&self) {
        let mut shared = self.shared.lock();
        shared.life += 1;
        shared.operations_until_failure = None;
        shared.directory = Directory::default();
        shared.inodes.clear();
    }

    /// A hash of every name and byte as a process sees them, to compare two runs.
    pub fn hash(&self) -> u64 {
        let shared = self.shared.lock();
        let mut hasher = Xxh3::new();
        for (name, id) in shared.directory.names() {
            hasher.update(name.as_bytes());
            shared.inodes[&id].hash(&mut hasher);
        }
        hasher.digest()
    }

    /// The state, for a call that reads.
    fn reading(&self) -> Result<MutexGuard<'_, Shared>, DiskError> {
        let shared = self.shared.lock();
        if shared.life == self.life { Ok(shared) } else { Err(powerless()) }
    }

    /// The state, for a call that changes something: the place where the power may fail.
    fn changing(&self) -> Result<MutexGuard<'_, Shared>, DiskError> {
        let mut shared = self.reading()?;
        match &mut shared.operations_until_failure {
            Some(0) => {
                shared.power_failure();
                return Err(powerless());
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(shared)
    }

    fn file(&self, name: &str, inode: InodeId, open: Arc<()>) -> SimulatedFile {
        SimulatedFile { disk: self.clone(), name: name.to_owned(), inode, _open: open }
    }
}

fn powerless() -> DiskError {
    DiskError::Failed("this process's machine has lost its power".to_owned())
}

impl Shared {
    fn power_failure(&mut self) {
        self.life += 1;
        self.operations_until_failure = None;
        // Some crashes lose everything, some nothing, most something: each shape finds other bugs.
        let kept = match self.rng.u8(0..4) {
            0 => 0.0,
            1 => 1.0,
            _ => self.rng.f64(),
        };
        self.directory.power_failure(kept, &mut self.rng);
        for inode in self.inodes.values_mut() {
            inode.power_failure(kept, &mut self.rng);
        }
        self.forget_unreachable();
    }

    /// Drops files that no name, no pending directory change and no open handle reaches.
    fn forget_unreachable(&mut self) {
        let reachable = self.directory.reachable();
        self.inodes.retain(|id, inode| reachable.binary_search(id).is_ok() || inode.is_open());
    }

    fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).expect("an open file's contents are kept")
    }

    fn refuse_if_full(&mut self, name: &str) -> Result<(), DiskError> {
        self.failures += u64::from(self.faults.full);
        if self.faults.full { Err(DiskError::Full(name.to_owned())) } else { Ok(()) }
    }

    fn sync_fails(&mut self) -> bool {
        // No draw without the fault, so that switching it off for the end of a run leaves the other draws as they were.
        let fails = self.faults.sync_failure > 0.0 && self.rng.f64() < self.faults.sync_failure;
        self.failures += u64::from(fails);
        fails
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn open(&self, name: &str) -> Result<SimulatedFile, DiskError> {
        let mut shared = self.reading()?;
        let inode = shared.directory.lookup(name).ok_or_else(|| DiskError::NotFound(name.to_owned()))?;
        let open = shared.inode(inode).opened();
        Ok(self.file(name, inode, open))
    }

    fn create(&self, name: &str) -> Result<SimulatedFile, DiskError> {
        let mut shared = self.changing()?;
        if let Some(inode) = shared.directory.lookup(name) {
            shared.inode(inode).set_length(0);
            let open = shared.inode(inode).opened();
            return Ok(self.file(name, inode, open));
        }
        shared.refuse_if_full(name)?;
        let inode = shared.next_inode;
        shared.next_inode = InodeId(inode.0 + 1);
        shared.directory.create(name, inode);
        shared.inodes.insert(inode, Inode::default());
        let open = shared.inode(inode).opened();
        Ok(self.file(name, inode, open))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.reading()?.directory.names().map(|(name, _)| name.to_owned()).collect())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut shared = self.changing()?;
        if shared.directory.rename(from, to) { Ok(()) } else { Err(DiskError::NotFound(from.to_owned())) }
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.changing()?.directory.remove(name);
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        let mut shared = self.changing()?;
        if shared.sync_fails() {
            return Err(DiskError::Failed("sync of the directory: input/output error".to_owned()));
        }
        if shared.directory.sync() {
            shared.forget_unreachable();
        }
        Ok(())
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        Ok(self.disk.reading()?.inode(self.inode).read_at(offset, buffer))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut shared = self.disk.changing()?;
        if offset + bytes.len() as u64 > shared.inode(self.inode).length() {
            shared.refuse_if_full(&self.name)?;
        }
        shared.inode(self.inode).write_at(offset, bytes);
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let shared = &mut *self.disk.changing()?;
        if shared.sync_fails() {
            let inode = shared.inodes.get_mut(&self.inode).expect("an open file's contents are kept");
            inode.fail_sync(&mut shared.rng);
            return Err(DiskError::Failed(format!("{}: sync: input/output error", self.name)));
        }
        shared.inode(self.inode).sync();
        Ok(())
    }

    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.disk.reading()?.inode(self.inode).length())
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        let mut shared = self.disk.changing()?;
        if length > shared.inode(self.inode).length() {
            shared.refuse_if_full(&self.name)?;
        }
        shared.inode(self.inode).set_length(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
