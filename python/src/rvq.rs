//! The class `RVQ`.
#![allow(non_snake_case, reason = "Q is the name of the argument in Python")]

use std::path::PathBuf;

use counterpoint_rvq::{MOST_BEAM, MOST_LISTS, MOST_STAGES, Parameters, Structure};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::files;
use crate::index::Index;
use crate::made::Made;
use crate::scalars::{self, Given};
use crate::search::Steering;

/// Residual vector quantisation: each vector as the sum of one codeword a stage, found by beam search, scanned by look-ups.
/// All vectors are scanned, or with structure="ivf" those in the lists nearest to the query.
///
/// `fit` learns 256 or 16 codewords a stage: each stage's code what the stages before leave over, and then all stages are
/// refined together. A vector is stored as the numbers of the codewords whose sum comes nearest to it, `stages` bytes at 8
/// bits and half of that at 4, and under "l2" and "cosine" one byte more, for the part of a distance that is a vector's
/// own. Of all methods here it finds most in 8 to 32 bytes a vector; to add vectors takes longer than with others.
///
/// Parameters
/// ----------
/// metric : {"l2", "ip", "cosine"}
///     What a distance is; see `Index`.
/// stages : int, default 8
///     Codewords of a vector, 1 to 64. Where data needs no more to be coded exactly, there are fewer: see "stages_used" in
///     `stats()`.
/// bits : {8, 4}, default 8
///     256 or 16 codewords a stage; fewer where there are fewer vectors to learn from.
/// beam : int, default 16
///     Sums of codewords that the search for a vector's codes keeps from stage to stage, 1 to 256. More find better codes,
///     in proportionally more time.
/// structure : {"flat", "ivf"}, default "flat"
///     Whether a search scans all vectors, or those of some lists ("inverted file"); codes then tell a vector from the
///     centroid of its list, which makes them more exact. A vector takes 5 bytes more, for its place.
/// n_lists : int, optional
///     With structure="ivf": how many lists, 1 to 2**20. By default the square root of the number of vectors.
/// keep : {"none", "int8", "f16", "f32"}, default "none"
///     Whether the vectors themselves are kept, and how precisely. If they are, the best candidates of a search
///     are scored again on them, distances are then exact (for the vectors as kept), and `reconstruct`
///     gives them back.
/// seed : int, default 0
///     Of all that is random; 0 to 2**64 - 1.
///
/// Notes
/// -----
/// `fit` learns from a random sample of at most 65,536 vectors (32 for each list if that is more), which is in memory twice
/// meanwhile, in as many values as codes of that length are worth. `stats()` says what part
/// of the variance is left after 0, 1, 2, ... stages ("distortion") and what part of each stage's codewords hardly any vector
/// has ("dead_codes"), as measured on the sample.
///
/// The method is that of B.-H. Juang, A. H. Gray: "Multiple stage vector quantization for speech coding", ICASSP 1982, with
/// encoding and training as in additive quantisation (A. Babenko, V. Lempitsky, CVPR 2014).
///
/// Examples
/// --------
/// >>> import counterpoint as cp
/// >>> index = cp.RVQ("l2", stages=2, keep="f16").fit([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
/// >>> ids, distances = index.search([0.9, 0.0], k=2, rerank=3)
/// >>> ids.tolist()
/// [2, 0]
#[pyclass(frozen, extends = Index, name = "RVQ", module = "counterpoint")]
pub(crate) struct Rvq;

