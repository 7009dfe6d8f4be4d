//! What shapes an index.

use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::simd::nibbles::BLOCK;
use serde_json::{Map, Value, json};

/// The most neighbours of a vertex.
const MOST_DEGREE: usize = 1024;

/// What shapes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Neighbours of a vertex: a multiple of 32, up to 1,024.
    pub degree: usize,
    /// Candidates of the searches by which the graph is refined and rows are added, at least 1.
    pub ef_construction: usize,
    /// Of everything drawn at random.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { degree: 32, ef_construction: 64, seed: 0 }
    }
}

impl Parameters {
    /// Whether the numbers are such as an index may have.
    pub fn are_legal(&self) -> bool {
        self.degree > 0
            && self.degree <= MOST_DEGREE
            && self.degree.is_multiple_of(BLOCK)
            && self.ef_construction > 0
    }

    /// What a file says.
    ///
    /// # Errors
    /// [`FormatError`] naming what is missing or cannot be.
    pub(crate) fn read(contents: &Contents) -> Result<Self, FormatError> {
        let parameters = Self {
            degree: contents.param_usize("degree")?,
            ef_construction: contents.param_usize("ef_construction")?,
            seed: contents.param_u64("seed")?,
        };
        if !parameters.are_legal() {
            let got = format!("{} and {}", parameters.degree, parameters.ef_construction);
            let expected = "a multiple of 32 up to 1024, and an ef_construction of at least 1";
            return Err(FormatError::content("degree", expected, got));
        }
        Ok(parameters)
    }

    /// What a file holds of them.
    pub(crate) fn write(&self, params: &mut Map<String, Value>) {
        params.insert("degree".into(), json!(self.degree));
        params.insert("ef_construction".into(), json!(self.ef_construction));
        params.insert("seed".into(), json!(self.seed));
    }
}
