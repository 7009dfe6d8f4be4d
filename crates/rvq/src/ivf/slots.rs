//! The codes of rows, in groups of 64 of one list: the arena that goes with [`Lists`].

use counterpoint_core::buffer::Buffer;
use counterpoint_core::cluster::{Arena, Filed, Lists};
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::simd::{GROUP, lookups};

/// Codes by list.
pub(super) type Blocks = Filed<Slots>;

/// The arena.
#[derive(Clone)]
pub(super) struct Slots {
    bits: Bits,
    stages: usize,
    /// Group after group.
    codes: Buffer,
    /// u8, one a slot: the level of C. Empty where there are none.
    levels: Buffer,
    has_levels: bool,
    groups: usize,
}

/// What rows are coded as, row after row.
pub(super) struct Coded {
    pub(super) lists: Vec<u32>,
    /// One byte a stage.
    pub(super) codes: Vec<u8>,
    pub(super) levels: Vec<u8>,
}

impl Slots {
    pub(super) fn new(bits: Bits, stages: usize, has_levels: bool) -> Self {
        Self { bits, stages, codes: Buffer::new(), levels: Buffer::new(), has_levels, groups: 0 }
    }

    /// All rows, each in its list.
    pub(super) fn filed(self, coded: &Coded, lists: usize) -> Blocks {
        let stages = self.stages;
        let mut blocks = Blocks::new(Lists::from_labels(&coded.lists, lists, GROUP), self);
        for row in 0..coded.lists.len() {
            if let Some(slot) = blocks.lists().slot_of(row) {
                let codes = &coded.codes[row * stages..(row + 1) * stages];
                blocks.arena_mut().write(slot, codes, coded.levels[row]);
            }
        }
        blocks
    }

    fn group_bytes(&self) -> usize {
        lookups::group_bytes(self.bits, self.stages)
    }

    /// The code bytes of a group.
    #[inline(always)]
    pub(super) fn group(&self, group: usize) -> &[u8] {
        let bytes = self.group_bytes();
        &self.codes.as_bytes()[group * bytes..(group + 1) * bytes]
    }

    /// The levels of a group; none where there are none.
    #[inline(always)]
    pub(super) fn levels(&self, group: usize) -> &[u8] {
        self.levels.as_bytes().get(group * GROUP..(group + 1) * GROUP).unwrap_or_default()
    }

    /// The codes in a slot, one a stage.
    pub(super) fn read(&self, slot: usize) -> Vec<u8> {
        let mut codes = vec![0; self.stages];
        lookups::read_row(self.bits, self.group(slot / GROUP), slot % GROUP, &mut codes);
        codes
    }

    /// The level in a slot.
    pub(super) fn level(&self, slot: usize) -> Option<u8> {
        self.levels.as_bytes().get(slot).copied()
    }

    fn write(&mut self, slot: usize, codes: &[u8], level: u8) {
        let (bytes, bits) = (self.group_bytes(), self.bits);
        let group = &mut self.codes.as_mut_bytes()[slot / GROUP * bytes..][..bytes];
        lookups::write_row(bits, group, slot % GROUP, codes);
        if let Some(to) = self.levels.as_mut_bytes().get_mut(slot) {
            *to = level;
        }
    }

    pub(super) fn tensors(&self) -> Vec<TensorView<'_>> {
        let tensor = |name, shape, buffer| TensorView {
            name,
            dtype: Dtype::U8,
            shape,
            bytes: Buffer::as_bytes(buffer),
        };
        let mut tensors = vec![tensor("codes", vec![self.groups, self.group_bytes()], &self.codes)];
        if self.has_levels {
            tensors.push(tensor("norms", vec![self.groups * GROUP], &self.levels));
        }
        tensors
    }

    /// Takes rows in lists out of a file.
    pub(super) fn take(
        mut self,
        contents: &mut Contents,
        rows: usize,
        lists: usize,
    ) -> Result<Blocks, FormatError> {
        let lists = Lists::take(contents, rows, lists, GROUP)?;
        let groups = lists.blocks();
        self.codes = contents.take("codes", Dtype::U8, &[groups, self.group_bytes()])?;
        if self.has_levels {
            self.levels = contents.take("norms", Dtype::U8, &[groups * GROUP])?;
        }
        Ok(Blocks::new(lists, self))
    }
}

impl Arena for Slots {
    fn resize(&mut self, blocks: usize) {
        self.groups = blocks;
        self.codes.resize(blocks * self.group_bytes());
        if self.has_levels {
            self.levels.resize(blocks * GROUP);
        }
    }

    fn copy_slot(&mut self, to: usize, other: &Self, from: usize) {
        self.write(to, &other.read(from), other.level(from).unwrap_or(0));
    }

    fn move_slot(&mut self, to: usize, from: usize) {
        self.write(to, &self.read(from), self.level(from).unwrap_or(0));
    }

    fn move_block(&mut self, to: usize, from: usize) {
        let bytes = self.group_bytes();
        self.codes.as_mut_bytes().copy_within(from * bytes..(from + 1) * bytes, to * bytes);
        if self.has_levels {
            self.levels.as_mut_bytes().copy_within(from * GROUP..(from + 1) * GROUP, to * GROUP);
        }
    }

    fn shrink_to_fit(&mut self) {
        self.codes.shrink_to_fit();
        self.levels.shrink_to_fit();
    }
}
