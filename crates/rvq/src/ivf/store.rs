//! The index: what was learned, the codes by list, and the vectors kept.

use std::sync::Arc;

use counterpoint_core::cluster::{Arena, Filed, Lists};
use counterpoint_core::file::{Contents, FormatError, TensorView};
use counterpoint_core::index::{AddError, Capabilities, ReconstructError, SearchError, SearchOptions};
use counterpoint_core::knobs::Knob;
use counterpoint_core::metric::Metric;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::simd::GROUP;
use counterpoint_core::table::{Rowwise, Store, Table};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{InputError, Kept, RowSource};
use serde_json::{Map, Value, json};

use crate::encode::{Found, Learned};
use crate::groups::{GroupMut, Groups};
use crate::parameters::{Parameters, Structure};
use crate::prefix::Prefixes;
use crate::quantizer::Quantizer;
use crate::store::{MOST_RERANK, check_options};
use crate::tables::Tables;

/// Groups whose terms one item of parallel work looks up.
const PART: usize = 64;
/// The most terms that a call holds: 256 MiB.
const MOST_TERMS: usize = 1 << 26;

/// An RVQ index in lists.
pub type Ivf = Table<Inverted>;

/// Makes an index without vectors; `None` if a parameter is not such as one in lists may have.
pub fn new(metric: Metric, parameters: Parameters) -> Option<Ivf> {
    let inverted = matches!(parameters.structure, Structure::Ivf { .. });
    (parameters.are_legal() && inverted).then(|| Table::over(Inverted::unlearned(metric, parameters)))
}

/// The rows of an [`Ivf`] index.
#[derive(Clone)]
pub struct Inverted {
    pub(super) metric: Metric,
    parameters: Parameters,
    /// `None` until learned.
    pub(super) filed: Option<FiledCodes>,
    pub(super) kept: Kept,
    rows: usize,
}

/// What there is once something was learned.
#[derive(Clone)]
pub(super) struct FiledCodes {
    pub(super) learned: Arc<Learned>,
    pub(super) blocks: Filed<Groups>,
    prefixes: Prefixes,
}

impl FiledCodes {
    /// The terms of slots where not all stages are looked at.
    pub(super) fn prefix(
        &self,
        tables: &Tables<'_>,
        control: &Control,
    ) -> Result<Option<Arc<Vec<f32>>>, Cancelled> {
        let (groups, lists) = (self.blocks.arena(), self.blocks.lists());
        self.prefixes.of(tables, groups, |group| lists.list_of_block(group) as u32, control)
    }

    /// The terms of all slots, of all stages; `None` under ip, or where they would take more than [`MOST_TERMS`].
    pub(super) fn terms(
        &self,
        tables: &Tables<'_>,
        control: &Control,
    ) -> Result<Option<Arc<Vec<f32>>>, Cancelled> {
        let slots = self.blocks.lists().blocks() * GROUP;
        if tables.metric == Metric::Ip || slots > MOST_TERMS {
            return Ok(None);
        }
        let mut terms = vec![0.0; slots];
        control.for_each(terms.chunks_mut(PART * GROUP).enumerate(), |(part, terms)| {
            for (g, terms) in terms.chunks_mut(GROUP).enumerate() {
                tables.terms(self.blocks.arena().levels(part * PART + g), terms);
            }
            Ok::<_, Cancelled>(())
        })?;
        Ok(Some(Arc::new(terms)))
    }
}

impl Inverted {
    fn unlearned(metric: Metric, parameters: Parameters) -> Self {
        let kept = Kept::zeroed(parameters.keep, 0, 0);
        Self { metric, parameters, filed: None, kept, rows: 0 }
    }

    /// Nothing yet of what rows will be coded as.
    fn groups(&self, quantizer: &Quantizer) -> Groups {
        Groups::new(self.parameters.bits, quantizer.stages(), self.metric != Metric::Ip)
    }

    fn with(&self, quantizer: Quantizer) -> Self {
        let lists = Lists::new(quantizer.lists(), GROUP);
        let blocks = Filed::new(lists, self.groups(&quantizer));
        let kept = Kept::zeroed(self.parameters.keep, 0, quantizer.dim());
        let learned = Arc::new(Learned::new(quantizer));
        let filed = Some(FiledCodes { learned, blocks, prefixes: Prefixes::default() });
        Self { filed, kept, ..Self::unlearned(self.metric, self.parameters) }
    }

    /// What shapes the index.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// What was learned, once there was something.
    pub fn quantizer(&self) -> Option<&Quantizer> {
        self.filed.as_ref().map(|filed| &filed.learned.quantizer)
    }

    /// Number of lists; 0 until something was learned.
    pub fn lists(&self) -> usize {
        self.quantizer().map_or(0, Quantizer::lists)
    }

    /// What stands for ‖x̂ − μ‖² in a row's distances: C, and what is its list's. None under ip.
    pub fn term(&self, row: usize) -> Option<f32> {
        let FiledCodes { learned, blocks, .. } = self.filed.as_ref()?;
        let level = blocks.arena().level(blocks.lists().slot_of(row)?)?;
        let centroid = learned.quantizer.centroid(blocks.lists().list_of(row)? as u32)?;
        let own: f32 = centroid.iter().map(|c| c * c).sum();
        Some(own + learned.quantizer.levels.get(usize::from(level))?)
    }

