//! Who a data directory belongs to: the file `IDENTITY`.
//!
//! Invariants:
//! 1. A node's id is chosen at random when its directory is made, and is durable before anyone is told. So an emptied directory is a new
//!    identity, whose old votes count no more.
//! 2. Once the directory belongs to a cluster it belongs to it for good. Only where that lost its quorum for good, and on the operator's word,
//!    the directory begins another one ([`Directory::begin_anew`]).
//! 3. The file is replaced as a whole: a crash leaves the old one or the new one.
//!
//! 4. One process at a time has the directory: it holds a lock on the file `LOCK` for as long as it has the [`Directory`].
//!
//! Left out: everything that the replicated state knows better, such as today's members.

mod file;
mod lives;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use steadfast_types::{ClusterId, NodeId};

pub use lives::Life;

use crate::genesis::{Founder, Genesis};
pub(crate) use file::replace;
use file::{FILE, TEMPORARY, read, write};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

const LOCK: &str = "LOCK";

/// Why a data directory can't be used. It is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The operating system refuses.
    #[error("cannot {doing} {path}: {reason}; make the data directory readable and writable for this user, on a disk with free space")]
    Unusable {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: String,
        /// The operating system's words.
        reason: io::Error,
    },
    /// Another process has it.
    #[error("{path} is in use by another process; stop that one, or give this node a directory of its own")]
    InUse {
        /// The directory.
        path: String,
    },
    /// The file is not what was written.
    #[error(
        "{path} is damaged ({what}); if the rest of the directory is sound, bring this file back from a copy, else remove this member \
         (`steadfast member remove`), empty the directory, add it again (`steadfast member add`) and start with --join"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A later version wrote it.
    #[error("{path} was written by a newer Steadfast (format {found}, this one knows {FORMAT}): start it with that version")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
    },
    /// The file is gone, and the data is not.
    #[error(
        "{path} holds data (`{example}`) but no {FILE} file, so whose it is is not known; bring {FILE} back from a copy, or start in an \
         empty directory"
    )]
    Missing {
        /// The directory.
        path: String,
        /// Something in it.
        example: String,
    },
    /// It belongs to a node of another name.
    #[error("{path} belongs to node `{found}`, not to `{wanted}`; start with --name {found}, or in another directory")]
    OtherName {
        /// The directory.
        path: String,
        /// Whose it is.
        found: String,
        /// Who wanted it.
        wanted: String,
    },
    /// It belongs to a node at another address.
    #[error(
        "{path} belongs to the node whose peer address is {found}, not {wanted}; start with --advertise-peer {found}, or first tell the \
         running cluster of the move (`etcdctl member update`)"
    )]
    OtherAddress {
        /// The directory.
        path: String,
        /// The address it was made for.
        found: String,
        /// The address that was given.
        wanted: String,
    },
    /// It is an agent's, and wanted for a server, or the other way round.
    #[error(
        "{path} belongs to a node with the role {found}, and this one is to be {wanted}; start it with --role {found}, or in another directory"
    )]
    OtherRole {
        /// The directory.
        path: String,
        /// What it is.
        found: &'static str,
        /// What was wanted.
        wanted: &'static str,
    },
    /// It belongs to no cluster.
    #[error("{path} belongs to no cluster: give the data directory of a member that has run")]
    Unsettled {
        /// The directory.
        path: String,
    },
    /// It belongs to another cluster.
    #[error(
        "{path} belongs to the cluster with token `{found}`, not `{wanted}`; start with --cluster-token {found}, or in another directory"
    )]
    OtherCluster {
        /// The directory.
        path: String,
        /// The token of its cluster.
        found: String,
        /// The token that was given.
        wanted: String,
    },
}

/// Who a data directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node's id. Of a node that is yet to join it is provisional: the cluster gives it the id it was added with.
    pub node: NodeId,
    /// What the directory claims a member with, see [`steadfast_state::command::Command::MemberClaim`]; never 0.
    pub nonce: u64,
    /// The node's name.
    pub name: String,
    /// Where its peers reach it, `host:port`.
    pub address: String,
    /// What was restored into the directory, if anything was.
    pub restored: Option<Restored>,
    /// Whether it is an agent's, which has no store.
    pub is_agent: bool,
    /// The cluster it belongs to; none yet: it is forming or joining.
    pub membership: Option<Membership>,
}

