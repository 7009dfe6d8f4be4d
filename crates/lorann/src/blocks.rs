//! The coded points of all clusters, in groups of 64 of one cluster.
//!
//! A cluster's groups come one after another when the index is built; a point that is added goes to the last group of
//! its cluster, or to a new one at the end. Every group of a cluster but its last is full, and none is empty. A slot is
//! a group's number times 64 and a place in it; row numbers lie beside the codes, so that a search never looks up where
//! a row is.

use std::sync::OnceLock;

use counterpoint_core::buffer::Buffer;
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::simd::GROUP;
use counterpoint_core::simd::int8::{self, Bits};
use half::f16;

use crate::factor::Points;

/// The row number of a free slot.
const FREE: u32 = u32::MAX;

/// Coded points by cluster.
#[derive(Clone)]
pub(crate) struct Blocks {
    bits: Bits,
    rank: usize,
    /// Group after group.
    codes: Buffer,
    /// f16, one a slot.
    scale: Buffer,
    /// f32, one a slot.
    bias: Buffer,
    /// u32, one a slot: the row.
    rows: Buffer,
    /// u32: the cluster of each group.
    owner: Buffer,
    groups: usize,
    /// The groups of each cluster.
    lists: Vec<Vec<u32>>,
    /// The points of each cluster.
    counts: Vec<u32>,
    /// The slot of each row, found when first asked for.
    places: OnceLock<Vec<u32>>,
    /// Rows there are or will be.
    total: usize,
}

/// One group, as a search reads it.
pub(crate) struct Block<'a> {
    pub(crate) codes: int8::Group<'a>,
    pub(crate) scale: &'a [f16; GROUP],
    pub(crate) bias: &'a [f32; GROUP],
    pub(crate) rows: &'a [u32; GROUP],
    /// Points in it: the first of its slots.
    pub(crate) count: usize,
}

impl Blocks {
    /// No points in any of `clusters` clusters.
    pub(crate) fn empty(bits: Bits, rank: usize, clusters: usize) -> Self {
        Self {
            bits,
            rank,
            codes: Buffer::new(),
            scale: Buffer::new(),
            bias: Buffer::new(),
            rows: Buffer::new(),
            owner: Buffer::new(),
            groups: 0,
            lists: vec![Vec::new(); clusters],
            counts: vec![0; clusters],
            places: OnceLock::new(),
            total: 0,
        }
    }

    /// The points of each cluster: rows and their codes.
    pub(crate) fn of(bits: Bits, rank: usize, members: &[Vec<u32>], points: &[Points]) -> Self {
        let mut blocks = Self::empty(bits, rank, members.len());
        blocks.resize(members.iter().map(|rows| rows.len().div_ceil(GROUP)).sum());
        let bytes = blocks.group_bytes();
        let mut group = 0;
        for (cluster, (rows, points)) in members.iter().zip(points).enumerate() {
            let count = rows.len().div_ceil(GROUP);
            let slots = group * GROUP..(group + count) * GROUP;
            blocks.codes.as_mut_bytes()[group * bytes..(group + count) * bytes]
                .copy_from_slice(&points.codes);
            blocks.scale.as_mut_slice::<f16>()[slots.clone()].copy_from_slice(&points.scale);
            blocks.bias.as_mut_slice::<f32>()[slots.clone()].copy_from_slice(&points.bias);
            blocks.rows.as_mut_slice::<u32>()[slots.start..slots.start + rows.len()].copy_from_slice(rows);
            blocks.owner.as_mut_slice::<u32>()[group..group + count].fill(cluster as u32);
            blocks.lists[cluster] = (group as u32..(group + count) as u32).collect();
            blocks.counts[cluster] = rows.len() as u32;
            blocks.total += rows.len();
            group += count;
        }
        blocks
    }

    fn group_bytes(&self) -> usize {
        int8::group_bytes(self.bits, self.rank)
    }

