//! The residual codes: row after row without padding, apart from the primary ones, so that only the rows of candidates
//! are read, and none where they are dropped.

use counterpoint_core::buffer::Buffer;
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::simd::prefetch;
use counterpoint_core::simd::rows::{read_row, row_bytes, write_row};

use crate::groups::check_finite;

const LINE: usize = 64;
/// Rows whose squares fill a line.
const LINE_SQUARES: usize = LINE / size_of::<f32>();

/// Rows of residual codes.
#[derive(Clone)]
pub(crate) struct Residual {
    bits: Bits,
    dim: usize,
    /// Whether distances take ‖x̂'‖².
    squares: bool,
    rows: usize,
    codes: Buffer,
    /// f32, one a row: what stands for ‖x̂'‖² of both codes. Empty unless the metric is l2.
    square: Buffer,
}

/// Consecutive rows, to be written by one thread.
pub(crate) struct ResidualChunk<'a> {
    bits: Bits,
    bytes: usize,
    codes: &'a mut [u8],
    square: &'a mut [f32],
}

impl ResidualChunk<'_> {
    pub(crate) fn write(&mut self, r: usize, codes: &[u8], square: f32) {
        write_row(self.bits, &mut self.codes[r * self.bytes..(r + 1) * self.bytes], codes);
        if let Some(to) = self.square.get_mut(r) {
            *to = square;
        }
    }
}

impl Residual {
    /// No rows.
    pub(crate) fn new(bits: Bits, dim: usize, squares: bool) -> Self {
        Self { bits, dim, squares, rows: 0, codes: Buffer::new(), square: Buffer::new() }
    }

    pub(crate) fn bits(&self) -> Bits {
        self.bits
    }

    fn row_bytes(&self) -> usize {
        row_bytes(self.bits, self.dim)
    }

    /// Makes room for `rows` rows; new ones are zero.
    pub(crate) fn resize(&mut self, rows: usize) {
        // What shares the last line with the rows that stay must go, too.
        let (bytes, squares) = (rows * self.row_bytes(), rows);
        if rows < self.rows {
            self.codes.as_mut_bytes().iter_mut().skip(bytes).take(LINE).for_each(|byte| *byte = 0);
            let square = self.square.as_mut_slice::<f32>().iter_mut();
            square.skip(squares).take(LINE_SQUARES).for_each(|square| *square = 0.0);
        }
        self.rows = rows;
        self.codes.resize(bytes);
        if self.squares {
            self.square.resize(squares * size_of::<f32>());
        }
    }

    /// The rows in chunks of `rows` rows.
    pub(crate) fn chunks_mut(&mut self, rows: usize) -> impl Iterator<Item = ResidualChunk<'_>> + Send {
        let (bits, bytes) = (self.bits, self.row_bytes());
        let end = self.rows * bytes;
        let codes = self.codes.as_mut_bytes()[..end].chunks_mut((rows * bytes).max(1));
        let mut square = self.square.as_mut_slice::<f32>().chunks_mut(rows);
        codes.map(move |codes| ResidualChunk {
            bits,
            bytes,
            codes,
            square: square.next().unwrap_or_default(),
        })
    }

    /// The codes of a row as the kernel reads them.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        let bytes = self.row_bytes();
        &self.codes.as_bytes()[row * bytes..(row + 1) * bytes]
    }

    /// What stands for ‖x̂'‖² of both codes; 0 unless the metric is l2.
    #[inline(always)]
    pub(crate) fn square(&self, row: usize) -> f32 {
        self.square.as_slice().get(row).copied().unwrap_or(0.0)
    }

    /// Asks for a row, to be scored soon.
    #[inline(always)]
    pub(crate) fn prefetch(&self, row: usize) {
        prefetch(self.row(row));
        if let Some(square) = self.square.as_bytes().get(row * size_of::<f32>()..) {
            prefetch(square.get(..1).unwrap_or_default());
        }
    }

    /// Reads the codes of a row, one a byte.
    pub(crate) fn read(&self, row: usize, codes: &mut [u8]) {
        read_row(self.bits, self.row(row), codes);
    }

    /// Copies row `from` of `other` over row `to`.
    pub(crate) fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        let bytes = self.row_bytes();
        self.codes.as_mut_bytes()[to * bytes..(to + 1) * bytes].copy_from_slice(other.row(from));
        if let Some(square) = self.square.as_mut_slice().get_mut(to) {
            *square = other.square(from);
        }
    }

    /// Removes a row, moving the last row into its place.
    pub(crate) fn swap_remove(&mut self, row: usize) {
        let (bytes, last) = (self.row_bytes(), self.rows - 1);
        self.codes.as_mut_bytes().copy_within(last * bytes..(last + 1) * bytes, row * bytes);
        let square = self.square(last);
        if let Some(to) = self.square.as_mut_slice().get_mut(row) {
            *to = square;
        }
        self.resize(last);
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.codes.shrink_to_fit();
        self.square.shrink_to_fit();
    }

    pub(crate) fn tensors(&self) -> Vec<TensorView<'_>> {
        let (codes, square) = (self.codes.as_bytes(), self.square.as_bytes());
        let view = |name, dtype, len, bytes| TensorView { name, dtype, shape: vec![len], bytes };
        let mut tensors = vec![view("residual", Dtype::U8, codes.len(), codes)];
        if self.squares {
            tensors.push(view("residual_square", Dtype::F32, square.len() / size_of::<f32>(), square));
        }
        tensors
    }

    /// Takes `rows` rows out of a file, into an empty store.
    pub(crate) fn take(mut self, contents: &mut Contents, rows: usize) -> Result<Self, FormatError> {
        self.rows = rows;
        let bytes = rows.saturating_mul(self.row_bytes()).next_multiple_of(LINE);
        self.codes = contents.take("residual", Dtype::U8, &[bytes])?;
        if self.squares {
            let shape = [rows.next_multiple_of(LINE_SQUARES)];
            self.square = contents.take("residual_square", Dtype::F32, &shape)?;
        }
        Ok(self)
    }

    /// Checks the constants. (Any codes are sound, and are not looked at.)
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        check_finite("residual_square", &self.square)
    }
}
