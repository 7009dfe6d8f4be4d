//! What a query has found: candidates that wait, and the best of those scored.

use counterpoint_core::scan::{Selection, rows_of};
use counterpoint_core::select::{TopK, from_ordered_bits, ordered_bits};
use counterpoint_core::simd::{GROUP, Simd};

use crate::staged::{Query, Scratch, Staged};

/// Candidates between the one that is scored and the one whose low planes are asked for.
const AHEAD: usize = 8;
/// Fewest candidates that wait before some are scored.
const WAIT: usize = 256;

/// A row that may be among the best, and the most its similarity counts for: keys order by falling ceilings, then
/// rows. What cannot be compared (a file may hold any numbers) comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate(u64);

/// An integer that falls as the value rises; 0 and −0 are the same.
#[inline(always)]
fn falling(value: f32) -> u32 {
    !ordered_bits(if value.is_nan() { f32::NAN.abs() } else { value + 0.0 })
}

impl Candidate {
    #[inline(always)]
    pub(crate) fn new(ceiling: f32, row: usize) -> Self {
        Self(u64::from(falling(ceiling)) << 32 | row as u64)
    }

    /// The last of those that are not below `limit`.
    #[inline(always)]
    fn last(limit: f32) -> Self {
        if limit.is_nan() {
            Self(u64::MAX)
        } else {
            Self(u64::from(falling(limit)) << 32 | u64::from(u32::MAX))
        }
    }

    #[inline(always)]
    pub(crate) fn row(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    #[inline(always)]
    pub(crate) fn ceiling(self) -> f32 {
        from_ordered_bits(!((self.0 >> 32) as u32))
    }
}

/// What a query has found.
#[derive(Clone)]
pub(crate) struct Shortlist {
    k: usize,
    best: TopK,
    /// The least similarity of use, by `best`.
    limit: f32,
    waiting: Vec<Candidate>,
    /// How many may wait before some are scored.
    room: usize,
}

impl Selection for Shortlist {
    #[inline(always)]
    fn bound(&self) -> f32 {
        self.limit
    }

    fn merge(&mut self, other: Self) {
        self.best.merge(other.best);
        self.waiting.extend(other.waiting);
    }
}

impl Shortlist {
    pub(crate) fn new(k: usize) -> Self {
        let limit = f32::NEG_INFINITY;
        Self { k, best: TopK::new(k), limit, waiting: Vec::new(), room: WAIT.max(2 * k) }
    }

    /// How many are scored at a time: somewhat more than are wanted.
    #[inline(always)]
    pub(crate) fn step(&self) -> usize {
        (self.k + self.k / 2).max(16)
    }

    /// Whether nothing was offered yet.
    #[inline(always)]
    pub(crate) fn is_new(&self) -> bool {
        self.waiting.is_empty() && self.limit == f32::NEG_INFINITY
    }

    /// Takes in the rows of `mask`, of which only the most promising [`Shortlist::step`] will be kept: row r of the
    /// group has the ceiling `ceilings[r]`, and is row `first` + r of all. The least ceiling of use.
    #[inline(always)]
    pub(crate) fn sow(&mut self, mask: u64, ceilings: &[f32; GROUP], first: usize) -> f32 {
        if mask != 0 {
            self.take_in(mask, ceilings, first);
        }
        if self.waiting.len() >= 4 * self.step() { self.thin() } else { f32::NEG_INFINITY }
    }

    /// Drops all but the most promising; the least ceiling left.
    #[inline(always)]
    fn thin(&mut self) -> f32 {
        let last = self.step() - 1;
        if last >= self.waiting.len() {
            return f32::NEG_INFINITY;
        }
        let (_, &mut least, _) = self.waiting.select_nth_unstable(last);
        self.waiting.truncate(last + 1);
        least.ceiling()
    }

