//! Alarms: what is wrong with a member, for every replica to know and to act on alike.
//!
//! 1. Alarms are rows like all others: raised and cleared by commands, part of the running hash and of snapshots. There is at most one of a
//!    kind for each member, and none of who is no member: that bounds them.
//! 2. While any member lacks space, commands that take some are refused, but not those that give it back.
//! 3. A member whose state is corrupt is *condemned* when that is applied: it fetches its state from the others, from a snapshot that covers the
//!    alarm, and takes no part until then. The others go on.
//! 4. Only if the voters that are not corrupt are no majority, nobody can say whose state is the right one. Then nobody is condemned, and
//!    commands on keys and leases are refused, until a hand decides.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Bound;
use steadfast_types::tables::{Row, Tables, TablesError, TablesReader};
use steadfast_types::wire::{Wire, WireError};
use steadfast_types::{Configuration, LogIndex, NodeId, wire_enum, wire_struct};

use crate::command::{Command, CommandError, Operation, Outcome, Txn};
use crate::rows::{ALARMS, NEWEST, damaged};
use crate::transition::Transition;

#[cfg(test)]
mod tests;

/// What is wrong; the numbers are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The member's quota is used up.
    NoSpace,
    /// The member's state is not that of the others.
    Corrupt,
}
wire_enum!(AlarmKind { 1 => NoSpace {}, 2 => Corrupt {} });

/// One thing that is wrong with one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// What.
    pub kind: AlarmKind,
    /// With whom.
    pub member: NodeId,
}
wire_struct!(Alarm { kind, member });

/// How an alarm came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// The entry that raised it.
    pub at: LogIndex,
    /// Whether a client did, and not a node: then a client clears it too, unless it leads to a repair.
    pub by_hand: bool,
}
wire_struct!(Raised { at, by_hand });

/// A change of the alarms. Both answer with the alarm, if it is, or was, there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmChange {
    /// From now on it is there. One that is there already stays as it is.
    Raise {
        /// Which.
        alarm: Alarm,
        /// See [`Raised::by_hand`].
        by_hand: bool,
    },
    /// It is gone.
    Clear {
        /// Which.
        alarm: Alarm,
        /// Only if this entry raised it: not one that was raised again meanwhile. `None`: in any case.
        raised_at: Option<LogIndex>,
    },
}
wire_enum!(AlarmChange { 0 => Raise { alarm, by_hand }, 1 => Clear { alarm, raised_at } });

/// All alarms that are raised, by kind and member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    raised: BTreeMap<Alarm, Raised>,
}

impl Alarms {
    /// How it was raised; `None`: it is not.
    pub fn get(&self, alarm: Alarm) -> Option<Raised> {
        self.raised.get(&alarm).copied()
    }

    /// All of them, in order.
    pub fn all(&self) -> impl Iterator<Item = (Alarm, Raised)> + '_ {
        self.raised.iter().map(|(alarm, raised)| (*alarm, *raised))
    }

    /// Whether there is any of this kind.
    pub fn is_any(&self, kind: AlarmKind) -> bool {
        self.raised.keys().any(|alarm| alarm.kind == kind)
    }

    /// Whether a member's state is corrupt, as far as is known.
    pub fn is_corrupt(&self, member: NodeId) -> bool {
        self.raised.contains_key(&Alarm { kind: AlarmKind::Corrupt, member })
    }

    /// Whether so many voters are well that they can say what the state is.
    pub fn has_intact_majority(&self, configuration: &Configuration) -> bool {
        let intact = |voters: &alloc::collections::BTreeSet<NodeId>| {
            2 * voters.iter().filter(|voter| !self.is_corrupt(**voter)).count() > voters.len() || voters.is_empty()
        };
        intact(&configuration.voters) && intact(&configuration.outgoing)
    }

    /// Whether commands on keys and leases are refused because nobody can say what the state is.
    pub fn stop_the_cluster(&self, configuration: &Configuration) -> bool {
        self.is_any(AlarmKind::Corrupt) && !self.has_intact_majority(configuration)
    }
}

/// The alarms in some tables.
pub(crate) fn load<R: TablesReader>(tables: &R) -> Result<Alarms, TablesError> {
    let rows = tables.scan(ALARMS, (Bound::Unbounded, Bound::Unbounded), NEWEST);
    Ok(Alarms { raised: rows.map(|row| decode_row(row?)).collect::<Result<_, _>>()? })
}

fn key(alarm: Alarm) -> Bytes {
    let mut key = alarm.kind.to_wire();
    key.extend_from_slice(&alarm.member.0.to_be_bytes());
    key.into()
}

