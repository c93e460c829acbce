//! The report as one HTML page that needs nothing else: for each drill its figures and a timeline, drawn as SVG.

use std::fmt::Write;

use super::figures::{Figures, Slot};
use super::report::{MEANINGS, Outcome, Report, checkers, duration, five_nines, percent};

/// The drawing's inner width, and where it begins.
const WIDTH: f64 = 1000.0;
const LEFT: f64 = 70.0;
/// The tops and heights of its three parts.
const RATE: (f64, f64) = (18.0, 80.0);
const LATENCY: (f64, f64) = (122.0, 90.0);
const STRIPS: f64 = 236.0;
const STRIP: f64 = 18.0;
/// The latency axis goes from 0.1 ms to 10 s, by powers of ten.
const DECADES: (f64, f64) = (-1.0, 4.0);
/// Colours of the nodes, by the order in which they appear; all tell apart without red and green.
const COLOURS: [&str; 9] = ["#0072b2", "#e69f00", "#56b4e9", "#cc79a7", "#009e73", "#f0e442", "#d55e00", "#999999", "#444444"];

/// How the pages look.
pub(super) const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:1120px;margin:2em auto;padding:0 1em;color:#1b1b1b;background:#fff}\
h1{font-size:1.6em}h2{margin-top:2.2em;border-top:1px solid #ddd;padding-top:1em}\
table{border-collapse:collapse;margin:.7em 0}th,td{text-align:left;padding:.2em .9em .2em 0;vertical-align:top}th{font-weight:600}\
.ok{color:#00664a}.bad{color:#b00020;font-weight:600}.muted{color:#666}svg{width:100%;height:auto;display:block}svg text{font:11px system-ui,sans-serif;fill:#444}\
dt{font-weight:600}dd{margin:0 0 .5em 0}";

/// The page of these drills.
pub(super) fn page(outcomes: &[(String, Outcome)]) -> String {
    let failed = outcomes.iter().filter(|(_, outcome)| !super::report::is_good(outcome)).count();
    let verdict = match failed {
        0 => "<p class=ok>Every promise and expectation held.</p>".into(),
        _ => format!("<p class=bad>{failed} of {} drills failed.</p>", outcomes.len()),
    };
    let sections: String = outcomes.iter().map(|(name, outcome)| section(name, outcome)).collect();
    let meanings: String =
        MEANINGS.iter().map(|(name, meaning)| format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(meaning))).collect();
    format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Steadfast: drills</title><style>{STYLE}</style></head><body>\n<h1>Steadfast: drills</h1>\n{verdict}\n{}\n{sections}\
         <h2>What the numbers mean</h2>\n<dl>{meanings}</dl>\n</body></html>\n",
        summary(outcomes)
    )
}

fn summary(outcomes: &[(String, Outcome)]) -> String {
    let row = |(name, outcome): &(String, Outcome)| {
        let link = format!("<a href=\"#{0}\">{0}</a>", escape(name));
        match outcome {
            Outcome::Run(report) => {
                let Figures { availability, longest_gap, requests, .. } = &report.figures;
                let cells = [
                    link,
                    verdict(report.passed),
                    percent(availability.value),
                    duration(longest_gap.ms),
                    requests.bad.to_string(),
                    requests.unknown.to_string(),
                ];
                cells.map(|cell| format!("<td>{cell}</td>")).concat()
            }
            Outcome::Refused(reason) => format!("<td>{link}</td><td class=muted>not run</td><td colspan=4>{}</td>", escape(reason)),
            Outcome::Failed(reason) => format!("<td>{link}</td><td class=bad>failed</td><td colspan=4>{}</td>", escape(reason)),
        }
    };
    let rows: String = outcomes.iter().map(|outcome| format!("<tr>{}</tr>\n", row(outcome))).collect();
    let header = ["Drill", "Verdict", "Available", "Longest gap", "Bad", "Unknown"].map(|name| format!("<th>{name}</th>")).concat();
    format!("<table><tr>{header}</tr>\n{rows}</table>")
}

