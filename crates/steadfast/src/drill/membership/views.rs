//! What every node holds of every other, over time: each is asked again and again, by a thread of its own.
//!
//! A node says for how long each member has been as it is, so that times are exact though it is seldom asked: but for a suspicion, whose time is that of the answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use steadfast_proof::time::Time;
use ureq::Agent;

use super::super::stopwatch::Stopwatch;

/// How often each node is asked.
const SAMPLE: Duration = Duration::from_millis(400);
/// A node that does not answer by then is not reached.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a member is held to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Healthy,
    Suspect,
    Failed,
    Left,
}

/// What became of a member in the eyes of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It is so now.
    Is(State),
    /// It is healthy, and was not all the time since it was last seen so.
    WasNotHealthy,
}

/// A change of what one node holds of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// When.
    pub(super) at: Time,
    /// Who sees it.
    pub(super) observer: usize,
    /// Of whom.
    pub(super) member: usize,
    /// What.
    pub(super) what: What,
}

/// One member in a node's answer.
#[derive(Clone, Debug, Deserialize)]
struct Seen {
    name: String,
    state: State,
    since_ms: u64,
    incarnation: String,
}

/// What one node holds, as it said last.
#[derive(Clone, Debug, Default)]
struct View {
    /// Which life of its process said it.
    life: String,
    /// When it was asked, and had answered.
    asked: Time,
    answered: Time,
    members: BTreeMap<usize, (State, Time)>,
}

/// All nodes' views, now and over time.
#[derive(Debug)]
pub(super) struct Views {
    held: Arc<Mutex<Held>>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Held {
    names: Vec<String>,
    now: Vec<View>,
    changes: Vec<Change>,
    answers: u64,
}

impl Views {
    /// Begins to ask the nodes of these names at these admin addresses.
    pub(super) fn start(nodes: &[(String, String)], stopwatch: Stopwatch) -> Self {
        let names: Vec<String> = nodes.iter().map(|(name, _)| name.clone()).collect();
        let held = Held { now: vec![View::default(); names.len()], names, changes: Vec::new(), answers: 0 };
        let views = Views { held: Arc::new(Mutex::new(held)), stop: Arc::default() };
        for (observer, (_, admin)) in nodes.iter().enumerate() {
            let (held, stop, url) = (views.held.clone(), views.stop.clone(), format!("http://{admin}/members"));
            std::thread::spawn(move || ask(observer, &url, stopwatch, &held, &stop));
        }
        views
    }

    /// All changes so far, and how many answers they come from.
    pub(super) fn changes(&self) -> (Vec<Change>, u64) {
        let held = self.lock();
        (held.changes.clone(), held.answers)
    }

    /// Whether every one of these nodes said after `after` that `member` is in this state.
    pub(super) fn all_see(&self, observers: &[usize], member: usize, state: State, after: Time) -> bool {
        let held = self.lock();
        observers.iter().filter(|observer| **observer != member).all(|observer| {
            let view = &held.now[*observer];
            view.asked >= after && view.members.get(&member).is_some_and(|(seen, _)| *seen == state)
        })
    }

    /// Whether all said after `after` that all are healthy.
    pub(super) fn all_healthy(&self, after: Time) -> bool {
        let all: Vec<usize> = (0..self.lock().names.len()).collect();
        all.iter().all(|member| self.all_see(&all, *member, State::Healthy, after))
    }

