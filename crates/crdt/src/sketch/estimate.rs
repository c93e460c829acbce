//! How many elements a sketch has seen: the improved raw estimator of Otmar Ertl, New cardinality estimation algorithms for HyperLogLog sketches
//! (arXiv 1702.01284, algorithm 6), which Redis has since 5.0. Sums are in its order, so that they round as Redis's do.

use super::{Histogram, RANK_MAX, REGISTERS};

/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// Σ x^(2^k) 2^(k−1) and x: what registers that were never hit make up for.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut weight) = (x, 1.0);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

/// (1 − x − Σ (1 − x^(2^−k))² 2^−k) / 3: what registers at the greatest rank make up for.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut sum, mut weight) = (1.0 - x, 1.0);
    loop {
        x = libm::sqrt(x);
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}

/// The estimate for so many registers of each rank.
pub(super) fn estimate(histogram: &Histogram) -> u64 {
    let registers = REGISTERS as f64;
    let share = |rank: u8| f64::from(histogram[usize::from(rank)]) / registers;
    let start = registers * tau(1.0 - share(RANK_MAX));
    let ranks = histogram[1..usize::from(RANK_MAX)].iter().rev();
    let sum = ranks.fold(start, |sum, count| (sum + f64::from(*count)) * 0.5) + registers * sigma(share(0));
    libm::round(ALPHA * registers * registers / sum) as u64
}
