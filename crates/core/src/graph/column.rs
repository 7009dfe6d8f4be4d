//! Vertices or rows, one after another, as a file holds them.

use crate::buffer::{Buffer, LINE};
use crate::file::{Contents, Dtype, FormatError, TensorView};

/// What fills the last line.
const PADDING: u32 = u32::MAX;

/// Whole numbers below 2³² − 1, or that itself.
#[derive(Clone, Debug, Default)]
pub struct Column {
    data: Buffer,
    len: usize,
}

impl Column {
    /// A copy of some numbers.
    pub fn new(values: &[u32]) -> Self {
        let mut column = Self::default();
        column.resize(values.len());
        column.as_mut_slice().copy_from_slice(values);
        column
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[u32] {
        &self.data.as_slice::<u32>()[..self.len]
    }

    /// The numbers, to write to.
    pub fn as_mut_slice(&mut self) -> &mut [u32] {
        &mut self.data.as_mut_slice::<u32>()[..self.len]
    }

    /// Sets the length; what is new is 2³² − 1.
    pub fn resize(&mut self, len: usize) {
        self.data.resize(4 * len);
        self.data.as_mut_slice::<u32>()[self.len.min(len)..].fill(PADDING);
        self.len = len;
    }

    /// Gives spare memory back.
    pub fn shrink_to_fit(&mut self) {
        self.data.shrink_to_fit();
    }

    /// The numbers as a file holds them, with what fills the last line.
    pub fn tensor(&self, name: &'static str) -> TensorView<'_> {
        let bytes = self.data.as_bytes();
        TensorView { name, dtype: Dtype::U32, shape: vec![bytes.len() / 4], bytes }
    }

    /// Takes `len` numbers out of a file.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn take(contents: &mut Contents, name: &str, len: usize) -> Result<Self, FormatError> {
        let padded = len.checked_next_multiple_of(LINE / 4).unwrap_or(usize::MAX);
        let data = contents.take(name, Dtype::U32, &[padded])?;
        if data.as_slice::<u32>()[len..].iter().any(|&value| value != PADDING) {
            return Err(FormatError::content(name, format!("{PADDING} after the last number"), "another"));
        }
        Ok(Self { data, len })
    }
}
