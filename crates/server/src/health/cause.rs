//! Why a state changed, in words with names.

use std::collections::BTreeSet;

use steadfast_health::states::{Cause, Event};
use steadfast_health::verdict::{Rule, Testimony};
use steadfast_health::{Evidence, Figures, HealthState, Way};
use steadfast_types::NodeId;

/// More words are cut: a cause is read by people.
pub(super) const CAUSE_BYTES: usize = 1024;

/// Who is meant by an id.
pub(super) type Names<'a> = &'a dyn Fn(NodeId) -> String;

/// Who has something against the subject, by name; itself included if it reports it of itself.
pub(super) fn observers(event: &Event, names: Names<'_>) -> Vec<String> {
    let observers: BTreeSet<String> = event.evidence.iter().map(|testimony| names(testimony.observer)).collect();
    observers.into_iter().collect()
}

/// What a piece of evidence is about, without figures that change always.
pub(super) fn about(evidence: &Evidence) -> String {
    match &evidence.figures {
        Figures::SoftError { rule, .. } => rule.clone(),
        Figures::ProbeStuck { stage, .. } => format!("{stage}, {:?}", evidence.strength),
        Figures::Unanswered { .. }
        | Figures::LateAnswer { .. }
        | Figures::Silent { .. }
        | Figures::Improbable { .. }
        | Figures::NoProgress { .. }
        | Figures::ProbeSlow { .. }
        | Figures::Broken { .. }
        | Figures::Retransmitted { .. }
        | Figures::Reordered { .. }
        | Figures::ChecksFailed { .. } => evidence.way.to_string(),
    }
}

/// The cause of a change.
pub(super) fn in_words(event: &Event, names: Names<'_>) -> String {
    let words = match event.cause {
        Cause::Held(Rule::Returned) if event.to == HealthState::Healthy => "it has answered for a while".to_owned(),
        Cause::Verdict(rule) | Cause::Held(rule) => with_evidence(rule_words(rule), &event.evidence, names),
        Cause::Flapping => with_evidence("it changes too often", &event.evidence, names),
        Cause::FlappingEnded => "it has changed less often for a while".to_owned(),
    };
    steadfast_health::limits::cut(&words, CAUSE_BYTES).to_owned()
}

fn rule_words(rule: Rule) -> &'static str {
    match rule {
        Rule::Unheard => "nobody has a say",
        Rule::Condemned => "found dead",
        Rule::Suspected => "suspected",
        Rule::Impaired => "impaired",
        Rule::Returned => "it answers again",
        Rule::Well => "nothing is held against it",
        Rule::Checked => "its checks",
    }
}

/// Those who found it silent are named together; all else is told one by one.
fn with_evidence(what: &str, evidence: &[Testimony], names: Names<'_>) -> String {
    let is_silence = |testimony: &&Testimony| matches!(testimony.evidence.figures, Figures::Silent { .. });
    let mut silent: Vec<String> = Vec::new();
    for name in evidence.iter().filter(is_silence).map(|testimony| names(testimony.observer)) {
        // By gossip, and by what it sent: that is one silence.
        if !silent.contains(&name) {
            silent.push(name);
        }
    }
    let silence = (!silent.is_empty()).then(|| format!("silent for {}", silent.join(", ")));
    let others = evidence.iter().filter(|testimony| !is_silence(testimony));
    let others = others.map(|testimony| match testimony.evidence.way {
        Way::SelfReport | Way::Check => testimony.evidence.to_string(),
        Way::Timeout | Way::Heartbeat | Way::Checkpoint | Way::Probe | Way::Transport => {
            format!("{} has {}", names(testimony.observer), testimony.evidence)
        }
    });
    let parts: Vec<String> = silence.into_iter().chain(others).collect();
    if parts.is_empty() { what.to_owned() } else { format!("{what}: {}", parts.join("; ")) }
}
