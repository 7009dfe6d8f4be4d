//! The reference twin.

use super::{LINE, View};

#[inline(always)]
pub(crate) fn dots<const BITS: usize>(view: View<'_>, sums: &mut [[i32; 2]]) {
    for (&id, sums) in view.ids.iter().zip(sums) {
        let row = &view.bytes[id as usize * view.row_bytes..][..view.row_bytes];
        *sums = [view.high, view.low].map(|plane| {
            let lines = row.chunks_exact(LINE).zip(plane.chunks_exact(LINE * 8 / BITS));
            let sum = |line: &[u8], plane: &[i8]| -> i32 {
                if BITS == 8 {
                    return line.iter().zip(plane).map(|(&c, &q)| i32::from(c) * i32::from(q)).sum();
                }
                let (first, second) = plane.split_at(LINE);
                let pairs = line.iter().zip(first).zip(second);
                pairs
                    .map(|((&c, &a), &b)| i32::from(c & 15) * i32::from(a) + i32::from(c >> 4) * i32::from(b))
                    .sum()
            };
            lines.map(|(line, plane)| sum(line, plane)).sum()
        });
    }
}
