//! Lists against a plain model, with an arena beside them as a voice keeps one.

use proptest::prelude::*;
use serde_json::Map;

use super::super::{Lists, Moves, SLOTS};
use crate::file::{Contents, Document, Dtype, FormatError, TensorView};
use crate::threads::Control;

const LISTS: usize = 5;

/// What the lists should say: the list of each row, and what a voice stores for it.
#[derive(Default)]
struct Model {
    rows: Vec<(Option<usize>, u64)>,
    arena: Vec<u64>,
    next: u64,
}

impl Model {
    fn put(&mut self, lists: &mut Lists, row: usize, list: usize) {
        let slot = lists.put(row, list);
        self.arena.resize(lists.blocks() * lists.block(), 0);
        self.arena[slot] = self.rows[row].1;
        self.rows[row].0 = Some(list);
    }

    fn follow(&mut self, lists: &Lists, moves: Moves) {
        if let Some((from, to)) = moves.slot {
            self.arena[to] = self.arena[from];
        }
        let size = lists.block();
        if let Some((from, to)) = moves.block {
            self.arena.copy_within(from * size..(from + 1) * size, to * size);
        }
        self.arena.truncate(lists.blocks() * size);
    }

    fn check(&self, lists: &Lists) {
        assert_eq!(lists.len(), self.rows.len());
        assert_eq!(self.arena.len(), lists.blocks() * lists.block());
        for (row, &(list, code)) in self.rows.iter().enumerate() {
            assert_eq!(lists.list_of(row), list, "row {row}");
            assert_eq!(lists.slot_of(row).map(|slot| self.arena[slot]), list.map(|_| code), "row {row}");
        }
        let mut blocks = 0;
        for list in 0..LISTS {
            let members = self.rows.iter().filter(|row| row.0 == Some(list)).count();
            assert_eq!(lists.len_of(list), members);
            assert_eq!(lists.blocks_of(list).len(), members.div_ceil(lists.block()));
            let mut seen = 0;
            let full: Vec<usize> = lists
                .blocks_of(list)
                .filter(|(block, rows)| {
                    let first = block * lists.block();
                    assert!(
                        (first..).zip(*rows).all(|(slot, &row)| lists.slot_of(row as usize) == Some(slot))
                    );
                    assert!(rows.iter().all(|&row| self.rows[row as usize].0 == Some(list)));
                    seen += rows.len();
                    rows.len() == lists.block()
                })
                .map(|(block, _)| block)
                .collect();
            assert_eq!(seen, members);
            assert!(full.is_sorted() && full.len() + 1 >= lists.blocks_of(list).len());
            blocks += lists.blocks_of(list).len();
        }
        assert_eq!(blocks, lists.blocks());
    }
}

fn bytes(tensors: Vec<TensorView<'_>>) -> Vec<u8> {
    Document { method: "test", params: Map::new(), tensors }.to_bytes(&Control::default()).expect("written")
}

fn load(bytes: &[u8], rows: usize, block: usize) -> Result<Lists, FormatError> {
    let mut contents = Contents::from_bytes(bytes, &Control::default())?;
    let lists = Lists::take(&mut contents, rows, LISTS, block)?;
    contents.finish()?;
    Ok(lists)
}

proptest! {
    #[test]
    fn rows_come_and_go(
        start in prop::collection::vec(0..LISTS as u32, 0..120),
        steps in prop::collection::vec((0_u8..5, any::<u16>()), 0..200),
        block in 1_usize..3,
    ) {
        let mut lists = Lists::from_labels(&start, LISTS, block * SLOTS);
        let mut model = Model::default();
        for (row, &list) in start.iter().enumerate() {
            model.rows.push((Some(list as usize), row as u64 + 1));
        }
        model.next = start.len() as u64 + 1;
        model.arena = vec![0; lists.blocks() * lists.block()];
        for (row, &(_, code)) in model.rows.iter().enumerate() {
            model.arena[lists.slot_of(row).expect("in a list")] = code;
        }
        model.check(&lists);
        let mut loaded = None;
        for (step, number) in steps {
            let (row, list) = (usize::from(number) % lists.len().max(1), usize::from(number) % LISTS);
            match step {
                0 | 1 => {
                    lists.grow(1);
                    model.rows.push((None, model.next));
                    model.next += 1;
                    model.put(&mut lists, model.rows.len() - 1, list);
                }
                2 | 3 if !lists.is_empty() => {
                    let moves = lists.swap_remove(row);
                    model.rows.swap_remove(row);
                    model.follow(&lists, moves);
                }
                4 if !lists.is_empty() => {
                    // As an update does: out of one list, into another.
                    let moves = lists.take_out(row);
                    model.rows[row].0 = None;
                    model.follow(&lists, moves);
                    model.check(&lists);
                    prop_assert_eq!(lists.take_out(row), Moves::default());
                    model.put(&mut lists, row, list);
                }
                _ => {}
            }
            model.check(&lists);
            // A copy that was loaded once goes the same way.
            let saved = bytes(lists.tensors().to_vec());
            let back = load(&saved, lists.len(), lists.block()).expect("sound");
            model.check(&back);
            prop_assert_eq!(&bytes(back.tensors().to_vec()), &saved);
            if let Some(before) = loaded.replace((back, step, row, list)) {
                drop(before);
            }
            if let Some((back, ..)) = &mut loaded && !lists.is_empty() {
                let mut here = lists.clone();
                prop_assert_eq!(back.swap_remove(0), here.swap_remove(0));
                prop_assert_eq!(bytes(back.tensors().to_vec()), bytes(here.tensors().to_vec()));
            }
        }
    }
}

