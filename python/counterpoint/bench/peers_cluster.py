"""Cluster and scan libraries as contenders: lorann, scann, rabitqlib's IVF and turbovec."""

from __future__ import annotations

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
    doubling,
    grid,
    lists_near_sqrt,
    probes_and_candidates,
)

NO_RESULT = np.iinfo(np.uint32).max


class Lorann(Adapter):
    """Lorann 1.0.1: clusters near √n and global_dim by the rule of its LorannIndex docstring.

    Build it for this processor (`pip install --no-binary lorann lorann`): its kernels are chosen
    at compile time. The grid of knobs spans that of lorann-experiments and VIBE, for k = 10. Its
    default is 8 bits and rank 32; on queries that do not report, 4 bits were quicker on
    Fashion-MNIST, and with rank 64 on wordnet-minilm, where rank 32 reached 0.99 late or never.
    """

    library, module = "lorann", "lorann"

    def build(self, vectors: Vectors) -> None:
        """Build over the caller's array, which the index goes on reading."""
        import lorann

        if self.dim < 64:
            raise UnsuitedError("lorann needs dim >= 64")
        rule = None if self.dim < 200 else 128 if self.dim <= 1000 else 256
        self.index = lorann.LorannIndex(
            vectors,
            n_clusters=lists_near_sqrt(len(vectors), self.settings["clusters"]),
            global_dim=self.settings.get("global_dim", rule),
            quantization_bits=self.settings.get("bits", 8),
            rank=self.settings.get("rank", 32),
            distance=lorann.L2 if self.metric == "l2" else lorann.IP,
        )
        self.index.build(n_threads=self.build_threads)

    def save(self, path: Path) -> None:
        """Write one file."""
        self.index.save(str(path))

    def sweep(self, n: int, k: int) -> list[Knobs]:
        """Sweep clusters_to_search (never above the clusters: it repeats ids) and the re-rank."""
        clusters = lists_near_sqrt(n, self.settings["clusters"])
        return probes_and_candidates("clusters_to_search", clusters, "points_to_rerank", n, k)

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        """Search a batch."""
        ids: npt.NDArray[Any] = self.index.search(queries, k, n_threads=self.threads, **self.knobs)
        return np.atleast_2d(ids)


