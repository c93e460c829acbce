//! What is printed: a table for people, an object for machines.

use serde_json::{Value, json};

use super::Settings;
use super::measured::Measured;
use super::work::Work;
use crate::show;

/// One work with one number of clients, on each side.
pub(super) struct Row {
    pub(super) work: Work,
    pub(super) clients: usize,
    pub(super) sides: Vec<Measured>,
}

/// Everything that was measured.
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    pub(super) rounds: usize,
    pub(super) settings: Settings,
}

/// The shares whose times are shown.
const SHARES: [(&str, f64); 4] = [("p50_ms", 0.5), ("p99_ms", 0.99), ("p99_9_ms", 0.999), ("longest_ms", 1.0)];

impl Report {
    /// As a table; with two sides also how many times the first is faster. Below it, why requests failed.
    pub(super) fn text(&self) -> String {
        let failures = self.rows.iter().flat_map(Row::failures);
        std::iter::once(self.table()).chain(failures).collect::<Vec<_>>().join("\n")
    }

    fn table(&self) -> String {
        let alone = ["WORK", "CLIENTS", "A SECOND", "P50 MS", "P99 MS", "P99.9 MS", "LONGEST MS", "FAILED"];
        if self.rows.iter().all(|row| row.sides.len() == 1) {
            return show::table(&alone, &alone[1..], self.rows.iter().map(Row::alone));
        }
        let beside = ["WORK", "CLIENTS", "A SECOND", "AGAINST", "RATIO", "P99 MS", "AGAINST MS", "P99 RATIO", "FAILED"];
        show::table(&beside, &beside[1..], self.rows.iter().map(Row::beside))
    }

    /// As an object.
    pub(super) fn json(&self) -> Value {
        json!({
            "seconds": self.settings.duration.as_secs(),
            "rounds": self.rounds,
            "keys": self.settings.keys,
            "value_bytes": self.settings.value_bytes,
            "watchers": self.settings.watchers,
            "rate": self.settings.rate,
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
        })
    }
}

impl Row {
    fn alone(&self) -> Vec<String> {
        let side = &self.sides[0];
        let times = SHARES.map(|(_, share)| milliseconds(side.quantile_ms(share)));
        [self.work.name(), self.clients.to_string(), whole(side.rate())].into_iter().chain(times).chain([side.failed.to_string()]).collect()
    }

    fn beside(&self) -> Vec<String> {
        let (ours, theirs) = (&self.sides[0], &self.sides[1]);
        let p99 = |side: &Measured| side.quantile_ms(0.99);
        vec![
            self.work.name(),
            self.clients.to_string(),
            whole(ours.rate()),
            whole(theirs.rate()),
            ratio(ours.rate(), theirs.rate()),
            milliseconds(p99(ours)),
            milliseconds(p99(theirs)),
            ratio(p99(theirs), p99(ours)),
            format!("{} / {}", ours.failed, theirs.failed),
        ]
    }

    fn failures(&self) -> impl Iterator<Item = String> {
        let names = [self.work.name(), format!("{} (against)", self.work.name())];
        let sides = names.into_iter().zip(&self.sides);
        sides.filter_map(|(name, side)| {
            let first = side.first_failure.as_ref()?;
            Some(format!("{name}, {} clients: {} failed, the first because: {first}", self.clients, side.failed))
        })
    }

    fn json(&self) -> Value {
        let side = |side: &Measured| {
            let mut object =
                json!({ "a_second": side.rate(), "done": side.done, "failed": side.failed, "first_failure": side.first_failure });
            for (name, share) in SHARES {
                object[name] = side.quantile_ms(share).into();
            }
            object
        };
        let mut object = json!({ "work": self.work.name(), "clients": self.clients, "measured": side(&self.sides[0]) });
        if let Some(against) = self.sides.get(1) {
            object["against"] = side(against);
        }
        object
    }
}

/// A whole number with its thousands apart.
fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn milliseconds(number: f64) -> String {
    if number < 10.0 { format!("{number:.2}") } else { format!("{number:.1}") }
}

/// One in the other, if there is any.
fn ratio(one: f64, other: f64) -> String {
    if other > 0.0 { format!("{:.2}", one / other) } else { "-".into() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn measured(rate: u64, ms: u64) -> Measured {
        let mut measured = Measured::over(Duration::from_secs(1));
        (0..rate).for_each(|_| measured.add(Duration::from_millis(ms)));
        measured
    }

    fn report(sides: Vec<Measured>) -> Report {
        let settings = Settings { keys: 1, value_bytes: 1, watchers: 1, rate: None, duration: Duration::from_secs(1) };
        Report { rows: vec![Row { work: Work::GetSerializable, clients: 64, sides }], rounds: 1, settings }
    }

    #[test]
    fn a_table_shows_one_side_or_compares_two() {
        let alone = "\
WORK              CLIENTS  A SECOND  P50 MS  P99 MS  P99.9 MS  LONGEST MS  FAILED
get-serializable       64     4,000    2.00    2.00      2.00        2.00       0";
        assert_eq!(report(vec![measured(4_000, 2)]).table(), alone);
        let beside = "\
WORK              CLIENTS  A SECOND  AGAINST  RATIO  P99 MS  AGAINST MS  P99 RATIO  FAILED
get-serializable       64     4,000    1,000   4.00    1.00        2.00       2.00   0 / 0";
        let mut broken = measured(1_000, 2);
        broken.fail(|| "no leader".into());
        let because = "get-serializable (against), 64 clients: 1 failed, the first because: no leader";
        assert_eq!(report(vec![measured(4_000, 1), broken]).text(), format!("{}\n{because}", beside.replace("0 / 0", "0 / 1")));
    }

    #[test]
    fn an_object_has_every_figure() {
        let object = report(vec![measured(4_000, 2), measured(1_000, 20)]).json();
        let row = &object["rows"][0];
        assert_eq!((row["work"].as_str(), row["clients"].as_u64()), (Some("get-serializable"), Some(64)));
        assert_eq!((row["measured"]["a_second"].as_f64(), row["against"]["done"].as_u64()), (Some(4_000.0), Some(1_000)));
        assert!((row["against"]["p99_ms"].as_f64().expect("a number") - 20.0).abs() < 0.1);
    }
}
