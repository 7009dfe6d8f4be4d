//! The codes of rows, in groups of 64 ([`lookups`]).

use std::sync::Arc;

use counterpoint_core::buffer::Buffer;
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::index::{AddError, Capabilities, ReconstructError, SearchError, SearchOptions};
use counterpoint_core::knobs::Knob;
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::check_rerank;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::simd::{GROUP, lookups};
use counterpoint_core::table::{Rowwise, Store, Table};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{InputError, Kept, RowSource};
use serde_json::{Map, Value, json};

use crate::encode::{Found, Learned};
use crate::parameters::{Parameters, Structure};
use crate::prefix::{Coded, Prefixes};
use crate::quantizer::Quantizer;
use crate::tables::Tables;

/// The most candidates for each neighbour that tuning tries.
pub(crate) const MOST_RERANK: usize = 60;

/// An RVQ index, searched flat.
pub type Rvq = Table<Codes>;

/// Makes an index without vectors; `None` if a parameter is not such as a flat index may have.
pub fn new(metric: Metric, parameters: Parameters) -> Option<Rvq> {
    (parameters.are_legal() && parameters.structure == Structure::Flat)
        .then(|| Table::over(Codes::unlearned(metric, parameters)))
}

/// The rows of an [`Rvq`] index.
#[derive(Clone)]
pub struct Codes {
    pub(crate) metric: Metric,
    parameters: Parameters,
    /// `None` until learned.
    learned: Option<Arc<Learned>>,
    pub(crate) kept: Kept,
    rows: usize,
    /// Group after group of codes.
    codes: Buffer,
    /// u8, one a row: the level of C. Empty under ip.
    levels: Buffer,
    prefixes: Prefixes,
}

/// One group's part of every tensor, to be written by one thread.
struct GroupMut<'a> {
    codes: &'a mut [u8],
    /// Empty under ip.
    levels: &'a mut [u8],
}

impl Codes {
    fn unlearned(metric: Metric, parameters: Parameters) -> Self {
        Self {
            metric,
            parameters,
            learned: None,
            kept: Kept::zeroed(parameters.keep, 0, 0),
            rows: 0,
            codes: Buffer::new(),
            levels: Buffer::new(),
            prefixes: Prefixes::default(),
        }
    }

    fn with(&self, quantizer: Quantizer) -> Self {
        self.of(Arc::new(Learned::new(quantizer)))
    }

    fn of(&self, learned: Arc<Learned>) -> Self {
        let kept = Kept::zeroed(self.parameters.keep, 0, learned.quantizer.dim());
        Self { learned: Some(learned), kept, ..Self::unlearned(self.metric, self.parameters) }
    }

    /// What shapes the index.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// What was learned, once there was something.
    pub fn quantizer(&self) -> Option<&Quantizer> {
        self.learned().map(|learned| &learned.quantizer)
    }

    pub(crate) fn learned(&self) -> Option<&Learned> {
        self.learned.as_deref()
    }

    fn group_bytes(&self) -> usize {
        lookups::group_bytes(self.parameters.bits, self.quantizer().map_or(0, Quantizer::stages))
    }

    /// The code bytes of a group.
    #[inline(always)]
    pub(crate) fn group(&self, group: usize) -> &[u8] {
        let bytes = self.group_bytes();
        &self.codes.as_bytes()[group * bytes..(group + 1) * bytes]
    }

    /// The levels of a group's rows; none under ip.
    #[inline(always)]
    pub(crate) fn levels(&self, group: usize) -> &[u8] {
        self.levels.as_bytes().get(group * GROUP..(group + 1) * GROUP).unwrap_or_default()
    }

    /// The terms of rows where not all stages are looked at.
    pub(crate) fn prefix(
        &self,
        tables: &Tables<'_>,
        control: &Control,
    ) -> Result<Option<Arc<Vec<f32>>>, Cancelled> {
        let Tables { quantizer, bits, stages, .. } = *tables;
        if stages == quantizer.stages() || self.metric == Metric::Ip {
            return Ok(None);
        }
        let coded = |group| Coded { codes: self.group(group), levels: self.levels(group), list: 0 };
        let (groups, half) = (self.rows.div_ceil(GROUP), 0.5 * tables.weight());
        Ok(Some(self.prefixes.of(stages, (quantizer, bits, half), groups, coded, control)?))
    }

