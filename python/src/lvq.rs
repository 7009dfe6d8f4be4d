//! The class `LVQ`.
#![allow(non_snake_case, reason = "Q is the name of the argument in Python")]

use std::path::PathBuf;

use counterpoint_core::simd::int8::Bits;
use counterpoint_core::vectors::Keep;
use counterpoint_lvq::Levels;
use counterpoint_lvq::graph::{MOST_DEGREE, Parameters};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::enter::{Call, enter};
use crate::files::{self, Loaded};
use crate::index::Index;
use crate::made::Made;
use crate::scalars::{self, Given};
use crate::search::Steering;

/// Locally-adaptive vector quantisation: each vector in 4 or 8 bits per dimension, scanned by integer kernels.
///
/// Around the mean of the data, each vector is rounded to a grid between its own least and largest value. A residual
/// code may follow, of what the first one leaves: candidates of the first are scored again by both.
/// All vectors are scanned, or with structure="graph" those that a walk through a graph leads to, which is quicker, finds
/// nearly as much, and takes longer to build.
/// Codes are the same on every processor and for any number of threads.
///
/// Parameters
/// ----------
/// metric : {"l2", "ip", "cosine"}
///     What a distance is; see `Index`.
/// primary : {4, 8}, default 8
///     Bits per dimension of the codes that are scanned.
/// residual : {0, 4, 8}, default 0
///     Bits per dimension of the residual codes, 0 for none: with primary=4 any, with primary=8 0 or 8.
/// keep : {"none", "int8", "f16", "f32"}, default "none"
///     Whether the vectors themselves are kept, and how precisely. If they are, the best candidates of a search
///     are scored again on them, distances are then exact (for the vectors as kept), and `reconstruct`
///     gives them back.
/// structure : {"flat", "graph"}, default "flat"
///     Whether a search scans all vectors, or walks through a graph of them.
/// degree : int, default 32
///     Of a graph: neighbours of a vector, a multiple of 32, up to 1,024. Each takes 4 bytes.
/// ef_construction : int, default 64
///     Of a graph: candidates of the searches that `fit` refines it with, and `add` places vectors with, at least 1.
/// seed : int, default 0
///     Of a graph: of all that is random; 0 to 2**64 - 1.
///
/// Notes
/// -----
/// The mean stays that of the first `fit`; `compact` encodes a flat index around the mean of the vectors there are, if it has
/// moved and they are kept as "f16" or "f32". In a graph removed vectors are walked through until `compact` leaves them out.
///
/// The method is that of C. Aguerrebere, I. Bhati, M. Hildebrand, M. Tepper, T. Willke: "Similarity search in
/// the blink of an eye with compressed indices", PVLDB 16 (11), 2023, definitions 1 and 2.
///
/// Examples
/// --------
/// >>> import counterpoint as cp
/// >>> index = cp.LVQ("l2", primary=4, keep="f16").fit([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
/// >>> ids, distances = index.search([0.9, 0.0], k=2, rerank=3)
/// >>> ids.tolist()
/// [2, 0]
#[pyclass(frozen, extends = Index, name = "LVQ", module = "counterpoint")]
pub(crate) struct Lvq;

