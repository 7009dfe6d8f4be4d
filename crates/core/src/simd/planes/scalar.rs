//! The reference twin.

use super::{Codes, DotsView, ExpandView, SumView};

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
    let Codes { top, tops, low, lows, run } = view.codes;
    let dims = run * view.tables.len();
    let bit = |bits: &[u8], j: usize| bits[j / 8] >> (j % 8) & 1;
    let mut sums = [0; 2];
    for j in 0..dims {
        let code = (0..tops).fold(0, |code, p| 2 * code + bit(top, p * dims + j));
        let code = (0..lows).fold(code, |code, p| 2 * code + bit(low, p * run + j % run));
        let level = i32::from(view.tables[j / run][usize::from(code)]);
        sums[0] += level * i32::from(view.high[j]);
        sums[1] += level * i32::from(view.low[j]);
    }
    sums
}