/// What was restored into a directory: the beginning of a new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Names the state: its hash. All founders must have the same.
    pub hash: u64,
    /// The token of the cluster to be formed.
    pub token: String,
    /// Names and peer addresses of its founders, sorted.
    pub members: Vec<(String, String)>,
}

/// A node's place in its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The cluster.
    pub cluster: ClusterId,
    /// How it began.
    pub genesis: Genesis,
    /// Where the members were reached, `host:port`, when this node formed or joined it: whom to dial until the replicated state says more.
    pub contacts: BTreeMap<NodeId, String>,
}

impl Membership {
    /// The place of a founder.
    pub fn of_founder(genesis: Genesis) -> Self {
        let contacts = genesis.founders().iter().map(|founder| (founder.node, founder.address.clone())).collect();
        Membership { cluster: genesis.cluster(), genesis, contacts }
    }
}

/// A data directory with its identity.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    identity: Identity,
    _lock: File,
}

impl Directory {
    /// Opens the directory, and makes it and its identity if it is not there or empty. The identity is durable on return.
    ///
    /// # Errors
    /// It can't be read or written, is in use, is damaged or of a newer format, or belongs to a node of another name or address.
    pub fn open(path: &Path, name: &str, address: &str) -> Result<Self, IdentityError> {
        Self::open_as(path, name, address, false)
    }

    /// The same, of an agent, which may come back at another address: strong state does not know it.
    ///
    /// # Errors
    /// As for [`Directory::open`].
    pub fn open_agent(path: &Path, name: &str, address: &str) -> Result<Self, IdentityError> {
        Self::open_as(path, name, address, true)
    }

    fn open_as(path: &Path, name: &str, address: &str, is_agent: bool) -> Result<Self, IdentityError> {
        create(path).map_err(|reason| unusable("create", path, reason))?;
        let lock = lock(path)?;
        let Some(identity) = read(path)? else {
            refuse_orphaned_data(path)?;
            let identity = Identity {
                node: NodeId(random()),
                nonce: random(),
                name: name.to_owned(),
                address: address.to_owned(),
                restored: None,
                is_agent,
                membership: None,
            };
            write(path, &identity)?;
            return Ok(Directory { path: path.to_owned(), identity, _lock: lock });
        };
        let directory = path.display().to_string();
        if identity.name != name {
            return Err(IdentityError::OtherName { path: directory, found: identity.name, wanted: name.to_owned() });
        }
        if identity.is_agent != is_agent {
            let word = |is_agent| if is_agent { "agent" } else { "server" };
            return Err(IdentityError::OtherRole { path: directory, found: word(identity.is_agent), wanted: word(is_agent) });
        }
        if identity.address != address && is_agent {
            let mut moved = Directory { path: path.to_owned(), identity, _lock: lock };
            moved.move_to(address)?;
            return Ok(moved);
        }
        if identity.address != address {
            return Err(IdentityError::OtherAddress { path: directory, found: identity.address, wanted: address.to_owned() });
        }
        Ok(Directory { path: path.to_owned(), identity, _lock: lock })
    }

    /// Opens the directory of a member that has run, whoever it is.
    ///
    /// # Errors
    /// It belongs to no cluster; or as for [`Directory::open`].
    pub fn of_member(path: &Path) -> Result<(Self, Membership), IdentityError> {
        let none = || IdentityError::Unsettled { path: path.display().to_string() };
        if !path.is_dir() {
            return Err(none());
        }
        let lock = lock(path)?;
        let identity = read(path)?.ok_or_else(none)?;
        let membership = identity.membership.clone().ok_or_else(none)?;
        Ok((Directory { path: path.to_owned(), identity, _lock: lock }, membership))
    }

    /// Makes the cluster that the directory belongs to another one, of this node alone: no other member of the old one is ever heard again.
    /// Durable on return.
    ///
    /// # Errors
    /// It could not be written; the directory may or may not belong to the new cluster now.
    ///
    /// # Panics
    /// If it belongs to none.
    pub fn begin_anew(&mut self) -> Result<Membership, IdentityError> {
        let old = self.identity.membership.as_ref().expect("a member's directory belongs to a cluster");
        let founder = Founder { name: self.identity.name.clone(), address: self.identity.address.clone(), node: self.identity.node };
        // A name that no other beginning has, not even another one of this node.
        let genesis = Genesis::new(old.genesis.token(), [founder], old.genesis.level()).with_seed(Some(random()));
        let membership = Membership::of_founder(genesis);
        let identity = Identity { membership: Some(membership.clone()), ..self.identity.clone() };
        write(&self.path, &identity)?;
        self.identity = identity;
        Ok(membership)
    }