fn verdict(passed: bool) -> String {
    if passed { "<span class=ok>passed</span>".into() } else { "<span class=bad>FAILED</span>".into() }
}

fn section(name: &str, outcome: &Outcome) -> String {
    let Outcome::Run(report) = outcome else { return String::new() };
    let problems: String = report.problems.iter().map(|problem| format!("<p class=bad>{}</p>\n", escape(problem))).collect();
    format!(
        "<h2 id=\"{0}\">{0}: {1}</h2>\n<p>{2}</p>\n{problems}{3}\n{4}\n{5}\n",
        escape(name),
        verdict(report.passed),
        escape(&report.purpose),
        timeline(&report.figures),
        faults(&report.figures),
        figures(report)
    )
}

fn figures(report: &Report) -> String {
    let Figures { requests, availability, longest_gap, latency_ms, leader_changes, .. } = &report.figures;
    let interval = format!("{} to {}, {}", percent(availability.low), percent(availability.high), availability.method);
    let mut rows = vec![
        ("Requests", format!("{} good, {} bad, {} unknown, of {}", requests.good, requests.bad, requests.unknown, requests.all())),
        ("Availability by request", format!("{} ({interval})", percent(availability.value))),
        (
            "Longest gap for the worst client",
            format!("{} (client {}, from {} on)", duration(longest_gap.ms), longest_gap.client, duration(longest_gap.at_ms)),
        ),
        ("Latency", format!("median {}, 99 % {}, worst {}", duration(latency_ms.p50), duration(latency_ms.p99), duration(latency_ms.max))),
        ("Leader changes", leader_changes.to_string()),
        ("Checkers", checkers(&report.checkers)),
    ];
    rows.extend(five_nines(&report.figures).map(|sentence| ("99.999 %", sentence)));
    let rows: String = rows.into_iter().map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>\n", escape(&value))).collect();
    format!("<table>{rows}</table>")
}

fn faults(figures: &Figures) -> String {
    if figures.faults.is_empty() {
        return String::new();
    }
    let time = |ms: Option<f64>| ms.map_or("–".into(), duration);
    let row = |fault: &super::figures::FaultFigures| {
        let who = format!("{}{}", fault.nodes.join(", "), if fault.of_leader { " (leader)" } else { "" });
        let lasted = time(fault.ended_ms.map(|ended| ended - fault.at_ms));
        let cells = [
            fault.kind.clone(),
            who,
            duration(fault.at_ms),
            lasted,
            time(fault.notice_ms),
            time(fault.elect_ms),
            time(fault.first_write_ms),
        ];
        format!("<tr>{}</tr>\n", cells.map(|cell| format!("<td>{}</td>", escape(&cell))).concat())
    };
    let header = ["Fault", "Node", "At", "Lasted", "Noticed", "Elected", "First write"].map(|name| format!("<th>{name}</th>")).concat();
    format!("<table><tr>{header}</tr>\n{}</table>", figures.faults.iter().map(row).collect::<String>())
}

// --- the timeline ----------------------------------------------------------------------------------------------------------

fn timeline(figures: &Figures) -> String {
    let lanes = lanes(figures);
    let height = STRIPS + STRIP * (1.0 + lanes.iter().map(|lane| lane + 1).max().unwrap_or(0) as f64) + 34.0;
    let x = |ms: f64| LEFT + ms / (figures.seconds * 1000.0) * WIDTH;
    let mut svg =
        format!("<svg viewBox=\"0 0 {} {height}\" shape-rendering=crispEdges role=img aria-label=\"timeline\">\n", LEFT + WIDTH + 20.0);
    shade(&mut svg, figures, &x, height);
    rates(&mut svg, figures, &x);
    latencies(&mut svg, figures, &x);
    leaders(&mut svg, figures, &x);
    bars(&mut svg, figures, &lanes, &x);
    seconds(&mut svg, figures, &x, height);
    svg + "</svg>"
}

fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    svg.write_fmt(element).expect("a string takes all");
    svg.push('\n');
}

