//! What a drill found, for people and for programs: what was expected and what came, in a terminal and as JSON.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::declaration::{Declaration, Expect};
use super::figures::{FaultFigures, Figures};
use super::verdict::Verdict;
use crate::show;

/// What a drill found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// The drill.
    pub(super) name: String,
    /// What it shows.
    pub(super) purpose: String,
    /// Whether nothing was wrong.
    pub(super) passed: bool,
    /// What was wrong: broken promises, missed expectations, and faults that could not be carried out.
    pub(super) problems: Vec<String>,
    /// What was measured.
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// What the checkers say.
    pub(super) checkers: Vec<Verdict>,
}

/// What became of a drill.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It was run.
    Run(Box<Report>),
    /// It can't be run here; why.
    Refused(String),
    /// It could not be run to its end; why.
    Failed(String),
}

impl Report {
    /// A report with all that is wrong. `problems`: what is known already.
    pub(super) fn new(drill: &Declaration, figures: Figures, checkers: Vec<Verdict>, mut problems: Vec<String>) -> Self {
        let broken = |verdict: &Verdict| Some(format!("{} is broken: {}", verdict.checker, verdict.violation.as_ref()?));
        problems.extend(checkers.iter().filter_map(broken));
        problems.extend(missed(&drill.expect, &figures));
        Report { name: drill.name.clone(), purpose: drill.purpose.clone(), passed: problems.is_empty(), problems, figures, checkers }
    }

    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let Figures { requests, availability, longest_gap, latency_ms, .. } = &self.figures;
        let mut text = format!("{}: {}\n  {}\n", self.name, if self.passed { "passed" } else { "FAILED" }, self.purpose);
        let mut line = |name: &str, value: String| writeln!(text, "  {name:<13} {value}").expect("a string takes all");
        line(
            "requests",
            format!(
                "{} in {:.0} s: {} good, {} bad, {} unknown",
                requests.all(),
                self.figures.seconds,
                requests.good,
                requests.bad,
                requests.unknown
            ),
        );
        line(
            "availability",
            format!(
                "{} by request ({} to {}, {})",
                percent(availability.value),
                percent(availability.low),
                percent(availability.high),
                availability.method
            ),
        );
        line("longest gap", format!("{} for the worst client, {}", duration(longest_gap.ms), longest_gap.client));
        line(
            "latency",
            format!(
                "half within {}, 99 % within {}, all within {}",
                duration(latency_ms.p50),
                duration(latency_ms.p99),
                duration(latency_ms.max)
            ),
        );
        line("leader", format!("{} changes", self.figures.leader_changes));
        line("checkers", checkers(&self.checkers));
        if let Some(sentence) = five_nines(&self.figures) {
            line("99.999 %", sentence);
        }
        if !self.figures.faults.is_empty() {
            text += &indented(&faults(&self.figures.faults));
        }
        for problem in &self.problems {
            writeln!(text, "  PROBLEM: {problem}").expect("a string takes all");
        }
        text
    }
}

/// The expectations that were missed, each with what came instead.
fn missed(expect: &Expect, figures: &Figures) -> Vec<String> {
    let mut missed = Vec::new();
    let mut check = |name: &str, came: String, ok: bool, wanted: String| {
        if !ok {
            missed.push(format!("{name} was {came}, expected {wanted}"));
        }
    };
    if let Some(most) = expect.longest_gap_ms {
        let gap = figures.longest_gap.ms;
        check("the longest gap", duration(gap), gap <= most as f64, format!("at most {}", duration(most as f64)));
    }
    if let Some(least) = expect.availability {
        let value = figures.availability.value;
        check("the availability", percent(value), value >= least, format!("at least {}", percent(least)));
    }
    let changes = figures.leader_changes;
    if let Some(most) = expect.leader_changes_at_most {
        check("the number of leader changes", changes.to_string(), changes <= most, format!("at most {most}"));
    }
    if let Some(least) = expect.leader_changes_at_least {
        check("the number of leader changes", changes.to_string(), changes >= least, format!("at least {least}"));
    }
    for fault in &figures.faults {
        let mut within = |what: &str, came: Option<f64>, most: Option<u64>| {
            let Some(most) = most else { return };
            let ok = came.is_some_and(|came| came <= most as f64);
            let name = format!("the time to {what} after the {} of {} at {}", fault.kind, fault.nodes.join(", "), duration(fault.at_ms));
            check(&name, came.map_or("never".into(), duration), ok, format!("at most {}", duration(most as f64)));
        };
        within("elect a leader", fault.elect_ms, expect.elect_ms.filter(|_| fault.of_leader));
        within("the first write", fault.first_write_ms, expect.first_write_ms);
    }
    missed
}

