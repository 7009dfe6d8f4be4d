//! What shapes an index.

use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::vectors::Keep;
use serde_json::{Map, Value, json};

/// The most stages.
pub const MOST_STAGES: usize = 64;
/// The widest beam.
pub const MOST_BEAM: usize = 256;

/// What shapes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Codes of a vector, up to 64.
    pub stages: usize,
    /// The width of a code, for 16 or 256 codewords a stage.
    pub bits: Bits,
    /// Sums of codewords that encoding keeps from stage to stage, up to 256.
    pub beam: usize,
    /// Whether original vectors are kept, and how.
    pub keep: Keep,
    /// Of everything drawn at random.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { stages: 8, bits: Bits::Eight, beam: 16, keep: Keep::None, seed: 0 }
    }
}

impl Parameters {
    /// Whether the numbers are such as an index may have.
    pub fn are_legal(&self) -> bool {
        (1..=MOST_STAGES).contains(&self.stages) && (1..=MOST_BEAM).contains(&self.beam)
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
        let parameters = Self {
            stages: contents.param_usize("stages")?,
            bits,
            beam: contents.param_usize("beam")?,
            keep: keep.parse().map_err(|_| FormatError::content("keep", "none, int8, f16 or f32", keep))?,
            seed: contents.param_u64("seed")?,
        };
        if !parameters.are_legal() {
            let got = format!("{} and {}", parameters.stages, parameters.beam);
            let expected = "1 to 64 stages, and a beam of 1 to 256";
            return Err(FormatError::content("stages and beam", expected, got));
        }
        Ok(parameters)
    }

    /// What a file holds of them.
    pub(crate) fn write(&self, params: &mut Map<String, Value>) {
        params.insert("stages".into(), json!(self.stages));
        params.insert("bits".into(), json!(self.bits.width()));
        params.insert("beam".into(), json!(self.beam));
        params.insert("keep".into(), json!(self.keep.name()));
        params.insert("seed".into(), json!(self.seed));
    }
}
