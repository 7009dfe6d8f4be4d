//! The best candidates of many queries, while they come.

use counterpoint_core::scan::rows_of;
use counterpoint_core::select::{from_ordered_bits, ordered_bits};
use counterpoint_core::simd::GROUP;

/// The best `most` rows of each query by estimate, the larger the better; of equal ones the lower rows.
///
/// Candidates are collected, and selected from whenever there is no room for more.
pub(crate) struct Pools {
    most: usize,
    room: usize,
    /// Of each query `room`: [`key`].
    keys: Vec<u64>,
    counts: Vec<u32>,
    /// No estimate below is of use.
    limits: Vec<f32>,
}

/// An estimate and its row: the better, the smaller.
#[inline(always)]
fn key(estimate: f32, row: u32) -> u64 {
    u64::from(!ordered_bits(estimate)) << 32 | u64::from(row)
}

#[inline(always)]
fn estimate(key: u64) -> f32 {
    from_ordered_bits(!((key >> 32) as u32))
}

impl Pools {
    /// Pools of `most` candidates, at least one, for each of `queries`.
    pub(crate) fn new(queries: usize, most: usize) -> Self {
        let most = most.max(1);
        // So much that one group always fits after a selection.
        let room = 2 * most + GROUP;
        Self {
            most,
            room,
            keys: vec![0; queries * room],
            counts: vec![0; queries],
            limits: vec![f32::NEG_INFINITY; queries],
        }
    }

    /// Below which a value is of no use where `base` is added to it: a little less than the difference, for rounding.
    #[inline(always)]
    pub(crate) fn limit(&self, query: usize, base: f32) -> f32 {
        let limit = self.limits[query];
        (limit - base) - (limit.abs() + base.abs()) * f32::EPSILON
    }

    /// Offers the rows of `mask`, each at its value and `base`.
    #[inline(always)]
    pub(crate) fn offer(&mut self, query: usize, base: f32, mask: u64, values: &[f32; GROUP], rows: &[u32]) {
        let pool = &mut self.keys[query * self.room..(query + 1) * self.room];
        let mut count = self.counts[query] as usize;
        if count + GROUP > self.room {
            let (_, &mut last, _) = pool[..count].select_nth_unstable(self.most - 1);
            self.limits[query] = estimate(last);
            count = self.most;
        }
        let limit = self.limits[query];
        for r in rows_of(mask) {
            let estimate = values[r] + base;
            pool[count] = key(estimate, rows[r]);
            // A row below the limit is overwritten by the next.
            count += usize::from(estimate >= limit);
        }
        self.counts[query] = count as u32;
    }

    /// How many candidates a query has, at most so many as are wanted.
    pub(crate) fn found(&self, query: usize) -> usize {
        (self.counts[query] as usize).min(self.most)
    }

    /// The candidates of a query, in no order: estimates and rows.
    pub(crate) fn candidates(&mut self, query: usize) -> impl Iterator<Item = (f32, u32)> {
        let pool = &mut self.keys[query * self.room..][..self.counts[query] as usize];
        if pool.len() > self.most {
            pool.select_nth_unstable(self.most - 1);
        }
        pool.iter().take(self.most).map(|&key| (estimate(key), key as u32))
    }
}
