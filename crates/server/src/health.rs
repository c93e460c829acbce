//! The health of the cluster's nodes and services as strong state has it: decided once, by the leader, read alike by all servers.

pub(crate) mod view;