    /// Scores what [`Shortlist::sow`] left. `each` is told of their rows.
    #[inline(always)]
    pub(crate) fn reap<S: Simd>(
        &mut self,
        simd: S,
        staged: &Staged<'_>,
        query: &Query,
        scratch: &mut Scratch,
        mut each: impl FnMut(usize),
    ) {
        self.thin();
        self.waiting.iter().for_each(|candidate| each(candidate.row()));
        self.settle(simd, staged, query, true, scratch);
    }

    /// Takes in the rows of `mask`: row r of the group has the ceiling `ceilings[r]`, and is row `first` + r of all.
    /// Apart from what surrounds it, so that all it needs is in registers.
    #[inline(never)]
    fn take_in(&mut self, mask: u64, ceilings: &[f32; GROUP], first: usize) {
        if self.waiting.capacity() == 0 {
            self.waiting.reserve(self.room + GROUP);
        }
        self.waiting.extend(rows_of(mask).map(|r| Candidate::new(ceilings[r % GROUP], first + r)));
    }

    /// Takes in the rows of `mask`, as [`Shortlist::sow`] does. Whether some are to be scored now.
    #[inline(always)]
    pub(crate) fn wait(&mut self, mask: u64, ceilings: &[f32; GROUP], first: usize) -> bool {
        if mask != 0 {
            self.take_in(mask, ceilings, first);
        }
        self.waiting.len() >= self.room
    }

    /// Scores the most promising candidates, or all, and drops those below the bar.
    #[inline(always)]
    pub(crate) fn settle<S: Simd>(
        &mut self,
        simd: S,
        staged: &Staged<'_>,
        query: &Query,
        all: bool,
        scratch: &mut Scratch,
    ) {
        let step = self.step();
        let scored = if all || step >= self.waiting.len() {
            self.waiting.len()
        } else {
            self.waiting.select_nth_unstable(step);
            step
        };
        let mut narrowed = std::mem::take(&mut scratch.narrowed);
        let last = Candidate::last(self.limit);
        for (i, &candidate) in self.waiting[..scored].iter().enumerate() {
            if let Some(soon) = self.waiting.get(i + AHEAD) {
                staged.prefetch(soon.row(), scratch);
            }
            if candidate <= last {
                narrowed.push(staged.narrow(simd, query, candidate));
            }
        }
        narrowed.sort_unstable();
        let (mut last, mut bound) = (last, self.best.bound());
        for candidate in narrowed.drain(..) {
            if candidate > last {
                break;
            }
            staged.score_one(simd, query, candidate, &mut self.best, scratch);
            let now = self.best.bound();
            if now != bound {
                bound = now;
                self.limit = staged.limit(query, bound);
                last = Candidate::last(self.limit);
            }
        }
        scratch.narrowed = narrowed;
        // Those left, in place.
        let mut left = 0;
        for i in scored..self.waiting.len() {
            let candidate = self.waiting[i];
            self.waiting[left] = candidate;
            left += usize::from(candidate <= last);
        }
        self.waiting.truncate(left);
        self.room = (2 * left).max(WAIT).max(2 * self.k);
    }

    pub(crate) fn into_best(self) -> TopK {
        self.best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_bits() -> impl Strategy<Value = f32> {
        prop_oneof![
            any::<u32>().prop_map(f32::from_bits),
            prop::sample::select(vec![0.0, -0.0, f32::INFINITY])
        ]
    }

    proptest! {
        #[test]
        fn candidates_order_as_their_ceilings_fall(a in any_bits(), b in any_bits(), rows in any::<[u32; 2]>()) {
            let [x, y] = [(a, rows[0]), (b, rows[1])].map(|(c, row)| Candidate::new(c, row as usize));
            prop_assert_eq!(x.row(), rows[0] as usize);
            prop_assert!(x.ceiling() == a || (x.ceiling().is_nan() && a.is_nan()));
            if a > b {
                prop_assert!(x < y);
            }
            if a == b || (a.is_nan() && b.is_nan()) {
                prop_assert_eq!(x < y, rows[0] < rows[1]);
            }
            // Out is what is below, and nothing else.
            prop_assert_eq!(x > Candidate::last(b), a < b);
        }
    }
}
