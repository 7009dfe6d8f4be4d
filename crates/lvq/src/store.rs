//! Encoded rows: primary codes in groups, residual codes row by row, and vectors where they are kept.

use counterpoint_core::file::{Contents, FormatError, TensorView};
use counterpoint_core::index::{AddError, Capabilities, ReconstructError, SearchError, SearchOptions};
use counterpoint_core::intake::{fill, mean};
use counterpoint_core::knobs::Knob;
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::check_rerank;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::simd::{GROUP, run};
use counterpoint_core::table::{Rowwise, Store, Table};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{InputError, Keep, Kept, RowSource};
use half::f16;
use serde_json::{Map, Value, json};

use crate::encode::{Encode, Fine};
use crate::groups::Groups;
use crate::levels::Levels;
use crate::residual::Residual;
use crate::space::Space;

/// An LVQ index, searched flat.
pub type Lvq = Table<Codes>;

/// Makes an index without vectors: codes of `levels` (a [`Bits`](counterpoint_core::simd::int8::Bits) stands for
/// primary codes alone), original vectors kept as `keep` says.
pub fn new(metric: Metric, levels: impl Into<Levels>, keep: Keep) -> Lvq {
    Table::over(Codes::unlearned(metric, levels.into(), keep))
}

/// The rows of an [`Lvq`] index.
#[derive(Clone)]
pub struct Codes {
    pub(crate) metric: Metric,
    levels: Levels,
    keep: Keep,
    /// `None` until learned.
    pub(crate) space: Option<Space>,
    pub(crate) groups: Groups,
    /// `None` where the levels have no residual.
    pub(crate) residual: Option<Residual>,
    pub(crate) kept: Kept,
}

impl Codes {
    fn unlearned(metric: Metric, levels: Levels, keep: Keep) -> Self {
        Self::empty(metric, levels, keep, None)
    }

    fn empty(metric: Metric, levels: Levels, keep: Keep, space: Option<Space>) -> Self {
        let (dim, squares) = (space.as_ref().map_or(0, Space::dim), metric == Metric::L2);
        Self {
            metric,
            levels,
            keep,
            groups: Groups::new(levels.primary(), dim, squares),
            residual: levels.residual().map(|bits| Residual::new(bits, dim, squares)),
            kept: Kept::zeroed(keep, 0, dim),
            space,
        }
    }

    /// The widths of the codes.
    pub fn levels(&self) -> Levels {
        self.levels
    }

    /// The width of a primary code: 4 or 8.
    pub fn primary(&self) -> usize {
        self.levels.primary().width()
    }

    /// The width of a residual code: 4 or 8, or 0 for none.
    pub fn residual(&self) -> usize {
        self.levels.residual().map_or(0, |bits| bits.width())
    }

    /// Whether original vectors are kept, and how.
    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// Values of a vector; 0 until learned.
    pub(crate) fn dimension(&self) -> usize {
        self.space.as_ref().map_or(0, Space::dim)
    }

    /// Encodes rows, to be prepared for `metric`, in a space, and keeps them as `keep` says.
    fn encoded(
        &self,
        space: &Space,
        rows: &dyn RowSource,
        metric: Metric,
        keep: Keep,
        control: &Control,
    ) -> Result<Self, InputError> {
        control.expect(rows.len());
        let mut encoded = Self::empty(self.metric, self.levels, keep, Some(space.clone()));
        encoded.resize(rows.len());
        let mut kept = Kept::zeroed(keep, rows.len(), rows.dim());
        let (levels, level) = (self.levels, control.level());
        let mut chunks = encoded.residual.as_mut().map(|residual| residual.chunks_mut(GROUP));
        let parts = encoded.groups.all_mut().map(move |group| {
            let chunk = chunks.as_mut().and_then(Iterator::next);
            let second = if chunk.is_some() { rows.dim() } else { 0 };
            (group, chunk, vec![0_u8; rows.dim()], vec![0_u8; second])
        });
        fill(rows, metric, &mut kept, parts, control, |part, r, values, row| {
            let (group, chunk, codes, residual) = part;
            space.enter(values);
            let constants = run(level, Encode { centred: values, levels, codes, residual, row })?;
            group.write(r, codes, constants);
            if let Some(chunk) = chunk {
                chunk.write(r, residual, constants.full_square);
            }
            Ok(())
        })?;
        encoded.kept = kept;
        Ok(encoded)
    }

