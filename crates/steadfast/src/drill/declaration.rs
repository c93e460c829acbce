//! What a drill is: its faults, its load and what is expected of the cluster, declared in a TOML file. Pure.
//!
//! The files of the drills that come with the program are in `drills/`; users write their own in the same form.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::usage::UsageError;

/// The drills that come with the program.
const BUILT_IN: [&str; 14] = [
    include_str!("../../drills/no-fault.toml"),
    include_str!("../../drills/kill-leader.toml"),
    include_str!("../../drills/kill-any.toml"),
    include_str!("../../drills/pause-leader.toml"),
    include_str!("../../drills/partition-leader.toml"),
    include_str!("../../drills/one-way-partition.toml"),
    include_str!("../../drills/chain-partition.toml"),
    include_str!("../../drills/slow-disk.toml"),
    include_str!("../../drills/full-disk.toml"),
    include_str!("../../drills/corrupt-log.toml"),
    include_str!("../../drills/clock-jump.toml"),
    include_str!("../../drills/rolling-restart.toml"),
    include_str!("../../drills/replace-node.toml"),
    include_str!("../../drills/all-at-once.toml"),
];

/// Larger files are no declarations, bytes.
const FILE_BYTES: u64 = 256 * 1024;

/// A drill.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Declaration {
    /// What it is called.
    pub(super) name: String,
    /// What it shows, in a sentence.
    pub(super) purpose: String,
    /// How many nodes a cluster of its own has.
    #[serde(default = "three")]
    pub(super) nodes: u8,
    /// How long the load runs.
    pub(super) seconds: u64,
    /// Give each node of a cluster of its own a file system of this size, so that it can be filled.
    #[serde(default)]
    pub(super) disk_mib: Option<u64>,
    /// Settings of `steadfast serve` for a cluster of its own.
    #[serde(default)]
    pub(super) settings: BTreeMap<String, toml::Value>,
    /// What clients do meanwhile.
    #[serde(default)]
    pub(super) load: Load,
    /// In the order of their times.
    #[serde(default, rename = "fault")]
    pub(super) faults: Vec<Fault>,
    /// What must hold, beside the checkers' verdicts.
    #[serde(default)]
    pub(super) expect: Expect,
}

fn three() -> u8 {
    3
}

/// Open-loop clients: each request is sent at its time, whatever became of those before.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(super) struct Load {
    /// How many, spread over all endpoints; each has connections of its own.
    pub(super) clients: usize,
    /// Requests a second, all clients together.
    pub(super) rate: u64,
    /// Over how many keys.
    pub(super) keys: usize,
    /// A request without an answer by then has failed.
    pub(super) deadline_ms: u64,
    /// The size of a written value.
    pub(super) value_bytes: usize,
    /// Parts of the load.
    pub(super) put: u64,
    /// Parts of the load.
    pub(super) get: u64,
    /// Parts of the load: writes of a key if it is unchanged.
    pub(super) compare: u64,
    /// Parts of the load.
    pub(super) delete: u64,
}

impl Default for Load {
    fn default() -> Self {
        Load { clients: 9, rate: 300, keys: 12, deadline_ms: 1000, value_bytes: 64, put: 5, get: 3, compare: 2, delete: 1 }
    }
}

/// One fault and its end.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Fault {
    /// When, after the load has begun.
    pub(super) at_ms: u64,
    /// How long; then it is healed.
    #[serde(default)]
    pub(super) for_ms: u64,
    /// What.
    pub(super) kind: Kind,
    /// To whom.
    pub(super) node: Target,
    /// What a one-way partition loses: what the node is sent (in) or what it sends (out).
    #[serde(default)]
    pub(super) direction: Option<Direction>,
    /// How long a slow disk waits before each sync, a slow network holds messages back, or how far a clock jumps.
    #[serde(default)]
    pub(super) ms: Option<u64>,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// SIGKILL; started again at its end.
    Kill,
    /// SIGTERM, and started again at once, one node after the other, each when the one before is ready.
    Restart,
    /// SIGSTOP; SIGCONT at its end.
    Pause,
    /// It and all others do not hear each other.
    Partition,
    /// The same in one direction.
    OneWay,
    /// Each node reaches its neighbours in a row alone; the node is the first.
    Chain,
    /// Syncs take longer.
    SlowDisk,
    /// Messages to peers take longer.
    SlowNetwork,
    /// No room is left.
    FullDisk,
    /// SIGKILL, and a sector of its log is damaged; started again at its end.
    CorruptLog,
    /// The clock jumps ahead.
    ClockJump,
    /// SIGKILL and its directory is lost; removed, and at its end a new member joins in its place.
    Replace,
}

