//! The reference twin.

use super::{View, lane};
use crate::simd::{GROUP, TILE};

/// As the kernels, one row after the other.
pub(crate) fn survivors<const BITS: usize, const NQ: usize>(view: View<'_>) -> [u64; TILE] {
    let mut masks = [0; TILE];
    let bytes = if BITS == 8 { 256 } else { 32 };
    for r in 0..GROUP {
        let mut sums = [0_i32; NQ];
        for (line, tables) in view.codes.chunks_exact(GROUP).zip(view.tables.chunks_exact(NQ * bytes)) {
            let code = usize::from(line[lane(r)]);
            for (sum, table) in sums.iter_mut().zip(tables.chunks_exact(bytes)) {
                *sum += match BITS {
                    8 => i32::from(table[code]),
                    _ => i32::from(table[code & 15]) + i32::from(table[16 + (code >> 4)]),
                };
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            let pass = match view.terms {
                None => sum <= view.whole[i],
                // Not `value <= limit`: a NaN survives.
                #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "a NaN survives")]
                Some(terms) => !(view.step[i].mul_add(sum as f32, terms[r]) > view.limit[i]),
            };
            masks[i] |= u64::from(pass) << r;
        }
    }
    masks
}
