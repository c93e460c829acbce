//! What a node holds of all members, as of one moment, for whoever asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use steadfast_membership::{Incarnation, Membership, Role, State};
use steadfast_types::{Instant, NodeId};

/// One member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) address: SocketAddr,
    pub(crate) state: State,
    /// When it came into this state, as seen here.
    pub(crate) since: Instant,
    /// The names of those who found it silent, if it is suspect or failed.
    pub(crate) witnesses: Vec<String>,
    /// The same by their ids.
    pub(crate) witness_ids: Vec<NodeId>,
    pub(crate) incarnation: Incarnation,
    /// When its directory was made, seconds since 1970.
    pub(crate) born: u64,
}

/// All members, this node included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) members: Vec<Seen>,
    /// The whole list has come from another member.
    pub(crate) is_admitted: bool,
}

impl View {
    pub(super) fn of(core: &Membership, is_admitted: bool) -> Self {
        let table = core.table();
        let name = |id: &NodeId| table.view(*id).map_or_else(|| id.to_string(), |member| member.profile.name.clone());
        let seen = |member: steadfast_membership::MemberView<'_>| Seen {
            id: member.profile.id,
            name: member.profile.name.clone(),
            role: member.profile.role,
            address: member.profile.address,
            state: core.state(member.profile.id).unwrap_or(member.state),
            since: member.since,
            witnesses: member.witnesses.iter().map(name).collect(),
            witness_ids: member.witnesses.to_vec(),
            incarnation: member.incarnation,
            born: member.profile.born,
        };
        let mut members: Vec<Seen> = table.iter().map(seen).collect();
        members.sort_by(|one, other| (one.role, &one.name, one.id).cmp(&(other.role, &other.name, other.id)));
        View { members, is_admitted }
    }

    /// Whether no other member takes part, as far as is known here.
    pub(super) fn is_alone(&self) -> bool {
        self.active() <= 1
    }

    /// How many take part.
    pub(crate) fn active(&self) -> usize {
        self.members.iter().filter(|member| member.state.is_active()).count()
    }

    /// Who of this name takes part.
    pub(crate) fn named(&self, name: &str) -> Option<&Seen> {
        self.members.iter().find(|member| member.name == name && member.state.is_active())
    }

    /// The member of a name, peer address or hexadecimal id; of several with one name the one that takes part.
    pub(crate) fn find(&self, word: &str) -> Option<NodeId> {
        let is = |seen: &&Seen| seen.name == word || seen.address.to_string() == word || format!("{:x}", seen.id.0) == word;
        self.named(word).or_else(|| self.members.iter().find(is)).map(|seen| seen.id)
    }

    /// How many are in each state.
    pub(super) fn counts(&self) -> BTreeMap<State, usize> {
        let mut counts = BTreeMap::new();
        self.members.iter().for_each(|member| *counts.entry(member.state).or_default() += 1);
        counts
    }
}
