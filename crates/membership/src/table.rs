//! The table of all members: compact, every operation on one member O(1), merged in any order.
//!
//! Invariants:
//! 1. A record takes effect if it is greater than what is held ([`crate::member`]); so the same records in any order give the same table.
//! 2. A member that is unknown and at or below the floor is not admitted: it may be one that was forgotten. A live one hears of it and makes a
//!    greater incarnation. So whoever was dead does not come back by an old record, however long ago it was forgotten.
//! 3. `active` holds each alive or suspect member but oneself, once, in the order of the present probing round.
//! 4. `digest` and `sums` are those of the alive and suspect members, oneself included: id, incarnation and version of the profile.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use hashbrown::HashTable;
use steadfast_types::planted::{Bug, is_planted};
use steadfast_types::{Instant, NodeId, Rng};

use crate::limits::{MEMBERS, WITNESSES};
use crate::member::{Incarnation, Profile, Record, Role, State};

mod dead;
mod digest;
mod round;

pub(crate) use digest::{BUCKETS, bucket_of, mix};

/// Not in the list of active members.
const NOWHERE: u32 = u32::MAX;

/// A member's place in the table.
pub(crate) type Slot = u32;

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) profile: Arc<Profile>,
    pub(crate) incarnation: Incarnation,
    /// When it came into its present state, as seen here.
    pub(crate) since: Instant,
    /// In the list of active members.
    position: u32,
    pub(crate) state: State,
    /// Where it waits in the gossip queue: 0 is nowhere.
    pub(crate) level: u8,
    /// Its profile goes with the record in the queue.
    pub(crate) tell_profile: bool,
}

/// A member as others may see it.
#[derive(Clone, Copy, Debug)]
pub struct MemberView<'a> {
    /// Who it is.
    pub profile: &'a Profile,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its state.
    pub state: State,
    /// When it came into this state, as seen here.
    pub since: Instant,
    /// On whose word, if it is suspect or failed.
    pub witnesses: &'a [NodeId],
}

/// What a record did to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Nothing: it is known, or out of date.
    Stale,
    /// Nothing: nobody knows here who that is.
    Unknown,
    /// Nothing: it may have been forgotten.
    BelowFloor,
    /// A member more.
    New(Slot),
    /// A greater incarnation or state; this was its state before.
    Changed(Slot, State),
    /// More words for a state that was known, or a newer profile.
    Added(Slot),
}

/// All members. A clone has their profiles in common with the original.
#[derive(Clone, Debug)]
pub struct Table {
    members: Vec<Option<Member>>,
    free: Vec<Slot>,
    by_id: HashTable<Slot>,
    by_name: HashTable<Slot>,
    active: Vec<Slot>,
    /// How far the present round has come in `active`.
    cursor: usize,
    dead: BTreeSet<(Instant, Slot)>,
    witnesses: BTreeMap<Slot, Vec<NodeId>>,
    own: NodeId,
    digest: u32,
    sums: Box<[u32; BUCKETS]>,
    floor: Incarnation,
}

fn hash_name(name: &str) -> u64 {
    mix(name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)))
}

/// Someone of whom only the end is known.
fn nameless(id: NodeId) -> Arc<Profile> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    Arc::new(Profile {
        id,
        name: String::new(),
        address,
        role: Role::Agent,
        born: u64::MAX,
        version: Incarnation(0),
        metadata: Bytes::new(),
    })
}

impl Table {
    /// The table of someone who knows nobody.
    #[must_use]
    pub fn new(own: Arc<Profile>, incarnation: Incarnation, now: Instant) -> Self {
        let mut table = Table {
            members: Vec::new(),
            free: Vec::new(),
            by_id: HashTable::new(),
            by_name: HashTable::new(),
            active: Vec::new(),
            cursor: 0,
            dead: BTreeSet::new(),
            witnesses: BTreeMap::new(),
            own: own.id,
            digest: 0,
            sums: Box::new([0; BUCKETS]),
            floor: Incarnation(0),
        };
        table.insert(&Record::alive(Arc::clone(&own), incarnation), own, now, &mut Rng::with_seed(0));
        table
    }

    /// The same table as `own` has it, in an order of its own.
    ///
    /// # Panics
    /// If `own` is not in it.
    #[must_use]
    pub fn for_member(mut self, own: NodeId, rng: &mut Rng) -> Self {
        let before = self.slot(self.own).expect("the table's owner is in it");
        self.own = own;
        let slot = self.slot(own).expect("the new owner is in the table");
        if before != slot {
            self.leave_active(slot);
            self.enter_active(before, rng);
        }
        // The next turn begins a round, in an order of its own.
        self.cursor = self.active.len();
        self
    }