#[test]
fn a_fresh_build_has_each_list_in_one_run() {
    let labels: Vec<u32> = (0..400).map(|row| row * row % 7 % LISTS as u32).collect();
    let mut lists = Lists::from_labels(&labels, LISTS, SLOTS);
    let mut next = 0;
    for list in 0..LISTS {
        let mut rows = Vec::new();
        for (block, of) in lists.blocks_of(list) {
            assert_eq!(block, next);
            next += 1;
            rows.extend_from_slice(of);
        }
        assert!(rows.is_sorted());
    }
    lists.shrink_to_fit();
    assert_eq!(next, lists.blocks());
}

#[test]
fn bad_tensors_are_errors() {
    let labels = [0, 1, 1, 4];
    let sound = Lists::from_labels(&labels, LISTS, SLOTS);
    let [rows, owners] = sound.tensors();
    let change = |tensor: &TensorView<'_>, at: usize, value: u32| {
        let mut bytes = tensor.bytes.to_vec();
        bytes[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let none = u32::MAX;
    let forge = |rows: &[u8], owners: &[u8], shape: Vec<usize>| {
        bytes(vec![
            TensorView { name: "list_rows", dtype: Dtype::U32, shape, bytes: rows },
            TensorView {
                name: "list_of_block",
                dtype: Dtype::U32,
                shape: vec![owners.len() / 4],
                bytes: owners,
            },
        ])
    };
    let shape = vec![3, SLOTS];
    assert!(load(&forge(rows.bytes, owners.bytes, shape.clone()), 4, SLOTS).is_ok());
    for (at, value, what) in [
        (0, 4, "rows below 4"),
        (0, 1, "each row once"),
        (0, none, "first slots"),
        (16, none, "first slots"),
        (17, none, "all of 4 rows"),
        (20, 0, "first slots"),
        (18, 3, "each row once"),
    ] {
        let error = load(&forge(&change(&rows, at, value), owners.bytes, shape.clone()), 4, SLOTS);
        let message = error.err().expect("an error").to_string();
        assert!(message.contains(what), "{at} {value}: {message}");
    }
    for (at, value, what) in [
        (0, 5, "lists below 5"),
        (2, none, "lists below 5"),
        (3, 0, "after the last block"),
        (0, 1, "at most one block"),
    ] {
        let error = load(&forge(rows.bytes, &change(&owners, at, value), shape.clone()), 4, SLOTS);
        let message = error.err().expect("an error").to_string();
        assert!(message.contains(what), "{at} {value}: {message}");
    }
    let good = forge(rows.bytes, owners.bytes, shape);
    assert!(load(&good, 3, SLOTS).is_err() && load(&good, 5, SLOTS).is_err());
    for block in [0, 7, 2 * SLOTS] {
        assert!(load(&good, 4, block).is_err());
    }
    assert!(load(&forge(rows.bytes, owners.bytes, vec![SLOTS, 3]), 4, SLOTS).is_err());
    assert!(load(&bytes(vec![rows.clone()]), 4, SLOTS).is_err());
    assert!(load(&bytes(Vec::new()), 0, SLOTS).is_err());
    assert!(load(&forge(&[], &[], vec![0, SLOTS]), 0, SLOTS).is_ok());
}
