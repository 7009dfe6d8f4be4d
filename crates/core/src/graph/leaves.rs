//! The nearest rows within leaves: all pairs of a leaf, in 8 bits about its mean.
//!
//! With the leaf's mean as the origin ½(‖i‖² − d(i, r)²) = ⟨i, r⟩ − ½‖r‖². Of one row these values are taken for all
//! groups of 64; the w-th largest of their 64 columnwise maxima is no more than the w-th largest value, and few others
//! are above it: they are sorted.
//!
//! Memory: at least 16 places of 8 bytes for each row of each leaf, so for each row about a kilobyte.

use crate::scan::rows_of;
use crate::select::Hit;
use crate::simd::{GROUP, Simd, TILE, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::RowSource;

use super::local::Local;

/// Fewest and most near rows that are kept of each row in each leaf; fewer than a group's 64.
const EACH: [usize; 2] = [16, 48];
/// Not a row.
const NOTHING: u64 = u64::MAX;

/// A squared distance and its row: nearest first, of equal ones the lower row.
#[inline(always)]
fn key(distance: f32, row: u32) -> u64 {
    // No distance is negative, so its bits rise with it.
    u64::from(distance.to_bits()) << 32 | u64::from(row)
}

/// Near rows of each row, as its leaves have them.
pub(super) struct Near {
    /// For each row of each leaf `each` keys.
    keys: Vec<u64>,
    each: usize,
    /// Which of them are a row's: `places[starts[row]..starts[row + 1]]`.
    starts: Vec<usize>,
    places: Vec<u32>,
}

impl Near {
    /// Compares all pairs of each leaf, for a graph of that degree.
    pub(super) fn new(
        rows: &dyn RowSource,
        leaves: &[Vec<u32>],
        degree: usize,
        control: &Control,
    ) -> Result<Self, Cancelled> {
        let total: usize = leaves.iter().map(Vec::len).sum();
        let each = (degree / 2).clamp(EACH[0], EACH[1]);
        let mut keys = vec![NOTHING; total * each];
        let mut parts = Vec::with_capacity(leaves.len());
        let mut rest = &mut keys[..];
        for leaf in leaves {
            let (part, after) = rest.split_at_mut(leaf.len() * each);
            parts.push((leaf, part));
            rest = after;
        }
        control.for_each(parts, |(leaf, keys)| {
            run(control.level(), Pairs { rows, leaf, keys, each });
            Ok::<_, Cancelled>(())
        })?;
        let mut starts = vec![0; rows.len() + 1];
        for leaf in leaves {
            leaf.iter().for_each(|&row| starts[row as usize + 1] += 1);
        }
        for row in 0..rows.len() {
            starts[row + 1] += starts[row];
        }
        let (mut ends, mut places) = (starts.clone(), vec![0; total]);
        for (place, &row) in leaves.iter().flatten().enumerate() {
            places[ends[row as usize]] = place as u32;
            ends[row as usize] += 1;
        }
        Ok(Self { keys, each, starts, places })
    }

    /// Near rows of a row, nearest first, each once, with their squared distances. `keys` is memory to work in.
    #[inline(always)]
    pub(super) fn of(&self, row: u32, keys: &mut Vec<u64>, hits: &mut Vec<Hit>) {
        keys.clear();
        let places = &self.places[self.starts[row as usize]..self.starts[row as usize + 1]];
        for &place in places {
            let found =
                self.keys[place as usize * self.each..][..self.each].iter().filter(|&&key| key != NOTHING);
            keys.extend(found.map(|key| key.rotate_left(32)));
        }
        // About the means of different leaves a distance comes out a little different: the least counts.
        keys.sort_unstable();
        keys.dedup_by_key(|key| *key >> 32);
        keys.iter_mut().for_each(|key| *key = key.rotate_left(32));
        keys.sort_unstable();
        hits.extend(
            keys.iter().map(|&key| Hit { distance: f32::from_bits((key >> 32) as u32), row: key as u32 }),
        );
    }
}

/// Compares all pairs of a leaf.
struct Pairs<'a> {
    rows: &'a dyn RowSource,
    leaf: &'a [u32],
    keys: &'a mut [u64],
    each: usize,
}

impl Work for Pairs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { rows, leaf, keys, each } = self;
        let dim = rows.dim();
        let (mut row, mut sums) = (vec![0.0; dim], vec![0.0_f64; dim]);
        for &member in leaf {
            rows.read(member as usize, &mut row);
            sums.iter_mut().zip(&row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let origin: Vec<f32> = sums.iter().map(|sum| (sum / leaf.len() as f64) as f32).collect();
        let (mut local, mut squares) = (Local::new(dim), Vec::with_capacity(leaf.len()));
        local.begin(leaf.len());
        for &member in leaf {
            rows.read(member as usize, &mut row);
            local.push(&row, &origin, |square| {
                squares.push(square);
                -0.5 * square
            });
        }
        let (mut values, mut found) = (Vec::new(), Vec::new());
        let members: Vec<usize> = (0..leaf.len()).collect();
        for chosen in members.chunks(TILE) {
            local.products(simd, chosen, 0, &mut values);
            for (i, &member) in chosen.iter().enumerate() {
                let mut maxima = [f32::NEG_INFINITY; GROUP];
                for values in &values {
                    for (most, &value) in maxima.iter_mut().zip(&values[i]) {
                        *most = if value > *most { value } else { *most };
                    }
                }
                // The row itself is nearest, or as near as any.
                let limit = *maxima.select_nth_unstable_by(each, |a, b| b.total_cmp(a)).1;
                found.clear();
                for (g, values) in values.iter().enumerate() {
                    let mut mask = 0_u64;
                    for (r, &value) in values[i].iter().enumerate() {
                        mask |= u64::from(value >= limit) << r;
                    }
                    for r in rows_of(mask) {
                        let other = g * GROUP + r;
                        if other != member && other < leaf.len() {
                            let distance = (squares[member] - 2.0 * values[i][r]).max(0.0);
                            found.push(key(distance, leaf[other]));
                        }
                    }
                }
                found.sort_unstable();
                let keys = &mut keys[member * each..][..each];
                keys.iter_mut().zip(&found).for_each(|(key, &found)| *key = found);
            }
        }
    }
}
