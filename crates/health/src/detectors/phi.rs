//! Phi accrual (Hayashibara and others, "The φ accrual failure detector", 2004): how improbable a silence is, after what was usual.
//!
//! Phi is minus the decimal logarithm of the chance that a sign of life still comes, if the times between them are distributed normally with the
//! mean and deviation of the last thousand: at phi 8 one silence of a hundred million is longer without a failure. The acceptable pause is added
//! to the mean and the deviation is never below a minimum, both as in Akka.
//!
//! 1. Sums of intervals and of their squares are exact integers, so a window never drifts away from what is in it.
//! 2. The bounds of silence are worked out from the thresholds, not phi from the silence: then the next change is known, and in silence
//!    suspicion can't waver. Phi itself is a figure for people.
//! 3. The tail of the normal distribution is `libm::erfc` up to 25 deviations, and beyond it the asymptotic series of four terms, whose logarithm is
//!    off by less than 1e-9 there. (The logistic approximation that Akka uses needs no erfc, but says 9.3 where phi is 8, and 37.6 where it is 23.1.)
//!
//! [`Accrual`] lays it over any other detector: the arrivals are that one's signs of life, and it counts as the same way, never as a second one.

use alloc::collections::VecDeque;
use core::f64::consts::{LN_10, PI, SQRT_2};
use core::time::Duration;
use steadfast_types::Instant;

use super::{Bounds, Detector, Sign, forgiven};
use crate::evidence::{Assessment, Figures, Way, milliseconds};
use crate::limits::{PHI_INTERVAL_US, PHI_WINDOW};

/// From this many deviations on the asymptotic series takes over: erfc comes near the smallest numbers there are.
const ASYMPTOTIC_FROM: f64 = 25.0;

/// When a silence is too improbable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// From which phi on it is suspect.
    pub suspect_phi: f64,
    /// From which phi on it is hard: 8 in Akka and Cassandra, 12 on noisy clouds.
    pub hard_phi: f64,
    /// How many intervals it learns from, at most [`PHI_WINDOW`].
    pub window: usize,
    /// The deviation is held to be at least this: else a very regular heart is condemned by a little jitter.
    pub least_deviation: Duration,
    /// A pause that is never improbable, such as a collection of garbage.
    pub acceptable_pause: Duration,
    /// The interval that is assumed before anything was learned, with a quarter of it as deviation.
    pub first_interval: Duration,
}

impl Default for Config {
    /// Akka's defaults, for a beat a second.
    fn default() -> Self {
        Config {
            suspect_phi: 4.0,
            hard_phi: 8.0,
            window: PHI_WINDOW,
            least_deviation: Duration::from_millis(100),
            acceptable_pause: Duration::from_secs(3),
            first_interval: Duration::from_secs(1),
        }
    }
}

/// The last intervals, with their exact sums, us.
#[derive(Clone, Debug)]
struct Window {
    intervals: VecDeque<u64>,
    most: usize,
    sum: u128,
    sum_of_squares: u128,
}

impl Window {
    /// A window that begins with a mean of `first` and a deviation of a quarter of it.
    fn new(most: usize, first: Duration) -> Self {
        let first = microseconds(first);
        let mut window = Window { intervals: VecDeque::new(), most: most.clamp(2, PHI_WINDOW), sum: 0, sum_of_squares: 0 };
        window.push(first - first / 4);
        window.push(first + first / 4);
        window
    }

    fn push(&mut self, interval: u64) {
        let interval = interval.min(PHI_INTERVAL_US);
        if self.intervals.len() == self.most
            && let Some(oldest) = self.intervals.pop_front()
        {
            self.sum -= u128::from(oldest);
            self.sum_of_squares -= u128::from(oldest) * u128::from(oldest);
        }
        self.intervals.push_back(interval);
        self.sum += u128::from(interval);
        self.sum_of_squares += u128::from(interval) * u128::from(interval);
    }

    fn mean(&self) -> f64 {
        self.sum as f64 / self.intervals.len() as f64
    }

    /// The root of the mean square less the squared mean: subtracted as integers, where nothing cancels.
    fn deviation(&self) -> f64 {
        let count = self.intervals.len() as u128;
        let scaled = count * self.sum_of_squares - self.sum * self.sum;
        libm::sqrt(scaled as f64) / count as f64
    }
}

/// A span in microseconds, at most the longest that is learned from.
fn microseconds(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX).min(PHI_INTERVAL_US)
}

/// Minus the decimal logarithm of the chance that a normal variable is more than `deviations` above its mean.
#[must_use]
pub fn phi(deviations: f64) -> f64 {
    if deviations < ASYMPTOTIC_FROM {
        return -libm::log10(0.5 * libm::erfc(deviations / SQRT_2));
    }
    let inverse = 1.0 / (deviations * deviations);
    let series = 1.0 - inverse * (1.0 - inverse * (3.0 - 15.0 * inverse));
    deviations * deviations / (2.0 * LN_10) + libm::log10(deviations * libm::sqrt(2.0 * PI)) - libm::log10(series)
}

