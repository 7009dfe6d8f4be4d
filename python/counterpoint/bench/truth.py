"""The exact neighbours every recall is judged by, kept on disk.

They are computed in NumPy, apart from every contender: float32 products pick candidates, float64
distances rank them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from counterpoint._recall import Ids, Vectors, exact_distances, recall_at_k

BLOCK = 100
# Candidates beyond k, so that rounding in float32 cannot lose a true neighbour.
SPARE = 64


def digest(*arrays: Vectors) -> str:
    """Return a digest of shapes and values."""
    made = hashlib.blake2b(digest_size=16)
    for array in arrays:
        made.update(repr(array.shape).encode())
        made.update(np.ascontiguousarray(array).data)
    return made.hexdigest()


def nearest(vectors: Vectors, queries: Vectors, k: int, metric: str) -> Ids:
    """Return the (nq, k) ids of the exact neighbours, nearest first.

    Parameters
    ----------
    vectors, queries, metric
        As for `counterpoint._recall.exact_distances`.
    k
        At most the number of vectors.
    """
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    wanted = min(k + SPARE, len(vectors))
    found = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        scores = block @ vectors.T
        if metric == "l2":
            scores -= (squares / 2).astype(np.float32)
        elif metric == "cosine":
            scores /= np.sqrt(squares).astype(np.float32)
        candidates = np.argpartition(scores, -wanted, axis=1)[:, -wanted:]
        candidates.sort(axis=1)
        distances = exact_distances(vectors, block, candidates, metric)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        found[start : start + BLOCK] = np.take_along_axis(candidates, order, axis=1)
    return found


def cached(vectors: Vectors, queries: Vectors, k: int, metric: str) -> Ids:
    """Return `nearest`, from the user's cache folder if it is there."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "counterpoint" / "truth"
    path = folder / f"{digest(vectors, queries)}-{metric}-{k}.npy"
    try:
        found: Ids = np.load(path)
    except (OSError, ValueError):
        found = nearest(vectors, queries, k, metric)
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".npy")
        with os.fdopen(handle, "wb") as file:
            np.save(file, found)
        os.replace(temporary, path)
    return found


def recall(vectors: Vectors, queries: Vectors, truth: Ids, found: Ids, metric: str) -> float:
    """Return recall@k, ties counted; -1 among the found counts as nothing.

    Raises
    ------
    ValueError
        What was found are not rows of `vectors`, or not one line per query.
    """
    if found.ndim != 2 or len(found) != len(queries):
        raise ValueError(f"answered with shape {found.shape}, expected {len(queries)} rows")
    if found.size and (found.min() < -1 or found.max() >= len(vectors)):
        raise ValueError(f"answered with ids {found.min()}..{found.max()} of {len(vectors)} rows")
    found = found[:, : truth.shape[1]]
    some = (found >= 0).any(axis=1)
    if not some.any():
        return 0.0
    # A repeated id counts once: holes become copies of a result of the same row.
    filled = np.where(found < 0, found.max(axis=1, keepdims=True), found)
    share = recall_at_k(vectors, queries[some], truth[some], filled[some], metric)
    return share * float(some.mean())
