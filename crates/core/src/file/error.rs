//! What can be wrong with a file, and with saving one.

use std::io;
use std::path::PathBuf;

use crate::threads::Cancelled;

/// The bytes are not a sound Counterpoint file. Every message says what was expected and what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file does not begin as a Counterpoint file does.
    #[error(
        "not a Counterpoint file: expected a safetensors header that begins with {expected}, got {got:?}"
    )]
    NotCounterpoint {
        /// The text every header begins with.
        expected: &'static str,
        /// The file's first bytes after the header length, cut short.
        got: String,
    },
    /// The declared header length is out of bounds.
    #[error(
        "header length: expected at most {limit} bytes and data on a 64-byte boundary, got a header of {got} bytes"
    )]
    HeaderLength {
        /// The most bytes a header may have, its own length field included.
        limit: u64,
        /// The declared length, its own length field included.
        got: u64,
    },
    /// The file ends inside its header.
    #[error("cut short: expected at least {expected} bytes, got {got}")]
    Truncated {
        /// The bytes the header alone needs.
        expected: u64,
        /// The file's length.
        got: u64,
    },
    /// The file's length is not what its header declares: cut short, or bytes after the end.
    #[error("wrong length: expected {expected} bytes as its header declares, got {got}")]
    Length {
        /// Header plus tensors.
        expected: u64,
        /// The file's length.
        got: u64,
    },
    /// The file is of another format version.
    #[error("written by format {got}, this build reads {expected}")]
    Version {
        /// The version this build reads.
        expected: u64,
        /// The version the file declares.
        got: u64,
    },
    /// The header is not as it was written.
    #[error("damaged header: expected digest {expected}, got {got}")]
    HeaderDigest {
        /// The digest the header holds.
        expected: String,
        /// The digest of the header's bytes.
        got: String,
    },
    /// The header is no JSON, no safetensors header, or holds something other than version 1 demands.
    #[error("invalid header: {reason}")]
    Header {
        /// What is wrong, from the parser that found it.
        reason: String,
    },
    /// A tensor's bytes are not as they were written.
    #[error("damaged tensor {tensor:?}: expected digest {expected}, got {got}")]
    Digest {
        /// The tensor's name.
        tensor: String,
        /// The digest the header holds.
        expected: String,
        /// The digest of the tensor's bytes.
        got: String,
    },
    /// A tensor is absent, or of another type or shape, or its length is no multiple of 64.
    #[error("tensor {tensor:?}: expected {expected}, got {got}")]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// What the reader asks for.
        expected: String,
        /// What the file holds.
        got: String,
    },
    /// The file holds tensors that its method does not know.
    #[error("unknown tensors: expected no others, got {got}")]
    Unknown {
        /// Their names.
        got: String,
    },
    /// The file holds an index of another method.
    #[error("method: expected {expected:?}, got {got:?}")]
    Method {
        /// The method asked for.
        expected: String,
        /// The file's method.
        got: String,
    },
    /// A parameter is absent or of another kind.
    #[error("parameter {key:?}: expected {expected}, got {got}")]
    Param {
        /// The parameter's key.
        key: String,
        /// What the reader asks for.
        expected: String,
        /// What the file holds.
        got: String,
    },
    /// The container is sound but its content makes no index: an id out of range, a number that is not
    /// finite.
    #[error("{what}: expected {expected}, got {got}")]
    Content {
        /// What was looked at.
        what: String,
        /// What would be right.
        expected: String,
        /// What the file holds.
        got: String,
    },
    /// The tensor is sound as far as can be seen but does not fit into memory.
    #[error("tensor {tensor:?}: expected to reserve {bytes} bytes of memory, got none")]
    Memory {
        /// The tensor's name.
        tensor: String,
        /// Its length.
        bytes: usize,
    },
    /// Stopped by the caller before all was checked; nothing is wrong so far.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl FormatError {
    /// The content of a sound container is wrong: [`FormatError::Content`] from anything that can be
    /// displayed.
    pub fn content(what: impl ToString, expected: impl ToString, got: impl ToString) -> Self {
        Self::Content { what: what.to_string(), expected: expected.to_string(), got: got.to_string() }
    }

    pub(super) fn header(reason: impl ToString) -> Self {
        Self::Header { reason: cut(&reason.to_string()) }
    }

    pub(super) fn tensor(tensor: &str, expected: impl ToString, got: impl ToString) -> Self {
        Self::Tensor { tensor: cut(tensor), expected: expected.to_string(), got: got.to_string() }
    }
}

/// At most 200 characters of a text that may come from a hostile file.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system refuses, or the path is not a regular file.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The path asked for.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file's bytes are not sound.
    #[error(transparent)]
    Format(FormatError),
    /// Stopped by the caller.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<FormatError> for OpenError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Cancelled(cancelled) => OpenError::Cancelled(cancelled),
            error => OpenError::Format(error),
        }
    }
}

/// A file cannot be saved. The destination is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The operating system refuses.
    #[error("cannot save {}: {source}", path.display())]
    Io {
        /// The path asked for.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The writer that was handed in refuses.
    #[error("cannot write: {0}")]
    Write(#[source] io::Error),
    /// The destination exists and is a folder, a device or a pipe.
    #[error("cannot save {}: expected a regular file or nothing there, got {got}", path.display())]
    NotRegular {
        /// The destination, links followed.
        path: PathBuf,
        /// What is there.
        got: &'static str,
    },
    /// A tensor cannot be stored as it is.
    #[error("cannot save tensor {tensor:?}: expected {expected}, got {got}")]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// What would be right.
        expected: String,
        /// What it is.
        got: String,
    },
    /// The header would be one that this build does not read: too long, or parameters nested too deep.
    #[error("cannot save: the file could not be read back: {0}")]
    Header(#[source] FormatError),
    /// Stopped by the caller.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