    /// Makes room for so many groups; new ones are free.
    fn resize(&mut self, groups: usize) {
        self.codes.resize(groups * self.group_bytes());
        self.scale.resize(groups * GROUP * size_of::<f16>());
        self.bias.resize(groups * GROUP * size_of::<f32>());
        self.rows.resize(groups * GROUP * size_of::<u32>());
        self.owner.resize(groups * size_of::<u32>());
        if groups > self.groups {
            self.rows.as_mut_slice::<u32>()[self.groups * GROUP..].fill(FREE);
        }
        self.owner.as_mut_slice::<u32>()[groups..].fill(0);
        self.groups = groups;
    }

    /// Rows there are.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Points in a cluster.
    #[inline(always)]
    pub(crate) fn count(&self, cluster: usize) -> usize {
        self.counts[cluster] as usize
    }

    /// The largest cluster's groups.
    pub(crate) fn largest(&self) -> usize {
        self.lists.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The groups of a cluster.
    #[inline(always)]
    pub(crate) fn list(&self, cluster: usize) -> impl ExactSizeIterator<Item = Block<'_>> {
        let count = self.count(cluster);
        let bytes = self.group_bytes();
        let (scale, _) = self.scale.as_slice::<f16>().as_chunks::<GROUP>();
        let (bias, _) = self.bias.as_slice::<f32>().as_chunks::<GROUP>();
        let (rows, _) = self.rows.as_slice::<u32>().as_chunks::<GROUP>();
        let codes = self.codes.as_bytes();
        self.lists[cluster].iter().enumerate().map(move |(i, &group)| {
            let group = group as usize;
            Block {
                codes: int8::Group::new(self.bits, &codes[group * bytes..(group + 1) * bytes]),
                scale: &scale[group],
                bias: &bias[group],
                rows: &rows[group],
                count: GROUP.min(count - i * GROUP),
            }
        })
    }

    /// The slots of a cluster's points, one after another.
    fn slots(&self, cluster: usize) -> impl Iterator<Item = usize> {
        let slots = self.lists[cluster].iter().flat_map(|&group| {
            let first = group as usize * GROUP;
            first..first + GROUP
        });
        slots.take(self.count(cluster))
    }

    fn places(&self) -> &[u32] {
        self.places.get_or_init(|| {
            let mut places = vec![FREE; self.total];
            for (slot, &row) in self.rows.as_slice::<u32>().iter().enumerate() {
                if let Some(place) = places.get_mut(row as usize) {
                    *place = slot as u32;
                }
            }
            places
        })
    }

    fn places_mut(&mut self) -> Option<&mut Vec<u32>> {
        self.places();
        self.places.get_mut()
    }

    /// The slot of a row that is there.
    fn place(&self, row: usize) -> usize {
        self.places()[row] as usize
    }

    fn set_place(&mut self, row: usize, slot: u32) {
        if let Some(places) = self.places_mut() {
            places[row] = slot;
        }
    }

    /// The cluster of a row, its codes, and their scale (in units of the cluster).
    pub(crate) fn read(&self, row: usize) -> (usize, Vec<u8>, f32) {
        let slot = self.place(row);
        let (group, bytes) = (slot / GROUP, self.group_bytes());
        let mut codes = vec![0; self.rank];
        let group_codes = &self.codes.as_bytes()[group * bytes..(group + 1) * bytes];
        int8::read_row(self.bits, group_codes, slot % GROUP, &mut codes);
        (self.owner.as_slice::<u32>()[group] as usize, codes, self.scale.as_slice::<f16>()[slot].to_f32())
    }

    /// Makes room for more rows, to be written by [`Blocks::copy_row`].
    pub(crate) fn grow(&mut self, more: usize) {
        let total = self.total + more;
        if let Some(places) = self.places_mut() {
            places.resize(total, FREE);
        }
        self.total = total;
    }

