//! What a file holds of the graph, and how it is checked.
//!
//! | tensor | holds |
//! |---|---|
//! | `graph` | u8, a row for each vertex ([`crate::rows`]) |
//! | `entries`, `owners` | u32, padded with 2³² − 1 to whole cache lines |
//! | `mean` | f32, c |
//! | `codebooks` | f32, the centroids that codes of [`EdgeCodes::Pq4`] number; else absent |

use std::sync::Arc;

use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::graph::Roster;
use counterpoint_core::graph::space::{check_dim, read_length, space_dim, write_length};
use counterpoint_core::metric::Metric;
use counterpoint_core::rotate::Structured;
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::Matrix;
use serde_json::{Map, Value};

use crate::encode::Frame;
use crate::parameters::{EdgeCodes, Parameters};
use crate::product;
use crate::rows::{Layout, Rows};
use crate::store::Learned;
use crate::vector::Form;

/// Vertices between two looks at whether to stop.
const PART: usize = 4096;

impl Learned {
    /// What the file's parameters hold of it.
    pub(crate) fn write(&self, params: &mut Map<String, Value>) {
        self.roster.write(params);
        write_length(self.length, params);
    }

    pub(crate) fn tensors(&self) -> Vec<TensorView<'_>> {
        let [entries, owners] = self.roster.tensors();
        let shape = vec![self.rows.len(), self.rows.layout.row_bytes()];
        let codebooks = self.frame.codebooks.as_ref().map(|codebooks| codebooks.tensor("codebooks"));
        let tensors = [
            TensorView { name: "graph", dtype: Dtype::U8, shape, bytes: self.rows.data.as_bytes() },
            entries,
            owners,
            self.frame.mean.tensor("mean"),
        ];
        tensors.into_iter().chain(codebooks).collect()
    }

    /// Takes the graph of `rows` rows of `dim` values out of a file. What its rows hold is for
    /// [`Learned::check`] to see.
    pub(crate) fn take(
        contents: &mut Contents,
        parameters: &Parameters,
        metric: Metric,
        dim: usize,
        rows: usize,
    ) -> Result<Self, FormatError> {
        check_dim(metric, dim)?;
        let dim = space_dim(metric, dim);
        let form = Form { keep: parameters.keep, dim, added: metric == Metric::Ip };
        let vertices = Roster::vertices_of(contents, rows)?;
        let length = read_length(contents)?;
        let rotation = Structured::new(dim, parameters.seed);
        let layout = Layout { form, bits: rotation.padded(), degree: parameters.degree };
        let data = contents.take("graph", Dtype::U8, &[vertices, layout.row_bytes()])?;
        let roster = Roster::take(contents, vertices, rows)?;
        let mean = Matrix::take(contents, "mean", 1, dim)?;
        let codebooks = match parameters.edge_codes {
            EdgeCodes::Rabitq => None,
            EdgeCodes::Pq4 => Some(Arc::new(product::take(contents, "codebooks", layout.bits)?)),
        };
        let frame = Arc::new(Frame { rotation, mean, codebooks });
        Ok(Self { frame, length, rows: Rows { layout, data }, roster })
    }

    /// Checks entry points, and of every vertex neighbours, factors and values.
    pub(crate) fn check(&self, control: &Control) -> Result<(), FormatError> {
        let vertices = self.rows.len();
        self.roster.check()?;
        self.frame.mean.check_values("mean", control)?;
        if let Some(codebooks) = &self.frame.codebooks {
            codebooks.check("codebooks", control)?;
        }
        let parts = (0..vertices).step_by(PART);
        control.for_each(parts, |first| {
            (first..vertices.min(first + PART)).try_for_each(|vertex| self.check_row(vertex as u32, vertices))
        })
    }

    fn check_row(&self, vertex: u32, vertices: usize) -> Result<(), FormatError> {
        let wrong = |expected: &str, got: String| {
            Err(FormatError::content("graph", format!("{expected} of vertex {vertex}"), got))
        };
        let (vector, blocks) = self.rows.layout.parts(self.rows.row(vertex));
        if !self.rows.layout.form.is_legal(vector) {
            return wrong("legal values, then zeros", "another".to_owned());
        }
        let mut ended = false;
        for block in blocks {
            for (&id, terms) in block.ids.iter().zip(block.terms) {
                let (scale, offset) = (terms.scale(), terms.offset());
                if id as usize >= vertices {
                    return wrong("neighbours below the number of vertices", id.to_string());
                }
                if !(scale.is_finite() && offset.is_finite() && scale <= 0.0) {
                    return wrong("finite factors", format!("{scale}, {offset}"));
                }
                ended |= id == vertex;
                if ended && (id != vertex || scale != 0.0) {
                    return wrong("nothing after the last neighbour", id.to_string());
                }
            }
        }
        Ok(())
    }
}
