//! The container: how an index becomes a file and comes back, or is refused.
//!
//! A Counterpoint file is a [safetensors](https://github.com/huggingface/safetensors) file, so
//! `safetensors.numpy` and every other reader of that format open it. What is added lies inside what that
//! format allows:
//!
//! ```text
//! offset      bytes
//! 0           8        n, the length of the header text: little-endian u64
//! 8           47       {"__metadata__":{"counterpoint":"{\"digest\":\"        the magic: the same in every file
//! 55          32       the header digest in hex
//! 87          …        \",\"digests\":{…},\"format\":1,\"method\":…,\"params\":{…},\"version\":…}"},
//! …           …        "codes":{"dtype":"U8","shape":[…],"data_offsets":[0,…]},…}
//! …           0..63    spaces, so that 8 + n is a multiple of 64
//! 8 + n       64·a     the first tensor
//! 8 + n + 64a 64·b     the second tensor: no hole, no overlap, in the header's order
//! …                    the file ends with its last tensor; no trailing bytes
//! ```
//!
//! The only metadata key, `counterpoint`, holds a string of canonical JSON (sorted keys, no spaces):
//! `digest`, `digests` (tensor name to digest), `format` (1), `method`, `params` (the method's own) and
//! `version` (of this crate). Every tensor's length is a multiple of 64 bytes, so every tensor starts on a
//! 64-byte boundary and a mapped file needs no copy. All numbers are little-endian.
//!
//! **Digests** are XXH3-128 (seed 0) as 32 lower-case hex digits. A tensor's digest is that of its bytes. The
//! header digest is that of the whole header, the bytes `0 .. 8 + n` as they stand in the file, spaces
//! included, with its own 32 digits replaced by `0`. Since the canonical record puts `digest` first, these
//! digits stand at the same place in every file. So any changed bit is found: in the header by its digest, in
//! a tensor by the tensor's. Digests guard against accident, not against malice: XXH3 is no signature.
//!
//! **Why so.** The header is made by safetensors' own serialiser from a one-key map, so its bytes do not
//! depend on the order of a hash map; it is padded with trailing spaces, which the format allows, because the
//! safetensors crate itself pads to 8 bytes only. Reading goes through safetensors' own validated parser:
//! offsets from 0, ascending, without holes, equal to shape × dtype, all products checked. Before it run the
//! magic, the length and the digest, after it our own rules, and all of that before a byte of data is read or
//! allocated for. The writer passes its header through the reader's checks before it writes.
//!
//! ```
//! use counterpoint_core::file::{Contents, Document, Dtype, TensorView};
//! use counterpoint_core::threads::Control;
//!
//! let control = Control::default();
//! let codes = [7u8; 128];
//! let mut params = serde_json::Map::new();
//! params.insert("dim".into(), 64.into());
//! let tensors = vec![TensorView { name: "codes", dtype: Dtype::U8, shape: vec![2, 64], bytes: &codes }];
//! let bytes = Document { method: "flat", params, tensors }.to_bytes(&control)?;
//!
//! let mut contents = Contents::from_bytes(&bytes, &control)?;
//! contents.expect_method("flat")?;
//! let dim = contents.param_usize("dim")?;
//! let buffer = contents.take("codes", Dtype::U8, &[2, dim])?;
//! contents.finish()?;
//! assert_eq!(buffer.as_bytes(), codes);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;

use crate::threads::{Cancelled, Control};

mod contents;
mod document;
mod error;
mod header;
#[allow(unsafe_code, reason = "the memory map")]
mod map;
mod save;
#[cfg(test)]
mod tests;

pub use contents::{Access, Contents, Info, TensorInfo, info, verify_bytes, verify_path};
pub use document::{Document, TensorView};
pub use error::{FormatError, OpenError, SaveError};
pub use map::Map;

// Offsets are taken as `usize` and tensors are stored as they lie in memory.
const _: () =
    assert!(cfg!(target_endian = "little") && usize::BITS == 64, "64-bit little-endian targets only");

/// The format version this build writes and reads.
pub const FORMAT: u64 = 1;

/// The most bytes a header may have, its length field included: 1 MiB.
pub const MAX_HEADER: usize = 1 << 20;

/// Element type of a tensor: those of safetensors that an index needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// Bytes: codes, bit masks, opaque rows.
    U8,
    /// Half-precision floats.
    F16,
    /// Single-precision floats.
    F32,
    /// Row numbers.
    U32,
    /// External ids.
    I64,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 => 2,
            Self::F32 | Self::U32 => 4,
            Self::I64 => 8,
        }
    }

    const fn to_safetensors(self) -> safetensors::Dtype {
        match self {
            Self::U8 => safetensors::Dtype::U8,
            Self::F16 => safetensors::Dtype::F16,
            Self::F32 => safetensors::Dtype::F32,
            Self::U32 => safetensors::Dtype::U32,
            Self::I64 => safetensors::Dtype::I64,
        }
    }

    const fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        match dtype {
            safetensors::Dtype::U8 => Some(Self::U8),
            safetensors::Dtype::F16 => Some(Self::F16),
            safetensors::Dtype::F32 => Some(Self::F32),
            safetensors::Dtype::U32 => Some(Self::U32),
            safetensors::Dtype::I64 => Some(Self::I64),
            _ => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// XXH3-128 of bytes that come in parts.
struct Digest(twox_hash::xxhash3_128::RawHasher<&'static [u8; 192]>);

impl Digest {
    fn new() -> Self {
        Self(twox_hash::xxhash3_128::RawHasher::new(twox_hash::xxhash3_128::SecretBuffer::default()))
    }

    fn update(mut self, bytes: &[u8]) -> Self {
        self.0.write(bytes);
        self
    }

    fn hex(&self) -> String {
        format!("{:032x}", self.0.finish_128())
    }
}

/// Bytes hashed, read or copied at a time: they stay in the cache in between.
const CHUNK: usize = 1 << 18;

/// The digest of `bytes` as the file spells it; `each` sees them in parts, each just hashed. The caller may stop it
/// between two parts.
fn digest(bytes: &[u8], control: &Control, mut each: impl FnMut(&[u8])) -> Result<String, Cancelled> {
    let mut digest = Digest::new();
    for chunk in bytes.chunks(CHUNK) {
        control.check()?;
        digest = digest.update(chunk);
        each(chunk);
    }
    Ok(digest.hex())
}
