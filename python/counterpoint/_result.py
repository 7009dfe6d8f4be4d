"""What a search returns."""

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


Result.__module__ = "counterpoint"
