"""What a run is measured on: a named set, a synthetic one, or a file of vectors.

`synthetic-dD` stands in for embeddings of D dimensions that are not at hand. A row is the centre of
one of 1,000 clusters plus as much noise again, both normal with variance j^-0.7 on the j-th of D
random axes, plus a mean of a quarter of their length, scaled to unit length. The numbers follow
wordnet-minilm, where the variances along principal axes fall as j^-0.86 and the mean is 0.26; at
D = 384 codes of 4 and 2 bits find about as many neighbours as there. Queries are drawn after the
rows, from the same clusters.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from counterpoint import datasets, readers
from counterpoint._recall import Vectors
from counterpoint.datasets import Dataset

METRICS = ("l2", "ip", "cosine")
SYNTHETIC_ROWS = 50_000
SYNTHETIC_DIM = 1 << 14
CLUSTERS = 1_000
DECAY = 0.7
MEAN = 0.25
SEED = 1


def names() -> tuple[str, ...]:
    """Return the names `load` knows, that of the synthetic sets as a pattern."""
    return (*datasets.names(), "synthetic-dD")


def load(name: str, queries: int, metric: str | None = None, rows: int | None = None) -> Dataset:
    """Load a set by name or a file.

    Parameters
    ----------
    name
        One of `names`, with a number for D, or a file that `readers` reads.
    queries
        The first so many are taken; a file without any has as many of its rows held out.
    metric
        Instead of the set's own.
    rows
        The first so many are taken; a synthetic set draws so many.

    Raises
    ------
    ValueError
        The name is unknown, the file says no metric, or there are fewer rows than asked for.
    """
    if metric is not None and metric not in METRICS:
        raise ValueError(f"metric is {metric!r}: expected l2, ip or cosine")
    drawn = re.fullmatch(r"synthetic-d([1-9]\d{0,4})", name)
    if drawn and int(drawn[1]) <= SYNTHETIC_DIM:
        vectors, asked = synthetic(rows or SYNTHETIC_ROWS, queries, int(drawn[1]))
        found = Dataset(name, "cosine", vectors, asked)
    elif name in datasets.names():
        found = datasets.load(name)
    elif Path(name).suffix:
        found = _file(name, queries, metric)
    else:
        known = ", ".join(names())
        raise ValueError(f"unknown data set {name!r}: expected {known}, or a file of vectors")
    if rows is not None and rows > len(found.vectors):
        raise ValueError(f"rows is {rows}: expected at most the {len(found.vectors)} of {name}")
    return Dataset(
        found.name,
        metric or found.metric,  # type: ignore[arg-type]
        np.ascontiguousarray(found.vectors[:rows]),
        np.ascontiguousarray(found.queries[:queries]),
    )


def synthetic(n: int, queries: int, dim: int) -> tuple[Vectors, Vectors]:
    """Draw n rows and the queries of "synthetic-dD"; more of either begin with the same."""
    random = np.random.default_rng(SEED)
    spread = np.arange(1, dim + 1, dtype=np.float32) ** np.float32(-DECAY / 2)
    spread /= np.linalg.norm(spread)
    axes = np.linalg.qr(random.standard_normal((dim, dim), dtype=np.float32))[0]
    mean = random.standard_normal(dim, dtype=np.float32)
    mean *= MEAN / np.linalg.norm(mean)
    centres = random.standard_normal((CLUSTERS, dim), dtype=np.float32)

    def draw(count: int, part: int) -> Vectors:
        clusters = np.random.default_rng((SEED, part, 0)).integers(0, CLUSTERS, count)
        noise = np.random.default_rng((SEED, part, 1))
        drawn = noise.standard_normal((count, dim), dtype=np.float32)
        drawn += centres[clusters]
        # A row's variance, half its centre's and half noise, is 1 in all.
        drawn *= spread * np.float32(np.sqrt(0.5))
        turned: Vectors = drawn @ axes
        turned += mean
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        return turned

    return draw(n, 1), draw(queries, 2)


def _file(name: str, queries: int, metric: str | None) -> Dataset:
    table = readers.read(name)
    chosen = metric or table.metric
    if chosen is None:
        raise ValueError(f"{name} does not say its metric: give --metric l2, ip or cosine")
    if chosen not in METRICS:
        raise ValueError(f"metric is {chosen!r}: expected l2, ip or cosine")
    vectors = np.ascontiguousarray(table.vectors, np.float32)
    if table.queries is not None:
        asked = np.ascontiguousarray(table.queries, np.float32)
    else:
        # No queries in the file: hold rows out, the same ones every time.
        if len(vectors) <= queries:
            raise ValueError(f"{name}: no queries, and too few rows to hold {queries} out")
        held = np.random.default_rng(0).permutation(len(vectors))[:queries]
        asked = vectors[held]
        vectors = np.delete(vectors, held, axis=0)
    return Dataset(Path(name).name, chosen, vectors, asked)  # type: ignore[arg-type]
