//! Runs the scripts under `tests/scripts`: scenes of a small cluster, with what each member saw written after each step.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p steadfast-membership --test scripts` writes the outputs anew; read the difference before keeping it.
//!
//! # Commands
//!
//! Members have names of one letter. A packet takes one millisecond; nothing is lost unless a command says so.
//!
//! * `cluster abcde [swim|lifeguard]`: members that know each other. `start f [id=N] [born=S] [at=X]`: one that knows nobody, at the address of X
//!   if given. `join f b`: it asks b for admission.
//! * `run SECONDS`: time passes. `pause a SECONDS`: it stands still while time passes, and packets to it wait.
//! * `kill a...`, `restart a`: in its next life it knows nobody. `leave a`, `metadata a TEXT`.
//! * `deafen a`, `mute a`: nothing reaches it, nothing comes from it. `cut a b...`, of those two ways. `heal`.
//! * `gossip a TEXT...`: a hears records such as `b=alive@1.0`, as if from an unknown member. `foreign a`: a datagram of another cluster.
//! * `members a`: its table, without itself. `removals a`: what would be removed.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use steadfast_membership::message::{Header, Message};
use steadfast_membership::removal::{Decision, RemovalConfig, View, decide};
use steadfast_membership::{Config, Event, Incarnation, Membership, Outputs, Packet, Profile, Record, Role, State, Table};
use steadfast_types::{ClusterId, Instant, NodeId, Rng};

type Answer = Result<String, Box<dyn Error>>;

struct Member {
    membership: Membership,
    address: SocketAddr,
    born: u64,
    lives: u64,
    is_up: bool,
    stands_until: Instant,
}

struct Travelling {
    from: SocketAddr,
    to: SocketAddr,
    by_stream: bool,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Scene {
    config: Config,
    now: Instant,
    members: BTreeMap<char, Member>,
    under_way: BTreeMap<(Instant, u64), Travelling>,
    sent: u64,
    deaf: BTreeSet<char>,
    mute: BTreeSet<char>,
    cut: BTreeSet<(char, char)>,
    trace: String,
}

fn id(letter: char) -> NodeId {
    NodeId(u64::from(u32::from(letter)))
}

fn letter(id: NodeId) -> String {
    u32::try_from(id.0).ok().and_then(char::from_u32).filter(char::is_ascii_lowercase).map_or_else(|| id.to_string(), String::from)
}

fn address(letter: char) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), letter as u16)
}

fn profile(letter: char) -> Profile {
    Profile {
        id: id(letter),
        name: letter.to_string(),
        address: address(letter),
        role: if letter <= 'c' { Role::Server } else { Role::Agent },
        born: u64::from(u32::from(letter)),
        version: Incarnation::of_life(1),
        metadata: Bytes::new(),
    }
}

fn name(args: &mut ArgumentConsumer<'_>) -> Result<char, Box<dyn Error>> {
    Ok(args.next_pos().and_then(|text| text.chars().next()).ok_or("which member?")?)
}

fn names(args: &mut ArgumentConsumer<'_>) -> Vec<char> {
    std::iter::from_fn(|| args.next_pos().and_then(|text| text.chars().next())).collect()
}

fn seconds(args: &mut ArgumentConsumer<'_>) -> Result<Duration, Box<dyn Error>> {
    Ok(Duration::try_from_secs_f64(args.next_pos().ok_or("how long?")?.parse()?)?)
}

