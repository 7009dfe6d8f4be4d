"""What a search and a tuning return."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Result(NamedTuple):
    """Neighbours of one query or several, nearest first.

    Attributes
    ----------
    ids
        int64 of shape (nq, width), or (width,) for a single query.
    distances
        float32 of the same shape; smaller is nearer.
    """

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]


class OperatingPoint(NamedTuple):
    """Knobs of a search, and what `Index.tune` measured with them.

    Attributes
    ----------
    recall
        Share of the k true neighbours that are found, ties counted; between 0 and 1.
    queries_per_second
        For all queries in one batch, on one thread.
    knobs
        Arguments of `search`; empty where the index has no choice.
    """

    recall: float
    queries_per_second: float
    knobs: dict[str, int]


Result.__module__ = "counterpoint"
OperatingPoint.__module__ = "counterpoint"
