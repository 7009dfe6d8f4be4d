//! Bytes on a 64-byte boundary, in memory of our own or in a mapped file.
//!
//! Every table of an index (codes, vectors, ids, graph rows) lives in a [`Buffer`]. Its start is 64-byte
//! aligned, so a kernel may load whole cache lines and a slice of any element type can be lent without a
//! copy; its length is always a multiple of 64 bytes, so the table goes into a Counterpoint file (see
//! [`crate::file`]) as it is, and comes back, read or mapped, as it was.

use std::collections::TryReserveError;
use std::fmt;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use crate::file::Map;
use crate::pages;

/// Alignment and granularity of a buffer in bytes: one cache line, one AVX-512 register.
pub const LINE: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

impl Line {
    const ZERO: Line = Line([0; LINE]);
}

/// A range of a mapped file; `offset` and `len` are multiples of [`LINE`] inside the map.
#[derive(Clone)]
struct MappedRange {
    map: Arc<Map>,
    offset: usize,
    len: usize,
}

/// A growable run of bytes, 64-byte aligned, its length a multiple of 64, owned or memory-mapped.
///
/// Cloning an owned buffer copies its bytes, cloning a mapped one shares the map. A mapped buffer is
/// read-only: the first method that needs to write (`as_mut_*`, `resize`, `append`) copies it to memory of
/// our own, and the file is never touched.
#[derive(Clone, Default)]
pub struct Buffer {
    /// Empty while `mapped` is set.
    lines: Vec<Line>,
    mapped: Option<MappedRange>,
}

impl Buffer {
    /// An empty buffer; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// `len` zero bytes, rounded up to a multiple of 64.
    pub fn zeroed(len: usize) -> Self {
        let mut buffer = Self::new();
        buffer.own(len.div_ceil(LINE)).resize(len.div_ceil(LINE), Line::ZERO);
        buffer
    }

    /// A copy of `bytes`, filled up with zeros to a multiple of 64.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut buffer = Self::new();
        buffer.append(bytes);
        buffer
    }

    /// An empty buffer with room for `len` bytes, for sizes that come from a file or a user.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn try_with_capacity(len: usize) -> Result<Self, TryReserveError> {
        let mut lines = Vec::new();
        lines.try_reserve_exact(len.div_ceil(LINE))?;
        want_huge(&lines);
        Ok(Self { lines, mapped: None })
    }

    /// The range `offset .. offset + len` of a mapped file, or `None` if it leaves the map or is not made of
    /// whole lines.
    pub(crate) fn mapped(map: &Arc<Map>, offset: usize, len: usize) -> Option<Self> {
        let range = map.as_bytes().get(offset..offset.checked_add(len)?)?;
        let whole = range.as_ptr().addr().is_multiple_of(LINE) && len.is_multiple_of(LINE);
        whole.then(|| Self {
            lines: Vec::new(),
            mapped: Some(MappedRange { map: Arc::clone(map), offset, len }),
        })
    }

    /// Length in bytes, a multiple of 64.
    pub fn len(&self) -> usize {
        self.mapped.as_ref().map_or(self.lines.len() * LINE, |range| range.len)
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the bytes lie in a mapped file.
    pub fn is_mapped(&self) -> bool {
        self.mapped.is_some()
    }

    /// Bytes that fit before memory is allocated anew; the length for a mapped buffer.
    pub fn capacity(&self) -> usize {
        self.mapped.as_ref().map_or(self.lines.capacity() * LINE, |range| range.len)
    }

    /// All bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.mapped {
            None => bytemuck::cast_slice(&self.lines),
            // `mapped` checked the range and a map never changes its length.
            Some(range) => {
                range.map.as_bytes().get(range.offset..range.offset + range.len).unwrap_or_default()
            }
        }
    }

    /// All bytes as elements of type `T`, whose size must divide 64 (checked when compiled).
    pub fn as_slice<T: Pod>(&self) -> &[T] {
        const { assert!(LINE.is_multiple_of(size_of::<T>()) && align_of::<T>() <= LINE) };
        bytemuck::cast_slice(self.as_bytes())
    }

    /// All bytes, writable. A mapped buffer is first copied to memory.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(self.own(0))
    }

    /// All bytes as writable elements of type `T`, whose size must divide 64 (checked when compiled). A
    /// mapped buffer is first copied to memory.
    pub fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        const { assert!(LINE.is_multiple_of(size_of::<T>()) && align_of::<T>() <= LINE) };
        bytemuck::cast_slice_mut(self.as_mut_bytes())
    }

    /// Sets the length to `len` rounded up to a multiple of 64; lines that are new are zero, also where an
    /// earlier, longer content once was. Bytes past `len` in the last line kept are left as they are. A
    /// mapped buffer is copied to memory.
    ///
    /// Capacity grows by a quarter, not by the doubling of `Vec`: an index of 10 GB must not take 20 GB at
    /// its first `add`, and a quarter still makes a row-by-row build linear (each byte is moved four times on
    /// average, not once).
    pub fn resize(&mut self, len: usize) {
        let lines = len.div_ceil(LINE);
        self.own(lines).resize(lines, Line::ZERO);
    }

    /// As [`resize`](Self::resize), for a length that comes from a file or a user. On an error nothing has
    /// changed.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn try_resize(&mut self, len: usize) -> Result<(), TryReserveError> {
        let lines = len.div_ceil(LINE);
        if let Some(range) = &self.mapped {
            let mut copy = Self::try_with_capacity(len.max(range.len))?;
            copy.append(self.as_bytes());
            *self = copy;
        }
        self.lines.try_reserve_exact(room(&self.lines, lines))?;
        want_huge(&self.lines);
        self.lines.resize(lines, Line::ZERO);
        Ok(())
    }

    /// Adds `bytes` at the end, filled up with zeros to a multiple of 64. Grows as [`resize`](Self::resize)
    /// does.
    pub fn append(&mut self, bytes: &[u8]) {
        let (whole, rest) = bytes.as_chunks::<LINE>();
        let wanted = self.len() / LINE + bytes.len().div_ceil(LINE);
        let lines = self.own(wanted);
        lines.extend(whole.iter().map(|line| Line(*line)));
        if !rest.is_empty() {
            let mut last = Line::ZERO;
            last.0.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            lines.push(last);
        }
    }

    /// Gives back capacity that is not used; nothing to do for a mapped buffer.
    pub fn shrink_to_fit(&mut self) {
        self.lines.shrink_to_fit();
    }

    /// The lines in memory of our own, with room for `lines` of them.
    fn own(&mut self, lines: usize) -> &mut Vec<Line> {
        if let Some(range) = self.mapped.take() {
            let bytes = range.map.as_bytes().get(range.offset..range.offset + range.len).unwrap_or_default();
            self.lines.reserve_exact(lines.max(range.len / LINE));
            want_huge(&self.lines);
            self.lines.extend(bytes.as_chunks::<LINE>().0.iter().map(|line| Line(*line)));
        }
        let more = room(&self.lines, lines);
        if more > 0 {
            self.lines.reserve_exact(more);
            want_huge(&self.lines);
        }
        &mut self.lines
    }
}

