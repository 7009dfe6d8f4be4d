//! What shapes an index.

use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::vectors::Keep;
use serde_json::{Map, Value, json};

/// What shapes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Clusters wanted, at least 1; `None`: √n for the n rows that are fitted.
    pub clusters: Option<usize>,
    /// Coordinates of a row within its cluster, a multiple of 4; as many as `global_dim`, if that is less.
    pub rank: usize,
    /// Dimensions kept of the whole space, at least 1; `None`: all up to 200, 128 up to 1,000, else 256.
    pub global_dim: Option<usize>,
    /// Width of a code.
    pub bits: Bits,
    /// Whether clusters are to be of like size.
    pub balanced: bool,
    /// Whether original vectors are kept, and how.
    pub keep: Keep,
    /// Of everything drawn at random.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            clusters: None,
            rank: 64,
            global_dim: None,
            bits: Bits::Four,
            balanced: false,
            keep: Keep::F32,
            seed: 0,
        }
    }
}

impl Parameters {
    /// Whether the numbers are such as an index may have.
    pub(crate) fn are_legal(&self) -> bool {
        let positive = |value: Option<usize>| value.is_none_or(|value| value > 0);
        positive(self.clusters) && positive(self.global_dim) && self.rank > 0 && self.rank.is_multiple_of(4)
    }

    /// Clusters for `rows` rows: no more than there are rows.
    pub(crate) fn clusters_for(&self, rows: usize) -> usize {
        let wanted = self.clusters.unwrap_or_else(|| (rows as f64).sqrt().round() as usize);
        wanted.min(rows).max(1)
    }

    /// Dimensions kept of `dim`.
    pub(crate) fn global_dim_for(&self, dim: usize) -> usize {
        let rule = match dim {
            0..=200 => dim,
            201..=1000 => 128,
            _ => 256,
        };
        self.global_dim.unwrap_or(rule).min(dim)
    }

    /// What a file says.
    ///
    /// # Errors
    /// [`FormatError`] naming what is missing or cannot be.
    pub fn read(contents: &Contents) -> Result<Self, FormatError> {
        // 0 stands for a choice left to the method.
        let optional = |name| contents.param_usize(name).map(|value| (value > 0).then_some(value));
        let bits = match contents.param_usize("bits")? {
            4 => Bits::Four,
            8 => Bits::Eight,
            other => return Err(FormatError::content("bits", "4 or 8", other)),
        };
        let keep = contents.param_str("keep")?;
        let parameters = Self {
            clusters: optional("n_clusters")?,
            rank: contents.param_usize("rank")?,
            global_dim: optional("global_dim")?,
            bits,
            balanced: contents.param_bool("balanced")?,
            keep: keep.parse().map_err(|_| FormatError::content("keep", "none, int8, f16 or f32", keep))?,
            seed: contents.param_u64("seed")?,
        };
        if !parameters.are_legal() {
            return Err(FormatError::content("rank", "a positive multiple of 4", parameters.rank));
        }
        Ok(parameters)
    }

    /// What a file holds of them.
    pub(crate) fn write(&self, params: &mut Map<String, Value>) {
        params.insert("n_clusters".into(), json!(self.clusters.unwrap_or(0)));
        params.insert("rank".into(), json!(self.rank));
        params.insert("global_dim".into(), json!(self.global_dim.unwrap_or(0)));
        params.insert("bits".into(), json!(self.bits.width()));
        params.insert("balanced".into(), json!(self.balanced));
        params.insert("keep".into(), json!(self.keep.name()));
        params.insert("seed".into(), json!(self.seed));
    }
}
