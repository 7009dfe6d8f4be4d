//! AVX-512: a plane's bits are a mask register as they are; `vpermb` looks up 64 levels; `vpdpbusd` sums four u8 × i8
//! products into each 32-bit lane, without saturation.

use std::arch::x86_64::*;

use super::{Codes, DotsView, ExpandView, LEVEL_BITS, STEP, SumView};

/// Dimensions of a register.
const BLOCK: usize = 64;

/// # Safety
/// AVX-512F, BW and VNNI, and a view made by `SumView::checked`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) unsafe fn sum(view: SumView<'_>) -> i32 {
    let mut total = 0;
    for segment in view.segments() {
        let (start, end) = (segment.start, segment.end);
        // SAFETY: `start` and `end` are multiples of STEP (SumView, Check 3), and the first `active` spans are at
        // least `end` (`segments`).
        let sum = unsafe {
            match segment.active {
                1 => segment_sum::<1>(view, start, end),
                2 => segment_sum::<2>(view, start, end),
                3 => segment_sum::<3>(view, start, end),
                4 => segment_sum::<4>(view, start, end),
                5 => segment_sum::<5>(view, start, end),
                6 => segment_sum::<6>(view, start, end),
                7 => segment_sum::<7>(view, start, end),
                _ => segment_sum::<8>(view, start, end),
            }
        };
        total += sum << (view.spans.len() - segment.active);
    }
    total
}

/// Σ Σ_{p < A} 2^(A−1−p)·bit_pj·weights\[j\] over `start..end`.
///
/// # Safety
/// As `sum`; `start` and `end` are multiples of STEP, and each of the first A spans is at least `end`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn segment_sum<const A: usize>(view: SumView<'_>, start: usize, end: usize) -> i32 {
    let mut acc = _mm512_setzero_si512();
    let mut j = start;
    // SAFETY: plane p < A has bits up to `end` where `starts` says (Checks 2 and 4), and as many weights exist
    // (Check 2). A block reads BLOCK = 64 bits and weights from j ≤ end − 64 on; the last one, of which `end` being
    // a multiple of 32 leaves just that many, 32.
    unsafe {
        let planes = view.starts::<A>();
        let weights = view.weights.as_ptr();
        while j + BLOCK <= end {
            let masks = planes.map(|plane| plane.add(j / 8).cast::<u64>().read_unaligned());
            let row = values(masks);
            acc = _mm512_dpbusd_epi32(acc, row, _mm512_loadu_si512(weights.add(j).cast()));
            j += BLOCK;
        }
        if j < end {
            let masks = planes.map(|plane| u64::from(plane.add(j / 8).cast::<u32>().read_unaligned()));
            let row = values(masks);
            acc = _mm512_dpbusd_epi32(acc, row, _mm512_maskz_loadu_epi8(u32::MAX.into(), weights.add(j)));
        }
    }
    _mm512_reduce_add_epi32(acc)
}

/// Bytes Σ_{p < A} 2^(A−1−p)·bit_pj.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn values<const A: usize>(masks: [u64; A]) -> __m512i {
    let mut row = _mm512_setzero_si512();
    for (p, mask) in masks.into_iter().enumerate() {
        row = _mm512_mask_add_epi8(row, mask, row, _mm512_set1_epi8((1_u8 << (A - 1 - p)).cast_signed()));
    }
    row
}

/// # Safety
/// AVX-512F and BW, and a view made by `ExpandView::checked`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) unsafe fn expand(view: ExpandView<'_>) {
    let value = _mm512_set1_epi8(view.value.cast_signed());
    let (words, _) = view.bits.as_chunks::<{ BLOCK / 8 }>();
    let (blocks, rest) = view.codes.as_chunks_mut::<BLOCK>();
    let mut bits = view.bits.get(blocks.len() * (BLOCK / 8)..).unwrap_or_default();
    for (codes, &word) in blocks.iter_mut().zip(words) {
        let codes = codes.as_mut_ptr().cast();
        // SAFETY: BLOCK = 64 bytes. (Not masked: the next plane's load would wait for a masked store.)
        unsafe {
            let new = _mm512_maskz_mov_epi8(u64::from_le_bytes(word), value);
            _mm512_storeu_si512(codes, _mm512_or_si512(_mm512_loadu_si512(codes), new));
        }
    }
    let (half, rest) = rest.split_at_mut(rest.len() / STEP * STEP);
    if half.len() == STEP
        && let Some((&word, after)) = bits.split_first_chunk()
    {
        bits = after;
        let codes = half.as_mut_ptr().cast();
        // SAFETY: STEP = 32 bytes.
        unsafe {
            let new = _mm512_maskz_mov_epi8(u32::from_le_bytes(word).into(), value);
            let new = _mm512_castsi512_si256(new);
            _mm256_storeu_si256(codes, _mm256_or_si256(_mm256_loadu_si256(codes), new));
        }
    }
    if !rest.is_empty() {
        let word = bits.iter().take(STEP / 8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let lanes = (1 << rest.len()) - 1;
        // SAFETY: only the lanes of `rest`, below STEP of them, are read and written.
        unsafe {
            let old = _mm512_maskz_loadu_epi8(lanes, rest.as_ptr().cast());
            let new = _mm512_or_si512(old, _mm512_maskz_mov_epi8(word, value));
            _mm512_mask_storeu_epi8(rest.as_mut_ptr().cast(), lanes, new);
        }
    }
}

