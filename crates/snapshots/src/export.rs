//! From a state that is held still to a snapshot.

use std::fs::File;
use std::io;
use std::path::Path;

use steadfast_bbolt::{WriteError, Writer};
use steadfast_state::command::Member;
use steadfast_state::reader::Pinned;
use steadfast_types::Term;
use steadfast_types::tables::{TablesError, TablesReader};

use crate::order::{OrderError, SORT_BYTES, sorted};
use crate::schema::{self, encode_write};
use crate::users;

/// How often it is asked whether the snapshot is still wanted, rows.
const ASK_ROWS: usize = 4096;

/// What a snapshot says of the cluster that it is of. Whoever restores it begins a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The term.
    pub term: Term,
    /// The members.
    pub members: Vec<Member>,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The tables are damaged.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// The disk is full, or fails.
    #[error("writing it: {0}")]
    Io(#[from] io::Error),
    /// The rows are not in order: the tables are damaged in a way that their checksums do not show.
    #[error("the rows are not in order: {0}")]
    Order(String),
    /// Whoever asked has gone.
    #[error("it is not wanted any more")]
    Unwanted,
}

impl From<OrderError> for ExportError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Tables(error) => ExportError::Tables(error),
            OrderError::Io(error) => ExportError::Io(error),
            OrderError::Unwanted => ExportError::Unwanted,
        }
    }
}

impl From<WriteError> for ExportError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => ExportError::Io(error),
            WriteError::Order(what) => ExportError::Order(what),
        }
    }
}

/// Writes a snapshot into an empty file. `directory` is where temporary files may be; `wanted` is asked now and then.
///
/// # Errors
/// See [`ExportError`].
pub fn export<R: TablesReader>(
    pinned: &Pinned<R>,
    cluster: &Cluster,
    file: File,
    directory: &Path,
    wanted: &dyn Fn() -> bool,
) -> Result<File, ExportError> {
    let mut writer = Writer::new(file)?;
    write_meta(&mut writer, pinned, cluster)?;
    writer.bucket(schema::LEASE)?;
    for lease in pinned.leases() {
        let (id, ttl_s) = lease?;
        let (key, value) = schema::encode_lease(id, ttl_s);
        writer.put(&key, &value)?;
    }
    writer.bucket(schema::KEY)?;
    let mut rows = 0usize;
    let mut ask = || {
        rows += 1;
        if rows.is_multiple_of(ASK_ROWS) && !wanted() { Err(ExportError::Unwanted) } else { Ok(()) }
    };
    for entry in sorted(pinned.kept(), directory, SORT_BYTES, wanted)? {
        let (key, value) = entry?;
        writer.put(&key, &value)?;
        ask()?;
    }
    for write in pinned.since(pinned.revision()) {
        let (key, value) = encode_write(write?);
        writer.put(&key, &value)?;
        ask()?;
    }
    Ok(writer.finish()?)
}

/// Every bucket but the large ones.
fn write_meta<R: TablesReader>(writer: &mut Writer<File>, pinned: &Pinned<R>, cluster: &Cluster) -> Result<(), ExportError> {
    schema::EMPTY.iter().try_for_each(|name| writer.bucket(name))?;
    let auth = pinned.auth()?;
    writer.bucket(schema::AUTH)?;
    users::encode_state(&auth).iter().try_for_each(|(key, value)| writer.put(key, value))?;
    writer.bucket(schema::AUTH_ROLES)?;
    auth.roles().filter_map(|name| auth.role(name)).map(users::encode_role).try_for_each(|(key, value)| writer.put(&key, &value))?;
    writer.bucket(schema::AUTH_USERS)?;
    auth.users().filter_map(|name| auth.user(name)).map(users::encode_user).try_for_each(|(key, value)| writer.put(&key, &value))?;
    writer.bucket(schema::CLUSTER)?;
    writer.put(schema::CLUSTER_VERSION.0, schema::CLUSTER_VERSION.1)?;
    writer.bucket(schema::MEMBERS)?;
    // By their keys, which are shorter for smaller ids.
    let mut members: Vec<_> = cluster.members.iter().map(schema::encode_member).collect();
    members.sort_unstable();
    members.iter().try_for_each(|(key, value)| writer.put(key, value))?;
    writer.bucket(schema::META)?;
    let compact = pinned.compact_revision();
    let compacted = (compact.0 >= 0).then(|| schema::revision_key(compact, 0));
    let rows = [
        (schema::META_CONFIGURATION, Some(schema::encode_configuration(&cluster.members))),
        (schema::META_INDEX, Some(pinned.index().0.to_be_bytes().to_vec())),
        (schema::META_FINISHED, compacted.clone()),
        (schema::META_SCHEDULED, compacted),
        (schema::META_TERM, Some(cluster.term.0.to_be_bytes().to_vec())),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            writer.put(name, &value)?;
        }
    }
    Ok(())
}
