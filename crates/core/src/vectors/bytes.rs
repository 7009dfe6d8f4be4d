//! Rows in one byte a value, with a scale and an offset for each row.
//!
//! **Codes.** A row x of least value a and largest b has codes cⱼ = ⌊(xⱼ − a)·255/(b − a)⌉ and is read as x̂ⱼ =
//! offset + scale·cⱼ. Scale and offset are those of least squares given the codes, so that what is lost, e = x −
//! x̂, is orthogonal to x̂: a product ⟨q, x̂⟩ for a query near x is off by ‖e‖², about the same for all rows, and
//! by ⟨q − x, e⟩, which is small. |eⱼ| is about (b − a)/510 at most. Rows of at most 256 evenly spaced values (grey
//! images) lose nothing but rounding. On wordnet-minilm (queries 1,000 to 1,999), LoRANN re-ranked on codes finds
//! 0.787, 0.906, 0.952 and 0.981 where on f32 it finds 0.787, 0.908, 0.955 and 0.984; all rows re-ranked find
//! 0.996. x̂ⱼ is the same at every level (see [`crate::simd::bytes`]).

use crate::buffer::{Buffer, LINE};
use crate::file::{Contents, Dtype, FormatError, TensorView};
use crate::metric::Metric;
use crate::simd::bytes::Row;
use crate::simd::{Simd, prefetch_far};
use crate::threads::Control;

use super::{MAX_MAGNITUDE, Matrix, RowSource};

/// The largest code.
const TOP: f32 = 255.0;
/// Rows whose terms fill a cache line.
const LINE_TERMS: usize = LINE / size_of::<Terms>();

/// What turns a row's codes into values.
type Terms = [f32; 2];

/// Rows of codes.
#[derive(Clone)]
pub struct ByteRows {
    codes: Matrix<u8>,
    /// (scale, offset) of each row, zeros up to a whole line.
    terms: Buffer,
}

/// Consecutive rows, to be written by one thread.
pub struct ByteChunk<'a> {
    codes: &'a mut [u8],
    stride: usize,
    terms: &'a mut [Terms],
}

impl ByteChunk<'_> {
    /// Writes `values` as row `r` of the chunk.
    ///
    /// # Panics
    /// If the chunk has no such row.
    pub fn write(&mut self, r: usize, values: &[f32]) {
        let codes = &mut self.codes[r * self.stride..r * self.stride + values.len()];
        self.terms[r] = ByteRows::encode(values, codes);
    }
}

const CODES: &str = "vectors";
const TERMS: &str = "vector_terms";

