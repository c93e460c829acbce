//! Damage to the files of a stopped node.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Bytes that a disk writes as one.
const SECTOR: usize = 512;

/// What a sector of the log begins with that was never written to.
const BLANK: &[u8] = b"SfL0";

/// How a directory's segments of the log are called.
const SEGMENT: &str = "log-";

/// Turns all bits of one sector of the newest segment of the log, in the middle of what was written. Returns which file and where.
pub(super) fn one_sector(data_dir: &Path) -> Result<(PathBuf, u64)> {
    let store = data_dir.join("store");
    let path = newest_segment(&store).with_context(|| format!("no log to damage in {}", store.display()))?;
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let written = bytes.chunks(SECTOR).take_while(|sector| !sector.starts_with(BLANK)).count();
    if written < 3 {
        bail!("{} has {written} written sectors, too few to damage one in their middle: run the load for longer", path.display());
    }
    let offset = (written / 2 * SECTOR) as u64;
    let turned: Vec<u8> = bytes[written / 2 * SECTOR..][..SECTOR].iter().map(|byte| !byte).collect();
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&turned)?;
    file.sync_all()?;
    Ok((path, offset))
}

/// The segment with the highest number that something was written to.
fn newest_segment(store: &Path) -> Option<PathBuf> {
    let segment = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(SEGMENT));
    let mut segments: Vec<PathBuf> = fs::read_dir(store).ok()?.flatten().map(|entry| entry.path()).filter(segment).collect();
    segments.sort();
    let is_used = |path: &PathBuf| {
        let mut head = [0; BLANK.len()];
        fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head != *BLANK
    };
    segments.into_iter().rev().find(is_used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_written_sector_is_turned_and_nothing_else() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let store = scratch.path().join("store");
        fs::create_dir(&store).expect("a directory");
        one_sector(scratch.path()).expect_err("there is no log");
        let mut log = vec![7; 5 * SECTOR];
        log.extend([BLANK, &[0; SECTOR - 4]].concat());
        fs::write(store.join("log-00000001"), &log).expect("a file");
        fs::write(store.join("log-00000002"), [BLANK, &[0; SECTOR - 4]].concat()).expect("a file");
        let (path, offset) = one_sector(scratch.path()).expect("damaged");
        assert_eq!((path.file_name().expect("a name").to_str(), offset), (Some("log-00000001"), 2 * SECTOR as u64));
        let damaged = fs::read(path).expect("a file");
        let differing: Vec<usize> = (0..log.len()).filter(|at| log[*at] != damaged[*at]).collect();
        assert_eq!(differing, (2 * SECTOR..3 * SECTOR).collect::<Vec<_>>());
    }
}
