//! What it costs to make two replicas equal that differ in some of their keys, by the difference and by the data: bytes, round trips, processor time.
//!
//! `cargo run --release -p steadfast-replica --example anti_entropy -- 1000000` prints the table of docs/benchmarks.md; with a second argument it draws it
//! into that file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use steadfast_available::exchange::Limits;
use steadfast_available::{Lifetime, Until};
use steadfast_crdt::Actor;
use steadfast_replica::Replica;
use steadfast_types::{Instant, NodeId};

/// Keys that differ, half of them written on each side.
const DIFFERENCES: [usize; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// Bytes of a value; a key's name has half as many.
const VALUE_BYTES: usize = 32;

/// Between two ticks of a replica.
const TICK: Duration = Duration::from_millis(100);

/// Nanoseconds that the process has run on a processor: others' share of it is not counted.
fn running_ns() -> u64 {
    let schedstat = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// Two replicas and what is on its way between them.
struct Pair {
    sides: [Replica; 2],
    /// To each of them.
    queues: [Vec<Bytes>; 2],
    now: Instant,
    rng: Rng,
}

/// What a reconciliation cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    bytes: u64,
    messages: u64,
    /// Times that something crossed the network, in one direction or in both at once.
    trips: u64,
    running_s: f64,
}

impl Pair {
    fn new() -> Self {
        // Nothing is kept for a peer that is away: all that it missed is found by ranges.
        let limits = Limits { kept_bytes: 0, ..Limits::default() };
        let actors = [0, 1].map(|place| Actor::new(place).expect("a place"));
        let mut sides = actors.map(|actor| Replica::new(actor, limits.clone()));
        sides.iter_mut().for_each(|side| side.set_replicas(BTreeSet::from(actors)));
        Pair { sides, queues: [Vec::new(), Vec::new()], now: Instant(1), rng: Rng::with_seed(1) }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let unix_ms = 1_800_000_000_000 + self.now.0 / 1_000_000;
        self.sides.iter_mut().for_each(|side| side.set_now(self.now, unix_ms));
    }

    /// Writes keys on one side, a turn for each hundred.
    fn write(&mut self, side: usize, keys: &[usize]) {
        for turn in keys.chunks(100) {
            for key in turn {
                let value: [u8; VALUE_BYTES] = std::array::from_fn(|_| self.rng.u8(..));
                let name = format!("{key:0>width$}", width = VALUE_BYTES / 2);
                self.sides[side].keys().set(name.as_bytes(), &value, Lifetime::Until(Until::Ever)).expect("times are left");
            }
            self.sides[side].end_turn();
            self.sides[side].outputs();
        }
        self.pass(TICK);
    }

    /// Connects the two until they are equal.
    fn reconcile(&mut self) -> Cost {
        let (start, mut cost) = (running_ns(), Cost::default());
        for (side, peer) in [(0, 1), (1, 0)] {
            self.sides[side].connected(NodeId(peer));
        }
        self.collect(&mut cost);
        while self.sides[0].seen() != self.sides[1].seen() || self.queues.iter().any(|queue| !queue.is_empty()) {
            if self.queues.iter().all(Vec::is_empty) {
                self.pass(TICK);
                self.sides.iter_mut().for_each(Replica::tick);
            } else {
                cost.trips += 1;
                let queues = std::mem::take(&mut self.queues);
                for (side, queue) in queues.into_iter().enumerate() {
                    for message in queue {
                        self.sides[side].receive(NodeId(1 - side as u64), message).expect("it says what can be");
                    }
                }
            }
            self.collect(&mut cost);
        }
        for (side, peer) in [(0, 1), (1, 0)] {
            self.sides[side].disconnected(NodeId(peer));
        }
        cost.running_s = (running_ns() - start) as f64 / 1e9;
        let [one, other] = self.sides.each_mut().map(|side| side.keys().digest(0, u32::MAX));
        assert_eq!(one, other, "both hold the same");
        cost
    }

    fn collect(&mut self, cost: &mut Cost) {
        for (side, replica) in self.sides.iter_mut().enumerate() {
            for (_, message) in replica.outputs().messages {
                cost.messages += 1;
                cost.bytes += message.len() as u64;
                self.queues[1 - side].push(message);
            }
        }
    }
}

fn shown_bytes(bytes: f64) -> String {
    match bytes {
        ..1e3 => format!("{bytes:.0} B"),
        ..1e6 => format!("{:.1} kB", bytes / 1e3),
        _ => format!("{:.1} MB", bytes / 1e6),
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let most = arguments.next().map_or(1_000_000, |count| count.parse::<usize>().expect("how many keys"));
    let drawing = arguments.next();
    let mut rows = Vec::new();
    println!("| keys | of them differ | bytes | bytes a key | messages | trips | processor time |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for count in [most / 100, most / 10, most] {
        let mut pair = Pair::new();
        pair.pass(TICK);
        pair.write(0, &Vec::from_iter(0..count));
        // The first time all is new to the other one; that is more than what differs later.
        pair.reconcile();
        for difference in DIFFERENCES.into_iter().filter(|difference| *difference <= count) {
            let mut keys = Vec::from_iter(0..count);
            pair.rng.shuffle(&mut keys);
            let (ones, others) = keys[..difference].split_at(difference / 2);
            pair.write(0, ones);
            pair.write(1, others);
            let cost = pair.reconcile();
            println!(
                "| {count} | {difference} | {} | {:.0} | {} | {} | {:.1} ms |",
                shown_bytes(cost.bytes as f64),
                cost.bytes as f64 / difference as f64,
                cost.messages,
                cost.trips,
                cost.running_s * 1e3
            );
            rows.push((count, difference, cost));
        }
    }
    if let Some(file) = drawing {
        fs::write(&file, drawn(&rows)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

const COLOURS: [&str; 3] = ["#e69f00", "#009e73", "#0072b2"];

/// One drawing: a figure of each cost, between the ends of a logarithmic scale.
struct Panel {
    title: &'static str,
    figure: fn(&Cost) -> f64,
    scale: (f64, f64),
    label: fn(f64) -> String,
}

const PANELS: [Panel; 2] = [
    Panel { title: "bytes on the network", figure: |cost| cost.bytes as f64, scale: (1e3, 1e9), label: shown_bytes },
    Panel {
        title: "processor time of both",
        figure: |cost| cost.running_s,
        scale: (1e-5, 1e2),
        label: |seconds| match seconds {
            ..9e-4 => format!("{:.0} us", seconds * 1e6),
            ..0.9 => format!("{:.0} ms", seconds * 1e3),
            _ => format!("{seconds:.0} s"),
        },
    },
];

fn drawn(rows: &[(usize, usize, Cost)]) -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 300\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"720\" height=\"300\" fill=\"white\"/>\n",
    );
    let mut counts: Vec<usize> = rows.iter().map(|(count, ..)| *count).collect();
    counts.dedup();
    for (place, panel) in PANELS.iter().enumerate() {
        let (left, top, width, height) = (70.0 + 360.0 * place as f64, 50.0, 260.0, 190.0);
        let (least, most) = panel.scale;
        let y = |figure: f64| top + height * (1.0 - (figure / least).log10() / (most / least).log10());
        let x = |difference: usize| left + width * ((difference as f64).log10() - 1.0) / 5.0;
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"22\" font-weight=\"600\">{}</text>", panel.title);
        let decades = (most / least).log10().round() as i32;
        for decade in 0..=decades {
            let figure = least * 10_f64.powi(decade);
            let at = y(figure);
            let _ = writeln!(svg, "<path d=\"M{left} {at:.1}h{width}\" stroke=\"#ddd\"/>");
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">{}</text>",
                left - 6.0,
                at + 4.0,
                (panel.label)(figure)
            );
        }
        for difference in DIFFERENCES {
            let name = if difference < 1_000 { difference.to_string() } else { format!("{} k", difference / 1_000) };
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{name}</text>",
                x(difference),
                top + height + 18.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">keys that differ</text>",
            left + width / 2.0,
            top + height + 36.0
        );
        for (count, colour) in counts.iter().zip(COLOURS) {
            let points: Vec<(f64, f64)> =
                rows.iter().filter(|(of, ..)| of == count).map(|(_, difference, cost)| (x(*difference), y((panel.figure)(cost)))).collect();
            let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", line.join(" "));
            for (x, y) in points {
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
        }
    }
    for (place, (count, colour)) in counts.iter().zip(COLOURS).enumerate() {
        let y = 66.0 + 16.0 * place as f64;
        let _ = writeln!(
            svg,
            "<circle cx=\"84\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/><text x=\"94\" y=\"{y:.1}\">of {count} keys</text>",
            y - 4.0
        );
    }
    svg += "</svg>\n";
    svg
}