    /// Whose table it is.
    #[must_use]
    pub fn own(&self) -> NodeId {
        self.own
    }

    pub(crate) fn slot(&self, id: NodeId) -> Option<Slot> {
        self.by_id.find(mix(id.0), |slot| self.get(*slot).is_some_and(|member| member.profile.id == id)).copied()
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Member> {
        self.members.get(slot as usize)?.as_ref()
    }

    /// A member whose slot was just found.
    pub(crate) fn member(&self, slot: Slot) -> &Member {
        self.get(slot).expect("the slot is taken")
    }

    pub(crate) fn member_mut(&mut self, slot: Slot) -> &mut Member {
        self.members[slot as usize].as_mut().expect("the slot is taken")
    }

    pub(crate) fn find(&self, id: NodeId) -> Option<&Member> {
        self.slot(id).map(|slot| self.member(slot))
    }

    /// A member, if it is known.
    #[must_use]
    pub fn view(&self, id: NodeId) -> Option<MemberView<'_>> {
        self.slot(id).map(|slot| self.view_of(slot, self.member(slot)))
    }

    fn view_of<'a>(&'a self, slot: Slot, member: &'a Member) -> MemberView<'a> {
        let Member { profile, incarnation, state, since, .. } = member;
        MemberView { profile, incarnation: *incarnation, state: *state, since: *since, witnesses: self.witnesses(slot) }
    }

    /// All members that are known by name, oneself and the dead included.
    pub fn iter(&self) -> impl Iterator<Item = MemberView<'_>> {
        self.slots().map(|(slot, member)| self.view_of(slot, member)).filter(|member| !member.profile.name.is_empty())
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = (Slot, &Member)> {
        (0..).zip(&self.members).filter_map(|(slot, member)| Some((slot, member.as_ref()?)))
    }

    pub(crate) fn witnesses(&self, slot: Slot) -> &[NodeId] {
        self.witnesses.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// How many others are alive or suspect.
    #[must_use]
    pub fn others(&self) -> usize {
        self.active.len()
    }

    /// Takes a record in.
    pub(crate) fn merge(&mut self, record: &Record, now: Instant, rng: &mut Rng) -> Merge {
        let Some(slot) = self.slot(record.id) else { return self.admit(record, now, rng) };
        let member = self.member(slot);
        let (held, said) = ((member.incarnation, member.state), (record.incarnation, record.state));
        let revives = is_planted(Bug::StaleRevives) && record.state == State::Alive && member.state == State::Failed;
        let nameless = member.profile.name.is_empty() && record.profile.is_none();
        if (said > held || revives) && nameless && record.state.is_active() {
            return Merge::Unknown;
        }
        let is_newer_profile = self.adopt_profile(slot, record);
        if said > held || revives {
            self.set(slot, record.incarnation, record.state, now, rng);
            self.witnesses.remove(&slot);
            self.add_witnesses(slot, &record.witnesses);
            return Merge::Changed(slot, held.1);
        }
        let more_words = said == held && self.add_witnesses(slot, &record.witnesses);
        if more_words || is_newer_profile { Merge::Added(slot) } else { Merge::Stale }
    }

    fn admit(&mut self, record: &Record, now: Instant, rng: &mut Rng) -> Merge {
        if record.incarnation <= self.floor && self.floor > Incarnation(0) {
            return Merge::BelowFloor;
        }
        let profile = match &record.profile {
            Some(profile) => Arc::clone(profile),
            // Whoever dies before it was known here must not come alive by an older record.
            None if !record.state.is_active() => nameless(record.id),
            None => return Merge::Unknown,
        };
        if self.members.len() - self.free.len() >= MEMBERS {
            return Merge::Stale;
        }
        let slot = self.insert(record, profile, now, rng);
        self.add_witnesses(slot, &record.witnesses);
        Merge::New(slot)
    }

    fn insert(&mut self, record: &Record, profile: Arc<Profile>, now: Instant, rng: &mut Rng) -> Slot {
        let (id, name) = (profile.id, hash_name(&profile.name));
        let member = Member {
            profile,
            incarnation: record.incarnation,
            since: now,
            position: NOWHERE,
            state: record.state,
            level: 0,
            tell_profile: false,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.members[slot as usize] = Some(member);
                slot
            }
            None => {
                self.members.push(Some(member));
                (self.members.len() - 1) as Slot
            }
        };
        let Table { members, by_id, by_name, .. } = self;
        let profile = |slot: &Slot| &members[*slot as usize].as_ref().expect("only taken slots are indexed").profile;
        by_id.insert_unique(mix(id.0), slot, |slot| mix(profile(slot).id.0));
        by_name.insert_unique(name, slot, |slot| hash_name(&profile(slot).name));
        self.count(slot);
        self.enlist(slot, rng);
        slot
    }

