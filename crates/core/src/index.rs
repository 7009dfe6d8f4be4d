//! The trait every index implements, and what it speaks in: options, results, errors.
//!
//! The trait sits at the level of an index (build, search, file), not of a quantiser: methods share verbs, not
//! inner loops. No method has a default body that would work row by row: each index says how it does a batch.

use std::path::Path;

use serde_json::{Map, Value};

use crate::file::{Contents, Document, FormatError, OpenError, SaveError};
use crate::ids::{Allow, FilterError, IdError, Ids};
use crate::knobs::Knob;
use crate::metric::Metric;
use crate::threads::{Cancelled, Control};
use crate::tune::{self, Frontier, RecallError, Request, TuneError};
use crate::vectors::{InputError, Matrix, RowSource};

/// Neighbours of a batch of queries: `queries` rows of `width` entries, nearest first.
///
/// `width` is min(k, rows allowed): there is no padding, except under a filter per query, where it is the
/// widest query's and shorter rows end in id −1 at distance +∞.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neighbors {
    /// Ids, row by row.
    pub ids: Vec<i64>,
    /// Distances, row by row: smaller is nearer.
    pub distances: Vec<f32>,
    /// Number of rows.
    pub queries: usize,
    /// Entries in each row.
    pub width: usize,
}

/// Which vectors the queries of a call may return.
#[derive(Clone, Copy, Debug, Default)]
pub enum Filter<'a> {
    /// All.
    #[default]
    None,
    /// The same for every query.
    Shared(Allow<'a>),
    /// One for each query.
    PerQuery(&'a [Allow<'a>]),
}

/// What steers one search call. A knob a method does not declare in its [`Capabilities`] must be `None`;
/// [`Name::of`](crate::knobs::Name::of) finds a knob's field by its name.
#[derive(Clone, Copy, Debug)]
pub struct SearchOptions<'a> {
    /// Neighbours wanted, at least 1.
    pub k: usize,
    /// Which vectors may be returned.
    pub filter: Filter<'a>,
    /// How many lists are searched; `None` for the method's default.
    pub n_probe: Option<usize>,
    /// How many candidates a search through a graph keeps, at least k; `None` for the method's default.
    pub ef: Option<usize>,
    /// How many candidates, at most, are scored again by the best there is: on kept vectors, or, where none are kept, by
    /// a residual code. 0 for none, `None` for the method's default.
    pub rerank: Option<usize>,
    /// How many stages of residual codes are looked at, at least 1; `None` for all.
    pub stages: Option<usize>,
    /// Whether every row is scored by all its bits; `None` for the method's default.
    pub exact_scan: Option<bool>,
    /// The recall for which an index that was tuned chooses the knobs, which must then be `None`.
    pub recall: Option<f64>,
}

impl SearchOptions<'_> {
    /// `k` neighbours, everything else by default.
    pub fn new(k: usize) -> Self {
        Self {
            k,
            filter: Filter::None,
            n_probe: None,
            ef: None,
            rerank: None,
            stages: None,
            exact_scan: None,
            recall: None,
        }
    }
}

/// What a method can do, as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Distances are exact without re-ranking.
    pub exact: bool,
    /// `reconstruct` gives vectors back.
    pub reconstruct: bool,
    /// The search knobs the method has.
    pub knobs: Vec<Knob>,
}

/// Why rows could not be fitted, added or replaced. The index is as it was.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// Something is wrong with the vectors.
    #[error(transparent)]
    Input(InputError),
    /// Something is wrong with the ids.
    #[error(transparent)]
    Ids(#[from] IdError),
    /// More dimensions than the method can learn from.
    #[error("expected vectors of at most {most} dimensions to {what}, got {got}")]
    TooManyDims {
        /// How many it can.
        most: usize,
        /// What it learns.
        what: &'static str,
        /// The input's dimension.
        got: usize,
    },
    /// The method learns before it stores.
    #[error("this index must be fitted before vectors are added: {reason}")]
    NotFitted {
        /// What it learns.
        reason: &'static str,
    },
    /// Stopped by the caller.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<InputError> for AddError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Cancelled(cancelled) => AddError::Cancelled(cancelled),
            error => AddError::Input(error),
        }
    }
}

