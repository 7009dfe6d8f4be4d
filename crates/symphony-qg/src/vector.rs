//! How the vector of a vertex lies in its row, in single or half precision, or in a byte a value.
//!
//! | `keep` | what a vector of d values is |
//! |---|---|
//! | `f32` | d values, under ip the added one (see [`crate::space`]) last |
//! | `f16` | d values; under ip the added one, f32, in the last 4 bytes |
//! | `int8` | d codes ([`ByteRows`]); scale, offset and under ip the added value, f32, in the last 8 or 12 bytes |
//!
//! Zeros fill what is between, up to whole cache lines. Apart from the others, the added value costs them no precision,
//! however long the longest row is.

use counterpoint_core::buffer::LINE;
use counterpoint_core::graph::space::MOST;
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::Simd;
use counterpoint_core::simd::bytes::Row;
use counterpoint_core::vectors::{ByteRows, Keep, widen};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// What a vector is and how it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// Not `None`, which is taken for f32.
    pub(crate) keep: Keep,
    /// Values in the graph's space.
    pub(crate) dim: usize,
    /// Whether the last of them was added for ip.
    pub(crate) added: bool,
}

impl Form {
    /// Values that were not added.
    #[inline(always)]
    fn own(&self) -> usize {
        self.dim - usize::from(self.added)
    }

    /// Numbers at the end.
    #[inline(always)]
    fn terms(&self) -> usize {
        match self.keep {
            Keep::None | Keep::F32 => 0,
            Keep::F16 => usize::from(self.added),
            Keep::Int8 => 2 + usize::from(self.added),
        }
    }

    /// Bytes of a vector, a multiple of [`LINE`].
    #[inline(always)]
    pub(crate) fn bytes(&self) -> usize {
        let values = match self.keep {
            Keep::None | Keep::F32 => 4 * self.dim,
            Keep::F16 => 2 * self.own(),
            Keep::Int8 => self.own(),
        };
        (values + 4 * self.terms()).next_multiple_of(LINE)
    }

