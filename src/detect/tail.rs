//! Tail probabilities and the score z that belongs to them. Own code where statrs would be too slow or would
//! lose the tail; the tests hold it against exact sums and against statrs.

use statrs::function::erf::erfc_inv;

/// The largest score: beyond it the normal tail leaves the range of `f64` (`sf(37) ≈ 6e-300`).
pub const LARGEST_Z: f64 = 37.0;

/// `ln Γ(x)` for x > 0: Stirling's series (Abramowitz and Stegun 6.1.41) after shifting small arguments up by
/// the recurrence; its relative error is below 1e-13 from x = 10 on.
pub fn ln_gamma(x: f64) -> f64 {
    const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;
    let mut shifted = x;
    let mut product = 1.0;
    while shifted < 10.0 {
        product *= shifted;
        shifted += 1.0;
    }
    let inverse = 1.0 / shifted;
    let square = inverse * inverse;
    let series = inverse
        * (1.0 / 12.0
            - square
                * (1.0 / 360.0
                    - square
                        * (1.0 / 1_260.0 - square * (1.0 / 1_680.0 - square * (1.0 / 1_188.0)))));
    let stirling = (shifted - 0.5) * shifted.ln() - shifted + HALF_LN_TAU + series;
    if x < 10.0 { stirling - product.ln() } else { stirling }
}

/// The z whose upper normal tail is `tail`: negative above one half, capped at ±[`LARGEST_Z`].
pub fn z_of_tail(tail: f64) -> f64 {
    if tail.is_nan() {
        return 0.0;
    }
    // erfc_inv keeps its precision for small arguments; for large ones the tail is mirrored.
    let z = if tail <= 0.0 {
        LARGEST_Z
    } else if tail >= 1.0 {
        -LARGEST_Z
    } else if tail > 0.5 {
        -std::f64::consts::SQRT_2 * erfc_inv(2.0 * (1.0 - tail))
    } else {
        std::f64::consts::SQRT_2 * erfc_inv(2.0 * tail)
    };
    z.clamp(-LARGEST_Z, LARGEST_Z)
}

/// `P(X ≥ k)` where X counts successes of `n` trials whose probability is Beta(a, b): a beta-binomial upper
/// tail. `k` and `n` may be fractions (shares of summarised distributions). Relative error below 1e-3 in the
/// tail, which moves z by less than 1e-3.
///
/// The first term comes from log-gammas; the others by their ratio, one by one while the tail is short, in
/// blocks of an eighth of a standard deviation where it is long.
pub fn beta_binomial_sf(k: f64, n: f64, a: f64, b: f64) -> f64 {
    if k <= 0.0 {
        return 1.0;
    }
    if k > n {
        return 0.0;
    }
    let total = a + b;
    let ln_choose = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
    let ln_beta = |x: f64, y: f64| ln_gamma(x) + ln_gamma(y) - ln_gamma(x + y);
    let ln_first = ln_choose + ln_beta(k + a, n - k + b) - ln_beta(a, b);
    let share = a / total;
    let variance = n * share * (1.0 - share) * (total + n) / (total + 1.0);
    let block = (variance.sqrt() / 8.0).floor();
    let ratio = |j: f64| ((n - j) * (a + j)) / ((j + 1.0) * (b + n - j - 1.0));
    let sum = if block <= 8.0 { by_ones(k, n, ratio) } else { by_blocks(k, n, block, ratio) };
    (ln_first + sum.ln()).exp().min(1.0)
}

/// Σ of the tail's terms over its first one, term by term.
fn by_ones(k: f64, n: f64, ratio: impl Fn(f64) -> f64) -> f64 {
    let (mut sum, mut term, mut j) = (1.0, 1.0, k);
    while j + 1.0 <= n {
        term *= ratio(j);
        sum += term;
        j += 1.0;
        if term < sum * 1e-9 {
            break;
        }
    }
    sum
}

