"""Faiss (faiss-cpu 1.15) as contenders, each index by its factory string.

Settings follow the Faiss wiki ("Guidelines to choose an index", "Fast accumulation of PQ and AQ
codes", "Indexing 1M vectors") and, for IVF and RaBitQ, the grids RaBitQ-Library publishes for
Faiss (docs/benchmarks/ivf.md). Inner product on unit vectors stands for cosine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from counterpoint.bench.adapter import (
    Adapter,
    Knobs,
    Spec,
    Vectors,
    beam_widths,
    divisor_at_most,
    doubling,
    grid,
    lists_near_sqrt,
)


class Faiss(Adapter):
    """A factory string with {dim}, {half}, {quarter} (sub-quantisers) and {lists} filled in."""

    library, module = "faiss-cpu", "faiss"

    def build(self, vectors: Vectors) -> None:
        """Train and add; `lists` is a multiple of √n."""
        import faiss

        faiss.omp_set_num_threads(self.build_threads)
        kind = faiss.METRIC_L2 if self.metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self.lists = lists_near_sqrt(len(vectors), self.settings.get("lists", 1))
        factory = self.settings["factory"].format(
            dim=self.dim,
            half=divisor_at_most(self.dim, self.dim // 2),
            quarter=divisor_at_most(self.dim, self.dim // 4),
            lists=self.lists,
        )
        self.index = faiss.index_factory(self.dim, factory, kind)
        if "ef_construction" in self.settings:
            self.index.hnsw.efConstruction = self.settings["ef_construction"]
        self.index.train(vectors)
        self.index.add(vectors)
        faiss.omp_set_num_threads(self.threads)
        self.space = faiss.ParameterSpace()

    def save(self, path: Path) -> None:
        """Write one file."""
        import faiss

        faiss.write_index(self.index, str(path))

    def sweep(self, n: int, k: int) -> list[Knobs]:
        """Sweep efSearch, nprobe and k_factor_rf, whichever the index has."""
        if "ef_construction" in self.settings:
            return [{"efSearch": knobs["ef"]} for knobs in beam_widths(k)]
        refined = "RFlat" in self.settings["factory"]
        factors = [factor for factor in (1, 2, 4, 8, 16, 32, 64) if factor * k <= n]
        if "{lists}" in self.settings["factory"]:
            probes = doubling(1, lists_near_sqrt(n, self.settings.get("lists", 1)))
            if refined:
                return grid(("nprobe", probes), ("k_factor_rf", factors))
            return [{"nprobe": probe} for probe in probes]
        return [{"k_factor_rf": factor} for factor in factors] if refined else [{}]

    def set(self, **knobs: int | float) -> None:
        """Set Faiss's own parameter space, which reaches through refine and transforms."""
        for name, value in knobs.items():
            self.space.set_index_parameter(self.index, name, value)

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        """Search; Faiss gives -1 where a probe found too few."""
        ids: npt.NDArray[Any] = self.index.search(queries, k)[1]
        return ids


def _spec(name: str, family: str, factory: str, **settings: Any) -> Spec:
    return Spec(
        f"faiss-{name}", f"faiss {family}", f"{__name__}:Faiss", {"factory": factory, **settings}
    )


PEERS: tuple[Spec, ...] = (
    _spec("flat", "Flat", "Flat"),
    _spec("sq8", "SQ8", "SQ8"),
    _spec("sq4", "SQ4", "SQ4"),
    _spec("sq8-refine", "SQ8", "SQ8,RFlat"),
    _spec("sq4-refine", "SQ4", "SQ4,RFlat"),
    # efConstruction 200 with M 16 and 32: hnswlib's ALGO_PARAMS and RaBitQ-Library's graphs.md.
    _spec("hnsw16", "HNSW", "HNSW16", ef_construction=200),
    _spec("hnsw32", "HNSW", "HNSW32", ef_construction=200),
    _spec("hnsw32-sq8", "HNSW SQ8", "HNSW32_SQ8", ef_construction=200),
    # Two dimensions per 4-bit code and a flat refine: wiki, "Fast accumulation of PQ and AQ codes";
    # fsr encodes residuals. 1-4 √n lists: wiki, "Guidelines" (below 1M vectors).
    _spec("ivfpqfs-1x", "IVF-PQfs", "IVF{lists},PQ{half}x4fs,RFlat", lists=1),
    _spec("ivfpqfs-4x", "IVF-PQfs", "IVF{lists},PQ{half}x4fs,RFlat", lists=4),
    _spec("ivfpqfsr-1x", "IVF-PQfs", "IVF{lists},PQ{half}x4fsr,RFlat", lists=1),
    _spec("ivfpqfsr-4x", "IVF-PQfs", "IVF{lists},PQ{half}x4fsr,RFlat", lists=4),
    # Two bits a dimension either way: 8 bits for 4 dimensions, 4 bits for 2. np: no polysemous
    # training, which only its own Hamming filter uses.
    _spec("pq", "PQ", "PQ{quarter}np"),
    # 8 and 16 bytes a vector, whatever its dimension.
    _spec("pq8", "PQ", "PQ8np"),
    _spec("pq16", "PQ", "PQ16np"),
    _spec("pq16x4fs", "PQfs", "PQ16x4fs"),
    _spec("pq32x4fs", "PQfs", "PQ32x4fs"),
    # 9, 17 and 33 bytes with the norm's. Their training takes minutes.
    _spec("rq8", "RQ", "RQ8x8_Nqint8"),
    _spec("rq16", "RQ", "RQ16x8_Nqint8"),
    _spec("rq32", "RQ", "RQ32x8_Nqint8"),
    _spec("lsq8", "LSQ", "LSQ8x8_Nqint8"),
    _spec("lsq16", "LSQ", "LSQ16x8_Nqint8"),
    _spec("prq16", "PRQ", "PRQ2x8x8_Nqint8"),
    _spec("opq8", "OPQ", "OPQ8,PQ8np"),
    _spec("opq16", "OPQ", "OPQ16,PQ16np"),
    _spec("ivfrq-refine", "IVF-RQ", "IVF{lists},RQ8x8_Nqint8,RFlat", lists=1),
    _spec("pqfs", "PQfs", "PQ{half}x4fs"),
    # One and four bits a dimension: 4 bits for 4 dimensions, 4 bits for each.
    _spec("pqfs1", "PQfs", "PQ{quarter}x4fs"),
    _spec("pqfs4", "PQfs", "PQ{dim}x4fs"),
    _spec("pqfs-refine", "PQfs", "PQ{half}x4fs,RFlat"),
    # A Hadamard rotation first: the estimator assumes one (RaBitQ-Library, ivf.md: HRd,…).
    _spec("rabitqfs-refine", "RaBitQfs", "HR{dim},RaBitQfs,RFlat"),
    _spec("rabitqfs5", "RaBitQfs", "HR{dim},RaBitQfs5"),
    _spec("rabitqfs9", "RaBitQfs", "HR{dim},RaBitQfs9"),
    _spec("ivfrabitqfs-refine", "IVF-RaBitQfs", "HR{dim},IVF{lists},RaBitQfs,RFlat", lists=4),
    _spec("ivfrabitqfs5", "IVF-RaBitQfs", "HR{dim},IVF{lists},RaBitQfs5", lists=4),
)
