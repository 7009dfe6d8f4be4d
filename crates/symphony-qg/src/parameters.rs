//! What shapes an index.

use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::graph::Build;
use counterpoint_core::vectors::Keep;
use serde_json::{Map, Value, json};

/// What the codes of edges are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdgeCodes {
    /// The sign of each rotated value: RaBitQ.
    #[default]
    Rabitq,
    /// For every four rotated values the nearest of 16 centroids, learned from edges: as many bytes.
    Pq4,
}

impl EdgeCodes {
    /// `"rabitq"` or `"pq4"`.
    pub fn name(self) -> &'static str {
        match self {
            EdgeCodes::Rabitq => "rabitq",
            EdgeCodes::Pq4 => "pq4",
        }
    }
}

/// Text that names no kind of codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEdgeCodes(String);

impl std::fmt::Display for UnknownEdgeCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "edge_codes: expected \"rabitq\" or \"pq4\", got {:?}", self.0)
    }
}

impl std::error::Error for UnknownEdgeCodes {}

impl std::str::FromStr for EdgeCodes {
    type Err = UnknownEdgeCodes;

    fn from_str(name: &str) -> Result<Self, UnknownEdgeCodes> {
        match name {
            "rabitq" => Ok(EdgeCodes::Rabitq),
            "pq4" => Ok(EdgeCodes::Pq4),
            _ => Err(UnknownEdgeCodes(name.to_owned())),
        }
    }
}

/// What shapes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Neighbours of a vertex: a multiple of 32, up to 1,024.
    pub degree: usize,
    /// Candidates of the searches by which the graph is refined and rows are added, at least 1.
    pub ef_construction: usize,
    /// How vectors are kept in the rows, of which every distance is taken: not [`Keep::None`].
    pub keep: Keep,
    /// What the codes of edges are.
    pub edge_codes: EdgeCodes,
    /// Of everything drawn at random.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        let edge_codes = EdgeCodes::default();
        Self { degree: 32, ef_construction: 64, keep: Keep::F32, edge_codes, seed: 0 }
    }
}

impl Parameters {
    /// Whether the numbers are such as an index may have.
    pub fn are_legal(&self) -> bool {
        self.plan().is_legal() && self.keep != Keep::None
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
        let keep = contents.param_str("keep")?;
        let keep = match keep.parse() {
            Ok(Keep::None) | Err(_) => return Err(FormatError::content("keep", "int8, f16 or f32", keep)),
            Ok(keep) => keep,
        };
        let codes = contents.param_str("edge_codes")?;
        let unknown = |_| FormatError::content("edge_codes", "rabitq or pq4", codes);
        let edge_codes = codes.parse().map_err(unknown)?;
        let Build { degree, ef, seed, .. } = Build::read(contents)?;
        Ok(Self { degree, ef_construction: ef, keep, edge_codes, seed })
    }

    /// What a file holds of them.
    pub(crate) fn write(&self, params: &mut Map<String, Value>) {
        self.plan().write(params);
        params.insert("keep".into(), json!(self.keep.name()));
        params.insert("edge_codes".into(), json!(self.edge_codes.name()));
    }
}
