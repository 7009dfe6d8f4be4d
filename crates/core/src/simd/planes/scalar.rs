//! The reference twin.

use super::{DotsView, ExpandView, LEVELS, SumView};

pub(crate) fn sum(view: SumView<'_>) -> i32 {
    let (mut total, mut rest) = (0, view.planes);
    for (p, &span) in view.spans.iter().enumerate() {
        let (plane, after) = rest.split_at(span / 8);
        rest = after;
        let mut sum = 0;
        for (byte, weights) in plane.iter().zip(view.weights.as_chunks::<8>().0) {
            for (k, &weight) in weights.iter().enumerate() {
                sum += i32::from(weight) * i32::from(byte >> k & 1);
            }
        }
        total += sum << (view.spans.len() - 1 - p);
    }
    total
}

pub(crate) fn expand(view: ExpandView<'_>) {
    for (codes, byte) in view.codes.chunks_mut(8).zip(view.bits) {
        for (k, code) in codes.iter_mut().enumerate() {
            *code |= (byte >> k & 1) * view.value;
        }
    }
}

pub(crate) fn dots(view: DotsView<'_>) -> [i32; 2] {
    let mut sums = [0; 2];
    for ((&code, &high), &low) in view.codes.iter().zip(view.high).zip(view.low) {
        let level = i32::from(view.table[usize::from(code) % LEVELS]);
        sums[0] += level * i32::from(high);
        sums[1] += level * i32::from(low);
    }
    sums
}
