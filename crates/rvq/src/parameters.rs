//! What shapes an index.

use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::vectors::Keep;
use serde_json::{Map, Value, json};

/// The most stages.
pub const MOST_STAGES: usize = 64;
/// The widest beam.
pub const MOST_BEAM: usize = 256;
/// The most lists.
pub const MOST_LISTS: usize = 1 << 20;

/// How rows are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Structure {
    /// All are scanned.
    #[default]
    Flat,
    /// They lie in lists, of which a search scans the nearest.
    Ivf {
        /// How many, up to [`MOST_LISTS`]; the square root of the number of rows if not given.
        n_lists: Option<usize>,
    },
}

impl Structure {
    /// As files and Python spell it.
    pub fn name(self) -> &'static str {
        match self {
            Structure::Flat => "flat",
            Structure::Ivf { .. } => "ivf",
        }
    }
}

impl std::str::FromStr for Structure {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "flat" => Ok(Structure::Flat),
            "ivf" => Ok(Structure::Ivf { n_lists: None }),
            _ => Err(format!("structure: expected \"flat\" or \"ivf\", got {name:?}")),
        }
    }
}

/// What shapes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Codes of a vector, up to 64.
    pub stages: usize,
    /// The width of a code, for 16 or 256 codewords a stage.
    pub bits: Bits,
    /// Sums of codewords that encoding keeps from stage to stage, up to 256.
    pub beam: usize,
    /// How rows are found.
    pub structure: Structure,
    /// Whether original vectors are kept, and how.
    pub keep: Keep,
    /// Of everything drawn at random.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { stages: 8, bits: Bits::Eight, beam: 16, structure: Structure::Flat, keep: Keep::None, seed: 0 }
    }
}

impl Parameters {
    /// Whether the numbers are such as an index may have.
    pub fn are_legal(&self) -> bool {
        let lists = match self.structure {
            Structure::Flat | Structure::Ivf { n_lists: None } => 1,
            Structure::Ivf { n_lists: Some(lists) } => lists,
        };
        (1..=MOST_STAGES).contains(&self.stages)
            && (1..=MOST_BEAM).contains(&self.beam)
            && (1..=MOST_LISTS).contains(&lists)
    }

    /// Lists for so many rows; none where all are scanned.
    pub(crate) fn lists(&self, rows: usize) -> Option<usize> {
        match self.structure {
            Structure::Flat => None,
            Structure::Ivf { n_lists } => Some(n_lists.unwrap_or((rows as f64).sqrt().round() as usize)),
        }
    }

    /// Codewords of a stage, at most.
    pub(crate) fn size(&self) -> usize {
        1 << self.bits.width()
    }

    /// What a file says.
    ///
    /// # Errors
    /// [`FormatError`] naming what is missing or cannot be.
    pub fn read(contents: &Contents) -> Result<Self, FormatError> {
        let keep = contents.param_str("keep")?;
        let bits = match contents.param_usize("bits")? {
            4 => Bits::Four,
            8 => Bits::Eight,
            other => return Err(FormatError::content("bits", "4 or 8", other)),
        };
        let name = contents.param_str("structure")?;
        let mut structure =
            name.parse().map_err(|_| FormatError::content("structure", "flat or ivf", name))?;
        if let Structure::Ivf { n_lists } = &mut structure {
            *n_lists = Some(contents.param_usize("n_lists")?).filter(|&lists| lists > 0);
        }
        let parameters = Self {
            stages: contents.param_usize("stages")?,
            bits,
            beam: contents.param_usize("beam")?,
            structure,
            keep: keep.parse().map_err(|_| FormatError::content("keep", "none, int8, f16 or f32", keep))?,
            seed: contents.param_u64("seed")?,
        };
        if !parameters.are_legal() {
            let got = format!("{}, {} and {structure:?}", parameters.stages, parameters.beam);
            let expected = "1 to 64 stages, a beam of 1 to 256, and up to 2^20 lists";
            return Err(FormatError::content("stages, beam and n_lists", expected, got));
        }
        Ok(parameters)
    }

    /// What a file holds of them.
    pub(crate) fn write(&self, params: &mut Map<String, Value>) {
        params.insert("stages".into(), json!(self.stages));
        params.insert("bits".into(), json!(self.bits.width()));
        params.insert("beam".into(), json!(self.beam));
        params.insert("structure".into(), json!(self.structure.name()));
        if let Structure::Ivf { n_lists } = self.structure {
            params.insert("n_lists".into(), json!(n_lists.unwrap_or(0)));
        }
        params.insert("keep".into(), json!(self.keep.name()));
        params.insert("seed".into(), json!(self.seed));
    }
}
