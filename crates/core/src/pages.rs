//! Huge pages for large tables: a hint to the system, the contents stay as they are.
//!
//! A scan of 180 MB touches 44,000 pages of 4 KiB, whose frames lie anywhere; the address translation and the
//! hardware prefetchers, which stop at a page's end, then cost a third of the memory's bandwidth, more or less
//! as the frames happen to fall. Linux gives pages of 2 MiB to ranges that ask for them (`madvise`, the usual
//! setting). Elsewhere, and where the system refuses, nothing happens.

/// Ranges shorter than this gain little and may waste most of a page.
const WORTH: usize = 8 << 20;

/// Asks for huge pages for `len` bytes from `start`, best before they are first written.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "one system call")]
pub(crate) fn want_huge(start: *const u8, len: usize) {
    if len < WORTH {
        return;
    }
    // `madvise` wants a page's boundary; 2 MiB is one whatever the page size.
    let skip = start.align_offset(2 << 20);
    let Some(len) = len.checked_sub(skip) else { return };
    // SAFETY: `madvise` reads and writes no memory, and MADV_HUGEPAGE changes only the size of the pages that
    // back a range, never their contents or protection. For an address that is not mapped it returns an error,
    // which a hint may ignore. So no argument can break memory safety.
    let _ = unsafe { libc::madvise(start.wrapping_add(skip).cast_mut().cast(), len, libc::MADV_HUGEPAGE) };
}

/// Asks for huge pages where there is such a call.
#[cfg(not(target_os = "linux"))]
pub(crate) fn want_huge(_: *const u8, _: usize) {}
