//! Runs the scripts under `tests/scripts`: scenes of a cluster, step by step, with what happens written after each step.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p steadfast-consensus --test scripts` writes the outputs anew; read the difference before keeping it.
//!
//! # Commands
//!
//! Nodes and terms are single digits. Disks sync at once unless `slow`. Heartbeats and their answers are left out of the output, unless asked for.
//!
//! * `cluster voters=123 [learners=4] [lease] [recent=BYTES]`: machines with that configuration; `machine 5`: an empty one.
//! * `node 1 log=114 [term=6] [commit=2] voters=123`: a machine with these terms in its log, entry by entry.
//! * `elect N`: all leases end, then N stands, and everything is delivered. `campaign N`: only N's clock moves, until it stands.
//! * `tick MS [N...]`: clocks move. `expire N...`: an election timeout passes on N's clock, as if it had just missed standing.
//! * `deliver`, `drop`, `keep`, `copy` `[from=N] [to=N] [kind=Append]`: what is under way now. `keep` puts it aside, `copy` leaves the
//!   original; `replay` sends what was put aside. `settle`: delivers until nothing is under way. `bag`: what is under way.
//!   `accept N to=M index=I`: node N acknowledges that index to M, in M's term.
//! * `cut A B`, `cut A to=B` (one way), `isolate N`, `heal`; `disconnect N peer=M`.
//! * `slow N`, `fast N`, `sync N [count]`; `crash N`, `restart N`, `damage N lost=K` (while down), `suspect N` (while down).
//! * `propose N TEXT...`, `change N voters=12 [learners=3]`, `transfer N [to=M]`, `read N`.
//! * `checkpoint N`, `compact N INDEX`, `fetch` and `snapshot` (carry out what was asked for), `install N from=M`.
//! * `status [N...]`, `log N`, `heartbeats` (show them from here on).

mod harness;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use harness::machine::{DiskLog, Tables};
use harness::{Cluster, ELECTION, Envelope, Options, text};
use steadfast_consensus::Message;
use steadfast_consensus::message::Body;
use steadfast_types::{Configuration, Entry, HardState, LogIndex, NodeId, Payload, Term};

type Answer = Result<String, Box<dyn Error>>;

struct Scene {
    cluster: Cluster,
    kept: Vec<Envelope>,
    heartbeats: bool,
}

fn options() -> Options {
    Options { lease_reads: false, recent_entry_bytes: 1 << 20, seed: 1, print: false }
}

/// Nodes and terms have one digit each.
fn digits(text: &str) -> Result<Vec<u64>, Box<dyn Error>> {
    let digit = |letter: char| letter.to_digit(10).map(u64::from).ok_or_else(|| format!("{letter:?} is no digit").into());
    text.chars().map(digit).collect()
}

fn ids(text: &str) -> Result<BTreeSet<NodeId>, Box<dyn Error>> {
    digits(text).map(|digits| digits.into_iter().map(NodeId).collect())
}

/// The rest of the arguments without a key, as nodes.
fn nodes(args: &mut ArgumentConsumer<'_>) -> Result<Vec<NodeId>, Box<dyn Error>> {
    let mut nodes = Vec::new();
    while let Some(text) = args.next_pos() {
        nodes.push(NodeId(text.parse()?));
    }
    Ok(nodes)
}

fn node(args: &mut ArgumentConsumer<'_>) -> Result<NodeId, Box<dyn Error>> {
    Ok(NodeId(args.next_pos().ok_or("which node?")?.parse()?))
}

fn number(text: Option<&str>, default: u64) -> Result<u64, Box<dyn Error>> {
    Ok(text.map(str::parse).transpose()?.unwrap_or(default))
}

fn configuration(args: &mut ArgumentConsumer<'_>) -> Result<Configuration, Box<dyn Error>> {
    let mut set = |key| ids(args.take_key(key).unwrap_or_default());
    Ok(Configuration { voters: set("voters")?, outgoing: set("outgoing")?, learners: set("learners")? })
}

