//! A file system of a known size for one node's data, so that it can be full: a tmpfs, which only root may mount.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::CWD;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Takes the room.
const BALLAST: &str = "ballast";

/// A mounted one; unmounted at its end.
#[derive(Debug)]
pub(super) struct LimitedDisk {
    path: PathBuf,
}

impl LimitedDisk {
    /// Mounts one of so many MiB, at a directory that is made.
    pub(super) fn mount(path: &Path, size_mib: u64) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let options = std::ffi::CString::new(format!("size={size_mib}m,mode=0700"))?;
        mount("steadfast-drill", path, "tmpfs", MountFlags::NODEV | MountFlags::NOSUID, options.as_c_str()).with_context(|| {
            format!("cannot mount a small file system at {}: only root may, and not in every container", path.display())
        })?;
        Ok(LimitedDisk { path: path.to_owned() })
    }

    /// Takes all the room that is left.
    pub(super) fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.path.join(BALLAST))?;
        let mut piece = vec![0x5a; 64 * 1024];
        while !piece.is_empty() {
            match ballast.write(&piece) {
                Ok(1..) => {}
                Ok(0) => break,
                Err(error) if error.kind() == ErrorKind::StorageFull => piece.truncate(piece.len() / 2),
                Err(error) => return Err(error).context("filling the disk"),
            }
        }
        Ok(())
    }

    /// Gives it back.
    pub(super) fn empty(&self) -> Result<()> {
        rustix::fs::unlinkat(CWD, self.path.join(BALLAST), rustix::fs::AtFlags::empty()).context("emptying the disk")
    }
}

impl Drop for LimitedDisk {
    fn drop(&mut self) {
        // What still uses it keeps it until it ends.
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("steadfast: {} stays mounted ({error}): unmount it by hand", self.path.display());
        }
    }
}