#[pymethods]
impl Rvq {
    #[new]
    #[pyo3(
        signature = (
            metric, stages=Given(None), bits=Given(None), beam=Given(None), structure=Given(None),
            n_lists=Given(None), keep=Given(None), seed=Given(None)
        ),
        text_signature = "(metric, stages=8, bits=8, beam=16, structure=\"flat\", n_lists=None, keep=\"none\", \
                          seed=0)"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        metric: &Bound<'_, PyAny>,
        stages: Given<'_>,
        bits: Given<'_>,
        beam: Given<'_>,
        structure: Given<'_>,
        n_lists: Given<'_>,
        keep: Given<'_>,
        seed: Given<'_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let metric = scalars::named("metric", metric)?;
        let mut parameters = Parameters::default();
        if let Some(stages) = stages.0 {
            parameters.stages = scalars::within("stages", 1..=MOST_STAGES, &stages)?;
        }
        if let Some(bits) = bits.0 {
            parameters.bits = scalars::code_bits("bits", &bits)?;
        }
        if let Some(beam) = beam.0 {
            parameters.beam = scalars::within("beam", 1..=MOST_BEAM, &beam)?;
        }
        let n_lists = n_lists.0.filter(|n_lists| !n_lists.is_none());
        let n_lists =
            n_lists.map(|n_lists| scalars::within("n_lists", 1..=MOST_LISTS, &n_lists)).transpose()?;
        if let Some(structure) = structure.0 {
            parameters.structure = scalars::named("structure", &structure)?;
        }
        match (&mut parameters.structure, n_lists) {
            (Structure::Ivf { n_lists: lists }, _) => *lists = n_lists,
            (Structure::Flat, None) => {}
            (Structure::Flat, Some(_)) => {
                return Err(PyValueError::new_err("n_lists: only for structure=\"ivf\""));
            }
        }
        if let Some(keep) = keep.0 {
            parameters.keep = scalars::named("keep", &keep)?;
        }
        if let Some(seed) = seed.0 {
            parameters.seed = scalars::within("seed", 0..=u64::MAX, &seed)?;
        }
        let index = counterpoint_rvq::index(metric, parameters)
            .ok_or_else(|| PyValueError::new_err("stages, beam, n_lists: out of range"))?;
        let index = Index::new(index, Made::Rvq(parameters), None);
        Ok(PyClassInitializer::from(index).add_subclass(Self))
    }

    /// Find the nearest neighbours of each query.
    ///
    /// Parameters
    /// ----------
    /// Q, k, filter, threads, recall
    ///     As for `Index.search`.
    /// n_probe : int, optional
    ///     With structure="ivf": how many lists are searched, at least 1: those nearest to the query; more than there are is
    ///     all. More are searched where these hold fewer than k vectors (under a filter, fewer than the candidates and
    ///     than the vectors allowed). By default a fifth of all.
    /// stages : int, optional
    ///     How many stages of the codes are looked at, 1 to those of the index; by default all. Fewer find less, and a scan
    ///     takes less time. The first search after vectors have changed decodes them all once.
    /// rerank : int, optional
    ///     How many candidates are scored exactly on the kept vectors; at least k are, 0 is for none. By default
    ///     30 k + 100 where vectors are kept, else none.
    ///
    /// Returns
    /// -------
    /// Result
    ///     As for `Index.search`. Distances are estimates, or exact where re-ranked.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError
    ///     As for `Index.search`; also stages < 1 or more than there are, stages beside recall,
    ///     rerank > 0 where no vectors are kept, and n_probe where there are no lists.
    #[pyo3(
        signature = (
            Q, k=Given(None), *, filter=None, threads=None, recall=None, n_probe=None, stages=None, rerank=None
        ),
        text_signature = "($self, Q, k=10, *, filter=None, threads=None, recall=None, n_probe=None, \
                          stages=None, rerank=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn search<'py>(
        slf: &Bound<'py, Self>,
        Q: &Bound<'py, PyAny>,
        k: Given<'py>,
        filter: Option<&Bound<'py, PyAny>>,
        threads: Option<&Bound<'py, PyAny>>,
        recall: Option<&Bound<'py, PyAny>>,
        n_probe: Option<&Bound<'py, PyAny>>,
        stages: Option<&Bound<'py, PyAny>>,
        rerank: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let steering = Steering { filter, threads, recall, n_probe, stages, rerank, ..Steering::default() };
        slf.as_super().get().find(slf.py(), Q, &k, steering)
    }

    /// Codewords of a vector, as asked for.
    #[getter]
    fn stages(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).stages
    }

    /// Bits of a stage's code: 8 or 4.
    #[getter]
    fn bits(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).bits.width()
    }

    /// Sums of codewords kept from stage to stage.
    #[getter]
    fn beam(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).beam
    }

    /// "flat" or "ivf".
    #[getter]
    fn structure(slf: &Bound<'_, Self>) -> &'static str {
        constructed(slf).structure.name()
    }

    /// How many lists were asked for; None for as many as suit the number of vectors.
    #[getter]
    fn n_lists(slf: &Bound<'_, Self>) -> Option<usize> {
        match constructed(slf).structure {
            Structure::Flat => None,
            Structure::Ivf { n_lists } => n_lists,
        }
    }

    /// How vectors are kept: "none", "int8", "f16" or "f32".
    #[getter]
    fn keep(slf: &Bound<'_, Self>) -> &'static str {
        constructed(slf).keep.name()
    }

    /// Of all that is random.
    #[getter]
    fn seed(slf: &Bound<'_, Self>) -> u64 {
        constructed(slf).seed
    }

    /// Load an RVQ index from a file; see `counterpoint.load`. Another method's file is a FormatError.
    #[staticmethod]
    #[pyo3(signature = (path, *, mmap=false, verify=true))]
    fn load(py: Python<'_>, path: PathBuf, mmap: bool, verify: bool) -> PyResult<Bound<'_, PyAny>> {
        files::open(py, &path, mmap, verify, Some("RVQ"))
    }

    /// Load an RVQ index from the bytes of a file. Another method's are a FormatError.
    #[staticmethod]
    fn from_bytes<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        files::read(py, data, Some("RVQ"))
    }
}

fn constructed(slf: &Bound<'_, Rvq>) -> Parameters {
    match slf.as_super().get().made() {
        Made::Rvq(parameters) => parameters,
        _ => Parameters::default(), // no RVQ object is made so
    }
}
