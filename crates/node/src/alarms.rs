//! Alarms without hands. Each member says how it stands; the leader sees to it that the replicated alarms say the same.
//!
//! - A member whose quota is used up says so, and takes no more commands that take space. The leader raises NOSPACE for it, and clears that when
//!   the member has room again, or has not been heard for a while: one that is gone must not stop the others. Meanwhile the leader forgets all
//!   history, and the member reclaims its space.
//! - A member whose running hash is not the majority's is corrupt. The leader raises CORRUPT for it, even if that is the leader itself. Where that
//!   is applied it drops its state and fetches the others' (`repair.rs`). The alarm is cleared when a later hash is the majority's.
//! - What a client raised by hand a client clears, but for CORRUPT that led to a repair.

use std::collections::BTreeMap;

use steadfast_consensus::Role;
use steadfast_state::REMEMBERED;
use steadfast_state::alarm::{Alarm, AlarmChange, AlarmKind};
use steadfast_state::command::{Command, Origin, Proposal};
use steadfast_types::disk::Disk;
use steadfast_types::time::Duration;
use steadfast_types::wire::Wire;
use steadfast_types::{Instant, Level, NodeId, Term};

use crate::agreement::{Judgement, Marks, judge};
use crate::node::Node;
use crate::{Notice, PeerMessage};

/// How often a member says how it stands, and the leader looks at what it heard.
const EVERY: Duration = Duration::from_secs(1);

/// A member that was not heard for this long says nothing about space any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// How a member stands, as it said last.
#[derive(Debug)]
struct Standing {
    at: Instant,
    marks: Marks,
    is_short: bool,
}

/// What a node knows of how members stand.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    /// When to say, or to look, next.
    next: Instant,
    /// Whether this node said that it lacks space.
    said_short: bool,
    /// Heard while this node leads.
    heard: BTreeMap<NodeId, Standing>,
    /// Since when this node leads.
    leading_since: Option<Instant>,
    undecided_told: bool,
}

impl<S, D: Disk> Node<S, D> {
    /// Every heartbeat interval.
    pub(crate) fn tend_alarms(&mut self) {
        self.look_at_space();
        if self.state.level() < Level::ALARMS {
            return;
        }
        let is_news = self.standings.said_short != self.space.is_short();
        if self.raft.is_established_leader() {
            self.standings.leading_since.get_or_insert(self.now);
        } else {
            self.standings.leading_since = None;
            self.standings.heard.clear();
        }
        if self.now < self.standings.next && !is_news {
            return;
        }
        self.standings.next = self.now + EVERY;
        self.standings.said_short = self.space.is_short();
        if self.standings.leading_since.is_some() {
            self.keep_alarms();
        } else if let Some(leader) = self.raft.leader().filter(|leader| *leader != self.options.id) {
            let (term, marks) = (self.raft.term(), self.state.remembered_hashes());
            self.send(leader, &PeerMessage::Standing { term, marks, is_short: self.space.is_short() });
        }
    }

    pub(crate) fn look_at_space(&mut self) {
        let tables = self.state.tables();
        self.space.observe(tables.statistics().disk_bytes, tables.memtable_bytes() as u64);
        if self.space.reclaims(self.now, self.state.compact_revision()) {
            self.state.tables_mut().reclaim();
        }
    }

    /// Whether this node refuses the command for lack of space, before it is proposed: so that little more is taken until the alarm is raised.
    pub(crate) fn lacks_space_for(&mut self, command: &Command) -> bool {
        if self.space.quota() == 0 || !command.takes_space() {
            return false;
        }
        let was_short = self.space.is_short();
        let is_short = self.space.grow(self.state.tables().memtable_bytes() as u64);
        if is_short && !was_short {
            self.next_timer = self.now;
        }
        is_short
    }

