//! Encoded rows, in groups of 64 as the kernels read them.

use counterpoint_core::buffer::Buffer;
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::index::{AddError, Capabilities, ReconstructError, SearchError, SearchOptions};
use counterpoint_core::intake::{fill, mean};
use counterpoint_core::knobs::Knob;
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::check_rerank;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::simd::int8::{Bits, copy_row, group_bytes, read_row, write_row};
use counterpoint_core::simd::{GROUP, run};
use counterpoint_core::table::{Rowwise, Store, Table};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, Keep, Kept, Matrix, RowSource};
use half::f16;
use serde_json::{Map, Value, json};

use crate::encode::{Constants, Encode};

/// An LVQ index, searched flat.
pub type Lvq = Table<Codes>;

/// Makes an index without vectors: codes of `primary` bits, original vectors kept as `keep` says.
pub fn new(metric: Metric, primary: Bits, keep: Keep) -> Lvq {
    Table::over(Codes::unlearned(metric, primary, keep))
}

/// The rows of an [`Lvq`] index.
#[derive(Clone)]
pub struct Codes {
    pub(crate) metric: Metric,
    pub(crate) bits: Bits,
    /// μ; `None` until learned.
    pub(crate) mean: Option<Matrix<f32>>,
    pub(crate) kept: Kept,
    keep: Keep,
    rows: usize,
    /// Group after group of codes.
    codes: Buffer,
    /// f16, one a row.
    scale: Buffer,
    /// f16, one a row.
    bias: Buffer,
    /// f32, one a row: ‖x̂'‖². Empty unless the metric is l2.
    square: Buffer,
    /// f32, one a group: the largest radius of its rows.
    radius: Buffer,
}

/// One group's part of every tensor, to be written by one thread.
struct GroupMut<'a> {
    codes: &'a mut [u8],
    scale: &'a mut [f16],
    bias: &'a mut [f16],
    square: &'a mut [f32],
    radius: &'a mut f32,
}

