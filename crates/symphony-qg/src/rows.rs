//! The rows of the graph: a vertex's vector, and of each neighbour its code, two factors and its number, side by side.
//!
//! | part | bytes |
//! |---|---|
//! | vector, f32, zeros up to a whole cache line | 4·⌈d/16⌉·16 |
//! | for every 32 neighbours: codes ([`nibbles`]) of S bits | 4·S |
//! | … factors `scale`, `offset`, f32 | 2·128 |
//! | … vertices, u32 | 128 |
//!
//! Every part begins on a cache line, and so does every row. A place without a neighbour names the vertex itself, which
//! has been visited whenever it is looked at; its scale is 0.

use counterpoint_core::buffer::Buffer;
use counterpoint_core::simd::nibbles::{self, BLOCK, RowTerms};
use counterpoint_core::simd::prefetch_far;
use counterpoint_core::vectors::Matrix;

/// Bytes of 32 numbers.
const NUMBERS: usize = 4 * BLOCK;

/// How long a row is, and its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Values of a vector.
    pub(crate) dim: usize,
    /// Bits of a code.
    pub(crate) bits: usize,
    /// Neighbours of a vertex, a multiple of 32.
    pub(crate) degree: usize,
}

impl Layout {
    /// Values of a vector, padding included.
    #[inline(always)]
    pub(crate) fn stride(&self) -> usize {
        Matrix::<f32>::stride_for(self.dim)
    }

    #[inline(always)]
    fn code_bytes(&self) -> usize {
        nibbles::block_bytes(self.bits)
    }

    #[inline(always)]
    fn block_bytes(&self) -> usize {
        self.code_bytes() + 3 * NUMBERS
    }

    #[inline(always)]
    pub(crate) fn row_bytes(&self) -> usize {
        4 * self.stride() + self.degree / BLOCK * self.block_bytes()
    }

    /// The parts of a row.
    #[inline(always)]
    pub(crate) fn parts<'a>(&self, row: &'a [u8]) -> (&'a [f32], impl Iterator<Item = Block<'a>>) {
        let (vector, blocks) = row.split_at(4 * self.stride());
        let code_bytes = self.code_bytes();
        let blocks = blocks.chunks_exact(self.block_bytes()).map(move |block| {
            let (codes, numbers) = block.split_at(code_bytes);
            let [scale, offset, ids] = [0, 1, 2].map(|part| &numbers[part * NUMBERS..(part + 1) * NUMBERS]);
            Block { codes, scale: words(scale), offset: words(offset), ids: words(ids) }
        });
        (bytemuck::cast_slice(vector), blocks)
    }

    /// The parts of a row, to write to.
    pub(crate) fn parts_mut<'a>(
        &self,
        row: &'a mut [u8],
    ) -> (&'a mut [f32], impl Iterator<Item = BlockMut<'a>>) {
        let (vector, blocks) = row.split_at_mut(4 * self.stride());
        let code_bytes = self.code_bytes();
        let blocks = blocks.chunks_exact_mut(self.block_bytes()).map(move |block| {
            let (codes, numbers) = block.split_at_mut(code_bytes);
            let (scale, numbers) = numbers.split_at_mut(NUMBERS);
            let (offset, ids) = numbers.split_at_mut(NUMBERS);
            let [scale, offset] = [scale, offset].map(bytemuck::cast_slice_mut);
            BlockMut { codes, scale, offset, ids: bytemuck::cast_slice_mut(ids) }
        });
        (bytemuck::cast_slice_mut(vector), blocks)
    }
}

/// 32 numbers.
#[inline(always)]
fn words<T: bytemuck::Pod>(bytes: &[u8]) -> &[T; BLOCK] {
    let (blocks, _) = bytemuck::cast_slice::<u8, T>(bytes).as_chunks::<BLOCK>();
    &blocks[0]
}

/// 32 neighbours of a vertex.
pub(crate) struct Block<'a> {
    pub(crate) codes: &'a [u8],
    pub(crate) scale: &'a [f32; BLOCK],
    pub(crate) offset: &'a [f32; BLOCK],
    pub(crate) ids: &'a [u32; BLOCK],
}

impl<'a> Block<'a> {
    #[inline(always)]
    pub(crate) fn terms(&self) -> RowTerms<'a> {
        RowTerms { scale: self.scale, offset: self.offset }
    }
}

/// 32 neighbours of a vertex, to write to.
pub(crate) struct BlockMut<'a> {
    pub(crate) codes: &'a mut [u8],
    pub(crate) scale: &'a mut [f32],
    pub(crate) offset: &'a mut [f32],
    pub(crate) ids: &'a mut [u32],
}

/// Rows of one layout.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) layout: Layout,
    pub(crate) data: Buffer,
}

impl Rows {
    /// `rows` rows of zeros.
    pub(crate) fn zeroed(layout: Layout, rows: usize) -> Self {
        Self { layout, data: Buffer::zeroed(rows * layout.row_bytes()) }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.data.len() / self.layout.row_bytes()
    }

    #[inline(always)]
    pub(crate) fn row(&self, vertex: u32) -> &[u8] {
        let bytes = self.layout.row_bytes();
        &self.data.as_bytes()[vertex as usize * bytes..][..bytes]
    }

    pub(crate) fn row_mut(&mut self, vertex: u32) -> &mut [u8] {
        let bytes = self.layout.row_bytes();
        &mut self.data.as_mut_bytes()[vertex as usize * bytes..][..bytes]
    }

    /// The vector of a vertex, padded.
    #[inline(always)]
    pub(crate) fn vector(&self, vertex: u32) -> &[f32] {
        bytemuck::cast_slice(&self.row(vertex)[..4 * self.layout.stride()])
    }

    /// The neighbours of a vertex.
    pub(crate) fn neighbours(&self, vertex: u32) -> impl Iterator<Item = u32> {
        let (_, blocks) = self.layout.parts(self.row(vertex));
        blocks.flat_map(|block| *block.ids).filter(move |&id| id != vertex)
    }

    /// Asks for a vector.
    #[inline(always)]
    pub(crate) fn prefetch_vector(&self, vertex: u32) {
        prefetch_far(&self.row(vertex)[..4 * self.layout.stride()]);
    }

    /// Asks for a row.
    #[inline(always)]
    pub(crate) fn prefetch(&self, vertex: u32) {
        prefetch_far(self.row(vertex));
    }
}