/// Asks for huge pages under all of `lines`' capacity, if that is large.
fn want_huge(lines: &Vec<Line>) {
    pages::want_huge(lines.as_ptr().cast(), lines.capacity() * LINE);
}

/// How many lines to reserve beyond those in use so that `wanted` fit: none if they do, else a quarter's
/// growth at least.
fn room(lines: &Vec<Line>, wanted: usize) -> usize {
    if wanted <= lines.capacity() {
        return 0;
    }
    wanted.max(lines.capacity() + lines.capacity() / 4) - lines.len()
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Buffer {}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len()).field("mapped", &self.is_mapped()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_whole_lines_and_zero_filled() {
        for len in 0..200 {
            let buffer = Buffer::zeroed(len);
            assert_eq!(buffer.len(), len.next_multiple_of(LINE));
            assert!(buffer.as_bytes().iter().all(|&b| b == 0));
            let bytes = vec![7u8; len];
            let copy = Buffer::from_bytes(&bytes);
            assert_eq!(copy.len(), buffer.len());
            assert_eq!(&copy.as_bytes()[..len], &bytes[..]);
            assert!(copy.as_bytes()[len..].iter().all(|&b| b == 0));
        }
        assert!(Buffer::new().is_empty() && Buffer::new().capacity() == 0);
    }

    #[test]
    fn slices_of_every_width_are_aligned() {
        let mut buffer = Buffer::zeroed(1000);
        assert_eq!(buffer.as_bytes().as_ptr().addr() % LINE, 0);
        buffer.as_mut_slice::<u64>()[1] = 0x0102_0304_0506_0708;
        assert_eq!(buffer.as_slice::<u8>()[8], 8);
        assert_eq!(buffer.as_slice::<u16>()[4], 0x0708);
        assert_eq!(buffer.as_slice::<u32>()[2], 0x0506_0708);
        assert_eq!(buffer.as_slice::<f32>().len(), 256);
        assert_eq!(buffer.as_slice::<i64>().len(), 128);
        assert!(Buffer::new().as_slice::<u64>().is_empty());
    }

    #[test]
    fn lines_dropped_and_regrown_are_zero() {
        let mut buffer = Buffer::from_bytes(&[9; 256]);
        buffer.resize(65);
        assert_eq!(buffer.as_bytes(), [9; 128]);
        buffer.resize(256);
        assert_eq!(&buffer.as_bytes()[128..], [0; 128]);
        buffer.resize(0);
        assert!(buffer.is_empty() && buffer.capacity() >= 256);
        buffer.shrink_to_fit();
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn growth_is_a_quarter_and_amortised() {
        let mut buffer = Buffer::zeroed(1 << 20);
        buffer.resize((1 << 20) + 1);
        assert!(buffer.capacity() <= (1 << 20) + (1 << 18) + LINE, "{}", buffer.capacity());
        let (mut moves, mut capacity) = (0, 0);
        let mut grown = Buffer::new();
        for _ in 0..100_000 {
            grown.append(&[1; LINE]);
            moves += usize::from(grown.capacity() != capacity);
            capacity = grown.capacity();
        }
        assert_eq!(grown.len(), 100_000 * LINE);
        assert!(moves < 70, "{moves} reallocations");
    }

    #[test]
    fn impossible_sizes_are_errors_and_change_nothing() {
        let mut buffer = Buffer::from_bytes(&[3; 64]);
        assert!(Buffer::try_with_capacity(usize::MAX).is_err());
        assert!(buffer.try_resize(usize::MAX).is_err());
        assert_eq!(buffer, Buffer::from_bytes(&[3; 64]));
        buffer.try_resize(100).unwrap();
        assert_eq!(buffer.len(), 128);
        assert_eq!(format!("{buffer:?}"), "Buffer { len: 128, mapped: false }");
    }
}
