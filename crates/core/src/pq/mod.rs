//! Product quantisation (H. Jégou, M. Douze, C. Schmid, "Product quantization for nearest neighbor search", PAMI 2011).
//!
//! A vector of d values is cut into M *subspaces* of ⌈d/M⌉ or ⌊d/M⌋ consecutive values, the longer ones first. Each has a
//! codebook of K = 16 or 256 *centroids*, learned by k-means ([`crate::cluster::KMeans`], under l2) from the sub-vectors of
//! a sample; a vector's *code* is, for each subspace, the number of the centroid nearest to its sub-vector (of equally near
//! ones the lowest), and is decoded as those centroids in a row.
//!
//! **Tables.** Inner products and squared distances are sums over subspaces: with T\[m\]\[k\] = ⟨qₘ, cₘₖ⟩ (or ‖qₘ − cₘₖ‖²),
//! M·K numbers made once for a query q, what a code stands for is Σₘ T\[m\]\[code\[m\]\] from it.
//!
//! **Fewer rows than centroids.** Where the sample has fewer distinct sub-vectors than K, each of them becomes a centroid
//! and the places left repeat the first, which is never coded as they are.
//!
//! **Layout.** Codebooks are one matrix of d rows of K values: row j holds value j of all centroids of the subspace that
//! value j belongs to. So K distances are computed side by side, in plain arithmetic in the order of the values: codes and
//! tables are the same on every level and for any number of threads.
//!
//! ```
//! use counterpoint_core::pq::Training;
//! use counterpoint_core::simd::int8::Bits;
//! use counterpoint_core::threads::Control;
//! use counterpoint_core::vectors::Matrix;
//!
//! let mut rows = Matrix::zeroed(4, 3);
//! for (row, values) in [[0.0, 1.0, 9.0], [0.0, 2.0, 9.0], [5.0, 1.0, 7.0], [5.0, 2.0, 7.0]].iter().enumerate() {
//!     rows.row_mut(row).copy_from_slice(values);
//! }
//! let control = Control::default();
//! let quantizer = Training::new(2, Bits::Four).fit(&rows, &control)?;
//! let codes = quantizer.encode_all(&rows, &control)?;
//! let mut decoded = [0.0; 3];
//! quantizer.decode(&codes[2 * 3..][..2], &mut decoded);
//! assert_eq!(decoded, [5.0, 2.0, 7.0]); // four distinct rows have a centroid each
//! # Ok::<(), counterpoint_core::threads::Cancelled>(())
//! ```

mod train;

#[cfg(test)]
mod tests;

pub use train::Training;

use std::ops::Range;