fn shown(event: &Event) -> Option<String> {
    Some(match event {
        Event::Joined(profile) => format!("{} joined", profile.name),
        Event::Changed(profile) => format!("{} says {:?}", profile.name, profile.metadata),
        Event::Suspected(id) => format!("{} suspected", letter(*id)),
        Event::Cleared(id) => format!("{} cleared", letter(*id)),
        Event::Failed(id, incarnation) => format!("{} failed @{incarnation}", letter(*id)),
        Event::Left(id, incarnation) => format!("{} left @{incarnation}", letter(*id)),
        Event::Returned(id, incarnation) => format!("{} returned @{incarnation}", letter(*id)),
        Event::NameConflict { elder, younger } => format!("one name: {} stays, {} must go", letter(*elder), letter(*younger)),
        Event::NameTaken { by } => format!("my name belongs to {}", letter(*by)),
        Event::Admitted => "admitted".into(),
        Event::Accused { .. } => return None,
        Event::Refuted(incarnation) => format!("I live @{incarnation}"),
        Event::Paused(time) => format!("I stood still for {:.1} s", time.as_secs_f64()),
        Event::Departed => "departed".into(),
    })
}

impl Scene {
    fn command(&mut self, command: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        match command {
            "cluster" | "start" | "restart" | "join" | "leave" | "metadata" => self.lives(command, args)?,
            "run" => {
                let until = self.now + seconds(args)?;
                self.run(until);
            }
            "pause" => {
                let who = name(args)?;
                let until = self.now + seconds(args)?;
                self.member(who)?.stands_until = until;
                self.run(until);
            }
            "kill" | "deafen" | "mute" | "cut" | "heal" => self.faults(command, args)?,
            "gossip" => self.gossip(args)?,
            "foreign" => return self.foreign(args),
            "members" => return self.table(args),
            "removals" => return self.removals(args),
            _ => return Err(format!("no command {command}").into()),
        }
        Ok(String::new())
    }

    fn member(&mut self, who: char) -> Result<&mut Member, Box<dyn Error>> {
        Ok(self.members.get_mut(&who).ok_or("no such member")?)
    }

    fn lives(&mut self, command: &str, args: &mut ArgumentConsumer<'_>) -> Result<(), Box<dyn Error>> {
        match command {
            "cluster" => self.cluster(args)?,
            "start" => {
                let who = name(args)?;
                let mut profile = profile(who);
                profile.name = args.take_key("name").map_or(profile.name, str::to_owned);
                profile.born = args.take_key("born").map(str::parse).transpose()?.unwrap_or(profile.born);
                profile.address = args.take_key("at").and_then(|text| text.chars().next()).map_or(profile.address, address);
                self.begin(who, profile, 1);
            }
            "restart" => {
                let who = name(args)?;
                let (lives, born) = (self.member(who)?.lives + 1, self.member(who)?.born);
                self.begin(who, Profile { born, ..profile(who) }, lives);
            }
            "join" => {
                let (who, through) = (name(args)?, name(args)?);
                let now = self.now;
                self.member(who)?.membership.join(now, &[address(through)]);
                self.drain(who);
            }
            "leave" => {
                let (who, now) = (name(args)?, self.now);
                self.member(who)?.membership.leave(now);
                self.drain(who);
            }
            _ => {
                let (who, now) = (name(args)?, self.now);
                let text = Bytes::copy_from_slice(args.next_pos().unwrap_or_default().as_bytes());
                self.member(who)?.membership.set_metadata(now, text);
                self.drain(who);
            }
        }
        Ok(())
    }

