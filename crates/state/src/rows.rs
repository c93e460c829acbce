//! The rows: which tables there are, and how keys and values of each are encoded. A released form never changes its meaning; the `FORMAT` in
//! the first row of META says which forms a set of tables holds.
//!
//! | table | key | version | value | horizon |
//! | --- | --- | --- | --- | --- |
//! | KEYS | the user's key | revision | creation, version, lease, sub-revision, value | the compact revision |
//! | HISTORY | revision, sub-revision, kind | revision | the user's key, see [`HistoryKind`] | newest only; trimmed below the compact revision |
//! | META | a name | log index | see below | newest only |
//! | LEASES | lease | log index | time to live | the last entry |
//! | LEASE_KEYS | lease, the user's key | log index | empty | newest only |
//! | MEMBERS | node id | log index | the member | newest only |
//! | USERS | the user's name | log index | the user | newest only |
//! | ROLES | the role's name | log index | the role | newest only |
//! | ALARMS | kind, node id | log index | how it was raised | newest only |
//!
//! Numbers in keys are big-endian, so that they sort.

use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;
use steadfast_types::tables::{KeyRange, Row, TableId, TablesError};
use steadfast_types::wire::{Reader, Wire, WireError};
use steadfast_types::{LeaseId, NodeId, Revision, wire_struct};

use crate::command::{KeyValue, Member};

/// The keys of users, at all revisions.
pub(crate) const KEYS: TableId = TableId(1);
/// What each revision wrote.
pub(crate) const HISTORY: TableId = TableId(2);
/// What is true of the whole.
pub(crate) const META: TableId = TableId(3);
/// The leases.
pub(crate) const LEASES: TableId = TableId(4);
/// Which keys hang on which lease.
pub(crate) const LEASE_KEYS: TableId = TableId(5);
/// The members of the cluster.
pub(crate) const MEMBERS: TableId = TableId(6);
/// Who may be authenticated.
pub(crate) const USERS: TableId = TableId(7);
/// What users may do.
pub(crate) const ROLES: TableId = TableId(8);
/// What is wrong with which member.
pub(crate) const ALARMS: TableId = TableId(9);

/// META: a [`Summary`].
pub(crate) const META_SUMMARY: Bytes = Bytes::from_static(b"summary");
/// META: the configuration at the applied index.
pub(crate) const META_CONFIGURATION: Bytes = Bytes::from_static(b"configuration");
/// META: the remembered hashes.
pub(crate) const META_HASHES: Bytes = Bytes::from_static(b"hashes");
/// META: the entry that condemned this replica, if one did. About this replica alone; not part of the hash.
pub(crate) const META_CONDEMNED: Bytes = Bytes::from_static(b"condemned");

/// META: whether authentication is enabled, and the auth revision; nothing before the first user or role.
pub(crate) const META_AUTH: Bytes = Bytes::from_static(b"auth");
/// META: the cluster's level.
pub(crate) const META_LEVEL: Bytes = Bytes::from_static(b"level");
/// META: the members that were removed, a list of ids.
pub(crate) const META_REMOVED: Bytes = Bytes::from_static(b"removed");

/// The forms described here.
pub(crate) const FORMAT: u8 = 1;

/// Reads the newest row whatever its version.
pub(crate) const NEWEST: u64 = u64::MAX;

/// What [`META_SUMMARY`] holds; written with every entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// [`FORMAT`].
    pub(crate) format: u8,
    /// The current revision.
    pub(crate) revision: Revision,
    /// The compact revision; -1 before the first compaction.
    pub(crate) compact: Revision,
    /// The running hash.
    pub(crate) hash: u64,
}
wire_struct!(Summary { format, revision, compact, hash });

/// The version of KEYS and HISTORY rows that a revision wrote.
pub(crate) fn version_of(revision: Revision) -> u64 {
    u64::try_from(revision.0).unwrap_or(0)
}

/// A value that can't be read back: the tables are damaged.
pub(crate) fn damaged(table: &str, key: &[u8], why: &WireError) -> TablesError {
    TablesError(format!("the row of key {key:02x?} in {table} can't be read: {why}"))
}

/// Appends what stands before the user's value in a KEYS row. `sub` orders the writes of one revision.
pub(crate) fn encode_key_header(create_revision: Revision, version: i64, lease: LeaseId, sub: u32, out: &mut Vec<u8>) {
    create_revision.encode(out);
    version.encode(out);
    lease.encode(out);
    sub.encode(out);
}