use crate::file::{Contents, FormatError, TensorView};
use crate::simd::int8::Bits;
use crate::simd::{Simd, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::{Matrix, RowSource};

/// Rows of one item of parallel work.
const PART: usize = 256;
/// Numbers that are compared side by side.
const LANES: usize = 16;
/// Of 256 centroids, so many are looked at side by side.
const WIDE: usize = 64;

/// How many centroids codes of so many bits tell apart.
pub fn centroids(bits: Bits) -> usize {
    usize::from(bits.max_code()) + 1
}

/// Codebooks of centroids, one for each subspace.
#[derive(Clone)]
pub struct ProductQuantizer {
    bits: Bits,
    subspaces: usize,
    /// d rows of K values.
    codebooks: Matrix<f32>,
}

impl ProductQuantizer {
    /// The width of a code.
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// Values of a vector, d.
    pub fn dim(&self) -> usize {
        self.codebooks.rows()
    }

    /// Number of subspaces, M.
    pub fn subspaces(&self) -> usize {
        self.subspaces
    }

    /// Centroids of a subspace, K.
    pub fn centroids(&self) -> usize {
        self.codebooks.dim()
    }

    /// The values that make subspace `m`.
    pub fn span(&self, m: usize) -> Range<usize> {
        span(self.dim(), self.subspaces, m)
    }

    /// Writes the code of a vector, one byte a subspace.
    ///
    /// # Panics
    /// If there are not [`ProductQuantizer::dim`] values and [`ProductQuantizer::subspaces`] codes.
    #[inline(always)]
    pub fn encode<S: Simd>(&self, _: S, vector: &[f32], codes: &mut [u8]) {
        assert!(
            vector.len() == self.dim() && codes.len() == self.subspaces,
            "a vector or code of another length"
        );
        for (m, code) in codes.iter_mut().enumerate() {
            let span = self.span(m);
            let codebook = self.codebook(&span);
            *code = match self.bits {
                Bits::Four => nearest::<16>(codebook, &vector[span]),
                Bits::Eight => nearest::<WIDE>(codebook, &vector[span]),
            };
        }
    }

    /// The codes of many vectors, one byte a subspace, vector after vector.
    ///
    /// # Errors
    /// [`Cancelled`].
    ///
    /// # Panics
    /// If they are of another dimension.
    pub fn encode_all(&self, rows: &Matrix<f32>, control: &Control) -> Result<Vec<u8>, Cancelled> {
        assert_eq!(rows.dim(), self.dim(), "vectors of another dimension");
        let mut codes = vec![0; rows.rows() * self.subspaces];
        let parts = codes.chunks_mut(PART * self.subspaces).enumerate();
        control.for_each(parts, |(part, codes)| {
            run(control.level(), Encode { quantizer: self, rows, first: part * PART, codes });
            control.advance(codes.len() / self.subspaces);
            Ok::<_, Cancelled>(())
        })?;
        Ok(codes)
    }

    /// Writes what a code stands for; a code beyond the codebook stands for its last centroid.
    ///
    /// # Panics
    /// If there are not [`ProductQuantizer::dim`] values and [`ProductQuantizer::subspaces`] codes.
    pub fn decode(&self, codes: &[u8], out: &mut [f32]) {
        assert!(
            out.len() == self.dim() && codes.len() == self.subspaces,
            "a vector or code of another length"
        );
        for (m, &code) in codes.iter().enumerate() {
            let code = usize::from(code).min(self.centroids() - 1);
            for j in self.span(m) {
                out[j] = self.codebooks.padded(j)[code];
            }
        }
    }

    /// ⟨qₘ, cₘₖ⟩ for every centroid: K numbers for each subspace, M·K in all.
    ///
    /// # Panics
    /// If the query is of another dimension.
    #[inline(always)]
    pub fn inner_products<S: Simd>(&self, _: S, query: &[f32], tables: &mut Vec<f32>) {
        self.tables(query, tables, |sum, value, centroid| sum + value * centroid);
    }

    /// ‖qₘ − cₘₖ‖² for every centroid: K numbers for each subspace, M·K in all.
    ///
    /// # Panics
    /// If the query is of another dimension.
    #[inline(always)]
    pub fn squared_distances<S: Simd>(&self, _: S, query: &[f32], tables: &mut Vec<f32>) {
        self.tables(query, tables, |sum, value, centroid| {
            let off = value - centroid;
            sum + off * off
        });
    }

    #[inline(always)]
    fn tables(&self, query: &[f32], tables: &mut Vec<f32>, add: impl Fn(f32, f32, f32) -> f32) {
        assert_eq!(query.len(), self.dim(), "a query of another dimension");
        tables.resize(self.subspaces * self.centroids(), 0.0);
        for m in 0..self.subspaces {
            let span = self.span(m);
            let (codebook, values) = (self.codebook(&span), &query[span]);
            match self.bits {
                Bits::Four => table::<16>(codebook, values, &mut tables[m * 16..][..16], &add),
                Bits::Eight => {
                    for part in 0..256 / WIDE {
                        let to = &mut tables[m * 256 + part * WIDE..][..WIDE];
                        table::<WIDE>(&codebook[part * WIDE..], values, to, &add);
                    }
                }
            }
        }
    }

    /// The part of the codebooks that is a subspace's: K values for each of its own.
    #[inline(always)]
    fn codebook(&self, span: &Range<usize>) -> &[f32] {
        let stride = self.codebooks.stride(); // 16 or 256: without padding
        &self.codebooks.values()[span.start * stride..span.end * stride]
    }

    /// The mean of ‖x − x̂‖² over vectors and what their codes stand for.
    ///
    /// # Errors
    /// [`Cancelled`].
    ///
    /// # Panics
    /// If they are of another dimension.
    pub fn distortion(&self, rows: &dyn RowSource, control: &Control) -> Result<f64, Cancelled> {
        let parts = control.map((0..rows.len()).step_by(PART), |first| {
            let rows = (first..rows.len().min(first + PART), rows);
            Ok::<_, Cancelled>(run(control.level(), Distortion { quantizer: self, rows }))
        })?;
        Ok(parts.into_iter().sum::<f64>() / rows.len().max(1) as f64)
    }

    /// The codebooks as a file's tensor, of shape (d, K).
    pub fn tensor(&self, name: &'static str) -> TensorView<'_> {
        self.codebooks.tensor(name)
    }

    /// Takes codebooks out of a file. Their values are not looked at.
    ///
    /// # Errors
    /// [`FormatError`] if the tensor is missing or of another shape or type, or there are no subspaces, or more than
    /// values.
    pub fn take(
        contents: &mut Contents,
        name: &str,
        dim: usize,
        subspaces: usize,
        bits: Bits,
    ) -> Result<Self, FormatError> {
        if subspaces == 0 || subspaces > dim {
            return Err(FormatError::content("subspaces", format!("1 to {dim}"), subspaces));
        }
        Ok(Self { bits, subspaces, codebooks: Matrix::take(contents, name, dim, centroids(bits))? })
    }

    /// Checks that every value is one a vector may have.
    ///
    /// # Errors
    /// [`FormatError`] naming the tensor.
    pub fn check(&self, name: &'static str, control: &Control) -> Result<(), FormatError> {
        self.codebooks.check_values(name, control)
    }
}

/// The values of `dim` that make subspace `m` of `subspaces`.
#[inline(always)]
fn span(dim: usize, subspaces: usize, m: usize) -> Range<usize> {
    let (short, longer) = (dim / subspaces, dim % subspaces);
    let start = m * short + m.min(longer);
    start..start + short + usize::from(m < longer)
}

/// What `values` add up to with each of N centroids, of which each value's begin `centroids` further on.
#[inline(always)]
fn table<const N: usize>(
    codebook: &[f32],
    values: &[f32],
    to: &mut [f32],
    add: &impl Fn(f32, f32, f32) -> f32,
) {
    let stride = if N == 16 { 16 } else { 256 };
    let mut sums = [0.0_f32; N];
    for (j, &value) in values.iter().enumerate() {
        let column = &codebook[j * stride..][..N];
        for l in 0..N {
            sums[l] = add(sums[l], value, column[l]);
        }
    }
    to.copy_from_slice(&sums);
}

/// The nearest of the centroids to `values`, the first of equals; they are looked at N at a time, of 16 or 256.
#[inline(always)]
fn nearest<const N: usize>(codebook: &[f32], values: &[f32]) -> u8 {
    let parts = if N == 16 { 1 } else { 256 / N };
    let mut least = [f32::INFINITY; LANES];
    let mut at = [0_u32; LANES];
    for part in 0..parts {
        let mut sums = [0.0_f32; N];
        table::<N>(
            &codebook[(part * N).min(codebook.len())..],
            values,
            &mut sums,
            &|sum, value, centroid| {
                let off = value - centroid;
                sum + off * off
            },
        );
        for w in 0..N / LANES {
            let number = (part * N + w * LANES) as u32;
            for l in 0..LANES {
                let sum = sums[w * LANES + l];
                let less = sum < least[l];
                least[l] = if less { sum } else { least[l] };
                at[l] = if less { number } else { at[l] };
            }
        }
    }
    let (mut best, mut nearest) = (f32::INFINITY, u32::MAX);
    for l in 0..LANES {
        let number = at[l] + l as u32;
        if least[l] < best || (least[l] == best && number < nearest) {
            (best, nearest) = (least[l], number);
        }
    }
    nearest as u8
}

/// Encodes a few vectors.
struct Encode<'a> {
    quantizer: &'a ProductQuantizer,
    rows: &'a Matrix<f32>,
    first: usize,
    codes: &'a mut [u8],
}

impl Work for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { quantizer, rows, first, codes } = self;
        for (row, codes) in (first..).zip(codes.chunks_exact_mut(quantizer.subspaces)) {
            quantizer.encode(simd, rows.row(row), codes);
        }
    }
}

/// Σ‖x − x̂‖² of a few vectors.
struct Distortion<'a> {
    quantizer: &'a ProductQuantizer,
    rows: (Range<usize>, &'a dyn RowSource),
}

impl Work for Distortion<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let Self { quantizer, rows: (range, rows) } = self;
        let mut codes = vec![0; quantizer.subspaces];
        let (mut vector, mut decoded) = (vec![0.0; quantizer.dim()], vec![0.0; quantizer.dim()]);
        let mut total = 0.0;
        for row in range {
            rows.read(row, &mut vector);
            quantizer.encode(simd, &vector, &mut codes);
            quantizer.decode(&codes, &mut decoded);
            let off = vector.iter().zip(&decoded).map(|(&a, &b)| f64::from(a) - f64::from(b));
            total += off.map(|off| off * off).sum::<f64>();
        }
        total
    }
}
