//! Results as a drawing: time to notice, traffic and false failures over the size of the cluster.

use std::fmt::Write as _;

use crate::measure::Result;
use crate::peer::{Kind, Number};
use crate::scenario::Scenario;

const COLOURS: [(Kind, &str); 4] =
    [(Kind::Steadfast, "#0072b2"), (Kind::PlainSwim, "#e69f00"), (Kind::Lifeguard, "#009e73"), (Kind::Foca, "#cc79a7")];

/// One drawing: a figure of each kind by size.
struct Panel {
    title: &'static str,
    unit: &'static str,
    scenario: Scenario,
    figure: fn(&Result) -> Option<f64>,
    /// A line that is to be kept below.
    goal: f64,
    /// The ends of the logarithmic scale.
    scale: (f64, f64),
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "ten crash: until all know",
        unit: "seconds, 99th percentile; the goal is dashed",
        scenario: Scenario::Crashes,
        figure: |result| result.notice_s[1],
        goal: 10.0,
        scale: (1.0, 100.0),
    },
    Panel {
        title: "traffic while nothing is wrong",
        unit: "bytes a second and node; the goal is dashed",
        scenario: Scenario::Crashes,
        figure: |result| Some(result.idle_bytes),
        goal: 1_000.0,
        scale: (100.0, 10_000.0),
    },
    Panel {
        title: "80 % loss on 1 %: healthy nodes failed",
        unit: "nodes that somebody held failed; none is drawn at 1",
        scenario: Scenario::Loss,
        figure: |result| Some((result.false_failures as f64).max(1.0)),
        goal: 1.0,
        scale: (1.0, 10_000.0),
    },
];

const SIZES: [Number; 3] = [100, 1_000, 10_000];

impl Panel {
    fn draw(&self, results: &[Result], left: f64, svg: &mut String) {
        let (left, width, top, height) = (left + 50.0, 220.0, 40.0, 150.0);
        let (least, most) = self.scale;
        let y = |figure: f64| top + height * (1.0 - (figure.clamp(least, most) / least).ln() / (most / least).ln());
        let x = |size: Number| left + width * ((f64::from(size) / 100.0).log10() + 0.5) / 3.0;
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"18\" font-weight=\"600\">{}</text>", self.title);
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"33\" fill=\"#666\">{}</text>", self.unit);
        let mut line = least;
        while line <= most * 1.001 {
            let (at, right) = (y(line), left + width);
            let _ = writeln!(svg, "<line x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>");
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{line}</text>", left - 5.0, at + 4.0);
            line *= 10.0;
        }
        let (goal, right) = (y(self.goal), left + width);
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" x2=\"{right}\" y1=\"{goal:.1}\" y2=\"{goal:.1}\" stroke=\"#999\" stroke-dasharray=\"4 3\"/>"
        );
        for size in SIZES {
            let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{size} nodes</text>", x(size), top + height + 18.0);
        }
        for (kind, colour) in COLOURS {
            self.draw_kind(results, kind, colour, &x, &y, svg);
        }
    }

    fn draw_kind(&self, results: &[Result], kind: Kind, colour: &str, x: &dyn Fn(Number) -> f64, y: &dyn Fn(f64) -> f64, svg: &mut String) {
        let of = |size| results.iter().find(|result| result.kind == kind && result.scenario == self.scenario && result.size == size);
        let points: Vec<String> = SIZES
            .into_iter()
            .filter_map(|size| Some((size, (self.figure)(of(size)?)?)))
            .map(|(size, figure)| format!("{:.1},{:.1}", x(size), y(figure)))
            .collect();
        let _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", points.join(" "));
        for point in &points {
            if let Some((at_x, at_y)) = point.split_once(',') {
                let _ = writeln!(svg, "<circle cx=\"{at_x}\" cy=\"{at_y}\" r=\"3\" fill=\"{colour}\"/>");
            }
        }
    }
}

/// The drawing, as SVG.
#[must_use]
pub fn draw(results: &[Result]) -> String {
    let width = 300 * PANELS.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} 240\" font-family=\"system-ui,sans-serif\" font-size=\"11\" fill=\"#333\">\n\
         <rect width=\"{width}\" height=\"240\" fill=\"#fff\"/>\n"
    );
    for (at, panel) in PANELS.iter().enumerate() {
        panel.draw(results, 300.0 * at as f64, &mut svg);
    }
    for (at, (kind, colour)) in COLOURS.into_iter().enumerate() {
        let left = 50 + 110 * at;
        let _ = writeln!(
            svg,
            "<circle cx=\"{left}\" cy=\"228\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"232\">{}</text>",
            left + 9,
            kind.name()
        );
    }
    svg + "</svg>\n"
}
