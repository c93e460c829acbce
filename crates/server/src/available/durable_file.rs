//! Small files that are replaced as a whole.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Replaces a file: after a crash it is as it was or as it is to be, and once this returns the latter.
///
/// # Errors
/// It can't be written; it is as it was.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