#[pymethods]
impl Lvq {
    #[new]
    #[pyo3(
        signature = (
            metric, primary=Given(None), residual=Given(None), keep=Given(None), structure=Given(None),
            degree=Given(None), ef_construction=Given(None), seed=Given(None)
        ),
        text_signature = "(metric, primary=8, residual=0, keep=\"none\", structure=\"flat\", degree=32, \
                          ef_construction=64, seed=0)"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        metric: &Bound<'_, PyAny>,
        primary: Given<'_>,
        residual: Given<'_>,
        keep: Given<'_>,
        structure: Given<'_>,
        degree: Given<'_>,
        ef_construction: Given<'_>,
        seed: Given<'_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let metric = scalars::named("metric", metric)?;
        let primary = primary.0.map_or(Ok(Bits::Eight), |primary| scalars::code_bits("primary", &primary))?;
        let residual = residual.0.map_or(Ok(0), |residual| scalars::optional_bits("residual", &residual))?;
        let levels = Levels::new(primary.width(), residual);
        let levels = levels.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let keep = keep.0.map_or(Ok(Keep::None), |keep| scalars::named("keep", &keep))?;
        let of_a_graph = [("degree", &degree), ("ef_construction", &ef_construction), ("seed", &seed)];
        if structure.0.map_or(Ok(Structure::Flat), |structure| scalars::named("structure", &structure))?
            == Structure::Flat
        {
            if let Some((name, _)) = of_a_graph.into_iter().find(|(_, given)| given.0.is_some()) {
                return Err(PyValueError::new_err(format!("{name}: only for structure=\"graph\"")));
            }
        } else {
            let parameters = graph_parameters(levels, keep, degree, ef_construction, seed)?;
            let index = counterpoint_lvq::graph::new(metric, parameters);
            let index = index.ok_or_else(|| {
                let got = parameters.degree;
                PyValueError::new_err(format!("degree: expected a multiple of 32, got {got}"))
            })?;
            let index = Index::new(Box::new(index), Made::LvqGraph(parameters), None);
            return Ok(PyClassInitializer::from(index).add_subclass(Self));
        }
        let made = Made::Lvq { levels, keep };
        let index = Index::new(Box::new(counterpoint_lvq::new(metric, levels, keep)), made, None);
        Ok(PyClassInitializer::from(index).add_subclass(Self))
    }

    /// Find the nearest neighbours of each query.
    ///
    /// Parameters
    /// ----------
    /// Q, k, filter, threads, recall
    ///     As for `Index.search`.
    /// ef : int, optional
    ///     Of a graph: how many candidates the search keeps in view, at least 1; fewer than k are k. The more, the more it
    ///     finds and the longer it takes. By default 2 k, at least 100.
    /// rerank : int, optional
    ///     How many candidates are scored again by the best there is: exactly on the kept vectors, or, where none are
    ///     kept, by both codes. At least k are, 0 is for none. By default a few more than k; of a graph
    ///     all of `ef`. (Where there are both, of a flat index the residual codes choose the candidates for the vectors.)
    ///
    /// Returns
    /// -------
    /// Result
    ///     As for `Index.search`. Distances are estimates, or exact where scored on kept vectors.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError
    ///     As for `Index.search`; also rerank > 0 where there are neither kept vectors nor residual codes,
    ///     and ef where there is no graph.
    #[pyo3(
        signature = (Q, k=Given(None), *, filter=None, threads=None, recall=None, ef=None, rerank=None),
        text_signature = "($self, Q, k=10, *, filter=None, threads=None, recall=None, ef=None, rerank=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn search<'py>(
        slf: &Bound<'py, Self>,
        Q: &Bound<'py, PyAny>,
        k: Given<'py>,
        filter: Option<&Bound<'py, PyAny>>,
        threads: Option<&Bound<'py, PyAny>>,
        recall: Option<&Bound<'py, PyAny>>,
        ef: Option<&Bound<'py, PyAny>>,
        rerank: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let steering = Steering { filter, threads, recall, ef, rerank, ..Steering::default() };
        slf.as_super().get().find(slf.py(), Q, &k, steering)
    }

    /// The same index without its residual codes.
    ///
    /// To the byte what an index made without them would be, if not tuned (a graph keeps its edges). Of a mapped file
    /// (`load` with mmap=True, verify=False) a flat index's residual codes are never read; else the other codes are copied.
    ///
    /// Returns
    /// -------
    /// LVQ
    ///     Another index; a copy if this one has no residual codes.
    ///
    /// Examples
    /// --------
    /// >>> import counterpoint as cp
    /// >>> index = cp.LVQ("l2", primary=4, residual=8).fit([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    /// >>> index.without_residual()
    /// <LVQ("l2", primary=4, keep="none"): 3 vectors of dimension 2>
    fn without_residual<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.as_super().get();
        let (levels, keep) = constructed(slf);
        let (index, map) = enter(slf.py(), &Call::watched(1)?, None, |call| {
            this.shared.read(call, |state| {
                let index = state.index();
                (index.without_residual().unwrap_or_else(|| index.boxed_clone()), state.map.clone())
            })
        })?;
        let levels = levels.without_residual();
        let made = match graph(slf) {
            Some(parameters) => Made::LvqGraph(Parameters { levels, ..parameters }),
            None => Made::Lvq { levels, keep },
        };
        Index::wrap(slf.py(), Loaded { index, made, map })
    }

    /// Bits per dimension of the codes that are scanned: 4 or 8.
    #[getter]
    fn primary(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).0.primary().width()
    }

    /// Bits per dimension of the residual codes: 4 or 8, or 0 for none.
    #[getter]
    fn residual(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).0.residual().map_or(0, Bits::width)
    }

    /// How vectors are kept: "none", "int8", "f16" or "f32".
    #[getter]
    fn keep(slf: &Bound<'_, Self>) -> &'static str {
        constructed(slf).1.name()
    }

    /// How vectors are searched: "flat" or "graph".
    #[getter]
    fn structure(slf: &Bound<'_, Self>) -> &'static str {
        if graph(slf).is_some() { "graph" } else { "flat" }
    }

    /// Neighbours of a vector in the graph, at most; None if there is none.
    #[getter]
    fn degree(slf: &Bound<'_, Self>) -> Option<usize> {
        graph(slf).map(|parameters| parameters.degree)
    }

    /// Candidates of the searches that the graph is made with; None if there is none.
    #[getter]
    fn ef_construction(slf: &Bound<'_, Self>) -> Option<usize> {
        graph(slf).map(|parameters| parameters.ef_construction)
    }

    /// Of all that is random in the graph; None if there is none.
    #[getter]
    fn seed(slf: &Bound<'_, Self>) -> Option<u64> {
        graph(slf).map(|parameters| parameters.seed)
    }

    /// Load an LVQ index from a file; see `counterpoint.load`. Another method's file is a FormatError.
    #[staticmethod]
    #[pyo3(signature = (path, *, mmap=false, verify=true))]
    fn load(py: Python<'_>, path: PathBuf, mmap: bool, verify: bool) -> PyResult<Bound<'_, PyAny>> {
        files::open(py, &path, mmap, verify, Some("LVQ"))
    }

    /// Load an LVQ index from the bytes of a file. Another method's are a FormatError.
    #[staticmethod]
    fn from_bytes<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        files::read(py, data, Some("LVQ"))
    }
}

/// How vectors are searched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Structure {
    Flat,
    Graph,
}

