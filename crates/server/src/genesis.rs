//! How a cluster began: who its founders were. Equal on every member, for good.
//!
//! The state machine's state before the first log entry follows from it ([`Genesis::configuration`], [`Genesis::members`]), so a member
//! that joins later needs it too, to replay a log from its first entry to the same state as everyone.

use steadfast_node::start::Bootstrap;
use steadfast_state::command::Member;
use steadfast_types::wire::Wire;
use steadfast_types::{ClusterId, Configuration, Level, NodeId, wire_struct};

use crate::options::peer_url;

/// A member of the beginning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Founder {
    /// Its name.
    pub name: String,
    /// Where its peers reach it, `host:port`.
    pub address: String,
    /// Its id: of its data directory, as that was in the beginning.
    pub node: NodeId,
}
wire_struct!(Founder { name, address, node });

/// The beginning of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The token that the founders shared.
    token: String,
    /// Sorted by name.
    founders: Vec<Founder>,
    /// The hash of the state that all of them had restored; `None`: the state was empty.
    seed: Option<u64>,
    /// What all founders knew.
    level: Level,
}
wire_struct!(Genesis { token, founders, seed, level });

impl Genesis {
    /// The beginning of a cluster of these founders, in any order, which all know `level`.
    pub fn new(token: &str, founders: impl IntoIterator<Item = Founder>, level: Level) -> Self {
        let mut founders: Vec<Founder> = founders.into_iter().collect();
        founders.sort();
        Genesis { token: token.to_owned(), founders, seed: None, level }
    }

    /// The same, of founders that have all restored the state with this hash.
    #[must_use]
    pub fn with_seed(self, seed: Option<u64>) -> Self {
        Genesis { seed, ..self }
    }

    /// The hash of the state that the founders had restored, if they had.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// The level that the cluster began at.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The founders, sorted by name.
    pub fn founders(&self) -> &[Founder] {
        &self.founders
    }

    /// The cluster's id, which follows from all the rest; never 0.
    pub fn cluster(&self) -> ClusterId {
        let mut bytes = Vec::new();
        self.token.encode(&mut bytes);
        self.founders.encode(&mut bytes);
        // Clusters keep the ids that they had before there were seeds, and levels.
        if let Some(seed) = self.seed {
            seed.encode(&mut bytes);
        }
        if self.level > Level::FIRST {
            self.level.encode(&mut bytes);
        }
        ClusterId(xxhash_rust::xxh3::xxh3_64(&bytes).max(1))
    }

    /// The configuration before the first log entry: every founder votes.
    pub fn configuration(&self) -> Configuration {
        Configuration::of_voters(self.founders.iter().map(|founder| founder.node))
    }

    /// The members before the first log entry. Client addresses come when each has published its own.
    pub fn members(&self) -> Vec<Member> {
        self.founders.iter().map(Founder::member).collect()
    }

    /// All of what follows from it, as a node needs it.
    pub fn bootstrap(&self) -> Bootstrap {
        Bootstrap { configuration: self.configuration(), members: self.members(), level: self.level }
    }
}

impl Founder {
    fn member(&self) -> Member {
        Member { id: self.node, name: self.name.clone(), peer_urls: vec![peer_url(&self.address)], ..Member::default() }
    }
}
