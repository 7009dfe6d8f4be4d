//! What shapes an index.

use std::fmt;
use std::str::FromStr;

use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::vectors::Keep;

/// What shapes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Bits a dimension, 1 to 4.
    pub bits: u32,
    /// Where the bits go.
    pub allocation: Allocation,
    /// What codes are differences from.
    pub center: Center,
    /// Whether original vectors are kept, and how.
    pub keep: Keep,
    /// Of the rotation.
    pub seed: u64,
}

impl Parameters {
    /// What a file says.
    ///
    /// # Errors
    /// [`FormatError`] naming what is missing or cannot be.
    pub fn read(contents: &Contents) -> Result<Self, FormatError> {
        fn parsed<T: FromStr>(
            contents: &Contents,
            name: &'static str,
            expected: &str,
        ) -> Result<T, FormatError> {
            let got = contents.param_str(name)?;
            got.parse().map_err(|_| FormatError::content(name, expected, got))
        }
        let bits = match contents.param_usize("bits")? {
            bits @ 1..=4 => bits as u32,
            other => return Err(FormatError::content("bits", "1 to 4", other)),
        };
        Ok(Self {
            bits,
            allocation: parsed(contents, "allocation", "even or fitted")?,
            center: parsed(contents, "center", "mean or none")?,
            keep: parsed(contents, "keep", "none, int8, f16 or f32")?,
            seed: contents.param_u64("seed")?,
        })
    }
}

/// How the bits of a vector are spread over its dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// The same number for every dimension, whatever the data: TurboQuant as published.
    Even,
    /// The same number in all, more where the data that `fit` sees varies more.
    Fitted,
}

/// What codes are differences from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Center {
    /// The mean of the vectors that `fit` sees. Vectors added without a fit are coded as they are.
    Mean,
    /// Nothing.
    None,
}

/// Not a name of a parameter's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    parameter: &'static str,
    expected: &'static str,
    got: String,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {:?}", self.parameter, self.expected, self.got)
    }
}

impl std::error::Error for UnknownName {}

impl Allocation {
    /// `"even"` or `"fitted"`.
    pub fn name(self) -> &'static str {
        match self {
            Allocation::Even => "even",
            Allocation::Fitted => "fitted",
        }
    }
}

impl FromStr for Allocation {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "even" => Ok(Allocation::Even),
            "fitted" => Ok(Allocation::Fitted),
            _ => Err(UnknownName {
                parameter: "allocation",
                expected: "\"even\" or \"fitted\"",
                got: name.to_owned(),
            }),
        }
    }
}

impl Center {
    /// `"mean"` or `"none"`.
    pub fn name(self) -> &'static str {
        match self {
            Center::Mean => "mean",
            Center::None => "none",
        }
    }
}

impl FromStr for Center {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "mean" => Ok(Center::Mean),
            "none" => Ok(Center::None),
            _ => Err(UnknownName {
                parameter: "center",
                expected: "\"mean\" or \"none\"",
                got: name.to_owned(),
            }),
        }
    }
}
