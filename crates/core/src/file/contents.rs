//! What is read: a file that has passed every check, handed out tensor by tensor.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map as Params, Value};

use super::error::cut;
use super::header::{self, Header, Placed, Record};
use super::{CHUNK, Digest, Dtype, FormatError, Map, OpenError, save};
use crate::buffer::Buffer;
use crate::threads::{Control, dispose};

/// How a file's tensors come into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read into memory of our own.
    Read,
    /// Mapped: no copy, pages come when touched. See the hazard at [`Map`].
    Map,
}

#[derive(Debug)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    buffer: Buffer,
}

/// A file whose container is sound. A method takes its parameters and tensors out of it, checks what they
/// mean, and calls [`finish`](Self::finish) to see that nothing is left.
#[derive(Debug)]
pub struct Contents {
    record: Record,
    tensors: BTreeMap<String, Tensor>,
}

impl Contents {
    /// Opens a file. The header is always checked in full (magic, digest, structure, the file's exact length)
    /// before any memory is reserved for data. `verify` says whether the tensors' digests are checked now;
    /// with [`Access::Map`] that reads the whole file once, and without it opening costs the same for any
    /// size.
    ///
    /// With [`Access::Read`] memory holds each tensor once, and nothing else of the file's size.
    ///
    /// # Errors
    /// [`OpenError::Io`] if the system refuses or the path is no regular file, [`OpenError::Format`] if the
    /// bytes are not a sound Counterpoint file or do not fit into memory, [`OpenError::Cancelled`] if the caller
    /// stops it.
    pub fn open(path: &Path, access: Access, verify: bool, control: &Control) -> Result<Self, OpenError> {
        let mut file = Source::open(path)?;
        if access == Access::Map {
            let map = Arc::new(Map::new(&file.file).map_err(|source| file.error(source))?);
            let header = Header::of_file(map.as_bytes())?;
            return Self::fill(header, control, |placed, buffer| {
                if verify {
                    check(map.as_bytes(), placed, control, |_| {})?;
                }
                let mapped = Buffer::mapped(&map, placed.range.start, placed.range.len());
                *buffer = mapped.ok_or_else(|| memory(placed))?;
                Ok(())
            });
        }
        Self::fill(file.header()?, control, |placed, buffer| {
            *buffer = reserve(placed)?;
            file.tensor(placed, verify, control, |chunk| buffer.append(chunk))
        })
    }

    /// Takes a file from memory, every digest checked; the tensors are copied.
    ///
    /// # Errors
    /// If the bytes are not a sound Counterpoint file, or do not fit into memory a second time, or if the caller
    /// stops it.
    pub fn from_bytes(bytes: &[u8], control: &Control) -> Result<Self, FormatError> {
        Self::fill(Header::of_file(bytes)?, control, |placed, buffer| {
            *buffer = reserve(placed)?;
            check(bytes, placed, control, |chunk| buffer.append(chunk))
        })
    }

    /// The contents that `header` describes, each tensor's buffer filled by `fill`.
    fn fill<E>(
        header: Header,
        control: &Control,
        mut fill: impl FnMut(&Placed, &mut Buffer) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut tensors = BTreeMap::new();
        for placed in header.tensors {
            let mut buffer = Buffer::new();
            let filled = fill(&placed, &mut buffer);
            tensors.insert(placed.name, Tensor { dtype: placed.dtype, shape: placed.shape, buffer });
            if let Err(error) = filled {
                if control.check().is_err() {
                    dispose(tensors);
                }
                return Err(error);
            }
        }
        Ok(Self { record: header.record, tensors })
    }

    /// The method whose index this is.
    pub fn method(&self) -> &str {
        &self.record.method
    }

    /// Checks the method's name.
    ///
    /// # Errors
    /// [`FormatError::Method`] if the file is of another method.
    pub fn expect_method(&self, expected: &str) -> Result<(), FormatError> {
        if self.method() == expected {
            return Ok(());
        }
        Err(FormatError::Method { expected: expected.to_owned(), got: cut(self.method()) })
    }

    /// The version of the crate that wrote the file.
    pub fn version(&self) -> &str {
        &self.record.version
    }

