//! Calls that are cancelled: at once, and in the middle of a write.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::file::save::Sink;
use crate::flat::Flat;
use crate::index::{self, AnnIndex, Loader};
use crate::metric::Metric;
use crate::threads::Cancelled;
use crate::vectors::Rows;

fn cancelled() -> Control {
    let control = Control::default();
    control.cancel();
    control
}

/// A sink that cancels at its `at`-th call, and goes on.
struct Cancelling<'f> {
    file: Option<&'f File>,
    calls: Rc<Cell<usize>>,
    at: usize,
    control: Arc<Control>,
}

impl Cancelling<'_> {
    fn call(&mut self) {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() == self.at {
            self.control.cancel();
        }
    }
}

impl Write for Cancelling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call();
        self.file.map_or(Ok(bytes.len()), |mut file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call();
        Ok(())
    }
}

impl Sink for Cancelling<'_> {
    fn sync(&mut self) -> io::Result<()> {
        self.call();
        Ok(())
    }
}

/// A document with a tensor of many parts.
fn with_large<T>(fill: u8, then: impl FnOnce(&Document<'_>) -> T) -> T {
    let bytes = vec![fill; 40 << 20];
    let tensors = vec![TensorView { name: "a", dtype: Dtype::U8, shape: vec![bytes.len()], bytes: &bytes }];
    then(&Document { method: "m", params: Params::new(), tensors })
}

#[test]
fn every_call_can_be_cancelled() {
    let bytes = small(3);
    let (folder, path) = on_disk(&bytes);
    let control = cancelled();
    assert_eq!(Contents::from_bytes(&bytes, &control).err(), Some(FormatError::Cancelled(Cancelled)));
    assert_eq!(verify_bytes(&bytes, &control).err(), Some(FormatError::Cancelled(Cancelled)));
    assert!(matches!(verify_path(&path, &control), Err(OpenError::Cancelled(_))));
    for access in [Access::Read, Access::Map] {
        assert!(matches!(Contents::open(&path, access, true, &control), Err(OpenError::Cancelled(_))));
    }
    assert!(matches!(Contents::open(&path, Access::Read, false, &control), Err(OpenError::Cancelled(_))));
    with_small(4, |document| {
        assert!(matches!(document.to_bytes(&control), Err(SaveError::Cancelled(_))));
        assert!(matches!(document.write_to(&mut Vec::new(), &control), Err(SaveError::Cancelled(_))));
        assert!(matches!(document.save(&path, true, &control), Err(SaveError::Cancelled(_))));
    });
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_index_can_be_cancelled() {
    let rows: Vec<f32> = (0u8..64).map(f32::from).collect();
    let mut flat = Flat::new(Metric::L2);
    // Ids in no order, so that loading must look for repeated ones.
    flat.fit(&Rows::new(&rows, 4).unwrap(), Some(&(0..16).rev().collect::<Vec<_>>()), &free()).unwrap();
    let index: &dyn AnnIndex = &flat;
    let (control, methods) = (cancelled(), [("Flat", Flat::load as Loader)]);
    let bytes = index.to_bytes(&free()).unwrap();
    let (_folder, path) = on_disk(&bytes);
    assert!(matches!(index.to_bytes(&control), Err(SaveError::Cancelled(_))));
    assert!(matches!(index.save(&path, false, &control), Err(SaveError::Cancelled(_))));
    assert_eq!(index.check(&control), Err(FormatError::Cancelled(Cancelled)));
    let contents = Contents::from_bytes(&bytes, &free()).unwrap();
    let loaded = index::load(contents, &methods, &control);
    assert_eq!(loaded.err(), Some(FormatError::Cancelled(Cancelled)));
    for access in [Access::Read, Access::Map] {
        let opened = index::open(&path, access, false, &methods, &control);
        assert!(matches!(opened.err(), Some(OpenError::Cancelled(_))));
    }
    let opened = index::open(&path, Access::Map, true, &methods, &free()).unwrap();
    assert_eq!(opened.to_bytes(&free()).unwrap(), bytes);
    opened.check(&free()).unwrap();
}

#[test]
fn a_save_cancelled_at_any_call_leaves_the_old_file() {
    let old = small(3);
    let (folder, path) = on_disk(&old);
    let save = |at: usize| {
        let (calls, control) = (Rc::new(Cell::new(0)), Arc::new(Control::default()));
        let (counted, cancelling) = (Rc::clone(&calls), Arc::clone(&control));
        let result = with_large(4, |document| {
            document.save_through(&path, true, &control, move |file| {
                Box::new(Cancelling { file: Some(file), calls: counted, at, control: cancelling })
            })
        });
        (result, calls.get())
    };
    let mut at = 1;
    loop {
        let (result, calls) = save(at);
        if calls < at {
            result.unwrap();
            break;
        }
        assert!(matches!(result, Err(SaveError::Cancelled(_))), "call {at}: {result:?}");
        assert!(calls <= at + 2, "{calls} calls, cancelled at call {at}");
        assert_eq!(fs::read(&path).unwrap(), old, "call {at}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "call {at}");
        at += 1;
    }
    // The header, ten parts, waits for the disk in between and at the end, a flush.
    assert!(at > 14, "{at}");
    verify_path(&path, &free()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), with_large(4, |document| document.to_bytes(&free()).unwrap()));
}

#[test]
fn a_write_cancelled_at_any_call_stops() {
    for at in 1..=11 {
        let control = Arc::new(Control::default());
        let calls = Rc::new(Cell::new(0));
        let mut sink = Cancelling { file: None, calls: Rc::clone(&calls), at, control: Arc::clone(&control) };
        let result = with_large(4, |document| document.write_to(&mut sink, &control));
        assert!(matches!(result, Err(SaveError::Cancelled(_))), "call {at}: {result:?}");
        assert_eq!(calls.get(), at);
    }
}

#[test]
fn a_digest_is_that_of_the_whole_and_stops_between_parts() {
    let bytes: Vec<u8> = (0..3 * CHUNK + 1).map(|i| (i % 251) as u8).collect();
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, bytes.len()] {
        let mut seen = Vec::new();
        let got = digest(&bytes[..len], &free(), |part| seen.extend_from_slice(part)).unwrap();
        assert_eq!(got, Digest::new().update(&bytes[..len]).hex());
        assert_eq!(seen, bytes[..len]);
    }
    let (control, mut parts) = (Control::default(), 0);
    let result = digest(&bytes, &control, |_| {
        parts += 1;
        if parts == 2 {
            control.cancel();
        }
    });
    assert_eq!((result, parts), (Err(Cancelled), 2));
}