/// A row of KEYS: what the user sees of it, and its sub-revision.
pub(crate) fn decode_key_row(row: Row) -> Result<(KeyValue, u32), TablesError> {
    let Row { key, version, value } = row;
    let mut reader = Reader::new(value);
    let mut header = || -> Result<_, WireError> {
        Ok((Revision::decode(&mut reader)?, i64::decode(&mut reader)?, LeaseId::decode(&mut reader)?, u32::decode(&mut reader)?))
    };
    let (create_revision, writes, lease, sub) = header().map_err(|why| damaged("KEYS", &key, &why))?;
    let mod_revision = Revision(i64::try_from(version).map_err(|_| damaged("KEYS", &key, &WireError::Invalid("revision")))?);
    Ok((KeyValue { key, create_revision, mod_revision, version: writes, value: reader.take_rest(), lease }, sub))
}

/// What a HISTORY row says happened, and so what its value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HistoryKind {
    /// A put; the value is the key, and KEYS has the rest at this revision.
    Put,
    /// A delete; the value is the key.
    Delete,
    /// A put of a key that the same revision wrote again later, so that KEYS no longer has it; the value is a [`ReplacedPut`].
    ReplacedPut,
}

/// A put that a later write of the same transaction replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplacedPut {
    /// The user's key.
    pub(crate) key: Bytes,
    /// As in KEYS.
    pub(crate) create_revision: Revision,
    /// As in KEYS.
    pub(crate) version: i64,
    /// As in KEYS.
    pub(crate) lease: LeaseId,
    /// As in KEYS.
    pub(crate) value: Bytes,
}
wire_struct!(ReplacedPut { key, create_revision, version, lease, value });

/// The key of a HISTORY row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HistoryKey {
    /// The revision.
    pub(crate) revision: Revision,
    /// Which write of that revision, from 0.
    pub(crate) sub: u32,
    /// What it was.
    pub(crate) kind: HistoryKind,
}

impl HistoryKey {
    const LENGTH: usize = 13;

    pub(crate) fn encode(self) -> Bytes {
        let mut key = [0u8; Self::LENGTH];
        key[..8].copy_from_slice(&version_of(self.revision).to_be_bytes());
        key[8..12].copy_from_slice(&self.sub.to_be_bytes());
        key[12] = self.kind as u8;
        Bytes::copy_from_slice(&key)
    }

    pub(crate) fn decode(key: &[u8]) -> Result<Self, TablesError> {
        let wrong = || damaged("HISTORY", key, &WireError::Invalid("key"));
        let exact: &[u8; Self::LENGTH] = key.try_into().map_err(|_| wrong())?;
        let [r0, r1, r2, r3, r4, r5, r6, r7, s0, s1, s2, s3, kind] = *exact;
        let kind = match kind {
            0 => HistoryKind::Put,
            1 => HistoryKind::Delete,
            2 => HistoryKind::ReplacedPut,
            _ => return Err(wrong()),
        };
        let revision = i64::try_from(u64::from_be_bytes([r0, r1, r2, r3, r4, r5, r6, r7])).map_err(|_| wrong())?;
        Ok(HistoryKey { revision: Revision(revision), sub: u32::from_be_bytes([s0, s1, s2, s3]), kind })
    }

    /// All rows of HISTORY from `revision` on.
    pub(crate) fn from(revision: Revision) -> KeyRange {
        (Bound::Included(Self::trim(revision)), Bound::Unbounded)
    }

    /// The key that stands before all rows of `revision`, and after all earlier ones.
    pub(crate) fn trim(revision: Revision) -> Bytes {
        Bytes::copy_from_slice(&version_of(revision).to_be_bytes())
    }
}

/// The key of a LEASES row.
pub(crate) fn lease_key(lease: LeaseId) -> Bytes {
    Bytes::copy_from_slice(&lease.0.to_be_bytes())
}

/// The lease of a LEASES key.
pub(crate) fn decode_lease_key(key: &[u8]) -> Result<LeaseId, TablesError> {
    let bytes: [u8; 8] = key.try_into().map_err(|_| damaged("LEASES", key, &WireError::Invalid("key")))?;
    Ok(LeaseId(i64::from_be_bytes(bytes)))
}

/// The value of a LEASES row.
pub(crate) fn encode_lease(ttl_s: i64) -> Bytes {
    ttl_s.to_wire().into()
}

/// The seconds in a LEASES row.
pub(crate) fn decode_lease(row: Row) -> Result<i64, TablesError> {
    i64::from_wire(row.value).map_err(|why| damaged("LEASES", &row.key, &why))
}

/// The key of a LEASE_KEYS row.
pub(crate) fn attached_key(lease: LeaseId, key: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(8 + key.len());
    out.extend_from_slice(&lease.0.to_be_bytes());
    out.extend_from_slice(key);
    out.into()
}

