"""Graph libraries as contenders: hnswlib, usearch, SymphonyQG (rabitqlib) and Vamana (svs)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from counterpoint.bench.adapter import (
    Adapter,
    Knobs,
    Spec,
    UnsuitedError,
    Vectors,
    beam_widths,
)


class Graph(Adapter):
    """A graph whose one knob is the beam width."""

    def sweep(self, n: int, k: int) -> list[Knobs]:
        """Sweep the beam width from k to 1,024."""
        return [knobs for knobs in beam_widths(k) if knobs["ef"] <= n] or [{"ef": n}]


class Hnswlib(Graph):
    """Hnswlib 0.8: M and ef_construction as in its ALGO_PARAMS.md."""

    library, module = "hnswlib", "hnswlib"

    def build(self, vectors: Vectors) -> None:
        """Add all vectors at once."""
        import hnswlib

        self.index = hnswlib.Index("l2" if self.metric == "l2" else "ip", self.dim)
        self.index.init_index(len(vectors), M=self.settings["m"], ef_construction=200)
        self.index.add_items(vectors, num_threads=self.build_threads)
        self.index.set_num_threads(self.threads)

    def save(self, path: Path) -> None:
        """Write one file."""
        self.index.save_index(str(path))

    def set(self, **knobs: int | float) -> None:
        """Set ef."""
        self.index.set_ef(knobs["ef"])

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        """Search a batch."""
        ids: npt.NDArray[Any] = self.index.knn_query(queries, k, num_threads=self.threads)[0]
        return ids.astype(np.int64)


class Usearch(Graph):
    """Usearch 2.26: connectivity 16 is its default; expansion_add raised to the others' 200."""

    library, module = "usearch", "usearch.index"

    def build(self, vectors: Vectors) -> None:
        """Add all vectors at once, stored as `dtype`."""
        from usearch.index import Index

        narrow = self.settings["dtype"] == "i8"
        if narrow and self.metric != "cosine":
            raise UnsuitedError("usearch's i8 scales vectors into the unit ball: cosine only")
        metrics = {"l2": "l2sq", "ip": "ip", "cosine": "cos" if narrow else "ip"}
        self.index = Index(
            ndim=self.dim,
            metric=metrics[self.metric],
            dtype=self.settings["dtype"],
            connectivity=self.settings["m"],
            expansion_add=200,
        )
        self.index.add(np.arange(len(vectors)), vectors, threads=self.build_threads)

    def save(self, path: Path) -> None:
        """Write one file."""
        self.index.save(str(path))

    def set(self, **knobs: int | float) -> None:
        """Set expansion_search."""
        self.index.expansion_search = knobs["ef"]

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        """Search a batch."""
        keys = self.index.search(queries, k, threads=self.threads).keys
        return np.atleast_2d(keys).astype(np.int64)


class SymphonyQG(Graph):
    """rabitqlib 0.7.1's SymqgIndex as in its docs/benchmarks/graphs.md: ef_construction 200, pipnn.

    `bits` 0 keeps raw vectors in the graph, 4 and 8 their codes.
    """

    library, module = "rabitqlib", "rabitqlib"

    def build(self, vectors: Vectors) -> None:
        """Build in one call."""
        import rabitqlib

        degree = self.settings["degree"]
        if self.dim < 64 or len(vectors) <= degree:
            raise UnsuitedError(f"rabitqlib needs dim >= 64 and more than {degree} vectors")
        metric = "l2" if self.metric == "l2" else "ip"
        self.index = rabitqlib.SymqgIndex(
            self.dim, degree, metric=metric, quantization_bits=self.settings["bits"]
        )
        self.index.build(vectors, 200, num_threads=self.build_threads, init="pipnn")

    def save(self, path: Path) -> None:
        """Write one file."""
        self.index.save(str(path))

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        """Search a batch."""
        ids = self.index.search_batch(queries, k, num_threads=self.threads, **self.knobs)[0]
        return np.where(ids == np.iinfo(np.uint32).max, -1, ids.astype(np.int64))


class Vamana(Graph):
    """scalable-vs 0.5: window 200 and alpha 1.2 (l2) or 0.95 (ip) are its own defaults.

    On a processor that is not Intel's, LVQ ends the process: that contender is a row with the
    reason.
    """

    library, module = "scalable-vs", "svs"

    def build(self, vectors: Vectors) -> None:
        """Build from memory; LVQ from a file, which is how svs takes it."""
        import svs

        distance = svs.DistanceType.L2 if self.metric == "l2" else svs.DistanceType.MIP
        parameters = svs.VamanaBuildParameters(
            graph_max_degree=self.settings["degree"],
            window_size=200,
            alpha=1.2 if self.metric == "l2" else 0.95,
        )
        if "lvq" in self.settings:
            with tempfile.TemporaryDirectory() as folder:
                file = f"{folder}/data.fvecs"
                svs.write_vecs(vectors, file)
                plain = svs.VectorDataLoader(file, svs.DataType.float32, self.dim)
                data = svs.LVQLoader(plain, primary=self.settings["lvq"])
                build = svs.Vamana.build(parameters, data, distance, self.build_threads)
        else:
            build = svs.Vamana.build(parameters, vectors, distance, self.build_threads)
        self.index = build
        self.index.num_threads = self.threads

    def save(self, path: Path) -> None:
        """Write the three folders of svs under one."""
        path.mkdir()
        self.index.save(*(str(path / part) for part in ("config", "graph", "data")))

    def set(self, **knobs: int | float) -> None:
        """Set the search window."""
        self.index.search_window_size = int(knobs["ef"])

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        """Search a batch."""
        ids: npt.NDArray[Any] = self.index.search(queries, k)[0]
        return ids.astype(np.int64)


def _spec(name: str, family: str, adapter: type[Adapter], **settings: Any) -> Spec:
    return Spec(name, family, f"{__name__}:{adapter.__name__}", settings)


PEERS: tuple[Spec, ...] = (
    _spec("hnswlib-m16", "hnswlib", Hnswlib, m=16),
    _spec("hnswlib-m32", "hnswlib", Hnswlib, m=32),
    _spec("usearch-f32", "usearch", Usearch, m=16, dtype="f32"),
    _spec("usearch-bf16", "usearch", Usearch, m=16, dtype="bf16"),
    _spec("usearch-bf16-m32", "usearch", Usearch, m=32, dtype="bf16"),
    _spec("usearch-i8", "usearch", Usearch, m=16, dtype="i8"),
    _spec("rabitqlib-qg32", "rabitqlib SymQG", SymphonyQG, degree=32, bits=0),
    _spec("rabitqlib-qg64", "rabitqlib SymQG", SymphonyQG, degree=64, bits=0),
    _spec("rabitqlib-qg32-8bit", "rabitqlib SymQG", SymphonyQG, degree=32, bits=8),
    _spec("rabitqlib-qg64-8bit", "rabitqlib SymQG", SymphonyQG, degree=64, bits=8),
    _spec("svs-vamana32", "svs Vamana", Vamana, degree=32),
    _spec("svs-vamana64", "svs Vamana", Vamana, degree=64),
    _spec("svs-vamana32-lvq8", "svs Vamana LVQ", Vamana, degree=32, lvq=8),
)
