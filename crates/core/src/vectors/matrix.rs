//! Aligned, padded, row-major storage.

use bytemuck::Pod;
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::buffer::Buffer;
use crate::file::{Contents, Dtype, FormatError, TensorView};
use crate::threads::Control;

use super::RowSource;

/// What a matrix may hold.
pub trait Element: Pod {
    /// How a file names it.
    const DTYPE: Dtype;
    /// Whether a prepared row may have this value.
    fn is_legal(self) -> bool;
}

impl Element for u8 {
    const DTYPE: Dtype = Dtype::U8;
    fn is_legal(self) -> bool {
        true
    }
}

impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;
    fn is_legal(self) -> bool {
        self.abs() <= super::MAX_MAGNITUDE
    }
}

impl Element for f16 {
    const DTYPE: Dtype = Dtype::F16;
    fn is_legal(self) -> bool {
        self.is_finite()
    }
}

/// Rows of `dim` values of `T`, each starting on a cache line; the padding between is zero.
#[derive(Clone)]
pub struct Matrix<T> {
    data: Buffer,
    rows: usize,
    dim: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Element> Matrix<T> {
    /// Values from the start of one row to the start of the next.
    pub fn stride_for(dim: usize) -> usize {
        let line = 64 / size_of::<T>();
        dim.div_ceil(line) * line
    }

    /// `rows` rows of zeros.
    pub fn zeroed(rows: usize, dim: usize) -> Self {
        let data = Buffer::zeroed(rows * Self::stride_for(dim) * size_of::<T>());
        Self { data, rows, dim, element: std::marker::PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row, without padding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Values from the start of one row to the start of the next.
    pub fn stride(&self) -> usize {
        Self::stride_for(self.dim)
    }

    /// Row `row` with its padding: `stride` values.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn padded(&self, row: usize) -> &[T] {
        let stride = self.stride();
        &self.data.as_slice::<T>()[row * stride..(row + 1) * stride]
    }

    /// Row `row`: `dim` values.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &[T] {
        &self.padded(row)[..self.dim]
    }

    /// Row `row` to write to: `dim` values.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        let (stride, dim) = (self.stride(), self.dim);
        &mut self.data.as_mut_slice::<T>()[row * stride..row * stride + dim]
    }

    /// All values, row after row with padding.
    pub fn values(&self) -> &[T] {
        &self.data.as_slice::<T>()[..self.rows * self.stride()]
    }

    /// All values, row after row with padding, to fill in parallel in chunks of whole strides.
    pub fn values_mut(&mut self) -> &mut [T] {
        let end = self.rows * self.stride();
        &mut self.data.as_mut_slice::<T>()[..end]
    }

    /// The bytes of the rows, with padding: what a file holds.
    pub fn as_bytes(&self) -> &[u8] {
        &self.data.as_bytes()[..self.rows * self.stride() * size_of::<T>()]
    }

    /// Adds `more` rows of zeros.
    pub fn grow(&mut self, more: usize) {
        self.rows += more;
        self.data.resize(self.rows * self.stride() * size_of::<T>());
    }

    /// Copies row `from` of `other` over row `to`.
    ///
    /// # Panics
    /// If there is no such row, or the dimensions differ.
    pub fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        self.row_mut(to).copy_from_slice(other.row(from));
    }

    /// Removes row `row`, moving the last row into its place.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn swap_remove(&mut self, row: usize) {
        let (stride, last) = (self.stride(), self.rows - 1);
        assert!(row <= last, "no row {row} to remove");
        self.data.as_mut_slice::<T>().copy_within(last * stride..(last + 1) * stride, row * stride);
        self.rows = last;
        self.data.resize(last * stride * size_of::<T>());
    }

    /// Gives spare capacity back.
    pub fn shrink_to_fit(&mut self) {
        self.data.shrink_to_fit();
    }

    /// Whether the rows lie in a mapped file.
    pub fn is_mapped(&self) -> bool {
        self.data.is_mapped()
    }

    /// The rows as a file's tensor, of shape (rows, stride).
    pub fn tensor(&self, name: &'static str) -> TensorView<'_> {
        TensorView { name, dtype: T::DTYPE, shape: vec![self.rows, self.stride()], bytes: self.as_bytes() }
    }

    /// Takes `rows` rows of `dim` values out of a file. Their values are not looked at.
    ///
    /// # Errors
    /// [`FormatError`] if the tensor is missing or of another shape or type.
    pub fn take(contents: &mut Contents, name: &str, rows: usize, dim: usize) -> Result<Self, FormatError> {
        let data = contents.take(name, T::DTYPE, &[rows, Self::stride_for(dim)])?;
        Ok(Self { data, rows, dim, element: std::marker::PhantomData })
    }

    /// Checks that every value, padding included, is one a row may have.
    ///
    /// # Errors
    /// [`FormatError`] naming the tensor.
    pub fn check_values(&self, name: &'static str, control: &Control) -> Result<(), FormatError> {
        let values = self.values();
        // Without early exit, so that it runs at the speed of memory.
        let legal = |part: &[T]| part.iter().fold(true, |legal, v| legal & v.is_legal());
        for part in values.chunks(1 << 20) {
            control.check()?;
            if !part.chunks(4096).all(legal) {
                return Err(FormatError::content(name, "finite values of legal magnitude", "another"));
            }
        }
        Ok(())
    }
}

impl RowSource for Matrix<f32> {
    fn len(&self) -> usize {
        self.rows
    }
    fn dim(&self) -> usize {
        self.dim
    }
    fn read(&self, row: usize, out: &mut [f32]) {
        out.copy_from_slice(self.row(row));
    }
    fn prefetch(&self, row: usize) {
        crate::simd::prefetch(bytemuck::cast_slice(self.padded(row)));
    }
}

impl RowSource for Matrix<f16> {
    fn len(&self) -> usize {
        self.rows
    }
    fn dim(&self) -> usize {
        self.dim
    }
    fn read(&self, row: usize, out: &mut [f32]) {
        self.row(row).convert_to_f32_slice(out);
    }
    fn prefetch(&self, row: usize) {
        crate::simd::prefetch(bytemuck::cast_slice(self.padded(row)));
    }
}
