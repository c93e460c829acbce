//! The task that owns the core: takes datagrams, messages and time in, carries out what comes out, and publishes what holds.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use steadfast_membership::{Config, Event, Incarnation, Membership, Outputs, PacketError, Profile, State};
use steadfast_types::{Instant, NodeId};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use super::injected::Injected;
use super::seal::Seals;
use super::seeds::{Seeds, own_address};
use super::streams::Streams;
use super::view::View;
use super::{Ended, FAREWELL, Part, Question};
use crate::admin::Metrics;
use crate::clock::Clock;
use crate::identity::random;
use crate::peers::complaints::Complaints;

/// Room for a datagram: more than any may have, so that longer ones are seen to be so.
const DATAGRAM_ROOM: usize = 2048;

/// How long a change may wait to be published: while there are many, not each is.
const PUBLISH: Duration = Duration::from_millis(100);

/// What holds is published so often at least: a witness more is no event.
const PUBLISH_AGAIN: Duration = Duration::from_secs(1);

/// Stands for the connection that a message came by: an address that is nobody's (RFC 6666).
const ANSWER: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1)), 1);

/// What comes to the task besides datagrams.
pub(super) struct Inputs {
    pub(super) questions: mpsc::Receiver<Question>,
    pub(super) joins: mpsc::Receiver<Seeds>,
    pub(super) leaving: watch::Receiver<bool>,
}

/// What the task tells.
pub(super) struct Results {
    pub(super) publish: watch::Sender<Arc<View>>,
    pub(super) end: watch::Sender<Option<Ended>>,
}

struct Task {
    core: Membership,
    outputs: Outputs,
    socket: UdpSocket,
    seals: Seals,
    injected: Injected,
    streams: Streams,
    clock: Clock,
    metrics: Metrics,
    complaints: Complaints,
    results: Results,
    is_admitted: bool,
    has_departed: bool,
    /// Who has this node's name.
    taken_by: Option<NodeId>,
    publish_at: Instant,
    digest: u32,
}

/// Takes part until this node has left.
pub(super) async fn run(part: Part, mut inputs: Inputs, results: Results) {
    let address = tokio::select! {
        address = own_address(&part.address) => address,
        _ = inputs.leaving.wait_for(|leaving| *leaving) => {
            results.end.send_replace(Some(Ended::Left));
            return;
        }
    };
    let (streams, mut answers) = Streams::new(part.link.clone());
    let mut task = Task::new(part, address, streams, results);
    let mut buffer = vec![0; DATAGRAM_ROOM];
    let mut is_leaving = false;
    loop {
        task.carry_out(None);
        if task.has_departed {
            return task.end();
        }
        let wait = task.next_turn().since(task.clock.now());
        tokio::select! {
            received = task.socket.recv_from(&mut buffer) => {
                // An error is about an earlier datagram of this node's own: none is waited for.
                if let Ok((length, from)) = received {
                    task.take_datagram(from, Bytes::copy_from_slice(&buffer[..length]));
                }
            }
            Some((question, answer)) = inputs.questions.recv() => task.take_question(question, answer),
            Some((from, answer)) = answers.recv() => drop(task.take_stream(from, answer)),
            Some(seeds) = inputs.joins.recv() => task.join(seeds, address),
            // An error: nobody has a handle any longer, which means the same.
            _ = inputs.leaving.wait_for(|leaving| *leaving), if !is_leaving => {
                is_leaving = true;
                task.core.leave(task.clock.now());
            }
            () = sleep(wait) => task.core.tick(task.clock.now()),
        }
    }
}

impl Task {
    fn new(part: Part, address: SocketAddr, streams: Streams, results: Results) -> Self {
        let config = Config { cluster: part.cluster, leave_linger: FAREWELL, ..Config::default() };
        let incarnation = Incarnation::of_life(part.life.count);
        let profile = Profile {
            id: part.node,
            name: part.name,
            address,
            role: part.role,
            born: part.life.born,
            version: incarnation,
            metadata: Bytes::new(),
        };
        let now = part.clock.now();
        Task {
            core: Membership::new(config, profile, incarnation, random(), now),
            outputs: Outputs::default(),
            socket: part.socket,
            seals: Seals::new(&part.keys, part.cluster),
            injected: Injected::new(part.faults, part.cluster),
            streams,
            clock: part.clock,
            metrics: part.metrics,
            complaints: Complaints::default(),
            results,
            is_admitted: false,
            has_departed: false,
            taken_by: None,
            publish_at: now,
            digest: 0,
        }
    }