/// The same in blocks: within one the terms are taken as geometric, with the ratio of its middle.
fn by_blocks(k: f64, n: f64, block: f64, ratio: impl Fn(f64) -> f64) -> f64 {
    let (mut sum, mut term, mut j) = (0.0, 1.0, k);
    while j <= n {
        let length = block.min(n - j + 1.0);
        let middle = ratio((j + (length - 1.0) / 2.0).min(n - 1.0).max(0.0)).max(0.0);
        let (part, next) = if (1.0 - middle).abs() < 1e-9 {
            (term * length, term)
        } else {
            let power = middle.powf(length);
            (term * (1.0 - power) / (1.0 - middle), term * power)
        };
        sum += part;
        term = next;
        j += length;
        if term * block < sum * 1e-7 {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use statrs::distribution::{ContinuousCDF, Normal};

    /// Every term from its own log-gammas, summed from the smallest up.
    fn exact_sf(least: u32, trials: u32, a: f64, b: f64) -> f64 {
        use statrs::function::beta::ln_beta;
        use statrs::function::factorial::ln_binomial;
        let term = |hits: u32| {
            let (hits, misses) = (f64::from(hits), f64::from(trials - hits));
            ln_beta(hits + a, misses + b) - ln_beta(a, b)
        };
        (least..=trials)
            .rev()
            .map(|hits| (ln_binomial(u64::from(trials), u64::from(hits)) + term(hits)).exp())
            .sum::<f64>()
            .min(1.0)
    }

    #[test]
    fn log_gamma_agrees_with_statrs() {
        for x in [1e-3, 0.5, 1.0, 1.5, 2.0, 9.99, 10.0, 123.4, 1e6, 1e9] {
            let theirs = statrs::function::gamma::ln_gamma(x);
            assert!((ln_gamma(x) - theirs).abs() <= 1e-10 * (1.0 + theirs.abs()), "{x}");
        }
    }

    #[test]
    fn z_inverts_the_normal_tail() {
        let normal = Normal::standard();
        for z in [-5.0, -3.0, -0.5, 0.0, 0.5, 2.0, 5.0, 12.0, 30.0] {
            assert!((z_of_tail(normal.sf(z)) - z).abs() < 1e-6, "{z}: {}", z_of_tail(normal.sf(z)));
        }
        assert!((z_of_tail(0.0) - LARGEST_Z).abs() < f64::EPSILON);
        assert!((z_of_tail(1.0) + LARGEST_Z).abs() < f64::EPSILON);
        assert!(z_of_tail(f64::NAN).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn tails_equal_exact_sums(
            n in 1_u32..5_000, share in 0.0_f64..1.0, mean in 0.001_f64..0.6, weight in 2.0_f64..50_000.0,
        ) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=n")]
            let k = (f64::from(n) * share).round() as u32;
            let (a, b) = (mean * weight, (1.0 - mean) * weight);
            let ours = beta_binomial_sf(f64::from(k), f64::from(n), a, b);
            let exact = exact_sf(k, n, a, b);
            if f64::from(k) >= f64::from(n) * mean && exact > 1e-290 {
                prop_assert!((z_of_tail(ours) - z_of_tail(exact)).abs() < 5e-3,
                    "k {k} n {n} a {a} b {b}: {ours} {exact}");
            }
        }

        #[test]
        fn more_errors_never_lower_the_score(
            n in 2_u32..20_000, mean in 0.001_f64..0.5, weight in 2.0_f64..100_000.0, at in 0.0_f64..1.0,
        ) {
            let (a, b) = (mean * weight, (1.0 - mean) * weight);
            let n = f64::from(n);
            let k = (n * (mean + (1.0 - mean) * at)).floor().min(n - 1.0);
            let fewer = beta_binomial_sf(k, n, a, b);
            let more = beta_binomial_sf(k + 1.0, n, a, b);
            prop_assert!(z_of_tail(more) >= z_of_tail(fewer) - 1e-6, "{k} of {n}: {fewer} {more}");
        }
    }
}
