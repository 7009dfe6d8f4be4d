//! Encoded rows: scanned bits in groups of 64 as the kernel reads them, low planes row by row.

use counterpoint_core::buffer::Buffer;
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::index::{AddError, Capabilities, ReconstructError, SearchError, SearchOptions};
use counterpoint_core::intake::{fill, mean};
use counterpoint_core::knobs::Knob;
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::check_rerank;
use counterpoint_core::rotate::Rotation;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::simd::fastscan::RowTerms;
use counterpoint_core::simd::{GROUP, Level, Simd, Work, fastscan, run};
use counterpoint_core::table::{Rowwise, Store, Table};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, Kept, Matrix, RowSource};
use serde_json::{Map, Value, json};

use crate::fitted::{Fit, SEGMENT, Share, fit, scannable};
use crate::parameters::{Allocation, Center, Parameters};
use crate::quantizer::{Constants, Quantizer, Scratch};

/// A TurboQuant index.
pub type TurboQuant = Table<Codes>;

/// Makes an index without vectors; `None` if bits are not 1 to 4.
pub fn new(metric: Metric, parameters: Parameters) -> Option<TurboQuant> {
    (1..=4).contains(&parameters.bits).then(|| Table::over(Codes::unlearned(metric, parameters)))
}

/// The rows of a [`TurboQuant`] index.
#[derive(Clone)]
pub struct Codes {
    pub(crate) metric: Metric,
    parameters: Parameters,
    /// `None` until there was a vector.
    quantizer: Option<Quantizer>,
    pub(crate) kept: Kept,
    rows: usize,
    /// Group after group of scanned bits.
    scan: Buffer,
    /// Row after row of low planes.
    low: Buffer,
    /// f32, one a row: w.
    scale: Buffer,
    /// f32, one a row: a.
    offset: Buffer,
}

/// One group's part of every tensor, to be written by one thread.
struct GroupMut<'a> {
    scan: &'a mut [u8],
    low: &'a mut [u8],
    scale: &'a mut [f32],
    offset: &'a mut [f32],
}

struct Encode<'a, 'b> {
    quantizer: &'a Quantizer,
    values: &'a mut [f32],
    r: usize,
    group: &'a mut GroupMut<'b>,
    scratch: &'a mut Scratch,
}

impl Work for Encode<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { quantizer, values, r, group, scratch } = self;
        let Constants { scale, offset } = quantizer.encode(simd, values, scratch);
        fastscan::write_row(group.scan, r, &scratch.scan);
        let bytes = scratch.low.len();
        group.low[r * bytes..(r + 1) * bytes].copy_from_slice(&scratch.low);
        group.scale[r] = scale;
        group.offset[r] = offset;
    }
}

/// Decodes a row.
struct Decode<'a>(&'a Codes, &'a Quantizer, usize, &'a mut [f32]);

impl Work for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self(store, quantizer, row, out) = self;
        let (mut scan, mut codes) = (vec![0; quantizer.scan_bits() / 8], vec![0; quantizer.padded()]);
        fastscan::read_row(store.scan_group(row / GROUP), row % GROUP, &mut scan);
        quantizer.codes(simd, &scan, store.low_row(row), &mut codes);
        quantizer.decode(simd, &codes, store.constants(row).0, out);
    }
}

impl Codes {
    fn unlearned(metric: Metric, parameters: Parameters) -> Self {
        Self {
            metric,
            parameters,
            quantizer: None,
            kept: Kept::zeroed(parameters.keep, 0, 0),
            rows: 0,
            scan: Buffer::new(),
            low: Buffer::new(),
            scale: Buffer::new(),
            offset: Buffer::new(),
        }
    }

    fn learned(&self, quantizer: Option<Quantizer>) -> Self {
        let dim = quantizer.as_ref().map_or(0, |quantizer| quantizer.dim);
        let kept = Kept::zeroed(self.parameters.keep, 0, dim);
        Self { quantizer, kept, ..Self::unlearned(self.metric, self.parameters) }
    }

    /// Even codes for `dim` dimensions around `center`, or around nothing if that is empty.
    fn even(&self, dim: usize, center: Vec<f32>) -> Self {
        let Parameters { bits, seed, .. } = self.parameters;
        self.learned(Quantizer::even(self.metric, dim, bits, seed, center))
    }

