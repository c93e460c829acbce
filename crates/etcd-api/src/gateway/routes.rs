//! Which path is which call: the paths that etcd's protos give their methods.

use std::collections::HashMap;

use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

use crate::proto;

/// Paths below `/v3/`, and the methods that they call. All are called by POST.
///
/// etcd gives `HashKV` the path of `Hash`, where it is never reached.
const PATHS: &[(&str, &str)] = &[
    ("kv/range", "etcdserverpb.KV/Range"),
    ("kv/put", "etcdserverpb.KV/Put"),
    ("kv/deleterange", "etcdserverpb.KV/DeleteRange"),
    ("kv/txn", "etcdserverpb.KV/Txn"),
    ("kv/compaction", "etcdserverpb.KV/Compact"),
    ("watch", "etcdserverpb.Watch/Watch"),
    ("lease/grant", "etcdserverpb.Lease/LeaseGrant"),
    ("lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("kv/lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("lease/keepalive", "etcdserverpb.Lease/LeaseKeepAlive"),
    ("lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("kv/lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("kv/lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("cluster/member/add", "etcdserverpb.Cluster/MemberAdd"),
    ("cluster/member/remove", "etcdserverpb.Cluster/MemberRemove"),
    ("cluster/member/update", "etcdserverpb.Cluster/MemberUpdate"),
    ("cluster/member/list", "etcdserverpb.Cluster/MemberList"),
    ("cluster/member/promote", "etcdserverpb.Cluster/MemberPromote"),
    ("maintenance/alarm", "etcdserverpb.Maintenance/Alarm"),
    ("maintenance/status", "etcdserverpb.Maintenance/Status"),
    ("maintenance/defragment", "etcdserverpb.Maintenance/Defragment"),
    ("maintenance/hash", "etcdserverpb.Maintenance/Hash"),
    ("maintenance/snapshot", "etcdserverpb.Maintenance/Snapshot"),
    ("maintenance/transfer-leadership", "etcdserverpb.Maintenance/MoveLeader"),
    ("maintenance/downgrade", "etcdserverpb.Maintenance/Downgrade"),
    ("auth/enable", "etcdserverpb.Auth/AuthEnable"),
    ("auth/disable", "etcdserverpb.Auth/AuthDisable"),
    ("auth/status", "etcdserverpb.Auth/AuthStatus"),
    ("auth/authenticate", "etcdserverpb.Auth/Authenticate"),
    ("auth/user/add", "etcdserverpb.Auth/UserAdd"),
    ("auth/user/get", "etcdserverpb.Auth/UserGet"),
    ("auth/user/list", "etcdserverpb.Auth/UserList"),
    ("auth/user/delete", "etcdserverpb.Auth/UserDelete"),
    ("auth/user/changepw", "etcdserverpb.Auth/UserChangePassword"),
    ("auth/user/grant", "etcdserverpb.Auth/UserGrantRole"),
    ("auth/user/revoke", "etcdserverpb.Auth/UserRevokeRole"),
    ("auth/role/add", "etcdserverpb.Auth/RoleAdd"),
    ("auth/role/get", "etcdserverpb.Auth/RoleGet"),
    ("auth/role/list", "etcdserverpb.Auth/RoleList"),
    ("auth/role/delete", "etcdserverpb.Auth/RoleDelete"),
    ("auth/role/grant", "etcdserverpb.Auth/RoleGrantPermission"),
    ("auth/role/revoke", "etcdserverpb.Auth/RoleRevokePermission"),
    ("lock/lock", "v3lockpb.Lock/Lock"),
    ("lock/unlock", "v3lockpb.Lock/Unlock"),
    ("election/campaign", "v3electionpb.Election/Campaign"),
    ("election/proclaim", "v3electionpb.Election/Proclaim"),
    ("election/leader", "v3electionpb.Election/Leader"),
    ("election/observe", "v3electionpb.Election/Observe"),
    ("election/resign", "v3electionpb.Election/Resign"),
];

/// Which sides of a call are streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    /// One message each way.
    Neither,
    /// The answers.
    Answers,
    /// Both.
    Both,
}

/// A method: how it is called, and its messages.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    pub(super) path: PathAndQuery,
    pub(super) request: MessageDescriptor,
    pub(super) answer: MessageDescriptor,
    pub(super) streams: Streams,
}

impl Method {
    fn new(name: &str, descriptor: &MethodDescriptor) -> Self {
        let streams = match (descriptor.is_client_streaming(), descriptor.is_server_streaming()) {
            (true, _) => Streams::Both,
            (false, true) => Streams::Answers,
            (false, false) => Streams::Neither,
        };
        let path = PathAndQuery::try_from(format!("/{name}")).expect("the names of the protos make a path");
        Method { path, request: descriptor.input(), answer: descriptor.output(), streams }
    }
}

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Found {
    /// This method.
    Method(Method),
    /// Nothing, though it is a path of the gateway.
    Nothing,
}

/// The methods by their paths.
#[derive(Debug)]
pub(crate) struct Routes(HashMap<&'static str, Method>);

impl Routes {
    /// Those of our own protos.
    pub(crate) fn new() -> Self {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the descriptors are our own");
        let route = |&(path, name): &(&'static str, &str)| Some((path, Method::new(name, &method(&pool, name)?)));
        Routes(PATHS.iter().filter_map(route).collect())
    }

    /// What a request's path leads to; `None`: it is not the gateway's.
    pub(crate) fn find(&self, path: &str) -> Option<Found> {
        let below = path.strip_prefix("/v3/").or_else(|| path.strip_prefix("/v3beta/"))?;
        Some(self.0.get(below).map_or(Found::Nothing, |method| Found::Method(method.clone())))
    }
}

/// The method with this name, if the protos have it.
fn method(pool: &DescriptorPool, name: &str) -> Option<MethodDescriptor> {
    let (service, method) = name.split_once('/')?;
    pool.get_service_by_name(service)?.methods().find(|descriptor| descriptor.name() == method)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::Kind;

    use super::*;

    fn pool() -> DescriptorPool {
        DescriptorPool::decode(proto::DESCRIPTORS).expect("the descriptors are our own")
    }

    #[test]
    fn every_method_of_etcds_services_has_a_path_and_every_path_a_method() {
        let offered = |service: &str| !service.starts_with("steadfast.");
        let methods = |service: prost_reflect::ServiceDescriptor| {
            service.methods().map(|method| format!("{}/{}", service.full_name(), method.name())).collect::<Vec<_>>()
        };
        let services: Vec<_> = pool().services().filter(|service| offered(service.full_name())).collect();
        let names: BTreeSet<String> = services.iter().map(|service| service.full_name().to_owned()).collect();
        // RangeStream is gRPC's alone in etcd too.
        let without = ["etcdserverpb.Maintenance/HashKV", "etcdserverpb.KV/RangeStream"];
        let there: BTreeSet<String> = services.into_iter().flat_map(methods).filter(|name| !without.contains(&name.as_str())).collect();
        let named = PATHS.iter().filter(|(_, name)| names.contains(name.split('/').next().expect("a service")));
        assert_eq!(named.map(|(_, name)| (*name).to_owned()).collect::<BTreeSet<_>>(), there);
    }

    #[test]
    fn paths_lead_to_methods_under_both_prefixes() {
        let routes = Routes::new();
        for path in ["/v3/watch", "/v3beta/watch"] {
            let Some(Found::Method(method)) = routes.find(path) else { panic!("{path}") };
            assert_eq!((method.path.as_str(), method.streams), ("/etcdserverpb.Watch/Watch", Streams::Both));
        }
        assert!(matches!(routes.find("/v3/kv/range/"), Some(Found::Nothing)));
        assert!(matches!(routes.find("/v3/"), Some(Found::Nothing)));
        for path in ["/v3", "/v3alpha/kv/range", "/v2/keys", "/health"] {
            assert!(routes.find(path).is_none(), "{path}");
        }
    }

    /// What `decode` does not read, because nothing here needs it.
    #[test]
    fn no_message_has_maps_or_floating_point_numbers() {
        for message in pool().all_messages() {
            for field in message.fields() {
                assert!(!field.is_map() && !matches!(field.kind(), Kind::Double | Kind::Float), "{}", field.full_name());
            }
        }
    }
}