    /// All parameters.
    pub fn params(&self) -> &Params<String, Value> {
        &self.record.params
    }

    /// A tensor's extents, if it is in the file and has not been taken.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape.as_slice())
    }

    /// Takes a tensor out of the file. Its length is exactly that of dtype and shape.
    ///
    /// # Errors
    /// [`FormatError::Tensor`] if it is absent, was taken before, or has another dtype or shape.
    pub fn take(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Buffer, FormatError> {
        let wrong = |got: String| FormatError::tensor(name, format!("{dtype} {shape:?}"), cut(&got));
        match self.tensors.get(name) {
            None => return Err(wrong("no such tensor".to_owned())),
            Some(tensor) if tensor.dtype != dtype || tensor.shape != shape => {
                return Err(wrong(format!("{} {:?}", tensor.dtype, tensor.shape)));
            }
            Some(_) => {}
        }
        self.tensors
            .remove(name)
            .map(|tensor| tensor.buffer)
            .ok_or_else(|| wrong("no such tensor".to_owned()))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`FormatError::Unknown`] if tensors are left that nobody took.
    pub fn finish(self) -> Result<(), FormatError> {
        if self.tensors.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        Err(FormatError::Unknown { got: cut(&format!("{names:?}")) })
    }

    /// A parameter that is a whole number from 0 on. `5.0` is none, nor is `-1`.
    ///
    /// # Errors
    /// [`FormatError::Param`] if it is absent or something else.
    pub fn param_usize(&self, key: &str) -> Result<usize, FormatError> {
        self.param(key, "a whole number from 0 on", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok())
        })
    }

    /// A parameter that is a whole number from 0 to 2⁶⁴ − 1, such as a seed.
    ///
    /// # Errors
    /// [`FormatError::Param`] if it is absent or something else.
    pub fn param_u64(&self, key: &str) -> Result<u64, FormatError> {
        self.param(key, "a whole number from 0 on", Value::as_u64)
    }

    /// A parameter that is a number; JSON numbers are always finite.
    ///
    /// # Errors
    /// [`FormatError::Param`] if it is absent or something else.
    pub fn param_f64(&self, key: &str) -> Result<f64, FormatError> {
        self.param(key, "a number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    /// A parameter that is a text.
    ///
    /// # Errors
    /// [`FormatError::Param`] if it is absent or something else.
    pub fn param_str(&self, key: &str) -> Result<&str, FormatError> {
        self.param(key, "a text", Value::as_str)
    }

    /// A parameter that is true or false.
    ///
    /// # Errors
    /// [`FormatError::Param`] if it is absent or something else.
    pub fn param_bool(&self, key: &str) -> Result<bool, FormatError> {
        self.param(key, "true or false", Value::as_bool)
    }

    fn param<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<T, FormatError> {
        let value = self.record.params.get(key);
        value.and_then(read).ok_or_else(|| FormatError::Param {
            key: key.to_owned(),
            expected: expected.to_owned(),
            got: value.map_or("nothing".to_owned(), |value| cut(&value.to_string())),
        })
    }
}

/// One line of a file's table of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name.
    pub name: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its length.
    pub bytes: usize,
}

/// What a file's header says.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// The method whose index this is.
    pub method: String,
    /// The version of the crate that wrote the file.
    pub version: String,
    /// The format version.
    pub format: u64,
    /// The method's parameters.
    pub params: Params<String, Value>,
    /// The tensors in the order of their bytes.
    pub tensors: Vec<TensorInfo>,
    /// The file's length.
    pub file_bytes: u64,
}

impl From<Header> for Info {
    fn from(header: Header) -> Self {
        let Header { record, tensors, file_bytes } = header;
        let line = |tensor: Placed| TensorInfo {
            bytes: tensor.range.len(),
            name: tensor.name,
            dtype: tensor.dtype,
            shape: tensor.shape,
        };
        Self {
            method: record.method,
            version: record.version,
            format: record.format,
            params: record.params,
            tensors: tensors.into_iter().map(line).collect(),
            file_bytes,
        }
    }
}

/// What a file's header says; the header is checked in full, the data is not read.
///
/// # Errors
/// As [`Contents::open`].
pub fn info(path: &Path) -> Result<Info, OpenError> {
    Ok(Source::open(path)?.header()?.into())
}

