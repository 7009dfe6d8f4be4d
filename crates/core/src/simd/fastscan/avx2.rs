//! AVX2: `vpshufb` looks up 32 rows in a table of 16 bytes, four bits of each at once.

use std::arch::x86_64::*;

use super::{QueryTerms, RowTerms, TRIPLE, View};
use crate::simd::{GROUP, TILE};

/// Queries whose sums stay in registers together.
const AT_ONCE: usize = 3;

/// # Safety
/// AVX2 and FMA, and a view made by `View::checked` for nibbles and NQ queries.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn survivors<const NQ: usize>(
    view: View<'_>,
    rows: RowTerms<'_>,
    terms: &QueryTerms,
    values: &mut [[f32; GROUP]; TILE],
) -> [u64; TILE] {
    let mut masks = [0; TILE];
    for half in 0..2 {
        let mut first = 0;
        while first < NQ {
            // SAFETY: the caller's features and view; `first` and the queries after it are below NQ.
            unsafe {
                let args = (view, rows, terms, half, first);
                match NQ - first {
                    1 => queries::<NQ, 1>(args, values, &mut masks),
                    2 => queries::<NQ, 2>(args, values, &mut masks),
                    _ => queries::<NQ, AT_ONCE>(args, values, &mut masks),
                }
            }
            first += AT_ONCE;
        }
    }
    masks
}

type Args<'a> = (View<'a>, RowTerms<'a>, &'a QueryTerms, usize, usize);

/// Half a group (bytes 32·half.. of each line) against N of the tile's NQ queries.
///
/// # Safety
/// As `survivors`; half < 2, first + N ≤ NQ.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn queries<const NQ: usize, const N: usize>(
    (view, rows, terms, half, first): Args<'_>,
    values: &mut [[f32; GROUP]; TILE],
    masks: &mut [u64; TILE],
) {
    let nibble = _mm256_set1_epi8(0x0f);
    // 16-bit sums: of byte pairs as one number, modulo 2¹⁶, and of odd bytes.
    let mut all = [_mm256_setzero_si256(); N];
    let mut odd = [_mm256_setzero_si256(); N];
    // SAFETY: the codes are `triples` triples of 3 × 64 bytes (View, Check 2), the tables 6 × 16 bytes for each of
    // NQ queries for each of them (Checks 1 and 3).
    unsafe {
        let (mut codes, mut tables) =
            (view.codes.as_ptr().add(32 * half), view.tables.as_ptr().add(96 * first));
        for _ in 0..view.triples {
            // Six look-ups of at most 31 fit a byte.
            let mut bytes = [_mm256_setzero_si256(); N];
            for line in 0..3 {
                let line_bytes = _mm256_loadu_si256(codes.add(GROUP * line).cast());
                let low = _mm256_and_si256(line_bytes, nibble);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(line_bytes), nibble);
                for (i, bytes) in bytes.iter_mut().enumerate() {
                    let table = tables.add(96 * i + 32 * line).cast::<__m128i>();
                    let of_low = _mm256_broadcastsi128_si256(_mm_loadu_si128(table));
                    let of_high = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.add(1)));
                    *bytes = _mm256_add_epi8(*bytes, _mm256_shuffle_epi8(of_low, low));
                    *bytes = _mm256_add_epi8(*bytes, _mm256_shuffle_epi8(of_high, high));
                }
            }
            for ((all, odd), bytes) in all.iter_mut().zip(&mut odd).zip(bytes) {
                *all = _mm256_add_epi16(*all, bytes);
                *odd = _mm256_add_epi16(*odd, _mm256_srli_epi16::<8>(bytes));
            }
            codes = codes.add(TRIPLE);
            tables = tables.add(96 * NQ);
        }
    }
    let low = _mm256_set1_epi32(0xffff);
    for i in 0..N {
        let q = first + i;
        let even = _mm256_sub_epi16(all[i], _mm256_slli_epi16::<8>(odd[i]));
        let alpha = _mm256_set1_ps(terms.alpha[q]);
        let beta = _mm256_set1_ps(terms.beta[q]);
        let limit = _mm256_set1_ps(terms.limit[q]);
        let sums = [
            _mm256_and_si256(even, low),
            _mm256_and_si256(odd[i], low),
            _mm256_srli_epi32::<16>(even),
            _mm256_srli_epi32::<16>(odd[i]),
        ];
        for (v, sums) in sums.into_iter().enumerate() {
            // Byte 4j + v of this half is row 16v + 8·half + j.
            let row = 16 * v + 8 * half;
            // SAFETY: each array has GROUP = 64 values, and row ≤ 56.
            let value = unsafe {
                let scale = _mm256_loadu_ps(rows.scale.as_ptr().add(row));
                let offset = _mm256_loadu_ps(rows.offset.as_ptr().add(row));
                let product = _mm256_fmadd_ps(alpha, _mm256_cvtepi32_ps(sums), beta);
                let value = _mm256_fmadd_ps(scale, product, offset);
                _mm256_storeu_ps(values[q].as_mut_ptr().add(row), value);
                value
            };
            let pass = _mm256_cmp_ps::<_CMP_NLT_UQ>(value, limit);
            masks[q] |= u64::from(_mm256_movemask_ps(pass).cast_unsigned()) << row;
        }
    }
}
