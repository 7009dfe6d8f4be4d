//! The rows of the graph: a vertex's vector, and of each neighbour its code, two factors and its number, side by side.
//!
//! | part | bytes |
//! |---|---|
//! | vector ([`crate::vector`]), up to a whole cache line | about 4·d, 2·d or d |
//! | for every 32 neighbours: codes ([`nibbles`]) of S bits | 4·S |
//! | … factors `scale`, `offset`, in 16 bits each ([`RowTerms`]) | 128 |
//! | … vertices, u32 | 128 |
//!
//! Every part begins on a cache line, and so does every row. A place without a neighbour names the vertex itself, which
//! has been visited whenever it is looked at; its scale is 0.

use counterpoint_core::buffer::Buffer;
use counterpoint_core::graph::adjacency::STEP;
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::nibbles::{self, BLOCK, RowTerms};
use counterpoint_core::simd::{Simd, prefetch_far};
use counterpoint_core::vectors::Matrix;

use crate::vector::Form;

/// Bytes of 32 numbers.
const NUMBERS: usize = 4 * BLOCK;
// Legal degrees are whole blocks.
const _: () = assert!(STEP.is_multiple_of(BLOCK));

/// How long a row is, and its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Vectors.
    pub(crate) form: Form,
    /// Bits of a code.
    pub(crate) bits: usize,
    /// Neighbours of a vertex, a multiple of 32.
    pub(crate) degree: usize,
}

impl Layout {
    /// Values of a query, padding included.
    #[inline(always)]
    pub(crate) fn stride(&self) -> usize {
        Matrix::<f32>::stride_for(self.form.dim)
    }

    #[inline(always)]
    fn code_bytes(&self) -> usize {
        nibbles::block_bytes(self.bits)
    }

    #[inline(always)]
    fn block_bytes(&self) -> usize {
        self.code_bytes() + 2 * NUMBERS
    }

    #[inline(always)]
    pub(crate) fn row_bytes(&self) -> usize {
        self.form.bytes() + self.degree / BLOCK * self.block_bytes()
    }

    /// The parts of a row.
    #[inline(always)]
    pub(crate) fn parts<'a>(&self, row: &'a [u8]) -> (&'a [u8], impl Iterator<Item = Block<'a>>) {
        let (vector, blocks) = row.split_at(self.form.bytes());
        let code_bytes = self.code_bytes();
        let blocks = blocks.chunks_exact(self.block_bytes()).map(move |block| {
            let (codes, numbers) = block.split_at(code_bytes);
            let (terms, ids) = numbers.split_at(NUMBERS);
            Block { codes, terms: words(terms), ids: words(ids) }
        });
        (vector, blocks)
    }

    /// The parts of a row, to write to.
    pub(crate) fn parts_mut<'a>(
        &self,
        row: &'a mut [u8],
    ) -> (&'a mut [u8], impl Iterator<Item = BlockMut<'a>>) {
        let (vector, blocks) = row.split_at_mut(self.form.bytes());
        let code_bytes = self.code_bytes();
        let blocks = blocks.chunks_exact_mut(self.block_bytes()).map(move |block| {
            let (codes, numbers) = block.split_at_mut(code_bytes);
            let (terms, ids) = numbers.split_at_mut(NUMBERS);
            BlockMut { codes, terms: bytemuck::cast_slice_mut(terms), ids: bytemuck::cast_slice_mut(ids) }
        });
        (vector, blocks)
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
    pub(crate) terms: &'a [RowTerms; BLOCK],
    pub(crate) ids: &'a [u32; BLOCK],
}

/// 32 neighbours of a vertex, to write to.
pub(crate) struct BlockMut<'a> {
    pub(crate) codes: &'a mut [u8],
    pub(crate) terms: &'a mut [RowTerms],
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

    /// The distance of a padded query to a vertex's vector as it is kept.
    #[inline(always)]
    pub(crate) fn distance<S: Simd>(&self, simd: S, metric: Metric, query: &[f32], vertex: u32) -> f32 {
        let form = &self.layout.form;
        form.distance(simd, metric, query, &self.row(vertex)[..form.bytes()])
    }

    /// Writes the first values of a vertex's vector to `out`, as many as there is room for.
    pub(crate) fn read(&self, vertex: u32, out: &mut [f32]) {
        let form = &self.layout.form;
        form.read(&self.row(vertex)[..form.bytes()], out);
    }

    /// Gives a vertex the vector of one of other rows of the same layout.
    pub(crate) fn copy_vector(&mut self, to: u32, other: &Self, from: u32) {
        let (form, bytes) = (self.layout.form, self.layout.form.bytes());
        form.copy(&mut self.row_mut(to)[..bytes], &other.row(from)[..bytes]);
    }

    /// The neighbours of a vertex.
    pub(crate) fn neighbours(&self, vertex: u32) -> impl Iterator<Item = u32> {
        let (_, blocks) = self.layout.parts(self.row(vertex));
        blocks.flat_map(|block| *block.ids).filter(move |&id| id != vertex)
    }

    /// Asks for a vector.
    #[inline(always)]
    pub(crate) fn prefetch_vector(&self, vertex: u32) {
        prefetch_far(&self.row(vertex)[..self.layout.form.bytes()]);
    }

    /// Asks for a row.
    #[inline(always)]
    pub(crate) fn prefetch(&self, vertex: u32) {
        prefetch_far(self.row(vertex));
    }
}