    /// The codes of a row, one a stage.
    fn row(&self, row: usize) -> Vec<u8> {
        let mut codes = vec![0; self.quantizer().map_or(0, Quantizer::stages)];
        lookups::read_row(self.parameters.bits, self.group(row / GROUP), row % GROUP, &mut codes);
        codes
    }

    /// C of a row: what stands for ‖x̂ − μ‖² in its distances. None under ip.
    pub fn term(&self, row: usize) -> Option<f32> {
        let level = self.levels(row / GROUP).get(row % GROUP)?;
        self.quantizer()?.levels.get(usize::from(*level)).copied()
    }

    fn put(&mut self, row: usize, codes: &[u8], level: u8) {
        self.prefixes.clear();
        let (bytes, bits) = (self.group_bytes(), self.parameters.bits);
        let first = row / GROUP * bytes;
        lookups::write_row(bits, &mut self.codes.as_mut_bytes()[first..first + bytes], row % GROUP, codes);
        if let Some(to) = self.levels.as_mut_bytes().get_mut(row) {
            *to = level;
        }
    }

    /// Makes every tensor as long as `rows` rows need; new rows are zero.
    fn resize(&mut self, rows: usize) {
        let groups = rows.div_ceil(GROUP);
        self.prefixes.clear();
        self.rows = rows;
        self.codes.resize(groups * self.group_bytes());
        if self.metric != Metric::Ip {
            self.levels.resize(groups * GROUP);
        }
    }

    fn groups_mut(&mut self) -> impl Iterator<Item = GroupMut<'_>> + Send {
        let bytes = self.group_bytes();
        let mut codes = self.codes.as_mut_bytes().chunks_exact_mut(bytes.max(1));
        let mut levels = self.levels.as_mut_bytes().chunks_exact_mut(GROUP);
        std::iter::from_fn(move || {
            Some(GroupMut {
                codes: codes.next().unwrap_or_default(),
                levels: levels.next().unwrap_or_default(),
            })
        })
    }
}

/// Checks the knobs that every structure has.
pub(crate) fn check_options(parameters: Parameters, options: &SearchOptions<'_>) -> Result<(), SearchError> {
    if let Some(stages) = options.stages
        && !(1..=parameters.stages).contains(&stages)
    {
        let reason = "expected at least 1, and no more than the index was made with";
        return Err(SearchError::Knob { knob: "stages", reason });
    }
    check_rerank(parameters.keep, options)
}

impl Store for Codes {
    const METHOD: &'static str = "RVQ";
    const STAGES: bool = true;

    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> Option<usize> {
        self.quantizer().map(Quantizer::dim)
    }

    fn len(&self) -> usize {
        self.rows
    }

    fn capabilities(&self) -> Capabilities {
        let rerank = Knob::rerank(self.parameters.keep, MOST_RERANK);
        Capabilities { exact: false, reconstruct: true, knobs: vec![rerank] }
    }

    fn blank(&self) -> Self {
        Self::unlearned(self.metric, self.parameters)
    }

