//! Inverted lists: which rows lie in which list, and where.
//!
//! A voice that scans lists keeps its codes in blocks of B rows, interleaved as its kernel reads them, and rows come
//! and go. [`Lists`] therefore keeps no rows of its own but *slots*: one arena of blocks of B slots, each block owned
//! by one list, dense from 0 on. A voice keeps an arena of the same shape beside it (block b of its codes is block b
//! here) and does what each change says ([`super::Filed`] does it for an [`super::Arena`]):
//!
//! - A new row takes the next slot of its list's last block, or the first of a new block at the arena's end.
//! - A removed row's slot is filled by the last row of its list: [`Moves::slot`].
//! - A block that has become empty is filled by the arena's last block: [`Moves::block`].
//!
//! So each change costs one row, and now and then one block; a list has at most one block that is not full; slots are
//! a tensor that a file can be mapped from as it is; a fresh build has each list's blocks one after another. Lists
//! that each were one run of rows would have to move every later list to make room, and spare room for all of them is
//! paid for all the time: here it is half a block a list.
//!
//! Rows are numbered as [`crate::table`] numbers them: dense, the last one takes a removed one's number.
//!
//! Of a list the full blocks come first, in rising order, then the one that is not: so what is loaded goes on as what
//! was saved would have.

use crate::buffer::Buffer;
use crate::file::{Contents, Dtype, FormatError, TensorView};

/// No row, no slot, no list.
const NONE: u32 = u32::MAX;
/// A block has a multiple of so many slots: a cache line of row numbers.
pub const SLOTS: usize = 16;
/// The tensors' names in a file.
const ROWS: &str = "list_rows";
const OWNERS: &str = "list_of_block";

/// Rows in lists.
#[derive(Clone)]
pub struct Lists {
    /// Slots in a block.
    block: usize,
    /// The row in each slot.
    rows: Buffer,
    /// The list of each block, filled up to whole lines.
    owners: Buffer,
    blocks: usize,
    /// The slot of each row.
    slots: Vec<u32>,
    lists: Vec<List>,
}

#[derive(Clone, Default)]
struct List {
    /// Full ones in rising order, then the one that is not.
    blocks: Vec<u32>,
    len: usize,
}

/// What a change moved: to be done to a voice's arena, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// What is in the first slot goes to the second.
    pub slot: Option<(usize, usize)>,
    /// What is in the first block, the arena's last, goes to the second.
    pub block: Option<(usize, usize)>,
}

impl Lists {
    /// Empty lists, of blocks of `block` slots.
    ///
    /// # Panics
    /// If `block` is no multiple of [`SLOTS`], or 0.
    pub fn new(lists: usize, block: usize) -> Self {
        assert!(block > 0 && block.is_multiple_of(SLOTS), "a block has a multiple of {SLOTS} slots");
        let lists = vec![List::default(); lists];
        Self { block, rows: Buffer::new(), owners: Buffer::new(), blocks: 0, slots: Vec::new(), lists }
    }

    /// Rows 0, 1, 2, … in the lists that `labels` says; each list's rows in rising order, in blocks one after another.
    ///
    /// # Panics
    /// As [`Lists::new`], or if a label is no list, or there are more slots than a `u32` can tell.
    pub fn from_labels(labels: &[u32], lists: usize, block: usize) -> Self {
        let mut all = Self::new(lists, block);
        labels.iter().for_each(|&list| all.lists[list as usize].len += 1);
        for list in 0..lists {
            let count = all.lists[list].len.div_ceil(block);
            let first = all.blocks;
            all.lists[list].blocks = (first..first + count).map(|block| block as u32).collect();
            all.blocks += count;
        }
        all.fit();
        let mut ends: Vec<usize> = all.lists.iter().map(|list| first_of(list) * block).collect();
        let owners = all.owners.as_mut_slice::<u32>();
        for (list, of) in all.lists.iter().enumerate() {
            of.blocks.iter().for_each(|&block| owners[block as usize] = list as u32);
        }
        all.slots = vec![NONE; labels.len()];
        let rows = all.rows.as_mut_slice::<u32>();
        for (row, (&list, slot)) in labels.iter().zip(&mut all.slots).enumerate() {
            let end = &mut ends[list as usize];
            rows[*end] = row as u32;
            *slot = *end as u32;
            *end += 1;
        }
        all
    }

    /// Number of rows, those that are in no list included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Number of lists.
    pub fn lists(&self) -> usize {
        self.lists.len()
    }

    /// Number of blocks, all lists together.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Slots in a block.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Rows in a list.
    ///
    /// # Panics
    /// If there is no such list.
    pub fn len_of(&self, list: usize) -> usize {
        self.lists[list].len
    }

