"""Recall against exact truth, in NumPy, for the demo and the benchmarks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

TOLERANCE = 1e-6


def exact_distances(
    vectors: Vectors, queries: Vectors, ids: Ids, metric: str
) -> npt.NDArray[np.float64]:
    """Return the exact distance of each query to each of its results, in float64.

    Parameters
    ----------
    vectors
        (n, d), row i having the id i.
    queries
        (nq, d).
    ids
        (nq, k), every id in 0..n.
    metric
        "l2" (squared Euclidean), "ip" (-<q, x>) or "cosine" (1 - cos).

    Returns
    -------
    (nq, k) distances, smaller is nearer.
    """
    out = np.empty(ids.shape)
    for row, (query, found) in enumerate(zip(queries.astype(np.float64), ids, strict=True)):
        candidates = vectors[found].astype(np.float64)
        if metric == "l2":
            out[row] = ((candidates - query) ** 2).sum(axis=1)
        elif metric == "ip":
            out[row] = -(candidates @ query)
        elif metric == "cosine":
            lengths = np.linalg.norm(candidates, axis=1) * np.linalg.norm(query)
            out[row] = 1.0 - candidates @ query / lengths
        else:
            raise ValueError(f"metric is {metric!r}: expected l2, ip or cosine")
    return out


def recall_at_k(vectors: Vectors, queries: Vectors, truth: Ids, found: Ids, metric: str) -> float:
    """Return the share of the k true neighbours that were found, ties counted.

    A result counts if its exact distance is at most that of the k-th true neighbour, within
    `TOLERANCE` (of that distance; absolute under cosine). A repeated id counts once.

    Parameters
    ----------
    vectors, queries, metric
        As for `exact_distances`.
    truth
        (nq, k) ids of the true neighbours, nearest first.
    found
        (nq, ≤ k) ids to judge.
    """
    kth = exact_distances(vectors, queries, truth[:, -1:], metric)
    slack = TOLERANCE * (1.0 if metric == "cosine" else np.abs(kth))
    hits: npt.NDArray[Any] = exact_distances(vectors, queries, found, metric) <= kth + slack
    distinct = sum(len(np.unique(ids[hit])) for ids, hit in zip(found, hits, strict=True))
    return distinct / truth.size
