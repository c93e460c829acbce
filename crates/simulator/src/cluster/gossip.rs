//! Membership in the simulated world: each server has the real core of `steadfast-membership` beside its node, and so have agents and spares, which
//! have nothing else. Their datagrams and messages by stream take the same links as the nodes' frames, and suffer what these suffer.
//!
//! A server's core lives as long as its process, and begins above all earlier lives, which its machine counts durably. What it holds is gone with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use steadfast_membership::{AntiEntropy, Config, Event as Told, Incarnation, Membership, Outputs, Profile, Role};
use steadfast_proof::Violation;
use steadfast_types::time::Duration;
use steadfast_types::{ClusterId, Instant, NodeId, Rng};

use super::Cluster;
use super::event::Event;
use super::recovery::REST;
use crate::checkers::members::Members;
use crate::clock::Clock;
use crate::network::between;
use crate::swarm::Gossiping;
use crate::world::Time;
use links::{ANSWER, address};

mod links;
mod troubles;

/// Agents have ids from here on.
pub(super) const AGENTS: u64 = 1_000;

/// Spares have ids from here on, below [`AGENTS`].
pub(super) const SPARES: u64 = 500;

/// A member that does not know all servers asks so often.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What happens to members.
pub(super) enum Happening {
    /// A member's timer.
    Tick { node: NodeId, life: u64 },
    /// A datagram arrives.
    Datagram { from: NodeId, to: NodeId, bytes: Bytes },
    /// A message by stream arrives.
    Question { from: NodeId, life: u64, to: NodeId, bytes: Bytes },
    /// Its answer does.
    Answer { from: NodeId, to: NodeId, life: u64, bytes: Bytes },
    /// A member looks for servers that it has not heard of.
    Seek { node: NodeId, life: u64 },
    /// An agent or spare starts.
    Start(NodeId),
    /// Something befalls an agent or spare.
    Strike,
    /// Whoever leads looks after those who failed.
    Recover,
}

/// A running member.
pub(super) struct Member {
    pub(super) core: Membership,
    pub(super) clock: Clock,
    /// Tells this life from all others.
    pub(super) life: u64,
    /// When its next tick is scheduled.
    tick_at: Option<Time>,
}

/// All members, and what outlives them.
pub(super) struct Gossip {
    pub(super) drawn: Option<Gossiping>,
    pub(super) members: BTreeMap<NodeId, Member>,
    /// How many lives each began: on its disk.
    lives: BTreeMap<NodeId, u64>,
    /// How many lives there were at all.
    begun: u64,
    /// Agents and spares that are there, running or not.
    pub(super) others: BTreeSet<NodeId>,
    /// Until then an agent or spare stands still.
    paused_until: BTreeMap<NodeId, Time>,
    pub(super) checker: Members,
    pub(super) rng: Rng,
}

fn config(drawn: &Gossiping) -> Config {
    Config {
        cluster: ClusterId(1),
        quiet_after_pause: Duration::from_secs(1),
        reconnect_interval: Some(drawn.reconnect_interval),
        return_backoff_max: drawn.return_backoff_max,
        dead_age: drawn.dead_age,
        leave_linger: Duration::from_millis(500),
        anti_entropy: AntiEntropy::Digest { after: Duration::from_secs(1), at_least_every: Duration::from_secs(5) },
        ..Config::default()
    }
}

impl Gossip {
    pub(super) fn new(drawn: Option<Gossiping>, rng: Rng) -> Self {
        let others = drawn.iter().flat_map(|drawn| (1..=drawn.agents).map(|n| AGENTS + n).chain((1..=drawn.spares).map(|n| SPARES + n)));
        Gossip {
            others: others.map(NodeId).collect(),
            drawn,
            members: BTreeMap::new(),
            lives: BTreeMap::new(),
            begun: 0,
            paused_until: BTreeMap::new(),
            checker: Members::default(),
            rng,
        }
    }

    /// A process is gone, and its member with it.
    pub(super) fn end(&mut self, node: NodeId) {
        self.members.remove(&node);
    }
}