/// What a one-way partition loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Direction {
    /// What the node is sent.
    In,
    /// What it sends.
    Out,
}

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Target {
    /// Who leads at the time.
    Leader,
    /// One that does not.
    Follower,
    /// One by chance.
    Any,
    /// Every node.
    All,
    /// The one with this number, from 1.
    Number(usize),
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "leader" => Ok(Target::Leader),
            "follower" => Ok(Target::Follower),
            "any" => Ok(Target::Any),
            "all" => Ok(Target::All),
            _ => match text.strip_prefix('n').and_then(|number| number.parse().ok()) {
                Some(number @ 1..=9) => Ok(Target::Number(number)),
                _ => Err(format!("{text:?} is no node: use leader, follower, any, all, or n1 to n9")),
            },
        }
    }
}

/// What must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(super) struct Expect {
    /// No client waits longer from one good answer to the next.
    pub(super) longest_gap_ms: Option<u64>,
    /// At least this part of all requests is good, 0 to 1.
    pub(super) availability: Option<f64>,
    /// After a fault of the leader another one is elected within this time.
    pub(super) elect_ms: Option<u64>,
    /// After each fault a new write is done within this time.
    pub(super) first_write_ms: Option<u64>,
    /// The leadership changes no more often.
    pub(super) leader_changes_at_most: Option<u64>,
    /// It changes no less often.
    pub(super) leader_changes_at_least: Option<u64>,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Kill => "kill",
            Kind::Restart => "restart",
            Kind::Pause => "pause",
            Kind::Partition => "partition",
            Kind::OneWay => "one-way partition",
            Kind::Chain => "chain partition",
            Kind::SlowDisk => "slow disk",
            Kind::SlowNetwork => "slow network",
            Kind::FullDisk => "full disk",
            Kind::CorruptLog => "damaged log",
            Kind::ClockJump => "clock jump",
            Kind::Replace => "replacement",
        })
    }
}

impl Kind {
    /// What it needs of the cluster.
    pub(super) fn needs(self) -> Need {
        match self {
            Kind::Kill | Kind::Restart | Kind::Pause | Kind::CorruptLog => Need::Processes,
            Kind::Partition | Kind::OneWay | Kind::Chain | Kind::SlowDisk | Kind::SlowNetwork | Kind::ClockJump => Need::FaultTable,
            Kind::FullDisk | Kind::Replace => Need::OwnCluster,
        }
    }

    /// Whether `ms` says how much.
    fn has_amount(self) -> bool {
        matches!(self, Kind::SlowDisk | Kind::SlowNetwork | Kind::ClockJump)
    }

    /// Whether it is over when it has been done, so that a length means nothing.
    fn is_a_moment(self) -> bool {
        matches!(self, Kind::Restart | Kind::ClockJump)
    }
}

/// What a fault needs of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Its processes, on this machine.
    Processes,
    /// Nodes that were started with `--faults`.
    FaultTable,
    /// A cluster that the drill has started itself.
    OwnCluster,
}

/// All drills that come with the program, in their order.
pub(super) fn built_in() -> Vec<Declaration> {
    BUILT_IN.iter().map(|text| parse(text).expect("the drills of the program are valid")).collect()
}

/// The drills of these names or files; all that come with the program if there is none.
pub(super) fn find(words: &[String]) -> Result<Vec<Declaration>> {
    let known = built_in();
    if words.is_empty() {
        return Ok(known);
    }
    let one = |word: &String| match known.iter().find(|drill| drill.name == *word) {
        Some(drill) => Ok(drill.clone()),
        None if word.ends_with(".toml") => read(Path::new(word)),
        None => {
            let names: Vec<&str> = known.iter().map(|drill| drill.name.as_str()).collect();
            let remedy = format!("give one of {}, or a file that ends in .toml", names.join(", "));
            Err(UsageError(format!("{word:?} is no drill: {remedy}")).into())
        }
    };
    words.iter().map(one).collect()
}

fn read(path: &Path) -> Result<Declaration> {
    let too_large = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > FILE_BYTES);
    if too_large {
        bail!("{} is larger than {FILE_BYTES} bytes: it can't be a drill", path.display());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the drill {}", path.display()))?;
    parse(&text).with_context(|| format!("the drill {}", path.display()))
}

