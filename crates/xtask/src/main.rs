//! `cargo xtask planted`: whether the simulator catches each bug that can be planted. `cargo xtask instructions`: what the core path costs.
//! `cargo xtask beside-redis`: how fast available state is beside Redis. `cargo xtask levels`: what its levels of consistency cost.

mod beside_redis;
mod instructions;
mod levels;
mod planted;
mod sides;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask planted [--seeds N] [BUG…]

Builds the simulator and `steadfast` with bugs to be planted (into target/planted, apart from everything else), plants one after the other in the simulator,
and runs seeds until a checker catches it, at most N (10000). Prints a table; the exit status is not 0 if a bug was missed. BUG: its number; all if none is given.

cargo xtask instructions [--planted]

Counts with callgrind what a request costs inside of three nodes, without sockets and threads. Needs valgrind. --planted: in the build with bugs to be planted,
none of which is, if that is there already.

cargo xtask beside-redis [--rounds N] [--requests N] [PROGRAM]

Runs redis-server with its log synced each second, one node of PROGRAM (target/release/steadfast) and three, all at once, and measures each in turn with redis-benchmark;
medians of N rounds (5) of N requests (400000; twice as many in pipelines). Then what a million keys take of memory. Prints tables. Needs Redis 7.0's programs.

cargo xtask levels [--rounds N] [PROGRAM]

Runs three nodes of PROGRAM (target/release/steadfast) and measures reads and writes at each level of consistency and in each mode of replication; medians of N
rounds (3). Prints a table.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((command, rest)) if command == "planted" => planted::run(rest),
        Some((command, rest)) if command == "instructions" => instructions::run(rest),
        Some((command, rest)) if command == "beside-redis" => beside_redis::run(rest),
        Some((command, rest)) if command == "levels" => levels::run(rest),
        _ => Err(USAGE.to_owned()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}
