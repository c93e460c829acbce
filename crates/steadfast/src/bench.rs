//! `steadfast bench`: how fast a cluster is, ours or any other that speaks etcd's API; two of them side by side in one run.

mod hand_over;
mod keys;
mod load;
mod measured;
mod report;
mod side;
mod watchers;
mod work;

use std::num::NonZero;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::endpoints::{Cluster, Endpoint};
use crate::show;
use crate::usage::UsageError;
use measured::Measured;
use report::{Report, Row};
use side::Side;
use work::Work;

/// What `steadfast bench` takes.
#[derive(Args, Debug)]
#[command(after_help = "\
Requests a second and how long they took, in milliseconds: the median, what 99 % and 99.9 % stayed within, and the longest.
The load is closed: each client asks again when it is answered. With --rate it is open: requests are sent at their times,
whatever became of those before, and each took as long as its answer came after its time.

Keys lie under steadfast-bench/ and are deleted at the end. Bench a cluster that nobody needs meanwhile.

Examples:
  steadfast bench
  steadfast bench put --clients 64 --rate 5000
  steadfast bench --against 127.0.0.1:12379 --rounds 3       beside another cluster, in turn
  steadfast bench watch hand-over --json")]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(value_enum, default_values = ["put", "get", "txn"])]
    works: Vec<Work>,
    /// How many clients at once, each with one request under way
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values = ["1", "64", "256"])]
    clients: Vec<NonZero<usize>>,
    /// Connections that the clients share, spread over the endpoints
    #[arg(long, value_name = "N", default_value = "16")]
    connections: NonZero<usize>,
    /// How long each row is measured, seconds
    #[arg(long, value_name = "S", default_value = "3")]
    seconds: NonZero<u64>,
    /// Send so many requests a second (open loop)
    #[arg(long, value_name = "N")]
    rate: Option<NonZero<u64>>,
    /// How many keys
    #[arg(long, value_name = "N", default_value = "10000")]
    keys: NonZero<u64>,
    /// How large their values are
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    value_bytes: usize,
    /// For `watch`: how many watch all keys
    #[arg(long, value_name = "N", default_value = "1000")]
    watchers: NonZero<usize>,
    /// Another cluster, to be measured in turn with the first
    #[arg(long, value_name = "ADDR,…", value_delimiter = ',')]
    against: Vec<Endpoint>,
    /// Measure each row so many times, and show the median
    #[arg(long, value_name = "N", default_value = "1")]
    rounds: NonZero<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// What all measurements share.
#[derive(Clone, Debug)]
struct Settings {
    keys: u64,
    value_bytes: usize,
    watchers: usize,
    rate: Option<u64>,
    duration: Duration,
}

impl BenchArgs {
    fn settings(&self) -> Settings {
        Settings {
            keys: self.keys.get(),
            value_bytes: self.value_bytes,
            watchers: self.watchers.get(),
            rate: self.rate.map(NonZero::get),
            duration: Duration::from_secs(self.seconds.get()),
        }
    }

    /// What is measured, with how many clients each.
    fn cells(&self) -> Result<Vec<(Work, usize)>> {
        if let (Some(_), Some(work)) = (self.rate, self.works.iter().find(|work| !work.has_rate())) {
            return Err(UsageError(format!("{} has no --rate: leave out one of the two", work.name())).into());
        }
        let clients: Vec<usize> = self.clients.iter().map(|clients| clients.get()).collect();
        Ok(self.works.iter().flat_map(|work| clients.iter().map(move |clients| (*work, *clients))).collect())
    }
}

/// Measures, and shows what came out.
pub(crate) async fn run(args: &BenchArgs) -> Result<()> {
    let (settings, cells) = (args.settings(), args.cells()?);
    let mut sides = vec![Side::connect("", &args.cluster.endpoints()?, args.cluster.user.as_ref(), args.connections.get()).await?];
    if !args.against.is_empty() {
        let endpoints = args.cluster.like(&args.against)?;
        sides.push(Side::connect("against", &endpoints, args.cluster.user.as_ref(), args.connections.get()).await?);
    }
    let bar = progress_bar(cells.len() * sides.len() * args.rounds.get());
    let rows = measure_all(&cells, &sides, args.rounds.get(), &settings, &bar).await;
    bar.set_message("the keys are deleted");
    let mut deleted = Ok(());
    for side in &sides {
        deleted = deleted.and(keys::delete(side, &settings).await);
    }
    bar.finish_and_clear();
    let report = Report { rows: rows?, rounds: args.rounds.get(), settings };
    deleted?;
    if args.json {
        show::print(report.json())?
    } else {
        show::print(report.text())?
    }
    Ok(())
}

async fn measure_all(cells: &[(Work, usize)], sides: &[Side], rounds: usize, settings: &Settings, bar: &ProgressBar) -> Result<Vec<Row>> {
    for side in sides {
        bar.set_message(format!("{} keys are written{}", settings.keys, side.suffix()));
        keys::fill(side, settings).await?;
    }
    let mut rows = Vec::new();
    for &(work, clients) in cells {
        let mut found: Vec<Vec<Measured>> = vec![Vec::new(); sides.len()];
        for _ in 0..rounds {
            for (side, found) in sides.iter().zip(&mut found) {
                bar.set_message(format!("{}, {clients} clients{}", work.name(), side.suffix()));
                found.push(measure(side, work, clients, settings).await?);
                bar.inc(1);
            }
        }
        let medians = found.into_iter().map(Measured::median).collect();
        rows.push(Row { work, clients, sides: medians });
    }
    Ok(rows)
}

async fn measure(side: &Side, work: Work, clients: usize, settings: &Settings) -> Result<Measured> {
    match (work, settings.rate) {
        (Work::Watch, _) => watchers::run(side, clients, settings).await,
        (Work::HandOver | Work::NoHandOver, _) => hand_over::run(side, clients, settings, work == Work::HandOver).await,
        (_, Some(rate)) => load::open(side, work, clients, rate, settings).await,
        (_, None) => load::closed(side, work, clients, settings).await,
    }
}

fn progress_bar(steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {wide_msg}").expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