    /// [`Store::encode`] with what was learned.
    fn encoded(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        let Some(FiledCodes { learned, .. }) = &self.filed else { return Ok(self.blank()) };
        // In the order of rows first: which list is whose is found on the way.
        let mut coded = self.groups(&learned.quantizer);
        coded.resize(rows.len().div_ceil(GROUP));
        let mut lists = vec![0; rows.len()];
        let groups = lists.chunks_mut(GROUP).zip(coded.groups_mut());
        let write = |(lists, group): &mut (&mut [u32], GroupMut<'_>), found: Found<'_>| {
            lists[found.r] = found.list;
            group.write(found.r, found.codes, found.level);
        };
        let kept = learned.encode(rows, self.metric, &self.parameters, groups, write, control)?;
        let filed = Lists::from_labels(&lists, learned.quantizer.lists(), GROUP);
        let mut blocks = Filed::new(filed, self.groups(&learned.quantizer));
        for row in 0..rows.len() {
            if let Some(slot) = blocks.lists().slot_of(row) {
                blocks.arena_mut().copy_slot(slot, &coded, row);
            }
        }
        let filed = Some(FiledCodes { learned: Arc::clone(learned), blocks, prefixes: Prefixes::default() });
        Ok(Self { filed, kept, rows: rows.len(), ..self.blank() })
    }
}

impl Store for Inverted {
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
        let knobs = vec![Knob::n_probe(self.lists()), Knob::rerank(self.parameters.keep, MOST_RERANK)];
        Capabilities { exact: false, reconstruct: true, knobs }
    }

    fn blank(&self) -> Self {
        Self::unlearned(self.metric, self.parameters)
    }

    fn learn(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        Ok(self.with(Quantizer::learn(rows, self.metric, &self.parameters, control)?))
    }

    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        if self.rows == 0 && self.quantizer().is_some_and(Quantizer::is_blank) && !rows.is_empty() {
            let learned = Quantizer::relearn(rows, self.metric, &self.parameters, control)?;
            return self.with(learned).encoded(rows, control);
        }
        self.encoded(rows, control)
    }

    fn absorb(&mut self, other: Self, to: &[Option<u32>], _: &Control) {
        self.absorb_rows(other, to);
    }

    fn swap_remove(&mut self, row: usize) {
        if let Some(filed) = &mut self.filed {
            filed.prefixes.clear();
            filed.blocks.swap_remove(row);
        }
        self.kept.swap_remove(row);
        self.rows -= 1;
    }

    fn search(
        &self,
        queries: &dyn RowSource,
        options: &SearchOptions<'_>,
        masks: &Masks,
        control: &Control,
    ) -> Result<Hits, SearchError> {
        super::search::search(self, queries, options, masks, control)
    }

    fn check_options(&self, options: &SearchOptions<'_>) -> Result<(), SearchError> {
        if options.n_probe == Some(0) {
            return Err(SearchError::Knob { knob: "n_probe", reason: "expected at least 1, got 0" });
        }
        check_options(self.parameters, options)
    }

    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
        if !self.kept.read(row, out)
            && let Some(FiledCodes { learned, blocks, .. }) = &self.filed
            && let (Some(slot), Some(list)) = (blocks.lists().slot_of(row), blocks.lists().list_of(row))
        {
            learned.quantizer.decode(list as u32, &blocks.arena().read(slot), out);
        }
        Ok(())
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        self.kept.rows()
    }

    fn shrink_to_fit(&mut self) {
        if let Some(filed) = &mut self.filed {
            filed.prefixes.clear();
            filed.blocks.shrink_to_fit();
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
        let mut tensors = Vec::new();
        if let Some(FiledCodes { learned, blocks, .. }) = &self.filed {
            tensors.extend(blocks.arena().tensors());
            tensors.extend(blocks.lists().tensors());
            tensors.extend(learned.quantizer.tensors());
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
        let mut store = Self { rows, ..Self::unlearned(metric, parameters) };
        if let Some(dim) = dim {
            let quantizer = Quantizer::take(contents, metric, &parameters, dim)?;
            let blocks = {
                let lists = Lists::take(contents, rows, quantizer.lists(), GROUP)?;
                let groups = store.groups(&quantizer).take(contents, lists.blocks())?;
                Filed::new(lists, groups)
            };
            let learned = Arc::new(Learned::new(quantizer));
            store.filed = Some(FiledCodes { learned, blocks, prefixes: Prefixes::default() });
        }
        store.kept = Kept::take(contents, parameters.keep, rows, dim.unwrap_or(0))?;
        Ok(store)
    }

    fn check(&self, control: &Control) -> Result<(), FormatError> {
        if let Some(FiledCodes { learned, blocks, .. }) = &self.filed {
            learned.quantizer.check(control)?;
            blocks.arena().check(&learned.quantizer.sizes(), control)?;
        }
        self.kept.check(control)
    }

    fn stats(&self) -> Map<String, Value> {
        let mut stats = self.params();
        stats.insert("stages_used".into(), json!(self.quantizer().map_or(0, Quantizer::stages)));
        stats.insert("n_lists".into(), json!(self.lists()));
        stats.remove("lists");
        stats
    }
}

impl Rowwise for Inverted {
    fn grow(&mut self, more: usize) {
        if let Some(filed) = &mut self.filed {
            filed.blocks.grow(more);
        }
        self.kept.grow(more);
        self.rows += more;
    }

    fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        if let (Some(filed), Some(other)) = (&mut self.filed, &other.filed) {
            filed.prefixes.clear();
            filed.blocks.copy_row(to, &other.blocks, from);
        }
        self.kept.copy_row(to, &other.kept, from);
    }
}
