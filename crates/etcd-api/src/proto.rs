//! The messages, generated clients and generated server traits of the protos in `proto/`.
//!
//! Bytes fields are [`bytes::Bytes`]: decoded, they are slices of the receive buffer.
#![allow(missing_docs, clippy::all, reason = "generated code; the protos say what each message is")]

/// Keys, values, events.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Users, roles, permissions.
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// The etcd v3 services.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// Locks that the server waits for.
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// Elections that the server waits for.
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// What Steadfast offers beyond etcd.
pub mod steadfast {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("steadfast.v1");
    }
}

/// The encoded descriptors of all protos, as reflection serves them.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