impl Cluster {
    pub(super) fn schedule_gossip(&mut self) {
        let Some(drawn) = self.gossip.drawn.clone() else { return };
        for node in self.gossip.others.clone() {
            let at = between(Duration::ZERO, Duration::from_secs(1), &mut self.gossip.rng);
            self.gossip_after(at, Happening::Start(node));
        }
        if drawn.recovery.is_some() {
            self.gossip_after(REST, Happening::Recover);
        }
        if let Some(every) = drawn.strikes {
            self.gossip_after(every, Happening::Strike);
        }
    }

    fn gossip_after(&mut self, delay: Duration, happening: Happening) {
        self.queue.after(delay, Event::Gossip(Box::new(happening)));
    }

    /// A process came up, or an agent: its member begins a life, if it has none.
    pub(super) fn begin_member(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(drawn) = self.gossip.drawn.as_ref().filter(|_| !self.gossip.members.contains_key(&node)) else { return Ok(()) };
        let (now, config) = (self.queue.now(), config(drawn));
        // A count that is damaged begins anew.
        let is_damaged = self.gossip.rng.u8(0..16) == 0;
        let count = self.gossip.lives.get(&node).filter(|_| !is_damaged).map_or(1, |count| count + 1);
        self.gossip.lives.insert(node, count);
        self.gossip.begun += 1;
        let life = self.gossip.begun;
        let rng = &mut self.gossip.rng;
        let drift = self.machines.get(&node).map_or(0, |machine| machine.drift_ppm);
        let clock = Clock::new(now, Instant(rng.u64(0..1 << 40)), drift);
        let incarnation = Incarnation::of_life(count);
        let profile = Profile {
            id: node,
            name: format!("node-{node}"),
            address: address(node),
            role: if node.0 > AGENTS { Role::Agent } else { Role::Server },
            born: node.0,
            version: incarnation,
            metadata: Bytes::new(),
        };
        let core = Membership::new(config, profile, incarnation, rng.u64(..), clock.shows(now));
        self.gossip.checker.began(node, incarnation);
        self.gossip.members.insert(node, Member { core, clock, life, tick_at: None });
        self.trace.milestone(now, &[30, node.0, life], || format!("member {node} begins in {incarnation}"));
        self.seek(node, life)
    }

    /// Asks those servers for admission that it has not heard of: founders that start at once may each be admitted by another that knows nobody yet.
    fn seek(&mut self, node: NodeId, life: u64) -> Result<(), Violation> {
        self.gossip_after(ASK_AGAIN, Happening::Seek { node, life });
        let servers: Vec<NodeId> = self.machines.keys().copied().filter(|id| *id != node).collect();
        self.with_member(node, life, |core, now| {
            let is_alone = core.table().others() == 0;
            let is_unknown = |id: &&NodeId| is_alone || core.table().view(**id).is_none();
            let seeds: Vec<SocketAddr> = servers.iter().filter(is_unknown).map(|id| address(*id)).collect();
            if !seeds.is_empty() {
                core.join(now, &seeds);
            }
        })
    }

    pub(super) fn on_gossip(&mut self, happening: Happening) -> Result<(), Violation> {
        let now = self.queue.now();
        let node = match &happening {
            Happening::Tick { node, .. } | Happening::Seek { node, .. } => Some(*node),
            Happening::Datagram { to, .. } | Happening::Question { to, .. } | Happening::Answer { to, .. } => Some(*to),
            Happening::Start(_) | Happening::Strike | Happening::Recover => None,
        };
        // What comes to one that stands still waits outside.
        if let Some(until) = node.and_then(|node| self.stands_still(node, now)) {
            self.queue.at(until, Event::Gossip(Box::new(happening)));
            return Ok(());
        }
        match happening {
            Happening::Tick { node, life } => {
                if let Some(member) = self.gossip.members.get_mut(&node).filter(|member| member.life == life) {
                    member.tick_at = None;
                }
                self.with_member(node, life, Membership::tick)
            }
            Happening::Datagram { from, to, bytes } => {
                let life = self.life_of(to);
                self.with_member(to, life, |core, now| drop(core.receive_datagram(now, address(from), bytes)))
            }
            Happening::Question { from, life, to, bytes } => self.on_question((from, life), to, bytes),
            Happening::Answer { from, to, life, bytes } => {
                self.with_member(to, life, |core, now| drop(core.receive_stream(now, address(from), bytes)))
            }
            Happening::Seek { node, life } => match self.life_of(node) == life {
                true => self.seek(node, life),
                false => Ok(()),
            },
            Happening::Start(node) if self.gossip.others.contains(&node) => self.begin_member(node),
            Happening::Start(_) => Ok(()),
            Happening::Strike => self.strike_other(),
            Happening::Recover => {
                self.gossip_after(REST, Happening::Recover);
                self.on_recovery_turn();
                Ok(())
            }
        }
    }

