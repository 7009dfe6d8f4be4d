//! Which instruction set to use: detected once, or forced by `COUNTERPOINT_SIMD`.

use std::sync::OnceLock;

/// An instruction set this processor has. Only detection makes one, so a value is a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// A level that was asked for and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LevelError {
    /// Not the name of a level.
    #[error("COUNTERPOINT_SIMD: expected scalar, avx2, avx512 or neon, got {0:?}")]
    Unknown(String),
    /// A level's name, but not one this processor can run.
    #[error("COUNTERPOINT_SIMD={0}: this processor cannot run that level (it has: {1})")]
    Unsupported(String, String),
}

impl Level {
    /// The scalar level, which every processor has.
    pub const SCALAR: Level = Level(Kind::Scalar);

    /// The levels this processor has, slowest first.
    pub fn available() -> Vec<Level> {
        let mut levels = vec![Level(Kind::Scalar)];
        // Check 1: a kind is only wrapped in a `Level` here, after its features were detected.
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2")
                && has!("fma")
                && has!("f16c")
                && has!("bmi1")
                && has!("bmi2")
                && has!("lzcnt")
                && has!("popcnt");
            if avx2 {
                levels.push(Level(Kind::Avx2));
            }
            let avx512 = has!("avx512f")
                && has!("avx512bw")
                && has!("avx512dq")
                && has!("avx512vl")
                && has!("avx512vnni")
                && has!("avx512vbmi");
            if avx2 && avx512 {
                levels.push(Level(Kind::Avx512));
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use std::arch::is_aarch64_feature_detected as has;
            if has!("neon") && has!("dotprod") {
                levels.push(Level(Kind::Neon));
            }
        }
        levels
    }

    /// The fastest level this processor has.
    pub fn detect() -> Level {
        Level::available().last().copied().unwrap_or(Level::SCALAR)
    }

    /// The level of that name, if this processor has it.
    ///
    /// # Errors
    /// [`LevelError`] for a name that is none, or a level that cannot run here.
    pub fn named(name: &str) -> Result<Level, LevelError> {
        if !["scalar", "avx2", "avx512", "neon"].contains(&name) {
            return Err(LevelError::Unknown(name.to_owned()));
        }
        let available = Level::available();
        available.iter().copied().find(|level| level.name() == name).ok_or_else(|| {
            let names: Vec<&str> = available.iter().map(|level| level.name()).collect();
            LevelError::Unsupported(name.to_owned(), names.join(", "))
        })
    }

    /// The level this process uses: `COUNTERPOINT_SIMD` if set, else the fastest. Read once.
    ///
    /// # Errors
    /// [`LevelError`] if the variable names no level, or one that cannot run here.
    pub fn active() -> Result<Level, LevelError> {
        static ACTIVE: OnceLock<Result<Level, LevelError>> = OnceLock::new();
        ACTIVE
            .get_or_init(|| match std::env::var("COUNTERPOINT_SIMD") {
                Ok(name) if !name.is_empty() => Level::named(&name),
                _ => Ok(Level::detect()),
            })
            .clone()
    }

    /// `"scalar"`, `"avx2"`, `"avx512"` or `"neon"`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
        }
    }

    pub(super) fn kind(self) -> Kind {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for level in Level::available() {
            assert_eq!(Level::named(level.name()), Ok(level));
        }
    }

    #[test]
    fn what_cannot_run_is_an_error() {
        assert!(matches!(Level::named("sse"), Err(LevelError::Unknown(_))));
        let absent = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
        assert!(matches!(Level::named(absent), Err(LevelError::Unsupported(..))));
    }
}
