//! Which codes a vector has: a primary one, and a residual one or none.

use counterpoint_core::simd::int8::Bits;

/// The widths of a vector's codes. LVQ-8 is (8, 0), LVQ-4x8 is (4, 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    primary: Bits,
    residual: Option<Bits>,
}

/// A pair of widths that is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "primary and residual: expected 4 and 0, 8 and 0, 4 and 4, 4 and 8, or 8 and 8 bits, \
     got {primary} and {residual}"
)]
pub struct UnsupportedLevels {
    /// Bits of the primary code.
    pub primary: usize,
    /// Bits of the residual code.
    pub residual: usize,
}

impl Levels {
    /// The pairs there are, as (primary, residual) bits.
    pub const SUPPORTED: [(usize, usize); 5] = [(4, 0), (8, 0), (4, 4), (4, 8), (8, 8)];

    /// Codes of `primary` and `residual` bits a dimension; 0 for no residual.
    ///
    /// # Errors
    /// [`UnsupportedLevels`] for a pair that is not among [`Levels::SUPPORTED`].
    pub fn new(primary: usize, residual: usize) -> Result<Self, UnsupportedLevels> {
        let width = |bits| if bits == 4 { Bits::Four } else { Bits::Eight };
        if !Self::SUPPORTED.contains(&(primary, residual)) {
            return Err(UnsupportedLevels { primary, residual });
        }
        Ok(Self { primary: width(primary), residual: (residual > 0).then(|| width(residual)) })
    }

    /// The width of a primary code.
    pub fn primary(self) -> Bits {
        self.primary
    }

    /// The width of a residual code; `None` where there is none.
    pub fn residual(self) -> Option<Bits> {
        self.residual
    }

    /// The same primary codes without residual.
    #[must_use]
    pub fn without_residual(self) -> Self {
        Self { residual: None, ..self }
    }
}

impl From<Bits> for Levels {
    /// Primary codes alone.
    fn from(primary: Bits) -> Self {
        Self { primary, residual: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_pairs_and_no_others() {
        for primary in 0..=17 {
            for residual in 0..=17 {
                match Levels::new(primary, residual) {
                    Ok(levels) => {
                        assert!(Levels::SUPPORTED.contains(&(primary, residual)));
                        let bits = levels.residual().map_or(0, Bits::width);
                        assert_eq!((levels.primary().width(), bits), (primary, residual));
                        assert_eq!(Ok(levels.without_residual()), Levels::new(primary, 0));
                    }
                    Err(error) => {
                        assert!(!Levels::SUPPORTED.contains(&(primary, residual)));
                        assert_eq!(error, UnsupportedLevels { primary, residual });
                    }
                }
            }
        }
    }
}
