//! The reference twin.

use super::{Sums, View};
use crate::simd::GROUP;

pub(crate) fn add<const NQ: usize>(view: View<'_>, sums: &mut Sums) {
    let (columns, _) = view.panel.as_chunks::<GROUP>();
    for (i, sums) in sums.iter_mut().enumerate().take(NQ) {
        let vector = &view.vectors.values[i * view.vectors.stride..][..view.vectors.depth];
        for (&value, column) in vector.iter().zip(columns) {
            for (sum, &x) in sums.iter_mut().zip(column) {
                *sum += value * x;
            }
        }
    }
}
