//! Malice: files with right digests and wrong content, and bytes of any kind.

use super::*;
use crate::file::header::{MAGIC, seal};

/// The 32 digits that `seal` will fill in.
const DIGITS: &str = "00000000000000000000000000000000";

/// A file with this header text and data, padded and sealed, so that only its content can be wrong.
fn forge(text: &str, data: &[u8]) -> Vec<u8> {
    let len = (8 + text.len()).next_multiple_of(LINE);
    let mut bytes = ((len - 8) as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(len, b' ');
    seal(&mut bytes);
    bytes.extend_from_slice(data);
    bytes
}

/// A header text with this record (after its digest) and these tensors.
fn text(record: &str, tensors: &str) -> String {
    let record = format!(r#"{{"digest":"{DIGITS}",{record}}}"#).replace('\\', "\\\\").replace('"', "\\\"");
    format!(r#"{{"__metadata__":{{"counterpoint":"{record}"}}{tensors}}}"#)
}

fn record(digests: &str) -> String {
    format!(r#""digests":{{{digests}}},"format":1,"method":"m","params":{{}},"version":"0""#)
}

/// One tensor `a` of 64 zero bytes, described by `info`.
fn one(info: &str) -> Result<Contents, FormatError> {
    let digests = format!(r#""a":"{}""#, Digest::new().update(&[0; 64]).hex());
    Contents::from_bytes(&forge(&text(&record(&digests), &format!(r#","a":{info}"#)), &[0; 64]), &free())
}

#[track_caller]
fn refused(result: Result<Contents, FormatError>, expected: &str) {
    let got = result.unwrap_err().to_string();
    assert!(got.contains(expected), "expected …{expected}…, got {got}");
}

#[test]
fn the_forge_makes_sound_files() {
    one(r#"{"dtype":"U8","shape":[64],"data_offsets":[0,64]}"#).unwrap();
    Contents::from_bytes(&forge(&text(&record(""), ""), &[]), &free()).unwrap();
}

#[test]
fn structure_is_checked_behind_right_digests() {
    refused(one(r#"{"dtype":"U8","shape":[65],"data_offsets":[0,64]}"#), "invalid header: invalid shape");
    refused(one(r#"{"dtype":"U8","shape":[64],"data_offsets":[64,0]}"#), "invalid offset for tensor `a`");
    refused(one(r#"{"dtype":"U8","shape":[0],"data_offsets":[64,64]}"#), "invalid offset for tensor `a`");
    refused(one(r#"{"dtype":"U8","shape":[-1],"data_offsets":[0,64]}"#), "expected usize");
    refused(
        one(r#"{"dtype":"F64","shape":[8],"data_offsets":[0,64]}"#),
        "expected a dtype of U8, F16, F32, U32, I64, got F64",
    );
    refused(one(r#"{"dtype":"Q3","shape":[8],"data_offsets":[0,64]}"#), "unknown variant `Q3`");
    refused(one(r#"{"dtype":"F32","shape":[18446744073709551615,4],"data_offsets":[0,64]}"#), "overflow");
    refused(
        one(r#"{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,9223372036854775808]}"#),
        "overflow",
    );
    refused(
        one(r#"{"dtype":"U8","shape":[1152921504606846976],"data_offsets":[0,1152921504606846976]}"#),
        "wrong length: expected 11529215046068",
    );
    refused(one(r#"{"dtype":"U8","shape":[32],"data_offsets":[0,32]}"#), "wrong length");
    refused(
        one(
            r#"{"dtype":"U8","shape":[64],"data_offsets":[0,64]},"a":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}"#,
        ),
        "duplicate key \"a\"",
    );
    refused(
        one(r#"{"dtype":"U8","shape":[64],"shape":[64],"data_offsets":[0,64]}"#),
        "duplicate key \"shape\"",
    );
    refused(
        one(
            r#"{"dtype":"U8","shape":[64],"data_offsets":[0,64]},"b":{"dtype":"U8","shape":[0],"data_offsets":[64,64]}"#,
        ),
        "tensor \"b\": expected a digest, got none",
    );
    refused(one(r#"{"dtype":"U8","shape":[64]}"#), "missing field `data_offsets`");
    refused(one("7"), "invalid header");
}

#[test]
fn tensors_that_are_no_whole_lines_are_refused() {
    let digests = format!(
        r#""a":"{}","b":"{}""#,
        Digest::new().update(&[0; 32]).hex(),
        Digest::new().update(&[0; 32]).hex()
    );
    let tensors = r#","a":{"dtype":"U8","shape":[32],"data_offsets":[0,32]},"b":{"dtype":"U8","shape":[32],"data_offsets":[32,64]}"#;
    refused(
        Contents::from_bytes(&forge(&text(&record(&digests), tensors), &[0; 64]), &free()),
        "expected a multiple of 64 bytes, got 32 bytes",
    );
}

#[test]
fn the_record_is_checked_behind_a_right_digest() {
    let from = |record: &str| Contents::from_bytes(&forge(&text(record, ""), &[]), &free());
    refused(
        from(r#""digests":{},"format":2,"method":"m","params":{},"version":"0""#),
        "written by format 2, this build reads 1",
    );
    refused(
        from(r#""digests":{},"format":2,"method":"m","params":{},"version":"0","more":1"#),
        "written by format 2",
    );
    refused(
        from(r#""digests":{},"format":1,"method":"m","params":{},"version":"0","more":1"#),
        "unknown field `more`",
    );
    refused(from(r#""digests":{},"format":1,"method":"m","params":{}"#), "missing field `version`");
    refused(
        from(r#""digests":{},"format":"1","method":"m","params":{},"version":"0""#),
        "expected a format version",
    );
    refused(
        from(r#""digests":{},"format":1.0,"method":"m","params":{},"version":"0""#),
        "expected a format version",
    );
    refused(from(r#""digests":{},"format":1,"method":"m","params":[],"version":"0""#), "invalid type");
    refused(
        from(r#""digests":{},"format":1,"method":"m","params":{"a":1,"a":2},"version":"0""#),
        "duplicate key \"a\"",
    );
    refused(
        from(r#""digests":{},"format":1,"method":"m","params":{"a":[{"b":1,"\u0062":2}]},"version":"0""#),
        "duplicate key \"b\"",
    );
    refused(
        from(r#""digests":{"x":"0"},"format":1,"method":"m","params":{},"version":"0""#),
        "expected 0 digests",
    );
    refused(
        from(r#""digest":"1","digests":{},"format":1,"method":"m","params":{},"version":"0""#),
        "duplicate key \"digest\"",
    );
    refused(
        from(&format!(
            r#""digests":{{}},"format":1,"method":"m","params":{{"a":{}}},"version":"0""#,
            "[".repeat(500_000)
        )),
        "recursion limit",
    );
    refused(from("nonsense"), "invalid header");
    let second = text(&record(""), "").replacen("\"}}", "\",\"other\":\"\"}}", 1);
    refused(Contents::from_bytes(&forge(&second, &[]), &free()), "expected exactly one metadata key");
    let digests = format!(r#""a":"{}""#, Digest::new().update(&[1; 64]).hex());
    let tensor = r#","a":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}"#;
    refused(
        Contents::from_bytes(&forge(&text(&record(&digests), tensor), &[0; 64]), &free()),
        "damaged tensor \"a\"",
    );
}

#[test]
fn another_format_is_named_even_with_another_digest_rule() {
    let mut bytes = forge(&text(r#""format":2"#, ""), &[]);
    bytes[60] = b'?';
    refused(Contents::from_bytes(&bytes, &free()), "written by format 2, this build reads 1");
}

#[test]
fn foreign_files_are_named_as_such() {
    for bytes in [&b""[..], b"1234567", b"12345678", b"\x89HDF\r\n\x1a\n and so on", &[0; 4096]] {
        refused(
            Contents::from_bytes(bytes, &free()),
            "not a Counterpoint file: expected a safetensors header that begins with {",
        );
        assert!(!every_reader(bytes));
    }
    let tensor = safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![64], &[0; 64]).unwrap();
    let other = safetensors::serialize([("a", tensor)], None).unwrap();
    refused(Contents::from_bytes(&other, &free()), "got \"{\\\"a\\\":{\\\"dtype\\\"");
}

#[test]
fn header_lengths_are_bounded() {
    let sound = forge(&text(&record(""), ""), &[]);
    for length in [0, 1, 56, 67, 1 << 20, 1 << 40, u64::MAX - 7, u64::MAX] {
        let mut bytes = sound.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        refused(Contents::from_bytes(&bytes, &free()), "header length: expected at most 1048576 bytes");
    }
    let mut bytes = sound.clone();
    bytes[..8].copy_from_slice(&(1u64 << 20).wrapping_sub(8).to_le_bytes());
    refused(Contents::from_bytes(&bytes, &free()), "cut short: expected at least 1048576 bytes");
}

#[test]
fn unsound_documents_are_not_written() {
    let save = |tensors: Vec<TensorView<'_>>| {
        Document { method: "m", params: Params::new(), tensors }.to_bytes(&free())
    };
    let view =
        |name, shape: &[usize], bytes| TensorView { name, dtype: Dtype::F32, shape: shape.to_vec(), bytes };
    let message = |tensors| save(tensors).unwrap_err().to_string();
    assert_eq!(
        message(vec![view("a", &[4], &[0; 16])]),
        "cannot save tensor \"a\": expected 16 bytes for F32 [4], a multiple of 64, got 16 bytes"
    );
    assert_eq!(
        message(vec![view("a", &[5], &[0; 64])]),
        "cannot save tensor \"a\": expected 20 bytes for F32 [5], a multiple of 64, got 64 bytes"
    );
    assert!(message(vec![view("a", &[usize::MAX, 8], &[0; 64])]).contains("more than all"));
    assert!(
        message(vec![view("a", &[16], &[0; 64]), view("a", &[16], &[0; 64])]).contains("one that is taken")
    );
    assert!(message(vec![view("__metadata__", &[16], &[0; 64])]).contains("one that is taken"));

    let deep = (0..200).fold(Value::Null, |inner, _| Value::from(vec![inner]));
    let params = Params::from_iter([("a".to_owned(), deep)]);
    let error = Document { method: "m", params, tensors: vec![] }.to_bytes(&free()).unwrap_err();
    assert!(error.to_string().contains("recursion limit"), "{error}");
    let params = Params::from_iter([("a".to_owned(), Value::from("x".repeat(MAX_HEADER)))]);
    let error = Document { method: "m", params, tensors: vec![] }.to_bytes(&free()).unwrap_err();
    assert!(error.to_string().contains("header length: expected at most 1048576"), "{error}");
}

/// Peak resident memory of this process in bytes.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn sparse_giants_are_refused_without_memory() {
    let before = peak();
    let sound = small(3);
    for start in [&[][..], &b"\x89HDF\r\n\x1a\n"[..], &sound[..]] {
        let (_folder, path) = on_disk(start);
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4 << 30).unwrap();
        for access in [Access::Read, Access::Map] {
            assert!(Contents::open(&path, access, true, &free()).is_err());
        }
        assert!(verify_path(&path, &free()).is_err() && info(&path).is_err());
    }
    // Far less is needed; other tests of this process are at work at the same time.
    assert!(peak() - before < 2 << 30, "{} bytes", peak() - before);
}

proptest! {
    #[test]
    fn byte_soup_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Contents::from_bytes(&bytes, &free()).is_err());
    }

    #[test]
    fn soup_behind_a_magic_never_panics(soup in any::<String>(), data in proptest::collection::vec(any::<u8>(), 0..130)) {
        let text = format!("{MAGIC}{DIGITS}{soup}");
        prop_assert!(Contents::from_bytes(&forge(&text, &data), &free()).is_err());
    }

    /// Pieces of a sound header put together wrongly, behind a right digest.
    #[test]
    fn shuffled_headers_never_panic(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), 0usize..12), 1..4),
        data in 0usize..4,
    ) {
        let sound = small(3);
        let mut text = String::from_utf8(sound[8..header_len(&sound)].to_vec()).unwrap();
        for (from, to, len) in edits {
            let piece: String = text.chars().skip(from.index(text.len())).take(len).collect();
            let at = to.index(text.len() - 79) + 79;
            text.replace_range(at..(at + len).min(text.len()), &piece);
            text.push_str(&" ".repeat(79));
        }
        let bytes = forge(&text, &sound[header_len(&sound)..][..data * LINE]);
        if let Ok(mut read) = Contents::from_bytes(&bytes, &free()) {
            let names: Vec<String> = verify_bytes(&bytes, &free()).unwrap().tensors.into_iter().map(|t| t.name).collect();
            for name in names {
                let shape = read.shape(&name).unwrap().to_vec();
                for dtype in [Dtype::U8, Dtype::F16, Dtype::F32, Dtype::U32, Dtype::I64] {
                    if let Ok(buffer) = read.take(&name, dtype, &shape) {
                        prop_assert_eq!(buffer.len(), shape.iter().product::<usize>() * dtype.size());
                    }
                }
            }
            prop_assert!(read.finish().is_ok());
        }
    }
}
