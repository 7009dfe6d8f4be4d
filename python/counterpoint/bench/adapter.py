"""What a contender is: one library at one build setting, behind one small class."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Metric = Literal["l2", "ip", "cosine"]
Knobs = dict[str, int | float]


class UnsuitedError(Exception):
    """The contender cannot take this data set or metric; the message says why."""


class Adapter(ABC):
    """One library at one build setting, as the bench drives it.

    An adapter lives in a process of its own. Its file imports nothing of its library: the worker
    imports `module` first, and a missing one becomes a row that says so.

    Parameters
    ----------
    metric
        The metric of the data. Under "cosine" an adapter without `native_cosine` is given vectors
        and queries of unit length, where inner product and l2 rank as cosine does.
    dim
        Length of a vector.
    threads
        Threads for the searches.
    build_threads
        Threads for the build.
    **settings
        What shapes the index; the keywords of the contender's spec.
    """

    library: ClassVar[str] = "counterpoint"
    """The distribution whose version is recorded."""
    module: ClassVar[str] = "counterpoint"
    """The module to import before anything is measured."""
    native_cosine: ClassVar[bool] = False

    def __init__(
        self, metric: Metric, dim: int, threads: int, build_threads: int, **settings: Any
    ) -> None:
        self.metric = metric
        self.dim = dim
        self.threads = threads
        self.build_threads = build_threads
        self.settings = settings
        self.index: Any = None
        self.knobs: dict[str, Any] = {}

    @abstractmethod
    def build(self, vectors: Vectors) -> None:
        """Build the index over (n, d) vectors; timed. Raises `UnsuitedError` where it cannot."""

    def add(self, vectors: Vectors) -> None:
        """Add (n, d) vectors to a new, empty, untrained index, and drop it; timed with --add.

        It runs on `threads`. Raises `UnsuitedError` where an index must be trained first, or where
        no throughput is asked for.
        """
        raise UnsuitedError("adds nothing before training")

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write all that a search needs to the file or the folder `path`."""

    @abstractmethod
    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        """Return (nq, ≤ k) row numbers, -1 where there is no result; timed."""

    def sweep(self, n: int, k: int) -> list[Knobs]:
        """Return the knobs to try on n vectors, cheap ones first; one empty dict where none."""
        return [{}]

    def set(self, **knobs: int | float) -> None:
        """Take the knobs for the searches that follow; not timed."""
        self.knobs = knobs


@dataclass(frozen=True)
class Spec:
    """A contender by name.

    Attributes
    ----------
    name
        As given to --methods and --peers.
    family
        Contenders of one family share a line in the plot.
    adapter
        "module:Class" of its adapter.
    settings
        Keywords of the adapter.
    ours
        Whether it is a method of Counterpoint.
    reference
        The peer a method of ours is to be held against: same structure, same bits.
    """

    name: str
    family: str
    adapter: str
    settings: dict[str, Any] = field(default_factory=dict)
    ours: bool = False
    reference: str | None = None


def lists_near_sqrt(n: int, factor: float) -> int:
    """Return a cluster count of factor * √n, between 1 and n / 8."""
    return max(1, min(round(factor * math.sqrt(n)), n // 8))


def doubling(first: int, last: int) -> list[int]:
    """Return first, 2 first, 4 first, … up to last, and last itself."""
    values = []
    while first < last:
        values.append(first)
        first *= 2
    return [*values, last]


def rising(last: int) -> list[int]:
    """Return 1, 2, 3, 4, 6, 8, 12, 16, … up to last, and last itself."""
    powers = [1 << bit for bit in range(last.bit_length())]
    values = {value for power in powers for value in (power, 3 * power // 2)}
    return [*sorted(value for value in values if value < last), last]


def probes_and_candidates(probes: str, lists: int, candidates: str, n: int, k: int) -> list[Knobs]:
    """Return the grid that all who score clusters and re-rank are swept over.

    Up to all of `lists` lists, and 1.5 k to 80 k candidates.
    """
    counts = [round(k * factor) for factor in (1.5, 2, 3, 5, 10, 20, 40, 80)]
    few = [count for count in counts if count <= n]
    return grid((probes, rising(lists)), (candidates, few or [n]))


def grid(outer: tuple[str, Sequence[int]], inner: tuple[str, Sequence[int]]) -> list[Knobs]:
    """Return all pairs of two knobs, ordered by the product of their values: cheap ones first."""
    pairs = [(a, b) for a in outer[1] for b in inner[1]]
    pairs.sort(key=lambda pair: (pair[0] * pair[1], pair[0]))
    return [{outer[0]: a, inner[0]: b} for a, b in pairs]


def beam_widths(k: int) -> list[Knobs]:
    """Return the beam widths every graph is swept over, from k up."""
    few = (10, 12, 16, 20, 24, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128)
    widths = (*few, 160, 192, 224, 256, 320, 384, 512, 768, 1024)
    return [{"ef": ef} for ef in widths if ef >= k] or [{"ef": k}]


def divisor_at_most(dim: int, limit: int) -> int:
    """Return the largest divisor of dim that is at most limit (1 at least)."""
    return next(m for m in range(max(limit, 1), 0, -1) if dim % m == 0)
