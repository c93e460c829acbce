//! Everything about one node, from itself and from all others that can be asked.

use std::collections::BTreeMap;

use futures::future::join_all;
use steadfast_etcd_api::backend::{HealthState, MemberHealth, UnknownNode};
use steadfast_types::NodeId;

use super::Diagnosis;
use super::part::Part;
use super::sight::{Sight, word};
use crate::clock::Clock;
use crate::health::view::{Change, Recorded};
use crate::options::peer_address;

/// Servers that are asked about a node. A cluster has fewer.
const ASKED: usize = 32;

/// Names of other nodes in an error.
const NAMED: usize = 20;

/// Whom it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) id: NodeId,
    pub(super) name: String,
    pub(super) is_agent: bool,
    /// Where its peers reach it.
    pub(super) address: String,
}

/// What one server says, or why it says nothing; and what this node's clock said when it came.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) by: String,
    pub(super) says: Result<Sight, String>,
    pub(super) heard_ms: u64,
}

/// All that was gathered.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    pub(super) target: Target,
    /// Who gathered it, and when.
    pub(super) by: String,
    pub(super) at_ms: u64,
    /// Its own words, or why there are none.
    pub(super) part: Option<Part>,
    pub(super) silence: Option<String>,
    /// What this node's clock said when its words came.
    pub(super) heard_ms: u64,
    /// By the server's name.
    pub(super) words: Vec<Word>,
    /// As strong state has it, if it does.
    pub(super) recorded: Option<Recorded>,
    /// Its changes of health and those of its services, oldest first.
    pub(super) history: Vec<Change>,
}

impl Diagnosis {
    /// Asks everybody about the node with this name or id, itself first of all.
    pub(super) async fn gather(&self, word: &str) -> Result<Gathered, UnknownNode> {
        let known = self.everybody();
        let is = |target: &&Target| target.name == word || format!("{:x}", target.id.0) == word;
        let Some(target) = known.iter().find(is).cloned() else { return Err(unknown(word, &known)) };
        let part = self.part_of(&target).await;
        let heard_ms = Clock::wall_ms();
        // After it: if it is silent that takes seconds, and what the others say is to be of the same moment as the state below.
        let words = self.words_about(&target, &known).await;
        let (recorded, history) = self.recorded(target.id);
        let (part, silence) = match part {
            Ok(part) => (Some(part), None),
            Err(silence) => (None, Some(silence)),
        };
        let (by, at_ms) = (self.0.place.name.clone(), Clock::wall_ms());
        Ok(Gathered { target, by, at_ms, part, silence, heard_ms, words, recorded, history })
    }

    /// All servers and agents that this node knows, by gossip and by strong state.
    fn everybody(&self) -> Vec<Target> {
        let members = self.status().map(|status| status.members).unwrap_or_default();
        let listed = members.into_iter().map(|member| {
            // As its operator wrote it: a name, perhaps, that its certificate is for.
            let address = member.peer_urls.first().map(|url| peer_address(url).to_owned()).unwrap_or_default();
            (member.id, Target { id: member.id, name: member.name, is_agent: false, address })
        });
        let mut all: BTreeMap<NodeId, Target> = listed.collect();
        for member in self.members() {
            let MemberHealth { id, name, is_agent, address, .. } = member;
            let known = all.entry(id).or_insert_with(|| Target { id, name: name.clone(), is_agent, address });
            if known.name.is_empty() {
                known.name = name;
            }
        }
        let mut all: Vec<Target> = all.into_values().collect();
        // Of two of one name the one that takes part is meant.
        let live: Vec<NodeId> = self.members().iter().filter(|member| is_there(member.state)).map(|member| member.id).collect();
        all.sort_by_key(|target| !live.contains(&target.id));
        all
    }

    async fn part_of(&self, target: &Target) -> Result<Part, String> {
        if target.id == self.0.place.node {
            return self.part().await.ok_or_else(|| "it is busy with others who ask the same".to_owned());
        }
        self.ask_part(&target.address).await
    }

    /// What this node and all other servers say.
    async fn words_about(&self, target: &Target, known: &[Target]) -> Vec<Word> {
        let own = &self.0.place;
        let others = known.iter().filter(|other| !other.is_agent && other.id != target.id && other.id != own.node);
        let ask = async |other: &Target| Word {
            by: other.name.clone(),
            says: self.ask_sight(&other.address, target.id).await,
            heard_ms: Clock::wall_ms(),
        };
        let mut words = join_all(others.take(ASKED).map(ask)).await;
        if target.id != own.node {
            words.push(Word { by: own.name.clone(), says: Ok(self.sight(target.id)), heard_ms: Clock::wall_ms() });
        }
        words.sort_by(|one, other| one.by.cmp(&other.by));
        words
    }

    fn recorded(&self, node: NodeId) -> (Option<Recorded>, Vec<Change>) {
        let Some(health) = &self.0.place.health else { return (None, Vec::new()) };
        let view = health.borrow();
        let history = view.history.iter().filter(|change| change.node == node).cloned().collect();
        (view.nodes.get(&node).map(|node| node.health.clone()), history)
    }
}

fn is_there(state: HealthState) -> bool {
    match state {
        HealthState::Healthy | HealthState::Recovering | HealthState::Degraded | HealthState::Suspect => true,
        HealthState::Failed | HealthState::Left => false,
    }
}

fn unknown(word: &str, known: &[Target]) -> UnknownNode {
    let mut names: Vec<&str> = known.iter().map(|target| target.name.as_str()).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    UnknownNode { word: word.to_owned(), known: names.join(", ") + &rest }
}

impl Gathered {
    /// How the node is, in a word, and for how long, ms: as strong state has it, else as most of those who were asked do.
    pub(super) fn state(&self) -> (String, Option<u64>) {
        if let Some(recorded) = &self.recorded {
            return (recorded.state.to_string(), Some(self.at_ms.saturating_sub(recorded.since_ms)));
        }
        let sights = || self.words.iter().filter_map(|word| word.says.as_ref().ok());
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        sights().filter_map(|sight| sight.state.as_deref()).for_each(|state| *counts.entry(state).or_default() += 1);
        match counts.into_iter().max_by_key(|(_, count)| *count) {
            Some((state, _)) => {
                let since_ms = sights().filter(|sight| sight.state.as_deref() == Some(state)).map(|sight| sight.since_ms).max();
                (state.to_owned(), since_ms)
            }
            None if self.part.is_some() => (word(HealthState::Healthy).to_owned(), None),
            None => ("unknown".to_owned(), None),
        }
    }
}
