//! How etcd 3.5 keeps things: the names of the buckets, and how their keys and values are encoded.
//!
//! | bucket | key | value |
//! | --- | --- | --- |
//! | key | revision 8, `_`, sub-revision 8, and `t` for a delete | `mvccpb.KeyValue` |
//! | lease | id 8 | `leasepb.Lease` |
//! | meta | a name | see `META_…` |
//! | members | the id in hexadecimal | JSON |
//! | members_removed | the id in hexadecimal | `removed` |
//! | cluster | `clusterVersion` | text |
//! | auth, authUsers, authRoles | a name | see `users.rs` |
//! | alarm | | empty here |
//!
//! Numbers are big-endian.

use bytes::Bytes;
use prost::Message;
use serde::Serialize;
use steadfast_state::command::{KeyValue, Member};
use steadfast_state::reader::{Change, Write};
use steadfast_types::{LeaseId, Revision};

pub(crate) const KEY: &[u8] = b"key";
pub(crate) const LEASE: &[u8] = b"lease";
pub(crate) const META: &[u8] = b"meta";
pub(crate) const MEMBERS: &[u8] = b"members";
pub(crate) const CLUSTER: &[u8] = b"cluster";
pub(crate) const AUTH: &[u8] = b"auth";
pub(crate) const AUTH_USERS: &[u8] = b"authUsers";
pub(crate) const AUTH_ROLES: &[u8] = b"authRoles";

/// Buckets that etcd expects, and that are empty in our snapshots.
pub(crate) const EMPTY: [&[u8]; 2] = [b"members_removed", b"alarm"];

/// META: how far etcd's log is applied, 8 bytes.
pub(crate) const META_INDEX: &[u8] = b"consistent_index";
/// META: the term of that entry, 8 bytes.
pub(crate) const META_TERM: &[u8] = b"term";
/// META: who votes, JSON.
pub(crate) const META_CONFIGURATION: &[u8] = b"confState";
/// META: the compaction that was begun last, a revision key.
pub(crate) const META_SCHEDULED: &[u8] = b"scheduledCompactRev";
/// META: the compaction that was done last, a revision key.
pub(crate) const META_FINISHED: &[u8] = b"finishedCompactRev";

pub(crate) const CLUSTER_VERSION: (&[u8], &[u8]) = (b"clusterVersion", b"3.5.0");

/// The length of a revision key without the mark of a delete.
const REVISION_BYTES: usize = 17;
const DELETE: u8 = b't';

#[derive(Clone, PartialEq, Message)]
struct KeyValueMessage {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(int64, tag = "2")]
    create_revision: i64,
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(int64, tag = "4")]
    version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
    #[prost(int64, tag = "6")]
    lease: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseMessage {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl: i64,
    /// What was left of it when etcd noted it last; a new leader gives leases their full time in Steadfast.
    #[prost(int64, tag = "3")]
    remaining_ttl: i64,
}

/// A revision key.
pub(crate) fn revision_key(revision: Revision, sub: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(REVISION_BYTES + 1);
    key.extend_from_slice(&revision.0.to_be_bytes());
    key.push(b'_');
    key.extend_from_slice(&i64::from(sub).to_be_bytes());
    key
}

/// The revision, its number, and whether it is a delete.
pub(crate) fn decode_revision_key(key: &[u8]) -> Option<(Revision, u32, bool)> {
    let (plain, mark) = key.split_at_checked(REVISION_BYTES)?;
    let is_delete = match mark {
        [] => false,
        [DELETE] => true,
        _ => return None,
    };
    let number = |bytes: &[u8]| Some(i64::from_be_bytes(bytes.try_into().ok()?));
    let sub = u32::try_from(number(&plain[9..])?).ok()?;
    (plain[8] == b'_').then_some((Revision(number(&plain[..8])?), sub, is_delete))
}

/// A write as the bucket `key` has it.
pub(crate) fn encode_write(write: Write) -> (Vec<u8>, Vec<u8>) {
    let mut key = revision_key(write.revision, write.sub);
    let message = match write.change {
        Change::Put(KeyValue { key, create_revision, mod_revision, version, value, lease }) => {
            KeyValueMessage { key, create_revision: create_revision.0, mod_revision: mod_revision.0, version, value, lease: lease.0 }
        }
        Change::Delete(deleted) => {
            key.push(DELETE);
            KeyValueMessage { key: deleted, ..KeyValueMessage::default() }
        }
    };
    (key, message.encode_to_vec())
}

/// The write in an entry of the bucket `key`.
pub(crate) fn decode_write(key: &[u8], value: Bytes) -> Option<Write> {
    let (revision, sub, is_delete) = decode_revision_key(key)?;
    let KeyValueMessage { key, create_revision, mod_revision, version, value, lease } = KeyValueMessage::decode(value).ok()?;
    let change = if is_delete {
        Change::Delete(key)
    } else {
        let (create_revision, mod_revision) = (Revision(create_revision), Revision(mod_revision));
        Change::Put(KeyValue { key, create_revision, mod_revision, version, value, lease: LeaseId(lease) })
    };
    Some(Write { revision, sub, change })
}

