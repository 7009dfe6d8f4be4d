//! The best candidates of many queries, while they come.

use counterpoint_core::scan::rows_of;
use counterpoint_core::select::{from_ordered_bits, ordered_bits};
use counterpoint_core::simd::GROUP;

/// The best `most` rows of each query by estimate, the larger the better; of equal ones the lower rows.
///
/// Candidates are collected, and selected from whenever there is no room for more. Pools that are used again allocate
/// little.
#[derive(Default)]
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
    /// Empties them: pools of `most` candidates, at least one, for each of `queries`.
    pub(crate) fn reset(&mut self, queries: usize, most: usize) {
        self.most = most.max(1);
        // So much that one group always fits after a selection.
        self.room = 2 * self.most + GROUP;
        self.keys.resize(queries * self.room, 0);
        self.counts.clear();
        self.counts.resize(queries, 0);
        self.limits.clear();
        self.limits.resize(queries, f32::NEG_INFINITY);
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
