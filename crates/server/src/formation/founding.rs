//! Forming a new cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use steadfast_types::wire::Wire;
use steadfast_types::{Level, NodeId, wire_enum, wire_struct};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::FormationError;
use crate::genesis::{Founder, Genesis};
use crate::identity::{Identity, Membership};
use crate::peers::{self, Link, Reception, Topic};

/// How long one other may take for its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Between two questions to the same node: a cluster's cold start waits for this.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Between two words about whom we wait for.
const REPORT: Duration = Duration::from_secs(5);

/// What a node was told, and who it is. This is both the question, and the answer of a node that has not formed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// The cluster's token.
    token: String,
    /// Names and addresses of all founders, sorted.
    list: Vec<(String, String)>,
    /// The node's name.
    name: String,
    /// Its id.
    node: NodeId,
    /// The hash of the state that was restored into its directory, if one was.
    seed: Option<u64>,
    /// What its release knows.
    level: Level,
}
wire_struct!(Intent { token, list, name, node, seed, level });

/// The answer to an [`Intent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FoundingAnswer {
    /// "I am forming too."
    Forming(Intent),
    /// "The cluster exists."
    Formed(Genesis),
}
wire_enum!(FoundingAnswer { 1 => Forming(intent), 2 => Formed(genesis) });

impl Intent {
    fn new(identity: &Identity, token: &str, members: &[(String, String)]) -> Self {
        let mut list = members.to_vec();
        list.sort();
        let seed = identity.restored.as_ref().map(|restored| restored.hash);
        Intent { token: token.to_owned(), list, name: identity.name.clone(), node: identity.node, seed, level: Level::NEWEST }
    }

    fn address(&self) -> &str {
        let own = self.list.iter().find(|(name, _)| *name == self.name);
        &own.expect("the options were validated: the node is in its list").1
    }

    fn others(&self) -> Vec<(String, String)> {
        self.list.iter().filter(|(name, _)| *name != self.name).cloned().collect()
    }

    /// What the other one's intent says about it: its id, if it is who we think and was told the same.
    fn agree(&self, name: &str, address: &str, other: &Intent) -> Result<NodeId, FormationError> {
        let difference = if other.token != self.token {
            format!("its token is `{}`, here it is `{}`", other.token, self.token)
        } else if other.list != self.list {
            format!("its list is {}, here it is {}", written(&other.list), written(&self.list))
        } else if other.name != *name {
            format!("its name is `{}`", other.name)
        } else if other.seed != self.seed {
            format!("it {}, this node {}", begins(other.seed), begins(self.seed))
        } else if other.level != self.level {
            format!("its release knows level {}, this one {} (start the same release on every node)", other.level, self.level)
        } else if other.node == self.node {
            "it has the same id as this node, so one's directory is a copy of the other's: empty one".to_owned()
        } else {
            return Ok(other.node);
        };
        Err(FormationError::ToldOtherwise { name: name.to_owned(), address: address.to_owned(), difference })
    }

    /// What it means for this node that the cluster exists.
    fn find_place(&self, asked: &str, genesis: Genesis) -> Result<Genesis, FormationError> {
        let (name, address) = (self.name.clone(), self.address().to_owned());
        if genesis.token() != self.token {
            let difference =
                format!("its cluster exists already, with the token `{}`; here the token is `{}`", genesis.token(), self.token);
            return Err(FormationError::ToldOtherwise { name: asked.to_owned(), address: asked.to_owned(), difference });
        }
        match genesis.founders().iter().find(|founder| founder.name == name || founder.address == address) {
            None => Err(FormationError::NotAFounder { name, address, asked: asked.to_owned() }),
            Some(founder) if founder.node != self.node => Err(FormationError::Emptied { name, address, known: founder.node }),
            Some(_) if genesis.seed() != self.seed => {
                let difference = format!("its cluster {}, this node {}", begins(genesis.seed()), begins(self.seed));
                Err(FormationError::ToldOtherwise { name: asked.to_owned(), address: asked.to_owned(), difference })
            }
            Some(_) => Ok(genesis),
        }
    }
}

/// What a node begins with, for people.
fn begins(seed: Option<u64>) -> String {
    match seed {
        Some(hash) => format!("begins with the restored state {hash:x} (restore the same file with the same arguments on every node)"),
        None => "begins empty".to_owned(),
    }
}

fn written(list: &[(String, String)]) -> String {
    list.iter().map(|(name, address)| format!("{name}={address}")).collect::<Vec<_>>().join(",")
}

/// Forms the cluster, or finds it formed with this node in it.
pub(super) async fn form(
    identity: &Identity,
    token: &str,
    members: &[(String, String)],
    (listener, link): (&TcpListener, &Link),
) -> Result<(NodeId, Membership), FormationError> {
    let intent = Arc::new(Intent::new(identity, token, members));
    let genesis = tokio::select! {
        genesis = agree_with_all(&intent, link) => genesis?,
        () = peers::answer_questions(listener, link, Arc::new(Forming(intent.clone()))) => unreachable!("questions are answered for ever"),
    };
    Ok((intent.node, Membership::of_founder(genesis)))
}

