//! The term of a vector's own in its distance, in 8 bits.
//!
//! With x̂ the decoded vector and e = x − x̂,
//!
//! > ‖q − x‖² = ‖q‖² − 2⟨q, x̂⟩ + ‖x̂‖² + ‖e‖² + 2⟨x̂, e⟩ − 2⟨q, e⟩.
//!
//! The last two are not known. For a query that has nothing to do with x they are 0 in the mean, for x itself they are
//! −2‖e‖²; near neighbours, which are what matters, lie between. So a distance is estimated by
//!
//! > ‖q‖² − 2⟨q, x̂⟩ + C, C = ‖x̂‖² + [`SHARE`]·‖e‖²,
//!
//! ‖e‖² with all that the axes leave out. (Where rows lie in lists, C is that less ‖c‖² of the list's centroid, which the
//! search knows: [`super::tables`].) Without the share, vectors that are coded badly would seem nearer than they are,
//! and would crowd out others. C is the nearest of 256 levels, which are best for a sample (S. P. Lloyd 1982, in one dimension).

/// Part of ‖e‖² that is added.
pub(crate) const SHARE: f32 = 0.6;
/// Number of levels.
pub(crate) const LEVELS: usize = 256;
/// Rounds of Lloyd's algorithm.
const ROUNDS: usize = 25;

/// Levels in rising order, for values of which there is at least one.
pub(crate) fn levels(mut values: Vec<f32>) -> Vec<f32> {
    values.sort_unstable_by(f32::total_cmp);
    let count = values.len();
    let mut sums = Vec::with_capacity(count + 1);
    sums.push(0.0_f64);
    for &value in &values {
        sums.push(sums[sums.len() - 1] + f64::from(value));
    }
    let mut levels: Vec<f32> =
        (0..LEVELS).map(|level| values[((2 * level + 1) * count / (2 * LEVELS)).min(count - 1)]).collect();
    for _ in 0..ROUNDS {
        let mut first = 0;
        for level in 0..LEVELS {
            let end = match levels.get(level + 1) {
                Some(next) => {
                    let middle = 0.5 * (levels[level] + next);
                    values.partition_point(|&value| value < middle).max(first)
                }
                None => count,
            };
            if end > first {
                levels[level] = ((sums[end] - sums[first]) / (end - first) as f64) as f32;
            }
            first = end;
        }
        // Means of successive runs rise but for rounding; a level without values may have been passed.
        levels.sort_unstable_by(f32::total_cmp);
    }
    levels
}

/// The level nearest to a value: the lower of two.
#[inline(always)]
pub(crate) fn nearest(levels: &[f32], value: f32) -> u8 {
    let above = levels.partition_point(|&level| level < value);
    let below = above.saturating_sub(1);
    let nearest = match levels.get(above) {
        Some(level) if level - value < value - levels[below] => above,
        _ => below,
    };
    nearest as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_nearest_level_is_found(
            values in prop::collection::vec(-100.0_f32..100.0, 1..2000), value in -120.0_f32..120.0
        ) {
            let levels = levels(values.clone());
            prop_assert_eq!(levels.len(), LEVELS);
            prop_assert!(levels.is_sorted());
            let found = levels[usize::from(nearest(&levels, value))];
            let best = levels.iter().fold(f32::INFINITY, |best, level| best.min((level - value).abs()));
            prop_assert_eq!((found - value).abs(), best);
            if values.len() <= LEVELS {
                for &value in &values {
                    let found = levels[usize::from(nearest(&levels, value))];
                    prop_assert!((found - value).abs() <= 1e-4 * value.abs().max(1.0), "{} for {}", found, value);
                }
            }
        }
    }
}
