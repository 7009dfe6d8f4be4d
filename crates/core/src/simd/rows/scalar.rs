//! The reference twin.

use super::View;

#[inline(always)]
fn dot(codes: impl Iterator<Item = u8>, plane: &[i8]) -> i32 {
    codes.zip(plane).map(|(code, &q)| i32::from(code) * i32::from(q)).sum()
}

#[inline(always)]
pub(crate) fn dots<const BITS: usize>(view: View<'_>) -> [i32; 2] {
    let View { row, high, low } = view;
    [high, low].map(|plane| {
        if BITS == 8 {
            return dot(row.iter().copied(), plane);
        }
        let (first, second) = plane.split_at(row.len());
        dot(row.iter().map(|byte| byte & 15), first) + dot(row.iter().map(|byte| byte >> 4), second)
    })
}
