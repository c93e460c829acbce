//! The questions that nodes ask each other for people: on the peer port, with whatever protects it. Answers are JSON in one frame.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use steadfast_types::wire::Wire;
use steadfast_types::{ClusterId, NodeId, wire_enum, wire_struct};

use super::Diagnosis;
use super::part::Part;
use super::sight::Sight;
use crate::peers::{self, DIAGNOSIS_FRAME_BYTES, Reception, Topic};

/// How long a node may take to tell of itself: a second for its threads, and the way of some MiB.
const PART_LIMIT: Duration = Duration::from_secs(5);

/// How long one may take to tell of another.
const SIGHT_LIMIT: Duration = Duration::from_secs(2);

/// A question, to a node of this cluster alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    cluster: ClusterId,
    about: About,
}
wire_struct!(Question { cluster, about });

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    /// Yourself: a [`Part`].
    Yourself,
    /// Another node: a [`Sight`].
    Another(NodeId),
}
wire_enum!(About { 1 => Yourself {}, 2 => Another(node) });

fn frame(answer: &impl Serialize) -> Bytes {
    let bytes = serde_json::to_vec(answer).unwrap_or_default();
    if bytes.len() > DIAGNOSIS_FRAME_BYTES { Bytes::new() } else { bytes.into() }
}

impl Diagnosis {
    /// The answer to a question that came; empty if there is none.
    async fn answer(&self, question: Bytes) -> Bytes {
        match Question::from_wire(question) {
            Ok(Question { cluster, about }) if cluster == self.0.place.cluster => match about {
                About::Yourself => self.part().await.map_or_else(Bytes::new, |part| frame(&part)),
                About::Another(node) => frame(&self.sight(node)),
            },
            Ok(_) | Err(_) => Bytes::new(),
        }
    }

    /// What the node at `address` says of itself; or why it does not, in words.
    pub(super) async fn ask_part(&self, address: &str) -> Result<Part, String> {
        let answer = self.ask(address, About::Yourself, PART_LIMIT).await?;
        Part::read(&answer).ok_or_else(|| declined(address))
    }

    /// What the server at `address` says of a node; or why it does not, in words.
    pub(super) async fn ask_sight(&self, address: &str, of: NodeId) -> Result<Sight, String> {
        let answer = self.ask(address, About::Another(of), SIGHT_LIMIT).await?;
        Sight::read(&answer).ok_or_else(|| declined(address))
    }

    async fn ask(&self, address: &str, about: About, limit: Duration) -> Result<Bytes, String> {
        let place = &self.0.place;
        let question = Question { cluster: place.cluster, about }.to_wire();
        peers::ask(&place.link, address, Topic::Diagnosis, &question, limit).await.map_err(|error| error.to_string())
    }
}

fn declined(address: &str) -> String {
    format!("{address}: it answers, but not this: it is busy with others who ask, of another cluster, or of an older release")
}

/// A peer port's reception with diagnosis in front: its questions are answered here, all else goes on.
pub(crate) struct Answering<R> {
    diagnosis: Diagnosis,
    behind: R,
}

impl<R: Reception> Answering<R> {
    pub(crate) fn new(diagnosis: Diagnosis, behind: R) -> Self {
        Answering { diagnosis, behind }
    }
}

impl<R: Reception> Reception for Answering<R> {
    async fn answer(&self, topic: Topic, question: Bytes) -> Bytes {
        match topic {
            Topic::Diagnosis => self.diagnosis.answer(question).await,
            Topic::Founding | Topic::Claim | Topic::Gossip | Topic::Attend | Topic::Health | Topic::Admit | Topic::Restart => {
                self.behind.answer(topic, question).await
            }
        }
    }
}