    /// The values' bytes, and the numbers at the end.
    #[inline(always)]
    fn split<'a>(&self, vector: &'a [u8]) -> (&'a [u8], &'a [f32]) {
        let (values, terms) = vector.split_at(vector.len() - 4 * self.terms());
        (values, bytemuck::cast_slice(terms))
    }

    /// The codes of an `int8` vector, and what turns them into values.
    #[inline(always)]
    fn coded<'a>(&self, values: &'a [u8], terms: &[f32]) -> Row<'a> {
        Row { codes: &values[..self.own()], scale: terms[0], offset: terms[1] }
    }

    /// The value that was added.
    #[inline(always)]
    fn added_of(&self, terms: &[f32]) -> f32 {
        if self.added { terms.last().copied().unwrap_or(0.0) } else { 0.0 }
    }

    /// The distance of a query in the graph's space, padded with zeros to a whole line, to a vector as it is kept.
    #[inline(always)]
    pub(crate) fn distance<S: Simd>(&self, simd: S, metric: Metric, query: &[f32], vector: &[u8]) -> f32 {
        let (values, terms) = self.split(vector);
        let own = &query[..self.own()];
        // Of an added value there is none but under ip.
        let (square, product) = match self.keep {
            Keep::None | Keep::F32 => {
                return metric.distance(simd, query, bytemuck::cast_slice(values));
            }
            Keep::F16 => {
                let halves: &[f16] = &bytemuck::cast_slice(values)[..self.own()];
                match metric {
                    Metric::L2 => (simd.halves_squared_l2(own, halves), 0.0),
                    Metric::Ip | Metric::Cosine => (0.0, simd.halves_dot(own, halves)),
                }
            }
            Keep::Int8 => {
                let row = self.coded(values, terms);
                match metric {
                    Metric::L2 => (simd.bytes_squared_l2(own, row), 0.0),
                    Metric::Ip | Metric::Cosine => (0.0, simd.bytes_dot(own, row)),
                }
            }
        };
        match metric {
            Metric::L2 => square,
            Metric::Ip if self.added => -(product + query[self.own()] * self.added_of(terms)),
            Metric::Ip => -product,
            Metric::Cosine => metric.clamp(1.0 - product),
        }
    }

    /// Writes the first values of a vector to `out`, as many as there is room for.
    pub(crate) fn read(&self, vector: &[u8], out: &mut [f32]) {
        let (values, terms) = self.split(vector);
        match self.keep {
            Keep::None | Keep::F32 => {
                let values = bytemuck::cast_slice::<u8, f32>(values);
                out.iter_mut().zip(values).for_each(|(to, &value)| *to = value);
                return;
            }
            Keep::F16 => widen(&bytemuck::cast_slice(values)[..self.own()], out),
            Keep::Int8 => {
                let row = self.coded(values, terms);
                out.iter_mut().zip(row.codes).for_each(|(to, &code)| *to = row.value(code));
            }
        }
        if self.added
            && let Some(last) = out.get_mut(self.own())
        {
            *last = self.added_of(terms);
        }
    }

    /// Writes `values`, of which there are `dim`, as a vector. What f16 cannot hold is its largest value.
    pub(crate) fn write(&self, vector: &mut [u8], values: &[f32]) {
        vector.fill(0);
        let (to, terms) = vector.split_at_mut(vector.len() - 4 * self.terms());
        let terms: &mut [f32] = bytemuck::cast_slice_mut(terms);
        let own = &values[..self.own()];
        match self.keep {
            Keep::None | Keep::F32 => {
                bytemuck::cast_slice_mut(to)[..self.dim].copy_from_slice(&values[..self.dim]);
                return;
            }
            Keep::F16 => {
                let to: &mut [f16] = &mut bytemuck::cast_slice_mut(to)[..own.len()];
                to.convert_from_f32_slice(own);
            }
            Keep::Int8 => {
                let row = ByteRows::encode(own, &mut to[..own.len()]);
                terms[..2].copy_from_slice(&row);
            }
        }
        if self.added {
            terms[self.terms() - 1] = values[self.own()];
        }
    }

    /// Copies a vector, but for the value that was added.
    pub(crate) fn copy(&self, to: &mut [u8], from: &[u8]) {
        let bytes = match self.keep {
            Keep::None | Keep::F32 => 4 * self.own(),
            Keep::F16 => 2 * self.own(),
            Keep::Int8 => self.own(),
        };
        to[..bytes].copy_from_slice(&from[..bytes]);
        if self.keep == Keep::Int8 {
            let terms = from.len() - 4 * self.terms();
            to[terms..terms + 8].copy_from_slice(&from[terms..terms + 8]);
        }
    }

    /// Whether a vector is such as an index may hold.
    pub(crate) fn is_legal(&self, vector: &[u8]) -> bool {
        let (values, terms) = self.split(vector);
        let used = match self.keep {
            Keep::None | Keep::F32 => 4 * self.dim,
            Keep::F16 => 2 * self.own(),
            Keep::Int8 => self.own(),
        };
        let (used, padding) = values.split_at(used);
        // Without early exit, so that it runs at the speed of memory.
        let legal = match self.keep {
            Keep::None | Keep::F32 => {
                let values = bytemuck::cast_slice::<u8, f32>(used);
                values.iter().fold(true, |legal, value| legal & (value.abs() <= MOST))
            }
            Keep::F16 => {
                let values = bytemuck::cast_slice::<u8, f16>(used);
                values.iter().fold(true, |legal, value| legal & value.is_finite())
            }
            Keep::Int8 => ByteRows::is_legal(&[terms[0], terms[1]]),
        };
        legal && self.added_of(terms).abs() <= MOST && padding.iter().all(|&byte| byte == 0)
    }
}

#[cfg(test)]
mod tests {
    use counterpoint_core::buffer::Buffer;
    use counterpoint_core::simd::{Level, Work, run};
    use proptest::prelude::*;

    use super::*;