fn faults(faults: &[FaultFigures]) -> String {
    let time = |ms: Option<f64>| ms.map_or("-".into(), duration);
    let rows = faults.iter().map(|fault| {
        vec![
            fault.kind.clone(),
            format!("{}{}", fault.nodes.join(","), if fault.of_leader { " (leader)" } else { "" }),
            duration(fault.at_ms),
            time(fault.ended_ms.map(|ended| ended - fault.at_ms)),
            time(fault.notice_ms),
            time(fault.elect_ms),
            time(fault.first_write_ms),
        ]
    });
    let times = ["AT", "LASTED", "NOTICED", "ELECTED", "FIRST WRITE"];
    show::table(&["FAULT", "NODE", times[0], times[1], times[2], times[3], times[4]], &times, rows)
}

/// The checkers in a line: all is well, or who found something.
pub(super) fn checkers(verdicts: &[Verdict]) -> String {
    let names = |broken: bool| {
        let names = verdicts.iter().filter(|verdict| verdict.violation.is_some() == broken).map(|verdict| verdict.checker);
        names.collect::<Vec<_>>().join(", ")
    };
    if verdicts.iter().all(|verdict| verdict.violation.is_none()) {
        format!("{}: all hold", names(false))
    } else {
        format!("BROKEN: {}", names(true))
    }
}

/// What the faults cost and what that allows, in a sentence.
pub(super) fn five_nines(figures: &Figures) -> Option<String> {
    let cost = figures.five_nines?;
    let lost = duration(cost.lost_ms_per_fault);
    Some(if cost.lost_ms_per_fault == 0.0 {
        "no request failed: these faults cost nothing that this load could see, however often they come".into()
    } else {
        format!("a fault cost {lost} of service: one every {}, or rarer, would leave 99.999 %", long_duration(cost.seconds_between_faults))
    })
}

/// What each number means, a sentence each.
pub(super) const MEANINGS: [(&str, &str); 9] = [
    (
        "good, bad, unknown",
        "A good request was answered before its deadline; a bad one is known to have had no effect; of an unknown one, a write, nobody can say: it may have been done.",
    ),
    (
        "availability",
        "Good requests of all requests, the unknown ones counted as failures; the interval holds the true part with 95 % confidence if requests failed independently, which in an outage they do not: take it as a lower bound of the doubt.",
    ),
    ("longest gap", "The longest time that any one client went without a good answer: what the unluckiest user saw."),
    (
        "latency",
        "From the moment at which a request was due, not at which it could be sent, to its answer; so a stall is charged to all who came during it.",
    ),
    ("noticed", "From the fault of a leader until another node no longer took it for one: the failure detector."),
    ("elected", "From the fault until some node led in a new term: failure detection and election together."),
    ("first write", "From the fault until a write was acknowledged that was sent after it: what an application waits."),
    (
        "checkers",
        "Programs that know only what clients asked and were told and decide whether a correct store can have said that; any violation fails the drill.",
    ),
    (
        "99.999 %",
        "Failed requests stand for a time without service; five nines leave 5 minutes 15 seconds of it a year, hence the fault rate that still fits.",
    ),
];

/// A number of milliseconds, for people.
pub(super) fn duration(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1000.0),
    }
}