/// All rows of LEASE_KEYS of one lease whose user keys are above `after` (all, if `None`).
pub(crate) fn attached_range(lease: LeaseId, after: Option<&[u8]>) -> KeyRange {
    let start = match after {
        None => Bound::Included(lease_key(lease)),
        Some(key) => Bound::Excluded(attached_key(lease, key)),
    };
    let end = match (lease.0 as u64).checked_add(1) {
        Some(next) => Bound::Excluded(Bytes::copy_from_slice(&next.to_be_bytes())),
        None => Bound::Unbounded,
    };
    (start, end)
}

/// The user's key in a LEASE_KEYS key.
pub(crate) fn decode_attached_key(row: &Row) -> Result<Bytes, TablesError> {
    if row.key.len() < 8 {
        return Err(damaged("LEASE_KEYS", &row.key, &WireError::Truncated));
    }
    Ok(row.key.slice(8..))
}

/// The key of a MEMBERS row.
pub(crate) fn member_key(id: NodeId) -> Bytes {
    Bytes::copy_from_slice(&id.0.to_be_bytes())
}

/// The member in a MEMBERS row.
pub(crate) fn decode_member(row: Row) -> Result<Member, TablesError> {
    Member::from_wire(row.value).map_err(|why| damaged("MEMBERS", &row.key, &why))
}

/// Any value of META.
pub(crate) fn decode_meta<V: Wire>(row: Row) -> Result<V, TablesError> {
    V::from_wire(row.value).map_err(|why| damaged("META", &row.key, &why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// The forms on the disk. If this test fails, old data directories can no longer be read: raise `FORMAT` and convert.
    #[test]
    fn stored_forms_are_as_released() {
        let mut header = Vec::new();
        encode_key_header(Revision(2), 3, LeaseId(-1), 300, &mut header);
        assert_eq!(header, [4, 6, 1, 0xac, 2]);
        assert_eq!(
            HistoryKey { revision: Revision(0x102), sub: 3, kind: HistoryKind::Delete }.encode(),
            vec![0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, 1]
        );
        let replaced = ReplacedPut { key: "k".into(), create_revision: Revision(1), version: 1, lease: LeaseId(0), value: "v".into() };
        assert_eq!(replaced.to_wire(), [1, b'k', 2, 2, 0, 1, b'v']);
        assert_eq!(lease_key(LeaseId(258)), vec![0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(encode_lease(60), vec![120]);
        assert_eq!(attached_key(LeaseId(1), b"k"), vec![0, 0, 0, 0, 0, 0, 0, 1, b'k']);
        assert_eq!(member_key(NodeId(7)), vec![0, 0, 0, 0, 0, 0, 0, 7]);
        let summary = Summary { format: FORMAT, revision: Revision(5), compact: Revision(-1), hash: 9 };
        assert_eq!(summary.to_wire(), [1, 10, 1, 9]);
        let tables = [KEYS, HISTORY, META, LEASES, LEASE_KEYS, MEMBERS, USERS, ROLES, ALARMS].map(|table| table.0);
        assert_eq!(tables, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_key_row_is_read_back() {
        let mut value = Vec::new();
        encode_key_header(Revision(2), 3, LeaseId(7), 1, &mut value);
        value.extend_from_slice(b"value");
        let row = Row { key: "k".into(), version: 9, value: value.into() };
        let expected = KeyValue {
            key: "k".into(),
            create_revision: Revision(2),
            mod_revision: Revision(9),
            version: 3,
            value: "value".into(),
            lease: LeaseId(7),
        };
        assert_eq!(decode_key_row(row.clone()), Ok((expected, 1)));
        assert!(decode_key_row(Row { value: row.value.slice(..2), ..row }).is_err());
    }

    #[test]
    fn history_keys_sort_by_revision_and_are_read_back() {
        let key = |revision, sub, kind| HistoryKey { revision: Revision(revision), sub, kind };
        let ordered = [key(1, 9, HistoryKind::ReplacedPut), key(2, 0, HistoryKind::Delete), key(2, 1, HistoryKind::Put)];
        assert!(ordered.windows(2).all(|pair| pair[0].encode() < pair[1].encode()));
        assert!(HistoryKey::trim(Revision(2)) > ordered[0].encode() && HistoryKey::trim(Revision(2)) < ordered[1].encode());
        for key in ordered {
            assert_eq!(HistoryKey::decode(&key.encode()), Ok(key));
        }
        assert!(HistoryKey::decode(b"short").is_err());
    }
}
