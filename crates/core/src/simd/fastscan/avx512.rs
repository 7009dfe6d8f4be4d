//! AVX-512 VBMI: `vpermb` looks up 64 rows in a table of 64 bytes, six bits of each at once.

use std::arch::x86_64::*;

use super::{QueryTerms, RowTerms, TRIPLE, View};
use crate::simd::{GROUP, TILE};

/// Triples whose look-ups a byte holds: 8 × 31 = 248.
const FLUSH: usize = 2;

/// # Safety
/// AVX-512F, BW and VBMI, and a view made by `View::checked` for fields and NQ queries.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(crate) unsafe fn survivors<const NQ: usize>(
    view: View<'_>,
    rows: RowTerms<'_>,
    terms: &QueryTerms,
    values: &mut [[f32; GROUP]; TILE],
) -> [u64; TILE] {
    let two = _mm512_set1_epi8(0x03);
    let four = _mm512_set1_epi8(0x0f);
    // 16-bit sums: of byte pairs as one number, modulo 2¹⁶, and of odd bytes.
    let mut all = [_mm512_setzero_si512(); NQ];
    let mut odd = [_mm512_setzero_si512(); NQ];
    // SAFETY: the codes are `triples` triples of 3 × 64 bytes (View, Check 2), the tables 4 × 64 bytes for each of
    // NQ queries for each of them (Checks 1 and 3).
    unsafe {
        let (mut codes, mut tables) = (view.codes.as_ptr(), view.tables.as_ptr());
        let mut left = view.triples;
        while left > 0 {
            let triples = left.min(FLUSH);
            let mut bytes = [_mm512_setzero_si512(); NQ];
            for _ in 0..triples {
                let lines = codes.cast::<__m512i>();
                let a = _mm512_loadu_si512(lines);
                let b = _mm512_loadu_si512(lines.add(1));
                let c = _mm512_loadu_si512(lines.add(2));
                // Bits 0-1 from a, 2-3 from b, 4-5 from c; `vpermb` looks at no others. 0xca: first ? second : third.
                let ab = _mm512_ternarylogic_epi32::<0xca>(
                    two,
                    _mm512_srli_epi16::<6>(a),
                    _mm512_srli_epi16::<4>(b),
                );
                let rest = _mm512_ternarylogic_epi32::<0xca>(four, ab, _mm512_srli_epi16::<2>(c));
                for (i, bytes) in bytes.iter_mut().enumerate() {
                    let table = tables.add(256 * i).cast::<__m512i>();
                    for (f, index) in [a, b, c, rest].into_iter().enumerate() {
                        let found = _mm512_permutexvar_epi8(index, _mm512_loadu_si512(table.add(f)));
                        *bytes = _mm512_add_epi8(*bytes, found);
                    }
                }
                codes = codes.add(TRIPLE);
                tables = tables.add(256 * NQ);
            }
            for ((all, odd), bytes) in all.iter_mut().zip(&mut odd).zip(bytes) {
                *all = _mm512_add_epi16(*all, bytes);
                *odd = _mm512_add_epi16(*odd, _mm512_srli_epi16::<8>(bytes));
            }
            left -= triples;
        }
    }
    let mut masks = [0; TILE];
    let low = _mm512_set1_epi32(0xffff);
    for i in 0..NQ {
        let even = _mm512_sub_epi16(all[i], _mm512_slli_epi16::<8>(odd[i]));
        let alpha = _mm512_set1_ps(terms.alpha[i]);
        let beta = _mm512_set1_ps(terms.beta[i]);
        let limit = _mm512_set1_ps(terms.limit[i]);
        let sums = [
            _mm512_and_si512(even, low),
            _mm512_and_si512(odd[i], low),
            _mm512_srli_epi32::<16>(even),
            _mm512_srli_epi32::<16>(odd[i]),
        ];
        let mut found = [_mm512_setzero_ps(); 4];
        let mut mask = 0;
        for (v, sums) in sums.into_iter().enumerate() {
            // SAFETY: each array has GROUP = 4 × 16 values.
            let (scale, offset) = unsafe {
                (
                    _mm512_loadu_ps(rows.scale.as_ptr().add(16 * v)),
                    _mm512_loadu_ps(rows.offset.as_ptr().add(16 * v)),
                )
            };
            let product = _mm512_fmadd_ps(alpha, _mm512_cvtepi32_ps(sums), beta);
            found[v] = _mm512_fmadd_ps(scale, product, offset);
            let pass = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(found[v], limit);
            mask |= u64::from(_cvtmask16_u32(pass)) << (16 * v);
        }
        if mask != 0 {
            for (v, found) in found.into_iter().enumerate() {
                // SAFETY: the array has GROUP = 4 × 16 values.
                unsafe { _mm512_storeu_ps(values[i].as_mut_ptr().add(16 * v), found) };
            }
        }
        masks[i] = mask;
    }
    masks
}