    /// Notes what was restored into the directory, which belongs to no cluster yet. Durable on return.
    ///
    /// # Errors
    /// It could not be written.
    pub fn restore(&mut self, restored: Restored) -> Result<(), IdentityError> {
        assert!(self.identity.membership.is_none(), "{} already belongs to a cluster", self.path.display());
        let identity = Identity { restored: Some(restored), ..self.identity.clone() };
        write(&self.path, &identity)?;
        self.identity = identity;
        Ok(())
    }

    /// Begins one more life of the process that has the directory: counted durably before anyone is told.
    ///
    /// # Errors
    /// It could not be written.
    pub fn begin_life(&self) -> Result<Life, IdentityError> {
        lives::begin(&self.path)
    }

    /// The identity.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory its place in a cluster, as `node`. Durable on return.
    ///
    /// # Errors
    /// It could not be written; the directory may or may not have its place now.
    pub fn settle(&mut self, node: NodeId, membership: Membership) -> Result<(), IdentityError> {
        assert!(self.identity.membership.is_none(), "{} already belongs to a cluster", self.path.display());
        let identity = Identity { node, membership: Some(membership), ..self.identity.clone() };
        write(&self.path, &identity)?;
        self.identity = identity;
        Ok(())
    }

    /// Notes the node's new peer address, which the cluster has agreed to. Durable on return.
    ///
    /// # Errors
    /// It could not be written.
    pub fn move_to(&mut self, address: &str) -> Result<(), IdentityError> {
        let identity = Identity { address: address.to_owned(), ..self.identity.clone() };
        write(&self.path, &identity)?;
        self.identity = identity;
        Ok(())
    }

    /// Checks that a settled directory is of the cluster with this token.
    ///
    /// # Errors
    /// It is of another.
    pub fn expect_token(&self, token: &str) -> Result<(), IdentityError> {
        match &self.identity.membership {
            Some(membership) if membership.genesis.token() != token => Err(IdentityError::OtherCluster {
                path: self.path.display().to_string(),
                found: membership.genesis.token().to_owned(),
                wanted: token.to_owned(),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// A random number that is not 0, from the operating system.
///
/// # Panics
/// If the operating system has none: nothing here would be safe then.
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    loop {
        let length = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).expect("the system has random numbers");
        match u64::from_le_bytes(bytes) {
            number if length == bytes.len() && number != 0 => return number,
            _ => {}
        }
    }
}

pub(crate) fn unusable(doing: &'static str, path: &Path, reason: io::Error) -> IdentityError {
    IdentityError::Unusable { doing, path: path.display().to_string(), reason }
}

/// Makes the directory, durably: what is later synced in it must not vanish with it.
fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    File::open(parent)?.sync_all()
}

/// Takes the directory for this process; the lock ends with the file handle.
fn lock(path: &Path) -> Result<File, IdentityError> {
    let file_path = path.join(LOCK);
    let file = File::create(&file_path).map_err(|reason| unusable("write", &file_path, reason))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(IdentityError::InUse { path: path.display().to_string() }),
        Err(TryLockError::Error(reason)) => Err(unusable("lock", &file_path, reason)),
    }
}

/// A directory without identity must hold nothing but what is there before a node is: locks, logs of its output, a file system's own.
fn refuse_orphaned_data(path: &Path) -> Result<(), IdentityError> {
    let harmless = |name: &str| {
        matches!(name, TEMPORARY | LOCK | "lost+found") || name.starts_with('.') || name.ends_with("log") || name.ends_with("logs")
    };
    let entries = fs::read_dir(path).map_err(|reason| unusable("list", path, reason))?;
    for entry in entries {
        let entry = entry.map_err(|reason| unusable("list", path, reason))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !harmless(&name) {
            return Err(IdentityError::Missing { path: path.display().to_string(), example: name });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