impl GroupMut<'_> {
    fn write(&mut self, bits: Bits, r: usize, codes: &[u8], constants: Constants) {
        write_row(bits, self.codes, r, codes);
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

impl Codes {
    fn unlearned(metric: Metric, bits: Bits, keep: Keep) -> Self {
        Self {
            metric,
            bits,
            mean: None,
            kept: Kept::zeroed(keep, 0, 0),
            keep,
            rows: 0,
            codes: Buffer::new(),
            scale: Buffer::new(),
            bias: Buffer::new(),
            square: Buffer::new(),
            radius: Buffer::new(),
        }
    }

    /// The width of a code: 4 or 8.
    pub fn primary(&self) -> usize {
        self.bits.width()
    }

    /// Whether original vectors are kept, and how.
    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// Values of a vector; 0 until learned.
    pub(crate) fn dimension(&self) -> usize {
        self.mean.as_ref().map_or(0, Matrix::dim)
    }

    fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    fn group_bytes(&self) -> usize {
        group_bytes(self.bits, self.dimension())
    }

    /// Makes every tensor as long as `rows` rows need; new rows are zero.
    fn resize(&mut self, rows: usize) {
        let groups = rows.div_ceil(GROUP);
        self.rows = rows;
        self.codes.resize(groups * self.group_bytes());
        self.scale.resize(groups * GROUP * size_of::<f16>());
        self.bias.resize(groups * GROUP * size_of::<f16>());
        if self.metric == Metric::L2 {
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
    pub(crate) fn group_at(&self, group: usize) -> GroupRef<'_> {
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

    fn groups_mut(&mut self) -> impl Iterator<Item = GroupMut<'_>> + Send {
        let bytes = self.group_bytes();
        let codes = self.codes.as_mut_bytes().chunks_exact_mut(bytes.max(1));
        let scale = self.scale.as_mut_slice::<f16>().chunks_exact_mut(GROUP);
        let bias = self.bias.as_mut_slice::<f16>().chunks_exact_mut(GROUP);
        let mut square = self.square.as_mut_slice::<f32>().chunks_exact_mut(GROUP);
        let square = std::iter::from_fn(move || Some(square.next().unwrap_or_default()));
        let radius = self.radius.as_mut_slice::<f32>().iter_mut();
        codes
            .zip(scale)
            .zip(bias)
            .zip(square)
            .zip(radius)
            .map(|((((codes, scale), bias), square), radius)| GroupMut { codes, scale, bias, square, radius })
    }

    fn group_mut(&mut self, group: usize) -> Option<GroupMut<'_>> {
        let bytes = self.group_bytes();
        let rows = group * GROUP..(group + 1) * GROUP;
        Some(GroupMut {
            codes: self.codes.as_mut_bytes().get_mut(group * bytes..(group + 1) * bytes)?,
            scale: self.scale.as_mut_slice().get_mut(rows.clone())?,
            bias: self.bias.as_mut_slice().get_mut(rows.clone())?,
            square: self.square.as_mut_slice().get_mut(rows).unwrap_or_default(),
            radius: self.radius.as_mut_slice().get_mut(group)?,
        })
    }

    /// The constants of a row. The radius is its group's.
    fn constants(&self, row: usize) -> Constants {
        let (group, r) = (self.group_at(row / GROUP), row % GROUP);
        Constants {
            scale: group.scale[r],
            bias: group.bias[r],
            square: group.square.get(r).copied().unwrap_or(0.0),
            full_square: 0.0,
            radius: group.radius,
        }
    }

    fn write(&mut self, row: usize, codes: &[u8], constants: Constants) {
        let bits = self.bits;
        if let Some(mut group) = self.group_mut(row / GROUP) {
            group.write(bits, row % GROUP, codes, constants);
        }
    }

    /// The decoded vector of a row.
    fn decode(&self, row: usize, out: &mut [f32]) {
        let mut codes = vec![0; out.len()];
        read_row(self.bits, self.group_at(row / GROUP).codes, row % GROUP, &mut codes);
        let constants = self.constants(row);
        let (s, b) = (constants.scale.to_f32(), constants.bias.to_f32());
        let mean = self.mean.as_ref().map_or(&[][..], |mean| mean.row(0));
        for ((out, &code), &mean) in out.iter_mut().zip(&codes).zip(mean) {
            *out = (s * f32::from(code) + b) + mean;
        }
    }
}

impl Store for Codes {
    const METHOD: &'static str = "LVQ";

    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> Option<usize> {
        self.mean.as_ref().map(Matrix::dim)
    }

    fn len(&self) -> usize {
        self.rows
    }

    fn capabilities(&self) -> Capabilities {
        let rerank = Knob::rerank(self.keep, 20);
        Capabilities { exact: false, reconstruct: true, knobs: vec![rerank] }
    }

    fn blank(&self) -> Self {
        Self::unlearned(self.metric, self.bits, self.keep)
    }

    fn learn(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        let mut learned = self.blank();
        let mut row = Matrix::zeroed(1, rows.dim());
        row.row_mut(0).copy_from_slice(&mean(rows, self.metric, control)?);
        learned.mean = Some(row);
        learned.kept = Kept::zeroed(self.keep, 0, rows.dim());
        Ok(learned)
    }

    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        control.expect(rows.len());
        let mut encoded = Self { mean: self.mean.clone(), ..self.blank() };
        encoded.resize(rows.len());
        let mut kept = Kept::zeroed(self.keep, rows.len(), rows.dim());
        let (bits, level) = (self.bits, control.level());
        let mean = self.mean.as_ref().map_or(&[][..], |mean| mean.row(0));
        let parts = encoded.groups_mut().map(|group| (group, vec![0_u8; rows.dim()]));
        fill(rows, self.metric, &mut kept, parts, control, |(group, codes), r, values, row| {
            for (value, mean) in values.iter_mut().zip(mean) {
                *value -= mean;
            }
            let constants =
                run(level, Encode { centred: values, levels: bits.into(), codes, residual: &mut [], row })?;
            group.write(bits, r, codes, constants);
            Ok(())
        })?;
        encoded.kept = kept;
        Ok(encoded)
    }

    fn absorb(&mut self, other: Self, to: &[Option<u32>], _: &Control) {
        self.absorb_rows(other, to);
    }

    fn swap_remove(&mut self, row: usize) {
        let last = self.rows - 1;
        let mut codes = vec![0; self.dimension()];
        read_row(self.bits, self.group_at(last / GROUP).codes, last % GROUP, &mut codes);
        let constants = self.constants(last);
        self.write(row, &codes, constants);
        codes.fill(0);
        self.write(
            last,
            &codes,
            Constants { scale: f16::ZERO, bias: f16::ZERO, square: 0.0, full_square: 0.0, radius: 0.0 },
        );
        self.resize(last);
        self.kept.swap_remove(row);
    }

    fn search(
        &self,
        queries: &dyn RowSource,
        options: &SearchOptions<'_>,
        masks: &Masks,
        control: &Control,
    ) -> Result<Hits, SearchError> {
        crate::scan::search(self, queries, options, masks, control)
    }

    fn check_options(&self, options: &SearchOptions<'_>) -> Result<(), SearchError> {
        check_rerank(self.keep, options)
    }

    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
        if !self.kept.read(row, out) {
            self.decode(row, out);
        }
        Ok(())
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        self.kept.rows()
    }

    fn shrink_to_fit(&mut self) {
        for buffer in [&mut self.codes, &mut self.scale, &mut self.bias, &mut self.square, &mut self.radius] {
            buffer.shrink_to_fit();
        }
        self.kept.shrink_to_fit();
    }

    fn params(&self) -> Map<String, Value> {
        let mut params = Map::new();
        params.insert("primary".into(), json!(self.primary()));
        params.insert("keep".into(), json!(self.keep.name()));
        params
    }

    fn tensors(&self) -> Vec<TensorView<'_>> {
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
        if self.metric == Metric::L2 {
            tensors.push(tensor("square", Dtype::F32, &[groups * GROUP], &self.square));
        }
        tensors.extend(self.mean.as_ref().map(|mean| mean.tensor("mean")));
        tensors.extend(self.kept.tensors());
        tensors
    }

    fn take(
        contents: &mut Contents,
        metric: Metric,
        dim: Option<usize>,
        rows: usize,
    ) -> Result<Self, FormatError> {
        let bits = match contents.param_usize("primary")? {
            4 => Bits::Four,
            8 => Bits::Eight,
            other => return Err(FormatError::content("primary", "4 or 8", other)),
        };
        let keep = contents.param_str("keep")?;
        let keep: Keep =
            keep.parse().map_err(|_| FormatError::content("keep", "none, int8, f16 or f32", keep))?;
        let mut store = Self::unlearned(metric, bits, keep);
        store.mean = dim.map(|dim| Matrix::take(contents, "mean", 1, dim)).transpose()?;
        store.rows = rows;
        let groups = store.groups();
        store.codes = contents.take("codes", Dtype::U8, &[groups, store.group_bytes()])?;
        store.scale = contents.take("scale", Dtype::F16, &[groups * GROUP])?;
        store.bias = contents.take("bias", Dtype::F16, &[groups * GROUP])?;
        store.radius = contents.take("radius", Dtype::F32, &[groups.next_multiple_of(16)])?;
        if metric == Metric::L2 {
            store.square = contents.take("square", Dtype::F32, &[groups * GROUP])?;
        }
        store.kept = Kept::take(contents, keep, rows, dim.unwrap_or(0))?;
        Ok(store)
    }

    fn check(&self, control: &Control) -> Result<(), FormatError> {
        if let Some(mean) = &self.mean {
            mean.check_values("mean", control)?;
        }
        let halves = |name, buffer: &Buffer| match buffer.as_slice::<f16>().iter().find(|v| !v.is_finite()) {
            Some(value) => Err(FormatError::content(name, "finite values", value)),
            None => Ok(()),
        };
        halves("scale", &self.scale)?;
        halves("bias", &self.bias)?;
        let lengths = |name, buffer: &Buffer| match buffer
            .as_slice::<f32>()
            .iter()
            .find(|v| !(v.is_finite() && **v >= 0.0))
        {
            Some(value) => Err(FormatError::content(name, "finite values of at least 0", value)),
            None => Ok(()),
        };
        lengths("radius", &self.radius)?;
        lengths("square", &self.square)?;
        self.kept.check(control)
    }

    fn stats(&self) -> Map<String, Value> {
        self.params()
    }
}

impl Rowwise for Codes {
    fn grow(&mut self, more: usize) {
        self.resize(self.rows + more);
        self.kept.grow(more);
    }

    fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        let source = other.group_at(from / GROUP);
        let constants = other.constants(from);
        if let Some(mut group) = self.group_mut(to / GROUP) {
            copy_row(group.codes, to % GROUP, source.codes, from % GROUP);
            group.set(to % GROUP, constants);
        }
        self.kept.copy_row(to, &other.kept, from);
    }
}
