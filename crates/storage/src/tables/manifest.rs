//! The manifest: the one file that says which files make the tables, and as of which log entry.
//!
//! It is small, written whole into a new file, synced, and renamed over the old one: a crash leaves the one or the other. Table files are
//! durable before a manifest names them, and removed only after a durable manifest no longer does.

use bytes::Bytes;
use std::collections::BTreeMap;
use steadfast_types::LogPosition;
use steadfast_types::disk::{Disk, DiskError, DiskFile};
use steadfast_types::wire::Wire;
use steadfast_types::wire_struct;

use super::format::{CHECKSUM_BYTES, FORMAT, MANIFEST, MANIFEST_NEW, read_whole, take_u32};
use super::options::MANIFEST_BYTES;

const MAGIC: &[u8; 8] = b"SFtables";
const HEADER_BYTES: usize = 12;

/// What the tables consist of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The commit whose inserts, and no later ones, the files hold.
    pub(super) applied: LogPosition,
    /// The next file's id; no file with this id or a greater one belongs to the tables.
    pub(super) next_file: u64,
    /// The horizons that were set, by table.
    pub(super) horizons: BTreeMap<u8, u64>,
    /// The trim keys that were set, by table.
    pub(super) trims: BTreeMap<u8, Bytes>,
    /// The runs of each table, newest first.
    pub(super) tables: BTreeMap<u8, Vec<RunMeta>>,
}
wire_struct!(Manifest { applied, next_file, horizons, trims, tables });

/// Files that follow each other without overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RunMeta {
    pub(super) id: u64,
    pub(super) files: Vec<PartMeta>,
}
wire_struct!(RunMeta { id, files });

/// A file's part in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartMeta {
    pub(super) file: FileMeta,
    /// Keys below this one have been merged elsewhere already.
    pub(super) from: Option<Bytes>,
}
wire_struct!(PartMeta { file, from });

/// A table file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileMeta {
    /// Its name's number in this directory.
    pub(super) id: u64,
    /// The number its checksums were made with: its id where it was written.
    pub(super) birth: u64,
    /// Bytes.
    pub(super) length: u64,
    /// CRC32C of the whole file, for the way to another node.
    pub(super) checksum: u32,
    pub(super) rows: u64,
    pub(super) first_key: Bytes,
    pub(super) first_version: u64,
    pub(super) last_key: Bytes,
    pub(super) last_version: u64,
    /// Rows that have a newer one of the same key in this file.
    pub(super) superseded: Droppable,
    pub(super) tombstones: Droppable,
}
wire_struct!(FileMeta { id, birth, length, checksum, rows, first_key, first_version, last_key, last_version, superseded, tombstones });

/// Rows that can go once the horizon has risen: how many, and between which horizons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Droppable {
    pub(super) rows: u64,
    /// The first can go at this horizon.
    pub(super) low: u64,
    /// All can go at this horizon.
    pub(super) high: u64,
}
wire_struct!(Droppable { rows, low, high });

impl FileMeta {
    fn is_plausible(&self) -> bool {
        let droppable = |rows: &Droppable| rows.rows <= self.rows && rows.low <= rows.high;
        self.rows <= self.length && droppable(&self.superseded) && droppable(&self.tombstones)
    }
}

impl Droppable {
    /// About how many can go at `horizon`, taking them as evenly spread. None if no row can, so that a rewrite is never for nothing.
    pub(super) fn estimate(&self, horizon: u64) -> u64 {
        if self.rows == 0 || horizon < self.low {
            return 0;
        }
        if horizon >= self.high {
            return self.rows;
        }
        let share = u128::from(horizon - self.low + 1) * u128::from(self.rows) / (u128::from(self.high - self.low) + 1);
        u64::try_from(share).expect("a share is no more than the whole").max(1)
    }
}

/// Why bytes are not a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ManifestError {
    Damaged(&'static str),
    NewerFormat(u32),
}

