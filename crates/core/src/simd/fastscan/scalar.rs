//! The reference twin.

use super::{QueryTerms, RowTerms, TRIPLE, View, lane};
use crate::simd::{GROUP, TILE};

/// As the kernels, one row after the other.
pub(crate) fn survivors<const NQ: usize>(
    view: View<'_>,
    rows: RowTerms<'_>,
    terms: &QueryTerms,
    values: &mut [[f32; GROUP]; TILE],
) -> [u64; TILE] {
    let mut masks = [0; TILE];
    for r in 0..GROUP {
        let mut sums = [0_u32; NQ];
        let tables = view.tables.chunks_exact(NQ * 4 * 64);
        for (triple, tables) in view.codes.chunks_exact(TRIPLE).zip(tables) {
            let [a, b, c] = [0, 1, 2].map(|line| usize::from(triple[line * GROUP + lane(r)]));
            let fields = [a & 63, b & 63, c & 63, a >> 6 | (b >> 6) << 2 | (c >> 6) << 4];
            for (sum, tables) in sums.iter_mut().zip(tables.chunks_exact(4 * 64)) {
                for (table, index) in tables.chunks_exact(64).zip(fields) {
                    *sum += u32::from(table[index]);
                }
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            let product = terms.alpha[i].mul_add(sum as f32, terms.beta[i]);
            let value = rows.scale[r].mul_add(product, rows.offset[r]);
            values[i][r] = value;
            // Not `value >= limit`: a NaN survives.
            #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "a NaN survives")]
            let pass = !(value < terms.limit[i]);
            masks[i] |= u64::from(pass) << r;
        }
    }
    masks
}
