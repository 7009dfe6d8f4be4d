"""Counterpoint's own methods as contenders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from counterpoint.bench.adapter import (
    Adapter,
    Knobs,
    Spec,
    UnsuitedError,
    Vectors,
    beam_widths,
    lists_near_sqrt,
    probes_and_candidates,
)


class Counterpoint(Adapter):
    """A class of the package with its constructor's keywords; its knobs are search arguments."""

    native_cosine = True

    def build(self, vectors: Vectors) -> None:
        """Build with `fit`."""
        self.index = self._empty()
        self.index.fit(vectors, threads=self.build_threads)

    def add(self, vectors: Vectors) -> None:
        """Add without `fit`."""
        import counterpoint as cp

        try:
            self._empty().add(vectors, threads=self.threads)
        except cp.UnsupportedError as error:
            raise UnsuitedError(str(error)) from None

    def _empty(self) -> Any:
        import counterpoint as cp

        settings = dict(self.settings)
        return getattr(cp, settings.pop("method"))(self.metric, **settings)

    def save(self, path: Path) -> None:
        """Write one Counterpoint file."""
        self.index.save(path)

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        """Search with the knobs set."""
        ids: npt.NDArray[Any] = self.index.search(queries, k, threads=self.threads, **self.knobs)[0]
        return ids


class Reranked(Counterpoint):
    """A method that keeps the vectors: `rerank` is swept."""

    def sweep(self, n: int, k: int) -> list[Knobs]:
        """Return candidate counts from k to 20 k."""
        counts = [round(k * factor) for factor in (1, 1.5, 2, 3, 5, 7.5, 10, 20)]
        return [{"rerank": count} for count in counts if count <= n] or [{"rerank": n}]


class Lorann(Counterpoint):
    """LoRANN: `n_probe` and `rerank` are swept; `clusters`, if given, is a multiple of √n."""

    def build(self, vectors: Vectors) -> None:
        """Build with `fit`."""
        if "clusters" in self.settings:
            factor = self.settings.pop("clusters")
            self.settings["n_clusters"] = lists_near_sqrt(len(vectors), factor)
        super().build(vectors)

    def add(self, vectors: Vectors) -> None:
        """Raise: it trains first."""
        Adapter.add(self, vectors)

    def sweep(self, n: int, k: int) -> list[Knobs]:
        """Return the grid that lorann, too, is swept over."""
        clusters: int = self.index.stats()["n_clusters"]
        return probes_and_candidates("n_probe", clusters, "rerank", n, k)


class Inverted(Counterpoint):
    """Lists: `n_probe` and `rerank` are swept."""

    def sweep(self, n: int, k: int) -> list[Knobs]:
        """Return the grid that other inverted files, too, are swept over."""
        lists: int = self.index.stats()["n_lists"]
        return probes_and_candidates("n_probe", lists, "rerank", n, k)


class Graph(Counterpoint):
    """A graph: `ef` is swept."""

    def sweep(self, n: int, k: int) -> list[Knobs]:
        """Return the beam widths that the other graphs, too, are swept over."""
        return [knobs for knobs in beam_widths(k) if knobs["ef"] <= n] or [{"ef": n}]


_PLAIN = f"{__name__}:Counterpoint"
_RERANKED = f"{__name__}:Reranked"


def _lvq(name: str, primary: int, keep: str, reference: str, residual: int = 0) -> Spec:
    settings = {"method": "LVQ", "primary": primary, "residual": residual, "keep": keep}
    adapter = _PLAIN if keep == "none" and residual == 0 else _RERANKED
    return Spec(name, name, adapter, settings, ours=True, reference=reference)


def _lvq_graph(name: str, reference: str, primary: int, residual: int, **settings: Any) -> Spec:
    settings = {"method": "LVQ", "primary": primary, "residual": residual} | settings
    settings["structure"] = "graph"
    return Spec(name, name, f"{__name__}:Graph", settings, ours=True, reference=reference)


def _turboquant(
    name: str, bits: int, reference: str, keep: str = "none", allocation: str = "even"
) -> Spec:
    settings = {"method": "TurboQuant", "bits": bits, "keep": keep, "allocation": allocation}
    adapter = _PLAIN if keep == "none" else _RERANKED
    return Spec(name, name, adapter, settings, ours=True, reference=reference)


def _pq(name: str, reference: str, **settings: Any) -> Spec:
    adapter = _RERANKED if "keep" in settings else _PLAIN
    return Spec(name, "PQ", adapter, {"method": "PQ", **settings}, ours=True, reference=reference)


