//! A member's data directory, after the others were lost for good: what it holds, and beginning the cluster anew with it alone, see
//! [`steadfast_node::quorum_loss`].
//!
//! The cluster's id changes first: from then on no other member of the old cluster is heard, so that there are never two that take writes for
//! one. A crash after that leaves a member that can't elect anyone, until the same is done again.

use std::fmt::Display;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use steadfast_node::quorum_loss::{self, Begun, QuorumLossError, Survivor};
use steadfast_storage::disk::FileDisk;
use steadfast_storage::tables::TablesOptions;
use steadfast_types::{ClusterId, NodeId};

use crate::identity::{Directory, Identity, IdentityError, Membership};
use crate::options::peer_address;
use crate::run::STORE;

/// What another member's machine may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum LastMemberError {
    /// The directory.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What is in it.
    #[error("{path}: {reason}")]
    Store {
        /// The directory.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// The data directory of a member whose cluster lost its quorum; nobody else has it while this lives.
pub struct LastMember {
    directory: Directory,
    membership: Membership,
    survivor: Survivor,
}

impl LastMember {
    /// Opens the directory of a node that does not run, and looks what it holds.
    ///
    /// # Errors
    /// It is no member's, in use, or lost data itself.
    pub fn open(data_dir: &Path) -> Result<Self, LastMemberError> {
        let (directory, membership) = Directory::of_member(data_dir)?;
        let survivor =
            with_store(&directory, |disk| quorum_loss::examine(disk, TablesOptions::default(), &membership.genesis.bootstrap()))?;
        Ok(LastMember { directory, membership, survivor })
    }

    /// Whose directory it is.
    pub fn identity(&self) -> &Identity {
        self.directory.identity()
    }

    /// Its cluster.
    pub fn cluster(&self) -> ClusterId {
        self.membership.cluster
    }

    /// What it holds.
    pub fn survivor(&self) -> &Survivor {
        &self.survivor
    }

    /// The name of a member, or its id where the name is not known.
    pub fn name_of(&self, id: NodeId) -> String {
        let mut members = self.survivor.members.iter();
        members.find(|member| member.id == id && !member.name.is_empty()).map_or_else(|| id.to_string(), |member| member.name.clone())
    }

    /// The other members to whose peer address somebody answers: they run still.
    pub fn running(&self) -> Vec<String> {
        let others = self.survivor.members.iter().filter(|member| member.id != self.identity().node);
        let running = others.filter(|member| member.peer_urls.iter().any(|url| answers(peer_address(url))));
        running.map(|member| self.name_of(member.id)).collect()
    }

    /// Begins the cluster anew with this member alone. Durable on return.
    ///
    /// # Errors
    /// The disk: then the same can be tried again.
    pub fn begin_anew(mut self) -> Result<(ClusterId, Begun), LastMemberError> {
        let id = self.identity().node;
        let cluster = self.directory.begin_anew()?.cluster;
        // The state in the tables may still be the one that followed from the old cluster's beginning.
        let before = self.membership.genesis.bootstrap();
        let begun = with_store(&self.directory, |disk| quorum_loss::begin_alone(disk, TablesOptions::default(), &before, id))?;
        Ok((cluster, begun))
    }
}

fn answers(address: &str) -> bool {
    let addresses = address.to_socket_addrs().into_iter().flatten();
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, ANSWER_WAIT).is_ok())
}

fn with_store<T>(directory: &Directory, work: impl FnOnce(&FileDisk) -> Result<T, QuorumLossError>) -> Result<T, LastMemberError> {
    let path: PathBuf = directory.path().join(STORE);
    let failed = |reason: &dyn Display| LastMemberError::Store { path: path.display().to_string(), reason: reason.to_string() };
    let disk = FileDisk::open(&path).map_err(|error| failed(&error))?;
    work(&disk).map_err(|error| failed(&error))
}
