//! Bit planes of codes × signed 8-bit weights, and the levels of codes × signed 8-bit queries: exact integer sums, row by
//! row.
//!
//! **Layout of a plane.** Bit j is bit j mod 8 (least significant first) of byte j / 8. A row's planes lie one after
//! another, the most significant first; plane p has `spans[p]` bits, a multiple of [`STEP`], and no plane is longer
//! than the one before. A dimension that a plane does not reach has bit 0 there. With L planes the row's value at
//! dimension j is cⱼ = Σ_p 2^(L−1−p)·bit_pj.
//!
//! **Segments.** Where the same planes reach, a row is a matrix of `active` planes: kernels rebuild the values there
//! as bytes (a value of the first `active` planes, 2^(L−active) times smaller) and multiply each weight once, not
//! once a plane.
//!
//! **Levels.** Codes of up to 6 bits look up a level in a table ([`Codes`]): the top planes hold a bit of every
//! dimension, the low ones may be shared by several *runs* of dimensions, each of which has its own table. Levels are
//! unsigned bytes: whoever means level − 128 takes 128·Σ query off the sum, once for all rows.
//!
//! **Ranges.** cⱼ ≤ 2^L − 1 ≤ 255, a level is at most 255 and a weight at least −128, so a sum over at most `MAX_DIM` =
//! 65,536 dimensions, whole or of some of its terms, is at most 255·128·65,536 = 2,139,095,040 < 2³¹ in magnitude.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;
#[cfg(test)]
mod tests;

use crate::vectors::MAX_DIM;

/// Most planes of a row.
pub const MAX_PLANES: usize = 8;
/// A span is a multiple of this.
pub const STEP: usize = 32;
/// Entries of a table of levels.
pub const LEVELS: usize = 64;
/// Most bits of a code that looks up a level.
pub const LEVEL_BITS: usize = 6;

/// Bytes of planes of these spans.
pub fn row_bytes(spans: &[usize]) -> usize {
    spans.iter().sum::<usize>() / 8
}

/// What `sum` reads, with its lengths checked.
#[derive(Clone, Copy)]
pub(super) struct SumView<'a> {
    /// `row_bytes(spans)` bytes.
    pub(super) planes: &'a [u8],
    /// At most MAX_PLANES, multiples of STEP, non-increasing.
    pub(super) spans: &'a [usize],
    /// At least `spans[0]`.
    pub(super) weights: &'a [i8],
}

/// Dimensions that the first `active` planes reach and no other does.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    /// 1 to MAX_PLANES.
    pub(super) active: usize,
    /// A multiple of STEP.
    pub(super) start: usize,
    /// A multiple of STEP above `start`, at most `spans[active - 1]`.
    pub(super) end: usize,
}

impl<'a> SumView<'a> {
    #[inline(always)]
    pub(super) fn checked(planes: &'a [u8], spans: &'a [usize], weights: &'a [i8]) -> Self {
        assert!(spans.len() <= MAX_PLANES, "more than {MAX_PLANES} planes"); // Check 1
        let mut longest = weights.len().min(MAX_DIM);
        let mut bytes = 0;
        for &span in spans {
            assert!(span <= longest, "a span above the one before, the weights or {MAX_DIM}"); // Check 2
            assert!(span % STEP == 0, "a span that is no multiple of {STEP}"); // Check 3
            longest = span;
            bytes += span / 8;
        }
        assert_eq!(planes.len(), bytes, "planes and spans of different lengths"); // Check 4
        Self { planes, spans, weights }
    }

    /// The segments that are not empty, first dimensions first.
    #[inline(always)]
    pub(super) fn segments(self) -> impl Iterator<Item = Segment> {
        let mut start = 0;
        (1..=self.spans.len().min(MAX_PLANES)).rev().filter_map(move |active| {
            let end = self.spans[active - 1];
            let segment = Segment { active, start, end };
            start = end;
            (segment.start < end).then_some(segment)
        })
    }

    /// Where each of the first A planes begins.
    ///
    /// # Safety
    /// A ≤ `spans.len()`.
    #[inline(always)]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(super) unsafe fn starts<const A: usize>(self) -> [*const u8; A] {
        let mut next = self.planes.as_ptr();
        std::array::from_fn(|p| {
            let start = next;
            // SAFETY: p < A ≤ `spans.len()`; the spans' bytes are those of `planes` (Check 4).
            next = unsafe { next.add(self.spans.get_unchecked(p) / 8) };
            start
        })
    }

    /// The first plane and the others. `None` if there are none.
    #[inline(always)]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(super) fn split_first(self) -> Option<(Self, Self)> {
        let (&span, rest) = self.spans.split_first()?;
        let (first, planes) = self.planes.split_at_checked(span / 8)?;
        let first = Self { planes: first, spans: &self.spans[..1], ..self };
        let rest = Self { planes, spans: rest, ..self };
        Some((first, rest))
    }
}