    struct Distance<'a>(&'a Form, Metric, &'a [f32], &'a [u8]);

    impl Work for Distance<'_> {
        type Output = f32;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> f32 {
            self.0.distance(simd, self.1, self.2, self.3)
        }
    }

    proptest! {
        #[test]
        fn vectors_come_back(
            values in prop::collection::vec(-100.0_f32..100.0, 2..150),
            query in prop::collection::vec(-1.0_f32..1.0, 160),
            added in any::<bool>(),
            far in 0.0_f32..1e9,
        ) {
            let mut values = values;
            let dim = values.len();
            if added {
                values[dim - 1] = far;
            }
            for keep in [Keep::F32, Keep::F16, Keep::Int8] {
                let form = Form { keep, dim, added };
                let mut buffer = Buffer::zeroed(form.bytes());
                buffer.as_mut_bytes().fill(0xff);
                form.write(buffer.as_mut_bytes(), &values);
                prop_assert!(form.is_legal(buffer.as_bytes()));
                let mut back = vec![f32::NAN; dim];
                form.read(buffer.as_bytes(), &mut back);
                let own = dim - usize::from(added);
                prop_assert_eq!(&back[own..], &values[own..]);
                let square: f32 = back.iter().zip(&values[..own]).map(|(back, value)| (back - value).powi(2)).sum();
                let greatest = values[..own].iter().copied().fold(f32::MIN, f32::max);
                let least = values[..own].iter().copied().fold(f32::MAX, f32::min);
                // Of each value, on the average of squares.
                let most = match keep {
                    Keep::None | Keep::F32 => 0.0,
                    Keep::F16 => greatest.max(-least) / 2048.0,
                    // A line of least squares through codes half a step off at most.
                    Keep::Int8 => (greatest - least) / 510.0 + 1e-5 * greatest.max(-least),
                };
                prop_assert!(square.sqrt() <= most * (own as f32).sqrt() * 1.001, "{:?}: {:?} not {:?}", keep, back, values);
                let mut padded = query.clone();
                padded[dim..].fill(0.0);
                padded.truncate(dim.next_multiple_of(16));
                for metric in [Metric::L2, Metric::Ip] {
                    if added && metric == Metric::L2 {
                        continue;
                    }
                    let exact: f64 = back.iter().zip(&padded).map(|(&x, &q)| {
                        let (x, q) = (f64::from(x), f64::from(q));
                        if metric == Metric::L2 { (x - q) * (x - q) } else { -x * q }
                    }).sum();
                    let size: f64 = back.iter().map(|&x| f64::from(x).abs() + 1.0).sum();
                    for level in Level::available() {
                        let got = run(level, Distance(&form, metric, &padded, buffer.as_bytes()));
                        let off = (f64::from(got) - exact).abs();
                        prop_assert!(off <= 1e-5 * (exact.abs() + size), "{:?} {:?}: {} not {}", keep, metric, got, exact);
                    }
                }
            }
        }
    }

    #[test]
    fn what_no_index_holds_is_refused() {
        for (keep, at) in [(Keep::F32, 39), (Keep::F16, 19), (Keep::Int8, 10)] {
            let form = Form { keep, dim: 11, added: true };
            let mut buffer = Buffer::zeroed(form.bytes());
            form.write(buffer.as_mut_bytes(), &[0.5; 11]);
            assert!(form.is_legal(buffer.as_bytes()));
            let old = std::mem::replace(&mut buffer.as_mut_bytes()[at], 0x7f);
            // An infinity, or what follows the codes.
            let before = std::mem::replace(&mut buffer.as_mut_bytes()[at - 1], 0xff);
            assert!(!form.is_legal(buffer.as_bytes()), "{keep:?}");
            (buffer.as_mut_bytes()[at], buffer.as_mut_bytes()[at - 1]) = (old, before);
            let end = buffer.len();
            buffer.as_mut_bytes()[end - 1] = 0x7f;
            buffer.as_mut_bytes()[end - 2] = 0xff;
            assert!(!form.is_legal(buffer.as_bytes()), "{keep:?} at the end");
        }
    }
}
