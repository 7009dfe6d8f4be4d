//! The coded points of all clusters, in groups of 64 of one cluster: the arena that goes with [`Lists`].

use counterpoint_core::buffer::Buffer;
use counterpoint_core::cluster::{Lists, Moves};
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::simd::GROUP;
use counterpoint_core::simd::int8::{self, Bits};
use half::f16;

use crate::model::Coded;

/// Coded points by cluster.
#[derive(Clone)]
pub(crate) struct Blocks {
    bits: Bits,
    rank: usize,
    lists: Lists,
    /// Group after group.
    codes: Buffer,
    /// f16, one a slot.
    scale: Buffer,
    /// f32, one a slot.
    bias: Buffer,
}

/// One group, as a search reads it.
pub(crate) struct Block<'a> {
    pub(crate) codes: int8::Group<'a>,
    pub(crate) scale: &'a [f16; GROUP],
    pub(crate) bias: &'a [f32; GROUP],
    /// The rows of the points in its first slots.
    pub(crate) rows: &'a [u32],
}

impl Blocks {
    /// No points in any of `clusters` clusters.
    pub(crate) fn empty(bits: Bits, rank: usize, clusters: usize) -> Self {
        Self::over(bits, rank, Lists::new(clusters, GROUP))
    }

    fn over(bits: Bits, rank: usize, lists: Lists) -> Self {
        let mut blocks =
            Self { bits, rank, lists, codes: Buffer::new(), scale: Buffer::new(), bias: Buffer::new() };
        blocks.fit();
        blocks
    }

    /// The points of each cluster.
    pub(crate) fn of(bits: Bits, rank: usize, coded: &Coded) -> Self {
        let Coded { labels, points } = coded;
        let mut blocks = Self::over(bits, rank, Lists::from_labels(labels, points.len(), GROUP));
        let bytes = blocks.group_bytes();
        // Each list's groups lie one after another.
        let (mut group, mut slot) = (0, 0);
        for points in points {
            let (codes, slots) = (points.codes.len(), points.scale.len());
            blocks.codes.as_mut_bytes()[group * bytes..][..codes].copy_from_slice(&points.codes);
            blocks.scale.as_mut_slice::<f16>()[slot..slot + slots].copy_from_slice(&points.scale);
            blocks.bias.as_mut_slice::<f32>()[slot..slot + slots].copy_from_slice(&points.bias);
            slot += slots;
            group = slot / GROUP;
        }
        blocks
    }

    fn group_bytes(&self) -> usize {
        int8::group_bytes(self.bits, self.rank)
    }

    /// Makes the arena as large as the lists'.
    fn fit(&mut self) {
        let groups = self.lists.blocks();
        self.codes.resize(groups * self.group_bytes());
        self.scale.resize(groups * GROUP * size_of::<f16>());
        self.bias.resize(groups * GROUP * size_of::<f32>());
    }

    /// Rows there are.
    pub(crate) fn total(&self) -> usize {
        self.lists.len()
    }