    /// Until when a member stands still, if it does.
    fn stands_still(&self, node: NodeId, now: Time) -> Option<Time> {
        let until = match self.machines.get(&node) {
            Some(machine) => machine.paused_until,
            None => self.gossip.paused_until.get(&node).copied().unwrap_or_default(),
        };
        (until > now).then_some(until)
    }

    fn life_of(&self, node: NodeId) -> u64 {
        self.gossip.members.get(&node).map_or(0, |member| member.life)
    }

    /// Lets a member do something, if that life of it still goes on; carries out what comes of it.
    fn with_member(&mut self, node: NodeId, life: u64, act: impl FnOnce(&mut Membership, Instant)) -> Result<(), Violation> {
        let answers = self.turn_member(node, life, act)?;
        debug_assert!(answers.is_none(), "an answer without a question");
        Ok(())
    }

    /// The same. Gives what it says to the connection that it was asked on.
    fn turn_member(&mut self, node: NodeId, life: u64, act: impl FnOnce(&mut Membership, Instant)) -> Result<Option<Bytes>, Violation> {
        let now = self.queue.now();
        let Some(member) = self.gossip.members.get_mut(&node).filter(|member| member.life == life) else { return Ok(None) };
        let mut outputs = Outputs::default();
        act(&mut member.core, member.clock.shows(now));
        member.core.take_outputs(&mut outputs);
        self.gossip.checker.turned(node, life, &member.core)?;
        let Outputs { datagrams, streams, events } = outputs;
        for told in &events {
            self.note_told(node, told)?;
        }
        for (to, datagram) in datagrams {
            self.send_datagram(node, to, datagram.into());
        }
        let mut answer = None;
        for (to, message) in streams {
            match to == ANSWER {
                true => answer = Some(message.into()),
                false => self.send_question((node, life), to, message.into()),
            }
        }
        match events.contains(&Told::Departed) {
            true => self.gossip.end(node),
            false => self.schedule_tick(node),
        }
        Ok(answer)
    }

    fn schedule_tick(&mut self, node: NodeId) {
        let now = self.queue.now();
        let Some(member) = self.gossip.members.get_mut(&node) else { return };
        let Some(at) = member.clock.when(member.core.next_deadline()) else { return };
        let at = at.max(now + Duration::from_micros(10));
        if member.tick_at.is_none_or(|scheduled| at < scheduled) {
            member.tick_at = Some(at);
            let life = member.life;
            self.queue.at(at, Event::Gossip(Box::new(Happening::Tick { node, life })));
        }
    }

    fn note_told(&mut self, node: NodeId, told: &Told) -> Result<(), Violation> {
        let now = self.queue.now();
        if let Told::Failed(id, incarnation) | Told::Left(id, incarnation) = told {
            self.trace.milestone(now, &[31, node.0, id.0, incarnation.0], || format!("{node} holds {id} for dead, in {incarnation}"));
            let lives = self.gossip.members.get(id).is_some_and(|member| member.core.incarnation() == *incarnation);
            self.gossip.checker.declared_dead(node, *id, *incarnation, lives)?;
        } else {
            self.trace.text(now, || format!("member {node}: {told:?}"));
        }
        Ok(())
    }
}