/// How many deviations above the mean phi reaches `threshold`; the inverse of [`phi`], by bisection.
#[must_use]
pub fn deviations_at(threshold: f64) -> f64 {
    // phi(d) is more than d²/(2 ln 10), and less than 0.31 below zero deviations.
    let (mut low, mut high) = (-10.0, libm::sqrt(threshold.max(1.0) * 2.0 * LN_10) + 1.0);
    for _ in 0..64 {
        let middle = (low + high) / 2.0;
        if phi(middle) < threshold { low = middle } else { high = middle }
    }
    high
}

/// Learns how often signs of life come, and says how improbable their absence is.
#[derive(Clone, Debug)]
pub struct Phi {
    config: Config,
    window: Window,
    last: Option<Instant>,
    suspect_deviations: f64,
    hard_deviations: f64,
}

impl Phi {
    /// A detector that learned nothing yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let (suspect_deviations, hard_deviations) = (deviations_at(config.suspect_phi), deviations_at(config.hard_phi));
        Phi { config, window: Window::new(config.window, config.first_interval), last: None, suspect_deviations, hard_deviations }
    }

    /// A sign of life came.
    pub fn arrived(&mut self, now: Instant) {
        if let Some(last) = self.last {
            self.window.push(microseconds(now.since(last)));
        }
        self.last = Some(now.max(self.last.unwrap_or(now)));
    }

    /// Phi at `now`; 0 before the first sign of life.
    #[must_use]
    pub fn phi(&self, now: Instant) -> f64 {
        let Some(last) = self.last else { return 0.0 };
        phi((now.since(last).as_micros() as f64 - self.expected_us()) / self.deviation_us())
    }

    fn expected_us(&self) -> f64 {
        self.window.mean() + self.config.acceptable_pause.as_micros() as f64
    }

    /// Never 0, whatever the minimum.
    fn deviation_us(&self) -> f64 {
        self.window.deviation().max(self.config.least_deviation.as_micros() as f64).max(1.0)
    }

    fn bounds(&self) -> Bounds {
        let span = |deviations: f64| Duration::from_micros((self.expected_us() + deviations * self.deviation_us()).max(1.0) as u64);
        Bounds::new(span(self.suspect_deviations), span(self.hard_deviations))
    }

    fn assess(&self, way: Way, now: Instant) -> Option<Assessment> {
        let silent = now.since(self.last?);
        let strength = self.bounds().judge(silent)?;
        let phi_hundredths = (self.phi(now) * 100.0) as u32;
        let usual_ms = (self.window.mean() / 1_000.0) as u64;
        let figures = Figures::Improbable { phi_hundredths, silent_ms: milliseconds(silent), usual_ms };
        Some(Assessment::held(way, strength, silent, figures))
    }

    fn next_change(&self, now: Instant) -> Instant {
        self.last.map_or(Instant::NEVER, |last| self.bounds().next_change(last, now))
    }

    fn forgive(&mut self, now: Instant, pause: Duration) {
        self.last = self.last.map(|last| forgiven(last, now, pause));
    }
}

/// Phi over the signs of life of another detector.
#[derive(Clone, Debug)]
pub struct Accrual<D> {
    inner: D,
    phi: Phi,
}

impl<D: Detector> Accrual<D> {
    /// Lays phi over `inner`.
    #[must_use]
    pub fn new(inner: D, config: Config) -> Self {
        Accrual { inner, phi: Phi::new(config) }
    }

    /// Phi at `now`, as a figure.
    #[must_use]
    pub fn phi(&self, now: Instant) -> f64 {
        self.phi.phi(now)
    }
}

impl<D: Detector> Detector for Accrual<D> {
    type Observation = D::Observation;

    fn way(&self) -> Way {
        self.inner.way()
    }

    fn silent_way(&self) -> Way {
        self.inner.silent_way()
    }

    fn observe(&mut self, now: Instant, observation: D::Observation) -> Sign {
        let sign = self.inner.observe(now, observation);
        if sign == Sign::Life {
            self.phi.arrived(now);
        }
        sign
    }

    /// The worse of both: fixed bounds that are wide catch what never became usual.
    fn assess(&self, now: Instant) -> Assessment {
        let inner = self.inner.assess(now);
        match self.phi.assess(self.silent_way(), now) {
            Some(improbable) => inner.with(improbable),
            None => inner,
        }
    }

    fn next_change(&self, now: Instant) -> Instant {
        self.inner.next_change(now).min(self.phi.next_change(now))
    }