impl ByteRows {
    /// Codes `values`, of magnitude at most [`MAX_MAGNITUDE`], and gives scale and offset: what each row of a table is, for
    /// those who keep rows elsewhere.
    pub fn encode(values: &[f32], codes: &mut [u8]) -> [f32; 2] {
        let bounds = (f32::INFINITY, f32::NEG_INFINITY);
        let (least, most) = values.iter().fold(bounds, |(least, most), &v| (least.min(v), most.max(v)));
        let range = f64::from(most) - f64::from(least);
        let steps = if range > 0.0 { f64::from(TOP) / range } else { 0.0 };
        // Sums as they are, not about their means: those of whole numbers are exact.
        let (mut codes_sum, mut code_squares) = (0_u64, 0_u64);
        let (mut values_sum, mut products) = (0.0_f64, 0.0_f64);
        for (code, &value) in codes.iter_mut().zip(values) {
            let above = f64::from(value) - f64::from(least);
            *code = (above * steps + 0.5) as u8; // saturating
            codes_sum += u64::from(*code);
            code_squares += u64::from(*code) * u64::from(*code);
            values_sum += above;
            products += f64::from(*code) * above;
        }
        let (count, codes_sum) = (values.len().max(1) as f64, codes_sum as f64);
        let spread = count * code_squares as f64 - codes_sum * codes_sum;
        let scale = if spread > 0.0 { (count * products - codes_sum * values_sum) / spread } else { 0.0 };
        let offset = f64::from(least) + (values_sum - scale * codes_sum) / count;
        // Least squares may go a little beyond the values, which may be the largest there are.
        let offset = (offset as f32).clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE);
        let mut scale = scale as f32;
        while !Self::is_legal(&[scale, offset]) && scale > 0.0 {
            scale = scale.next_down();
        }
        [scale, offset]
    }

    /// Whether all values that codes can have, with this scale and offset, are such as a row may have.
    pub fn is_legal(&[scale, offset]: &[f32; 2]) -> bool {
        scale >= 0.0 && offset.abs() <= MAX_MAGNITUDE && scale * TOP + offset <= MAX_MAGNITUDE
    }

    /// `rows` rows of zeros.
    pub fn zeroed(rows: usize, dim: usize) -> Self {
        Self { codes: Matrix::zeroed(rows, dim), terms: Buffer::zeroed(rows * size_of::<Terms>()) }
    }

    /// The rows in chunks of `rows` rows.
    pub fn chunks_mut(&mut self, rows: usize) -> impl Iterator<Item = ByteChunk<'_>> + Send {
        let stride = self.codes.stride();
        let terms = self.terms.as_mut_slice::<Terms>().chunks_mut(rows);
        let codes = self.codes.values_mut().chunks_mut(rows * stride);
        codes.zip(terms).map(move |(codes, terms)| ByteChunk { codes, stride, terms })
    }

    /// Asks for rows, to be read soon: the first lines of all, then the second ones.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn prefetch(&self, rows: impl Iterator<Item = usize> + Clone) {
        let (codes, stride) = (self.codes.as_bytes(), self.codes.stride());
        for row in rows.clone() {
            prefetch_far(&self.terms.as_bytes()[row * size_of::<Terms>()..][..1]);
        }
        for line in (0..stride).step_by(LINE) {
            for row in rows.clone() {
                prefetch_far(&codes[row * stride + line..][..1]);
            }
        }
    }

    /// Row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> Row<'_> {
        let [scale, offset] = self.terms.as_slice::<Terms>()[row];
        Row { codes: self.codes.row(row), scale, offset }
    }

    /// The distance of a prepared query, of the rows' dimension or padded, to row `row` as it is read.
    ///
    /// # Panics
    /// If there is no such row, or the query is shorter.
    #[inline(always)]
    pub fn distance<S: Simd>(&self, simd: S, metric: Metric, query: &[f32], row: usize) -> f32 {
        let row = self.row(row);
        let query = &query[..row.codes.len()];
        match metric {
            Metric::L2 => simd.bytes_squared_l2(query, row),
            Metric::Ip => -simd.bytes_dot(query, row),
            Metric::Cosine => metric.clamp(1.0 - simd.bytes_dot(query, row)),
        }
    }

    /// Adds `more` rows of zeros.
    pub fn grow(&mut self, more: usize) {
        self.codes.grow(more);
        self.terms.resize(self.codes.rows() * size_of::<Terms>());
    }

    /// Copies row `from` of `other` over row `to`.
    ///
    /// # Panics
    /// If there is no such row, or the dimensions differ.
    pub fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        self.codes.copy_row(to, &other.codes, from);
        self.terms.as_mut_slice::<Terms>()[to] = other.terms.as_slice::<Terms>()[from];
    }

    /// Removes row `row`, moving the last row into its place.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn swap_remove(&mut self, row: usize) {
        self.codes.swap_remove(row);
        let last = self.codes.rows();
        let terms = self.terms.as_mut_slice::<Terms>();
        let moved = std::mem::take(&mut terms[last]);
        if row < last {
            terms[row] = moved;
        }
        self.terms.resize(last * size_of::<Terms>());
    }

    /// Gives spare capacity back.
    pub fn shrink_to_fit(&mut self) {
        self.codes.shrink_to_fit();
        self.terms.shrink_to_fit();
    }

    /// The rows as a file's tensors: `vectors`, of shape (rows, stride), and `vector_terms`, scale and offset of each.
    pub fn tensors(&self) -> [TensorView<'_>; 2] {
        let terms = TensorView {
            name: TERMS,
            dtype: Dtype::F32,
            shape: vec![self.codes.rows().next_multiple_of(LINE_TERMS), 2],
            bytes: self.terms.as_bytes(),
        };
        [self.codes.tensor(CODES), terms]
    }

    /// Takes the rows out of a file.
    ///
    /// # Errors
    /// [`FormatError`] if a tensor is missing, of another shape or type.
    pub fn take(contents: &mut Contents, rows: usize, dim: usize) -> Result<Self, FormatError> {
        let codes = Matrix::take(contents, CODES, rows, dim)?;
        let terms = contents.take(TERMS, Dtype::F32, &[rows.next_multiple_of(LINE_TERMS), 2])?;
        Ok(Self { codes, terms })
    }

    /// Checks that every value is one a row may have.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn check(&self, control: &Control) -> Result<(), FormatError> {
        for part in self.terms.as_slice::<Terms>().chunks(1 << 20) {
            control.check()?;
            if let Some(terms) = part.iter().find(|terms| !Self::is_legal(terms)) {
                let expected = "scales from 0 on and offsets that keep values at legal magnitude";
                return Err(FormatError::content(TERMS, expected, format!("{terms:?}")));
            }
        }
        Ok(())
    }
}

