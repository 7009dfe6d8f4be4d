//! The class `LoRANN`.
#![allow(non_snake_case, reason = "Q is the name of the argument in Python")]

use std::path::PathBuf;

use counterpoint_core::vectors::MAX_DIM;
use counterpoint_lorann::Parameters;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::files;
use crate::index::Index;
use crate::made::Made;
use crate::scalars::{self, Given, at_least};
use crate::search::Steering;

/// LoRANN: clusters whose points are scored by reduced-rank regression, then exactly on the vectors kept.
///
/// Vectors are projected onto their leading axes and clustered by k-means. In each cluster a vector is stored as `rank`
/// coefficients of `bits` bits, and a small matrix turns a query into weights of which these give the inner products.
/// A search estimates the products with the points of the `n_probe` clusters nearest to the query, and scores the
/// best `rerank` of them on the vectors themselves. The same vectors and seed give the same index for any number of
/// threads.
///
/// A vector takes `rank` · `bits` / 8 bytes and 10 more, beside what `keep` keeps; groups of 64 are of one cluster, so
/// that small clusters take more.
///
/// `add` puts vectors into the clusters there are. Once it has brought half as many as were fitted, `stats` says
/// "refit": clusters learned anew would fit the data better.
///
/// Parameters
/// ----------
/// metric : {"l2", "ip", "cosine"}
///     What a distance is; see `Index`.
/// n_clusters : int, optional
///     How many clusters, at least 1; as many as vectors if there are fewer, which `stats` says. By default the square root
///     of the number of vectors.
/// rank : int, default 64
///     Coefficients of a vector, a positive multiple of 4; no more than `global_dim`.
/// global_dim : int, optional
///     Leading axes that vectors are projected onto, at least 1; no more than dimensions. By default all of up to 200
///     dimensions, 128 of up to 1,000, and 256 of more.
/// bits : {4, 8}, default 4
///     Bits of a coefficient.
/// balanced : bool, default False
///     Whether clusters are to be of like size.
/// keep : {"none", "int8", "f16", "f32"}, default "f32"
///     Whether the vectors themselves are kept, and how precisely. If they are, the best candidates of a search
///     are scored again on them, distances are then exact (for the vectors as kept), and `reconstruct`
///     gives them back.
/// seed : int, default 0
///     Of all that is random; 0 to 2**64 - 1.
///
/// Notes
/// -----
/// The method is that of E. Jääsaari, V. Hyvönen, T. Roos: "LoRANN: low-rank matrix factorization for approximate nearest
/// neighbor search", NeurIPS 2024.
///
/// Examples
/// --------
/// >>> import counterpoint as cp
/// >>> index = cp.LoRANN("l2", n_clusters=2).fit([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
/// >>> ids, distances = index.search([0.9, 0.0], k=2, n_probe=2, rerank=3)
/// >>> ids.tolist()
/// [2, 0]
#[pyclass(frozen, extends = Index, name = "LoRANN", module = "counterpoint")]
pub(crate) struct Lorann;