    fn forgive(&mut self, now: Instant, pause: Duration) {
        self.inner.forgive(now, pause);
        self.phi.forgive(now, pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Tails of the normal distribution, worked out with 40 digits (mpmath).
    #[expect(clippy::excessive_precision, clippy::approx_constant)]
    const TAILS: &[(f64, f64)] = &[
        (-8.0, 0.00000000000000027017288495439213),
        (-3.0, 0.00058664931379006669),
        (-1.0, 0.075026012957818023),
        (0.0, 0.3010299956639812),
        (1.0, 0.7995455414919705),
        (2.0, 1.643016080140937),
        (3.0, 2.8696990359293691),
        (4.0, 4.4993349075564789),
        (5.0, 6.5426456723906545),
        (5.6, 7.9699028503859021),
        (6.0, 9.0058643274767042),
        (8.0, 15.206142551017155),
        (10.0, 23.118053405486076),
        (15.0, 50.435219614275511),
        (20.0, 88.560095343075592),
        (24.0, 126.85686270269063),
        (24.9999, 137.51366018529589),
        (25.0, 137.51474765099553),
        (25.0001, 137.51583512103122),
        (26.0, 148.60623825415024),
        (30.0, 197.30920926166095),
        (37.0, 299.24218117860992),
        (40.0, 349.43700645934584),
        (100.0, 2173.8715428690344),
        (1000.0, 217150.64004199439),
    ];

    #[test]
    fn phi_is_right_far_into_the_tail() {
        for (deviations, expected) in TAILS {
            let error = (phi(*deviations) - expected).abs();
            assert!(error <= 1e-9 * expected.max(1.0), "phi({deviations}) = {}, not {expected}", phi(*deviations));
        }
    }

    #[test]
    fn nothing_overflows() {
        for deviations in [-1e300, -50.0, 0.0, 1e10, 1e150] {
            assert!(phi(deviations).is_finite() && phi(deviations) >= 0.0, "phi({deviations}) = {}", phi(deviations));
        }
    }

    fn beating(intervals: &[u64], config: Config) -> (Phi, Instant) {
        let mut heart = Phi::new(config);
        let mut now = Instant(1_000_000);
        heart.arrived(now);
        for interval in intervals {
            now = now + Duration::from_micros(*interval);
            heart.arrived(now);
        }
        (heart, now)
    }

    proptest! {
        #[test]
        fn phi_grows_with_silence(intervals in prop::collection::vec(1..5_000_000u64, 0..50), silences in prop::collection::vec(0..100_000_000u64, 2..20)) {
            let (heart, now) = beating(&intervals, Config::default());
            let mut silences = silences;
            silences.sort_unstable();
            let phis: alloc::vec::Vec<f64> = silences.iter().map(|silence| heart.phi(now + Duration::from_micros(*silence))).collect();
            prop_assert!(phis.is_sorted(), "{phis:?}");
        }

        #[test]
        fn the_inverse_is_one(threshold in 0.31..10_000.0f64) {
            prop_assert!((phi(deviations_at(threshold)) - threshold).abs() < 1e-6 * threshold);
        }

        #[test]
        fn the_bound_is_where_phi_reaches_its_threshold(intervals in prop::collection::vec(1..5_000_000u64, 0..50)) {
            let (heart, now) = beating(&intervals, Config::default());
            let hard = heart.bounds().hard();
            let step = Duration::from_micros(2);
            prop_assert!(heart.phi(now + hard + step) >= 8.0);
            prop_assert!(heart.phi(now + hard - step) <= 8.0);
        }

        #[test]
        fn the_window_forgets_and_its_sums_are_exact(intervals in prop::collection::vec(0..2 * PHI_INTERVAL_US, 0..300)) {
            let mut window = Window::new(16, Duration::from_secs(1));
            intervals.iter().for_each(|interval| window.push(*interval));
            prop_assert!(window.intervals.len() <= 16);
            prop_assert_eq!(window.sum, window.intervals.iter().map(|i| u128::from(*i)).sum::<u128>());
            prop_assert_eq!(window.sum_of_squares, window.intervals.iter().map(|i| u128::from(*i) * u128::from(*i)).sum::<u128>());
        }

        #[test]
        fn an_irregular_heart_is_given_longer(regular in 500_000..1_000_000u64, jitter in 200_000..400_000u64) {
            let config = Config { least_deviation: Duration::from_millis(1), ..Config::default() };
            let (even, _) = beating(&[regular; 40], config);
            let uneven: alloc::vec::Vec<u64> = (0..40).map(|i| if i % 2 == 0 { regular - jitter } else { regular + jitter }).collect();
            let (uneven, _) = beating(&uneven, config);
            prop_assert!(uneven.bounds().hard() > even.bounds().hard());
        }
    }
}
