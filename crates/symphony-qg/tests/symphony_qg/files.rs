//! Files that were changed: whatever no index writes is an error.

use counterpoint_core::file::Contents;
use counterpoint_core::index::AnnIndex;
use counterpoint_core::metric::Metric;
use counterpoint_core::synth::{Sample, Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::Keep;
use counterpoint_symphony_qg::{EdgeCodes, Parameters, SymphonyQg};

use super::fitted;

/// Loads a file of `index` in which one tensor's bytes, or the parameters, were changed.
fn tampered(
    index: &dyn AnnIndex,
    tensor: &str,
    change: impl Fn(&mut Vec<u8>),
    params: &[(&str, serde_json::Value)],
) -> Result<Box<dyn AnnIndex>, String> {
    let control = Control::default();
    let mut bytes = Vec::new();
    index
        .with_document(&mut |document| {
            let changed: Vec<Vec<u8>> = document
                .tensors
                .iter()
                .map(|view| {
                    let mut bytes = view.bytes.to_vec();
                    if view.name == tensor {
                        change(&mut bytes);
                    }
                    bytes
                })
                .collect();
            let mut document = document.clone();
            for (view, bytes) in document.tensors.iter_mut().zip(&changed) {
                view.bytes = bytes;
            }
            for (key, value) in params {
                document.params.insert((*key).to_owned(), value.clone());
            }
            bytes = document.to_bytes(&control)?;
            Ok(())
        })
        .expect("written");
    let contents = Contents::from_bytes(&bytes, &control).expect("a sound container");
    SymphonyQg::load(contents, &control).map_err(|error| error.to_string())
}

#[test]
fn hostile_codebooks_are_errors() {
    let Sample { data, .. } = sample(Shape::Gaussian, 300, 0, 20, 1);
    let parameters = Parameters { edge_codes: EdgeCodes::Pq4, ..Parameters::default() };
    let (learned, plain) =
        (fitted(Metric::L2, parameters, &data, 20), fitted(Metric::L2, Parameters::default(), &data, 20));
    assert!(tampered(&learned, "", |_| {}, &[]).is_ok());
    for value in [f32::NAN, f32::INFINITY, 1e30] {
        let change = |bytes: &mut Vec<u8>| bytes[64..68].copy_from_slice(&value.to_le_bytes());
        assert!(tampered(&learned, "codebooks", change, &[]).is_err(), "{value}");
    }
    for (index, codes) in [(&learned, "rabitq"), (&plain, "pq4"), (&plain, "pq8"), (&plain, "")] {
        assert!(tampered(index, "", |_| {}, &[("edge_codes", codes.into())]).is_err(), "{codes}");
    }
}

#[test]
fn hostile_files_are_errors() {
    let Sample { data, .. } = sample(Shape::Gaussian, 300, 0, 20, 1);
    let mut index = fitted(Metric::L2, Parameters::default(), &data, 20);
    index.remove(&[7]).expect("there");
    // A row: 32 values, 32 codes of 32 bits, 32 scales and offsets in 16 bits each, 32 neighbours.
    let (vector, codes) = (128, 128);
    let row = vector + codes + 2 * 128;
    let (terms, ids) = (vector + codes, vector + codes + 128);
    let put = |at: usize, value: [u8; 4]| {
        move |bytes: &mut Vec<u8>| bytes[5 * row + at..5 * row + at + 4].copy_from_slice(&value)
    };
    assert!(tampered(&index, "graph", |_| {}, &[]).is_ok());
    assert!(tampered(&index, "graph", put(vector, [0xff; 4]), &[]).is_ok(), "any code is a code");
    for (at, value) in [
        (0, f32::NAN.to_le_bytes()),
        (4, f32::INFINITY.to_le_bytes()),
        (4, 1e30_f32.to_le_bytes()),
        (80, 1.0_f32.to_le_bytes()),
        // The upper halves of numbers: a scale that is none, one above 0, an offset of −∞.
        (terms, 0x7fc0_u32.to_le_bytes()),
        (terms, 0x3f80_u32.to_le_bytes()),
        (terms + 4, 0xff80_0000_u32.to_le_bytes()),
        (ids, 300_u32.to_le_bytes()),
        (ids + 8, u32::MAX.to_le_bytes()),
        (ids, 5_u32.to_le_bytes()),
    ] {
        assert!(tampered(&index, "graph", put(at, value), &[]).is_err(), "{at} {value:?}");
    }
    for (tensor, at, value) in [
        ("entries", 0, 300_u32),
        ("entries", 4, 0),
        ("owners", 0, 300),
        ("owners", 0, 1),
        ("owners", 0, u32::MAX),
        ("owners", 301, 3),
        ("mean", 0, f32::NAN.to_bits()),
    ] {
        let change = |bytes: &mut Vec<u8>| bytes[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(tampered(&index, tensor, change, &[]).is_err(), "{tensor} {at} {value}");
    }
    for (key, value) in [
        ("degree", 31),
        ("degree", 64),
        ("degree", 0),
        ("ef_construction", 0),
        ("vertices", 298),
        ("vertices", 301),
        ("vertices", 1 << 40),
        ("entry_points", 0),
        ("entry_points", 301),
        ("squared_length", -1_i64),
        ("rows", 300),
        ("keep", 3),
    ] {
        assert!(tampered(&index, "", |_| {}, &[(key, value.into())]).is_err(), "{key} {value}");
    }
    for keep in ["none", "f16", "int8", "f64"] {
        assert!(tampered(&index, "", |_| {}, &[("keep", keep.into())]).is_err(), "{keep}");
    }
    // What follows a vector of halves or of bytes, and what no such vector is.
    for (keep, at, value) in [
        (Keep::F16, 0, 0x7c00_u32),
        (Keep::F16, 40, 1),
        (Keep::Int8, 20, 1),
        (Keep::Int8, 60, f32::NAN.to_bits()),
        (Keep::Int8, 56, (-1.0_f32).to_bits()),
    ] {
        let index = fitted(Metric::L2, Parameters { keep, ..Parameters::default() }, &data, 20);
        let row = 64 + codes + 2 * 128;
        let change = |bytes: &mut Vec<u8>| {
            bytes[7 * row + at..7 * row + at + 4].copy_from_slice(&value.to_le_bytes());
        };
        assert!(tampered(&index, "graph", |_| {}, &[]).is_ok());
        assert!(tampered(&index, "graph", change, &[]).is_err(), "{keep:?} {at} {value}");
    }
}
