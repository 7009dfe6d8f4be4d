//! The container under test: what it keeps, what it refuses, and what a failed save leaves behind.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Map as Params, Value, json};
use tempfile::TempDir;

use super::*;
use crate::buffer::{Buffer, LINE};

mod cancelled;
mod damage;
mod hostile;
mod saving;

/// Of a call that nobody cancels.
fn free() -> Control {
    Control::default()
}

/// A document of two small tensors and one empty one, as a method would write it.
fn small(fill: u8) -> Vec<u8> {
    with_small(fill, |document| document.to_bytes(&free()).unwrap())
}

fn with_small<T>(fill: u8, then: impl FnOnce(&Document<'_>) -> T) -> T {
    let codes: Vec<u8> = (0..128u8).map(|i| i ^ fill).collect();
    let ids = Buffer::from_bytes(bytemuck::cast_slice(&[i64::from(fill); 8]));
    let Value::Object(params) = json!({"seed": u64::MAX, "dim": 5, "metric": "l2", "keep": null}) else {
        panic!()
    };
    let tensors = vec![
        TensorView { name: "codes", dtype: Dtype::U8, shape: vec![2, 64], bytes: &codes },
        TensorView { name: "none", dtype: Dtype::F32, shape: vec![0, 3], bytes: &[] },
        TensorView { name: "ids", dtype: Dtype::I64, shape: vec![8], bytes: ids.as_bytes() },
    ];
    then(&Document { method: "flat", params, tensors })
}

/// Every way to read `bytes` that there is, which must agree.
fn every_reader(bytes: &[u8]) -> bool {
    let (_folder, path) = on_disk(bytes);
    let answers = [
        Contents::from_bytes(bytes, &free()).is_ok(),
        verify_bytes(bytes, &free()).is_ok(),
        verify_path(&path, &free()).is_ok(),
        Contents::open(&path, Access::Read, true, &free()).is_ok(),
        Contents::open(&path, Access::Map, true, &free()).is_ok(),
    ];
    assert!(answers.iter().all(|&answer| answer == answers[0]), "{answers:?}");
    answers[0]
}

fn on_disk(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.cp");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn header_len(bytes: &[u8]) -> usize {
    8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap()
}

#[test]
fn roundtrip_by_every_reader() {
    let bytes = small(3);
    let (_folder, path) = on_disk(&bytes);
    for (read, mapped) in [
        (Contents::from_bytes(&bytes, &free()).unwrap(), false),
        (Contents::open(&path, Access::Read, true, &free()).unwrap(), false),
        (Contents::open(&path, Access::Read, false, &free()).unwrap(), false),
        (Contents::open(&path, Access::Map, true, &free()).unwrap(), true),
        (Contents::open(&path, Access::Map, false, &free()).unwrap(), true),
    ] {
        let mut read = read;
        assert_eq!(read.method(), "flat");
        assert_eq!(read.version(), env!("CARGO_PKG_VERSION"));
        assert_eq!(read.params().len(), 4);
        assert_eq!(read.shape("codes"), Some(&[2, 64][..]));
        assert_eq!(read.shape("other"), None);
        let codes = read.take("codes", Dtype::U8, &[2, 64]).unwrap();
        assert!(codes.as_bytes().iter().zip(0u8..).all(|(&byte, i)| byte == i ^ 3));
        assert_eq!(codes.is_mapped(), mapped);
        assert_eq!(codes.as_bytes().as_ptr().addr() % LINE, 0);
        assert!(read.take("none", Dtype::F32, &[0, 3]).unwrap().as_slice::<f32>().is_empty());
        assert_eq!(read.take("ids", Dtype::I64, &[8]).unwrap().as_slice::<i64>(), [3; 8]);
        read.finish().unwrap();
    }
}

#[test]
fn a_mapped_buffer_is_copied_when_written() {
    let bytes = small(3);
    let (_folder, path) = on_disk(&bytes);
    let mut read = Contents::open(&path, Access::Map, true, &free()).unwrap();
    let codes = read.take("codes", Dtype::U8, &[2, 64]).unwrap();
    let (mut written, mut grown, mut tried, mut added) =
        (codes.clone(), codes.clone(), codes.clone(), codes.clone());
    assert!(written.is_mapped() && written == codes && written.capacity() == 128);
    written.as_mut_bytes()[0] ^= 1;
    grown.resize(64);
    tried.try_resize(256).unwrap();
    added.append(&[1]);
    for buffer in [&written, &grown, &tried, &added] {
        assert!(!buffer.is_mapped());
        assert_eq!(buffer.as_bytes()[1..64], codes.as_bytes()[1..64]);
    }
    assert_ne!(written, codes);
    assert_eq!([grown.len(), tried.len(), added.len()], [64, 256, 192]);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn the_layout_is_the_documented_one() {
    let bytes = small(3);
    let data = header_len(&bytes);
    assert_eq!(data % LINE, 0);
    assert_eq!(bytes.len(), data + 128 + 64);
    let text = std::str::from_utf8(&bytes[8..data]).unwrap();
    let own = &text[47..79];
    let record = format!(
        r#"{{\"digest\":\"{own}\",\"digests\":{{\"codes\":\"{}\",\"ids\":\"{}\",\"none\":\"{}\"}},\"format\":1,\"method\":\"flat\",\"params\":{{\"dim\":5,\"keep\":null,\"metric\":\"l2\",\"seed\":18446744073709551615}},\"version\":\"{}\"}}"#,
        Digest::new().update(&bytes[data..data + 128]).hex(),
        Digest::new().update(&bytes[data + 128..]).hex(),
        // XXH3-128 of nothing, as published.
        "99aa06d3014798d86001c324468d497f",
        env!("CARGO_PKG_VERSION"),
    );
    let tensors = r#""codes":{"dtype":"U8","shape":[2,64],"data_offsets":[0,128]},"none":{"dtype":"F32","shape":[0,3],"data_offsets":[128,128]},"ids":{"dtype":"I64","shape":[8],"data_offsets":[128,192]}"#;
    assert_eq!(text.trim_end(), format!(r#"{{"__metadata__":{{"counterpoint":"{record}"}},{tensors}}}"#));
    assert!(text.len() - text.trim_end().len() < LINE);
    assert_eq!(small(3), bytes, "the same document gives the same bytes");
}

#[test]
fn safetensors_reads_it() {
    let bytes = small(3);
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.len(), 3);
    let ids = read.tensor("ids").unwrap();
    assert_eq!((ids.dtype(), ids.shape()), (safetensors::Dtype::I64, &[8][..]));
    assert_eq!(ids.data(), bytemuck::cast_slice::<i64, u8>(&[3; 8]));
}

#[test]
fn info_and_verify_tell_what_is_inside() {
    let bytes = small(3);
    let (_folder, path) = on_disk(&bytes);
    let told = info(&path).unwrap();
    assert_eq!((told.method.as_str(), told.format, told.file_bytes), ("flat", FORMAT, bytes.len() as u64));
    let lines: Vec<_> =
        told.tensors.iter().map(|t| (t.name.as_str(), t.dtype, t.shape.clone(), t.bytes)).collect();
    assert!(lines.contains(&("codes", Dtype::U8, vec![2, 64], 128)));
    assert!(lines.contains(&("ids", Dtype::I64, vec![8], 64)));
    assert_eq!(told.params["dim"], 5);
    assert_eq!(verify_path(&path, &free()).unwrap(), told);
    assert_eq!(verify_bytes(&bytes, &free()).unwrap(), told);
}

#[test]
fn taking_the_wrong_thing_says_what_was_expected_and_what_came() {
    let mut read = Contents::from_bytes(&small(3), &free()).unwrap();
    let message = |result: Result<Buffer, FormatError>| result.unwrap_err().to_string();
    assert_eq!(
        message(read.take("codes", Dtype::F32, &[2, 64])),
        r#"tensor "codes": expected F32 [2, 64], got U8 [2, 64]"#
    );
    assert_eq!(
        message(read.take("codes", Dtype::U8, &[128])),
        r#"tensor "codes": expected U8 [128], got U8 [2, 64]"#
    );
    assert_eq!(
        message(read.take("graph", Dtype::U8, &[1])),
        r#"tensor "graph": expected U8 [1], got no such tensor"#
    );
    read.take("codes", Dtype::U8, &[2, 64]).unwrap();
    assert_eq!(
        message(read.take("codes", Dtype::U8, &[2, 64])),
        r#"tensor "codes": expected U8 [2, 64], got no such tensor"#
    );
    assert_eq!(read.expect_method("lvq").unwrap_err().to_string(), r#"method: expected "lvq", got "flat""#);
    read.expect_method("flat").unwrap();
    assert_eq!(
        read.finish().unwrap_err().to_string(),
        r#"unknown tensors: expected no others, got ["ids", "none"]"#
    );
}

#[test]
fn params_are_typed() {
    let Value::Object(params) = json!({
        "n": 5, "seed": u64::MAX, "minus": -1, "float": 5.0, "half": 0.5, "big": 1e300,
        "text": "a\u{1F3B5}\"\\", "yes": true, "list": [1, {"z": 1, "a": null}]
    }) else {
        panic!()
    };
    let bytes =
        Document { method: "m\n\"", params: params.clone(), tensors: vec![] }.to_bytes(&free()).unwrap();
    let read = Contents::from_bytes(&bytes, &free()).unwrap();
    assert_eq!((read.method(), read.params()), ("m\n\"", &params));
    assert_eq!(read.param_usize("n").unwrap(), 5);
    assert_eq!(read.param_u64("seed").unwrap(), u64::MAX);
    assert_eq!(read.param_f64("half").unwrap(), 0.5);
    assert_eq!(read.param_f64("n").unwrap(), 5.0);
    assert_eq!(read.param_f64("big").unwrap(), 1e300);
    assert_eq!(read.param_str("text").unwrap(), "a\u{1F3B5}\"\\");
    assert!(read.param_bool("yes").unwrap());
    for key in ["minus", "float", "half", "big", "text", "yes", "list", "absent"] {
        assert!(read.param_usize(key).is_err(), "{key}");
    }
    assert!(read.param_str("n").is_err() && read.param_bool("n").is_err() && read.param_f64("text").is_err());
    assert_eq!(
        read.param_usize("float").unwrap_err().to_string(),
        r#"parameter "float": expected a whole number from 0 on, got 5.0"#
    );
    assert_eq!(
        read.param_bool("absent").unwrap_err().to_string(),
        r#"parameter "absent": expected true or false, got nothing"#
    );
    read.finish().unwrap();
}

fn any_params() -> impl Strategy<Value = Params<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    proptest::collection::btree_map(any::<String>(), value, 0..5).prop_map(|map| map.into_iter().collect())
}

fn any_tensor() -> impl Strategy<Value = (Dtype, Vec<usize>, Vec<u8>)> {
    let dtype =
        prop_oneof![Just(Dtype::U8), Just(Dtype::F16), Just(Dtype::F32), Just(Dtype::U32), Just(Dtype::I64)];
    (dtype, 0usize..5, 0usize..3).prop_flat_map(|(dtype, rows, lines)| {
        let shape = vec![rows, lines * LINE / dtype.size()];
        let bytes = proptest::collection::vec(any::<u8>(), rows * lines * LINE);
        (Just(dtype), Just(shape), bytes)
    })
}

proptest! {
    #[test]
    fn any_document_comes_back(
        method in any::<String>(),
        params in any_params(),
        tensors in proptest::collection::btree_map(any::<String>(), any_tensor(), 0..5),
    ) {
        prop_assume!(!tensors.contains_key("__metadata__"));
        let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
            TensorView { name, dtype: *dtype, shape: shape.clone(), bytes }
        });
        let bytes = Document { method: &method, params: params.clone(), tensors: views.collect() }.to_bytes(&free()).unwrap();
        let mut read = Contents::from_bytes(&bytes, &free()).unwrap();
        prop_assert_eq!(read.method(), &method);
        prop_assert_eq!(read.params(), &params);
        for (name, (dtype, shape, bytes)) in &tensors {
            let buffer = read.take(name, *dtype, shape).unwrap();
            prop_assert_eq!(buffer.as_bytes(), &bytes[..]);
        }
        prop_assert!(read.finish().is_ok());
        prop_assert!(safetensors::SafeTensors::deserialize(&bytes).is_ok());
    }
}
