//! Results as a table in Markdown.

use std::fmt::Write as _;

use crate::measure::Result;
use crate::scenario::Scenario;

const HEAD: &str = "| scenario | nodes | code | notice p50 | p99 | last | unnoticed | false failures | false removals | struck: of them failed, removed | B/s idle | B/s mean | B/s busiest |\n\
| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";

fn seconds(time: Option<f64>, applies: bool) -> String {
    match time {
        Some(seconds) => format!("{seconds:.1} s"),
        None if applies => "never".to_owned(),
        None => "–".to_owned(),
    }
}

/// One row.
#[must_use]
pub fn row(result: &Result) -> String {
    let applies = result.scenario.kills() || result.scenario == Scenario::StartUp;
    let [median, high, last] = result.notice_s.map(|time| seconds(time, applies));
    let unnoticed = if result.scenario.kills() { format!("{:.2} %", result.unnoticed * 100.0) } else { "–".to_owned() };
    let (struck, failed, removed) = result.struck;
    let idle = if result.scenario == Scenario::StartUp { "–".to_owned() } else { format!("{:.0}", result.idle_bytes) };
    format!(
        "| {} | {} | {} | {median} | {high} | {last} | {unnoticed} | {} | {} | {struck}: {failed}, {removed} | {idle} | {:.0} | {:.0} |",
        result.scenario.title(),
        result.size,
        result.kind.name(),
        result.false_failures,
        result.false_removals,
        result.bytes.0,
        result.bytes.1,
    )
}

/// All rows, in order.
#[must_use]
pub fn table(results: &[Result]) -> String {
    let mut sorted: Vec<&Result> = results.iter().collect();
    sorted.sort_by_key(|result| (Scenario::ALL.iter().position(|scenario| *scenario == result.scenario), result.size, result.kind));
    sorted.iter().fold(HEAD.to_owned(), |mut table, result| {
        let _ = writeln!(table, "{}", row(result));
        table
    })
}
