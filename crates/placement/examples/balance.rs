//! How even shares are, and how much moves: the figures of `docs/placement.md`.

use steadfast_placement::{Assignment, Layout, Member, Moves, SLOTS};
use steadfast_types::NodeId;

fn layout(nodes: u64, zones: u64, seed: u64) -> Layout {
    // Ids are random numbers; these are the same ones each time.
    let id = |number: u64| NodeId((seed * 1_000 + number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31));
    let members = (0..nodes).map(|number| (id(number), Member::of(format!("{}", number % zones)))).collect();
    Layout { members, ..Layout::default() }
}

fn main() {
    println!("| nodes | zones | smallest share | largest share | ranges of a node | a join moves | at least |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (nodes, zones) in [(3, 3), (4, 1), (5, 1), (6, 3), (9, 3), (12, 4), (32, 4), (64, 4), (128, 8), (256, 8)] {
        let (mut min, mut max, mut ranges, mut moved) = (f64::MAX, 0.0_f64, 0, 0.0);
        let seeds = 8;
        for seed in 0..seeds {
            let layout = layout(nodes, zones, seed);
            let assignment = Assignment::of(&layout);
            let fair = (SLOTS * layout.width()) as f64 / nodes as f64;
            for node in assignment.members() {
                let slots = assignment.slots_of(*node);
                let share = slots.len() as f64 / fair;
                (min, max, ranges) = (min.min(share), max.max(share), ranges.max(slots.ranges().len()));
            }
            let mut fewer = layout.clone();
            fewer.members.pop_first();
            moved += Moves::between(&Assignment::of(&fewer), &assignment).len() as f64 / (SLOTS * layout.width()) as f64 / seeds as f64;
        }
        println!("| {nodes} | {zones} | {min:.2} | {max:.2} | {ranges} | {:.1} % | {:.1} % |", 100.0 * moved, 100.0 / nodes as f64);
    }
}