    /// What shapes the index.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    pub(crate) fn quantizer(&self) -> Option<&Quantizer> {
        self.quantizer.as_ref()
    }

    fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    fn group_bytes(&self) -> usize {
        self.quantizer.as_ref().map_or(0, |q| fastscan::group_bytes(q.scan_bits()))
    }

    fn low_bytes(&self) -> usize {
        self.quantizer.as_ref().map_or(0, Quantizer::low_bytes)
    }

    /// Makes every tensor as long as `rows` rows need; new rows are zero.
    fn resize(&mut self, rows: usize) {
        let groups = rows.div_ceil(GROUP);
        self.rows = rows;
        self.scan.resize(groups * self.group_bytes());
        self.low.resize(groups * GROUP * self.low_bytes());
        self.scale.resize(groups * GROUP * size_of::<f32>());
        self.offset.resize(groups * GROUP * size_of::<f32>());
    }

    #[inline(always)]
    pub(crate) fn scan_group(&self, group: usize) -> &[u8] {
        let bytes = self.group_bytes();
        &self.scan.as_bytes()[group * bytes..(group + 1) * bytes]
    }

    #[inline(always)]
    pub(crate) fn low_row(&self, row: usize) -> &[u8] {
        let bytes = self.low_bytes();
        &self.low.as_bytes()[row * bytes..(row + 1) * bytes]
    }

    /// w and a of a group's rows.
    #[inline(always)]
    pub(crate) fn terms(&self, group: usize) -> RowTerms<'_> {
        let (scale, _) = self.scale.as_slice::<f32>().as_chunks::<GROUP>();
        let (offset, _) = self.offset.as_slice::<f32>().as_chunks::<GROUP>();
        RowTerms { scale: &scale[group], offset: &offset[group] }
    }

    /// w and a of a row.
    #[inline(always)]
    pub(crate) fn constants(&self, row: usize) -> (f32, f32) {
        (self.scale.as_slice()[row], self.offset.as_slice()[row])
    }

    fn groups_mut(&mut self) -> impl Iterator<Item = GroupMut<'_>> + Send {
        let (scan, low) = (self.group_bytes(), self.low_bytes());
        let mut low = self.low.as_mut_bytes().chunks_exact_mut((GROUP * low).max(1));
        let low = std::iter::from_fn(move || Some(low.next().unwrap_or_default()));
        let scale = self.scale.as_mut_slice::<f32>().chunks_exact_mut(GROUP);
        let offset = self.offset.as_mut_slice::<f32>().chunks_exact_mut(GROUP);
        let scan = self.scan.as_mut_bytes().chunks_exact_mut(scan.max(1));
        scan.zip(low).zip(scale).zip(offset).map(|(((scan, low), scale), offset)| GroupMut {
            scan,
            low,
            scale,
            offset,
        })
    }

    /// Writes row `to` from row `from` of `other`, or zeros from none.
    fn put(&mut self, to: usize, other: Option<(&Self, usize)>) {
        let (group_bytes, low_bytes) = (self.group_bytes(), self.low_bytes());
        let (group, low) = (to / GROUP * group_bytes, to * low_bytes);
        let scan = &mut self.scan.as_mut_bytes()[group..group + group_bytes];
        let low = &mut self.low.as_mut_bytes()[low..low + low_bytes];
        let (scale, offset) = match other {
            Some((other, from)) => {
                fastscan::copy_row(scan, to % GROUP, other.scan_group(from / GROUP), from % GROUP);
                low.copy_from_slice(other.low_row(from));
                other.constants(from)
            }
            None => {
                fastscan::write_row(scan, to % GROUP, &[]);
                low.fill(0);
                (0.0, 0.0)
            }
        };
        self.scale.as_mut_slice::<f32>()[to] = scale;
        self.offset.as_mut_slice::<f32>()[to] = offset;
    }
}

impl Store for Codes {
    const METHOD: &'static str = "TurboQuant";
    const EXACT_SCAN: bool = true;

    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> Option<usize> {
        self.quantizer.as_ref().map(|quantizer| quantizer.dim)
    }

    fn len(&self) -> usize {
        self.rows
    }