    /// Makes every tensor but the kept vectors as long as `rows` rows need; new rows are zero.
    fn resize(&mut self, rows: usize) {
        self.groups.resize(rows);
        if let Some(residual) = &mut self.residual {
            residual.resize(rows);
        }
    }

    /// The rows around the mean they have now, where it has moved by more than 1/64 of what a row's values range over and
    /// vectors are kept precisely enough to be encoded again. The kept vectors are left to the caller.
    fn recentred(&self, control: &Control) -> Result<Option<Self>, Cancelled> {
        let (Some(space), Keep::F16 | Keep::F32, Some(rows)) = (&self.space, self.keep, self.kept.rows())
        else {
            return Ok(None);
        };
        if rows.is_empty() {
            return Ok(None);
        }
        // Kept rows are prepared.
        let prepared = if self.metric == Metric::Cosine { Metric::Ip } else { self.metric };
        let cancelled = |error| match error {
            InputError::Cancelled(cancelled) => Err(cancelled),
            _ => Ok(None), // as it is, then
        };
        let now = match mean(rows, prepared, control) {
            Ok(now) => now,
            Err(error) => return cancelled(error),
        };
        let moved = now.iter().zip(space.mean()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let steps: f64 = self.groups.scales().iter().map(|scale| scale.to_f64()).sum();
        let largest = f64::from(self.levels.primary().max_code());
        let range = space.unit() * largest * steps / rows.len() as f64;
        if f64::from(moved) * 64.0 <= range {
            return Ok(None);
        }
        let fresh = Space::learn(rows, prepared, control)
            .and_then(|fresh| self.encoded(&fresh, rows, prepared, Keep::None, control));
        fresh.map(|fresh| Some(Self { keep: self.keep, ..fresh })).or_else(cancelled)
    }

    /// The decoded vector of a row.
    fn decode(&self, space: &Space, row: usize, out: &mut [f32]) {
        let mut codes = vec![0; out.len()];
        self.groups.read(row, &mut codes);
        let group = self.groups.at(row / GROUP);
        let (s, b) = (group.scale[row % GROUP].to_f32(), group.bias[row % GROUP].to_f32());
        if let Some(residual) = &self.residual {
            let mut second = vec![0; out.len()];
            residual.read(row, &mut second);
            let fine = Fine::new(s, b, residual.bits());
            for ((out, &code), &second) in out.iter_mut().zip(&codes).zip(&second) {
                *out = fine.value(code, second);
            }
        } else {
            for (out, &code) in out.iter_mut().zip(&codes) {
                *out = s * f32::from(code) + b;
            }
        }
        space.leave(out);
    }

    /// How far decoded values are from what was encoded, from the steps of the rows there are: the mean of its square, as
    /// of an even spread over each step, and a bound.
    fn errors(&self) -> [f64; 2] {
        let largest = f64::from(self.levels.primary().max_code());
        let finer = self.levels.residual().map_or(1.0, |bits| f64::from(bits.max_code()));
        let (mut squares, mut most) = (0.0_f64, 0.0_f64);
        for (scale, bias) in self.groups.scales().iter().zip(self.groups.biases()) {
            let (s, b) = (scale.to_f64(), bias.to_f64());
            let step = s / finer;
            squares += step * step;
            // What f16 may move a row's ends by: the residual makes up for half a step of it.
            let moved = (b.abs() + largest * s) / 2048.0 + f64::from(f16::MIN_POSITIVE_SUBNORMAL);
            let reach = if finer > 1.0 { s / 2.0 } else { 0.0 };
            most = most.max((step / 2.0).max(moved - reach));
        }
        let unit = self.space.as_ref().map_or(1.0, Space::unit);
        let count = self.groups.rows().max(1) as f64;
        [unit * unit * squares / (12.0 * count), unit * most]
    }
}

impl Store for Codes {
    const METHOD: &'static str = "LVQ";

    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> Option<usize> {
        self.space.as_ref().map(Space::dim)
    }

    fn len(&self) -> usize {
        self.groups.rows()
    }

    fn capabilities(&self) -> Capabilities {
        let rerank = match self.residual {
            Some(_) => Knob::rescored(20),
            None => Knob::rerank(self.keep, 20),
        };
        Capabilities { exact: false, reconstruct: true, knobs: vec![rerank] }
    }

    fn blank(&self) -> Self {
        Self::unlearned(self.metric, self.levels, self.keep)
    }