    /// Takes over the record's profile if it is newer.
    fn adopt_profile(&mut self, slot: Slot, record: &Record) -> bool {
        let Some(profile) = &record.profile else { return false };
        if profile.version <= self.member(slot).profile.version {
            return false;
        }
        self.discount(slot);
        let old = core::mem::replace(&mut self.member_mut(slot).profile, Arc::clone(profile));
        if old.name != profile.name {
            self.rename(slot, &old.name);
        }
        self.count(slot);
        true
    }

    fn rename(&mut self, slot: Slot, old: &str) {
        if let Ok(entry) = self.by_name.find_entry(hash_name(old), |found| *found == slot) {
            entry.remove();
        }
        let Table { members, by_name, .. } = self;
        let hash = |slot: &Slot| hash_name(&members[*slot as usize].as_ref().expect("only taken slots are indexed").profile.name);
        by_name.insert_unique(hash(&slot), slot, hash);
    }

    /// Another active member of the same name, if there is one.
    pub(crate) fn namesake(&self, slot: Slot) -> Option<&Member> {
        let name = &self.member(slot).profile.name;
        let is_namesake =
            |found: &Slot| *found != slot && self.get(*found).is_some_and(|other| other.state.is_active() && other.profile.name == *name);
        self.by_name.find(hash_name(name), is_namesake).map(|found| self.member(*found))
    }

    /// Puts a member into a state.
    pub(crate) fn set(&mut self, slot: Slot, incarnation: Incarnation, state: State, now: Instant, rng: &mut Rng) {
        self.discount(slot);
        let since = self.member(slot).since;
        self.dead.remove(&(since, slot));
        let member = self.member_mut(slot);
        if member.state != state {
            member.since = now;
        }
        (member.incarnation, member.state) = (incarnation, state);
        self.count(slot);
        self.enlist(slot, rng);
        if !matches!(state, State::Suspect | State::Failed) {
            self.witnesses.remove(&slot);
        }
    }

    /// Puts a member where its state belongs.
    fn enlist(&mut self, slot: Slot, rng: &mut Rng) {
        let Member { state, since, .. } = *self.member(slot);
        if self.member(slot).profile.id == self.own {
            return;
        }
        if state.is_active() {
            self.enter_active(slot, rng);
        } else {
            self.leave_active(slot);
            self.dead.insert((since, slot));
        }
    }

    /// Adds words; whether there are more now. The smallest ids stay, so that the order does not matter.
    pub(crate) fn add_witnesses(&mut self, slot: Slot, words: &[NodeId]) -> bool {
        if words.is_empty() {
            return false;
        }
        let held = self.witnesses.entry(slot).or_default();
        let before = held.clone();
        held.extend_from_slice(words);
        held.sort_unstable();
        held.dedup();
        held.truncate(WITNESSES);
        *held != before
    }

    /// Appends what is held of a member.
    pub(crate) fn put_record(&self, slot: Slot, with_profile: bool, out: &mut Vec<u8>) {
        let Some(member) = self.get(slot) else { return };
        let profile = (with_profile && !member.profile.name.is_empty()).then_some(&*member.profile);
        Record::put(out, member.profile.id, member.incarnation, member.state, self.witnesses(slot), profile);
    }
}

// For a shell or a test that makes the table of a cluster that has been running.
impl Table {
    /// Takes in what a member says of itself, as if it had been heard long ago.
    pub fn admit_known(&mut self, profile: Arc<Profile>, incarnation: Incarnation, now: Instant, rng: &mut Rng) {
        self.merge(&Record::alive(profile, incarnation), now, rng);
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn profile(number: u64) -> Arc<Profile> {
        Arc::new(Profile { name: format!("n{number}"), ..(*nameless(NodeId(number))).clone() })
    }

    pub(super) fn table(members: u64) -> (Table, Rng) {
        let (mut table, mut rng) = (Table::new(profile(0), Incarnation(1), Instant(0)), Rng::with_seed(1));
        (1..members).for_each(|number| table.admit_known(profile(number), Incarnation(1), Instant(0), &mut rng));
        (table, rng)
    }

    pub(super) fn say(table: &mut Table, number: u64, incarnation: u64, state: State, at: u64, rng: &mut Rng) -> Merge {
        let (id, incarnation) = (NodeId(number), Incarnation(incarnation));
        table.merge(&Record { id, incarnation, state, witnesses: Vec::new(), profile: Some(profile(number)) }, Instant(at), rng)
    }
}
