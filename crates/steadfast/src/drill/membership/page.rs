//! The report as one HTML page: the table, and for each kind of fault a strip with a point for every node that noticed it, at its time.

use std::fmt::Write;

use super::super::page::{STYLE, escape};
use super::faults::{ALL, Kind};
use super::report::{COLUMNS, MEANING, Report};
use super::{NAME, PURPOSE};

/// The drawing's inner width, where it begins, and the height of a strip.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 130.0;
const STRIP: f64 = 34.0;

/// The page.
pub(super) fn page(report: &Report) -> String {
    let verdict = if report.passed { "<span class=ok>passed</span>" } else { "<span class=bad>FAILED</span>" };
    let problems: String = report.problems.iter().map(|problem| format!("<p class=bad>{}</p>\n", escape(problem))).collect();
    let header: String = COLUMNS.iter().map(|name| format!("<th>{name}</th>")).collect();
    let cells = |row: [String; 8]| row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect::<String>();
    let rows: String = report.rows().into_iter().map(|row| format!("<tr>{}</tr>\n", cells(row))).collect();
    let lines = [
        ("Nodes", report.nodes()),
        ("Noticed", report.noticed()),
        ("False removals", format!("{} in {:.0} s", report.false_removals, report.seconds)),
        ("Idle suspicions", report.idle_suspicions.to_string()),
    ];
    let lines: String = lines.iter().map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>\n", escape(value))).collect();
    format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Steadfast: {NAME} drill</title><style>{STYLE}</style></head><body>\n<h1>{NAME}: {verdict}</h1>\n<p>{}</p>\n{problems}\
         <table>{lines}</table>\n<h2>When each of the others noticed</h2>\n{}\n<table><tr>{header}</tr>\n{rows}</table>\n<p class=muted>{}</p>\n</body></html>\n",
        escape(PURPOSE),
        drawing(report),
        escape(MEANING)
    )
}

fn drawing(report: &Report) -> String {
    let kinds: Vec<Kind> =
        ALL.into_iter().filter(|kind| kind.is_death() && report.faults.iter().any(|fault| fault.kind == *kind)).collect();
    let seconds = (report.notice.max_ms.unwrap_or(0.0) / 1000.0).ceil().max(1.0);
    let height = STRIP * kinds.len() as f64 + 30.0;
    let x = |ms: f64| LEFT + ms / 1000.0 / seconds * WIDTH;
    let mut svg = format!("<svg viewBox=\"0 0 {} {height}\" role=img aria-label=\"times of notice\">\n", LEFT + WIDTH + 30.0);
    let mut put = |element: std::fmt::Arguments<'_>| writeln!(svg, "{element}").expect("a string takes all");
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| seconds / step <= 15.0).unwrap_or(30.0);
    for second in (0..).map(|k| f64::from(k) * step).take_while(|second| *second <= seconds) {
        let at = x(second * 1000.0);
        put(format_args!("<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{:.1}\" stroke=\"#ddd\"/>", height - 22.0));
        put(format_args!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=middle>{second:.0} s</text>", height - 8.0));
    }
    for (kind, row) in kinds.iter().zip(0..) {
        let middle = STRIP * (f64::from(row) + 0.5);
        put(format_args!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=end>{}</text>", LEFT - 8.0, middle + 4.0, escape(kind.name())));
        let points = report.faults.iter().filter(|fault| fault.kind == *kind).flat_map(|fault| fault.notices_ms.iter().zip(0..));
        for (ms, place) in points {
            // Points at one time lie beside each other.
            let y = middle + f64::from(place % 5 - 2) * 4.0;
            put(format_args!("<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"2.2\" fill=\"#0072b2\" opacity=\"0.55\"/>", x(*ms)));
        }
    }
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_point_for_each_notice_and_needs_nothing_else() {
        let page = page(&super::super::report::tests::report());
        assert_eq!(page.matches("<circle").count(), 5);
        assert!(page.contains("a &lt;problem&gt;") && page.contains("agent killed") && !page.contains("http") && !page.contains("<script"));
        assert!(!page.contains("NaN") && !page.contains("inf\""));
    }
}
