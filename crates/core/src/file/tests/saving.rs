//! Saves that succeed and saves that fail at every point there is.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::file::save::Sink;

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A sink that works until its `fail`-th call, and then does `fault`; writes at most `most` bytes a call.
struct Faulty<'f> {
    file: &'f File,
    calls: Rc<Cell<usize>>,
    fail: usize,
    fault: io::ErrorKind,
    most: usize,
}

impl Faulty<'_> {
    fn call(&mut self) -> io::Result<()> {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() == self.fail { Err(self.fault.into()) } else { Ok(()) }
    }
}

impl Write for Faulty<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call()?;
        self.file.write(&bytes[..bytes.len().min(self.most)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call()?;
        self.file.flush()
    }
}

impl Sink for Faulty<'_> {
    fn sync(&mut self) -> io::Result<()> {
        self.call()?;
        self.file.sync_all()
    }
}

/// Saves `small(fill)` through a sink that fails at its `fail`-th call; returns how many calls there were.
fn save_faulty(
    path: &Path,
    fill: u8,
    fail: usize,
    fault: io::ErrorKind,
    most: usize,
) -> (Result<(), SaveError>, usize) {
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    // The closure must serve any lifetime of the file, so it cannot borrow; `Rc` is cloned in.
    let result = with_small(fill, |document| {
        document.save_through(path, true, &free(), move |file| {
            Box::new(Faulty { file, calls: counted, fail, fault, most })
        })
    });
    (result, calls.get())
}

#[test]
fn a_failure_at_any_call_leaves_the_old_file() {
    let (folder, path) = on_disk(&small(3));
    let (result, calls) = save_faulty(&path, 4, usize::MAX, io::ErrorKind::Other, 16);
    result.unwrap();
    assert!(calls > 40, "{calls}");
    assert_eq!(fs::read(&path).unwrap(), small(4));
    for fail in 1..=calls {
        for fault in [io::ErrorKind::StorageFull, io::ErrorKind::Other, io::ErrorKind::WriteZero] {
            let (result, _) = save_faulty(&path, 5, fail, fault, 16);
            let error = result.unwrap_err();
            assert!(matches!(&error, SaveError::Io { source, .. } if source.kind() == fault), "{error}");
            assert!(error.to_string().starts_with(&format!("cannot save {}: ", path.display())), "{error}");
            assert_eq!(fs::read(&path).unwrap(), small(4), "call {fail}");
            assert_eq!(names(folder.path()), ["a.cp"], "call {fail}");
        }
    }
}

#[test]
fn interrupted_and_short_writes_are_continued() {
    let (folder, path) = on_disk(&small(3));
    for fail in 1..=small(3).len() / 64 {
        let fill = 10 + u8::try_from(fail).unwrap();
        save_faulty(&path, fill, fail, io::ErrorKind::Interrupted, 64).0.unwrap();
        assert_eq!(fs::read(&path).unwrap(), small(fill));
    }
    assert_eq!(names(folder.path()), ["a.cp"]);
}

#[test]
fn a_failed_rename_removes_the_temporary_file() {
    struct Blocker<'f>(&'f File, PathBuf);
    impl Write for Blocker<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    impl Sink for Blocker<'_> {
        fn sync(&mut self) -> io::Result<()> {
            fs::create_dir(&self.1)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.cp");
    let place = path.clone();
    let result =
        with_small(3, |d| d.save_through(&path, true, &free(), move |file| Box::new(Blocker(file, place))));
    assert!(matches!(result, Err(SaveError::Io { .. })), "{result:?}");
    assert_eq!(names(folder.path()), ["a.cp"]);
    assert!(path.is_dir());
}

#[test]
fn save_writes_what_to_bytes_gives() {
    let folder = tempfile::tempdir().unwrap();
    for (fill, durable) in [(3, true), (4, false)] {
        for name in ["a.cp", "ü 音.cp", &"n".repeat(255), &"é".repeat(127)] {
            let path = folder.path().join(name);
            with_small(fill, |document| document.save(&path, durable, &free())).unwrap();
            assert_eq!(fs::read(&path).unwrap(), small(fill));
        }
        assert_eq!(names(folder.path()).len(), 4);
    }
    let mut written = Vec::new();
    with_small(3, |document| document.write_to(&mut written, &free())).unwrap();
    assert_eq!(written, small(3));
}

#[test]
fn a_file_may_be_saved_over_its_own_map() {
    let (_folder, path) = on_disk(&small(3));
    let mut old = Contents::open(&path, Access::Map, false, &free()).unwrap();
    let codes = old.take("codes", Dtype::U8, &[2, 64]).unwrap();
    let changed: Vec<u8> = codes.as_bytes().iter().map(|byte| !byte).collect();
    let tensors = vec![
        TensorView { name: "old", dtype: Dtype::U8, shape: vec![128], bytes: codes.as_bytes() },
        TensorView { name: "new", dtype: Dtype::U8, shape: vec![128], bytes: &changed },
    ];
    Document { method: "m", params: Params::new(), tensors }.save(&path, true, &free()).unwrap();
    assert!(codes.is_mapped() && codes.as_bytes().iter().zip(0u8..).all(|(&byte, i)| byte == i ^ 3));
    let mut new = Contents::open(&path, Access::Map, true, &free()).unwrap();
    assert_eq!(new.take("old", Dtype::U8, &[128]).unwrap(), codes);
}

