//! Putting a new file in the place of an old one, all or nothing.

use std::ffi::OsString;
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::SaveError;

/// Small writes are gathered up to this; larger ones pass through.
const BUFFER: usize = 1 << 20;
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

/// Fills a temporary sibling of `path` by `body` and renames it to `path`: see
/// [`Document::save`](super::Document::save).
pub(super) fn replace<F, B>(path: &Path, durable: bool, sink: F, body: B) -> Result<(), SaveError>
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
    builder.prefix(&prefix);
    #[cfg(unix)]
    {
        // The crate's default is 0600; this is what `File::create` asks for, and the umask is taken off it.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let temp = builder.tempfile_in(folder).map_err(io_error)?; // removed when dropped, so by every `?` below

    let mut writer = BufWriter::with_capacity(BUFFER, sink(temp.as_file()));
    body(&mut writer).map_err(|error| match error {
        SaveError::Write(source) => io_error(source),
        other => other,
    })?;
    writer.flush().map_err(io_error)?;
    let mut sink = writer.into_inner().map_err(|error| io_error(error.into_error()))?;
    if let Some(old) = old {
        let fresh = temp.as_file().metadata().map_err(io_error)?;
        if fresh.permissions() != old.permissions() {
            temp.as_file().set_permissions(old.permissions()).map_err(io_error)?;
        }
    }
    if durable {
        sink.sync().map_err(io_error)?;
    }
    drop(sink);
    temp.persist(&target).map_err(|error| io_error(error.error))?;
    if durable {
        sync_folder(folder);
    }
    Ok(())
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
