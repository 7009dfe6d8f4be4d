//! The header: built from a document, or checked and taken apart.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::ops::Range;

use safetensors::tensor::Metadata;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::error::cut;
use super::{Digest, Dtype, FORMAT, FormatError, MAX_HEADER};
use crate::buffer::LINE;

/// What every header text begins with; the 32 digits of the header digest follow.
pub(super) const MAGIC: &str = r#"{"__metadata__":{"counterpoint":"{\"digest\":\""#;
/// The magic as an error message shows it.
const MAGIC_SHOWN: &str = r#"{"__metadata__":{"counterpoint":"#;
/// Bytes of the length field before the header text.
const LENGTH: usize = 8;
/// Bytes that must be read to know how long a header is.
pub(super) const PREAMBLE: usize = LENGTH + MAGIC.len();
/// Where the digits of the header digest stand in every file.
const DIGITS: Range<usize> = PREAMBLE..PREAMBLE + 32;
/// What stands in the place of the digits when the header digest is taken.
const BLANK: [u8; 32] = [b'0'; 32];
/// The one metadata key.
const KEY: &str = "counterpoint";

/// The record under the metadata key. Fields in alphabetical order: that is the canonical order of the JSON.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    digest: String,
    digests: BTreeMap<String, String>,
    pub(super) format: u64,
    pub(super) method: String,
    #[serde(serialize_with = "sorted")]
    pub(super) params: Map<String, Value>,
    pub(super) version: String,
}

/// Sorted at every depth, also where another crate of the build switches `serde_json/preserve_order` on.
fn sorted<S: Serializer>(params: &Map<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut params = Value::Object(params.clone());
    params.sort_all_objects();
    params.serialize(serializer)
}

/// One tensor of a file, in bytes of the file.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) range: Range<usize>,
    pub(super) digest: String,
}

impl Placed {
    /// Compares the digest of the tensor's bytes with the one in the header.
    pub(super) fn check(&self, got: String) -> Result<(), FormatError> {
        if got == self.digest {
            return Ok(());
        }
        Err(FormatError::Digest { tensor: cut(&self.name), expected: cut(&self.digest), got })
    }
}

/// A header that has passed every check: the tensors in the order of their bytes, which fill the file to its
/// end.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) record: Record,
    pub(super) tensors: Vec<Placed>,
    pub(super) file_bytes: u64,
}

/// The header's length, its length field included, from the file's first [`PREAMBLE`] bytes (fewer if it has
/// no more).
pub(super) fn header_len(first: &[u8], file_bytes: u64) -> Result<usize, FormatError> {
    let foreign = |text: &[u8]| FormatError::NotCounterpoint {
        expected: MAGIC_SHOWN,
        got: String::from_utf8_lossy(text.get(..32).unwrap_or(text)).into_owned(),
    };
    let (length, text) = first.split_first_chunk::<LENGTH>().ok_or_else(|| foreign(first))?;
    if !text.starts_with(MAGIC.as_bytes()) {
        return Err(foreign(text));
    }
    let got = u64::from_le_bytes(*length).saturating_add(LENGTH as u64);
    let limit = MAX_HEADER as u64;
    let len = usize::try_from(got).unwrap_or(usize::MAX);
    if got > limit || !len.is_multiple_of(LINE) || len < DIGITS.end {
        return Err(FormatError::HeaderLength { limit, got });
    }
    if got > file_bytes {
        return Err(FormatError::Truncated { expected: got, got: file_bytes });
    }
    Ok(len)
}

impl Header {
    /// Checks and takes apart `header`, the first [`header_len`] bytes of a file of `file_bytes` bytes.
    pub(super) fn parse(header: &[u8], file_bytes: u64) -> Result<Self, FormatError> {
        let split = header.split_at_checked(DIGITS.end).zip(header.get(DIGITS)).zip(header.get(..PREAMBLE));
        let (((_, rest), digits), before) = split.ok_or_else(|| FormatError::header("too short"))?;
        let text = || std::str::from_utf8(header.get(LENGTH..).unwrap_or_default());

        let got = Digest::new().update(before).update(&BLANK).update(rest).hex();
        if got.as_bytes() != digits {
            // Another format may have another digest rule: its version is the better message.
            if let Some(got) = text().ok().and_then(declared_format).filter(|&format| format != FORMAT) {
                return Err(FormatError::Version { expected: FORMAT, got });
            }
            let expected = String::from_utf8_lossy(digits).into_owned();
            return Err(FormatError::HeaderDigest { expected, got });
        }

        let text = text().map_err(FormatError::header)?;
        unique_keys(text)?;
        let metadata: Metadata = serde_json::from_str(text).map_err(FormatError::header)?;
        let record = Record::parse(&metadata)?;

        let expected = (header.len() as u64).checked_add(metadata.data_len() as u64);
        let expected = expected.ok_or_else(|| FormatError::header("the tensors' lengths overflow"))?;
        if expected != file_bytes {
            return Err(FormatError::Length { expected, got: file_bytes });
        }
        let tensors = place(&metadata, &record.digests, header.len())?;
        Ok(Self { record, tensors, file_bytes })
    }

