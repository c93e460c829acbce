//! The life of processes: they start, turn, write their logs, run jobs, and fail; each of these at a time of its own.

use steadfast_node::{Input, Job, JobDone, Node, Notice};
use steadfast_types::time::Duration;
use steadfast_types::{Level, LogIndex, NodeId};

use super::Cluster;
use super::event::{Event, Step};
use super::faults::Stop;
use super::machine::{Machine, Process, Role, SimulatedInput, SimulatedOutputs};
use crate::checkers::beliefs;
use crate::disk::SimulatedDisk;
use crate::network::between;
use crate::panics::caught;
use crate::world::Time;
use steadfast_proof::Violation;

/// How often a stuck disk is asked whether it moves again.
const STUCK_DISK_CHECK: Duration = Duration::from_millis(10);

impl Cluster {
    pub(super) fn on_start(&mut self, node: NodeId) -> Result<(), Violation> {
        let now = self.queue.now();
        let Some(machine) = self.machines.get_mut(&node) else { return Ok(()) };
        if machine.process.is_some() {
            return Ok(());
        }
        if machine.level < Level::NEWEST && self.faults_rng.u8(0..3) == 0 {
            machine.level = Level::NEWEST;
            self.trace.milestone(now, &[], || format!("{node} is upgraded"));
        }
        let opened = caught(|| machine.start(now));
        if machine.disk.is_dead() {
            self.stop(node, Stop::PowerFailed, "power failed while starting");
            return Ok(());
        }
        match opened {
            Ok(Ok(())) => self.came_up(node),
            Ok(Err(_)) if machine.disk_failed() => {
                self.stop(node, Stop::Kill, "disk failed while starting");
                Ok(())
            }
            Ok(Err(error)) if error.is_loss() && self.lost == Some(node) => {
                self.trace.milestone(now, &[], || format!("{node} must not start: {error}"));
                Ok(())
            }
            Ok(Err(error)) => Err(Violation::new("start", format!("{node} does not come up: {error}"))),
            Err(panic) => Err(Violation::new("start", format!("{node} panics while starting: {panic}"))),
        }
    }

    fn came_up(&mut self, node: NodeId) -> Result<(), Violation> {
        let now = self.queue.now();
        self.counts.starts += 1;
        let machine = &self.machines[&node];
        let status = machine.node().map(|node| node.status().consensus);
        self.counts.repairs += u64::from(status.is_none());
        let last = status.as_ref().map_or(LogIndex(0), |status| status.last.index);
        self.trace.milestone(now, &[1, node.0, last.0], || match status {
            Some(status) => format!("{node} starts: term {}, last {}, suspect {}", status.term, status.last, status.suspect),
            None => format!("{node} starts damaged"),
        });
        self.observer.started(&self.machines[&node])?;
        self.hub_missed(node);
        self.begin_member(node)?;
        for peer in self.node_ids().into_iter().filter(|peer| *peer != node) {
            self.connect_peer(node, peer);
            self.connect_peer(peer, node);
        }
        self.wake(node, now);
        Ok(())
    }

    /// `from` connects to `to`, if its process runs.
    pub(super) fn connect_peer(&mut self, from: NodeId, to: NodeId) {
        let Some(machine) = self.machines.get(&from).filter(|machine| machine.process.is_some()) else { return };
        let level = machine.level;
        let delay = between(Duration::from_micros(100), Duration::from_millis(50), &mut self.faults_rng);
        self.queue.after(delay, Event::Connected { node: to, peer: from, level });
    }

    /// Makes sure that the node turns at `at` or earlier.
    pub(super) fn wake(&mut self, node: NodeId, at: Time) {
        let at = at.max(self.queue.now());
        let machine = self.machine(node);
        let life = machine.life;
        let Some(process) = &mut machine.process else { return };
        if process.turn_at.is_none_or(|scheduled| at < scheduled) {
            process.turn_at = Some(at);
            self.queue.at(at, Event::Process { node, life, step: Box::new(Step::Turn) });
        }
    }

    /// Something comes in at a node; it turns soon after, so that several things may share a turn.
    pub(super) fn input(&mut self, node: NodeId, input: SimulatedInput) {
        let now = self.queue.now();
        let machine = self.machine(node);
        let Some(process) = &mut machine.process else { return };
        process.inbox.push(input);
        let at = now + between(Duration::ZERO, Duration::from_micros(50), &mut machine.rng);
        self.wake(node, at);
    }

    pub(super) fn step_after(&mut self, node: NodeId, delay: Duration, step: Step) {
        let life = self.machine(node).life;
        self.queue.after(delay, Event::Process { node, life, step: Box::new(step) });
    }