    /// To the byte what encoding primary codes alone gives.
    fn without_residual(&self) -> Option<Self> {
        self.residual.as_ref()?;
        Some(Self {
            metric: self.metric,
            levels: self.levels.without_residual(),
            keep: self.keep,
            space: self.space.clone(),
            groups: self.groups.clone(),
            residual: None,
            kept: self.kept.clone(),
        })
    }

    fn learn(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        let space = Space::learn(rows, self.metric, control)?;
        Ok(Self::empty(self.metric, self.levels, self.keep, Some(space)))
    }

    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        match &self.space {
            Some(space) => self.encoded(space, rows, self.metric, self.keep, control),
            None => Ok(self.blank()), // nothing is encoded before something is learned
        }
    }

    fn absorb(&mut self, other: Self, to: &[Option<u32>], _: &Control) {
        self.absorb_rows(other, to);
    }

    fn swap_remove(&mut self, row: usize) {
        self.groups.swap_remove(row);
        if let Some(residual) = &mut self.residual {
            residual.swap_remove(row);
        }
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
        if self.residual.is_some() { Ok(()) } else { check_rerank(self.keep, options) }
    }

    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
        if !self.kept.read(row, out)
            && let Some(space) = &self.space
        {
            self.decode(space, row, out);
        }
        Ok(())
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        self.kept.rows()
    }

    fn shrink_to_fit(&mut self) {
        self.groups.shrink_to_fit();
        if let Some(residual) = &mut self.residual {
            residual.shrink_to_fit();
        }
        self.kept.shrink_to_fit();
    }

    fn compact(&mut self, control: &Control) -> Result<(), Cancelled> {
        control.check()?;
        if let Some(fresh) = self.recentred(control)? {
            let kept = std::mem::replace(&mut self.kept, Kept::None);
            *self = Self { kept, ..fresh };
        }
        self.shrink_to_fit();
        Ok(())
    }

    fn params(&self) -> Map<String, Value> {
        let mut params = Map::new();
        params.insert("primary".into(), json!(self.primary()));
        params.insert("residual".into(), json!(self.residual()));
        params.insert("keep".into(), json!(self.keep.name()));
        params.extend(self.space.as_ref().map(Space::param));
        params
    }

    fn tensors(&self) -> Vec<TensorView<'_>> {
        let mut tensors = self.groups.tensors();
        tensors.extend(self.residual.iter().flat_map(Residual::tensors));
        tensors.extend(self.space.as_ref().map(|space| space.matrix().tensor("mean")));
        tensors.extend(self.kept.tensors());
        tensors
    }

    fn take(
        contents: &mut Contents,
        metric: Metric,
        dim: Option<usize>,
        rows: usize,
    ) -> Result<Self, FormatError> {
        let (primary, residual) = (contents.param_usize("primary")?, contents.param_usize("residual")?);
        let levels = Levels::new(primary, residual).map_err(|error| {
            let expected = "4 and 0, 8 and 0, 4 and 4, 4 and 8, or 8 and 8";
            let got = format!("{} and {}", error.primary, error.residual);
            FormatError::content("primary and residual", expected, got)
        })?;
        let keep = contents.param_str("keep")?;
        let keep: Keep =
            keep.parse().map_err(|_| FormatError::content("keep", "none, int8, f16 or f32", keep))?;
        let space = dim.map(|dim| Space::take(contents, dim)).transpose()?;
        let mut store = Self::empty(metric, levels, keep, space);
        store.groups = store.groups.take(contents, rows)?;
        store.residual = store.residual.map(|residual| residual.take(contents, rows)).transpose()?;
        store.kept = Kept::take(contents, keep, rows, dim.unwrap_or(0))?;
        Ok(store)
    }

    fn check(&self, control: &Control) -> Result<(), FormatError> {
        if let Some(space) = &self.space {
            space.check(control)?;
        }
        self.groups.check()?;
        if let Some(residual) = &self.residual {
            residual.check()?;
        }
        self.kept.check(control)
    }

    fn stats(&self) -> Map<String, Value> {
        let mut stats = self.params();
        let [squared, most] = self.errors();
        stats.insert("mean_squared_error".into(), json!(squared));
        stats.insert("max_error".into(), json!(most));
        stats
    }
}

impl Rowwise for Codes {
    fn grow(&mut self, more: usize) {
        self.resize(self.groups.rows() + more);
        self.kept.grow(more);
    }

    fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        self.groups.copy_row(to, &other.groups, from);
        if let (Some(residual), Some(other)) = (&mut self.residual, &other.residual) {
            residual.copy_row(to, other, from);
        }
        self.kept.copy_row(to, &other.kept, from);
    }
}