impl std::str::FromStr for Structure {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "flat" => Ok(Structure::Flat),
            "graph" => Ok(Structure::Graph),
            _ => Err(format!("structure: expected \"flat\" or \"graph\", got {name:?}")),
        }
    }
}

fn graph_parameters(
    levels: Levels,
    keep: Keep,
    degree: Given<'_>,
    ef_construction: Given<'_>,
    seed: Given<'_>,
) -> PyResult<Parameters> {
    let mut parameters = Parameters::new(levels, keep);
    if let Some(degree) = degree.0 {
        parameters.degree = scalars::multiple("degree", 32, MOST_DEGREE, &degree)?;
    }
    if let Some(ef) = ef_construction.0 {
        parameters.ef_construction = scalars::at_least("ef_construction", 1, &ef)?;
    }
    if let Some(seed) = seed.0 {
        parameters.seed = scalars::within("seed", 0..=u64::MAX, &seed)?;
    }
    Ok(parameters)
}

/// What shapes the graph; `None` of a flat index.
fn graph(slf: &Bound<'_, Lvq>) -> Option<Parameters> {
    match slf.as_super().get().made() {
        Made::LvqGraph(parameters) => Some(parameters),
        _ => None,
    }
}

fn constructed(slf: &Bound<'_, Lvq>) -> (Levels, Keep) {
    match slf.as_super().get().made() {
        Made::Lvq { levels, keep } => (levels, keep),
        Made::LvqGraph(Parameters { levels, keep, .. }) => (levels, keep),
        _ => (Bits::Eight.into(), Keep::None), // no LVQ object is made so
    }
}