class Scann(Adapter):
    """Scann 1.4: leaves near √n, two dimensions a block and a reorder, as in its algorithms.md.

    The anisotropic threshold 0.2 is for inner products; its l2 examples leave it out.
    """

    library, module = "scann", "scann"

    def build(self, vectors: Vectors) -> None:
        """Train on all vectors (the default sample is 100,000)."""
        import scann

        leaves = lists_near_sqrt(len(vectors), self.settings["leaves"])
        anisotropic: dict[str, Any] = (
            {} if self.metric == "l2" else {"anisotropic_quantization_threshold": 0.2}
        )
        self.index = (
            scann.scann_ops_pybind.builder(
                vectors, 10, "squared_l2" if self.metric == "l2" else "dot_product"
            )
            .set_n_training_threads(self.build_threads)
            .tree(
                num_leaves=leaves,
                num_leaves_to_search=max(1, leaves // 10),
                training_sample_size=len(vectors),
            )
            .score_ah(2, **anisotropic)
            .reorder(100)
            .build()
        )
        self.index.set_num_threads(self.threads)

    def save(self, path: Path) -> None:
        """Write a folder."""
        path.mkdir()
        self.index.serialize(str(path))

    def sweep(self, n: int, k: int) -> list[Knobs]:
        """Sweep leaves_to_search and the reorder."""
        leaves = doubling(1, lists_near_sqrt(n, self.settings["leaves"]))
        reordered = [count for count in (2 * k, 5 * k, 10 * k, 20 * k, 40 * k) if count <= n]
        return grid(("leaves_to_search", leaves), ("pre_reorder_num_neighbors", reordered or [n]))

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        """Search a batch, or a single query by the call made for it."""
        if len(queries) == 1:
            ids, _ = self.index.search(queries[0], final_num_neighbors=k, **self.knobs)
            return np.asarray(ids, dtype=np.int64)[None, :]
        batched = (
            self.index.search_batched if self.threads == 1 else self.index.search_batched_parallel
        )
        ids, _ = batched(queries, final_num_neighbors=k, **self.knobs)
        found = np.asarray(ids)
        return np.where(found == NO_RESULT, -1, found.astype(np.int64))


class RabitqIvf(Adapter):
    """rabitqlib 0.7.1's IvfIndex at the settings of its docs/benchmarks/ivf.md.

    4 √n clusters by RaBitQKMeans with exact final assignment, 1+4 bits, 1+8 bits, or one-bit
    codes with the raw vectors (`bits` 32).
    """

    library, module = "rabitqlib", "rabitqlib"

    def build(self, vectors: Vectors) -> None:
        """Cluster, then encode."""
        import rabitqlib

        clusters = lists_near_sqrt(len(vectors), 4)
        clustering = rabitqlib.RaBitQKMeans(
            self.dim,
            clusters,
            niter=10,
            seed=42,
            spherical=self.metric == "cosine",
            num_threads=self.build_threads,
            final_assignment=rabitqlib.FinalAssignmentMode.Exact,
        )
        clustering.train(vectors)
        self.index = rabitqlib.IvfIndex(
            dim=self.dim,
            max_elements=len(vectors),
            num_clusters=clusters,
            nbits=self.settings["bits"],
            metric="l2" if self.metric == "l2" else "ip",
        )
        self.index.build(
            vectors, clustering.centroids, clustering.assignments, num_threads=self.build_threads
        )

    def save(self, path: Path) -> None:
        """Write one file."""
        self.index.save(str(path))

    def sweep(self, n: int, k: int) -> list[Knobs]:
        """Sweep nprobe over powers of two."""
        return [{"nprobe": probe} for probe in doubling(1, lists_near_sqrt(n, 4))]

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        """Search a batch."""
        ids = self.index.search(queries, k, num_threads=self.threads, **self.knobs)[0]
        return np.where(ids == NO_RESULT, -1, ids.astype(np.int64))


class Turbovec(Adapter):
    """turbovec 1.1.2, calibrated on 1,024 random rows before the add, as its calibrate() asks.

    Inner product only. Its threads come from RAYON_NUM_THREADS, which the worker's environment
    sets.
    """

    library, module = "turbovec", "turbovec"

    def build(self, vectors: Vectors) -> None:
        """Calibrate, add, and prepare the search caches."""
        import turbovec

        if self.metric == "l2":
            raise UnsuitedError("turbovec searches by inner product only")
        if self.dim % 8:
            raise UnsuitedError("turbovec needs a dim that is a multiple of 8")
        self.index = turbovec.TurboQuantIndex(self.dim, self.settings["bits"])
        rows = np.random.default_rng(0).permutation(len(vectors))[:1024]
        self.index.calibrate(np.ascontiguousarray(vectors[rows]))
        self.index.add(vectors)
        self.index.prepare()

    def add(self, vectors: Vectors) -> None:
        """Add uncalibrated, as its data-oblivious codes allow."""
        import turbovec

        turbovec.TurboQuantIndex(self.dim, self.settings["bits"]).add(vectors)

    def save(self, path: Path) -> None:
        """Write one file."""
        self.index.write(str(path))

    def search(self, queries: Vectors, k: int) -> npt.NDArray[Any]:
        """Search a batch."""
        ids: npt.NDArray[Any] = self.index.search(queries, k)[1]
        return ids


def _spec(name: str, family: str, adapter: type[Adapter], **settings: Any) -> Spec:
    return Spec(name, family, f"{__name__}:{adapter.__name__}", settings)


PEERS: tuple[Spec, ...] = (
    _spec("lorann-half", "lorann", Lorann, clusters=0.5),
    _spec("lorann-1x", "lorann", Lorann, clusters=1),
    _spec("lorann-2x", "lorann", Lorann, clusters=2),
    _spec("lorann-4x", "lorann", Lorann, clusters=4),
    # VIBE's winners lie at global_dim 192-384 with more clusters.
    _spec("lorann-2x-d256", "lorann", Lorann, clusters=2, global_dim=256),
    _spec("lorann-half-b4", "lorann", Lorann, clusters=0.5, bits=4),
    _spec("lorann-1x-b4", "lorann", Lorann, clusters=1, bits=4),
    _spec("lorann-1x-r64", "lorann", Lorann, clusters=1, rank=64),
    _spec("lorann-2x-r64-d256", "lorann", Lorann, clusters=2, rank=64, global_dim=256),
    _spec("lorann-1x-b4-r64", "lorann", Lorann, clusters=1, bits=4, rank=64),
    _spec("lorann-2x-b4-r64", "lorann", Lorann, clusters=2, bits=4, rank=64),
    _spec("lorann-4x-b4-r64", "lorann", Lorann, clusters=4, bits=4, rank=64),
    _spec("scann-1x", "scann", Scann, leaves=1),
    _spec("scann-2x", "scann", Scann, leaves=2),
    _spec("rabitqlib-ivf5", "rabitqlib IVF", RabitqIvf, bits=5),
    _spec("rabitqlib-ivf9", "rabitqlib IVF", RabitqIvf, bits=9),
    _spec("rabitqlib-ivf-raw", "rabitqlib IVF", RabitqIvf, bits=32),
    _spec("turbovec2", "turbovec", Turbovec, bits=2),
    _spec("turbovec3", "turbovec", Turbovec, bits=3),
    _spec("turbovec4", "turbovec", Turbovec, bits=4),
)
