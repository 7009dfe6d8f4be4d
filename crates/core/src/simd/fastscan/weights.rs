//! A query as small integer weights.

use super::{MOST, TRIPLE_BITS};

/// v ≈ `step` · w for each bit, w small enough for the kernels' bytes: [`MOST`] in every look-up.
///
/// Plain arithmetic in a fixed order: the same weights on every level.
#[derive(Clone, Debug)]
pub struct Weights {
    values: Vec<i8>,
    /// The value of one unit.
    pub step: f32,
    /// Σ|w|, at most 65,535.
    pub total: u32,
    /// ‖v − step·w‖₂.
    pub error: f32,
}

impl Weights {
    /// Quantises finite `values`; missing ones, up to a whole triple, are 0. Of more than
    /// [`MAX_BITS`](super::MAX_BITS), as many are 0 as must be. Inlined, so that it is compiled for its caller's level.
    #[inline(always)]
    pub fn new(values: &[f32]) -> Self {
        let mut weights = vec![0_i8; values.len().next_multiple_of(TRIPLE_BITS)];
        // The largest look-up before rounding, then as much coarser as rounding made it too large.
        let (mut most, mut all) = (0.0_f32, 0.0_f32);
        let mut triple = |values: &[f32; TRIPLE_BITS]| {
            for field in values.as_chunks::<6>().0 {
                let sum = field.iter().map(|v| v.abs()).sum();
                (most, all) = (most.max(sum), all + sum);
            }
        };
        let (triples, rest) = values.as_chunks::<TRIPLE_BITS>();
        for values in triples {
            triple(values);
        }
        let mut last = [0.0; TRIPLE_BITS];
        last.iter_mut().zip(rest).for_each(|(to, v)| *to = *v);
        triple(&last);
        let mut step = (most / MOST as f32).max(all / 65_535.0);
        let mut total = 0;
        // Each round widens the step by 1 % at least; at 31 × the start every weight is at most 1, six of which fit;
        // beyond 65,535 bits, on until enough of them are 0.
        // Below, 1 / step would not be finite: such a query is nothing but error.
        if step < 1e-30 {
            step = 0.0;
        }
        while step > 0.0 {
            let inverse = 1.0 / step;
            for (weight, value) in weights.iter_mut().zip(values) {
                // Half away from zero, in a form that vectorises.
                let scaled = (value * inverse).clamp(-127.0, 127.0);
                let whole = scaled.trunc();
                let rest = scaled - whole;
                *weight = (whole as i32 + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)) as i8;
            }
            let (largest, sum) = largest(&weights);
            total = sum;
            if largest <= MOST && total <= 65_535 {
                break;
            }
            step *= 1.01_f32.max(total as f32 / 65_535.0);
        }
        // In sixteen sums: an order that depends only on the length, and that vectorises.
        let mut sums = [0.0_f32; 16];
        let mut add = |weights: &[i8], values: &[f32]| {
            for ((sum, &w), &v) in sums.iter_mut().zip(weights).zip(values) {
                let missed = v - step * f32::from(w);
                *sum += missed * missed;
            }
        };
        let (whole, rest) = values.as_chunks::<16>();
        for (weights, values) in weights.as_chunks::<16>().0.iter().zip(whole) {
            add(weights, values);
        }
        add(&weights[16 * whole.len()..], rest);
        let error = sums.iter().sum::<f32>().sqrt();
        Self { values: weights, step, total, error }
    }

    /// The weights: whole triples.
    pub fn values(&self) -> &[i8] {
        &self.values
    }
}

/// The largest sum of magnitudes in one look-up, and that of all.
#[inline(always)]
fn largest(weights: &[i8]) -> (u32, u32) {
    let (mut most, mut total) = (0, 0);
    for triple in weights.as_chunks::<TRIPLE_BITS>().0 {
        let [a, b, c] = [0, 8, 16].map(|first| {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(&triple[first..]).for_each(|(to, w)| *to = w.unsigned_abs());
            u64::from_le_bytes(bytes)
        });
        // The magnitudes of each field, then those of the high nibble of each line. (Those of its low nibble are in
        // its field.)
        let six = |word: u64| word & (u64::MAX >> 16);
        let fields = [six(a), six(a >> 48 | b << 16), six(b >> 32 | c << 32), c >> 16];
        for (l, field) in fields.into_iter().enumerate() {
            let sum = sum(field);
            (most, total) = (most.max(sum), total + sum);
            if l < 3 {
                most = most.max(self::sum(field >> 32 | (fields[3] >> (16 * l) & 0xffff) << 16));
            }
        }
    }
    (most, total)
}

/// The sum of eight bytes.
#[inline(always)]
fn sum(bytes: u64) -> u32 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes & EVEN) + (bytes >> 8 & EVEN);
    // The top 16 bits of the product are the sum of all four, at most 8 · 255.
    (pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::nibbles;
    use super::*;

    proptest! {
        #[test]
        fn the_largest_look_up_is_that_of_all_fields_and_nibbles(
            weights in prop::collection::vec(any::<i8>(), 5 * TRIPLE_BITS),
        ) {
            let sum = |w: &[i8]| w.iter().map(|w| u32::from(w.unsigned_abs())).sum::<u32>();
            let triples = weights.as_chunks::<TRIPLE_BITS>().0;
            let fields = triples.iter().flat_map(|triple| triple.as_chunks::<6>().0).map(|field| sum(field));
            let nibbles = triples.iter().flat_map(nibbles).map(|nibble| sum(&nibble));
            let most = fields.chain(nibbles).max().unwrap_or(0);
            prop_assert_eq!(largest(&weights), (most, sum(&weights)));
        }
    }
}
