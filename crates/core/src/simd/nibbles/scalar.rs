//! The reference twin.

use super::{BLOCK, Residual, ResidualView, Terms, View, lane};

/// As the kernels, one row after the other.
pub(crate) fn below(view: View<'_>, terms: Terms, values: &mut [f32; BLOCK]) -> u32 {
    let mut mask = 0;
    for (r, value) in values.iter_mut().enumerate() {
        let (at, shift) = (lane(r % 16), r / 16 * 4);
        let tables = view.codes.as_chunks::<16>().0.iter().zip(view.tables.as_chunks::<16>().0);
        let sum: u32 =
            tables.map(|(codes, table)| u32::from(table[usize::from(codes[at] >> shift & 15)])).sum();
        let product = terms.alpha.mul_add(sum as f32, terms.beta);
        let row = view.rows[r].scale().mul_add(product, view.rows[r].offset());
        *value = terms.unit.mul_add(row, terms.base);
        mask |= u32::from(*value < terms.bound) << r;
    }
    mask
}

/// Sums in sixteen lanes, as the widest kernel has them.
pub(crate) fn residual(view: ResidualView<'_>) -> Residual {
    let ResidualView { from, to, bits } = view;
    let mut lanes = [[0.0_f32; 3]; 16];
    let chunks = from.as_chunks::<16>().0.iter().zip(to.as_chunks::<16>().0);
    for ((from, to), bits) in chunks.zip(bits.as_chunks_mut::<2>().0) {
        let mut set = 0_u16;
        for (l, (&from, &to)) in from.iter().zip(to).enumerate() {
            let r = to - from;
            let [square, absolute, along] = &mut lanes[l];
            *square += r * r;
            *absolute += r.abs();
            *along += if r > 0.0 { from } else { -from };
            set |= u16::from(r > 0.0) << l;
        }
        *bits = set.to_le_bytes();
    }
    let sum = |part: usize| lanes.iter().map(|lane| lane[part]).sum();
    Residual { square: sum(0), absolute: sum(1), along: sum(2) }
}