#[test]
fn destinations_that_cannot_be_are_errors() {
    let (folder, path) = on_disk(&small(3));
    let save = |path: &Path| with_small(4, |document| document.save(path, true, &free()));
    let io = |path: &Path| matches!(save(path), Err(SaveError::Io { .. }));
    assert!(io(&path.join("inside-a-file.cp")));
    assert!(io(&folder.path().join("missing/a.cp")));
    assert!(io(Path::new("")));
    assert!(io(&folder.path().join("x".repeat(300))));
    let error = save(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("expected a regular file or nothing there, got a folder"), "{error}");
    assert_eq!(names(folder.path()), ["a.cp"]);
    assert_eq!(fs::read(&path).unwrap(), small(3));
}

#[test]
fn what_is_no_file_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| Contents::open(path, Access::Read, true, &free()).unwrap_err().to_string();
    assert!(open(folder.path()).ends_with("expected a regular file, got a folder"));
    assert!(open(&folder.path().join("missing")).starts_with("cannot read "));
    #[cfg(unix)]
    assert!(open(Path::new("/dev/zero")).ends_with("expected a regular file, got a device, pipe or socket"));
}

#[test]
fn stale_temporary_files_are_swept_and_nothing_else() {
    let (folder, path) = on_disk(&small(3));
    let old = [
        ".a.cp.tmp-12-abc",
        ".a.cp.tmp-99999-X1y2Z3",
        ".a.cp.tmp-notes",
        ".a.cp.tmp-1-a.b",
        ".b.cp.tmp-12-abc",
    ];
    for name in old {
        let file = File::create(folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3700)).unwrap();
    }
    File::create(folder.path().join(".a.cp.tmp-13-new")).unwrap();
    with_small(4, |document| document.save(&path, false, &free())).unwrap();
    assert_eq!(
        names(folder.path()),
        [".a.cp.tmp-1-a.b", ".a.cp.tmp-13-new", ".a.cp.tmp-notes", ".b.cp.tmp-12-abc", "a.cp"]
    );
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn devices_are_not_replaced() {
        let before = fs::symlink_metadata("/dev/full").unwrap();
        let error =
            with_small(4, |document| document.save(Path::new("/dev/full"), true, &free())).unwrap_err();
        assert!(matches!(error, SaveError::NotRegular { .. }), "{error}");
        assert_eq!(fs::symlink_metadata("/dev/full").unwrap().rdev(), before.rdev());
    }

    #[test]
    fn a_full_device_is_an_error_of_the_writer() {
        let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = with_small(4, |document| document.write_to(&mut full, &free())).unwrap_err();
        assert!(
            matches!(&error, SaveError::Write(source) if source.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
    }

    #[test]
    fn permissions_are_kept_or_those_of_any_new_file() {
        let (folder, path) = on_disk(&small(3));
        for old in [0o600, 0o640, 0o666, 0o444, 0o755] {
            fs::set_permissions(&path, fs::Permissions::from_mode(old)).unwrap();
            with_small(4, |document| document.save(&path, true, &free())).unwrap();
            assert_eq!(mode(&path), old);
        }
        let (new, usual) = (folder.path().join("new"), folder.path().join("usual"));
        with_small(4, |document| document.save(&new, true, &free())).unwrap();
        File::create(&usual).unwrap();
        assert_eq!(mode(&new), mode(&usual));
    }

    #[test]
    fn links_are_followed() {
        let (folder, path) = on_disk(&small(3));
        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        let (near, far) = (folder.path().join("near"), other.join("far"));
        symlink("../a.cp", &far).unwrap();
        symlink("other/far", &near).unwrap();
        with_small(4, |document| document.save(&near, true, &free())).unwrap();
        assert!(near.is_symlink() && far.is_symlink() && !path.is_symlink());
        assert_eq!(fs::read(&path).unwrap(), small(4));

        let (dangling, target) = (folder.path().join("dangling"), folder.path().join("target"));
        symlink("target", &dangling).unwrap();
        with_small(5, |document| document.save(&dangling, true, &free())).unwrap();
        assert!(dangling.is_symlink());
        assert_eq!(fs::read(&target).unwrap(), small(5));

        let circle = folder.path().join("circle");
        symlink("circle", &circle).unwrap();
        let error = with_small(5, |document| document.save(&circle, true, &free())).unwrap_err().to_string();
        assert!(error.ends_with("expected at most 40 links, got more"), "{error}");
        assert_eq!(names(&other), ["far"]);
    }

    #[test]
    fn a_folder_without_write_permission_leaves_the_old_file() {
        let (folder, path) = on_disk(&small(3));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let result = with_small(4, |document| document.save(&path, true, &free()));
        // The superuser is not bound by permissions: the save then succeeds, and must have done so in full.
        let probe = File::create(folder.path().join("probe"));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(result.is_ok(), probe.is_ok());
        assert_eq!(fs::read(&path).unwrap(), small(if probe.is_ok() { 4 } else { 3 }));
    }
}