    pub(crate) fn on_standing(&mut self, from: NodeId, term: Term, marks: Marks, is_short: bool) {
        let is_member = self.raft.configuration().contains(from);
        if self.raft.role() != Role::Leader || self.raft.term() != term || !is_member || marks.len() > REMEMBERED {
            return;
        }
        let newest = |marks: &Marks| marks.last().map(|(index, _)| *index);
        let before = self.standings.heard.get(&from);
        // One that was held up on its way must not take back what was said later.
        if before.is_some_and(|before| newest(&before.marks) > newest(&marks)) {
            return;
        }
        if before.is_some_and(|before| before.is_short) != is_short {
            self.standings.next = self.now;
        }
        self.standings.heard.insert(from, Standing { at: self.now, marks, is_short });
    }

    /// Proposes what makes the alarms true. What is proposed already and not applied yet is proposed again, to no effect.
    fn keep_alarms(&mut self) {
        if !self.intake.has_room() {
            return;
        }
        let members = self.raft.configuration().members();
        self.standings.heard.retain(|member, _| members.contains(member));
        let (marks, is_short) = (self.state.remembered_hashes(), self.space.is_short());
        self.standings.heard.insert(self.options.id, Standing { at: self.now, marks, is_short });
        let mut changes = self.space_changes();
        changes.extend(self.agreement_changes());
        changes.into_iter().for_each(|change| self.propose_alarm(change));
    }

    fn space_changes(&self) -> Vec<AlarmChange> {
        let Standings { heard, leading_since, .. } = &self.standings;
        let alarms = self.state.alarms();
        let alarm = |member: NodeId| Alarm { kind: AlarmKind::NoSpace, member };
        let fresh = |standing: &&Standing| self.now.since(standing.at) < FORGOTTEN_AFTER;
        let is_short = |member: NodeId| heard.get(&member).filter(fresh).map(|standing| standing.is_short);
        let short = heard.keys().filter(|member| is_short(**member) == Some(true) && alarms.get(alarm(**member)).is_none());
        let raises = short.map(|member| AlarmChange::Raise { alarm: alarm(*member), by_hand: false });
        let all_had_time = leading_since.is_some_and(|since| self.now.since(since) >= FORGOTTEN_AFTER);
        let has_room = |member: NodeId| is_short(member).map_or(all_had_time, |is_short| !is_short);
        let over = alarms.all().filter(|(alarm, raised)| alarm.kind == AlarmKind::NoSpace && !raised.by_hand && has_room(alarm.member));
        raises.chain(over.map(|(alarm, raised)| AlarmChange::Clear { alarm, raised_at: Some(raised.at) })).collect()
    }

    fn agreement_changes(&mut self) -> Vec<AlarmChange> {
        let said = self.standings.heard.iter().map(|(member, standing)| (*member, standing.marks.clone())).collect();
        let alarms = self.state.alarms();
        let Judgement { differ, agree, undecided } = judge(self.raft.configuration(), |member| alarms.is_corrupt(member), &said);
        let alarm = |member: NodeId| Alarm { kind: AlarmKind::Corrupt, member };
        let found: Vec<NodeId> = differ.iter().copied().filter(|member| !alarms.is_corrupt(*member)).collect();
        let raises = found.iter().map(|member| AlarmChange::Raise { alarm: alarm(*member), by_hand: false });
        let repaired = agree.iter().filter_map(|(member, index)| {
            let raised = alarms.get(alarm(*member)).filter(|raised| *index > raised.at)?;
            Some(AlarmChange::Clear { alarm: alarm(*member), raised_at: Some(raised.at) })
        });
        let changes = raises.chain(repaired).collect();
        for member in found {
            self.out.notices.push(Notice::Diverged(format!("member {member} has another state than the others")));
        }
        let is_told = std::mem::replace(&mut self.standings.undecided_told, undecided.is_some());
        if let Some(index) = undecided.filter(|_| !is_told) {
            let what =
                format!("at entry {index} the members' hashes differ, and too few members are up to say whose state is the right one");
            self.out.notices.push(Notice::Diverged(what));
        }
        changes
    }

    /// The one place where nodes propose changes of alarms. (Clients' come in as all their commands, by `Node::on_request`.)
    fn propose_alarm(&mut self, change: AlarmChange) {
        self.intake.enter_term(self.raft.term());
        self.intake.push(Proposal { origin: Origin::default(), command: Command::Alarm(change) }.to_wire().into());
    }
}

#[cfg(test)]
mod tests;