    /// The groups of a cluster.
    #[inline(always)]
    pub(crate) fn list(&self, cluster: usize) -> impl ExactSizeIterator<Item = Block<'_>> {
        let bytes = self.group_bytes();
        let (scale, _) = self.scale.as_slice::<f16>().as_chunks::<GROUP>();
        let (bias, _) = self.bias.as_slice::<f32>().as_chunks::<GROUP>();
        let codes = self.codes.as_bytes();
        self.lists.blocks_of(cluster).map(move |(group, rows)| Block {
            codes: int8::Group::new(self.bits, &codes[group * bytes..(group + 1) * bytes]),
            scale: &scale[group],
            bias: &bias[group],
            rows,
        })
    }

    /// The cluster of a row, its codes, and their scale (in units of the cluster).
    pub(crate) fn read(&self, row: usize) -> Option<(usize, Vec<u8>, f32)> {
        let (slot, cluster) = (self.lists.slot_of(row)?, self.lists.list_of(row)?);
        let bytes = self.group_bytes();
        let mut codes = vec![0; self.rank];
        let group = &self.codes.as_bytes()[slot / GROUP * bytes..][..bytes];
        int8::read_row(self.bits, group, slot % GROUP, &mut codes);
        Some((cluster, codes, self.scale.as_slice::<f16>()[slot].to_f32()))
    }

    /// Makes room for more rows, to be written by [`Blocks::copy_row`].
    pub(crate) fn grow(&mut self, more: usize) {
        self.lists.grow(more);
    }

    /// Puts row `from` of `other` in the place of row `to`.
    pub(crate) fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        let moves = self.lists.take_out(to);
        self.follow(moves);
        let (Some(source), Some(cluster)) = (other.lists.slot_of(from), other.lists.list_of(from)) else {
            return;
        };
        let slot = self.lists.put(to, cluster);
        self.fit();
        let bytes = self.group_bytes();
        let group = &mut self.codes.as_mut_bytes()[slot / GROUP * bytes..][..bytes];
        let from_group = &other.codes.as_bytes()[source / GROUP * bytes..][..bytes];
        int8::copy_row(group, slot % GROUP, from_group, source % GROUP);
        self.scale.as_mut_slice::<f16>()[slot] = other.scale.as_slice::<f16>()[source];
        self.bias.as_mut_slice::<f32>()[slot] = other.bias.as_slice::<f32>()[source];
    }

    /// Moves codes as the lists' rows were moved.
    fn follow(&mut self, moves: Moves) {
        let bytes = self.group_bytes();
        if let Some((from, to)) = moves.slot {
            let mut codes = vec![0; self.rank];
            let groups = self.codes.as_mut_bytes();
            int8::read_row(self.bits, &groups[from / GROUP * bytes..][..bytes], from % GROUP, &mut codes);
            int8::write_row(self.bits, &mut groups[to / GROUP * bytes..][..bytes], to % GROUP, &codes);
            self.scale.as_mut_slice::<f16>().copy_within(from..=from, to);
            self.bias.as_mut_slice::<f32>().copy_within(from..=from, to);
        }
        if let Some((from, to)) = moves.block {
            self.codes.as_mut_bytes().copy_within(from * bytes..(from + 1) * bytes, to * bytes);
            let slots = from * GROUP..(from + 1) * GROUP;
            self.scale.as_mut_slice::<f16>().copy_within(slots.clone(), to * GROUP);
            self.bias.as_mut_slice::<f32>().copy_within(slots, to * GROUP);
        }
        self.fit();
    }

    /// Removes a row; the last row takes its number.
    pub(crate) fn swap_remove(&mut self, row: usize) {
        let moves = self.lists.swap_remove(row);
        self.follow(moves);
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.lists.shrink_to_fit();
        for buffer in [&mut self.codes, &mut self.scale, &mut self.bias] {
            buffer.shrink_to_fit();
        }
    }

    pub(crate) fn tensors(&self) -> Vec<TensorView<'_>> {
        let groups = self.lists.blocks();
        let tensor = |name, dtype, shape: Vec<usize>, buffer| TensorView {
            name,
            dtype,
            shape,
            bytes: Buffer::as_bytes(buffer),
        };
        let mut tensors = vec![
            tensor("codes", Dtype::U8, vec![groups, self.group_bytes()], &self.codes),
            tensor("scale", Dtype::F16, vec![groups * GROUP], &self.scale),
            tensor("bias", Dtype::F32, vec![groups * GROUP], &self.bias),
        ];
        tensors.extend(self.lists.tensors());
        tensors
    }

    /// Takes the points of `rows` rows out of a file; what they hold is for [`Blocks::check`] to see.
    pub(crate) fn take(
        contents: &mut Contents,
        bits: Bits,
        rank: usize,
        clusters: usize,
        rows: usize,
    ) -> Result<Self, FormatError> {
        let lists = Lists::take(contents, rows, clusters, GROUP)?;
        let groups = lists.blocks();
        let bytes = int8::group_bytes(bits, rank);
        let codes = contents.take("codes", Dtype::U8, &[groups, bytes])?;
        let scale = contents.take("scale", Dtype::F16, &[groups * GROUP])?;
        let bias = contents.take("bias", Dtype::F32, &[groups * GROUP])?;
        Ok(Self { bits, rank, lists, codes, scale, bias })
    }

    /// Checks every slot.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        if let Some(value) = self.scale.as_slice::<f16>().iter().find(|value| !value.is_finite()) {
            return Err(FormatError::content("scale", "finite values", value));
        }
        match self.bias.as_slice::<f32>().iter().find(|value| !value.is_finite()) {
            Some(value) => Err(FormatError::content("bias", "finite values", value)),
            None => Ok(()),
        }
    }
}