    fn cluster(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<(), Box<dyn Error>> {
        let letters: Vec<char> = args.next_pos().ok_or("which members?")?.chars().collect();
        self.config = match args.next_pos() {
            Some("swim") => Config::plain_swim(),
            Some("lifeguard") => Config::lifeguard(),
            Some(other) => return Err(format!("no preset {other}").into()),
            None => Config::default(),
        };
        let mut rng = Rng::with_seed(1);
        let life = Incarnation::of_life(1);
        let mut table = Table::new(Arc::new(profile(letters[0])), life, self.now);
        letters[1..].iter().for_each(|letter| table.admit_known(Arc::new(profile(*letter)), life, self.now, &mut rng));
        for who in letters {
            let own = table.clone().for_member(id(who), &mut rng);
            let membership = Membership::with_table(self.config.clone(), own, rng.u64(..), self.now);
            self.put(who, membership, profile(who), 1);
        }
        Ok(())
    }

    fn begin(&mut self, who: char, profile: Profile, lives: u64) {
        let seed = lives << 32 | u64::from(u32::from(who));
        let membership = Membership::new(self.config.clone(), profile.clone(), Incarnation::of_life(lives), seed, self.now);
        self.put(who, membership, profile, lives);
    }

    fn put(&mut self, who: char, membership: Membership, profile: Profile, lives: u64) {
        let Profile { address, born, .. } = profile;
        self.members.insert(who, Member { membership, address, born, lives, is_up: true, stands_until: Instant(0) });
    }

    fn faults(&mut self, command: &str, args: &mut ArgumentConsumer<'_>) -> Result<(), Box<dyn Error>> {
        let names = names(args);
        match command {
            "kill" => names.iter().try_for_each(|who| self.member(*who).map(|member| member.is_up = false))?,
            "deafen" => self.deaf.extend(names),
            "mute" => self.mute.extend(names),
            "cut" => {
                let one = *names.first().ok_or("whom from whom?")?;
                self.cut.extend(names[1..].iter().flat_map(|other| [(one, *other), (*other, one)]));
            }
            _ => {
                self.deaf.clear();
                self.mute.clear();
                self.cut.clear();
            }
        }
        Ok(())
    }

    fn gossip(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<(), Box<dyn Error>> {
        let (who, now) = (name(args)?, self.now);
        let mut records = Vec::new();
        while let Some((key, value)) = args.next_key() {
            let (state, incarnation) = value.split_once('@').ok_or("state@life.number")?;
            let (life, number) = incarnation.split_once('.').ok_or("life.number")?;
            let states = [State::Alive, State::Suspect, State::Failed, State::Left];
            let state = states.into_iter().find(|known| known.to_string() == state).ok_or("no such state")?;
            let incarnation = Incarnation(Incarnation::of_life(life.parse()?).0 + number.parse::<u64>()?);
            let about = key.chars().next().ok_or("about whom?")?;
            let profile = Some(Arc::new(Profile { version: Incarnation(0), ..profile(about) }));
            records.push(Record { id: id(about), incarnation, state, witnesses: vec![], profile });
        }
        let header = Header { from: NodeId(1), incarnation: Incarnation(0), digest: 0 };
        let packet = Packet { header, message: Message::Gossip, records }.encode(self.config.cluster);
        let member = self.member(who)?;
        member.membership.receive_datagram(now, address('z'), packet.into())?;
        self.drain(who);
        Ok(())
    }

    fn foreign(&mut self, args: &mut ArgumentConsumer<'_>) -> Answer {
        let (who, now) = (name(args)?, self.now);
        let header = Header { from: NodeId(1), incarnation: Incarnation(0), digest: 0 };
        let packet = Packet { header, message: Message::Gossip, records: vec![] }.encode(ClusterId(7));
        match self.member(who)?.membership.receive_datagram(now, address('z'), packet.into()) {
            Ok(()) => Ok("taken\n".into()),
            Err(error) => Ok(format!("refused: {error}\n")),
        }
    }

    fn table(&mut self, args: &mut ArgumentConsumer<'_>) -> Answer {
        let who = name(args)?;
        let membership = &self.member(who)?.membership;
        let mut lines = BTreeSet::new();
        for member in membership.table().iter().filter(|member| member.profile.id != membership.id()) {
            let state = membership.state(member.profile.id).map(|state| state.to_string()).unwrap_or_default();
            let witnesses: Vec<String> = member.witnesses.iter().map(|witness| letter(*witness)).collect();
            let words = if witnesses.is_empty() { String::new() } else { format!(" on the word of {}", witnesses.join(" ")) };
            lines.insert(format!("{} {state} @{}{words}\n", letter(member.profile.id), member.incarnation));
        }
        Ok(lines.into_iter().collect())
    }

    fn removals(&mut self, args: &mut ArgumentConsumer<'_>) -> Answer {
        let (who, now) = (name(args)?, self.now);
        let view = View::of(&self.member(who)?.membership, vec![], |_| true);
        let (why, removals) = match decide(&view, &RemovalConfig::default(), now) {
            Decision::Remove(removals) => ("remove".to_owned(), removals),
            Decision::Hold(brake, removals) => (format!("hold, {brake:?}:"), removals),
        };
        let names: Vec<String> = removals.iter().map(|removal| letter(removal.id)).collect();
        Ok(format!("{why} {}\n", if names.is_empty() { "nobody".into() } else { names.join(" ") }))
    }

    fn run(&mut self, until: Instant) {
        loop {
            let turn = self.members.iter().filter(|(_, member)| member.is_up);
            let turn = turn.map(|(who, member)| (member.membership.next_deadline().max(member.stands_until), *who)).min();
            let arrival = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let next = turn.map_or(Instant::NEVER, |(at, _)| at).min(arrival.unwrap_or(Instant::NEVER));
            if next > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(next);
            if let (Some(_), Some((_, packet))) = (arrival.filter(|at| *at == next), self.under_way.first_key_value()) {
                let owner = self.owner(packet.to);
                let (_, packet) = self.under_way.pop_first().expect("it was just seen");
                self.arrive(owner, packet);
            } else if let Some((_, who)) = turn {
                let now = self.now;
                if let Some(member) = self.members.get_mut(&who) {
                    member.membership.tick(now);
                }
                self.drain(who);
            }
        }
    }

    fn owner(&self, address: SocketAddr) -> Option<char> {
        self.members.iter().find(|(_, member)| member.address == address && member.is_up).map(|(who, _)| *who)
    }

    fn arrive(&mut self, who: Option<char>, packet: Travelling) {
        let (Some(who), now) = (who, self.now) else { return };
        let Some(member) = self.members.get_mut(&who) else { return };
        if member.stands_until > now {
            self.sent += 1;
            self.under_way.insert((member.stands_until, self.sent), packet);
            return;
        }
        let Travelling { from, by_stream, bytes, .. } = packet;
        let received = if by_stream {
            member.membership.receive_stream(now, from, bytes.into())
        } else {
            member.membership.receive_datagram(now, from, bytes.into())
        };
        received.expect("a member's own packets are good");
        self.drain(who);
    }

    /// Sends what a member wants sent, and notes what it saw.
    fn drain(&mut self, who: char) {
        let Some(member) = self.members.get_mut(&who) else { return };
        let mut outputs = Outputs::default();
        member.membership.take_outputs(&mut outputs);
        let from = member.address;
        let datagrams = outputs.datagrams.into_iter().map(|(to, bytes)| (to, false, bytes));
        for (to, by_stream, bytes) in datagrams.chain(outputs.streams.into_iter().map(|(to, bytes)| (to, true, bytes))) {
            let Some(owner) = self.owner(to) else { continue };
            if self.mute.contains(&who) || self.deaf.contains(&owner) || self.cut.contains(&(who, owner)) {
                continue;
            }
            // A stream needs both ways.
            if by_stream && (self.mute.contains(&owner) || self.deaf.contains(&who)) {
                continue;
            }
            self.sent += 1;
            let at = self.now + Duration::from_millis(1);
            self.under_way.insert((at, self.sent), Travelling { from, to, by_stream, bytes });
        }
        for line in outputs.events.iter().filter_map(shown) {
            let _ = writeln!(self.trace, "{:.1} {who}: {line}", self.now.0 as f64 / 1e6);
        }
    }
}

impl Runner for Scene {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Answer {
        let mut args = command.consume_args();
        let answer = self.command(&command.name, &mut args)?;
        args.reject_next()?;
        Ok(std::mem::take(&mut self.trace) + &answer)
    }
}

#[test]
fn scripts_play_as_written() {
    let entries = std::fs::read_dir(Path::new("tests/scripts")).expect("a folder of scripts");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        println!("{}", path.display());
        if let Err(error) = goldenscript::run(&mut Scene::default(), &path) {
            panic!("{}: {error}", path.display());
        }
    }
}