/// What `expand` reads and writes, with its lengths checked.
pub(super) struct ExpandView<'a> {
    /// At least `codes.len()` bits.
    pub(super) bits: &'a [u8],
    /// 1 << shift.
    pub(super) value: u8,
    pub(super) codes: &'a mut [u8],
}

impl<'a> ExpandView<'a> {
    #[inline(always)]
    pub(super) fn checked(bits: &'a [u8], shift: u32, codes: &'a mut [u8]) -> Self {
        assert!(codes.len().div_ceil(8) <= bits.len(), "more codes than bits"); // Check 1
        assert!(shift < 8, "a code has 8 bits");
        Self { bits, value: 1 << shift, codes }
    }
}

/// A row's codes as planes: dimension j of run r (dimension r·`run` + j of all) has its bits at r·`run` + j of each
/// top plane, then at j of each low plane.
#[derive(Clone, Copy, Debug)]
pub struct Codes<'a> {
    /// Planes of one bit for every dimension, the most significant first.
    pub top: &'a [u8],
    /// How many.
    pub tops: usize,
    /// Less significant planes, of one bit for every dimension of a run.
    pub low: &'a [u8],
    /// How many.
    pub lows: usize,
    /// Dimensions that share a table, a multiple of 8.
    pub run: usize,
}

/// What `dots` reads, with its lengths checked.
#[derive(Clone, Copy)]
pub(super) struct DotsView<'a> {
    /// A run is a multiple of 8, `run * tables.len()` is at most MAX_DIM, the planes have just the bytes for that, and
    /// they are at most LEVEL_BITS.
    pub(super) codes: Codes<'a>,
    pub(super) tables: &'a [[u8; LEVELS]],
    /// `run * tables.len()` values.
    pub(super) high: &'a [i8],
    /// As many.
    pub(super) low: &'a [i8],
}

impl<'a> DotsView<'a> {
    #[inline(always)]
    pub(super) fn checked(
        codes: Codes<'a>,
        tables: &'a [[u8; LEVELS]],
        high: &'a [i8],
        low: &'a [i8],
    ) -> Self {
        let Codes { tops, lows, run, .. } = codes;
        let dims = run.saturating_mul(tables.len());
        assert!(dims <= MAX_DIM && run.is_multiple_of(8), "runs beyond {MAX_DIM} or no multiples of 8"); // Check 1
        assert!(high.len() == dims && low.len() == dims, "codes and query of different dimensions"); // Check 2
        assert!(tops.saturating_add(lows) <= LEVEL_BITS, "more than {LEVEL_BITS} planes"); // Check 3
        assert!(
            codes.top.len() == tops * (dims / 8) && codes.low.len() == lows.saturating_mul(run / 8),
            "planes and runs of different lengths"
        ); // Check 4
        Self { codes, tables, high, low }
    }

    /// Calls `block` with up to N codes of a run (the others are 0), their table, and as many values of each query
    /// plane, until all were met. `expand` is the level's.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline(always)]
    fn blocks<const N: usize>(
        self,
        expand: impl Fn(ExpandView<'_>),
        mut block: impl FnMut(&[u8; N], &[u8; LEVELS], &[i8; N], &[i8; N]),
    ) {
        let Codes { top, tops, low, lows, run } = self.codes;
        let dims = run * self.tables.len();
        for (r, table) in self.tables.iter().enumerate() {
            for first in (0..run).step_by(N) {
                let count = N.min(run - first);
                let mut codes = [0; N];
                let mut plane = |bits: &[u8], shift: usize| {
                    expand(ExpandView { bits, value: 1 << shift, codes: &mut codes[..count] });
                };
                for p in 0..tops {
                    plane(&top[(p * dims + r * run + first) / 8..], tops + lows - 1 - p);
                }
                for p in 0..lows {
                    plane(&low[(p * run + first) / 8..], lows - 1 - p);
                }
                // A query value 0 adds nothing.
                let [mut high, mut low] = [[0; N]; 2];
                let at = r * run + first..r * run + first + count;
                high[..count].copy_from_slice(&self.high[at.clone()]);
                low[..count].copy_from_slice(&self.low[at]);
                block(&codes, table, &high, &low);
            }
        }
    }
}