    fn next_turn(&self) -> Instant {
        let turn = self.core.next_deadline().min(self.publish_at);
        self.injected.next_due().map_or(turn, |due| turn.min(due))
    }

    fn join(&mut self, seeds: Seeds, own: SocketAddr) {
        let addresses: Vec<SocketAddr> = seeds.keys().copied().filter(|seed| *seed != own).collect();
        self.streams.learn(seeds);
        if !addresses.is_empty() {
            self.core.join(self.clock.now(), &addresses);
        }
    }

    fn take_datagram(&mut self, from: SocketAddr, datagram: Bytes) {
        if let Some(packet) = self.open(from, datagram) {
            if self.injected.loses_from(self.injected.sender(&packet)) || self.injected.loses_by_chance() {
                return self.metrics.gossip_dropped.increment(1);
            }
            let taken = self.core.receive_datagram(self.clock.now(), from, packet);
            self.note_refusal(from, taken);
        }
    }

    /// Returns who sent it, if a fault may be about that member.
    fn take_stream(&mut self, from: SocketAddr, message: Bytes) -> Option<NodeId> {
        // Nothing is what a node says that has no answer.
        let packet = Some(message).filter(|message| !message.is_empty()).and_then(|message| self.open(from, message))?;
        let sender = self.injected.sender(&packet);
        if self.injected.loses_from(sender) {
            self.metrics.gossip_dropped.increment(1);
            return sender;
        }
        let taken = self.core.receive_stream(self.clock.now(), from, packet);
        self.note_refusal(from, taken);
        sender
    }

    /// What the core says to the connection before it has taken the next input is the answer. Of several messages it is the last: those before it
    /// ask for what the other side tells by other ways too.
    fn take_question(&mut self, question: Bytes, answer: oneshot::Sender<Bytes>) {
        let asker = self.take_stream(ANSWER, question);
        self.carry_out((!self.injected.loses_answer_to(asker)).then_some(answer));
    }

    fn open(&mut self, from: SocketAddr, sealed: Bytes) -> Option<Bytes> {
        self.metrics.gossip_received.increment(1);
        let opened = self.seals.open(sealed);
        if opened.is_none() {
            self.metrics.gossip_unopened.increment(1);
            self.complain(from, "no key in --gossip-key-file opens it");
        }
        opened
    }

    fn note_refusal(&mut self, from: SocketAddr, taken: Result<(), PacketError>) {
        let Err(error) = taken else { return };
        match error {
            PacketError::Cluster | PacketError::Own => self.metrics.gossip_foreign.increment(1),
            PacketError::Version(_) | PacketError::Wire(_) => self.metrics.gossip_malformed.increment(1),
            PacketError::Length(_) => self.metrics.gossip_oversized.increment(1),
        }
        let cause = match error {
            PacketError::Cluster => "it is of another cluster",
            PacketError::Own => "it says that this node sent it",
            PacketError::Version(_) => "it is of another format, or sealed with a key that this node was not given",
            PacketError::Wire(_) => "it is malformed",
            PacketError::Length(_) => "it is longer than any may be",
        };
        self.complain(from, cause);
    }

    fn complain(&self, from: SocketAddr, cause: &str) {
        let source: &dyn std::fmt::Display = if from == ANSWER { &"a connection" } else { &from.ip() };
        if self.complaints.first(source, cause) {
            tracing::warn!(from = %source, "a packet of gossip was refused: {cause}");
        }
    }

