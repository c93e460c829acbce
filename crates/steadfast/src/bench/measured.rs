//! What came out of one measurement.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Counts and times.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// How long it was measured.
    pub(super) took: Duration,
    /// What was answered meanwhile: requests, or events that were delivered.
    pub(super) done: u64,
    /// What was refused, lost or too late.
    pub(super) failed: u64,
    /// Why the first of these did.
    pub(super) first_failure: Option<String>,
    /// Microseconds each.
    times: Histogram<u64>,
}

impl Measured {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let times = Histogram::new(3).expect("three digits are possible");
        Measured { took: Duration::ZERO, done: 0, failed: 0, first_failure: None, times }
    }

    /// Nothing yet, in so long.
    pub(super) fn over(took: Duration) -> Self {
        Measured { took, ..Measured::new() }
    }

    /// One was done, and took so long.
    pub(super) fn add(&mut self, took: Duration) {
        self.done += 1;
        self.note(took);
    }

    /// One failed.
    pub(super) fn fail(&mut self, why: impl FnOnce() -> String) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(why);
    }

    /// Something took so long that is not counted itself.
    pub(super) fn note(&mut self, took: Duration) {
        self.times.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)).expect("it grows as it must");
    }

    /// What another client did in the same time.
    pub(super) fn add_all(&mut self, other: &Measured) {
        self.done += other.done;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or_else(|| other.first_failure.clone());
        self.times.add(&other.times).expect("all have the same digits, and grow as they must");
    }

    /// The same, measured for so long.
    pub(super) fn lasting(self, took: Duration) -> Self {
        Measured { took, ..self }
    }

    /// In a second.
    pub(super) fn rate(&self) -> f64 {
        if self.took.is_zero() { 0.0 } else { self.done as f64 / self.took.as_secs_f64() }
    }

    /// So large a share took so many milliseconds at most.
    pub(super) fn quantile_ms(&self, share: f64) -> f64 {
        self.times.value_at_quantile(share) as f64 / 1000.0
    }

    /// The one of several whose rate is in the middle.
    pub(super) fn median(mut several: Vec<Measured>) -> Measured {
        several.sort_by(|one, other| one.rate().total_cmp(&other.rate()));
        several.swap_remove(several.len() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds_and_the_median_is_by_rate() {
        let measured = |count: u64| {
            let mut measured = Measured::over(Duration::from_secs(2));
            (1..=count).for_each(|n| measured.add(Duration::from_millis(n)));
            measured
        };
        let one = measured(100);
        assert_eq!(one.rate(), 50.0);
        assert!((one.quantile_ms(0.5) - 50.0).abs() < 0.1, "{}", one.quantile_ms(0.5));
        assert!((one.quantile_ms(1.0) - 100.0).abs() < 0.2, "{}", one.quantile_ms(1.0));
        assert_eq!(Measured::median(vec![measured(30), measured(10), measured(20)]).done, 20);
        assert_eq!(Measured::new().rate(), 0.0);
    }
}