/// Reads a declaration and checks it.
pub(super) fn parse(text: &str) -> Result<Declaration> {
    let declaration: Declaration = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        anyhow::anyhow!("line {line}: {}", error.message().lines().collect::<Vec<_>>().join(", "))
    })?;
    declaration.check()?;
    Ok(declaration)
}

fn within(field: &str, value: u64, range: std::ops::RangeInclusive<u64>) -> Result<()> {
    if !range.contains(&value) {
        bail!("{field} is {value}: give {} to {}", range.start(), range.end());
    }
    Ok(())
}

impl Declaration {
    fn check(&self) -> Result<()> {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > 40 || !self.name.chars().all(is_word) || self.name == "list" {
            bail!("name is {:?}: use 1 to 40 small letters, digits and dashes, and not list", self.name);
        }
        within("nodes", self.nodes.into(), 1..=9)?;
        within("seconds", self.seconds, 1..=3600)?;
        self.disk_mib.map_or(Ok(()), |size| within("disk-mib", size, 160..=4096))?;
        self.load.check()?;
        self.expect.check()?;
        self.faults.iter().enumerate().try_for_each(|(k, fault)| self.check_fault(fault).with_context(|| format!("fault {}", k + 1)))
    }

    fn check_fault(&self, fault: &Fault) -> Result<()> {
        within("at-ms", fault.at_ms, 0..=self.seconds * 1000 - 1)?;
        within("for-ms", fault.for_ms, 0..=self.seconds * 1000 - fault.at_ms)?;
        match (fault.ms, fault.kind.has_amount()) {
            (None, true) => bail!("ms is missing: a {} needs to be told how much", fault.kind),
            (Some(_), false) => bail!("ms means nothing for a {}: leave it out", fault.kind),
            (Some(ms), true) => within("ms", ms, 1..=600_000)?,
            (None, false) => {}
        }
        match (fault.direction, fault.kind == Kind::OneWay) {
            (None, true) => bail!("direction is missing: \"in\" loses what the node is sent, \"out\" what it sends"),
            (Some(_), false) => bail!("direction means nothing for a {}: leave it out", fault.kind),
            (Some(_), true) | (None, false) => {}
        }
        match (fault.for_ms, fault.kind.is_a_moment()) {
            (0, false) => bail!("for-ms is missing: say how long the {} lasts", fault.kind),
            (1.., true) => bail!("for-ms means nothing for a {}: leave it out", fault.kind),
            (0, true) | (1.., false) => {}
        }
        match fault.node {
            Target::Number(number) if number > usize::from(self.nodes) => bail!("node is n{number}: there are {} nodes", self.nodes),
            _ if fault.kind == Kind::FullDisk && self.disk_mib.is_none() => {
                bail!("disk-mib is missing: a full disk needs one of a known size")
            }
            _ => Ok(()),
        }
    }

    /// What its faults need of the cluster, each need once with the first kind that has it.
    pub(super) fn needs(&self) -> Vec<(Need, Kind)> {
        let mut needs: Vec<(Need, Kind)> = Vec::new();
        for kind in self.faults.iter().map(|fault| fault.kind) {
            if needs.iter().all(|(need, _)| *need != kind.needs()) {
                needs.push((kind.needs(), kind));
            }
        }
        needs
    }
}

impl Load {
    fn check(&self) -> Result<()> {
        within("load.clients", self.clients as u64, 1..=500)?;
        within("load.rate", self.rate, 1..=20_000)?;
        within("load.keys", self.keys as u64, 1..=10_000)?;
        within("load.deadline-ms", self.deadline_ms, 10..=60_000)?;
        within("load.value-bytes", self.value_bytes as u64, 32..=65_536)?;
        within("load.put + get + compare + delete", self.parts(), 1..=10_000)
    }

    /// All parts together.
    pub(super) fn parts(&self) -> u64 {
        [self.put, self.get, self.compare, self.delete].into_iter().fold(0, u64::saturating_add)
    }
}

impl Expect {
    fn check(&self) -> Result<()> {
        match self.availability {
            Some(part) if !(0.0..=1.0).contains(&part) => bail!("expect.availability is {part}: give a part of 1, like 0.9"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "declaration_tests.rs"]
mod tests;
