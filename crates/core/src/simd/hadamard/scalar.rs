//! The reference twin: stage after stage, two a pass from strides of 16 on.

use super::View;

const LANES: usize = 16;

type Block = [f32; LANES];

pub(crate) fn transform(view: View<'_>) {
    let (blocks, _) = view.0.as_chunks_mut::<LANES>();
    for block in blocks.iter_mut() {
        *block = within::<8>(within::<4>(within::<2>(within::<1>(*block))));
    }
    let mut stride = 1;
    if !blocks.len().ilog2().is_multiple_of(2) {
        for [a, b] in blocks.as_chunks_mut::<2>().0 {
            (*a, *b) = butterfly(*a, *b);
        }
        stride = 2;
    }
    while stride < blocks.len() {
        for four in blocks.chunks_exact_mut(4 * stride) {
            let (low, high) = four.split_at_mut(2 * stride);
            let ((a, b), (c, d)) = (low.split_at_mut(stride), high.split_at_mut(stride));
            for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                let ((s, t), (u, v)) = (butterfly(*a, *b), butterfly(*c, *d));
                ((*a, *c), (*b, *d)) = (butterfly(s, u), butterfly(t, v));
            }
        }
        stride *= 4;
    }
}

/// The stage that pairs values `STRIDE` apart.
#[inline(always)]
fn within<const STRIDE: usize>(x: Block) -> Block {
    std::array::from_fn(|i| if i & STRIDE == 0 { x[i] + x[i ^ STRIDE] } else { x[i ^ STRIDE] - x[i] })
}

#[inline(always)]
fn butterfly(a: Block, b: Block) -> (Block, Block) {
    (std::array::from_fn(|i| a[i] + b[i]), std::array::from_fn(|i| a[i] - b[i]))
}