/// A lease as the bucket `lease` has it.
pub(crate) fn encode_lease(id: LeaseId, ttl_s: i64) -> ([u8; 8], Vec<u8>) {
    (id.0.to_be_bytes(), LeaseMessage { id: id.0, ttl: ttl_s, remaining_ttl: 0 }.encode_to_vec())
}

/// The lease in an entry of the bucket `lease`, and its seconds.
pub(crate) fn decode_lease(key: &[u8], value: Bytes) -> Option<(LeaseId, i64)> {
    let LeaseMessage { id, ttl, remaining_ttl: _ } = LeaseMessage::decode(value).ok()?;
    (id != 0 && key == id.to_be_bytes()).then_some((LeaseId(id), ttl))
}

/// A member as etcd's bucket has it.
#[derive(Serialize)]
struct MemberBody<'a> {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    learner: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "clientURLs", skip_serializing_if = "<[String]>::is_empty")]
    client_urls: &'a [String],
}

/// A member's key and value.
pub(crate) fn encode_member(member: &Member) -> (Vec<u8>, Vec<u8>) {
    let Member { id, name, peer_urls, client_urls, learner, .. } = member;
    let body = MemberBody { id: id.0, peer_urls, learner: *learner, name, client_urls };
    (format!("{:x}", id.0).into_bytes(), serde_json::to_vec(&body).expect("a member is plain data"))
}

/// Who votes, as etcd's consensus notes it.
#[derive(Serialize)]
struct ConfigurationBody {
    voters: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    learners: Vec<u64>,
    auto_leave: bool,
}

/// The value of [`META_CONFIGURATION`].
pub(crate) fn encode_configuration(members: &[Member]) -> Vec<u8> {
    let ids = |learner| members.iter().filter(|member| member.learner == learner).map(|member| member.id.0).collect();
    let body = ConfigurationBody { voters: ids(false), learners: ids(true), auto_leave: false };
    serde_json::to_vec(&body).expect("ids are plain data")
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_types::NodeId;

    /// As etcd 3.5.1 wrote them.
    #[test]
    fn the_forms_are_etcds() {
        let kv = KeyValue {
            key: "k".into(),
            create_revision: Revision(2),
            mod_revision: Revision(3),
            version: 2,
            value: "v".into(),
            lease: LeaseId(7),
        };
        let put = Write { revision: Revision(3), sub: 1, change: Change::Put(kv) };
        let (key, value) = encode_write(put.clone());
        assert_eq!(key, b"\0\0\0\0\0\0\0\x03_\0\0\0\0\0\0\0\x01");
        assert_eq!(value, b"\x0a\x01k\x10\x02\x18\x03\x20\x02\x2a\x01v\x30\x07");
        assert_eq!(decode_write(&key, value.into()), Some(put));
        let delete = Write { revision: Revision(4), sub: 0, change: Change::Delete("k".into()) };
        let (key, value) = encode_write(delete.clone());
        assert_eq!((&key[..], &value[..]), (&b"\0\0\0\0\0\0\0\x04_\0\0\0\0\0\0\0\0t"[..], &b"\x0a\x01k"[..]));
        assert_eq!(decode_write(&key, value.into()), Some(delete));
        let (key, value) = encode_lease(LeaseId(258), 60);
        assert_eq!((&key, &value[..]), (b"\0\0\0\0\0\0\x01\x02", &b"\x08\x82\x02\x10\x3c"[..]));
        assert_eq!(decode_lease(&key, value.into()), Some((LeaseId(258), 60)));
        let member = Member { id: NodeId(0xab), name: "n1".into(), peer_urls: vec!["http://h:1".into()], ..Member::default() };
        let (key, value) = encode_member(&member);
        assert_eq!((&key[..], &value[..]), (&b"ab"[..], &br#"{"id":171,"peerURLs":["http://h:1"],"name":"n1"}"#[..]));
        assert_eq!(encode_configuration(&[member]), br#"{"voters":[171],"auto_leave":false}"#);
    }

    #[test]
    fn other_keys_and_values_are_refused() {
        let good = revision_key(Revision(2), 0);
        assert_eq!(decode_revision_key(&good), Some((Revision(2), 0, false)));
        for wrong in [&good[..16], &[&good[..], b"x"].concat(), &[&good[..], b"tt"].concat(), b"", &[0; 17]] {
            assert_eq!(decode_revision_key(wrong), None, "{wrong:?}");
        }
        assert_eq!(decode_write(&good, Bytes::from_static(b"\x0a\x7fk")), None);
        assert_eq!(decode_lease(&[0; 8], Bytes::new()), None);
        assert_eq!(decode_lease(&[1; 8], Bytes::from_static(b"\x08\x01")), None);
    }
}
