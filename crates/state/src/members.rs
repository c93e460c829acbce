//! The members of the cluster as rows: their names and addresses. Who votes is consensus's business, see `Configuration`.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;
use steadfast_types::limits::REMOVED_MEMBERS;
use steadfast_types::tables::{Tables, TablesError, TablesReader};
use steadfast_types::wire::Wire;
use steadfast_types::{Level, NodeId};

use crate::command::{CommandError, Member, Outcome};
use crate::rows::{MEMBERS, META, META_REMOVED, NEWEST, decode_member, decode_meta, member_key};
use crate::transition::Transition;

/// All members, by id.
pub(crate) fn all<R: TablesReader>(tables: &R) -> Result<Vec<Member>, TablesError> {
    tables.scan(MEMBERS, (Bound::Unbounded, Bound::Unbounded), NEWEST).map(|row| decode_member(row?)).collect()
}

/// The members that were removed, oldest first: the last [`REMOVED_MEMBERS`].
pub(crate) fn removed<R: TablesReader>(tables: &R) -> Result<Vec<NodeId>, TablesError> {
    let row = tables.get(META, &META_REMOVED, NEWEST)?;
    row.map_or(Ok(Vec::new()), decode_meta)
}

impl<T: Tables> Transition<'_, T> {
    pub(crate) fn member(&self, id: NodeId) -> Result<Member, CommandError> {
        let row = self.reader.get(MEMBERS, &member_key(id), NEWEST)?;
        row.map_or(Err(CommandError::MemberNotFound), |row| Ok(decode_member(row)?))
    }

    pub(crate) fn write_member(&mut self, member: &Member) {
        self.members_changed = true;
        self.insert_newest(MEMBERS, member_key(member.id), Some(member.to_wire().into()));
    }

    /// No other member may have one of these peer addresses.
    fn check_peer_urls(&self, id: NodeId, peer_urls: &[String]) -> Result<(), CommandError> {
        let taken = all(self.reader)?.iter().any(|other| other.id != id && peer_urls.iter().any(|url| other.peer_urls.contains(url)));
        if taken { Err(CommandError::PeerUrlExists) } else { Ok(()) }
    }

    pub(crate) fn member_add(&mut self, member: &Member) -> Result<Outcome, CommandError> {
        match self.member(member.id) {
            Ok(_) => return Err(CommandError::MemberExists),
            Err(CommandError::MemberNotFound) => {}
            Err(other) => return Err(other),
        }
        self.check_peer_urls(member.id, &member.peer_urls)?;
        self.write_member(member);
        Ok(Outcome::Done)
    }

    pub(crate) fn member_remove(&mut self, id: NodeId) -> Result<Outcome, CommandError> {
        self.member(id)?;
        self.members_changed = true;
        self.insert_newest(MEMBERS, member_key(id), None);
        if *self.level >= Level::REMEMBERED_REMOVALS {
            let mut removed = removed(self.reader)?;
            removed.push(id);
            removed.drain(..removed.len().saturating_sub(REMOVED_MEMBERS));
            self.insert_newest(META, META_REMOVED, Some(removed.to_wire().into()));
        }
        self.clear_alarms_of(id);
        Ok(Outcome::Done)
    }

    pub(crate) fn member_promote(&mut self, id: NodeId) -> Result<Outcome, CommandError> {
        let member = self.member(id)?;
        if !member.learner {
            return Err(CommandError::MemberNotLearner);
        }
        self.write_member(&Member { learner: false, ..member });
        Ok(Outcome::Done)
    }

    pub(crate) fn member_update(&mut self, id: NodeId, peer_urls: Vec<String>) -> Result<Outcome, CommandError> {
        let member = self.member(id)?;
        self.check_peer_urls(id, &peer_urls)?;
        self.write_member(&Member { peer_urls, ..member });
        Ok(Outcome::Done)
    }

    pub(crate) fn member_publish(&mut self, id: NodeId, name: String, client_urls: Vec<String>) -> Result<Outcome, CommandError> {
        let member = self.member(id)?;
        self.write_member(&Member { name, client_urls, ..member });
        Ok(Outcome::Done)
    }

    /// Gives a member to the first node that claims it, for good. One that has started, or was never to be claimed, has a name. Nonce 0 is
    /// nobody's.
    pub(crate) fn member_claim(&mut self, peer_url: &String, nonce: u64) -> Result<Outcome, CommandError> {
        let mut members = all(self.reader)?.into_iter();
        let member = members.find(|member| member.peer_urls.contains(peer_url)).ok_or(CommandError::MemberNotFound)?;
        if nonce != 0 && member.claimed_by == nonce {
            return Ok(Outcome::Claimed(member));
        }
        if nonce == 0 || member.claimed_by != 0 || !member.name.is_empty() {
            return Err(CommandError::MemberClaimed);
        }
        let claimed = Member { claimed_by: nonce, ..member };
        self.write_member(&claimed);
        Ok(Outcome::Claimed(claimed))
    }
}
