//! Users and roles as etcd 3.5 keeps them: `authpb.User` and `authpb.Role` by name, and whether they count.

use bytes::Bytes;
use prost::Message;
use steadfast_state::auth::{Access, Auth, Permission, Role, User};
use steadfast_state::command::KeySpan;

/// AUTH: one byte that is 1 if users must say who they are.
pub(crate) const ENABLED: &[u8] = b"authEnabled";
/// AUTH: the auth revision, 8 bytes.
pub(crate) const REVISION: &[u8] = b"authRevision";

#[derive(Clone, PartialEq, Message)]
struct UserOptions {
    #[prost(bool, tag = "1")]
    no_password: bool,
}

#[derive(Clone, PartialEq, Message)]
struct UserMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    password: Bytes,
    #[prost(string, repeated, tag = "3")]
    roles: Vec<String>,
    #[prost(message, optional, tag = "4")]
    options: Option<UserOptions>,
}

#[derive(Clone, PartialEq, Message)]
struct PermissionMessage {
    /// 0: read, 1: write, 2: both.
    #[prost(int32, tag = "1")]
    access: i32,
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    range_end: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct RoleMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    permissions: Vec<PermissionMessage>,
}

/// The entries of AUTH, in order. None before anything was said of users: etcd has none then.
pub(crate) fn encode_state(auth: &Auth) -> Vec<(&'static [u8], Vec<u8>)> {
    if *auth == Auth::default() {
        return Vec::new();
    }
    vec![(ENABLED, vec![u8::from(auth.is_enabled())]), (REVISION, auth.revision().to_be_bytes().to_vec())]
}

/// A user's entry.
pub(crate) fn encode_user(user: &User) -> (Vec<u8>, Vec<u8>) {
    let User { name, password, no_password, roles } = user.clone();
    let options = Some(UserOptions { no_password });
    (name.clone().into_bytes(), UserMessage { name, password, roles, options }.encode_to_vec())
}

/// The user of an entry.
pub(crate) fn decode_user(key: &[u8], value: Bytes) -> Option<User> {
    let UserMessage { name, password, mut roles, options } = UserMessage::decode(value).ok()?;
    roles.sort_unstable();
    roles.dedup();
    let no_password = options.is_some_and(|options| options.no_password);
    (!name.is_empty() && key == name.as_bytes()).then_some(User { name, password, no_password, roles })
}

/// A role's entry.
pub(crate) fn encode_role(role: &Role) -> (Vec<u8>, Vec<u8>) {
    let permission = |Permission { access, keys: KeySpan { key, range_end } }: &Permission| {
        let access = match access {
            Access::Read => 0,
            Access::Write => 1,
            Access::ReadWrite => 2,
        };
        PermissionMessage { access, key: key.clone(), range_end: range_end.clone() }
    };
    let permissions = role.permissions.iter().map(permission).collect();
    (role.name.clone().into_bytes(), RoleMessage { name: role.name.clone(), permissions }.encode_to_vec())
}

/// The role of an entry.
pub(crate) fn decode_role(key: &[u8], value: Bytes) -> Option<Role> {
    let RoleMessage { name, permissions } = RoleMessage::decode(value).ok()?;
    let permission = |PermissionMessage { access, key, range_end }: PermissionMessage| {
        let access = match access {
            0 => Access::Read,
            1 => Access::Write,
            2 => Access::ReadWrite,
            _ => return None,
        };
        Some(Permission { access, keys: KeySpan { key, range_end } })
    };
    let permissions = permissions.into_iter().map(permission).collect::<Option<Vec<_>>>()?;
    (!name.is_empty() && key == name.as_bytes()).then_some(Role { name, permissions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_roles_come_back_as_they_were() {
        let user = User { name: "u".into(), password: "hash".into(), no_password: false, roles: vec!["a".into(), "b".into()] };
        let certified = User { name: "c".into(), password: Bytes::new(), no_password: true, roles: vec![] };
        for user in [user, certified] {
            let (key, value) = encode_user(&user);
            assert_eq!(decode_user(&key, value.clone().into()), Some(user));
            assert_eq!(decode_user(b"other", value.into()), None);
        }
        let permission = |access| Permission { access, keys: KeySpan { key: "k".into(), range_end: "l".into() } };
        let role = Role { name: "r".into(), permissions: [Access::Read, Access::Write, Access::ReadWrite].map(permission).into() };
        let (key, value) = encode_role(&role);
        assert_eq!(decode_role(&key, value.into()), Some(role));
        let strange = RoleMessage { name: "r".into(), permissions: vec![PermissionMessage { access: 3, ..PermissionMessage::default() }] };
        assert_eq!(decode_role(b"r", strange.encode_to_vec().into()), None);
        assert_eq!(encode_state(&Auth::default()), []);
        let auth = Auth::new(true, 7, [], []);
        assert_eq!(encode_state(&auth), [(ENABLED, vec![1]), (REVISION, vec![0, 0, 0, 0, 0, 0, 0, 7])]);
    }
}
