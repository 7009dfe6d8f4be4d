//! What shapes an index.

use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::pq::Training;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::vectors::{Keep, MAX_DIM};
use serde_json::{Map, Value, json};

/// What shapes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Parts that a vector is cut into, at least 1 (more than it has values are as many as it has values); `None` for as
    /// many as make a code of one bit a value.
    pub subspaces: Option<usize>,
    /// The width of a part's code: 8 bits for 256 centroids, 4 for 16.
    pub bits: Bits,
    /// Whether original vectors are kept, and how.
    pub keep: Keep,
    /// Of everything drawn at random.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { subspaces: None, bits: Bits::Eight, keep: Keep::None, seed: 0 }
    }
}

impl Parameters {
    /// Whether the numbers are such as an index may have.
    pub fn are_legal(&self) -> bool {
        self.subspaces.is_none_or(|subspaces| (1..=MAX_DIM).contains(&subspaces))
    }

    /// Parts of a vector of `dim` values.
    pub(crate) fn subspaces_for(&self, dim: usize) -> usize {
        // As many values as a code has bits. (At most 8,192 of 65,536 values.)
        self.subspaces.unwrap_or_else(|| dim.div_ceil(self.bits.width())).min(dim).clamp(1, MOST)
    }

    /// How codebooks for vectors of `dim` values are learned.
    pub(crate) fn training(&self, dim: usize) -> Training {
        Training { seed: self.seed, ..Training::new(self.subspaces_for(dim), self.bits) }
    }

    /// What a file says.
    ///
    /// # Errors
    /// [`FormatError`] naming what is missing or cannot be.
    pub fn read(contents: &Contents) -> Result<Self, FormatError> {
        // 0 stands for a choice left to the method.
        let subspaces = contents.param_usize("subspaces")?;
        let bits = match contents.param_usize("bits")? {
            4 => Bits::Four,
            8 => Bits::Eight,
            other => return Err(FormatError::content("bits", "4 or 8", other)),
        };
        let keep = contents.param_str("keep")?;
        let parameters = Self {
            subspaces: (subspaces > 0).then_some(subspaces),
            bits,
            keep: keep.parse().map_err(|_| FormatError::content("keep", "none, int8, f16 or f32", keep))?,
            seed: contents.param_u64("seed")?,
        };
        if !parameters.are_legal() {
            return Err(FormatError::content("subspaces", format!("at most {MAX_DIM}"), subspaces));
        }
        Ok(parameters)
    }

    /// What a file holds of them.
    pub(crate) fn write(&self, params: &mut Map<String, Value>) {
        params.insert("subspaces".into(), json!(self.subspaces.unwrap_or(0)));
        params.insert("bits".into(), json!(self.bits.width()));
        params.insert("keep".into(), json!(self.keep.name()));
        params.insert("seed".into(), json!(self.seed));
    }
}

/// As many parts as the scan can have.
const MOST: usize = counterpoint_core::simd::lookups::MAX_STAGES;