fn label(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    put(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor={anchor}>{}</text>", escape(text)));
}

/// When each fault was over, or the end.
fn ends(figures: &Figures) -> Vec<f64> {
    let end = figures.seconds * 1000.0;
    figures.faults.iter().map(|fault| fault.ended_ms.unwrap_or(end).min(end)).collect()
}

/// The strip of each fault, so that none lies over another.
fn lanes(figures: &Figures) -> Vec<usize> {
    // Room for the name of a short fault.
    let room = figures.seconds * 1000.0 * 0.16;
    let mut free_from: Vec<f64> = Vec::new();
    let mut lanes = Vec::new();
    for (fault, end) in figures.faults.iter().zip(ends(figures)) {
        let lane = free_from.iter().position(|free| *free <= fault.at_ms).unwrap_or(free_from.len());
        free_from.resize(free_from.len().max(lane + 1), 0.0);
        free_from[lane] = end.max(fault.at_ms + room);
        lanes.push(lane);
    }
    lanes
}

fn shade(svg: &mut String, figures: &Figures, x: &dyn Fn(f64) -> f64, height: f64) {
    for (fault, end) in figures.faults.iter().zip(ends(figures)) {
        let (from, width) = (x(fault.at_ms), (x(end) - x(fault.at_ms)).max(1.5));
        put(
            svg,
            format_args!(
                "<rect x=\"{from:.1}\" y=\"10\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"#d55e00\" opacity=\"0.09\"/>",
                height - 34.0
            ),
        );
    }
}

fn rates(svg: &mut String, figures: &Figures, x: &dyn Fn(f64) -> f64) {
    let (top, height) = RATE;
    let bar = |at: usize, slot: &Slot, svg: &mut String| {
        let all = slot.requests.all() as f64;
        let mut y = top + height;
        for (count, colour) in [(slot.requests.good, "#009e73"), (slot.requests.unknown, "#e69f00"), (slot.requests.bad, "#b00020")] {
            let part = if all > 0.0 { count as f64 / all * height } else { 0.0 };
            if part > 0.0 {
                y -= part;
                let (from, to) = (x((at as u64 * figures.slot_ms) as f64), x(((at as u64 + 1) * figures.slot_ms) as f64));
                put(
                    svg,
                    format_args!("<rect x=\"{from:.2}\" y=\"{y:.1}\" width=\"{:.2}\" height=\"{part:.1}\" fill=\"{colour}\"/>", to - from),
                );
            }
        }
    };
    figures.timeline.iter().enumerate().for_each(|(at, slot)| bar(at, slot, svg));
    label(svg, (LEFT - 6.0, top + 9.0), "end", "100 %");
    label(svg, (LEFT - 6.0, top + height), "end", "0 %");
    label(svg, (LEFT, top - 5.0), "start", "requests: good (green), unknown (amber), bad (red)");
}

fn latencies(svg: &mut String, figures: &Figures, x: &dyn Fn(f64) -> f64) {
    let (top, height) = LATENCY;
    let y = |ms: f64| top + height * (1.0 - (ms.max(0.1).log10() - DECADES.0) / (DECADES.1 - DECADES.0)).clamp(0.0, 1.0);
    for (ms, text) in [(0.1, "0.1 ms"), (1.0, "1 ms"), (10.0, "10 ms"), (100.0, "100 ms"), (1000.0, "1 s"), (10_000.0, "10 s")] {
        put(svg, format_args!("<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#ddd\"/>", LEFT + WIDTH, y(ms)));
        label(svg, (LEFT - 6.0, y(ms) + 4.0), "end", text);
    }
    for (at, slot) in figures.timeline.iter().enumerate() {
        let middle = x((at as f64 + 0.5) * figures.slot_ms as f64);
        if let (Some(median), Some(worst)) = (slot.median_ms, slot.worst_ms) {
            put(
                svg,
                format_args!(
                    "<line x1=\"{middle:.1}\" x2=\"{middle:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#9bbfd8\" stroke-width=\"2\"/>",
                    y(median),
                    y(worst)
                ),
            );
            put(svg, format_args!("<circle cx=\"{middle:.1}\" cy=\"{:.1}\" r=\"2\" fill=\"#0072b2\"/>", y(median)));
        }
    }
    label(svg, (LEFT, top - 5.0), "start", "latency of good requests: median (point) to worst (line)");
}

fn leaders(svg: &mut String, figures: &Figures, x: &dyn Fn(f64) -> f64) {
    let mut names: Vec<&str> = figures.leaders.iter().filter_map(|reign| reign.leader.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    label(svg, (LEFT - 6.0, STRIPS + 13.0), "end", "leader");
    for reign in &figures.leaders {
        let Some(leader) = &reign.leader else { continue };
        let colour = COLOURS[names.iter().position(|name| name == leader).unwrap_or(0) % COLOURS.len()];
        let (from, width) = (x(reign.from_ms), x(reign.to_ms) - x(reign.from_ms));
        put(
            svg,
            format_args!(
                "<rect x=\"{from:.1}\" y=\"{STRIPS}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\" opacity=\"0.55\"><title>{} leads in term {}</title></rect>",
                STRIP - 3.0,
                escape(leader),
                reign.term
            ),
        );
        if width > 60.0 {
            label(svg, (from + 4.0, STRIPS + 12.0), "start", &format!("{leader}, term {}", reign.term));
        }
    }
}

fn bars(svg: &mut String, figures: &Figures, lanes: &[usize], x: &dyn Fn(f64) -> f64) {
    if !figures.faults.is_empty() {
        label(svg, (LEFT - 6.0, STRIPS + STRIP + 13.0), "end", "faults");
    }
    for ((fault, end), lane) in figures.faults.iter().zip(ends(figures)).zip(lanes) {
        let y = STRIPS + STRIP * (1.0 + *lane as f64);
        let (from, width) = (x(fault.at_ms), (x(end) - x(fault.at_ms)).max(3.0));
        put(
            svg,
            format_args!(
                "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"#d55e00\" opacity=\"0.6\"/>",
                STRIP - 3.0
            ),
        );
        label(svg, (from + 5.0, y + 12.0), "start", &format!("{} of {}", fault.kind, fault.nodes.join(", ")));
    }
}

fn seconds(svg: &mut String, figures: &Figures, x: &dyn Fn(f64) -> f64, height: f64) {
    let step = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0].into_iter().find(|step| figures.seconds / step <= 15.0).unwrap_or(1800.0);
    let mut second = 0.0;
    while second <= figures.seconds {
        label(svg, (x(second * 1000.0), height - 6.0), "middle", &format!("{second:.0} s"));
        second += step;
    }
}

/// Text as HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_every_drill_and_needs_nothing_else() {
        let report = super::super::report::tests::report("leader-changes-at-most = 0");
        let outcomes = [("x".to_string(), Outcome::Run(Box::new(report))), ("y".into(), Outcome::Refused("no <root>".into()))];
        let page = page(&outcomes);
        for part in [
            "1 of 2 drills failed",
            "To &lt;see&gt;.",
            "no &lt;root&gt;",
            "n2, term 2",
            "kill of n1",
            "expected at most 0",
            "What the numbers mean",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("http") && !page.contains("<script"), "it loads something");
        assert_eq!(
            page.matches("<rect").count(),
            page.matches("/>").count() + page.matches("</rect>").count() - page.matches("<line").count() - page.matches("<circle").count()
        );
        assert!(!page.contains("NaN") && !page.contains("inf\""));
    }

    #[test]
    fn faults_that_overlap_have_strips_of_their_own() {
        let mut figures = super::super::report::tests::figures();
        let fault = figures.faults[0].clone();
        let at = |at_ms: f64, ended: f64| super::super::figures::FaultFigures { at_ms, ended_ms: Some(ended), ..fault.clone() };
        figures.faults = vec![at(0.0, 4000.0), at(1000.0, 3000.0), at(5000.0, 6000.0), at(5100.0, 5200.0)];
        assert_eq!(lanes(&figures), [0, 1, 0, 1]);
    }
}