/// Why a search was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// Something is wrong with the queries.
    #[error(transparent)]
    Input(InputError),
    /// No neighbours asked for.
    #[error("k: expected at least 1, got 0")]
    K,
    /// A mask of the wrong length.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Not one filter for each query.
    #[error("filter: expected one for each of {expected} queries, got {got}")]
    FilterCount {
        /// Queries given.
        expected: usize,
        /// Filters given.
        got: usize,
    },
    /// A knob this index has no use for.
    #[error("{knob}: {reason}")]
    Knob {
        /// Its name.
        knob: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// No point for the recall asked for.
    #[error(transparent)]
    Recall(#[from] RecallError),
    /// Stopped by the caller.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<InputError> for SearchError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Cancelled(cancelled) => SearchError::Cancelled(cancelled),
            error => SearchError::Input(error),
        }
    }
}

/// Why vectors could not be given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconstructError {
    /// An id the index does not have.
    #[error(transparent)]
    Ids(#[from] IdError),
    /// Neither codes nor kept vectors can give one.
    #[error("this index keeps nothing a vector could be reconstructed from")]
    Unsupported,
}

/// An index: vectors, searched by distance.
///
/// **Law.** On any error an index is exactly as it was: new rows are computed aside, then moved in.
pub trait AnnIndex: Send + Sync {
    /// The method's name, as files and Python spell it: `"Flat"`, `"LVQ"`, …
    fn method(&self) -> &'static str;

    /// The metric.
    fn metric(&self) -> Metric;

    /// The dimension, once there have been vectors.
    fn dim(&self) -> Option<usize>;

    /// The ids, row by row.
    fn ids(&self) -> &Ids;

    /// What this index can do.
    fn capabilities(&self) -> Capabilities;

    /// An index of the same parameters without vectors.
    fn blank(&self) -> Box<dyn AnnIndex>;

    /// A copy that shares nothing with this one (but a mapped file).
    fn boxed_clone(&self) -> Box<dyn AnnIndex>;

    /// A copy without the residual codes, not tuned; `None` where the method has none. What is left out is not read.
    fn without_residual(&self) -> Option<Box<dyn AnnIndex>> {
        None
    }

    /// Replaces all vectors: learns what the method learns, then encodes. `ids` default to 0, 1, 2, …
    ///
    /// # Errors
    /// [`AddError`]; the index is then unchanged.
    fn fit(&mut self, rows: &dyn RowSource, ids: Option<&[i64]>, control: &Control) -> Result<(), AddError>;

    /// Adds vectors under new ids (counted up where not given), which are returned. An index that was never
    /// fitted is fitted on them.
    ///
    /// # Errors
    /// [`AddError`]; the index is then unchanged.
    fn add(
        &mut self,
        rows: &dyn RowSource,
        ids: Option<&[i64]>,
        control: &Control,
    ) -> Result<Vec<i64>, AddError>;

    /// Replaces the vectors whose ids are present, adds the others.
    ///
    /// # Errors
    /// [`AddError`]; the index is then unchanged.
    fn upsert(&mut self, rows: &dyn RowSource, ids: &[i64], control: &Control) -> Result<(), AddError>;

    /// Removes vectors.
    ///
    /// # Errors
    /// [`IdError::Unknown`] or [`IdError::Repeated`]; the index is then unchanged.
    fn remove(&mut self, ids: &[i64]) -> Result<(), IdError>;

    /// The nearest neighbours of each query.
    ///
    /// # Errors
    /// [`SearchError`].
    fn search(
        &self,
        queries: &dyn RowSource,
        options: &SearchOptions<'_>,
        control: &Control,
    ) -> Result<Neighbors, SearchError>;