/// Answers the others while this node forms.
struct Forming(Arc<Intent>);

impl Reception for Forming {
    async fn answer(&self, topic: Topic, _question: Bytes) -> Bytes {
        match topic {
            Topic::Founding => FoundingAnswer::Forming((*self.0).clone()).to_wire().into(),
            Topic::Claim | Topic::Admit => super::joining::ClaimAnswer::not_formed().to_wire().into(),
            Topic::Attend => super::attending::AttendAnswer::not_formed().to_wire().into(),
            Topic::Gossip | Topic::Health | Topic::Diagnosis | Topic::Restart => Bytes::new(),
        }
    }
}

async fn agree_with_all(intent: &Arc<Intent>, link: &Link) -> Result<Genesis, FormationError> {
    let others = intent.others();
    let mut questions = JoinSet::new();
    for (name, address) in others.clone() {
        questions.spawn(ask_until_answered(intent.clone(), link.clone(), name, address));
    }
    let mut heard = BTreeMap::from([(intent.name.clone(), intent.node)]);
    while heard.len() < intent.list.len() {
        let waiting = || others.iter().filter(|(name, _)| !heard.contains_key(name)).cloned().collect::<Vec<_>>();
        let answered = tokio::select! {
            answered = questions.join_next() => answered.expect("each of those not heard is being asked"),
            () = sleep(REPORT) => {
                tracing::info!("the cluster forms as soon as these are up too: {}", written(&waiting()));
                continue;
            }
        };
        match answered.expect("asking does not panic")? {
            Heard::Forming(name, node) => heard.insert(name, node),
            Heard::Formed(genesis) => return Ok(genesis),
        };
    }
    let founder = |(name, address): &(String, String)| Founder { name: name.clone(), address: address.clone(), node: heard[name] };
    Ok(Genesis::new(&intent.token, intent.list.iter().map(founder), intent.level).with_seed(intent.seed))
}

enum Heard {
    Forming(String, NodeId),
    Formed(Genesis),
}

async fn ask_until_answered(intent: Arc<Intent>, link: Link, name: String, address: String) -> Result<Heard, FormationError> {
    let question = intent.to_wire();
    let mut said = String::new();
    loop {
        let begin = Instant::now();
        let problem = match peers::ask(&link, &address, Topic::Founding, &question, ANSWER_LIMIT).await {
            Ok(answer) => match FoundingAnswer::from_wire(answer) {
                Ok(FoundingAnswer::Forming(other)) => {
                    return intent.agree(&name, &address, &other).map(|node| Heard::Forming(name, node));
                }
                Ok(FoundingAnswer::Formed(genesis)) => return intent.find_place(&address, genesis).map(Heard::Formed),
                Err(error) => format!("its answer is malformed: {error}"),
            },
            Err(error) if error.is_about_tls() => {
                let problem = error.to_string();
                if problem != said {
                    tracing::warn!(name, "cannot form the cluster yet, and keeps trying: {problem}");
                    said.clone_from(&problem);
                }
                problem
            }
            Err(error) => error.to_string(),
        };
        if problem != said {
            tracing::debug!(name, address, "no answer yet: {problem}");
            said = problem;
        }
        sleep(ASK_AGAIN.saturating_sub(begin.elapsed())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Restored;

    fn intent(name: &str, node: u64, seed: Option<u64>) -> Intent {
        let list = [("n1".to_owned(), "h:1".to_owned()), ("n2".to_owned(), "h:2".to_owned())];
        let restored = seed.map(|hash| Restored { hash, token: "token".to_owned(), members: list.to_vec() });
        let identity = Identity {
            node: NodeId(node),
            nonce: 1,
            name: name.to_owned(),
            address: "h:1".to_owned(),
            restored,
            is_agent: false,
            membership: None,
        };
        Intent::new(&identity, "token", &list)
    }

    #[test]
    fn nodes_form_only_with_such_as_begin_with_the_same_state_at_the_same_level() {
        for (own, other) in [(Some(1), Some(2)), (Some(1), None), (None, Some(1))] {
            let refusal = intent("n1", 1, own).agree("n2", "h:2", &intent("n2", 2, other)).expect_err("another state").to_string();
            assert!(refusal.contains("restored state"), "{refusal}");
            let founders = [(1, "n1", "h:1"), (2, "n2", "h:2")];
            let founder = |(node, name, address): (u64, &str, &str)| Founder {
                name: name.to_owned(),
                address: address.to_owned(),
                node: NodeId(node),
            };
            let genesis = Genesis::new("token", founders.map(founder), Level::NEWEST).with_seed(other);
            assert!(intent("n1", 1, own).find_place("h:2", genesis).is_err());
        }
        let older = Intent { level: Level::FIRST, ..intent("n2", 2, None) };
        let refusal = intent("n1", 1, None).agree("n2", "h:2", &older).expect_err("another release").to_string();
        assert!(refusal.contains("its release knows level 1, this one 2"), "{refusal}");
        assert_eq!(intent("n1", 1, Some(1)).agree("n2", "h:2", &intent("n2", 2, Some(1))).ok(), Some(NodeId(2)));
    }
}
