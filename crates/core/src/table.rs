//! An index whose rows stand alone: the verbs once, for every method that stores row after row.
//!
//! A [`Store`] holds encoded rows and what was learned; [`Table`] adds ids and the transactions: new rows are
//! encoded aside (a store of their own), every check is made, and only then are they moved in. Removal moves
//! the last row into the gap, so rows stay dense and a removal costs one row.

use serde_json::{Map, Value, json};

use crate::file::{Contents, Document, FormatError, SaveError, TensorView};
use crate::ids::{IdError, Ids, first_repeated};
use crate::index::{
    AddError, AnnIndex, Capabilities, Neighbors, ReconstructError, SearchError, SearchOptions,
};
use crate::knobs::Name;
use crate::metric::Metric;
use crate::scan::{Hits, Masks};
use crate::select::Hit;
use crate::threads::{Cancelled, Control, dispose};
use crate::tune::{self, Frontier};
use crate::vectors::{InputError, Matrix, RowSource, check_shape};

/// Encoded rows and what was learned to encode them.
pub trait Store: Clone + Send + Sync + Sized + 'static {
    /// The method's name, in files and in Python.
    const METHOD: &'static str;
    /// Whether the method has stages that `exact_scan` leaves out.
    const EXACT_SCAN: bool = false;

    /// Whether its codes have stages, of which a search may look at the first ones ([`SearchOptions::stages`]).
    const STAGES: bool = false;

    /// The metric.
    fn metric(&self) -> Metric;

    /// The dimension; `None` until something was learned.
    fn dim(&self) -> Option<usize>;

    /// Number of rows.
    fn len(&self) -> usize;

    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the method can do.
    fn capabilities(&self) -> Capabilities;

    /// The same parameters, nothing learned, no rows.
    fn blank(&self) -> Self;

    /// The same rows without their residual codes; `None` where the method has none.
    fn without_residual(&self) -> Option<Self> {
        None
    }

    /// Learns from `rows` (of legal shape): the same parameters, no rows. Values are checked as they are read.
    ///
    /// # Errors
    /// [`AddError`].
    fn learn(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError>;

    /// What the first `add` without a `fit` does in place of [`Store::learn`]: the same, unless the method can do
    /// without learning.
    ///
    /// # Errors
    /// [`AddError`].
    fn begin(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        self.learn(rows, control)
    }

    /// What [`Store::learn`] and [`Store::encode`] with what was learned give, for methods that can spare work when they
    /// do both.
    ///
    /// # Errors
    /// [`AddError`].
    fn build(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        Ok(self.learn(rows, control)?.encode(rows, control)?)
    }

    /// Encodes `rows` (of this dimension) aside, with what was learned: a store of only these rows. Values are
    /// checked as they are read.
    ///
    /// # Errors
    /// [`InputError`].
    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError>;

    /// Moves the rows of `other`, encoded by this store, in: row i over row `to[i]`, or at the end, in their order.
    fn absorb(&mut self, other: Self, to: &[Option<u32>], control: &Control);

    /// Removes a row, moving the last row into its place.
    fn swap_remove(&mut self, row: usize);

    /// The best `options.k` rows for each query; the filter of `options` is in `masks`.
    ///
    /// # Errors
    /// [`SearchError`].
    fn search(
        &self,
        queries: &dyn RowSource,
        options: &SearchOptions<'_>,
        masks: &Masks,
        control: &Control,
    ) -> Result<Hits, SearchError>;

    /// Checks the knobs of a call, also where there is nothing to search.
    ///
    /// # Errors
    /// [`SearchError::Knob`].
    fn check_options(&self, options: &SearchOptions<'_>) -> Result<(), SearchError>;

    /// Writes the vector of a row, as well as it is known, to `out` (of `dim` values).
    ///
    /// # Errors
    /// [`ReconstructError::Unsupported`].
    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError>;

    /// The vectors as kept, prepared for the metric, row by row; `None` where there are only codes.
    fn vectors(&self) -> Option<&dyn RowSource>;

    /// Gives spare memory back.
    fn shrink_to_fit(&mut self);

    /// Gives spare memory back, and does what the method defers.
    ///
    /// # Errors
    /// [`Cancelled`]; the store is then unchanged.
    fn compact(&mut self, control: &Control) -> Result<(), Cancelled> {
        control.check()?;
        self.shrink_to_fit();
        Ok(())
    }

    /// The method's own parameters, as a file holds them.
    fn params(&self) -> Map<String, Value>;

    /// The tensors of a file.
    fn tensors(&self) -> Vec<TensorView<'_>>;

    /// Takes a store of `rows` rows out of a file. What the rows hold is for [`Store::check`] to see, which is called
    /// next.
    ///
    /// # Errors
    /// [`FormatError`].
    fn take(
        contents: &mut Contents,
        metric: Metric,
        dim: Option<usize>,
        rows: usize,
    ) -> Result<Self, FormatError>;

    /// Checks every invariant of what the rows hold.
    ///
    /// # Errors
    /// [`FormatError`].
    fn check(&self, control: &Control) -> Result<(), FormatError>;

    /// Figures beyond the common ones, for people.
    fn stats(&self) -> Map<String, Value>;
}

/// A store whose rows stand alone, and are moved in one by one.
pub trait Rowwise: Store {
    /// Makes room for `more` rows, to be written by [`Rowwise::copy_row`].
    fn grow(&mut self, more: usize);

    /// Copies row `from` of `other`, encoded by this store, over row `to`.
    fn copy_row(&mut self, to: usize, other: &Self, from: usize);

    /// [`Store::absorb`].
    fn absorb_rows(&mut self, other: Self, to: &[Option<u32>]) {
        if self.is_empty() && to.len() == other.len() {
            *self = other; // there is no row that could be replaced
            return;
        }
        let mut end = self.len();
        self.grow(to.iter().filter(|to| to.is_none()).count());
        for (from, to) in to.iter().enumerate() {
            let to = to.map_or(end, |to| to as usize);
            self.copy_row(to, &other, from);
            end += usize::from(to == end);
        }
    }
}

/// A [`Store`] with ids: an index.
#[derive(Clone)]
pub struct Table<S> {
    store: S,
    ids: Ids,
    tuned: Option<Frontier>,
}

impl<S: Store> Table<S> {
    /// An index over a store without rows.
    pub fn over(store: S) -> Self {
        Self { store, ids: Ids::default(), tuned: None }
    }

    /// The rows.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Makes an index from a file's contents: the one validated constructor.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn load(mut contents: Contents, control: &Control) -> Result<Box<dyn AnnIndex>, FormatError> {
        let metric = contents.param_str("metric")?;
        let metric: Metric =
            metric.parse().map_err(|_| FormatError::content("metric", "l2, ip or cosine", metric))?;
        let dim = contents.param_usize("dim")?;
        let rows = contents.param_usize("rows")?;
        let sequential = contents.param_bool("sequential_ids")?;
        let next = contents.param_usize("next_id")?;
        if dim > crate::vectors::MAX_DIM || (dim == 0 && rows > 0) {
            return Err(FormatError::content("dim", "1 to 65536, or 0 without rows", dim));
        }
        if rows > crate::vectors::MAX_ROWS {
            return Err(FormatError::content("rows", "at most 4294967295", rows));
        }
        // One past the largest id stands for "none left".
        let next = match i64::try_from(next) {
            Ok(next) => Some(next),
            Err(_) if next as u64 == 1 << 63 => None,
            Err(_) => return Err(FormatError::content("next_id", "at most 2^63", next)),
        };
        let ids = Ids::take(&mut contents, rows, sequential, next)?;
        let store = S::take(&mut contents, metric, (dim > 0).then_some(dim), rows)?;
        let tuned = Frontier::take(&contents, &store.capabilities().knobs)?;
        contents.finish()?;
        let table = Self { store, ids, tuned };
        match table.check(control) {
            Ok(()) => Ok(Box::new(table)),
            Err(error) => {
                if control.check().is_err() {
                    dispose(table);
                }
                Err(error)
            }
        }
    }

    /// Encodes rows aside: with what is learned, or learning it first where nothing is.
    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<S, AddError> {
        check_shape(rows, self.store.dim())?;
        let total = self.store.len() + rows.len();
        if total > crate::vectors::MAX_ROWS {
            return Err(InputError::TooMany { got: total }.into());
        }
        let encoded = match self.store.dim() {
            Some(_) => self.store.encode(rows, control)?,
            None => self.store.begin(rows, control)?.encode(rows, control)?,
        };
        control.check()?;
        Ok(encoded)
    }
}