    fn capabilities(&self) -> Capabilities {
        // One-bit codes want many candidates.
        let most = if self.parameters.bits == 1 { 60 } else { 20 };
        Capabilities {
            exact: false,
            reconstruct: true,
            knobs: vec![Knob::rerank(self.parameters.keep, most)],
        }
    }

    fn blank(&self) -> Self {
        Self::unlearned(self.metric, self.parameters)
    }

    fn learn(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        let Parameters { bits, allocation, seed, center, .. } = self.parameters;
        let center = match center {
            Center::Mean => mean(rows, self.metric, control)?,
            Center::None => Vec::new(),
        };
        if allocation == Allocation::Even {
            return Ok(self.even(rows.dim(), center));
        }
        let mean = (!center.is_empty()).then_some(center.as_slice());
        let fit = fit(rows, self.metric, mean, bits, seed, control)?;
        let quantizer = fit.and_then(|Fit { rotation, shares }| {
            Quantizer::fitted(self.metric, Rotation::Dense(rotation), shares, center)
        });
        Ok(self.learned(quantizer))
    }

    fn begin(&self, rows: &dyn RowSource, _: &Control) -> Result<Self, AddError> {
        match self.parameters.allocation {
            Allocation::Even => Ok(self.even(rows.dim(), Vec::new())),
            Allocation::Fitted => {
                Err(AddError::NotFitted { reason: "allocation=\"fitted\" learns where the data varies" })
            }
        }
    }

    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        control.expect(rows.len());
        let mut encoded = Self { quantizer: self.quantizer.clone(), ..self.blank() };
        let Some(quantizer) = &self.quantizer else { return Ok(encoded) };
        encoded.resize(rows.len());
        let mut kept = Kept::zeroed(self.parameters.keep, rows.len(), rows.dim());
        let level = control.level();
        let parts = encoded.groups_mut().map(|group| (group, quantizer.scratch()));
        fill(rows, self.metric, &mut kept, parts, control, |(group, scratch), r, values, _| {
            run(level, Encode { quantizer, values, r, group, scratch });
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
        let mut bits = vec![0; self.quantizer.as_ref().map_or(0, Quantizer::scan_bits) / 8];
        fastscan::read_row(self.scan_group(last / GROUP), last % GROUP, &mut bits);
        let (group_bytes, low_bytes) = (self.group_bytes(), self.low_bytes());
        let group = row / GROUP * group_bytes;
        fastscan::write_row(&mut self.scan.as_mut_bytes()[group..group + group_bytes], row % GROUP, &bits);
        self.low.as_mut_bytes().copy_within(last * low_bytes..(last + 1) * low_bytes, row * low_bytes);
        self.scale.as_mut_slice::<f32>().copy_within(last..=last, row);
        self.offset.as_mut_slice::<f32>().copy_within(last..=last, row);
        self.put(last, None);
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
        crate::search::search(self, queries, options, masks, control)
    }

    fn check_options(&self, options: &SearchOptions<'_>) -> Result<(), SearchError> {
        check_rerank(self.parameters.keep, options)
    }

    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
        if !self.kept.read(row, out)
            && let Some(quantizer) = &self.quantizer
        {
            run(Level::detect(), Decode(self, quantizer, row, out));
        }
        Ok(())
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        self.kept.rows()
    }

    fn shrink_to_fit(&mut self) {
        for buffer in [&mut self.scan, &mut self.low, &mut self.scale, &mut self.offset] {
            buffer.shrink_to_fit();
        }
        self.kept.shrink_to_fit();
    }