    /// The blocks of a list: their numbers, and the rows in their first slots; the others are free.
    ///
    /// # Panics
    /// If there is no such list.
    #[inline]
    pub fn blocks_of(&self, list: usize) -> impl ExactSizeIterator<Item = (usize, &[u32])> {
        let (rows, List { blocks, len }) = (self.rows.as_slice::<u32>(), &self.lists[list]);
        blocks.iter().enumerate().map(move |(i, &block)| {
            let first = block as usize * self.block;
            (block as usize, &rows[first..first + (len - i * self.block).min(self.block)])
        })
    }

    /// The slot of a row; `None` if it is in no list.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn slot_of(&self, row: usize) -> Option<usize> {
        Some(self.slots[row]).filter(|&slot| slot != NONE).map(|slot| slot as usize)
    }

    /// The list of a row; `None` if it is in none.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn list_of(&self, row: usize) -> Option<usize> {
        self.slot_of(row).map(|slot| self.list_of_block(slot / self.block))
    }

    /// The list of a block.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn list_of_block(&self, block: usize) -> usize {
        self.owners.as_slice::<u32>()[block] as usize
    }

    /// Makes `more` rows, in no list.
    pub fn grow(&mut self, more: usize) {
        self.slots.resize(self.slots.len() + more, NONE);
    }

    /// Puts a row that is in no list into one, and gives its slot; the arena may have grown by a block.
    ///
    /// # Panics
    /// If there is no such row or list, or the row is in a list, or slots are more than a `u32` can tell.
    pub fn put(&mut self, row: usize, list: usize) -> usize {
        assert_eq!(self.slots[row], NONE, "row {row} is in a list");
        let (size, new) = (self.block, self.blocks);
        let to = &mut self.lists[list];
        let place = to.len % size;
        if place == 0 {
            to.blocks.push(new as u32);
            self.blocks += 1;
            self.fit();
            self.owners.as_mut_slice::<u32>()[new] = list as u32;
        }
        let to = &mut self.lists[list];
        to.len += 1;
        let last = to.blocks.last().copied().unwrap_or(NONE);
        let slot = last as usize * size + place;
        if to.len.is_multiple_of(size) {
            // Now full: to its place among the full ones.
            to.blocks.sort_unstable();
        }
        self.rows.as_mut_slice::<u32>()[slot] = row as u32;
        self.slots[row] = slot as u32;
        slot
    }

    /// Takes a row out of its list, if it is in one.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn take_out(&mut self, row: usize) -> Moves {
        let mut moves = Moves::default();
        let (Some(slot), Some(list)) = (self.slot_of(row), self.list_of(row)) else { return moves };
        let size = self.block;
        let from = &mut self.lists[list];
        from.len -= 1;
        let open = from.blocks.last().copied().unwrap_or(NONE) as usize;
        let last = open * size + from.len % size;
        let rows = self.rows.as_mut_slice::<u32>();
        if last != slot {
            rows[slot] = rows[last];
            self.slots[rows[last] as usize] = slot as u32;
            moves.slot = Some((last, slot));
        }
        rows[last] = NONE;
        self.slots[row] = NONE;
        if from.len.is_multiple_of(size) {
            from.blocks.pop();
            moves.block = self.free(open);
        }
        // A last block that was full has the highest number of its list's: it stays the last.
        moves
    }

    /// Removes a row; the last row takes its number.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn swap_remove(&mut self, row: usize) -> Moves {
        let moves = self.take_out(row);
        self.slots.swap_remove(row);
        if let Some(&slot) = self.slots.get(row)
            && slot != NONE
        {
            self.rows.as_mut_slice::<u32>()[slot as usize] = row as u32;
        }
        moves
    }

    /// Gives an empty block back: the arena's last takes its place.
    fn free(&mut self, block: usize) -> Option<(usize, usize)> {
        let (size, last) = (self.block, self.blocks - 1);
        let moved = (block != last).then(|| {
            let rows = self.rows.as_mut_slice::<u32>();
            rows.copy_within(last * size..(last + 1) * size, block * size);
            for (slot, &row) in (block * size..).zip(&rows[block * size..(block + 1) * size]) {
                if row != NONE {
                    self.slots[row as usize] = slot as u32;
                }
            }
            let owners = self.owners.as_mut_slice::<u32>();
            owners[block] = owners[last];
            let list = &mut self.lists[owners[last] as usize];
            let full = list.len / size;
            let place = list.blocks.iter().position(|&block| block as usize == last);
            if let Some(place) = place {
                list.blocks[place] = block as u32;
                list.blocks[..full].sort_unstable();
            }
            (last, block)
        });
        self.blocks = last;
        self.fit();
        moved
    }

    /// Makes the arena as large as there are blocks; what is new, or past the last block, is nothing.
    fn fit(&mut self) {
        let slots = self.blocks.checked_mul(self.block).filter(|&slots| slots < NONE as usize);
        assert!(slots.is_some(), "more slots than a u32 can tell");
        for (buffer, len) in [(&mut self.rows, self.blocks * self.block), (&mut self.owners, self.blocks)] {
            let before = buffer.len() / size_of::<u32>();
            buffer.resize(len * size_of::<u32>());
            let past = before.min(len);
            buffer.as_mut_slice::<u32>()[past..].fill(NONE);
        }
    }

    /// Gives spare memory back.
    pub fn shrink_to_fit(&mut self) {
        self.rows.shrink_to_fit();
        self.owners.shrink_to_fit();
        self.slots.shrink_to_fit();
    }

    /// The tensors of a file.
    pub fn tensors(&self) -> [TensorView<'_>; 2] {
        let tensor = |name, shape, buffer| {
            let bytes = Buffer::as_bytes(buffer);
            TensorView { name, dtype: Dtype::U32, shape, bytes }
        };
        [
            tensor(ROWS, vec![self.blocks, self.block], &self.rows),
            tensor(OWNERS, vec![self.owners.len() / size_of::<u32>()], &self.owners),
        ]
    }

    /// Takes `lists` lists of `rows` rows, all of them in lists, in blocks of `block` slots, out of a file.
    ///
    /// # Errors
    /// [`FormatError`] if the tensors are missing or of another shape, or are no lists of these rows.
    pub fn take(
        contents: &mut Contents,
        rows: usize,
        lists: usize,
        block: usize,
    ) -> Result<Self, FormatError> {
        let wrong = |expected: String, got: String| FormatError::content(ROWS, expected, got);
        if block == 0 || !block.is_multiple_of(SLOTS) {
            return Err(FormatError::content("slots of a block", format!("a multiple of {SLOTS}"), block));
        }
        let blocks = contents.shape(ROWS).and_then(|shape| shape.first()).copied().unwrap_or(0);
        if blocks.checked_mul(block).is_none_or(|slots| slots >= NONE as usize) {
            return Err(wrong(format!("fewer than {NONE} slots"), format!("{blocks} blocks")));
        }
        let mut all = Self::new(lists, block);
        all.rows = contents.take(ROWS, Dtype::U32, &[blocks, block])?;
        all.owners = contents.take(OWNERS, Dtype::U32, &[blocks.div_ceil(SLOTS) * SLOTS])?;
        all.blocks = blocks;
        all.slots = vec![NONE; rows];
        let (owners, padding) = all.owners.as_slice::<u32>().split_at(blocks);
        if padding.iter().any(|&list| list != NONE) {
            return Err(FormatError::content(
                OWNERS,
                format!("{NONE} after the last block"),
                "something else",
            ));
        }
        let slots = all.rows.as_slice::<u32>();
        let mut open = vec![None; lists];
        let mut placed = 0;
        for (number, (&owner, slots)) in owners.iter().zip(slots.chunks_exact(block)).enumerate() {
            let Some(list) = all.lists.get_mut(owner as usize) else {
                return Err(FormatError::content(OWNERS, format!("lists below {lists}"), owner));
            };
            let filled = slots.iter().take_while(|&&row| row != NONE).count();
            if filled == 0 || slots[filled..].iter().any(|&row| row != NONE) {
                return Err(wrong(
                    "a block's first slots taken".to_owned(),
                    format!("gaps in block {number}"),
                ));
            }
            for (slot, &row) in (number * block..).zip(&slots[..filled]) {
                match all.slots.get_mut(row as usize) {
                    None => return Err(wrong(format!("rows below {rows}"), row.to_string())),
                    Some(to) if *to != NONE => {
                        return Err(wrong("each row once".to_owned(), format!("row {row} twice")));
                    }
                    Some(to) => *to = slot as u32,
                }
            }
            placed += filled;
            list.len += filled;
            if filled == block {
                list.blocks.push(number as u32);
            } else if open[owner as usize].replace(number as u32).is_some() {
                let got = format!("two in list {owner}");
                return Err(wrong("at most one block of a list that is not full".to_owned(), got));
            }
        }
        if placed != rows {
            return Err(wrong(format!("all of {rows} rows"), format!("{placed} of them")));
        }
        for (list, open) in all.lists.iter_mut().zip(open) {
            list.blocks.extend(open);
        }
        Ok(all)
    }
}

/// The number of a list's first block; 0 if it has none.
fn first_of(list: &List) -> usize {
    list.blocks.first().map_or(0, |&block| block as usize)
}
