//! A file seen as memory: outside the kernels, one of two places that need `unsafe`.

use std::fmt;
use std::fs::File;
use std::io;

use memmap2::Mmap;

/// A whole file mapped read-only into memory, at least page aligned.
///
/// # Hazard
/// The bytes are the file's. Counterpoint itself never changes a file in place (a save puts a new file under
/// the old name, and a map keeps the old one alive), but nothing stops another program from doing so. If the
/// file is **cut short while it is mapped**, the next access past its new end ends the process with `SIGBUS`;
/// if it is overwritten in place, a search may return wrong results, and what was checked when the file was
/// opened no longer holds. No library can catch this. Map only files that are replaced as a whole; open
/// others with [`Access::Read`](super::Access::Read).
pub struct Map {
    bytes: Mmap,
}

impl Map {
    /// Maps the whole of `file`, which may be closed afterwards.
    ///
    /// # Errors
    /// Whatever the operating system answers: no such facility on this file, no address space left.
    pub fn new(file: &File) -> io::Result<Self> {
        // SAFETY: `Mmap::map` asks that the file is not changed while it is mapped. We cannot enforce that,
        // no program can; what we can say is this. (1) No code of ours writes to an existing file: `save`
        // fills a new file and renames it, so our own saves leave the mapped inode as it is. (2) The map is
        // private to this type, read-only, and lent only as `&[u8]` tied to `&self`, so no safe code of ours
        // writes through it or outlives it. (3) Every bit pattern is a valid `u8`, and `Buffer` reinterprets
        // only as `Pod` types, so a foreign write cannot make an invalid value. A foreign in-place write
        // remains a data race and a foreign truncation a SIGBUS: the type's documentation tells users so, and
        // `Access::Read` avoids both.
        let bytes = unsafe { Mmap::map(file) }?;
        Ok(Self { bytes })
    }

    /// The file's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("len", &self.bytes.len()).finish()
    }
}