/// # Safety
/// AVX-512F, BW, VL, VNNI and VBMI, and a view made by `DotsView::checked`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
pub(crate) unsafe fn dots(view: DotsView<'_>) -> [i32; 2] {
    // SAFETY: the caller's promise; the planes are as many as each arm says, at most LEVEL_BITS of either kind in the
    // last (DotsView, Check 3).
    unsafe {
        match (view.codes.tops, view.codes.lows) {
            (1, 2) => dots_of::<1, 2>(view, 1, 2),
            (1, 3) => dots_of::<1, 3>(view, 1, 3),
            (1, 4) => dots_of::<1, 4>(view, 1, 4),
            (tops, lows) => dots_of::<LEVEL_BITS, LEVEL_BITS>(view, tops, lows),
        }
    }
}

/// The first `tops` top planes and `lows` low planes are there.
///
/// # Safety
/// As `dots`, and the planes are so many, at most TOPS and LOWS.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn dots_of<const TOPS: usize, const LOWS: usize>(
    view: DotsView<'_>,
    tops: usize,
    lows: usize,
) -> [i32; 2] {
    let Codes { run, .. } = view.codes;
    // What a bit of each plane is worth.
    let worth =
        |above: usize| _mm512_set1_epi8((1_u8 << (tops + lows).saturating_sub(above + 1)).cast_signed());
    let top_worth: [__m512i; TOPS] = std::array::from_fn(worth);
    let low_worth: [__m512i; LOWS] = std::array::from_fn(|p| worth(tops + p));
    let mut planes = Planes { view, tops, lows, top_worth, low_worth, acc: [_mm512_setzero_si512(); 2] };
    let whole = run / BLOCK * BLOCK;
    // SAFETY: dimensions below `run`.
    unsafe {
        for j in (0..whole).step_by(BLOCK) {
            planes.block(j);
        }
        match run - whole {
            0 => {}
            HALF => planes.half(whole),
            count => planes.part(whole, count),
        }
    }
    let [high, low] = planes
        .acc
        .map(|acc| _mm256_add_epi32(_mm512_castsi512_si256(acc), _mm512_extracti64x4_epi64::<1>(acc)));
    let pairs = _mm256_hadd_epi32(high, low);
    let sums = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
    let sums = _mm_hadd_epi32(sums, sums);
    [_mm_extract_epi32::<0>(sums), _mm_extract_epi32::<1>(sums)]
}

/// Dimensions of half a register.
const HALF: usize = BLOCK / 2;

/// What blocks of dimensions share, and their sums.
struct Planes<'a, const TOPS: usize, const LOWS: usize> {
    view: DotsView<'a>,
    tops: usize,
    lows: usize,
    top_worth: [__m512i; TOPS],
    low_worth: [__m512i; LOWS],
    acc: [__m512i; 2],
}

