//! A small deterministic generator of random numbers for scenes: the same seed gives the same documents on
//! every machine. Not for anything that must not be guessed.

/// `SplitMix64`, after Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

/// The golden ratio in 64 bits: the step of the sequence.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// A generator of its own for each list of numbers, e.g. (seed, service, minute).
    pub(crate) fn new(parts: &[u64]) -> Self {
        let mut state = Self(STEP);
        for part in parts {
            let mixed = state.next() ^ part;
            state = Self(mix(mixed.wrapping_add(STEP)));
        }
        state
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Uniform in `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let bits = (self.next() >> 11) as f64;
        bits / 9_007_199_254_740_992.0
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, low: u32, high: u32) -> u32 {
        let width = u64::from(high.saturating_sub(low)) + 1;
        // The remainder is at most `high - low`, so it fits.
        low + u32::try_from(self.next() % width).unwrap_or(0)
    }

    /// Normally distributed (Box and Muller), at least `floor`.
    pub(crate) fn normal(&mut self, mean: f64, deviation: f64, floor: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.unit();
        (mean + deviation * radius * angle.cos()).max(floor)
    }

    /// One of the given; `None` of nothing.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let last = u32::try_from(choices.len().checked_sub(1)?).unwrap_or(u32::MAX);
        choices.get(self.between(0, last) as usize)
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // The reference implementation's first numbers for the seed 1234567.
        let mut random = Random(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn distributions_have_their_shape() {
        let mut random = Random::new(&[7, 1]);
        let units: Vec<f64> = (0..20_000).map(|_| random.unit()).collect();
        assert!(units.iter().all(|unit| (0.0..1.0).contains(unit)));
        let mean = units.iter().sum::<f64>() / 20_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");

        let normals: Vec<f64> = (0..20_000).map(|_| random.normal(120.0, 30.0, 10.0)).collect();
        let mean = normals.iter().sum::<f64>() / 20_000.0;
        let variance = normals.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!((mean - 120.0).abs() < 1.0 && (variance.sqrt() - 30.0).abs() < 1.0);

        let dice: std::collections::BTreeSet<u32> =
            (0..1_000).map(|_| random.between(1, 6)).collect();
        assert_eq!(dice.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(random.pick::<u8>(&[]), None);
    }

    #[test]
    fn neighbouring_seeds_differ() {
        let first = |parts: &[u64]| Random::new(parts).next();
        assert_ne!(first(&[1, 0]), first(&[0, 1]));
        assert_ne!(first(&[1]), first(&[1, 0]));
    }
}
