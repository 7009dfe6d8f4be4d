//! What a file holds of the graph, and how it is checked.
//!
//! | tensor | holds |
//! |---|---|
//! | `codes`, `residual` | u8, a row of whole cache lines for each vertex ([`counterpoint_core::simd::lines`]) |
//! | `constants` | f32, four for each vertex ([`crate::graph::vectors`]), zeros up to a whole line |
//! | `edges` | u32, a row of neighbours for each vertex, filled up with the vertex itself |
//! | `entries`, `owners` | u32, padded with 2³² − 1 to whole cache lines |
//! | `mean` | f32, μ |
//! | kept vectors | as everywhere |

use std::sync::Arc;

use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::graph::space::{MOST_SQUARE, read_length, write_length};
use counterpoint_core::graph::{Adjacency, Roster};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::lines;
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::Kept;
use serde_json::{Map, Value};

use crate::graph::parameters::Parameters;
use crate::graph::store::Learned;
use crate::graph::vectors::{CONSTANTS, Vectors};
use crate::space::Space;

/// Vertices between two looks at whether to stop.
const PART: usize = 4096;
/// f32 values of a cache line.
const VALUES: usize = 16;

impl Learned {
    /// What the file's parameters hold of it.
    pub(crate) fn write(&self, params: &mut Map<String, Value>) {
        self.roster.write(params);
        params.extend([self.vectors.space.param()]);
        write_length(self.length, params);
    }

    pub(crate) fn tensors(&self) -> Vec<TensorView<'_>> {
        let Self { vectors, adjacency, roster, .. } = self;
        let [entries, owners] = roster.tensors();
        let rows = |name, bytes, row: usize| TensorView {
            name,
            dtype: Dtype::U8,
            shape: vec![vectors.len, row],
            bytes,
        };
        let constants = vectors.constants.as_bytes();
        let mut tensors = vec![rows("codes", vectors.primary.as_bytes(), vectors.primary_bytes())];
        if vectors.levels.residual().is_some() {
            tensors.push(rows("residual", vectors.residual.as_bytes(), vectors.residual_bytes()));
        }
        tensors.extend([
            TensorView {
                name: "constants",
                dtype: Dtype::F32,
                shape: vec![constants.len() / size_of::<f32>()],
                bytes: constants,
            },
            adjacency.tensor("edges"),
            entries,
            owners,
            vectors.space.matrix().tensor("mean"),
        ]);
        tensors.extend(vectors.kept.tensors());
        tensors
    }

    /// Takes the graph of `rows` rows out of a file. What its vertices hold is for [`Learned::check`] to see.
    pub(crate) fn take(
        contents: &mut Contents,
        metric: Metric,
        parameters: &Parameters,
        dim: usize,
        rows: usize,
    ) -> Result<Self, FormatError> {
        let vertices = Roster::vertices_of(contents, rows)?;
        let length = read_length(contents)?;
        let space = Arc::new(Space::take(contents, dim)?);
        let mut vectors = Vectors::empty(metric, parameters, space);
        vectors.len = vertices;
        vectors.primary = contents.take("codes", Dtype::U8, &[vertices, vectors.primary_bytes()])?;
        if vectors.levels.residual().is_some() {
            let shape = [vertices, vectors.residual_bytes()];
            vectors.residual = contents.take("residual", Dtype::U8, &shape)?;
        }
        let values = (vertices * CONSTANTS).next_multiple_of(VALUES);
        vectors.constants = contents.take("constants", Dtype::F32, &[values])?;
        vectors.kept = Kept::take(contents, parameters.keep, vertices, dim)?;
        let adjacency = Adjacency::take(contents, "edges", vertices, parameters.degree)?;
        let roster = Roster::take(contents, vertices, rows)?;
        Ok(Self { vectors, length, adjacency, roster })
    }

    /// Checks entry points, and of every vertex neighbours, constants and codes.
    pub(crate) fn check(&self, control: &Control) -> Result<(), FormatError> {
        let Self { vectors, adjacency, roster, .. } = self;
        roster.check()?;
        vectors.space.check(control)?;
        adjacency.check("edges", control)?;
        let constants = vectors.constants.as_slice::<f32>();
        let legal = |value: &f32| f64::from(value.abs()) <= MOST_SQUARE;
        if let Some(value) = constants.iter().find(|value| !legal(value)) {
            return Err(FormatError::content("constants", "finite values", value));
        }
        if let Some(value) = constants[vectors.len * CONSTANTS..].iter().find(|value| value.to_bits() != 0) {
            return Err(FormatError::content("constants", "zeros after the last vertex", value));
        }
        let dim = vectors.dim();
        control.for_each((0..vectors.len).step_by(PART), |first| {
            let planes = [
                ("codes", Some(vectors.levels.primary()), &vectors.primary),
                ("residual", vectors.levels.residual(), &vectors.residual),
            ];
            for (name, bits, buffer) in planes {
                let Some(bits) = bits else { continue };
                let rows = lines::Rows::new(bits, dim, buffer.as_bytes());
                let range = first as u32..vectors.len.min(first + PART) as u32;
                if let Some(row) = range.into_iter().find(|&row| !lines::is_padded(bits, dim, rows.row(row)))
                {
                    let expected = format!("zeros after the last code of vertex {row}");
                    return Err(FormatError::content(name, expected, "another"));
                }
            }
            Ok(())
        })?;
        vectors.kept.check(control)
    }
}