#[pymethods]
impl Lorann {
    #[new]
    #[pyo3(
        signature = (
            metric, n_clusters=None, rank=Given(None), global_dim=None, bits=Given(None), balanced=Given(None),
            keep=Given(None), seed=Given(None)
        ),
        text_signature = "(metric, n_clusters=None, rank=64, global_dim=None, bits=4, balanced=False, keep=\"f32\", seed=0)"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        metric: &Bound<'_, PyAny>,
        n_clusters: Option<&Bound<'_, PyAny>>,
        rank: Given<'_>,
        global_dim: Option<&Bound<'_, PyAny>>,
        bits: Given<'_>,
        balanced: Given<'_>,
        keep: Given<'_>,
        seed: Given<'_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let metric = scalars::named("metric", metric)?;
        let clusters = n_clusters.map(|count| at_least("n_clusters", 1, count)).transpose()?;
        let global_dim = global_dim.map(|dim| at_least("global_dim", 1, dim)).transpose()?;
        let mut parameters = Parameters { clusters, global_dim, ..Parameters::default() };
        if let Some(rank) = rank.0 {
            parameters.rank = scalars::multiple("rank", 4, MAX_DIM, &rank)?;
        }
        if let Some(bits) = bits.0 {
            parameters.bits = scalars::code_bits("bits", &bits)?;
        }
        if let Some(balanced) = balanced.0 {
            parameters.balanced = scalars::flag("balanced", &balanced)?;
        }
        if let Some(keep) = keep.0 {
            parameters.keep = scalars::named("keep", &keep)?;
        }
        if let Some(seed) = seed.0 {
            parameters.seed = scalars::within("seed", 0..=u64::MAX, &seed)?;
        }
        let index = counterpoint_lorann::new(metric, parameters).ok_or_else(|| {
            PyValueError::new_err(format!("rank: expected a positive multiple of 4, got {}", parameters.rank))
        })?;
        let index = Index::new(Box::new(index), Made::Lorann(parameters), None);
        Ok(PyClassInitializer::from(index).add_subclass(Self))
    }

    /// Find the nearest neighbours of each query.
    ///
    /// Parameters
    /// ----------
    /// Q, k, filter, threads, recall
    ///     As for `Index.search`.
    /// n_probe : int, optional
    ///     How many clusters are searched, at least 1: those nearest to the query; more than there are is all. More are
    ///     searched where these hold fewer than k vectors (under a filter, fewer than the candidates and than the vectors
    ///     allowed). By default a fifth of all.
    /// rerank : int, optional
    ///     How many candidates are scored exactly on the kept vectors; at least k are, 0 is for none. By default, where
    ///     vectors are kept, 8 k + 20, else none.
    ///
    /// Returns
    /// -------
    /// Result
    ///     As for `Index.search`. Distances are estimates, or exact where re-ranked.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError
    ///     As for `Index.search`; also n_probe < 1, and rerank > 0 where no vectors are kept.
    #[pyo3(
        signature = (Q, k=Given(None), *, filter=None, threads=None, recall=None, n_probe=None, rerank=None),
        text_signature = "($self, Q, k=10, *, filter=None, threads=None, recall=None, n_probe=None, rerank=None)"
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
        rerank: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let steering = Steering { filter, threads, recall, n_probe, rerank, ..Steering::default() };
        slf.as_super().get().find(slf.py(), Q, &k, steering)
    }

    /// How many clusters were asked for; None if that was left to the index. `stats` says how many there are.
    #[getter]
    fn n_clusters(slf: &Bound<'_, Self>) -> Option<usize> {
        constructed(slf).clusters
    }

    /// Coefficients of a vector, as asked for.
    #[getter]
    fn rank(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).rank
    }

    /// How many leading axes were asked for; None if that was left to the index. `stats` says how many there are.
    #[getter]
    fn global_dim(slf: &Bound<'_, Self>) -> Option<usize> {
        constructed(slf).global_dim
    }

    /// Bits of a coefficient: 4 or 8.
    #[getter]
    fn bits(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).bits.width()
    }

    /// Whether clusters are to be of like size.
    #[getter]
    fn balanced(slf: &Bound<'_, Self>) -> bool {
        constructed(slf).balanced
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

    /// Load a LoRANN index from a file; see `counterpoint.load`. Another method's file is a FormatError.
    #[staticmethod]
    #[pyo3(signature = (path, *, mmap=false, verify=true))]
    fn load(py: Python<'_>, path: PathBuf, mmap: bool, verify: bool) -> PyResult<Bound<'_, PyAny>> {
        files::open(py, &path, mmap, verify, Some("LoRANN"))
    }

    /// Load a LoRANN index from the bytes of a file. Another method's are a FormatError.
    #[staticmethod]
    fn from_bytes<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        files::read(py, data, Some("LoRANN"))
    }
}

fn constructed(slf: &Bound<'_, Lorann>) -> Parameters {
    match slf.as_super().get().made() {
        Made::Lorann(parameters) => parameters,
        _ => Parameters::default(), // no LoRANN object is made so
    }
}
