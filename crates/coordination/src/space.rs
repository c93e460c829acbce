//! Where Steadfast's own records live among everybody's keys. Why there: `docs/design/0012-coordination.md`.
//!
//! All of them begin with [`SPACE`]: in plain sight, so that any client of etcd can read and watch them, and like all keys in snapshots.
//! Below it, what people declare and what they watch has its name ([`room`]); what is about one life of one cluster (plans under way, who holds
//! what) lies under that cluster's id ([`of_cluster`]), so that neither a restored copy nor a neighbour in a shared etcd takes it for its own.

use bytes::Bytes;
use steadfast_types::ClusterId;

use crate::error::OutOfBounds;
use crate::keys::Prefix;

/// What all keys of Steadfast's own records begin with.
pub const SPACE: &str = "steadfast/";

/// The records of one room, a word like `health` or `jobs`, that keep their names over all clusters: `steadfast/ROOM/`.
///
/// # Errors
/// The name is too long.
pub fn room(name: &str) -> Result<Prefix, OutOfBounds> {
    Prefix::new(Bytes::from(format!("{SPACE}{name}/")))
}

/// The records of one room about one life of one cluster: `steadfast/@ID/ROOM/`.
///
/// # Errors
/// The name is too long.
pub fn of_cluster(cluster: ClusterId, name: &str) -> Result<Prefix, OutOfBounds> {
    Prefix::new(Bytes::from(format!("{SPACE}@{cluster}/{name}/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_and_clusters_lie_apart() {
        assert_eq!(room("health").unwrap().bytes().as_ref(), b"steadfast/health/");
        assert_eq!(of_cluster(ClusterId(0xc0ffee), "recovery").unwrap().bytes().as_ref(), b"steadfast/@c0ffee/recovery/");
    }
}