/// A number of seconds, for people.
fn long_duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} minutes", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} hours", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// A part of 1 as percent, with as many digits as it takes to tell it from all.
pub(super) fn percent(part: f64) -> String {
    if part > 0.999 && part < 1.0 { format!("{:.4} %", part * 100.0) } else { format!("{:.2} %", part * 100.0) }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// All drills in a table.
pub(super) fn summary(outcomes: &[(String, Outcome)]) -> String {
    let rows = outcomes.iter().map(|(name, outcome)| match outcome {
        Outcome::Run(report) => {
            let Figures { requests, availability, longest_gap, leader_changes, .. } = &report.figures;
            let verdict = if report.passed { "passed" } else { "FAILED" };
            let failed = format!("{} / {}", requests.bad, requests.unknown);
            vec![name.clone(), verdict.into(), percent(availability.value), duration(longest_gap.ms), failed, leader_changes.to_string()]
        }
        Outcome::Refused(_) => [name, "not run", "-", "-", "-", "-"].map(String::from).to_vec(),
        Outcome::Failed(_) => [name, "FAILED", "-", "-", "-", "-"].map(String::from).to_vec(),
    });
    let numbers = ["AVAILABLE", "LONGEST GAP", "BAD / UNKNOWN", "LEADER CHANGES"];
    show::table(&["DRILL", "VERDICT", numbers[0], numbers[1], numbers[2], numbers[3]], &numbers, rows)
}

/// Everything, for programs.
pub(super) fn to_json(outcomes: &[(String, Outcome)]) -> Value {
    let one = |(name, outcome): &(String, Outcome)| match outcome {
        Outcome::Run(report) => serde_json::to_value(report).expect("a report is plain data"),
        Outcome::Refused(reason) => json!({ "name": name, "passed": null, "refused": reason }),
        Outcome::Failed(reason) => json!({ "name": name, "passed": false, "problems": [reason] }),
    };
    json!({ "passed": outcomes.iter().all(|(_, outcome)| is_good(outcome)), "drills": outcomes.iter().map(one).collect::<Vec<_>>() })
}

/// Whether nothing was wrong; that it can't be run here is not wrong.
pub(super) fn is_good(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Run(report) => report.passed,
        Outcome::Refused(_) => true,
        Outcome::Failed(_) => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::figures::{Availability, FiveNines, Gap, Latency, Reign, Requests, Slot};
    use super::*;

    pub(in super::super) fn figures() -> Figures {
        let fault = FaultFigures {
            kind: "kill".into(),
            nodes: vec!["n1".into()],
            of_leader: true,
            at_ms: 2000.0,
            ended_ms: Some(6000.0),
            notice_ms: Some(1000.0),
            elect_ms: Some(1200.0),
            first_write_ms: Some(1300.0),
        };
        let slot = Slot { requests: Requests { good: 9, bad: 1, unknown: 0 }, median_ms: Some(1.0), worst_ms: Some(3.0) };
        let reign = |leader: Option<&str>, from_ms, to_ms| Reign { leader: leader.map(String::from), term: 2, from_ms, to_ms };
        Figures {
            seconds: 10.0,
            rate: 100,
            requests: Requests { good: 900, bad: 60, unknown: 40 },
            availability: Availability { value: 0.9, low: 0.88, high: 0.92, method: "Wilson, 95 %" },
            longest_gap: Gap { ms: 1500.0, client: 3, at_ms: 2000.0 },
            latency_ms: Latency { p50: 1.2, p99: 20.0, max: 900.0 },
            faults: vec![fault],
            leader_changes: 1,
            five_nines: Some(FiveNines { lost_ms_per_fault: 1000.0, seconds_between_faults: 100_000.0 }),
            slot_ms: 100,
            timeline: vec![slot; 100],
            leaders: vec![reign(Some("n1"), 0.0, 2000.0), reign(None, 2000.0, 3200.0), reign(Some("n2"), 3200.0, 10_000.0)],
        }
    }

    pub(in super::super) fn report(expect: &str) -> Report {
        let text = format!("name = 'x'\npurpose = 'To <see>.'\nseconds = 10\n[expect]\n{expect}");
        let drill = super::super::declaration::parse(&text).expect("valid");
        let verdict = Verdict { checker: "durability", promise: "nothing is lost", violation: None };
        Report::new(&drill, figures(), vec![verdict], Vec::new())
    }

    #[test]
    fn expectations_that_hold_are_not_mentioned() {
        let expect = "longest-gap-ms = 1500\navailability = 0.9\nelect-ms = 1200\nfirst-write-ms = 1300\nleader-changes-at-most = 1\nleader-changes-at-least = 1";
        let report = report(expect);
        assert!(report.passed && report.problems.is_empty(), "{:?}", report.problems);
    }

    #[test]
    fn each_missed_expectation_is_a_problem() {
        let problems = |expect: &str| report(expect).problems;
        assert_eq!(problems("longest-gap-ms = 1499"), ["the longest gap was 1.50 s, expected at most 1.50 s"]);
        assert_eq!(problems("availability = 0.95"), ["the availability was 90.00 %, expected at least 95.00 %"]);
        assert_eq!(
            problems("elect-ms = 100"),
            ["the time to elect a leader after the kill of n1 at 2.00 s was 1.20 s, expected at most 100 ms"]
        );
        assert_eq!(problems("first-write-ms = 100").len(), 1);
        assert_eq!(problems("leader-changes-at-most = 0"), ["the number of leader changes was 1, expected at most 0"]);
        assert_eq!(problems("leader-changes-at-least = 2").len(), 1);
    }

    #[test]
    fn a_broken_checker_fails_the_drill_and_is_named() {
        let drill = super::super::declaration::parse("name = 'x'\npurpose = 'y'\nseconds = 1").expect("valid");
        let verdict = Verdict { checker: "durability", promise: "nothing is lost", violation: Some("a write is gone".into()) };
        let report = Report::new(&drill, figures(), vec![verdict], Vec::new());
        assert!(!report.passed && report.text().contains("PROBLEM: durability is broken: a write is gone"), "{}", report.text());
        let json = to_json(&[("x".into(), Outcome::Run(Box::new(report)))]);
        assert_eq!((&json["passed"], &json["drills"][0]["passed"]), (&json!(false), &json!(false)));
    }

    #[test]
    fn the_text_tells_all_figures() {
        let text = report("").text();
        for part in [
            "1000 in 10 s: 900 good, 60 bad, 40 unknown",
            "90.00 % by request (88.00 % to 92.00 %",
            "1.50 s for the worst client, 3",
            "one every 27.8 hours, or rarer",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn json_has_its_shape() {
        let outcomes = [("x".to_string(), Outcome::Run(Box::new(report("")))), ("y".into(), Outcome::Refused("not here".into()))];
        let json = to_json(&outcomes);
        assert_eq!(json["passed"], true);
        let drill = &json["drills"][0];
        assert_eq!((&drill["requests"]["good"], &drill["longest_gap"]["client"]), (&json!(900), &json!(3)));
        assert_eq!((&drill["faults"][0]["elect_ms"], &drill["timeline"][0]["good"]), (&json!(1200.0), &json!(9)));
        assert_eq!(json["drills"][1]["refused"], "not here");
    }
}
