//! The codes of rows, in groups of 64 ([`lookups`]), and the levels of their terms: of rows in their order, or slot by slot in
//! the order of lists.

use counterpoint_core::buffer::Buffer;
use counterpoint_core::cluster::Arena;
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::simd::{GROUP, lookups};
use counterpoint_core::threads::Control;

/// Codes and levels, slot by slot.
#[derive(Clone)]
pub(crate) struct Groups {
    bits: Bits,
    stages: usize,
    /// Group after group.
    codes: Buffer,
    /// u8, one a slot: the level of C. Empty where there are none.
    levels: Buffer,
    has_levels: bool,
    groups: usize,
}

/// One group, to be written by one thread.
pub(crate) struct GroupMut<'a> {
    bits: Bits,
    codes: &'a mut [u8],
    /// Empty where there are none.
    levels: &'a mut [u8],
}

impl GroupMut<'_> {
    pub(crate) fn write(&mut self, r: usize, codes: &[u8], level: u8) {
        lookups::write_row(self.bits, self.codes, r, codes);
        if let Some(to) = self.levels.get_mut(r) {
            *to = level;
        }
    }
}

impl Groups {
    /// None yet.
    pub(crate) fn new(bits: Bits, stages: usize, has_levels: bool) -> Self {
        Self { bits, stages, codes: Buffer::new(), levels: Buffer::new(), has_levels, groups: 0 }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.groups
    }

    fn group_bytes(&self) -> usize {
        lookups::group_bytes(self.bits, self.stages)
    }

    /// The code bytes of a group.
    #[inline(always)]
    pub(crate) fn group(&self, group: usize) -> &[u8] {
        let bytes = self.group_bytes();
        &self.codes.as_bytes()[group * bytes..(group + 1) * bytes]
    }

    /// The levels of a group; none where there are none.
    #[inline(always)]
    pub(crate) fn levels(&self, group: usize) -> &[u8] {
        self.levels.as_bytes().get(group * GROUP..(group + 1) * GROUP).unwrap_or_default()
    }

    /// The codes in a slot, one a stage.
    pub(crate) fn read(&self, slot: usize) -> Vec<u8> {
        let mut codes = vec![0; self.stages];
        lookups::read_row(self.bits, self.group(slot / GROUP), slot % GROUP, &mut codes);
        codes
    }

    /// The level in a slot.
    pub(crate) fn level(&self, slot: usize) -> Option<u8> {
        self.levels.as_bytes().get(slot).copied()
    }

    /// Writes a slot: codes, one a stage, and a level, where there are levels.
    pub(crate) fn write(&mut self, slot: usize, codes: &[u8], level: u8) {
        let (bytes, bits, first) = (self.group_bytes(), self.bits, slot / GROUP * GROUP);
        let levels = self.levels.as_mut_bytes().get_mut(first..first + GROUP).unwrap_or_default();
        let group = &mut self.codes.as_mut_bytes()[slot / GROUP * bytes..][..bytes];
        GroupMut { bits, codes: group, levels }.write(slot % GROUP, codes, level);
    }

    /// All of them.
    pub(crate) fn groups_mut(&mut self) -> impl Iterator<Item = GroupMut<'_>> + Send {
        let (bits, bytes) = (self.bits, self.group_bytes());
        let mut codes = self.codes.as_mut_bytes().chunks_exact_mut(bytes.max(1));
        let mut levels = self.levels.as_mut_bytes().chunks_exact_mut(GROUP);
        (0..self.groups).map(move |_| {
            // Without stages there are no codes.
            let codes = codes.next().unwrap_or_default();
            GroupMut { bits, codes, levels: levels.next().unwrap_or_default() }
        })
    }

    pub(crate) fn tensors(&self) -> Vec<TensorView<'_>> {
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

    /// Takes so many out of a file.
    pub(crate) fn take(mut self, contents: &mut Contents, groups: usize) -> Result<Self, FormatError> {
        self.groups = groups;
        self.codes = contents.take("codes", Dtype::U8, &[groups, self.group_bytes()])?;
        if self.has_levels {
            self.levels = contents.take("norms", Dtype::U8, &[groups * GROUP])?;
        }
        Ok(self)
    }

    /// Checks that every code names a codeword, of stages of these sizes.
    pub(crate) fn check(&self, sizes: &[usize], control: &Control) -> Result<(), FormatError> {
        for group in 0..self.groups {
            control.check()?;
            let (columns, _) = self.group(group).as_chunks::<GROUP>();
            for (stage, &size) in sizes.iter().enumerate() {
                let largest = if self.bits == Bits::Eight {
                    columns[stage].iter().copied().max()
                } else {
                    columns[stage / 2].iter().map(|byte| byte >> (4 * (stage % 2)) & 15).max()
                };
                if let Some(code) = largest.filter(|&code| usize::from(code) >= size) {
                    let expected = format!("codes below {size} in stage {stage}");
                    return Err(FormatError::content("codes", expected, code));
                }
            }
        }
        Ok(())
    }
}

impl Arena for Groups {
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