fn decode_row(row: Row) -> Result<(Alarm, Raised), TablesError> {
    let wrong = |why: &WireError| damaged("ALARMS", &row.key, why);
    let Some((kind, member)) = row.key.split_last_chunk::<8>() else { return Err(wrong(&WireError::Truncated)) };
    let kind = AlarmKind::from_wire(Bytes::copy_from_slice(kind)).map_err(|why| wrong(&why))?;
    let alarm = Alarm { kind, member: NodeId(u64::from_be_bytes(*member)) };
    Ok((alarm, Raised::from_wire(row.value.clone()).map_err(|why| wrong(&why))?))
}

impl Command {
    /// Whether it is refused while a member lacks space: it puts keys, or grants a lease.
    pub fn takes_space(&self) -> bool {
        match self {
            Command::Put(_) | Command::LeaseGrant { .. } => true,
            Command::Txn(txn) => txn.puts(),
            Command::Authorized(authorized) => authorized.command.takes_space(),
            // Users, members and alarms must go on changing, for somebody to help.
            Command::Noop
            | Command::DeleteRange(_)
            | Command::Compact { .. }
            | Command::LeaseRevoke { .. }
            | Command::MemberAdd(_)
            | Command::MemberRemove { .. }
            | Command::MemberPromote { .. }
            | Command::MemberUpdate { .. }
            | Command::MemberPublish { .. }
            | Command::MemberClaim { .. }
            | Command::CompareHash { .. }
            | Command::Auth(_)
            | Command::IssueToken(_)
            | Command::Alarm(_)
            | Command::RaiseLevel(_) => false,
        }
    }

    /// Whether it changes keys or leases, or forgets history.
    fn changes_keys(&self) -> bool {
        matches!(self, Command::DeleteRange(_) | Command::Txn(_) | Command::Compact { .. } | Command::LeaseRevoke { .. })
            || self.takes_space()
    }
}

impl Txn {
    /// Whether it can put a key, in whichever branch.
    fn puts(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|operation| match operation {
            Operation::Put(_) => true,
            Operation::Txn(inner) => inner.puts(),
            Operation::Range(_) | Operation::DeleteRange(_) => false,
        })
    }
}

impl<T: Tables> Transition<'_, T> {
    /// Refuses what alarms forbid.
    pub(crate) fn heed_alarms(&self, command: &Command) -> Result<(), CommandError> {
        if self.alarms.raised.is_empty() {
            return Ok(());
        }
        if command.changes_keys() && self.alarms.stop_the_cluster(self.configuration) {
            return Err(CommandError::Corrupt);
        }
        if command.takes_space() && self.alarms.is_any(AlarmKind::NoSpace) {
            return Err(CommandError::NoSpace);
        }
        Ok(())
    }

    pub(crate) fn change_alarms(&mut self, change: AlarmChange) -> Result<Outcome, CommandError> {
        let alarm = match change {
            AlarmChange::Raise { alarm, by_hand } => self.raise(alarm, by_hand).map(|()| Some(alarm))?,
            AlarmChange::Clear { alarm, raised_at } => {
                let is_meant = |raised: Raised| raised_at.is_none_or(|at| at == raised.at);
                let alarm = self.alarms.get(alarm).filter(|raised| is_meant(*raised)).map(|_| alarm);
                alarm.into_iter().for_each(|alarm| self.clear(alarm));
                alarm
            }
        };
        Ok(Outcome::Alarms(alarm.map_or_else(Vec::new, |alarm| vec![alarm])))
    }

    fn raise(&mut self, alarm: Alarm, by_hand: bool) -> Result<(), CommandError> {
        self.member(alarm.member)?;
        let raised = Raised { at: self.index, by_hand };
        let Entry::Vacant(vacant) = self.alarms.raised.entry(alarm) else { return Ok(()) };
        vacant.insert(raised);
        self.alarm_events.push((alarm, true));
        self.insert_newest(ALARMS, key(alarm), Some(raised.to_wire().into()));
        let is_about_me = alarm == Alarm { kind: AlarmKind::Corrupt, member: self.me };
        self.condemned |= is_about_me && self.alarms.has_intact_majority(self.configuration);
        Ok(())
    }

    fn clear(&mut self, alarm: Alarm) {
        if self.alarms.raised.remove(&alarm).is_some() {
            self.alarm_events.push((alarm, false));
            self.insert_newest(ALARMS, key(alarm), None);
        }
    }

    /// Who is no member has no alarms.
    pub(crate) fn clear_alarms_of(&mut self, member: NodeId) {
        for kind in [AlarmKind::NoSpace, AlarmKind::Corrupt] {
            self.clear(Alarm { kind, member });
        }
    }
}
