//! The primary codes, in groups of 64 rows as the block kernels read them, and their constants.

use counterpoint_core::buffer::Buffer;
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::simd::GROUP;
use counterpoint_core::simd::int8::{Bits, copy_row, group_bytes, read_row, write_row};
use half::f16;

use crate::encode::Constants;

/// Rows of codes.
#[derive(Clone)]
pub(crate) struct Groups {
    bits: Bits,
    dim: usize,
    /// Whether distances take ‖x̂'‖².
    squares: bool,
    rows: usize,
    /// Group after group of codes.
    codes: Buffer,
    /// f16, one a row.
    scale: Buffer,
    /// f16, one a row.
    bias: Buffer,
    /// f32, one a row: what stands for ‖x̂'‖². Empty unless the metric is l2.
    square: Buffer,
    /// f32, one a group: the largest radius of its rows.
    radius: Buffer,
}

/// One group's part of every tensor, to be written by one thread.
pub(crate) struct GroupMut<'a> {
    bits: Bits,
    codes: &'a mut [u8],
    scale: &'a mut [f16],
    bias: &'a mut [f16],
    square: &'a mut [f32],
    radius: &'a mut f32,
}

impl GroupMut<'_> {
    pub(crate) fn write(&mut self, r: usize, codes: &[u8], constants: Constants) {
        write_row(self.bits, self.codes, r, codes);
        self.set(r, constants);
    }

    fn set(&mut self, r: usize, constants: Constants) {
        self.scale[r] = constants.scale;
        self.bias[r] = constants.bias;
        if let Some(square) = self.square.get_mut(r) {
            *square = constants.square;
        }
        *self.radius = self.radius.max(constants.radius);
    }
}

/// One group's part of every tensor.
#[derive(Clone, Copy)]
pub(crate) struct GroupRef<'a> {
    pub(crate) codes: &'a [u8],
    pub(crate) scale: &'a [f16],
    pub(crate) bias: &'a [f16],
    /// Empty unless the metric is l2.
    pub(crate) square: &'a [f32],
    pub(crate) radius: f32,
}

impl Groups {
    /// No rows.
    pub(crate) fn new(bits: Bits, dim: usize, squares: bool) -> Self {
        Self {
            bits,
            dim,
            squares,
            rows: 0,
            codes: Buffer::new(),
            scale: Buffer::new(),
            bias: Buffer::new(),
            square: Buffer::new(),
            radius: Buffer::new(),
        }
    }

    pub(crate) fn bits(&self) -> Bits {
        self.bits
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    fn group_bytes(&self) -> usize {
        group_bytes(self.bits, self.dim)
    }

    /// Makes every tensor as long as `rows` rows need; new rows are zero.
    pub(crate) fn resize(&mut self, rows: usize) {
        let groups = rows.div_ceil(GROUP);
        self.rows = rows;
        self.codes.resize(groups * self.group_bytes());
        self.scale.resize(groups * GROUP * size_of::<f16>());
        self.bias.resize(groups * GROUP * size_of::<f16>());
        if self.squares {
            self.square.resize(groups * GROUP * size_of::<f32>());
        }
        // A group's radius only grows while it has rows; a group that goes takes its radius with it.
        let radius = self.radius.as_mut_slice::<f32>();
        if groups < radius.len() {
            radius[groups..].fill(0.0);
        }
        self.radius.resize(groups * size_of::<f32>());
    }

    #[inline(always)]
    pub(crate) fn at(&self, group: usize) -> GroupRef<'_> {
        let bytes = self.group_bytes();
        let rows = group * GROUP..(group + 1) * GROUP;
        GroupRef {
            codes: &self.codes.as_bytes()[group * bytes..(group + 1) * bytes],
            scale: &self.scale.as_slice()[rows.clone()],
            bias: &self.bias.as_slice()[rows.clone()],
            square: self.square.as_slice().get(rows).unwrap_or_default(),
            radius: self.radius.as_slice::<f32>()[group],
        }
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = GroupMut<'_>> + Send {
        let (bits, bytes) = (self.bits, self.group_bytes());
        let codes = self.codes.as_mut_bytes().chunks_exact_mut(bytes.max(1));
        let scale = self.scale.as_mut_slice::<f16>().chunks_exact_mut(GROUP);
        let bias = self.bias.as_mut_slice::<f16>().chunks_exact_mut(GROUP);
        let mut square = self.square.as_mut_slice::<f32>().chunks_exact_mut(GROUP);
        let square = std::iter::from_fn(move || Some(square.next().unwrap_or_default()));
        let radius = self.radius.as_mut_slice::<f32>().iter_mut();
        codes.zip(scale).zip(bias).zip(square).zip(radius).map(
            move |((((codes, scale), bias), square), radius)| GroupMut {
                bits,
                codes,
                scale,
                bias,
                square,
                radius,
            },
        )
    }