    fn learn(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        Ok(self.with(Quantizer::learn(rows, self.metric, &self.parameters, control)?))
    }

    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        let Some(quantizer) = self.quantizer() else { return Ok(self.blank()) };
        if self.rows == 0 && quantizer.is_blank() && !rows.is_empty() {
            let learned = Quantizer::relearn(rows, self.metric, &self.parameters, control)?;
            return self.with(learned).encoded(rows, control);
        }
        self.encoded(rows, control)
    }

    fn absorb(&mut self, other: Self, to: &[Option<u32>], _: &Control) {
        self.absorb_rows(other, to);
    }

    fn swap_remove(&mut self, row: usize) {
        let last = self.rows - 1;
        let (codes, level) = (self.row(last), self.levels.as_bytes().get(last).copied().unwrap_or(0));
        self.put(row, &codes, level);
        self.put(last, &vec![0; codes.len()], 0);
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
        check_options(self.parameters, options)
    }

    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
        if !self.kept.read(row, out)
            && let Some(quantizer) = self.quantizer()
        {
            quantizer.decode(0, &self.row(row), out);
        }
        Ok(())
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        self.kept.rows()
    }

    fn shrink_to_fit(&mut self) {
        for buffer in [&mut self.codes, &mut self.levels] {
            buffer.shrink_to_fit();
        }
        self.kept.shrink_to_fit();
    }

    fn params(&self) -> Map<String, Value> {
        let mut params = Map::new();
        self.parameters.write(&mut params);
        if let Some(quantizer) = self.quantizer() {
            quantizer.write_params(&mut params);
        }
        params
    }

    fn tensors(&self) -> Vec<TensorView<'_>> {
        let groups = self.rows.div_ceil(GROUP);
        let tensor = |name, shape: &[usize], bytes| TensorView {
            name,
            dtype: Dtype::U8,
            shape: shape.to_vec(),
            bytes,
        };
        let mut tensors = vec![tensor("codes", &[groups, self.group_bytes()], Buffer::as_bytes(&self.codes))];
        if self.metric != Metric::Ip {
            tensors.push(tensor("norms", &[groups * GROUP], self.levels.as_bytes()));
        }
        tensors.extend(self.quantizer().into_iter().flat_map(Quantizer::tensors));
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
        let mut store = Self::unlearned(metric, parameters);
        if let Some(dim) = dim {
            store = store.with(Quantizer::take(contents, metric, &parameters, dim)?);
        }
        store.rows = rows;
        let groups = rows.div_ceil(GROUP);
        store.codes = contents.take("codes", Dtype::U8, &[groups, store.group_bytes()])?;
        if metric != Metric::Ip {
            store.levels = contents.take("norms", Dtype::U8, &[groups * GROUP])?;
        }
        store.kept = Kept::take(contents, parameters.keep, rows, dim.unwrap_or(0))?;
        Ok(store)
    }

    fn check(&self, control: &Control) -> Result<(), FormatError> {
        if let Some(quantizer) = self.quantizer() {
            quantizer.check(control)?;
            let sizes = quantizer.sizes();
            for group in 0..self.rows.div_ceil(GROUP) {
                control.check()?;
                check_group(self.parameters.bits, self.group(group), &sizes)?;
            }
        }
        self.kept.check(control)
    }

    fn stats(&self) -> Map<String, Value> {
        let mut stats = self.params();
        stats.insert("stages_used".into(), json!(self.quantizer().map_or(0, Quantizer::stages)));
        stats
    }
}

impl Codes {
    /// [`Store::encode`] with what was learned.
    fn encoded(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        let Some(learned) = &self.learned else { return Ok(self.blank()) };
        let mut encoded = self.of(Arc::clone(learned));
        encoded.resize(rows.len());
        let bits = self.parameters.bits;
        let write = |group: &mut GroupMut<'_>, Found { r, codes, level, .. }: Found<'_>| {
            lookups::write_row(bits, group.codes, r, codes);
            if let Some(to) = group.levels.get_mut(r) {
                *to = level;
            }
        };
        let kept =
            learned.encode(rows, self.metric, &self.parameters, encoded.groups_mut(), write, control)?;
        encoded.kept = kept;
        Ok(encoded)
    }
}

/// Checks that every code of a group names a codeword.
pub(crate) fn check_group(bits: Bits, group: &[u8], sizes: &[usize]) -> Result<(), FormatError> {
    let (columns, _) = group.as_chunks::<GROUP>();
    for (stage, &size) in sizes.iter().enumerate() {
        let largest = if bits == Bits::Eight {
            columns[stage].iter().copied().max()
        } else {
            columns[stage / 2].iter().map(|byte| byte >> (4 * (stage % 2)) & 15).max()
        };
        if let Some(code) = largest.filter(|&code| usize::from(code) >= size) {
            let expected = format!("codes below {size} in stage {stage}");
            return Err(FormatError::content("codes", expected, code));
        }
    }
    Ok(())
}

impl Rowwise for Codes {
    fn grow(&mut self, more: usize) {
        self.resize(self.rows + more);
        self.kept.grow(more);
    }

    fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        let level = other.levels.as_bytes().get(from).copied().unwrap_or(0);
        self.put(to, &other.row(from), level);
        self.kept.copy_row(to, &other.kept, from);
    }
}
