//! From a snapshot to a state: etcd's, or ours, which has the same form.

use steadfast_bbolt::{ReadAt, Reader};
use steadfast_state::auth::Auth;
use steadfast_state::reader::Write;
use steadfast_state::seed::{Seed, SeedError, SeedOptions, Seeded};
use steadfast_types::tables::Tables;
use steadfast_types::{LeaseId, Revision};

use crate::{schema, users};

/// Why a snapshot can't be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is damaged.
    #[error(transparent)]
    File(#[from] steadfast_bbolt::Error),
    /// It is a bbolt file, but not etcd's.
    #[error("it has no bucket `{0}`: it is not a snapshot of etcd's data, or not one of version 3.4 or later")]
    NoBucket(&'static str),
    /// An entry that etcd does not write.
    #[error("the key {key:02x?} in bucket `{bucket}` can't be read: the file is damaged, or a later etcd wrote it")]
    Entry {
        /// Where.
        bucket: &'static str,
        /// Its key.
        key: Vec<u8>,
    },
    /// The state can't be made.
    #[error(transparent)]
    Seed(#[from] SeedError),
}

/// What a snapshot came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The state.
    pub seeded: Seeded,
    /// Its revision in the snapshot.
    pub revision: Revision,
    /// Its compact revision in the snapshot.
    pub compact: Revision,
    /// Writes taken over.
    pub writes: u64,
    /// Leases taken over.
    pub leases: u64,
}

/// What is made of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Raise the revision by this much, see [`SeedOptions::bump`].
    pub bump: i64,
    /// Leave out users and roles.
    pub without_users: bool,
}

/// Reads a snapshot into empty tables. `settle` does the tables' jobs; `progress` hears how
/// many bytes of keys and values have been read.
///
/// # Errors
/// See [`ImportError`]. The tables are to be thrown away then.
pub fn import<T: Tables, F: ReadAt + ?Sized>(
    snapshot: &Reader<'_, F>,
    tables: T,
    options: ImportOptions,
    settle: impl FnMut(&mut T) -> Result<(), SeedError>,
    progress: &mut dyn FnMut(u64),
) -> Result<(T, Imported), ImportError> {
    let compact = compact_revision(snapshot)?;
    let mut seed = Seed::new(tables, SeedOptions { compact, bump: options.bump }, settle);
    let (mut writes, mut bytes, mut revision) = (0, 0, compact.max(Revision(1)));
    for entry in snapshot.bucket(schema::KEY)?.ok_or(ImportError::NoBucket("key"))? {
        let (key, value) = entry?;
        writes += 1;
        bytes += (key.len() + value.len()) as u64;
        let unreadable = || ImportError::Entry { bucket: "key", key: key.to_vec() };
        let write: Write = schema::decode_write(&key, value).ok_or_else(unreadable)?;
        revision = revision.max(write.revision);
        seed.write(write)?;
        progress(bytes);
    }
    let auth = if options.without_users { Auth::default() } else { read_auth(snapshot)? };
    if auth != Auth::default() {
        seed.auth(&auth)?;
    }
    let mut leases = 0;
    // A lease that can't be read ends the seeding, and is told by its own name.
    let mut failed = None;
    let granted = snapshot.bucket(schema::LEASE)?.ok_or(ImportError::NoBucket("lease"))?.map(|entry| {
        let lease = entry.map_err(ImportError::File).and_then(|(key, value)| lease(&key, value));
        leases += 1;
        lease.map_err(|error| {
            let told = SeedError::disk(&error);
            failed = Some(error);
            told
        })
    });
    let finished = seed.finish(granted);
    if let Some(error) = failed {
        return Err(error);
    }
    let (tables, seeded) = finished?;
    Ok((tables, Imported { seeded, revision, compact, writes, leases }))
}

fn lease(key: &[u8], value: bytes::Bytes) -> Result<(LeaseId, i64), ImportError> {
    schema::decode_lease(key, value).ok_or_else(|| ImportError::Entry { bucket: "lease", key: key.to_vec() })
}

