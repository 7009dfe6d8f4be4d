//! Leaves: small overlapping sets of rows that are near each other.
//!
//! As in PiPNN (arXiv 2602.21247) rows go to the nearest few of a random sample of them, the leaders, and sets that come
//! out too large are divided again. A set whose rows no leader tells apart is cut by number.

use crate::axes::choose;
use crate::cluster::{Centroids, Nearest};
use crate::metric::Metric;
use crate::simd::{Simd, TILE, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::{Matrix, RowSource};

/// Most rows of a leaf.
const LARGEST: usize = 1024;
/// Rows of a leaf, about.
const TARGET: usize = 512;
/// Leaves of a row after the first division; a set that is divided again adds to them.
const OVERLAP: usize = 8;
/// Leaders of a row when a set is divided again.
const AGAIN: usize = 2;
/// Most leaders of one division.
const LEADERS: usize = 2048;
/// Rows read at a time.
const PART: usize = 64 * TILE;

/// Rows in leaves.
pub(super) struct Partition {
    /// Of each leaf its two or more rows, in rising order. Every row is in some, if there are two.
    pub(super) leaves: Vec<Vec<u32>>,
    /// All rows, those of the same nearest leader together: who takes them in this order finds what it reads in caches.
    pub(super) order: Vec<u32>,
}

/// Divides the rows, on all threads.
pub(super) fn divided(rows: &dyn RowSource, seed: u64, control: &Control) -> Result<Partition, Cancelled> {
    let mut leaves = Vec::new();
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    let mut sets: Vec<Vec<u32>> = vec![(0..rows.len() as u32).collect()];
    for depth in 0_u64.. {
        let (small, large): (Vec<_>, Vec<_>) = sets.into_iter().partition(|set| set.len() <= LARGEST);
        leaves.extend(small.into_iter().filter(|set| set.len() > 1));
        if large.is_empty() {
            break;
        }
        let overlap = if depth == 0 { OVERLAP } else { AGAIN };
        let seed_of =
            |index: usize| seed ^ depth << 48 ^ (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        sets = if let [set] = &large[..] {
            let (sets, homes) = divide(rows, set, overlap, seed_of(0), control)?;
            if depth == 0 {
                order.sort_by_key(|&row| homes[row as usize]);
            }
            sets
        } else {
            let divided = control.map(large.iter().enumerate(), |(index, set)| {
                divide(rows, set, overlap, seed_of(index), &control.single())
            })?;
            divided.into_iter().flat_map(|(sets, _)| sets).collect()
        };
    }
    Ok(Partition { leaves, order })
}

/// Divides one set; gives the parts, and for each of its rows the number of the nearest leader.
fn divide(
    rows: &dyn RowSource,
    set: &[u32],
    overlap: usize,
    seed: u64,
    control: &Control,
) -> Result<(Vec<Vec<u32>>, Vec<u32>), Cancelled> {
    let chosen = choose(set.len(), (set.len() * overlap).div_ceil(TARGET).clamp(2, LEADERS), seed);
    let mut leaders = Matrix::zeroed(chosen.len(), rows.dim());
    for (to, &from) in chosen.iter().enumerate() {
        rows.read(set[from] as usize, leaders.row_mut(to));
    }
    let leaders = Centroids::new(leaders, Metric::L2);
    let routed = control.map(set.chunks(PART), |members| {
        Ok::<_, Cancelled>(run(control.level(), Route { rows, members, leaders: &leaders, overlap }))
    })?;
    let (mut children, mut homes) = (vec![Vec::new(); leaders.len()], Vec::with_capacity(set.len()));
    for (members, nearest) in set.chunks(PART).zip(&routed) {
        for (i, &member) in members.iter().enumerate() {
            homes.extend(nearest.of(i).first());
            nearest.of(i).iter().for_each(|&child| children[child as usize].push(member));
        }
    }
    // A child that is hardly smaller would be divided for ever.
    if children.iter().any(|child| child.len() > LARGEST && child.len() * 16 > set.len() * 15) {
        return Ok((set.chunks(LARGEST).map(<[u32]>::to_vec).collect(), homes));
    }
    Ok((children, homes))
}

/// Finds the nearest leaders of a few rows.
struct Route<'a> {
    rows: &'a dyn RowSource,
    members: &'a [u32],
    leaders: &'a Centroids,
    overlap: usize,
}

impl Work for Route<'_> {
    type Output = Nearest;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Nearest {
        let stride = self.leaders.rows().stride();
        let mut values = vec![0.0; self.members.len() * stride];
        for (&member, values) in self.members.iter().zip(values.chunks_exact_mut(stride)) {
            self.rows.read(member as usize, &mut values[..self.rows.dim()]);
        }
        let mut found = Nearest::default();
        self.leaders.route(simd, &values, stride, self.members.len(), self.overlap, &mut found);
        found
    }
}