/// Which messages a command is about.
struct Filter {
    from: Option<NodeId>,
    to: Option<NodeId>,
    kind: Option<String>,
}

impl Filter {
    fn new(args: &mut ArgumentConsumer<'_>) -> Result<Self, Box<dyn Error>> {
        let node = |text: Option<&str>| -> Result<Option<NodeId>, Box<dyn Error>> { Ok(text.map(str::parse).transpose()?.map(NodeId)) };
        Ok(Filter { from: node(args.take_key("from"))?, to: node(args.take_key("to"))?, kind: args.take_key("kind").map(String::from) })
    }

    fn fits(&self, envelope: &Envelope) -> bool {
        self.from.is_none_or(|from| from == envelope.from)
            && self.to.is_none_or(|to| to == envelope.to)
            && self.kind.as_ref().is_none_or(|kind| *kind == text::kind(&envelope.message))
    }
}

impl Scene {
    fn command(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        match name {
            "cluster" | "machine" | "node" => self.set_up(name, args),
            "elect" | "campaign" | "tick" | "expire" => self.pass_time(name, args),
            "deliver" | "drop" | "keep" | "copy" | "replay" | "settle" | "bag" => self.messages(name, args),
            "accept" => self.accept(args),
            "cut" | "isolate" | "heal" | "disconnect" => self.network(name, args),
            "slow" | "fast" | "sync" | "crash" | "restart" | "damage" | "suspect" => self.disk(name, args),
            "propose" | "change" | "transfer" | "read" => self.ask(name, args),
            "checkpoint" | "compact" | "fetch" | "snapshot" | "install" => self.snapshots(name, args),
            "status" | "log" | "heartbeats" => self.show(name, args),
            _ => Err(format!("no command {name}").into()),
        }
    }

    fn set_up(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        match name {
            "cluster" => {
                let configuration = configuration(args)?;
                let lease_reads = args.next_pos() == Some("lease");
                let recent_entry_bytes = number(args.take_key("recent"), 1 << 20)? as usize;
                self.cluster = Cluster::new(Options { lease_reads, recent_entry_bytes, ..options() });
                configuration.members().into_iter().for_each(|id| self.cluster.add_member(id, &configuration));
            }
            "machine" => self.cluster.add(node(args)?, DiskLog::default(), Tables::default()),
            _ => {
                let id = node(args)?;
                let terms: Vec<u64> = digits(args.take_key("log").unwrap_or_default())?;
                let term = number(args.take_key("term"), terms.last().copied().unwrap_or(0))?;
                let commit = number(args.take_key("commit"), 0)?;
                let entry = |(&term, index)| Entry {
                    term: Term(term),
                    index: LogIndex(index),
                    payload: Payload::Batch(format!("t{term}").into_bytes().into()),
                };
                let entries: Vec<Entry> = terms.iter().zip(1..).map(entry).collect();
                let mut tables = Tables { configuration: configuration(args)?, ..Tables::default() };
                entries.iter().take(commit as usize).for_each(|entry| tables.apply(entry));
                let hard_state = HardState { term: Term(term), ..HardState::default() };
                self.cluster.add(id, DiskLog { hard_state, entries, ..DiskLog::default() }, tables);
            }
        }
        Ok(String::new())
    }

    fn pass_time(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        match name {
            "elect" => {
                let id = node(args)?;
                self.cluster.advance_all(ELECTION);
                self.cluster.bag.clear();
                self.campaign(id);
                self.settle();
            }
            "campaign" => {
                let id = node(args)?;
                self.campaign(id);
            }
            "tick" => {
                let by = Duration::from_millis(number(args.next_pos(), 0)?);
                match nodes(args)? {
                    all if all.is_empty() => self.cluster.advance_all(by),
                    some => some.into_iter().for_each(|id| self.cluster.advance(id, by)),
                }
            }
            _ => nodes(args)?.into_iter().for_each(|id| self.cluster.advance(id, ELECTION)),
        }
        Ok(String::new())
    }