    fn params(&self) -> Map<String, Value> {
        let Parameters { bits, allocation, center, keep, seed } = self.parameters;
        let mut params = Map::new();
        params.insert("bits".into(), json!(bits));
        params.insert("allocation".into(), json!(allocation.name()));
        params.insert("center".into(), json!(center.name()));
        params.insert(
            "centered".into(),
            json!(self.quantizer.as_ref().is_some_and(|q| !q.center().is_empty())),
        );
        params.insert("keep".into(), json!(keep.name()));
        params.insert("seed".into(), json!(seed));
        if let Some(quantizer) = &self.quantizer
            && !quantizer.shares.is_empty()
        {
            quantizer.rotation.write_params(&mut params);
            let share = |s: &Share| json!([s.bits, s.scanned, s.deviation]);
            params.insert("shares".into(), quantizer.shares.iter().map(share).collect());
        }
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
            tensor("scan", Dtype::U8, &[groups, self.group_bytes()], &self.scan),
            tensor("low", Dtype::U8, &[groups * GROUP, self.low_bytes()], &self.low),
            tensor("scale", Dtype::F32, &[groups * GROUP], &self.scale),
            tensor("offset", Dtype::F32, &[groups * GROUP], &self.offset),
        ];
        if let Some(quantizer) = &self.quantizer {
            tensors.extend(quantizer.center_tensor());
            tensors.extend(quantizer.rotation.tensor("rotation"));
        }
        tensors.extend(self.kept.tensors());
        tensors
    }

    fn take(
        contents: &mut Contents,
        metric: Metric,
        dim: Option<usize>,
        rows: usize,
    ) -> Result<Self, FormatError> {
        let parameters = Parameters::read(contents)?;
        let centered = contents.param_bool("centered")?;
        let mut store = Self::unlearned(metric, parameters);
        if let Some(dim) = dim {
            let mean =
                if centered { Matrix::take(contents, "center", 1, dim)?.row(0).to_vec() } else { Vec::new() };
            store = match parameters.allocation {
                Allocation::Even => store.even(dim, mean),
                Allocation::Fitted => {
                    let rotation = Rotation::take(contents, "rotation", dim, &Control::default())?;
                    if rotation.outputs() != dim || !matches!(rotation, Rotation::Dense(_)) {
                        let got = rotation.outputs();
                        return Err(FormatError::content("rotation", "a square matrix", got));
                    }
                    let shares = shares(contents, dim)?;
                    store.learned(Quantizer::fitted(metric, rotation, shares, mean))
                }
            };
        }
        store.rows = rows;
        let groups = store.groups();
        store.scan = contents.take("scan", Dtype::U8, &[groups, store.group_bytes()])?;
        store.low = contents.take("low", Dtype::U8, &[groups * GROUP, store.low_bytes()])?;
        store.scale = contents.take("scale", Dtype::F32, &[groups * GROUP])?;
        store.offset = contents.take("offset", Dtype::F32, &[groups * GROUP])?;
        store.kept = Kept::take(contents, parameters.keep, rows, dim.unwrap_or(0))?;
        Ok(store)
    }

    fn check(&self, control: &Control) -> Result<(), FormatError> {
        if let Some(quantizer) = &self.quantizer
            && let Some(value) = quantizer.center().iter().find(|v| !v.is_finite())
        {
            return Err(FormatError::content("center", "finite values", value));
        }
        if let Some(value) = self.scale.as_slice::<f32>().iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
            return Err(FormatError::content("scale", "finite values of at least 0", value));
        }
        if let Some(value) = self.offset.as_slice::<f32>().iter().find(|v| !v.is_finite()) {
            return Err(FormatError::content("offset", "finite values", value));
        }
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
        self.put(to, Some((other, from)));
        self.kept.copy_row(to, &other.kept, from);
    }
}

/// Reads what each segment of 32 dimensions has.
fn shares(contents: &Contents, dim: usize) -> Result<Vec<Share>, FormatError> {
    let count = dim.div_ceil(SEGMENT);
    let wrong = |got: &Value| {
        let expected = format!("bits (0 to 6), scanned bits (up to 3) and deviation of {count} segments");
        FormatError::content("shares", expected, got.to_string().chars().take(80).collect::<String>())
    };
    let value = contents.params().get("shares").unwrap_or(&Value::Null);
    let list = value.as_array().filter(|list| list.len() == count).ok_or_else(|| wrong(value))?;
    let share = |value: &Value| {
        let [bits, scanned, deviation] = value.as_array()?.as_slice() else { return None };
        let bits = u32::try_from(bits.as_u64()?).ok().filter(|&bits| bits <= 6)?;
        let scanned = u32::try_from(scanned.as_u64()?).ok().filter(|&scanned| scanned <= scannable(bits))?;
        let deviation = deviation.as_f64()? as f32;
        (deviation.is_normal() && deviation > 0.0).then_some(Share { bits, scanned, deviation })
    };
    list.iter().map(|value| share(value).ok_or_else(|| wrong(value))).collect()
}