    /// Puts row `from` of `other` in the place of row `to`.
    pub(crate) fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        if self.places()[to] != FREE {
            self.vacate(to);
        }
        let source = other.place(from);
        let cluster = other.owner.as_slice::<u32>()[source / GROUP];
        let slot = self.next(cluster);
        self.copy_slot(slot, other, source);
        self.rows.as_mut_slice::<u32>()[slot] = to as u32;
        self.set_place(to, slot as u32);
    }

    /// The next free slot of a cluster, taken.
    fn next(&mut self, cluster: u32) -> usize {
        let count = self.counts[cluster as usize] as usize;
        if count.is_multiple_of(GROUP) {
            let group = self.groups;
            self.resize(group + 1);
            self.owner.as_mut_slice::<u32>()[group] = cluster;
            self.lists[cluster as usize].push(group as u32);
        }
        self.counts[cluster as usize] += 1;
        let group = self.lists[cluster as usize][count / GROUP] as usize;
        group * GROUP + count % GROUP
    }

    fn copy_slot(&mut self, to: usize, other: &Self, from: usize) {
        let bytes = self.group_bytes();
        let group = &mut self.codes.as_mut_bytes()[to / GROUP * bytes..][..bytes];
        int8::copy_row(
            group,
            to % GROUP,
            &other.codes.as_bytes()[from / GROUP * bytes..][..bytes],
            from % GROUP,
        );
        self.scale.as_mut_slice::<f16>()[to] = other.scale.as_slice::<f16>()[from];
        self.bias.as_mut_slice::<f32>()[to] = other.bias.as_slice::<f32>()[from];
    }

    /// Takes a row out; the last point of its cluster moves into its slot.
    fn vacate(&mut self, row: usize) {
        let slot = self.place(row);
        let cluster = self.owner.as_slice::<u32>()[slot / GROUP] as usize;
        let last = self.counts[cluster] as usize - 1;
        let group = self.lists[cluster][last / GROUP] as usize;
        let from = group * GROUP + last % GROUP;
        let bytes = self.group_bytes();
        if from != slot {
            let mut codes = vec![0; self.rank];
            int8::read_row(
                self.bits,
                &self.codes.as_bytes()[group * bytes..][..bytes],
                from % GROUP,
                &mut codes,
            );
            let to = &mut self.codes.as_mut_bytes()[slot / GROUP * bytes..][..bytes];
            int8::write_row(self.bits, to, slot % GROUP, &codes);
            self.scale.as_mut_slice::<f16>().copy_within(from..=from, slot);
            self.bias.as_mut_slice::<f32>().copy_within(from..=from, slot);
            let moved = self.rows.as_slice::<u32>()[from];
            self.rows.as_mut_slice::<u32>()[slot] = moved;
            self.set_place(moved as usize, slot as u32);
        }
        let zeros = vec![0; self.rank];
        int8::write_row(
            self.bits,
            &mut self.codes.as_mut_bytes()[group * bytes..][..bytes],
            from % GROUP,
            &zeros,
        );
        self.scale.as_mut_slice::<f16>()[from] = f16::ZERO;
        self.bias.as_mut_slice::<f32>()[from] = 0.0;
        self.rows.as_mut_slice::<u32>()[from] = FREE;
        self.set_place(row, FREE);
        self.counts[cluster] -= 1;
        if last.is_multiple_of(GROUP) {
            self.lists[cluster].pop();
            self.drop_group(group);
        }
    }

    /// Drops an empty group; the last group moves into its place.
    fn drop_group(&mut self, group: usize) {
        let last = self.groups - 1;
        if group != last {
            let bytes = self.group_bytes();
            self.codes.as_mut_bytes().copy_within(last * bytes..(last + 1) * bytes, group * bytes);
            let slots = last * GROUP..(last + 1) * GROUP;
            self.scale.as_mut_slice::<f16>().copy_within(slots.clone(), group * GROUP);
            self.bias.as_mut_slice::<f32>().copy_within(slots.clone(), group * GROUP);
            self.rows.as_mut_slice::<u32>().copy_within(slots, group * GROUP);
            let owner = self.owner.as_slice::<u32>()[last];
            self.owner.as_mut_slice::<u32>()[group] = owner;
            let list = &mut self.lists[owner as usize];
            list.iter_mut().filter(|of| **of as usize == last).for_each(|of| *of = group as u32);
            for slot in group * GROUP..(group + 1) * GROUP {
                let row = self.rows.as_slice::<u32>()[slot];
                if row != FREE {
                    self.set_place(row as usize, slot as u32);
                }
            }
        }
        self.resize(last);
    }

    /// Removes a row; the last row takes its number.
    pub(crate) fn swap_remove(&mut self, row: usize) {
        self.vacate(row);
        let last = self.total - 1;
        if row != last {
            let slot = self.place(last);
            self.rows.as_mut_slice::<u32>()[slot] = row as u32;
            self.set_place(row, slot as u32);
        }
        self.total = last;
        if let Some(places) = self.places_mut() {
            places.truncate(last);
        }
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        for buffer in [&mut self.codes, &mut self.scale, &mut self.bias, &mut self.rows, &mut self.owner] {
            buffer.shrink_to_fit();
        }
        self.places.take();
    }

    pub(crate) fn tensors(&self) -> Vec<TensorView<'_>> {
        let slots = self.groups * GROUP;
        let tensor = |name, dtype, shape: Vec<usize>, buffer| TensorView {
            name,
            dtype,
            shape,
            bytes: Buffer::as_bytes(buffer),
        };
        vec![
            tensor("codes", Dtype::U8, vec![self.groups, self.group_bytes()], &self.codes),
            tensor("scale", Dtype::F16, vec![slots], &self.scale),
            tensor("bias", Dtype::F32, vec![slots], &self.bias),
            tensor("rows", Dtype::U32, vec![slots], &self.rows),
            tensor("owner", Dtype::U32, vec![self.groups.next_multiple_of(16)], &self.owner),
        ]
    }

    /// Takes the points of `rows` rows out of a file; what they hold is for [`Blocks::check`] to see.
    pub(crate) fn take(
        contents: &mut Contents,
        bits: Bits,
        rank: usize,
        clusters: usize,
        rows: usize,
    ) -> Result<Self, FormatError> {
        let mut blocks = Self::empty(bits, rank, clusters);
        let groups = contents.param_usize("groups")?;
        if groups > rows {
            return Err(FormatError::content("groups", format!("at most {rows}"), groups));
        }
        let slots = groups * GROUP;
        blocks.codes = contents.take("codes", Dtype::U8, &[groups, blocks.group_bytes()])?;
        blocks.scale = contents.take("scale", Dtype::F16, &[slots])?;
        blocks.bias = contents.take("bias", Dtype::F32, &[slots])?;
        blocks.rows = contents.take("rows", Dtype::U32, &[slots])?;
        blocks.owner = contents.take("owner", Dtype::U32, &[groups.next_multiple_of(16)])?;
        (blocks.groups, blocks.total) = (groups, rows);
        let (groups, _) = blocks.rows.as_slice::<u32>().as_chunks::<GROUP>();
        let owners = blocks.owner.as_slice::<u32>();
        let mut partial = vec![None; clusters];
        for ((number, rows), &owner) in (0..).zip(groups).zip(owners) {
            let Some(list) = blocks.lists.get_mut(owner as usize) else {
                return Err(FormatError::content("owner", "a cluster of the index", owner));
            };
            let count = rows.iter().filter(|&&row| row != FREE).count();
            blocks.counts[owner as usize] += count as u32;
            if count == GROUP {
                list.push(number);
            } else if count == 0 || partial[owner as usize].replace(number).is_some() {
                let expected = "no empty group, and one that is not full for each cluster";
                return Err(FormatError::content("rows", expected, "another"));
            }
        }
        blocks.lists.iter_mut().zip(partial).for_each(|(list, partial)| list.extend(partial));
        Ok(blocks)
    }

    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Checks every slot.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        let mut seen = vec![false; self.total];
        for cluster in 0..self.lists.len() {
            for slot in self.slots(cluster) {
                let row = self.rows.as_slice::<u32>()[slot];
                match seen.get_mut(row as usize) {
                    Some(seen) if !*seen => *seen = true,
                    _ => return Err(FormatError::content("rows", "each row once, in the first slots", row)),
                }
            }
        }
        if seen.contains(&false) {
            return Err(FormatError::content("rows", "each row once", "a row that is nowhere"));
        }
        if let Some(value) = self.scale.as_slice::<f16>().iter().find(|value| !value.is_finite()) {
            return Err(FormatError::content("scale", "finite values", value));
        }
        match self.bias.as_slice::<f32>().iter().find(|value| !value.is_finite()) {
            Some(value) => Err(FormatError::content("bias", "finite values", value)),
            None => Ok(()),
        }
    }
}