    /// The vectors of `ids` (which may repeat), as well as they are known: as kept, else decoded.
    /// Under cosine they are of unit length.
    ///
    /// # Errors
    /// [`ReconstructError`].
    fn reconstruct(&self, ids: &[i64]) -> Result<Matrix<f32>, ReconstructError>;

    /// The vectors as kept, prepared for the metric, row by row; `None` where there are only codes.
    fn vectors(&self) -> Option<&dyn RowSource>;

    /// What tuning found: with it `search` knows the knobs for a recall. Kept by whatever changes rows, for they
    /// change it little, but for `fit`.
    fn tuned(&self) -> Option<&Frontier>;

    /// Puts what [`tune::measure`] found on this index in the place of an earlier finding.
    fn set_tuned(&mut self, frontier: Option<Frontier>);

    /// Gives spare memory back, and does what the method defers.
    ///
    /// # Errors
    /// [`Cancelled`]; the index is then unchanged.
    fn compact(&mut self, control: &Control) -> Result<(), Cancelled>;

    /// The method's parameters and figures, for people: bytes by part and what the method adds.
    fn stats(&self) -> Map<String, Value>;

    /// Calls `write` with what a file of this index holds.
    ///
    /// # Errors
    /// Those of `write`.
    fn with_document(
        &self,
        write: &mut dyn FnMut(&Document<'_>) -> Result<(), SaveError>,
    ) -> Result<(), SaveError>;

    /// Checks every invariant that a file of this index would be checked for on loading.
    ///
    /// # Errors
    /// [`FormatError`] naming what does not hold.
    fn check(&self, control: &Control) -> Result<(), FormatError>;
}

impl dyn AnnIndex + '_ {
    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.ids().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Saves to `path`: a crash leaves the old file or the new one. `durable` also waits for the disk.
    ///
    /// # Errors
    /// [`SaveError`]; the old file is then intact.
    pub fn save(&self, path: &Path, durable: bool, control: &Control) -> Result<(), SaveError> {
        self.with_document(&mut |document| document.save(path, durable, control))
    }

    /// The bytes of the file that `save` would write.
    ///
    /// # Errors
    /// [`SaveError`].
    pub fn to_bytes(&self, control: &Control) -> Result<Vec<u8>, SaveError> {
        let mut bytes = Vec::new();
        self.with_document(&mut |document| {
            bytes = document.to_bytes(control)?;
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Measures recall and speed over the method's knobs and stores what is best, for searches by recall:
    /// [`tune::measure`], then [`AnnIndex::set_tuned`].
    ///
    /// # Errors
    /// [`TuneError`]; the index is then unchanged.
    pub fn tune(&mut self, request: &Request<'_>, control: &Control) -> Result<Frontier, TuneError> {
        let frontier = tune::measure(self, request, control)?;
        self.set_tuned(Some(frontier.clone()));
        Ok(frontier)
    }
}

/// Makes an index of one method from a file's contents.
pub type Loader = fn(Contents, &Control) -> Result<Box<dyn AnnIndex>, FormatError>;

/// Loads an index of any of `methods` (pairs of name and loader).
///
/// # Errors
/// [`FormatError`] for a method that is not among them, or contents its loader refuses.
pub fn load(
    contents: Contents,
    methods: &[(&str, Loader)],
    control: &Control,
) -> Result<Box<dyn AnnIndex>, FormatError> {
    match methods.iter().find(|(name, _)| *name == contents.method()) {
        Some((_, loader)) => loader(contents, control),
        None => {
            let names: Vec<&str> = methods.iter().map(|(name, _)| *name).collect();
            Err(FormatError::content("method", names.join(", "), contents.method()))
        }
    }
}

/// Opens a file and loads it as an index of any of `methods`.
///
/// # Errors
/// [`OpenError`]: the file cannot be read, is not a sound file of one of them, or the caller stops it.
pub fn open(
    path: &Path,
    access: crate::file::Access,
    verify: bool,
    methods: &[(&str, Loader)],
    control: &Control,
) -> Result<Box<dyn AnnIndex>, OpenError> {
    Ok(load(Contents::open(path, access, verify, control)?, methods, control)?)
}
