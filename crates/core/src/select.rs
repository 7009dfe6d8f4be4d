//! The best k of many: bounded selection under a total order, so that the outcome does not depend on the
//! order of arrival, and partial results merge to the whole.

use std::cmp::Ordering;

/// The bits of a number as an integer that orders as [`f32::total_cmp`] does.
#[inline(always)]
pub fn ordered_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    // Of negative numbers all bits are turned, of others the sign.
    bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31)
}

/// The number whose [`ordered_bits`] these are.
#[inline(always)]
pub fn from_ordered_bits(bits: u32) -> f32 {
    f32::from_bits(bits ^ if bits >> 31 == 1 { 1 << 31 } else { u32::MAX })
}

/// A row and its distance. Ordered by distance, then row: a total order, nearest first.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// The distance; smaller is nearer.
    pub distance: f32,
    /// The row.
    pub row: u32,
}

impl Ord for Hit {
    #[inline(always)]
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Hit {
    #[inline(always)]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Hit {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Hit {}

/// What can be selected: in a total order by distance.
pub trait Ranked: Ord + Copy {
    /// The distance; smaller is nearer.
    fn distance(&self) -> f32;
}

impl Ranked for Hit {
    #[inline(always)]
    fn distance(&self) -> f32 {
        self.distance
    }
}

/// The k least hits seen.
#[derive(Clone, Debug)]
pub struct TopK<T: Ord = Hit> {
    k: usize,
    /// A max-heap: the worst kept hit is on top.
    heap: std::collections::BinaryHeap<T>,
}

impl<T: Ranked> TopK<T> {
    /// Keeps at most `k` hits.
    pub fn new(k: usize) -> Self {
        // A huge k is legal (all rows); room is made as hits come.
        Self { k, heap: std::collections::BinaryHeap::with_capacity(k.min(1024)) }
    }

    /// No hit farther than this can still enter; one at this distance may, by its row.
    #[inline(always)]
    pub fn bound(&self) -> f32 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() >= self.k => worst.distance(),
            None if self.k == 0 => f32::NEG_INFINITY,
            _ => f32::INFINITY,
        }
    }

    /// Offers a hit.
    #[inline(always)]
    pub fn push(&mut self, hit: T) {
        if self.heap.len() < self.k {
            self.heap.push(hit);
        } else if self.heap.peek().is_some_and(|worst| hit < *worst)
            && let Some(mut worst) = self.heap.peek_mut()
        {
            *worst = hit;
        }
    }

    /// Takes in all hits of another selection.
    pub fn merge(&mut self, other: Self) {
        for hit in other.heap {
            self.push(hit);
        }
    }

    /// The kept hits, nearest first.
    pub fn into_sorted(self) -> Vec<T> {
        self.heap.into_sorted_vec()
    }
}

/// The k least hits seen, where k is some dozens or more: they are collected, and selected from whenever there is no room for
/// more. What it holds in the end is what [`TopK`] would; its bound follows a little later.
#[derive(Clone, Debug)]
pub struct Pool {
    k: usize,
    /// Distance and row as one number that orders as hits do.
    keys: Vec<u64>,
    /// So many are selected from.
    room: usize,
    /// No key above is of use.
    most: u64,
}

/// Hits that a pool collects at least before it selects again.
const SPARE: usize = 16;

impl Pool {
    /// Keeps at most `k` hits.
    pub fn new(k: usize) -> Self {
        Self { k, keys: Vec::new(), room: k, most: if k == 0 { 0 } else { u64::MAX } }
    }

    /// No hit farther than this can still enter; one at this distance may, by its row.
    #[inline(always)]
    pub fn bound(&self) -> f32 {
        match self.most {
            0 => f32::NEG_INFINITY,
            u64::MAX => f32::INFINITY,
            most => from_ordered_bits((most >> 32) as u32),
        }
    }

    /// Offers a hit.
    #[inline(always)]
    pub fn push(&mut self, hit: Hit) {
        let key = u64::from(ordered_bits(hit.distance)) << 32 | u64::from(hit.row);
        if key < self.most {
            self.keys.push(key);
            if self.keys.len() >= self.room {
                self.select();
            }
        }
    }

    #[cold]
    fn select(&mut self) {
        if self.keys.len() >= self.k {
            let (_, &mut most, _) = self.keys.select_nth_unstable(self.k - 1);
            self.keys.truncate(self.k);
            self.most = most;
            self.room = self.k + self.k.max(SPARE);
        }
    }

    /// The kept hits, nearest first.
    pub fn into_sorted(mut self) -> Vec<Hit> {
        if self.keys.len() > self.k {
            self.select();
        }
        self.keys.sort_unstable();
        let hit = |key: u64| Hit { distance: from_ordered_bits((key >> 32) as u32), row: key as u32 };
        self.keys.into_iter().map(hit).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hits() -> impl Strategy<Value = Vec<Hit>> {
        // Few distinct distances, so that ties are common.
        prop::collection::vec((0..20_i8).prop_map(f32::from), 0..200).prop_map(|distances| {
            let rows = 0_u32..;
            distances.into_iter().zip(rows).map(|(distance, row)| Hit { distance, row }).collect()
        })
    }

    proptest! {
        #[test]
        fn selects_what_sorting_would(hits in hits(), k in 0_usize..50, seed in any::<u64>()) {
            let mut expected = hits.clone();
            expected.sort();
            expected.truncate(k);
            let mut shuffled = hits;
            let n = shuffled.len().max(1);
            shuffled.rotate_left(seed as usize % n);
            let (left, right) = shuffled.split_at(shuffled.len() / 2);
            let mut top = TopK::new(k);
            let mut rest = TopK::new(k);
            left.iter().for_each(|&hit| top.push(hit));
            right.iter().for_each(|&hit| rest.push(hit));
            top.merge(rest);
            prop_assert_eq!(top.into_sorted(), &expected[..]);
            let mut pool = Pool::new(k);
            for &hit in &shuffled {
                // What the bound turns away is of no use.
                if hit.distance <= pool.bound() {
                    pool.push(hit);
                }
            }
            prop_assert_eq!(pool.into_sorted(), expected);
        }

        #[test]
        fn ordered_bits_order_as_total_cmp_and_come_back(a in any::<u32>(), b in any::<u32>()) {
            let (x, y) = (f32::from_bits(a), f32::from_bits(b));
            prop_assert_eq!(ordered_bits(x).cmp(&ordered_bits(y)), x.total_cmp(&y));
            prop_assert_eq!(from_ordered_bits(ordered_bits(x)).to_bits(), a);
        }
    }

    #[test]
    fn the_bound_is_the_kth_distance() {
        let mut top = TopK::new(2);
        assert_eq!(top.bound(), f32::INFINITY);
        top.push(Hit { distance: 3.0, row: 0 });
        assert_eq!(top.bound(), f32::INFINITY);
        top.push(Hit { distance: 1.0, row: 1 });
        assert_eq!(top.bound(), 3.0);
        top.push(Hit { distance: 2.0, row: 2 });
        assert_eq!(top.bound(), 2.0);
        assert_eq!(TopK::<Hit>::new(0).bound(), f32::NEG_INFINITY);
    }
}
