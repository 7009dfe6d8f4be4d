//! What is written: a method's name, its parameters and its tensors.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

use super::header::{self, Entry};
use super::save::{self, Sink};
use super::{Dtype, SaveError};
use crate::buffer::LINE;
use crate::threads::Control;

/// Bytes written at a time; a cancelled call stops between two parts.
const PART: usize = 4 << 20;

/// A tensor to be written: `bytes` are its elements in row-major order.
#[derive(Debug, Clone)]
pub struct TensorView<'a> {
    /// Its name, unique in the document, not `__metadata__`.
    pub name: &'a str,
    /// Its element type.
    pub dtype: Dtype,
    /// Its extents; their product times the element's size is the length of `bytes`.
    pub shape: Vec<usize>,
    /// Its bytes, a multiple of 64 of them; they need not be aligned.
    pub bytes: &'a [u8],
}

/// A Counterpoint file to be written.
#[derive(Debug, Clone)]
pub struct Document<'a> {
    /// Which method reads it.
    pub method: &'a str,
    /// What shapes the index, beside the tensors.
    pub params: Map<String, Value>,
    /// The tensors in the order in which they are to lie in the file.
    pub tensors: Vec<TensorView<'a>>,
}

impl Document<'_> {
    /// The file as bytes: the same document gives the same bytes.
    ///
    /// # Errors
    /// [`SaveError::Tensor`] and [`SaveError::Header`] for a document that no reader would take,
    /// [`SaveError::Cancelled`] for one that the caller no longer wants.
    pub fn to_bytes(&self, control: &Control) -> Result<Vec<u8>, SaveError> {
        let header = self.header(control)?;
        let data: usize = self.tensors.iter().map(|tensor| tensor.bytes.len()).sum();
        let mut bytes = Vec::with_capacity(header.len() + data);
        self.write_all(&header, &mut bytes, control)?;
        Ok(bytes)
    }

    /// Writes the file's bytes; neither buffers nor flushes. A document that no reader would take is refused
    /// before the first byte.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes), and [`SaveError::Write`] for what the writer says.
    pub fn write_to<W: Write + ?Sized>(&self, writer: &mut W, control: &Control) -> Result<(), SaveError> {
        self.write_all(&self.header(control)?, writer, control)
    }

    /// Saves to `path` so that there is, at any moment and after any error or crash, the old file or the new
    /// one.
    ///
    /// Links are followed, then a hidden temporary file in the same folder (`.<name>.tmp-<process>-<random>`)
    /// is filled and renamed to its place. With `durable` the bytes are brought to the disk before the rename
    /// and the folder after it, so that the promise holds for a power cut as well; without, only for an error
    /// or a killed process. An old file's permissions are kept (its owner and hard links are not); a new file
    /// gets the usual ones of the process (0666 less the umask). Since the old file is replaced, not written
    /// to, it may be mapped, by this index too, and it is the folder that must be writable. Temporary files
    /// of the same name that a killed process left more than an hour ago are removed.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes); [`SaveError::NotRegular`] for a folder, device or pipe, and
    /// [`SaveError::Io`] for what the system says. On any error the destination is as it was and the
    /// temporary file is gone.
    pub fn save(&self, path: &Path, durable: bool, control: &Control) -> Result<(), SaveError> {
        self.save_through(path, durable, control, |file| Box::new(file))
    }

    /// As `save`, through a sink of the caller's choice: tests hand in one that fails.
    pub(super) fn save_through<F>(
        &self,
        path: &Path,
        durable: bool,
        control: &Control,
        sink: F,
    ) -> Result<(), SaveError>
    where
        F: for<'f> FnOnce(&'f File) -> Box<dyn Sink + 'f>,
    {
        let header = self.header(control)?;
        save::replace(path, durable, control, sink, |writer| self.write_all(&header, writer, control))
    }

    fn write_all<W: Write + ?Sized>(
        &self,
        header: &[u8],
        writer: &mut W,
        control: &Control,
    ) -> Result<(), SaveError> {
        writer.write_all(header).map_err(SaveError::Write)?;
        for part in self.tensors.iter().flat_map(|tensor| tensor.bytes.chunks(PART)) {
            control.check()?;
            writer.write_all(part).map_err(SaveError::Write)?;
        }
        Ok(control.check()?)
    }

    /// Checks the document and builds its header; reads every tensor once, for its digest.
    fn header(&self, control: &Control) -> Result<Vec<u8>, SaveError> {
        let mut names = HashSet::new();
        let mut entries = Vec::with_capacity(self.tensors.len());
        let mut offset = 0usize;
        for tensor in &self.tensors {
            let wrong = |expected: String, got: String| SaveError::Tensor {
                tensor: tensor.name.to_owned(),
                expected,
                got,
            };
            if tensor.name == "__metadata__" || !names.insert(tensor.name) {
                return Err(wrong("a name of its own".to_owned(), "one that is taken".to_owned()));
            }
            let elements =
                tensor.shape.iter().try_fold(tensor.dtype.size(), |n, &extent| n.checked_mul(extent));
            let len = tensor.bytes.len();
            if elements != Some(len) || !len.is_multiple_of(LINE) {
                let bytes = elements.map_or("more than all".to_owned(), |n| n.to_string());
                let expected =
                    format!("{bytes} bytes for {} {:?}, a multiple of 64", tensor.dtype, tensor.shape);
                return Err(wrong(expected, format!("{len} bytes")));
            }
            let end = offset
                .checked_add(len)
                .ok_or_else(|| wrong("a sum of lengths in 64 bits".into(), "more".into()))?;
            entries.push(Entry {
                name: tensor.name.to_owned(),
                info: TensorInfo {
                    dtype: tensor.dtype.to_safetensors(),
                    shape: tensor.shape.clone(),
                    data_offsets: (offset, end),
                },
                digest: super::digest(tensor.bytes, control, |_| {})?,
            });
            offset = end;
        }
        header::build(self.method, &self.params, entries).map_err(SaveError::Header)
    }
}