    /// Who is not healthy in whose eyes, or has not answered, for people.
    pub(super) fn unwell(&self, after: Time) -> String {
        let held = self.lock();
        let name = |at: &usize| held.names[*at].as_str();
        let of = |(observer, view): (usize, &View)| {
            let unwell: Vec<&str> = view.members.iter().filter(|(_, (state, _))| *state != State::Healthy).map(|(m, _)| name(m)).collect();
            match (view.asked >= after, unwell.len()) {
                (false, _) => Some(format!("{} does not answer", name(&observer))),
                (true, 0) => None,
                (true, _) => Some(format!("{} sees {} unwell", name(&observer), unwell.join(", "))),
            }
        };
        held.now.iter().enumerate().filter_map(of).collect::<Vec<_>>().join("; ")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics while it holds this")
    }
}

impl Drop for Views {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn ask(observer: usize, url: &str, stopwatch: Stopwatch, held: &Mutex<Held>, stop: &AtomicBool) {
    let agent: Agent = Agent::config_builder().timeout_global(Some(PATIENCE)).proxy(None).build().into();
    while !stop.load(Ordering::Relaxed) {
        let asked = stopwatch.now();
        let answer = agent.get(url).call().and_then(|mut answer| answer.body_mut().read_to_vec());
        if let Some(members) = answer.ok().and_then(|text| serde_json::from_slice::<Vec<Seen>>(&text).ok()) {
            let times = (asked, stopwatch.now());
            held.lock().expect("nothing panics while it holds this").take(observer, times, &members);
        }
        std::thread::park_timeout(SAMPLE);
    }
}

impl Held {
    fn take(&mut self, observer: usize, (asked, answered): (Time, Time), members: &[Seen]) {
        self.answers += 1;
        let life = members.iter().find(|seen| seen.name == self.names[observer]).map_or_else(String::new, |own| life_of(&own.incarnation));
        let is_same_life = self.now[observer].life == life;
        let before = std::mem::take(&mut self.now[observer]);
        let mut view = View { life, asked, answered, members: BTreeMap::new() };
        for seen in members {
            let Some(member) = self.names.iter().position(|name| *name == seen.name).filter(|member| *member != observer) else { continue };
            let since = |moment: Time| Time(moment.0.saturating_sub(seen.since_ms * 1000));
            let held = before.members.get(&member).filter(|_| is_same_life).copied();
            if let Some(what) = changed(held, seen.state, since(asked) > before.answered) {
                let at = if seen.state == State::Suspect { answered } else { since(answered) };
                self.changes.push(Change { at, observer, member, what });
            }
            view.members.insert(member, (seen.state, since(answered)));
        }
        self.now[observer] = view;
    }
}

/// The number of a process's life: an incarnation up to its dot.
fn life_of(incarnation: &str) -> String {
    incarnation.split('.').next().unwrap_or_default().to_owned()
}

/// What happened between two answers. `is_younger`: it has been so only since after the first of them.
fn changed(before: Option<(State, Time)>, now: State, is_younger: bool) -> Option<What> {
    match (before.map(|(state, _)| state), now) {
        (None, State::Healthy | State::Suspect | State::Left) => None,
        (None, State::Failed) => Some(What::Is(State::Failed)),
        (Some(State::Healthy | State::Suspect), State::Healthy | State::Suspect) if is_younger => Some(What::WasNotHealthy),
        (Some(before), now) => (before != now).then_some(What::Is(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Held {
        let names = vec!["n1".to_owned(), "n2".to_owned()];
        Held { now: vec![View::default(); 2], names, changes: Vec::new(), answers: 0 }
    }

    fn seen(name: &str, state: State, since_ms: u64, incarnation: &str) -> Seen {
        Seen { name: name.to_owned(), state, since_ms, incarnation: incarnation.to_owned() }
    }

    /// The first node says this of the second one.
    fn says(held: &mut Held, at_ms: u64, life: u64, state: State, since_ms: u64) {
        let time = Time(at_ms * 1000);
        held.take(0, (time, time), &[seen("n1", State::Healthy, 9, &format!("{life}.0")), seen("n2", state, since_ms, "1.0")]);
    }

    #[test]
    fn a_failure_has_the_time_that_the_node_says_and_what_came_between_two_answers_is_seen() {
        let mut held = held();
        says(&mut held, 10_000, 1, State::Healthy, 5000);
        says(&mut held, 10_400, 1, State::Healthy, 5400);
        assert!(held.changes.is_empty());
        says(&mut held, 10_800, 1, State::Failed, 300);
        says(&mut held, 11_200, 1, State::Healthy, 100);
        says(&mut held, 11_600, 1, State::Healthy, 100);
        let found: Vec<(u64, What)> = held.changes.iter().map(|change| (change.at.0 / 1000, change.what)).collect();
        assert_eq!(found, [(10_500, What::Is(State::Failed)), (11_100, What::Is(State::Healthy)), (11_500, What::WasNotHealthy)]);
    }

    #[test]
    fn who_begins_anew_has_seen_nothing_yet() {
        let mut held = held();
        says(&mut held, 10_000, 1, State::Healthy, 5000);
        says(&mut held, 11_000, 2, State::Healthy, 100);
        says(&mut held, 12_000, 3, State::Failed, 100);
        assert_eq!(held.changes.len(), 1);
    }
}
