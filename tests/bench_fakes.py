"""Contenders that need no library: their workers find this module as the tests do."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from counterpoint.bench.adapter import Adapter, Knobs, UnsuitedError, Vectors
from counterpoint.bench.process import FORCED


class Slow(Adapter):
    """Exact search over the first `share` per cent of the rows, and a nap for each call."""

    library, module = "numpy", "numpy"

    def build(self, vectors: Vectors) -> None:
        self.vectors = vectors
        self.share = 100

    def save(self, path: Path) -> None:
        path.mkdir()
        np.save(path / "vectors.npy", self.vectors)

    def sweep(self, n: int, k: int) -> list[Knobs]:
        return [{"share": 25}, {"share": 50}, {"share": 100}]

    def set(self, **knobs: int | float) -> None:
        self.share = int(knobs["share"])

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        time.sleep(0.01 * self.share / 100)
        rows = self.vectors[: len(self.vectors) * self.share // 100]
        if self.metric == "l2":
            scores = (rows**2).sum(axis=1) - 2 * queries @ rows.T
        else:
            scores = -queries @ rows.T
        return np.argsort(scores, axis=1)[:, :k]


class Holes(Slow):
    """Finds only the nearest: the rest is -1."""

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        found = super().search(queries, k)
        found[:, 1:] = -1
        return found


class Absent(Slow):
    module = "no_such_library"


class Unsuited(Slow):
    def build(self, vectors: Vectors) -> None:
        raise UnsuitedError("only for other data")


class Failing(Slow):
    def build(self, vectors: Vectors) -> None:
        raise RuntimeError("no luck")


class Exiting(Slow):
    def build(self, vectors: Vectors) -> None:
        os.write(2, b"this library ends its process\n")
        os._exit(3)


class Killed(Slow):
    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().search(queries, k)


class Sleeping(Slow):
    def build(self, vectors: Vectors) -> None:
        time.sleep(60)


class Lying(Slow):
    """Fails in the sweep: answers with rows that are not there."""

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        return super().search(queries, k) + len(self.vectors)


class Adding(Slow):
    """Adds to an empty index."""

    def add(self, vectors: Vectors) -> None:
        vectors.copy()


class AddingBadly(Slow):
    def add(self, vectors: Vectors) -> None:
        raise RuntimeError("no room")


class Forced(Slow):
    """Says as a knob how many of the variables of --simd avx2 it was given."""

    def sweep(self, n: int, k: int) -> list[Knobs]:
        given = [os.environ.get(name) == value for name, value in FORCED["avx2"].items()]
        return [{"share": 100, "given": sum(given)}]


class Printing(Slow):
    """Prints, as some libraries do."""

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        os.write(1, b"searching\n")
        return super().search(queries, k)
