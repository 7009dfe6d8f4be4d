//! What shapes an index.

use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::graph::Build;
use counterpoint_core::vectors::Keep;
use serde_json::{Map, Value, json};

use crate::levels::Levels;

/// What shapes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The widths of the codes.
    pub levels: Levels,
    /// Whether vectors are kept, and how precisely.
    pub keep: Keep,
    /// Neighbours of a vertex: a multiple of 32, up to 1,024.
    pub degree: usize,
    /// Candidates of the searches by which the graph is refined and rows are added, at least 1.
    pub ef_construction: usize,
    /// Of everything drawn at random.
    pub seed: u64,
}

impl Parameters {
    /// Neighbours of a vertex where the caller does not say.
    pub const DEGREE: usize = 32;
    /// Candidates of the searches by which the graph is refined where the caller does not say.
    pub const EF_CONSTRUCTION: usize = 64;

    /// Those of these codes, all else by default.
    pub fn new(levels: Levels, keep: Keep) -> Self {
        Self { levels, keep, degree: Self::DEGREE, ef_construction: Self::EF_CONSTRUCTION, seed: 0 }
    }

    /// Whether the numbers are such as an index may have.
    pub fn are_legal(&self) -> bool {
        self.plan().is_legal()
    }

    /// How the graph is built.
    pub(crate) fn plan(&self) -> Build {
        Build { degree: self.degree, ef: self.ef_construction, seed: self.seed, ..Build::default() }
    }

    /// What a file says.
    ///
    /// # Errors
    /// [`FormatError`] naming what is missing or cannot be.
    pub fn read(contents: &Contents) -> Result<Self, FormatError> {
        let (primary, residual) = (contents.param_usize("primary")?, contents.param_usize("residual")?);
        let levels = Levels::new(primary, residual)
            .map_err(|error| FormatError::content("primary", "a pair that is supported", error))?;
        let keep = contents.param_str("keep")?;
        let keep = keep
            .parse()
            .map_err(|_| FormatError::content("keep", "none, int8, f16 or f32", keep.to_owned()))?;
        let Build { degree, ef, seed, .. } = Build::read(contents)?;
        Ok(Self { levels, keep, degree, ef_construction: ef, seed })
    }

    /// What a file holds of them.
    pub(crate) fn write(&self, params: &mut Map<String, Value>) {
        params.insert("structure".into(), json!("graph"));
        params.insert("primary".into(), json!(self.levels.primary().width()));
        let residual = self.levels.residual().map_or(0, counterpoint_core::simd::int8::Bits::width);
        params.insert("residual".into(), json!(residual));
        params.insert("keep".into(), json!(self.keep.name()));
        self.plan().write(params);
    }
}