    fn at_mut(&mut self, group: usize) -> Option<GroupMut<'_>> {
        let (bits, bytes) = (self.bits, self.group_bytes());
        let rows = group * GROUP..(group + 1) * GROUP;
        Some(GroupMut {
            bits,
            codes: self.codes.as_mut_bytes().get_mut(group * bytes..(group + 1) * bytes)?,
            scale: self.scale.as_mut_slice().get_mut(rows.clone())?,
            bias: self.bias.as_mut_slice().get_mut(rows.clone())?,
            square: self.square.as_mut_slice().get_mut(rows).unwrap_or_default(),
            radius: self.radius.as_mut_slice().get_mut(group)?,
        })
    }

    /// The scales of all rows.
    pub(crate) fn scales(&self) -> &[f16] {
        self.scale.as_slice().get(..self.rows).unwrap_or_default()
    }

    /// The biases of all rows.
    pub(crate) fn biases(&self) -> &[f16] {
        self.bias.as_slice().get(..self.rows).unwrap_or_default()
    }

    /// The constants of a row, of its primary code. The radius is its group's.
    fn constants(&self, row: usize) -> Constants {
        let (group, r) = (self.at(row / GROUP), row % GROUP);
        Constants {
            scale: group.scale[r],
            bias: group.bias[r],
            square: group.square.get(r).copied().unwrap_or(0.0),
            full_square: 0.0,
            radius: group.radius,
        }
    }

    fn write(&mut self, row: usize, codes: &[u8], constants: Constants) {
        if let Some(mut group) = self.at_mut(row / GROUP) {
            group.write(row % GROUP, codes, constants);
        }
    }

    /// Reads the codes of a row, one a byte.
    pub(crate) fn read(&self, row: usize, codes: &mut [u8]) {
        read_row(self.bits, self.at(row / GROUP).codes, row % GROUP, codes);
    }

    /// Copies row `from` of `other` over row `to`.
    pub(crate) fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        let source = other.at(from / GROUP);
        let constants = other.constants(from);
        if let Some(mut group) = self.at_mut(to / GROUP) {
            copy_row(group.codes, to % GROUP, source.codes, from % GROUP);
            group.set(to % GROUP, constants);
        }
    }

    /// Removes a row, moving the last row into its place.
    pub(crate) fn swap_remove(&mut self, row: usize) {
        let last = self.rows - 1;
        let mut codes = vec![0; self.dim];
        self.read(last, &mut codes);
        let constants = self.constants(last);
        self.write(row, &codes, constants);
        codes.fill(0);
        let none =
            Constants { scale: f16::ZERO, bias: f16::ZERO, square: 0.0, full_square: 0.0, radius: 0.0 };
        self.write(last, &codes, none);
        self.resize(last);
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        for buffer in [&mut self.codes, &mut self.scale, &mut self.bias, &mut self.square, &mut self.radius] {
            buffer.shrink_to_fit();
        }
    }

    pub(crate) fn tensors(&self) -> Vec<TensorView<'_>> {
        let groups = self.groups();
        let tensor = |name, dtype, shape: &[usize], buffer| TensorView {
            name,
            dtype,
            shape: shape.to_vec(),
            bytes: Buffer::as_bytes(buffer),
        };
        let mut tensors = vec![
            tensor("codes", Dtype::U8, &[groups, self.group_bytes()], &self.codes),
            tensor("scale", Dtype::F16, &[groups * GROUP], &self.scale),
            tensor("bias", Dtype::F16, &[groups * GROUP], &self.bias),
            tensor("radius", Dtype::F32, &[groups.next_multiple_of(16)], &self.radius),
        ];
        if self.squares {
            tensors.push(tensor("square", Dtype::F32, &[groups * GROUP], &self.square));
        }
        tensors
    }

    /// Takes `rows` rows out of a file, into an empty store.
    pub(crate) fn take(mut self, contents: &mut Contents, rows: usize) -> Result<Self, FormatError> {
        self.rows = rows;
        let groups = self.groups();
        self.codes = contents.take("codes", Dtype::U8, &[groups, self.group_bytes()])?;
        self.scale = contents.take("scale", Dtype::F16, &[groups * GROUP])?;
        self.bias = contents.take("bias", Dtype::F16, &[groups * GROUP])?;
        self.radius = contents.take("radius", Dtype::F32, &[groups.next_multiple_of(16)])?;
        if self.squares {
            self.square = contents.take("square", Dtype::F32, &[groups * GROUP])?;
        }
        Ok(self)
    }

    pub(crate) fn check(&self) -> Result<(), FormatError> {
        let lengths = |name, buffer: &Buffer| {
            let mut values = buffer.as_slice::<f16>().iter();
            match values.find(|value| !(value.is_finite() && **value >= f16::ZERO)) {
                Some(value) => Err(FormatError::content(name, "finite values of at least 0", value)),
                None => Ok(()),
            }
        };
        lengths("scale", &self.scale)?;
        if let Some(value) = self.bias.as_slice::<f16>().iter().find(|value| !value.is_finite()) {
            return Err(FormatError::content("bias", "finite values", value));
        }
        let radii = self.radius.as_slice::<f32>();
        if let Some(value) = radii.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
            return Err(FormatError::content("radius", "finite values of at least 0", value));
        }
        check_finite("square", &self.square)
    }
}

/// Checks that all f32 of a buffer are finite.
pub(crate) fn check_finite(name: &str, buffer: &Buffer) -> Result<(), FormatError> {
    match buffer.as_slice::<f32>().iter().find(|value| !value.is_finite()) {
        Some(value) => Err(FormatError::content(name, "finite values", value)),
        None => Ok(()),
    }
}
