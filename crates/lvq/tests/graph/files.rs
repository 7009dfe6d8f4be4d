//! Files that were changed: whatever no index writes is an error.

use counterpoint_core::file::Contents;
use counterpoint_core::index::AnnIndex;
use counterpoint_core::metric::Metric;
use counterpoint_core::synth::{Sample, Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::Keep;

use super::{fitted, parameters};

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
    counterpoint_lvq::load(contents, &control).map_err(|error| error.to_string())
}

#[test]
fn hostile_files_are_errors() {
    let Sample { data, .. } = sample(Shape::Gaussian, 300, 0, 20, 1);
    let mut index = fitted(Metric::L2, parameters(4, 8, Keep::F32), &data, 20);
    index.remove(&[7]).expect("there");
    assert!(tampered(&index, "edges", |_| {}, &[]).is_ok());
    let four = |at: usize, value: [u8; 4]| {
        move |bytes: &mut Vec<u8>| bytes[4 * at..4 * at + 4].copy_from_slice(&value)
    };
    assert!(tampered(&index, "codes", four(5 * 16, [15; 4]), &[]).is_ok(), "any code is a code");
    // A vertex has 32 places, 16 words of either code and four constants.
    for (tensor, at, value) in [
        ("edges", 5 * 32, 300_u32),
        ("edges", 5 * 32 + 8, u32::MAX),
        ("edges", 5 * 32, 5),
        ("codes", 5 * 16 + 5, 1),
        ("codes", 5 * 16 + 15, 1 << 31),
        ("residual", 5 * 16 + 5, 1 << 31),
        ("constants", 5 * 4, f32::NAN.to_bits()),
        ("constants", 5 * 4 + 3, f32::INFINITY.to_bits()),
        ("entries", 0, 300),
        ("entries", 1, 0),
        ("owners", 0, 300),
        ("owners", 0, 1),
        ("owners", 0, u32::MAX),
        ("owners", 301, 3),
        ("mean", 0, f32::NAN.to_bits()),
        ("vectors", 0, f32::NAN.to_bits()),
    ] {
        assert!(tampered(&index, tensor, four(at, value.to_le_bytes()), &[]).is_err(), "{tensor} {at}");
    }
    for (key, value) in [
        ("structure", serde_json::Value::from("tree")),
        ("primary", 5.into()),
        ("residual", 4.into()),
        ("residual", 0.into()),
        ("keep", "f16".into()),
        ("degree", 31.into()),
        ("degree", 64.into()),
        ("degree", 0.into()),
        ("ef_construction", 0.into()),
        ("exponent", 65.into()),
        ("vertices", 298.into()),
        ("vertices", 301.into()),
        ("vertices", (1_u64 << 40).into()),
        ("entry_points", 0.into()),
        ("entry_points", 301.into()),
        ("squared_length", (-1).into()),
        ("rows", 300.into()),
    ] {
        assert!(tampered(&index, "", |_| {}, &[(key, value.clone())]).is_err(), "{key} {value}");
    }
}