impl Manifest {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        self.encode(&mut out);
        let sum = crc32c::crc32c(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    pub(super) fn from_bytes(bytes: &Bytes) -> Result<Self, ManifestError> {
        let end = bytes.len().checked_sub(CHECKSUM_BYTES).filter(|&end| end >= HEADER_BYTES).ok_or(ManifestError::Damaged("too short"))?;
        if take_u32(bytes, end) != Some(crc32c::crc32c(&bytes[..end])) {
            return Err(ManifestError::Damaged("its checksum is wrong"));
        }
        if bytes[..MAGIC.len()] != MAGIC[..] {
            return Err(ManifestError::Damaged("its first bytes are not a manifest's"));
        }
        match take_u32(bytes, MAGIC.len()).expect("the length was checked") {
            FORMAT => match Manifest::from_wire(bytes.slice(HEADER_BYTES..end)) {
                Ok(manifest) if manifest.is_plausible() => Ok(manifest),
                Ok(_) => Err(ManifestError::Damaged("its content contradicts itself")),
                Err(_) => Err(ManifestError::Damaged("its content is malformed")),
            },
            newer if newer > FORMAT => Err(ManifestError::NewerFormat(newer)),
            _ => Err(ManifestError::Damaged("its format was never released")),
        }
    }

    /// Whether its numbers can be true together, so that they may be added up.
    fn is_plausible(&self) -> bool {
        const FARTHEST: u64 = 1 << 62;
        let total = self.files().try_fold(0u64, |total, file| total.checked_add(file.length)).is_some_and(|total| total < FARTHEST);
        let named = self.tables.values().flatten().all(|run| run.id < self.next_file) && self.next_file < FARTHEST;
        total && named && self.files().all(|file| file.id < self.next_file && file.is_plausible())
    }

    /// All files.
    pub(super) fn files(&self) -> impl Iterator<Item = &FileMeta> {
        self.tables.values().flatten().flat_map(|run| &run.files).map(|part| &part.file)
    }

    /// All files, for changing.
    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut FileMeta> {
        self.tables.values_mut().flatten().flat_map(|run| &mut run.files).map(|part| &mut part.file)
    }
}

/// The bytes of the present manifest; `None` if there is none.
///
/// # Errors
/// The disk failed.
pub(super) fn read<D: Disk>(disk: &D) -> Result<Option<Bytes>, DiskError> {
    match read_whole(disk, MANIFEST, MANIFEST_BYTES as u64) {
        // One that is too long is damaged: as its first bytes alone.
        Ok(bytes) => Ok(Some(bytes.unwrap_or_default().into())),
        Err(DiskError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the manifest, durably. The files it names are durable already.
///
/// # Errors
/// The disk failed. [`DiskError::Full`]: the old one is in force; otherwise it may be the one or the other.
pub(super) fn replace<D: Disk>(disk: &D, bytes: &[u8]) -> Result<(), DiskError> {
    if bytes.len() > MANIFEST_BYTES {
        return Err(DiskError::Full(format!("{MANIFEST} would exceed {MANIFEST_BYTES} bytes: too many files, or too long keys")));
    }
    let write = || -> Result<(), DiskError> {
        let file = disk.create(MANIFEST_NEW)?;
        file.write_at(0, bytes)?;
        file.sync()?;
        disk.rename(MANIFEST_NEW, MANIFEST)
    };
    write()?;
    match disk.sync_directory() {
        Err(DiskError::Full(what)) => Err(DiskError::Failed(format!("{what} after the manifest was renamed"))),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let mut manifest = Manifest { next_file: 9, ..Manifest::default() };
        manifest.trims.insert(3, Bytes::from_static(b"key"));
        manifest.tables.insert(3, vec![RunMeta { id: 4, files: vec![PartMeta::default()] }]);
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes.clone().into()), Ok(manifest));
        for at in 0..bytes.len() {
            assert!(Manifest::from_bytes(&bytes[..at].to_vec().into()).is_err());
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(matches!(Manifest::from_bytes(&damaged.into()), Err(ManifestError::Damaged(_))));
            }
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = Manifest::default().to_bytes();
        bytes.truncate(bytes.len() - 4);
        bytes[8] = 2;
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        assert_eq!(Manifest::from_bytes(&bytes.into()), Err(ManifestError::NewerFormat(2)));
    }

    #[test]
    fn droppable_rows_are_estimated_between_their_horizons() {
        let droppable = Droppable { rows: 100, low: 11, high: 20 };
        assert_eq!([0, 10, 11, 15, 20, u64::MAX].map(|horizon| droppable.estimate(horizon)), [0, 0, 10, 50, 100, 100]);
    }
}