impl<S: Store> AnnIndex for Table<S> {
    fn method(&self) -> &'static str {
        S::METHOD
    }

    fn metric(&self) -> Metric {
        self.store.metric()
    }

    fn dim(&self) -> Option<usize> {
        self.store.dim()
    }

    fn ids(&self) -> &Ids {
        &self.ids
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn blank(&self) -> Box<dyn AnnIndex> {
        Box::new(Self::over(self.store.blank()))
    }

    fn boxed_clone(&self) -> Box<dyn AnnIndex> {
        Box::new(self.clone())
    }

    fn without_residual(&self) -> Option<Box<dyn AnnIndex>> {
        let store = self.store.without_residual()?;
        Some(Box::new(Self { store, ids: self.ids.clone(), tuned: None }))
    }

    fn fit(&mut self, rows: &dyn RowSource, ids: Option<&[i64]>, control: &Control) -> Result<(), AddError> {
        let mut fresh = Self::over(self.store.blank());
        let new = fresh.ids.assign(rows.len(), ids)?;
        check_shape(rows, None)?;
        fresh.store = fresh.store.build(rows, control)?;
        control.check()?;
        fresh.ids.append(new);
        *self = fresh;
        Ok(())
    }

    fn add(
        &mut self,
        rows: &dyn RowSource,
        ids: Option<&[i64]>,
        control: &Control,
    ) -> Result<Vec<i64>, AddError> {
        let new = self.ids.assign(rows.len(), ids)?;
        let encoded = self.encode(rows, control)?;
        let added = new.to_vec();
        self.store.absorb(encoded, &vec![None; rows.len()], control);
        self.ids.append(new);
        Ok(added)
    }

    fn upsert(&mut self, rows: &dyn RowSource, ids: &[i64], control: &Control) -> Result<(), AddError> {
        if ids.len() != rows.len() {
            return Err(IdError::Count { expected: rows.len(), got: ids.len() }.into());
        }
        if let Some(id) = first_repeated(ids) {
            return Err(IdError::Repeated { id }.into());
        }
        let old: Vec<Option<u32>> = ids.iter().map(|&id| self.ids.row(id)).collect();
        let added: Vec<usize> = (0..ids.len()).filter(|&i| old[i].is_none()).collect();
        let added_ids: Vec<i64> = added.iter().map(|&i| ids[i]).collect();
        let new = self.ids.assign(added.len(), Some(&added_ids))?;
        let encoded = self.encode(rows, control)?;
        self.store.absorb(encoded, &old, control);
        self.ids.append(new);
        Ok(())
    }

    fn remove(&mut self, ids: &[i64]) -> Result<(), IdError> {
        self.ids.rows_of(ids)?;
        for &id in ids {
            // Rows move as others go, so each is looked up in its turn.
            if let Some(row) = self.ids.row(id) {
                self.store.swap_remove(row as usize);
                self.ids.swap_remove(row);
            }
        }
        Ok(())
    }

    fn search(
        &self,
        queries: &dyn RowSource,
        options: &SearchOptions<'_>,
        control: &Control,
    ) -> Result<Neighbors, SearchError> {
        if options.k == 0 {
            return Err(SearchError::K);
        }
        check_shape(queries, self.store.dim())?;
        if options.exact_scan.is_some() && !S::EXACT_SCAN {
            let reason = "this method scores every row by all it stores";
            return Err(SearchError::Knob { knob: "exact_scan", reason });
        }
        if options.stages.is_some() && !S::STAGES {
            let reason = "this method's codes have no stages";
            return Err(SearchError::Knob { knob: "stages", reason });
        }
        let options = &tune::resolve(self, options)?;
        for (name, given, reason) in [
            (Name::NProbe, options.n_probe, "this method has no lists to choose from"),
            (Name::Ef, options.ef, "this method has no graph to walk through"),
        ] {
            if given.is_some() && !self.capabilities().knobs.iter().any(|knob| knob.name == name) {
                return Err(SearchError::Knob { knob: name.as_str(), reason });
            }
        }
        self.store.check_options(options)?;
        let masks = Masks::new(&options.filter, &self.ids, queries.len())?;
        let width = options.k.min(masks.widest(self.store.len()));
        if width == 0 || queries.is_empty() {
            crate::vectors::check(queries, self.store.dim(), control)?;
            return Ok(Neighbors { queries: queries.len(), width, ..Neighbors::default() });
        }
        let options = SearchOptions { k: width, ..*options };
        let hits = self.store.search(queries, &options, &masks, control)?;
        let mut neighbors = Neighbors {
            ids: Vec::with_capacity(width * hits.len()),
            distances: Vec::with_capacity(width * hits.len()),
            queries: hits.len(),
            width,
        };
        for row in hits {
            for &Hit { row, distance } in &row {
                neighbors.ids.push(self.ids.id(row));
                neighbors.distances.push(distance);
            }
            for _ in row.len()..width {
                neighbors.ids.push(-1);
                neighbors.distances.push(f32::INFINITY);
            }
        }
        Ok(neighbors)
    }

    fn reconstruct(&self, ids: &[i64]) -> Result<Matrix<f32>, ReconstructError> {
        let rows = self.ids.lookup(ids)?;
        let mut vectors = Matrix::zeroed(rows.len(), self.store.dim().unwrap_or(0));
        for (to, row) in rows.into_iter().enumerate() {
            self.store.reconstruct(row as usize, vectors.row_mut(to))?;
        }
        Ok(vectors)
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        self.store.vectors()
    }

    fn tuned(&self) -> Option<&Frontier> {
        self.tuned.as_ref()
    }

    fn set_tuned(&mut self, frontier: Option<Frontier>) {
        self.tuned = frontier;
    }

    fn compact(&mut self, control: &Control) -> Result<(), Cancelled> {
        self.store.compact(control)
    }

    fn stats(&self) -> Map<String, Value> {
        let mut stats = self.store.stats();
        let mut bytes: Map<String, Value> =
            self.store.tensors().iter().map(|t| (t.name.to_owned(), json!(t.bytes.len()))).collect();
        if let Some(ids) = self.ids.tensor() {
            bytes.insert("ids".to_owned(), json!(ids.view().bytes.len()));
        }
        let total: u64 = bytes.values().filter_map(Value::as_u64).sum();
        let per_vector = if self.ids.is_empty() { 0.0 } else { total as f64 / self.ids.len() as f64 };
        stats.insert("method".into(), json!(S::METHOD));
        stats.insert("metric".into(), json!(self.metric().name()));
        stats.insert("n".into(), json!(self.ids.len()));
        stats.insert("dim".into(), json!(self.dim()));
        stats.insert("bytes".into(), Value::Object(bytes));
        stats.insert("tuned".into(), self.tuned.as_ref().map_or(Value::Null, Frontier::figures));
        stats.insert("bytes_per_vector".into(), json!(per_vector));
        stats
    }

    fn with_document(
        &self,
        write: &mut dyn FnMut(&Document<'_>) -> Result<(), SaveError>,
    ) -> Result<(), SaveError> {
        let (sequential, next) = self.ids.parameters();
        let mut params = self.store.params();
        params.insert("metric".into(), json!(self.metric().name()));
        params.insert("dim".into(), json!(self.dim().unwrap_or(0)));
        params.insert("rows".into(), json!(self.ids.len()));
        params.insert("sequential_ids".into(), json!(sequential));
        params.insert("next_id".into(), json!(next.map_or(1_u64 << 63, i64::cast_unsigned)));
        params.extend(self.tuned.as_ref().map(Frontier::param));
        let ids = self.ids.tensor();
        let mut tensors = self.store.tensors();
        tensors.extend(ids.as_ref().map(|ids| ids.view()));
        write(&Document { method: S::METHOD, params, tensors })
    }

    fn check(&self, control: &Control) -> Result<(), FormatError> {
        if self.ids.len() != self.store.len() {
            let got = self.ids.len();
            return Err(FormatError::content(
                "ids",
                format!("one for each of {} rows", self.store.len()),
                got,
            ));
        }
        self.ids.check(control)?;
        self.store.check(control)
    }
}
