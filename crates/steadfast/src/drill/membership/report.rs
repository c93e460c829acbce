//! What the drill found, for people and for programs.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::report::duration;
use super::faults::{ALL, Kind, LOSS_PERCENT, SLOW};
use super::figures::{FaultFigures, quantile};
use super::{NAME, PURPOSE};
use crate::show;

/// What the drill found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) name: &'static str,
    pub(super) purpose: &'static str,
    pub(super) passed: bool,
    pub(super) problems: Vec<String>,
    pub(super) seconds: f64,
    pub(super) servers: usize,
    pub(super) agents: usize,
    pub(super) cpu_load: bool,
    /// How often a node answered what it holds of the others.
    pub(super) answers: u64,
    /// How often somebody was held to be dead without a fault that says so.
    pub(super) false_removals: usize,
    /// How often somebody without a fault was suspected by somebody without one.
    pub(super) idle_suspicions: usize,
    /// Of all times at which somebody noticed something.
    pub(super) notice: Notice,
    pub(super) faults: Vec<FaultFigures>,
}

/// How soon faults were noticed, by each of the other nodes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Notice {
    pub(super) count: usize,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) max_ms: Option<f64>,
}

impl Notice {
    /// Of these faults.
    pub(super) fn of(faults: &[FaultFigures]) -> Self {
        let mut all: Vec<f64> = faults.iter().filter(|fault| fault.kind.is_death()).flat_map(|fault| fault.notices_ms.clone()).collect();
        let [p50_ms, p99_ms, max_ms] = [0.5, 0.99, 1.0].map(|part| quantile(&mut all, part));
        Notice { count: all.len(), p50_ms, p99_ms, max_ms }
    }
}

/// What the columns of both tables are called.
pub(super) const COLUMNS: [&str; 8] = ["FAULT", "TIMES", "FOUND DEAD", "SUSPECTED", "FIRST", "HALF", "ALL", "BACK"];

/// What they mean.
pub(super) const MEANING: &str = "\
TIMES: how often it was done. FOUND DEAD: how often all others found the node dead (of nodes that are slow, lose packets or are restarted: none may).
SUSPECTED, FIRST, HALF: when the first other node suspected it, the first found it dead, half of them: the median of all times, from the fault's beginning.
ALL: when the last of the others found it dead, the longest time. BACK: when the last of them held it to be healthy again after it was healed, the longest.";

impl Report {
    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{NAME}: {}\n  {PURPOSE}\n", if self.passed { "passed" } else { "FAILED" });
        let mut line = |name: &str, value: String| writeln!(text, "  {name:<15} {value}").expect("a string takes all");
        line("nodes", self.nodes());
        line("noticed", self.noticed());
        line("false removals", format!("{} in {:.0} s", self.false_removals, self.seconds));
        line("idle suspicions", format!("{} (asked about and cleared)", self.idle_suspicions));
        let table = show::table(&COLUMNS, &COLUMNS[1..], self.rows().into_iter().map(Vec::from));
        table.lines().for_each(|row| writeln!(text, "  {row}").expect("a string takes all"));
        MEANING.lines().for_each(|row| writeln!(text, "  {row}").expect("a string takes all"));
        self.problems.iter().for_each(|problem| writeln!(text, "  PROBLEM: {problem}").expect("a string takes all"));
        text
    }

    /// In the form of the other drills' reports.
    pub(super) fn json(&self) -> Value {
        json!({ "passed": self.passed, "drills": [self] })
    }

    /// Who took part.
    pub(super) fn nodes(&self) -> String {
        let load = if self.cpu_load { "every processor kept busy" } else { "without a load of its own" };
        format!("{} servers and {} agents, {load}; {} answers were read", self.servers, self.agents, self.answers)
    }

    /// How soon.
    pub(super) fn noticed(&self) -> String {
        let time = |ms: Option<f64>| ms.map_or("–".to_owned(), duration);
        let Notice { count, p50_ms, p99_ms, max_ms } = self.notice;
        format!("{count} times by one node: half within {}, 99 % within {}, all within {}", time(p50_ms), time(p99_ms), time(max_ms))
    }

    /// The table's rows: one for each kind of fault that was done.
    pub(super) fn rows(&self) -> Vec<[String; 8]> {
        let of = |kind: Kind| self.faults.iter().filter(|fault| fault.kind == kind).collect::<Vec<_>>();
        ALL.into_iter()
            .map(|kind| (kind, of(kind)))
            .filter(|(_, faults)| !faults.is_empty())
            .map(|(kind, faults)| row(kind, &faults))
            .collect()
    }
}

fn row(kind: Kind, faults: &[&FaultFigures]) -> [String; 8] {
    let name = match kind {
        Kind::Slow => format!("{} ({} ms)", kind.name(), SLOW.as_millis()),
        Kind::Lossy => format!("{} ({LOSS_PERCENT} %)", kind.name()),
        _ => kind.name().to_owned(),
    };
    let part = |part: f64, value: &dyn Fn(&FaultFigures) -> Option<f64>| {
        let mut values: Vec<f64> = faults.iter().filter_map(|fault| value(fault)).collect();
        quantile(&mut values, part).map_or("–".to_owned(), duration)
    };
    let found = faults.iter().filter(|fault| fault.observers > 0 && fault.notices_ms.len() == fault.observers).count();
    let notice = |at: usize| move |fault: &FaultFigures| fault.notice_ms()[at];
    [
        name,
        faults.len().to_string(),
        found.to_string(),
        part(0.5, &|fault| fault.suspected_ms),
        part(0.5, &notice(0)),
        part(0.5, &notice(1)),
        part(1.0, &notice(2)),
        part(1.0, &|fault| fault.back_ms),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn report() -> Report {
        let fault = |kind, notices_ms: &[f64]| FaultFigures {
            kind,
            round: 1,
            nodes: vec!["a1".into()],
            at_ms: 100.0,
            lasted_ms: 5000.0,
            suspected_ms: Some(900.0),
            notices_ms: notices_ms.to_vec(),
            observers: 3,
            back_ms: Some(700.0),
        };
        let faults =
            vec![fault(Kind::KillAgent, &[2000.0, 2100.0, 2500.0]), fault(Kind::KillAgent, &[1000.0, 2200.0]), fault(Kind::Slow, &[])];
        Report {
            name: NAME,
            purpose: PURPOSE,
            passed: false,
            problems: vec!["a <problem>".into()],
            seconds: 60.0,
            servers: 3,
            agents: 1,
            cpu_load: true,
            answers: 9,
            false_removals: 0,
            idle_suspicions: 2,
            notice: Notice::of(&faults),
            faults,
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_kind_and_all_is_in_the_json() {
        let report = report();
        let rows = report.rows();
        assert_eq!(rows[0].join("|"), "agent killed|2|1|900 ms|1.00 s|2.10 s|2.50 s|700 ms");
        assert_eq!(rows[1][..3].join("|"), "slow (400 ms)|1|0");
        let text = report.text();
        assert!(
            text.contains("membership: FAILED")
                && text.contains("PROBLEM: a <problem>")
                && text.contains("5 times by one node: half within 2.10 s"),
            "{text}"
        );
        let json = report.json();
        assert_eq!((&json["passed"], &json["drills"][0]["faults"][0]["notices_ms"][2]), (&json!(false), &json!(2500.0)));
        assert_eq!(json["drills"][0]["faults"][2]["kind"], "slow");
    }
}