    /// The header of a file that begins with, or is, `bytes`.
    pub(super) fn of_file(bytes: &[u8]) -> Result<Self, FormatError> {
        let file_bytes = bytes.len() as u64;
        let len = header_len(bytes.get(..PREAMBLE).unwrap_or(bytes), file_bytes)?;
        Self::parse(bytes.get(..len).unwrap_or_default(), file_bytes)
    }
}

impl Record {
    fn parse(metadata: &Metadata) -> Result<Self, FormatError> {
        let metadata = metadata.metadata().as_ref();
        let text = metadata.filter(|map| map.len() == 1).and_then(|map| map.get(KEY));
        let text =
            text.ok_or_else(|| FormatError::header("expected exactly one metadata key, \"counterpoint\""))?;
        unique_keys(text)?;
        let value: Value = serde_json::from_str(text).map_err(FormatError::header)?;
        match value.get("format").and_then(Value::as_u64) {
            Some(FORMAT) => serde_json::from_value(value).map_err(FormatError::header),
            Some(got) => Err(FormatError::Version { expected: FORMAT, got }),
            None => Err(FormatError::header("expected a format version, got none")),
        }
    }
}

/// The format version of a header that may be damaged or of a later format.
fn declared_format(text: &str) -> Option<u64> {
    let header: Value = serde_json::from_str(text).ok()?;
    let record: Value = serde_json::from_str(header.get("__metadata__")?.get(KEY)?.as_str()?).ok()?;
    record.get("format")?.as_u64()
}

/// The tensors in file order. The parser has checked that they lie end to end from `data` on and fit dtype
/// and shape.
fn place(
    metadata: &Metadata,
    digests: &BTreeMap<String, String>,
    data: usize,
) -> Result<Vec<Placed>, FormatError> {
    let mut tensors = Vec::new();
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        let dtype = Dtype::from_safetensors(info.dtype).ok_or_else(|| {
            FormatError::tensor(&name, "a dtype of U8, F16, F32, U32, I64", format!("{:?}", info.dtype))
        })?;
        if !(end - start).is_multiple_of(LINE) {
            return Err(FormatError::tensor(
                &name,
                "a multiple of 64 bytes",
                format!("{} bytes", end - start),
            ));
        }
        let digest =
            digests.get(&name).ok_or_else(|| FormatError::tensor(&name, "a digest", "none"))?.clone();
        let shape = info.shape.clone();
        tensors.push(Placed { name, dtype, shape, range: data + start..data + end, digest });
    }
    if digests.len() != tensors.len() {
        let reason =
            format!("expected {} digests, one for each tensor, got {}", tensors.len(), digests.len());
        return Err(FormatError::header(reason));
    }
    tensors.sort_by(|a, b| (a.range.start, a.range.end, &a.name).cmp(&(b.range.start, b.range.end, &b.name)));
    Ok(tensors)
}

/// One tensor to write: its name, place in the data section, and digest.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) info: safetensors::tensor::TensorInfo,
    pub(super) digest: String,
}

/// The bytes of a header for tensors that lie end to end in this order, checked as a reader would.
pub(super) fn build(
    method: &str,
    params: &Map<String, Value>,
    entries: Vec<Entry>,
) -> Result<Vec<u8>, FormatError> {
    let record = Record {
        digest: String::from_utf8_lossy(&BLANK).into_owned(),
        digests: entries.iter().map(|entry| (entry.name.clone(), entry.digest.clone())).collect(),
        format: FORMAT,
        method: method.to_owned(),
        params: params.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let record = serde_json::to_string(&record).map_err(FormatError::header)?;
    let infos = entries.into_iter().map(|entry| (entry.name, entry.info)).collect();
    let metadata = HashMap::from([(KEY.to_owned(), record)]);
    let metadata = Metadata::new(Some(metadata), infos).map_err(FormatError::header)?;
    let data = metadata.data_len() as u64;
    let text = serde_json::to_vec(&metadata).map_err(FormatError::header)?;

    let len = (LENGTH + text.len()).next_multiple_of(LINE);
    let mut header = Vec::with_capacity(len);
    header.extend_from_slice(&((len - LENGTH) as u64).to_le_bytes());
    header.extend_from_slice(&text);
    header.resize(len, b' ');
    seal(&mut header);
    Header::parse(&header, len as u64 + data)?;
    header_len(&header, len as u64 + data)?;
    Ok(header)
}

/// Writes the header digest into its place.
pub(super) fn seal(header: &mut [u8]) {
    if let Some(digits) = header.get_mut(DIGITS) {
        digits.copy_from_slice(&BLANK);
    }
    let digest = Digest::new().update(header).hex();
    if let Some(digits) = header.get_mut(DIGITS) {
        digits.copy_from_slice(digest.as_bytes());
    }
}

/// Refuses JSON in which an object names a key twice: of two values most parsers silently keep one.
fn unique_keys(text: &str) -> Result<(), FormatError> {
    serde_json::from_str::<UniqueKeys>(text).map(drop).map_err(FormatError::header)
}

/// Any JSON value, kept only long enough to see that no object repeats a key. Depth is bounded by serde_json
/// (128).
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeys)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<UniqueKeys>()?;
            if let Some(key) = seen.replace(key) {
                return Err(A::Error::custom(format!("duplicate key {:?}", cut(&key))));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<UniqueKeys>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}