impl RowSource for ByteRows {
    fn len(&self) -> usize {
        self.codes.rows()
    }
    fn dim(&self) -> usize {
        self.codes.dim()
    }
    fn read(&self, row: usize, out: &mut [f32]) {
        let row = self.row(row);
        for (value, &code) in out.iter_mut().zip(row.codes) {
            *value = row.value(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(values: &[f32]) -> (Vec<f32>, Terms) {
        let mut rows = ByteRows::zeroed(1, values.len());
        rows.chunks_mut(1).next().expect("a chunk").write(0, values);
        let mut out = vec![f32::NAN; values.len()];
        rows.read(0, &mut out);
        rows.check(&Control::default()).expect("legal");
        (out, rows.terms.as_slice::<Terms>()[0])
    }

    #[test]
    fn evenly_spaced_values_lose_nothing() {
        let grey: Vec<f32> = (0..=255).map(|v| v as f32).collect();
        assert_eq!(decoded(&grey).0, grey);
        let quarters = [-1.0, 0.25, 62.75, 3.5];
        assert_eq!(decoded(&quarters).0, quarters);
        for value in [0.0, 1.5, -MAX_MAGNITUDE, MAX_MAGNITUDE, f32::MIN_POSITIVE, 1e-45] {
            assert_eq!(decoded(&[value; 5]), (vec![value; 5], [0.0, value]));
        }
    }

    /// What a scale in steps of the least f32 may lose over all codes.
    const LEAST: f32 = 255.0 * 1.5e-45;

    #[test]
    fn the_ends_of_the_range() {
        for top in [MAX_MAGNITUDE, 1e-30, 1e-38, 1e-45] {
            let values = [-top, top, 0.3 * top, -0.7 * top, 0.999 * top, top, top];
            let (out, _) = decoded(&values);
            for (out, value) in out.iter().zip(values) {
                assert!((out - value).abs() <= 2.0 * top / 254.0 + LEAST, "{out:e}, not {value:e}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_lost_is_small_and_orthogonal(
            values in prop::collection::vec(-1000.0_f32..1000.0, 1..200),
            shift in prop::sample::select(&[0.0_f32, 1e4][..]),
        ) {
            let values: Vec<f32> = values.iter().map(|value| value + shift).collect();
            let (out, _) = decoded(&values);
            let most = values.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
            let range = most - values.iter().fold(f32::INFINITY, |m, &v| m.min(v));
            let (mut product, mut square, mut lost) = (0.0, 0.0, 0.0);
            for (&out, &value) in out.iter().zip(&values) {
                lost += (f64::from(value) - f64::from(out)).powi(2);
                product += f64::from(out) * (f64::from(value) - f64::from(out));
                square += f64::from(value).powi(2);
            }
            // Half a step each at most before the line of least squares, which one value may leave further off.
            let half = f64::from(range) / 510.0 + 1e-6 * f64::from(most.abs());
            prop_assert!(lost <= half * half * values.len() as f64, "{} of steps of {}", lost, 2.0 * half);
            prop_assert!(product.abs() <= 1e-5 * square.max(1.0), "{} of {}", product, square);
        }

        #[test]
        fn rows_come_and_go(
            dim in 1_usize..70,
            count in 1_usize..30,
            more in 0_usize..20,
            removed in prop::collection::vec(any::<usize>(), 0..40),
        ) {
            let value = |row: usize, j: usize| (row * 1000 + j) as f32;
            let mut rows = ByteRows::zeroed(count + more, dim);
            for (first, mut chunk) in rows.chunks_mut(7).enumerate() {
                for r in 0..7.min(count + more - 7 * first) {
                    let values: Vec<f32> = (0..dim).map(|j| value(7 * first + r, j)).collect();
                    chunk.write(r, &values);
                }
            }
            let mut grown = ByteRows::zeroed(count, dim);
            for row in 0..count {
                grown.copy_row(row, &rows, row);
            }
            grown.grow(more);
            for row in count..count + more {
                grown.copy_row(row, &rows, row);
            }
            let mut expected: Vec<usize> = (0..count + more).collect();
            for pick in removed {
                if !expected.is_empty() {
                    grown.swap_remove(pick % expected.len());
                    let _ = expected.swap_remove(pick % expected.len());
                }
            }
            // To the byte what those rows alone would be.
            let mut alone = ByteRows::zeroed(expected.len(), dim);
            for (to, &row) in expected.iter().enumerate() {
                alone.copy_row(to, &rows, row);
            }
            for (a, b) in grown.tensors().iter().zip(alone.tensors()) {
                prop_assert_eq!((&a.shape, a.bytes), (&b.shape, b.bytes));
            }
            let mut out = vec![0.0; dim];
            for (at, &row) in expected.iter().enumerate() {
                grown.read(at, &mut out);
                for (j, &out) in out.iter().enumerate() {
                    prop_assert!((out - value(row, j)).abs() <= 0.5, "{} at {}, {}", out, row, j);
                }
            }
        }
    }

    #[test]
    fn terms_that_no_row_has_are_refused() {
        let mut rows = ByteRows::zeroed(3, 2);
        for terms in [
            [-1.0, 0.0],
            [f32::NAN, 0.0],
            [f32::INFINITY, 0.0],
            [0.0, f32::NAN],
            [0.0, -1.1e15],
            [1e8, 1e15],
            [1e13, -1e15],
        ] {
            rows.terms.as_mut_slice::<Terms>()[1] = terms;
            assert!(rows.check(&Control::default()).is_err(), "{terms:?}");
        }
        rows.terms.as_mut_slice::<Terms>()[1] = [7e12, -1e15];
        assert!(rows.check(&Control::default()).is_ok());
    }
}