/// The compaction that was begun last: etcd ends at its start what it had not ended. -1: there was none.
fn compact_revision<F: ReadAt + ?Sized>(snapshot: &Reader<'_, F>) -> Result<Revision, ImportError> {
    let mut compact = Revision(-1);
    for entry in snapshot.bucket(schema::META)?.ok_or(ImportError::NoBucket("meta"))? {
        let (name, value) = entry?;
        if name == schema::META_SCHEDULED || name == schema::META_FINISHED {
            let unreadable = || ImportError::Entry { bucket: "meta", key: name.to_vec() };
            let (revision, _, _) = schema::decode_revision_key(&value).ok_or_else(unreadable)?;
            compact = compact.max(revision);
        }
    }
    Ok(compact)
}

/// Users and roles.
fn read_auth<F: ReadAt + ?Sized>(snapshot: &Reader<'_, F>) -> Result<Auth, ImportError> {
    let unreadable = |bucket, key: &[u8]| ImportError::Entry { bucket, key: key.to_vec() };
    let (mut enabled, mut revision) = (false, Auth::default().revision());
    for entry in snapshot.bucket(schema::AUTH)?.into_iter().flatten() {
        let (key, value) = entry?;
        if key == users::ENABLED {
            enabled = value[..] == [1];
        } else if key == users::REVISION {
            revision = u64::from_be_bytes(value[..].try_into().map_err(|_| unreadable("auth", &key))?);
        }
    }
    let (mut all_users, mut all_roles) = (Vec::new(), Vec::new());
    for entry in snapshot.bucket(schema::AUTH_USERS)?.into_iter().flatten() {
        let (key, value) = entry?;
        all_users.push(users::decode_user(&key, value).ok_or_else(|| unreadable("authUsers", &key))?);
    }
    for entry in snapshot.bucket(schema::AUTH_ROLES)?.into_iter().flatten() {
        let (key, value) = entry?;
        all_roles.push(users::decode_role(&key, value).ok_or_else(|| unreadable("authRoles", &key))?);
    }
    Ok(Auth::new(enabled, revision, all_users, all_roles))
}

/// What a hash of a snapshot is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashed {
    /// Everything, as `etcdutl snapshot status` shows it.
    Everything,
    /// All but how far the log is applied, as etcd's Maintenance.Hash has it.
    AllButPosition,
}

/// What `etcdutl snapshot status` shows of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// CRC-32C over the buckets' names, and their keys and values.
    pub hash: u32,
    /// Of the newest write that is in it.
    pub revision: i64,
    /// Keys of all buckets.
    pub total_keys: u64,
    /// Without its seal, bytes.
    pub total_bytes: u64,
}

/// Reads all of a snapshot, and so checks every page. `progress` hears how many bytes of keys and values have been read.
///
/// # Errors
/// It is damaged.
pub fn summarize<F: ReadAt + ?Sized>(
    snapshot: &Reader<'_, F>,
    hashed: Hashed,
    progress: &mut dyn FnMut(u64),
) -> Result<Summary, ImportError> {
    let (mut hash, mut revision, mut total_keys, mut bytes) = (0, 0, 0, 0);
    for name in snapshot.buckets()? {
        hash = crc32c::crc32c_append(hash, &name);
        for entry in snapshot.bucket(&name)?.into_iter().flatten() {
            let (key, value) = entry?;
            let is_position = name == schema::META && (key == schema::META_INDEX || key == schema::META_TERM);
            if hashed == Hashed::Everything || !is_position {
                hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, &key), &value);
            }
            total_keys += 1;
            bytes += (key.len() + value.len()) as u64;
            progress(bytes);
            if name == schema::KEY {
                let unreadable = || ImportError::Entry { bucket: "key", key: key.to_vec() };
                revision = schema::decode_revision_key(&key).ok_or_else(unreadable)?.0.0;
            }
        }
    }
    Ok(Summary { hash, revision, total_keys, total_bytes: snapshot.size_bytes() })
}