impl<const TOPS: usize, const LOWS: usize> Planes<'_, TOPS, LOWS> {
    /// Dimensions j .. j + BLOCK of all runs.
    ///
    /// # Safety
    /// As `dots_of`, and j + BLOCK is at most `run`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn block(&mut self, j: usize) {
        let DotsView { tables, high, low, .. } = self.view;
        // SAFETY: dimensions that there are, by the caller's promise; `high` and `low` have as many values as there
        // are dimensions (DotsView, Check 2), a table LEVELS = 64.
        unsafe {
            let shared = self.shared(j, |at| at.cast::<u64>().read_unaligned());
            for (r, table) in tables.iter().enumerate() {
                let codes = self.codes(r, j, shared, |at| at.cast::<u64>().read_unaligned());
                let levels = _mm512_permutexvar_epi8(codes, _mm512_loadu_si512(table.as_ptr().cast()));
                let at = r * self.view.codes.run + j;
                for (acc, plane) in self.acc.iter_mut().zip([high, low]) {
                    *acc =
                        _mm512_dpbusd_epi32(*acc, levels, _mm512_loadu_si512(plane.as_ptr().add(at).cast()));
                }
            }
        }
    }

    /// Dimensions j .. j + HALF of all runs.
    ///
    /// # Safety
    /// As `dots_of`, and j + HALF is at most `run`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn half(&mut self, j: usize) {
        let DotsView { tables, high, low, .. } = self.view;
        let mut acc = self.acc.map(|acc| _mm512_castsi512_si256(acc));
        // SAFETY: as in `block`.
        unsafe {
            let shared = self.shared(j, |at| at.cast::<u32>().read_unaligned().into());
            for (r, table) in tables.iter().enumerate() {
                let codes = self.codes(r, j, shared, |at| at.cast::<u32>().read_unaligned().into());
                let codes = _mm512_castsi512_si256(codes);
                let first = _mm256_loadu_si256(table.as_ptr().cast());
                let levels = if TOPS + LOWS < LEVEL_BITS {
                    _mm256_permutexvar_epi8(codes, first)
                } else {
                    _mm256_permutex2var_epi8(
                        first,
                        codes,
                        _mm256_loadu_si256(table.as_ptr().add(HALF).cast()),
                    )
                };
                let at = r * self.view.codes.run + j;
                for (acc, plane) in acc.iter_mut().zip([high, low]) {
                    *acc =
                        _mm256_dpbusd_epi32(*acc, levels, _mm256_loadu_si256(plane.as_ptr().add(at).cast()));
                }
            }
        }
        for (to, acc) in self.acc.iter_mut().zip(acc) {
            *to = _mm512_inserti64x4::<0>(*to, acc);
        }
    }

    /// Dimensions j .. j + `count` of all runs.
    ///
    /// # Safety
    /// As `dots_of`, `count` is 1 to BLOCK and j + `count` at most `run`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn part(&mut self, j: usize, count: usize) {
        let DotsView { tables, high, low, .. } = self.view;
        let lanes = u64::MAX >> (BLOCK - count);
        // SAFETY: as in `block`; no more than `count` bits or values are read.
        unsafe {
            let shared = self.shared(j, |at| bits(at, count));
            for (r, table) in tables.iter().enumerate() {
                let codes = self.codes(r, j, shared, |at| bits(at, count));
                let levels = _mm512_permutexvar_epi8(codes, _mm512_loadu_si512(table.as_ptr().cast()));
                let at = r * self.view.codes.run + j;
                for (acc, plane) in self.acc.iter_mut().zip([high, low]) {
                    let values = _mm512_maskz_loadu_epi8(lanes, plane.as_ptr().add(at));
                    *acc = _mm512_dpbusd_epi32(*acc, levels, values);
                }
            }
        }
    }

    /// The low planes' part of the codes from dimension j of a run on; `word` reads so many bits as are wanted.
    ///
    /// # Safety
    /// As `dots_of`, and these bits are there.
    #[inline(always)]
    unsafe fn shared(&self, j: usize, word: impl Fn(*const u8) -> u64) -> __m512i {
        let Codes { low, run, .. } = self.view.codes;
        // SAFETY: bit j lies at p·run + j of the low planes, all multiples of 8 (DotsView, Checks 1 and 4).
        unsafe {
            let mut codes = _mm512_setzero_si512();
            for (p, &worth) in self.low_worth.iter().enumerate().take(self.lows) {
                let word = word(low.as_ptr().add((p * run + j) / 8));
                codes = _mm512_mask_add_epi8(codes, word, codes, worth);
            }
            codes
        }
    }

    /// The codes of run r from its dimension j on.
    ///
    /// # Safety
    /// As [`Planes::shared`].
    #[inline(always)]
    unsafe fn codes(&self, r: usize, j: usize, shared: __m512i, word: impl Fn(*const u8) -> u64) -> __m512i {
        let Codes { top, run, .. } = self.view.codes;
        let dims = run * self.view.tables.len();
        // SAFETY: bit j of run r lies at r·run + j of each top plane of `dims` bits, all multiples of 8 (DotsView,
        // Checks 1 and 4).
        unsafe {
            let mut codes = shared;
            for (p, &worth) in self.top_worth.iter().enumerate().take(self.tops) {
                let word = word(top.as_ptr().add((p * dims + r * run + j) / 8));
                codes = _mm512_mask_add_epi8(codes, word, codes, worth);
            }
            codes
        }
    }
}

/// `count` bits, a multiple of 8 up to 64.
///
/// # Safety
/// AVX-512BW and VL, and so many bits at `from`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn bits(from: *const u8, count: usize) -> u64 {
    // SAFETY: no more than `count / 8` bytes are read, by the caller's promise all there.
    unsafe {
        match count {
            64 => from.cast::<u64>().read_unaligned(),
            32 => from.cast::<u32>().read_unaligned().into(),
            _ => {
                let bytes = _mm_maskz_loadu_epi8((1 << (count / 8)) - 1, from.cast());
                _mm_cvtsi128_si64(bytes).cast_unsigned()
            }
        }
    }
}