    /// Moves one clock to where that node stands.
    fn campaign(&mut self, id: NodeId) {
        let (now, deadline) = (self.cluster.now(id), self.cluster.raft(id).map(|raft| raft.next_deadline()));
        self.cluster.advance(id, deadline.unwrap_or(now).since(now));
    }

    fn take(&mut self, filter: &Filter) -> Vec<Envelope> {
        let (taken, left) = std::mem::take(&mut self.cluster.bag).into_iter().partition(|envelope| filter.fits(envelope));
        self.cluster.bag = left;
        taken
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.cluster.bag.is_empty() {
                return;
            }
            let envelope = self.cluster.bag.remove(0);
            self.cluster.deliver(envelope);
        }
        panic!("messages without end");
    }

    fn messages(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        let filter = Filter::new(args)?;
        match name {
            "deliver" => self.take(&filter).into_iter().for_each(|envelope| self.cluster.deliver(envelope)),
            "drop" => drop(self.take(&filter)),
            "keep" => self.kept = self.take(&filter),
            "copy" => self.kept = self.cluster.bag.iter().filter(|envelope| filter.fits(envelope)).cloned().collect(),
            "replay" => self.kept.clone().into_iter().for_each(|envelope| self.cluster.deliver(envelope)),
            "settle" => self.settle(),
            _ => {
                let line = |envelope: &Envelope| format!("{} → {} {}\n", envelope.from, envelope.to, text::message(&envelope.message));
                return Ok(self.cluster.bag.iter().map(line).filter(|line| self.shows(line)).collect());
            }
        }
        Ok(String::new())
    }

    fn accept(&mut self, args: &mut ArgumentConsumer<'_>) -> Answer {
        let (from, to) = (node(args)?, NodeId(number(args.take_key("to"), 0)?));
        let matched = LogIndex(number(args.take_key("index"), 0)?);
        let term = self.cluster.raft(to).ok_or("it is down")?.term();
        self.cluster.deliver(Envelope { from, to, message: Message { term, body: Body::AppendAccepted { matched } } });
        Ok(String::new())
    }

    fn network(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        match name {
            "cut" => {
                let id = node(args)?;
                match args.take_key("to") {
                    Some(to) => drop(self.cluster.cuts.insert((id, NodeId(to.parse()?)))),
                    None => {
                        let other = node(args)?;
                        self.cluster.cuts.extend([(id, other), (other, id)]);
                    }
                }
            }
            "isolate" => {
                let id = node(args)?;
                let others: Vec<NodeId> = self.cluster.machines.keys().copied().filter(|&other| other != id).collect();
                self.cluster.cuts.extend(others.into_iter().flat_map(|other| [(id, other), (other, id)]));
            }
            "heal" => self.cluster.cuts.clear(),
            _ => {
                let (id, peer) = (node(args)?, NodeId(number(args.take_key("peer"), 0)?));
                self.cluster.input(id, |raft| raft.peer_disconnected(peer));
            }
        }
        Ok(String::new())
    }

    fn disk(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        let id = node(args)?;
        let machine = self.cluster.machines.get_mut(&id).ok_or("no such machine")?;
        match name {
            "slow" => machine.slow_disk = true,
            "fast" => {
                machine.slow_disk = false;
                self.cluster.sync(id, usize::MAX);
            }
            "sync" => {
                let count = number(args.next_pos(), u64::MAX)? as usize;
                self.cluster.sync(id, count);
            }
            "crash" => self.cluster.crash(id),
            "restart" => self.cluster.start(id),
            "damage" => machine.damage(number(args.take_key("lost"), 1)?),
            _ => machine.synced.hard_state.suspect = true,
        }
        Ok(String::new())
    }

    fn ask(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        let id = node(args)?;
        let refused = match name {
            "propose" => {
                let mut refused = None;
                while let Some(batch) = args.next_pos() {
                    let batch = batch.to_string().into_bytes().into();
                    refused = refused.or(self.cluster.input(id, |raft| raft.propose(batch)).ok_or("it is down")?.err());
                }
                refused
            }
            "change" => {
                let target = configuration(args)?;
                self.cluster.input(id, |raft| raft.propose_configuration(target, Vec::new().into())).ok_or("it is down")?.err()
            }
            "transfer" => {
                let to = args.take_key("to").map(str::parse).transpose()?.map(NodeId);
                self.cluster.input(id, |raft| raft.transfer_leadership(to)).ok_or("it is down")?.err()
            }
            _ => {
                self.cluster.read(id);
                None
            }
        };
        Ok(refused.map(|error| format!("refused: {error}\n")).unwrap_or_default())
    }

    fn snapshots(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        match name {
            "checkpoint" => {
                let id = node(args)?;
                self.cluster.machines.get_mut(&id).ok_or("no such machine")?.checkpoint();
            }
            "compact" => {
                let (id, through) = (node(args)?, LogIndex(number(args.next_pos(), 0)?));
                let machine = self.cluster.machines.get_mut(&id).ok_or("no such machine")?;
                machine.checkpoint();
                machine.compact(through);
            }
            "fetch" => {
                while !self.cluster.fetches.is_empty() {
                    self.cluster.answer_fetch(0);
                }
            }
            "snapshot" => {
                while !self.cluster.snapshots.is_empty() {
                    self.cluster.carry_snapshot(0);
                }
            }
            _ => {
                let (id, from) = (node(args)?, NodeId(number(args.take_key("from"), 0)?));
                let tables = self.cluster.machines[&from].applied.clone();
                self.cluster.install_snapshot(id, tables);
            }
        }
        Ok(String::new())
    }

    fn show(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        if name == "heartbeats" {
            self.heartbeats = true;
            return Ok(String::new());
        }
        let chosen = nodes(args)?;
        let mut output = String::new();
        for (id, machine) in &self.cluster.machines {
            if !chosen.is_empty() && !chosen.contains(id) {
                continue;
            }
            output += &match (name, &machine.raft) {
                ("status", None) => format!("{id} is down\n"),
                ("status", Some(raft)) => text::status(*id, &raft.status()) + "\n",
                _ => {
                    let entries: Vec<String> = machine.written.entries.iter().map(text::entry).collect();
                    format!("{id} after {}: {}\n", machine.written.start, entries.join(" "))
                }
            };
        }
        Ok(output)
    }

    /// Whether a line is worth showing.
    fn shows(&self, line: &str) -> bool {
        self.heartbeats || !(line.contains("→") && line.contains(" Heartbeat"))
    }
}

impl Runner for Scene {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Answer {
        let mut args = command.consume_args();
        let answer = self.command(&command.name, &mut args)?;
        args.reject_next()?;
        let trace = std::mem::take(&mut self.cluster.trace);
        let shown: Vec<String> = trace.into_iter().filter(|line| self.shows(line)).map(|line| line + "\n").collect();
        self.cluster.check();
        Ok(shown.concat() + &answer)
    }
}

/// All scripts below `folder`, in order.
fn scripts(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of scripts");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { scripts(&path) } else { vec![path] }).collect()
}

#[test]
fn scripts_play_as_written() {
    let paths = scripts(Path::new("tests/scripts"));
    assert!(!paths.is_empty());
    for path in paths {
        println!("{}", path.display());
        let mut scene = Scene { cluster: Cluster::new(options()), kept: Vec::new(), heartbeats: false };
        if let Err(error) = goldenscript::run(&mut scene, &path) {
            panic!("{}: {error}", path.display());
        }
    }
}
