//! How long things took on this node, from the histograms of its metrics, which count since the process began.

use serde::{Deserialize, Serialize};

use crate::admin::Metrics;

/// What is told, by the metric's name.
const TOLD: [(&str, &str); 2] = [("log sync", "steadfast_log_sync_seconds"), ("commit", "steadfast_commit_seconds")];

/// Times of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(super) what: String,
    pub(super) count: u64,
    /// Half took at most so long, us: the upper bound of a bucket. None above the last bound.
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
}

/// All that is told.
pub(super) fn latencies(metrics: &Metrics) -> Vec<Latency> {
    let text = metrics.render();
    TOLD.iter().map(|(what, metric)| latency(what, metric, &text)).collect()
}

/// The syncs of the log.
pub(super) fn syncs(latencies: &[Latency]) -> Option<&Latency> {
    latencies.iter().find(|latency| latency.what == TOLD[0].0 && latency.count > 0)
}

fn latency(what: &str, metric: &str, text: &str) -> Latency {
    let prefix = format!("{metric}_bucket{{le=\"");
    let bucket = |line: &str| {
        let (bound, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
        Some((bound.parse::<f64>().ok()?, count.parse::<u64>().ok()?))
    };
    let buckets: Vec<(f64, u64)> = text.lines().filter_map(bucket).collect();
    let count = buckets.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let quantile = |per_cent: u64| {
        let (bound, _) = buckets.iter().find(|(_, below)| count > 0 && *below * 100 >= count * per_cent)?;
        bound.is_finite().then(|| (bound * 1e6).round() as u64)
    };
    Latency { what: what.to_owned(), count, p50_us: quantile(50), p99_us: quantile(99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_bounds_of_buckets() {
        let metrics = Metrics::new();
        assert_eq!(syncs(&latencies(&metrics)), None);
        (0..98).for_each(|_| metrics.log_sync_seconds.record(0.0007));
        (0..2).for_each(|_| metrics.log_sync_seconds.record(0.3));
        let found = latencies(&metrics);
        let expected = Latency { what: "log sync".into(), count: 100, p50_us: Some(1_000), p99_us: Some(500_000) };
        assert_eq!(syncs(&found), Some(&expected));
        (0..98).for_each(|_| metrics.log_sync_seconds.record(9.0));
        assert_eq!(syncs(&latencies(&metrics)).expect("some").p99_us, None, "above the last bound");
    }
}