    pub(super) fn on_step(&mut self, node: NodeId, life: u64, step: Step) -> Result<(), Violation> {
        let now = self.queue.now();
        let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.life == life) else { return Ok(()) };
        if machine.paused_until > now {
            let until = machine.paused_until;
            self.queue.at(until, Event::Process { node, life, step: Box::new(step) });
            return Ok(());
        }
        match step {
            Step::Turn => self.on_turn(node),
            Step::WriteLog if machine.stuck_until > now => {
                self.step_after(node, STUCK_DISK_CHECK, Step::WriteLog);
                Ok(())
            }
            Step::WriteLog => self.on_write_log(node),
            Step::LogDone(done) => {
                self.input(node, Input::LogDone(done));
                self.process(node).log_busy = false;
                self.drive_log(node);
                Ok(())
            }
            Step::Job(job) => self.on_job(node, job),
            Step::JobDone(done) => {
                self.input(node, Input::JobDone(done));
                Ok(())
            }
            Step::Read(number) => self.on_read(node, number),
            Step::Hub => self.on_hub(node),
        }
    }

    fn process(&mut self, node: NodeId) -> &mut Process {
        self.machine(node).process.as_mut().expect("a step's process runs")
    }

    fn on_turn(&mut self, node: NodeId) -> Result<(), Violation> {
        let now = self.queue.now();
        let process = self.process(node);
        if process.turn_at.is_none_or(|at| at > now) {
            return Ok(()); // An earlier turn took its inputs.
        }
        process.turn_at = None;
        let outputs = caught(|| process.turn(now));
        self.counts.turns += 1;
        if self.machine(node).disk.is_dead() {
            self.stop(node, Stop::PowerFailed, "power failed");
            return Ok(());
        }
        let outputs = outputs.map_err(|panic| Violation::new("panic", format!("{node} panics: {panic}")))?;
        self.note_turn(node, &outputs);
        self.observer.turned(now, &self.machines[&node], &outputs)?;
        if let Some(leader) = self.machines[&node].node().map(Node::consensus) {
            beliefs::check(leader, |id| self.machines.get(&id).and_then(Machine::node).map(Node::consensus))?;
        }
        self.check_removals(node)?;
        self.tear_change(node);
        if self.falls_into_ambush(node) {
            return Ok(());
        }
        self.carry_out(node, outputs)?;
        if !self.machines.contains_key(&node) {
            return Ok(());
        }
        self.finish_repair(node)?;
        if let Some(next) = self.machine(node).process.as_ref().and_then(Process::next_turn) {
            // A thread that wakes for a timer never does so at once.
            self.wake(node, next.max(now + Duration::from_micros(10)));
        }
        Ok(())
    }

    fn note_turn(&mut self, node: NodeId, outputs: &SimulatedOutputs) {
        let now = self.queue.now();
        // Leaders compact by themselves, too.
        self.watchers.compactions.extend(self.machines[&node].node().map(|node| node.state().compact_revision()));
        let applied = self.machines[&node].node().map_or(0, |node| node.state().applied().index.0);
        let facts = [2, node.0, applied, outputs.log.len() as u64, outputs.answers.len() as u64, outputs.jobs.len() as u64];
        self.trace.note(now, &facts, || format!("{node} turns: applied {applied}"));
        for notice in &outputs.notices {
            match notice {
                Notice::Role(change) => self.trace.milestone(now, &[], || format!("{node} {change:?}")),
                _ => self.trace.text(now, || format!("{node} {notice:?}")),
            }
        }
    }

    /// What a process does that finds its tables damaged.
    fn reopen(&mut self, node: NodeId) -> Result<(), Violation> {
        let now = self.queue.now();
        self.counts.lost_tables += 1;
        let machine = self.machine(node);
        let reopened = caught(|| machine.reopen(now));
        match reopened {
            _ if machine.disk.is_dead() => self.stop(node, Stop::PowerFailed, "power failed while opening again"),
            Ok(Ok(())) => self.came_up(node)?,
            Ok(Err(error)) if machine.disk_failed() => self.stop(node, Stop::Kill, &error),
            Ok(Err(error)) => return Err(Violation::new("start", format!("{node} does not come up again: {error}"))),
            Err(panic) => return Err(Violation::new("start", format!("{node} panics while opening again: {panic}"))),
        }
        Ok(())
    }

    fn finish_repair(&mut self, node: NodeId) -> Result<(), Violation> {
        let now = self.queue.now();
        let machine = self.machine(node);
        if machine.process.is_none() {
            return Ok(());
        }
        match caught(|| machine.finish_repair(now)) {
            _ if machine.disk.is_dead() => self.stop(node, Stop::PowerFailed, "power failed while repairing"),
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => self.came_up(node)?,
            Ok(Err(_)) if machine.disk_failed() => self.stop(node, Stop::Kill, "disk failed while repairing"),
            Ok(Err(error)) => return Err(Violation::new("repair", format!("{node} does not come up: {error}"))),
            Err(panic) => return Err(Violation::new("repair", format!("{node} panics: {panic}"))),
        }
        Ok(())
    }

    fn carry_out(&mut self, node: NodeId, outputs: SimulatedOutputs) -> Result<(), Violation> {
        // The observer has seen what happened to rights; simulated tokens are signed, so no node keeps any.
        let SimulatedOutputs { log, frames, jobs, answers, events, auth: _, notices } = outputs;
        self.process(node).log_waiting.extend(log);
        self.drive_log(node);
        for (to, frame) in frames {
            self.send(node, to, frame);
        }
        // Healed disks are quick.
        let longest = Duration::from_millis(match (self.healed, self.swarm.slow_tables) {
            (true, _) => 1,
            (false, false) => 10,
            (false, true) => 300,
        });
        for job in jobs {
            let delay = between(Duration::ZERO, longest, &mut self.machine(node).rng);
            self.step_after(node, delay, Step::Job(job));
        }
        for (number, answer) in answers {
            self.answer(node, number, answer)?;
        }
        self.feed_hub(node, events);
        for notice in &notices {
            // An earlier one may have been that it is no member any more, and its machine has gone.
            if self.machines.contains_key(&node) {
                self.on_notice(node, notice)?;
            }
        }
        Ok(())
    }

    fn on_notice(&mut self, node: NodeId, notice: &Notice) -> Result<(), Violation> {
        match notice {
            Notice::Fault(reason) if self.may_have_fault(node) => self.stop(node, Stop::Kill, reason),
            Notice::Fault(reason) => return Err(Violation::new("fault", format!("{node} can't go on: {reason}"))),
            Notice::TablesDamaged(_) if self.may_have_fault(node) => self.reopen(node)?,
            Notice::TablesDamaged(what) => return Err(Violation::new("fault", format!("{node} finds its tables damaged: {what}"))),
            Notice::SnapshotInstalled(_) => {
                self.counts.snapshots += 1;
                self.hub_missed(node);
            }
            Notice::Role(change) if change.role == steadfast_consensus::Role::Leader => {
                self.counts.leader_changes += 1;
                self.lie_in_wait(node);
            }
            Notice::Removed => self.on_removed(node),
            _ => {}
        }
        Ok(())
    }

    /// Whether the node's disk was made to give it a reason to stop.
    pub(super) fn may_have_fault(&mut self, node: NodeId) -> bool {
        let rots = self.swarm.corruption.is_some();
        self.machine(node).disk_failed() || rots
    }

    /// Lets the log driver begin, if it is idle and there is something to do.
    fn drive_log(&mut self, node: NodeId) {
        let now = self.queue.now();
        let usual = self.swarm.sync;
        let machine = self.machine(node);
        let Some(process) = &mut machine.process else { return };
        if process.log_busy || process.log_waiting.is_empty() {
            return;
        }
        process.log_busy = true;
        let delay = machine.sync_time(now, usual);
        self.step_after(node, delay, Step::WriteLog);
    }

    fn on_write_log(&mut self, node: NodeId) -> Result<(), Violation> {
        let process = self.process(node);
        let commands = std::mem::take(&mut process.log_waiting);
        let Role::Running(_, log) = &mut process.role else { return Ok(()) };
        let done = caught(|| log.run(commands));
        let now = self.queue.now();
        let machine = self.machine(node);
        if machine.disk.is_dead() {
            self.stop(node, Stop::PowerFailed, "power failed while writing the log");
            return Ok(());
        }
        match done {
            Ok(Ok(done)) => {
                self.trace.note(now, &[3, node.0, done.size_bytes], || format!("{node} has written its log: {done:?}"));
                self.observer.synced(node, &done);
                let delay = between(Duration::ZERO, Duration::from_micros(200), &mut self.machine(node).rng);
                self.step_after(node, delay, Step::LogDone(done));
            }
            Ok(Err(error)) if machine.disk_failed() => {
                // Either the process is started again on the same machine, or somebody looks at the machine first.
                let stop = if machine.rng.bool() { Stop::Kill } else { Stop::PowerFailure };
                self.counts.disk_stops += 1;
                self.stop(node, stop, &error.to_string());
            }
            Ok(Err(error)) => return Err(Violation::new("log", format!("{node} can't write its log: {error}"))),
            Err(panic) => return Err(Violation::new("panic", format!("{node} panics while writing its log: {panic}"))),
        }
        Ok(())
    }

    fn on_job(&mut self, node: NodeId, job: Job<SimulatedDisk>) -> Result<(), Violation> {
        let now = self.queue.now();
        let text = if self.trace.has_text() { format!("{job:?}") } else { String::new() };
        let done: Result<JobDone<SimulatedDisk>, String> = caught(|| job.run());
        if self.machine(node).disk.is_dead() {
            self.stop(node, Stop::PowerFailed, "power failed during a job");
            return Ok(());
        }
        self.trace.note(now, &[4, node.0], || format!("{node} ran {text:.60}"));
        let done = done.map_err(|panic| Violation::new("panic", format!("{node} panics in a job: {panic}")))?;
        let delay = between(Duration::ZERO, Duration::from_micros(200), &mut self.machine(node).rng);
        self.step_after(node, delay, Step::JobDone(done));
        Ok(())
    }
}
