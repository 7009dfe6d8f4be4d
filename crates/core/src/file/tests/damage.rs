//! Accidents: every small change to a sound file must be found.

use super::*;

#[test]
fn every_flipped_bit_is_found() {
    let mut bytes = small(3);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(Contents::from_bytes(&bytes, &free()).is_err(), "bit {bit} of byte {at}");
            assert!(verify_bytes(&bytes, &free()).is_err(), "bit {bit} of byte {at}");
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(Contents::from_bytes(&bytes, &free()).is_ok());
}

#[test]
fn flipped_bits_are_found_by_every_reader() {
    let mut bytes = small(3);
    for at in (0..bytes.len()).step_by(11) {
        let mask = 1 << (at % 8);
        bytes[at] ^= mask;
        assert!(!every_reader(&bytes), "byte {at}");
        bytes[at] ^= mask;
    }
    assert!(every_reader(&bytes));
}

#[test]
fn without_verify_the_header_is_still_checked() {
    let mut bytes = small(3);
    let data = header_len(&bytes);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    for access in [Access::Read, Access::Map] {
        let (_folder, path) = on_disk(&bytes);
        assert!(Contents::open(&path, access, false, &free()).is_ok());
        let error = Contents::open(&path, access, true, &free()).unwrap_err().to_string();
        assert!(error.starts_with("damaged tensor \"ids\": expected digest "), "{error}");
        let mut worse = bytes.clone();
        worse[data - 1] ^= 1; // a space of the filler
        let (_folder, path) = on_disk(&worse);
        let error = Contents::open(&path, access, false, &free()).unwrap_err().to_string();
        assert!(error.starts_with("damaged header: expected digest "), "{error}");
    }
}

#[test]
fn every_truncation_is_found() {
    let bytes = small(3);
    for len in 0..bytes.len() {
        assert!(Contents::from_bytes(&bytes[..len], &free()).is_err(), "{len}");
        assert!(verify_bytes(&bytes[..len], &free()).is_err(), "{len}");
    }
    for len in (0..bytes.len()).step_by(13) {
        assert!(!every_reader(&bytes[..len]), "{len}");
    }
}

#[test]
fn appended_inserted_and_deleted_bytes_are_found() {
    let bytes = small(3);
    for more in [1, 63, 64, 4096] {
        let mut longer = bytes.clone();
        longer.resize(bytes.len() + more, 0);
        assert!(!every_reader(&longer), "{more} bytes more");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed.remove(at);
        assert!(Contents::from_bytes(&changed, &free()).is_err(), "deleted {at}");
        for byte in [0, b' ', bytes[at]] {
            let mut changed = bytes.clone();
            changed.insert(at, byte);
            assert!(Contents::from_bytes(&changed, &free()).is_err(), "inserted {byte} at {at}");
        }
    }
}

#[test]
fn swapped_and_zeroed_blocks_are_found() {
    let bytes = small(3);
    let blocks = bytes.len() / LINE;
    for a in 0..blocks {
        for b in 0..a {
            let mut changed = bytes.clone();
            let (low, high) = changed.split_at_mut(a * LINE);
            low[b * LINE..][..LINE].swap_with_slice(&mut high[..LINE]);
            assert!(Contents::from_bytes(&changed, &free()).is_err(), "{a} and {b}");
        }
        let mut changed = bytes.clone();
        changed[a * LINE..][..LINE].fill(0);
        assert!(Contents::from_bytes(&changed, &free()).is_err(), "zeroed {a}");
    }
}

#[test]
fn mixtures_of_two_sound_files_are_found() {
    // What a save that writes in place leaves after a power cut: blocks of the old file among those of the
    // new one.
    let (old, new) = (small(3), small(4));
    assert_eq!(old.len(), new.len());
    let blocks = old.len() / LINE;
    for cut in 1..blocks {
        let torn: Vec<u8> = new[..cut * LINE].iter().chain(&old[cut * LINE..]).copied().collect();
        assert!(Contents::from_bytes(&torn, &free()).is_err(), "{cut}");
    }
}