/// Checks every byte of a file in memory: structure, header digest, tensor digests.
///
/// # Errors
/// If anything is not as it was written, or if the caller stops it.
pub fn verify_bytes(bytes: &[u8], control: &Control) -> Result<Info, FormatError> {
    let header = Header::of_file(bytes)?;
    for placed in &header.tensors {
        check(bytes, placed, control, |_| {})?;
    }
    Ok(header.into())
}

/// Checks every byte of a file on disk; holds no more than a chunk of it in memory.
///
/// # Errors
/// As [`Contents::open`].
pub fn verify_path(path: &Path, control: &Control) -> Result<Info, OpenError> {
    let mut file = Source::open(path)?;
    let header = file.header()?;
    for placed in &header.tensors {
        file.tensor(placed, true, control, |_| {})?;
    }
    Ok(header.into())
}

/// A file that is read from its beginning to its end.
struct Source<'a> {
    path: &'a Path,
    file: File,
    len: u64,
    chunk: Vec<u8>,
}

impl<'a> Source<'a> {
    fn open(path: &'a Path) -> Result<Self, OpenError> {
        let error = |source| OpenError::Io { path: path.to_owned(), source };
        // Looked at before it is opened, since to open a pipe is to wait for its writer; and after, since a
        // name may come to mean another file in between.
        let regular = |metadata: fs::Metadata| match save::irregular(metadata.file_type()) {
            None => Ok(metadata.len()),
            Some(got) => {
                let message = format!("expected a regular file, got {got}");
                Err(error(io::Error::new(io::ErrorKind::InvalidInput, message)))
            }
        };
        regular(fs::metadata(path).map_err(error)?)?;
        let file = File::open(path).map_err(error)?;
        let len = regular(file.metadata().map_err(error)?)?;
        Ok(Self { path, file, len, chunk: Vec::new() })
    }

    fn error(&self, source: io::Error) -> OpenError {
        OpenError::Io { path: self.path.to_owned(), source }
    }

    fn header(&mut self) -> Result<Header, OpenError> {
        let mut bytes = Vec::new();
        let first = (&self.file).take(header::PREAMBLE as u64).read_to_end(&mut bytes);
        first.map_err(|source| self.error(source))?;
        let len = header::header_len(&bytes, self.len)?;
        let read = bytes.len();
        bytes.resize(len, 0);
        let rest = bytes.get_mut(read..).unwrap_or_default();
        self.file.read_exact(rest).map_err(|source| self.error(source))?;
        Ok(Header::parse(&bytes, self.len)?)
    }

    /// Reads the next tensor, of which `placed` must be the description, chunk by chunk.
    fn tensor(
        &mut self,
        placed: &Placed,
        verify: bool,
        control: &Control,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), OpenError> {
        self.chunk.resize(CHUNK, 0);
        let mut digest = Digest::new();
        let mut left = placed.range.len();
        while left > 0 {
            control.check()?;
            let (chunk, _) = self.chunk.split_at_mut(left.min(CHUNK));
            if let Err(source) = self.file.read_exact(chunk) {
                return Err(self.error(source));
            }
            if verify {
                digest = digest.update(chunk);
            }
            each(chunk);
            left -= chunk.len();
        }
        if verify {
            placed.check(digest.hex())?;
        }
        Ok(())
    }
}

/// Checks the digest of a tensor of the file `bytes`; `each` sees its bytes in parts.
fn check(
    bytes: &[u8],
    placed: &Placed,
    control: &Control,
    each: impl FnMut(&[u8]),
) -> Result<(), FormatError> {
    let (expected, got) = (placed.range.end as u64, bytes.len() as u64);
    let data = bytes.get(placed.range.clone()).ok_or(FormatError::Truncated { expected, got })?;
    placed.check(super::digest(data, control, each)?)
}

fn reserve(placed: &Placed) -> Result<Buffer, FormatError> {
    Buffer::try_with_capacity(placed.range.len()).map_err(|_| memory(placed))
}

fn memory(placed: &Placed) -> FormatError {
    FormatError::Memory { tensor: cut(&placed.name), bytes: placed.range.len() }
}
