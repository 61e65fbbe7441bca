//! Chance: everything random comes from one seed, one stream for each truck, unit or purpose.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of chance.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    rng: ChaCha8Rng,
    /// The second half of the last pair of normal numbers.
    spare: Option<f64>,
}

impl Chance {
    /// Stream `stream` of a seed; streams are independent of each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { rng, spare: None }
    }

    /// Evenly from 0 (included) to 1 (not).
    pub fn unit(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Evenly between two numbers.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Evenly from 0 to `count` (not included); 0 of none.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// Milliseconds, evenly between two durations in seconds.
    pub fn span_ms(&mut self, low_s: f64, high_s: f64) -> i64 {
        (self.between(low_s, high_s) * 1000.0) as i64
    }

    /// Whether something with this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Whether something that comes once in `mean_s` seconds comes within `dt_s`.
    pub fn comes(&mut self, mean_s: f64, dt_s: f64) -> bool {
        self.happens(dt_s / mean_s)
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// Normally distributed around 0 with deviation 1 (polar method of Marsaglia).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (u, v) = (self.between(-1.0, 1.0), self.between(-1.0, 1.0));
            let square = u * u + v * v;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(v * scale);
                return u * scale;
            }
        }
    }
}