    /// Sends, tells and publishes what came out. What goes to [`ANSWER`] is the answer.
    fn carry_out(&mut self, answer: Option<oneshot::Sender<Bytes>>) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.core.take_outputs(&mut outputs);
        let has_news = !outputs.events.is_empty();
        self.send_held();
        outputs.datagrams.drain(..).for_each(|(to, packet)| self.send(to, packet));
        self.send_streams(&mut outputs, answer);
        outputs.events.drain(..).for_each(|event| self.note(event));
        self.outputs = outputs;
        self.publish(has_news);
    }

    fn send(&mut self, to: SocketAddr, packet: Vec<u8>) {
        if self.injected.loses_to(to, self.core.table()) || self.injected.loses_by_chance() {
            return self.metrics.gossip_dropped.increment(1);
        }
        let sealed = self.seals.seal(packet);
        match self.injected.delay() {
            None => self.send_now(to, &sealed),
            Some(delay) if self.injected.hold(self.clock.now() + delay, to, sealed) => {}
            Some(_) => self.metrics.gossip_dropped.increment(1),
        }
    }

    fn send_held(&mut self) {
        while let Some((to, sealed)) = self.injected.take_due(self.clock.now()) {
            self.send_now(to, &sealed);
        }
    }

    fn send_now(&mut self, to: SocketAddr, sealed: &[u8]) {
        match self.socket.try_send_to(sealed, to) {
            Ok(_) => self.metrics.gossip_sent.increment(1),
            Err(_) => self.metrics.gossip_dropped.increment(1),
        }
    }

    fn send_streams(&mut self, outputs: &mut Outputs, mut answer: Option<oneshot::Sender<Bytes>>) {
        for (to, message) in outputs.streams.drain(..).rev() {
            let is_sent = match answer.take_if(|_| to == ANSWER) {
                Some(answer) => send_answer(answer, self.seals.seal(message).into(), self.injected.delay()),
                None if to == ANSWER => continue,
                None if self.injected.loses_to(to, self.core.table()) => false,
                None => {
                    let sealed = self.seals.seal(message);
                    self.streams.send(to, sealed, self.injected.delay())
                }
            };
            let count = if is_sent { &self.metrics.gossip_sent } else { &self.metrics.gossip_dropped };
            count.increment(1);
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Joined(profile) => tracing::debug!(member = profile.name, address = %profile.address, "a member is new"),
            Event::Changed(profile) => {
                tracing::debug!(member = profile.name, address = %profile.address, "a member says something else of itself")
            }
            Event::Suspected(id) => tracing::debug!(member = self.name(id), "a member does not answer"),
            Event::Cleared(id) => tracing::debug!(member = self.name(id), "a member answers after all"),
            Event::Failed(id, _) => {
                let witnesses = self.core.table().view(id).map_or(&[][..], |member| member.witnesses);
                let witnesses: Vec<String> = witnesses.iter().map(|id| self.name(*id)).collect();
                tracing::warn!(member = self.name(id), witnesses = witnesses.join(","), "a member was found dead");
            }
            Event::Left(id, _) => tracing::info!(member = self.name(id), "a member has left"),
            Event::Returned(id, incarnation) => tracing::info!(member = self.name(id), %incarnation, "a member is back"),
            Event::NameConflict { elder, younger } => {
                tracing::warn!(member = self.name(elder), %elder, %younger, "two members have one name: the younger is to go");
            }
            Event::NameTaken { by } => self.taken_by = Some(by),
            Event::Admitted => {
                self.is_admitted = true;
                tracing::info!(members = self.core.table().others() + 1, "this node takes part in the membership");
            }
            Event::Accused { by } => tracing::debug!(by = self.name(by), "a member got no answer from this node"),
            Event::Refuted(incarnation) => tracing::info!(%incarnation, "this node was held to be dead, and says that it lives"),
            Event::Paused(late) => tracing::warn!(?late, "this node stood still; it casts no verdicts for a while"),
            Event::Departed => self.has_departed = true,
        }
    }

    fn name(&self, id: NodeId) -> String {
        self.core.table().view(id).map_or_else(|| id.to_string(), |member| member.profile.name.clone())
    }

    fn end(&self) {
        let elder =
            self.taken_by.map(|id| self.core.table().view(id).map_or_else(|| id.to_string(), |elder| elder.profile.address.to_string()));
        self.results.end.send_replace(Some(elder.map_or(Ended::Left, Ended::NameTaken)));
    }

    fn publish(&mut self, has_news: bool) {
        let now = self.clock.now();
        if has_news || self.core.table().digest() != self.digest {
            self.digest = self.core.table().digest();
            self.publish_at = self.publish_at.min(now + PUBLISH);
        }
        if self.publish_at > now {
            return;
        }
        let view = View::of(&self.core, self.is_admitted);
        let counts = view.counts();
        let count = |state: State| counts.get(&state).copied().unwrap_or(0) as f64;
        self.metrics.gossip_healthy.set(count(State::Alive));
        self.metrics.gossip_suspect.set(count(State::Suspect));
        self.metrics.gossip_failed.set(count(State::Failed));
        self.results.publish.send_replace(Arc::new(view));
        self.publish_at = now + PUBLISH_AGAIN;
    }
}

/// Whether somebody waits for it, as far as is known now.
fn send_answer(answer: oneshot::Sender<Bytes>, message: Bytes, delay: Option<Duration>) -> bool {
    let Some(delay) = delay else { return answer.send(message).is_ok() };
    tokio::spawn(async move {
        sleep(delay).await;
        // Who asked may have gone.
        let _ = answer.send(message);
    });
    true
}
