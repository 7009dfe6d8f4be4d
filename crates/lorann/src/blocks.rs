//! The coded points of all clusters, in groups of 64 of one cluster: the arena that goes with [`Lists`].

use counterpoint_core::buffer::Buffer;
use counterpoint_core::cluster::{Arena, Filed, Lists};
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::simd::GROUP;
use counterpoint_core::simd::int8::{self, Bits};
use half::f16;

use crate::model::Coded;

/// Coded points by cluster.
#[derive(Clone)]
pub(crate) struct Blocks(Filed<Slots>);

/// The arena of coded points.
#[derive(Clone)]
struct Slots {
    bits: Bits,
    rank: usize,
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
        let slots = Slots { bits, rank, codes: Buffer::new(), scale: Buffer::new(), bias: Buffer::new() };
        Self(Filed::new(lists, slots))
    }

    /// The points of each cluster.
    pub(crate) fn of(bits: Bits, rank: usize, coded: &Coded) -> Self {
        let Coded { labels, points } = coded;
        let mut blocks = Self::over(bits, rank, Lists::from_labels(labels, points.len(), GROUP));
        let slots = blocks.0.arena_mut();
        let bytes = slots.group_bytes();
        // Each list's groups lie one after another.
        let (mut group, mut slot) = (0, 0);
        for points in points {
            let (codes, count) = (points.codes.len(), points.scale.len());
            slots.codes.as_mut_bytes()[group * bytes..][..codes].copy_from_slice(&points.codes);
            slots.scale.as_mut_slice::<f16>()[slot..slot + count].copy_from_slice(&points.scale);
            slots.bias.as_mut_slice::<f32>()[slot..slot + count].copy_from_slice(&points.bias);
            slot += count;
            group = slot / GROUP;
        }
        blocks
    }

    /// Rows there are.
    pub(crate) fn total(&self) -> usize {
        self.0.lists().len()
    }

    /// The groups of a cluster.
    #[inline(always)]
    pub(crate) fn list(&self, cluster: usize) -> impl ExactSizeIterator<Item = Block<'_>> {
        let slots = self.0.arena();
        let bytes = slots.group_bytes();
        let (scale, _) = slots.scale.as_slice::<f16>().as_chunks::<GROUP>();
        let (bias, _) = slots.bias.as_slice::<f32>().as_chunks::<GROUP>();
        let codes = slots.codes.as_bytes();
        self.0.lists().blocks_of(cluster).map(move |(group, rows)| Block {
            codes: int8::Group::new(slots.bits, &codes[group * bytes..(group + 1) * bytes]),
            scale: &scale[group],
            bias: &bias[group],
            rows,
        })
    }

    /// The cluster of a row, its codes, and their scale (in units of the cluster).
    pub(crate) fn read(&self, row: usize) -> Option<(usize, Vec<u8>, f32)> {
        let (lists, slots) = (self.0.lists(), self.0.arena());
        let (slot, cluster) = (lists.slot_of(row)?, lists.list_of(row)?);
        let mut codes = vec![0; slots.rank];
        slots.read(slot, &mut codes);
        Some((cluster, codes, slots.scale.as_slice::<f16>()[slot].to_f32()))
    }

    /// Makes room for more rows, to be written by [`Blocks::copy_row`].
    pub(crate) fn grow(&mut self, more: usize) {
        self.0.grow(more);
    }

    /// Puts row `from` of `other` in the place of row `to`.
    pub(crate) fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        self.0.copy_row(to, &other.0, from);
    }

    /// Removes a row; the last row takes its number.
    pub(crate) fn swap_remove(&mut self, row: usize) {
        self.0.swap_remove(row);
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    pub(crate) fn tensors(&self) -> Vec<TensorView<'_>> {
        let (lists, slots) = (self.0.lists(), self.0.arena());
        let groups = lists.blocks();
        let tensor = |name, dtype, shape: Vec<usize>, buffer| TensorView {
            name,
            dtype,
            shape,
            bytes: Buffer::as_bytes(buffer),
        };
        let mut tensors = vec![
            tensor("codes", Dtype::U8, vec![groups, slots.group_bytes()], &slots.codes),
            tensor("scale", Dtype::F16, vec![groups * GROUP], &slots.scale),
            tensor("bias", Dtype::F32, vec![groups * GROUP], &slots.bias),
        ];
        tensors.extend(lists.tensors());
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
        Ok(Self(Filed::new(lists, Slots { bits, rank, codes, scale, bias })))
    }

    /// Checks every slot.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        let slots = self.0.arena();
        if let Some(value) = slots.scale.as_slice::<f16>().iter().find(|value| !value.is_finite()) {
            return Err(FormatError::content("scale", "finite values", value));
        }
        match slots.bias.as_slice::<f32>().iter().find(|value| !value.is_finite()) {
            Some(value) => Err(FormatError::content("bias", "finite values", value)),
            None => Ok(()),
        }
    }
}

impl Slots {
    fn group_bytes(&self) -> usize {
        int8::group_bytes(self.bits, self.rank)
    }

    fn read(&self, slot: usize, codes: &mut [u8]) {
        let bytes = self.group_bytes();
        int8::read_row(
            self.bits,
            &self.codes.as_bytes()[slot / GROUP * bytes..][..bytes],
            slot % GROUP,
            codes,
        );
    }
}

impl Arena for Slots {
    fn resize(&mut self, blocks: usize) {
        self.codes.resize(blocks * self.group_bytes());
        self.scale.resize(blocks * GROUP * size_of::<f16>());
        self.bias.resize(blocks * GROUP * size_of::<f32>());
    }

    fn copy_slot(&mut self, to: usize, other: &Self, from: usize) {
        let bytes = self.group_bytes();
        let group = &mut self.codes.as_mut_bytes()[to / GROUP * bytes..][..bytes];
        let from_group = &other.codes.as_bytes()[from / GROUP * bytes..][..bytes];
        int8::copy_row(group, to % GROUP, from_group, from % GROUP);
        self.scale.as_mut_slice::<f16>()[to] = other.scale.as_slice::<f16>()[from];
        self.bias.as_mut_slice::<f32>()[to] = other.bias.as_slice::<f32>()[from];
    }

    fn move_slot(&mut self, to: usize, from: usize) {
        let (bytes, bits) = (self.group_bytes(), self.bits);
        let mut codes = vec![0; self.rank];
        self.read(from, &mut codes);
        let group = &mut self.codes.as_mut_bytes()[to / GROUP * bytes..][..bytes];
        int8::write_row(bits, group, to % GROUP, &codes);
        self.scale.as_mut_slice::<f16>().copy_within(from..=from, to);
        self.bias.as_mut_slice::<f32>().copy_within(from..=from, to);
    }

    fn move_block(&mut self, to: usize, from: usize) {
        let bytes = self.group_bytes();
        self.codes.as_mut_bytes().copy_within(from * bytes..(from + 1) * bytes, to * bytes);
        let slots = from * GROUP..(from + 1) * GROUP;
        self.scale.as_mut_slice::<f16>().copy_within(slots.clone(), to * GROUP);
        self.bias.as_mut_slice::<f32>().copy_within(slots, to * GROUP);
    }

    fn shrink_to_fit(&mut self) {
        for buffer in [&mut self.codes, &mut self.scale, &mut self.bias] {
            buffer.shrink_to_fit();
        }
    }
}
