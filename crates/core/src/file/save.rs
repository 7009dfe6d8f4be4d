//! Putting a new file in the place of an old one, all or nothing.

use std::ffi::OsString;
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::SaveError;
use crate::threads::{Control, dispose};

/// Small writes are gathered up to this; larger ones pass through.
const BUFFER: usize = 1 << 20;
/// After so many bytes a durable save waits for the disk, so that it can be cancelled between two waits.
const SYNC: usize = 16 << 20;
/// An old file from this size on is given back aside.
const LARGE: u64 = 64 << 20;
/// A temporary file that nobody has written to for so long belongs to a process that is gone.
const STALE: Duration = Duration::from_secs(60 * 60);
/// How many links are followed to the destination before it counts as a loop (Linux's own limit).
const MAX_LINKS: usize = 40;

/// Where the bytes go: a file, or what a test puts in its place.
pub(super) trait Sink: Write {
    /// Brings what was written to the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for &File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn sync(&mut self) -> io::Result<()> {
        (**self).sync()
    }
}

/// Waits for the disk now and then, if it is to.
struct Steady<S> {
    sink: S,
    durable: bool,
    waiting: usize,
}

impl<S: Sink> Write for Steady<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.durable && self.waiting >= SYNC {
            self.sink.sync()?;
            self.waiting = 0;
        }
        let written = self.sink.write(bytes)?;
        self.waiting += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Fills a temporary sibling of `path` by `body` and renames it to `path`: see
/// [`Document::save`](super::Document::save).
pub(super) fn replace<F, B>(
    path: &Path,
    durable: bool,
    control: &Control,
    sink: F,
    body: B,
) -> Result<(), SaveError>
where
    F: for<'f> FnOnce(&'f File) -> Box<dyn Sink + 'f>,
    B: FnOnce(&mut dyn Write) -> Result<(), SaveError>,
{
    let io_error = |source| SaveError::Io { path: path.to_owned(), source };
    let target = resolve(path).map_err(io_error)?;
    let old = existing(&target).map_err(io_error)?;
    if let Some(got) = old.as_ref().and_then(|old| irregular(old.file_type())) {
        return Err(SaveError::NotRegular { path: target, got });
    }
    let name = target.file_name().ok_or_else(|| {
        io_error(io::Error::new(io::ErrorKind::InvalidInput, "expected a path that ends in a file name"))
    })?;
    let folder = folder_of(&target);
    let stem = stem(&name.to_string_lossy());
    sweep(folder, &stem);

    let mut builder = tempfile::Builder::new();
    let prefix = OsString::from(format!("{stem}{}-", std::process::id()));
    // With the mode of any new file (the crate's own functions ask for 0600, and wrap errors).
    let temp = builder.prefix(&prefix).make_in(folder, |path| File::create_new(path)).map_err(io_error)?;
    let (file, place) = temp.into_parts(); // the file is removed when `place` is dropped
    let filled = fill(&file, old.as_ref(), durable, sink, body).map_err(|error| match error {
        SaveError::Write(source) => io_error(source),
        other => other,
    });
    if let Err(error) = filled.and_then(|()| Ok(control.check()?)) {
        drop(place);
        if control.check().is_err() {
            dispose(file);
        }
        return Err(error);
    }
    // The rename alone takes no time if somebody still has the old file open.
    let large = old.filter(|old| cfg!(unix) && old.len() >= LARGE).and_then(|_| File::open(&target).ok());
    place.persist(&target).map_err(|error| io_error(error.error))?;
    if let Some(large) = large {
        dispose(large);
    }
    if durable {
        sync_folder(folder);
    }
    Ok(())
}

/// Writes what `body` writes to a new file, with the permissions of the old one.
fn fill<F, B>(file: &File, old: Option<&Metadata>, durable: bool, sink: F, body: B) -> Result<(), SaveError>
where
    F: for<'f> FnOnce(&'f File) -> Box<dyn Sink + 'f>,
    B: FnOnce(&mut dyn Write) -> Result<(), SaveError>,
{
    let steady = Steady { sink: sink(file), durable, waiting: 0 };
    let mut writer = BufWriter::with_capacity(BUFFER, steady);
    body(&mut writer)?;
    writer.flush().map_err(SaveError::Write)?;
    let mut steady = writer.into_inner().map_err(|error| SaveError::Write(error.into_error()))?;
    if let Some(old) = old
        && file.metadata().map_err(SaveError::Write)?.permissions() != old.permissions()
    {
        file.set_permissions(old.permissions()).map_err(SaveError::Write)?;
    }
    if durable { steady.sink.sync().map_err(SaveError::Write) } else { Ok(()) }
}

/// `path` with a link at its end followed, also one that points to nothing yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        if !existing(&target)?.is_some_and(|metadata| metadata.is_symlink()) {
            return Ok(target);
        }
        let link = fs::read_link(&target)?;
        target = folder_of(&target).join(link);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("expected at most {MAX_LINKS} links, got more")))
}

/// What is at `path`, itself rather than what it links to, if anything.
fn existing(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a file type is called if it is not that of a regular file.
pub(super) fn irregular(kind: FileType) -> Option<&'static str> {
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => None,
        (_, true) => Some("a folder"),
        _ => Some("a device, pipe or socket"),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the names of a file's temporary siblings begin with; a long name is cut, since theirs may have 255
/// bytes too.
fn stem(name: &str) -> String {
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= 180).last();
    format!(".{}.tmp-", name.get(..end.unwrap_or(0)).unwrap_or_default())
}

/// Removes what killed saves left. Failures do not matter: the leftovers are never read, and the next save
/// tries again.
fn sweep(folder: &Path, stem: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours =
            name.to_str().and_then(|name| name.strip_prefix(stem)).and_then(|rest| rest.split_once('-'));
        let ours = ours.is_some_and(|(process, random)| {
            process.parse::<u32>().is_ok()
                && !random.is_empty()
                && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        let stale = || {
            let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
            metadata.modified().ok()?.elapsed().ok().filter(|&age| age > STALE)
        };
        if ours && stale().is_some() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Brings the rename to the disk. A failure is ignored: the new file is complete and in its place, so the
/// save has happened; only whether a power cut right now would bring the old one back is unknown, and some
/// file systems refuse this call on a folder as such.
fn sync_folder(folder: &Path) {
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}