def _rvq(name: str, reference: str, **settings: Any) -> Spec:
    adapter = _RERANKED if "keep" in settings else _PLAIN
    if "structure" in settings:
        adapter = f"{__name__}:Inverted"
    return Spec(name, "RVQ", adapter, {"method": "RVQ", **settings}, ours=True, reference=reference)


def _lorann(name: str, reference: str, **settings: Any) -> Spec:
    return Spec(
        *(name, "LoRANN", f"{__name__}:Lorann", {"method": "LoRANN", **settings}),
        ours=True,
        reference=reference,
    )


def _symphony_qg(name: str, reference: str, **settings: Any) -> Spec:
    return Spec(
        *(name, "SymphonyQG", f"{__name__}:Graph", {"method": "SymphonyQG", **settings}),
        ours=True,
        reference=reference,
    )


METHODS: tuple[Spec, ...] = (
    Spec("flat", "flat", _PLAIN, {"method": "Flat"}, ours=True, reference="faiss-flat"),
    _lvq("lvq8", 8, "none", "faiss-sq8"),
    _lvq("lvq4", 4, "none", "faiss-sq4"),
    _lvq("lvq4x4", 4, "none", "faiss-sq8", residual=4),
    _lvq("lvq4x8", 4, "none", "faiss-sq8", residual=8),
    _lvq("lvq8x8", 8, "none", "faiss-sq8", residual=8),
    _lvq_graph("lvq4x8-graph", "svs-vamana64", 4, 8),
    _lvq_graph("lvq8-graph", "svs-vamana64", 8, 0),
    _lvq("lvq8-f16", 8, "f16", "faiss-sq8-refine"),
    _lvq("lvq4-f16", 4, "f16", "faiss-sq4-refine"),
    _turboquant("turboquant4", 4, "turbovec4"),
    _turboquant("turboquant3", 3, "turbovec3"),
    _turboquant("turboquant2", 2, "turbovec2"),
    _turboquant("turboquant1", 1, "faiss-pqfs1"),
    _turboquant("turboquant4-fitted", 4, "turbovec4", allocation="fitted"),
    _turboquant("turboquant2-fitted", 2, "turbovec2", allocation="fitted"),
    _turboquant("turboquant1-fitted", 1, "faiss-pqfs1", allocation="fitted"),
    _turboquant("turboquant4-f16", 4, "faiss-pqfs-refine", "f16"),
    _pq("pq-8-bytes", "faiss-pq8", subspaces=8),
    _pq("pq-16-bytes", "faiss-pq16", subspaces=16),
    _pq("pq4-8-bytes", "faiss-pq16x4fs", subspaces=16, bits=4),
    _pq("pq4-16-bytes", "faiss-pq32x4fs", subspaces=32, bits=4),
    _pq("pq-16-bytes-f16", "faiss-pq16", subspaces=16, keep="f16"),
    # Under ip there is no byte for the norm.
    _rvq("rvq-5-bytes", "faiss-pq8", stages=4),
    _rvq("rvq-9-bytes", "faiss-rq8", stages=8),
    _rvq("rvq-17-bytes", "faiss-rq16", stages=16),
    _rvq("rvq-33-bytes", "faiss-rq32", stages=32),
    _rvq("rvq4-9-bytes", "faiss-rq8", stages=16, bits=4),
    _rvq("rvq-9-bytes-f16", "faiss-pqfs-refine", stages=8, keep="f16"),
    _rvq("rvq-ivf-f16", "faiss-ivfrq-refine", stages=8, structure="ivf", keep="f16"),
    _rvq("rvq4-ivf-f16", "faiss-ivfpqfs-4x", stages=64, bits=4, structure="ivf", keep="f16"),
    _lorann("lorann", "lorann-1x-b4-r64"),
    _lorann("lorann-twice", "lorann-2x-b4-r64", clusters=2),
    _lorann("lorann-fourfold", "lorann-4x-b4-r64", clusters=4),
    _lorann("lorann-int8", "lorann-1x-b4-r64", keep="int8"),
    _lorann("lorann-8bit", "lorann-1x", bits=8, rank=32),
    _symphony_qg("symphony-qg", "rabitqlib-qg32"),
    _symphony_qg("symphony-qg-f16", "rabitqlib-qg32", keep="f16"),
    _symphony_qg("symphony-qg-int8", "rabitqlib-qg32", keep="int8"),
    _symphony_qg("symphony-qg-64", "rabitqlib-qg64", degree=64),
    _symphony_qg("symphony-qg-pq4", "rabitqlib-qg32", edge_codes="pq4"),
)
