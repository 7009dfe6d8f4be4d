"""What several test files use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import counterpoint as cp
from counterpoint import datasets
from counterpoint._recall import recall_at_k

Array = npt.NDArray[Any]

METRICS = ("l2", "ip", "cosine")

# One of each kind: every parameter that changes what a file holds.
METHODS: dict[str, Callable[[Any], cp.Index]] = {
    "Flat": cp.Flat,
    "LVQ-8": lambda metric: cp.LVQ(metric),
    "LVQ-4": lambda metric: cp.LVQ(metric, primary=4),
    "LVQ-4-f16": lambda metric: cp.LVQ(metric, primary=4, keep="f16"),
    "LVQ-8-f32": lambda metric: cp.LVQ(metric, keep="f32"),
    "LVQ-4x8": lambda metric: cp.LVQ(metric, primary=4, residual=8),
    "LVQ-4x4-f16": lambda metric: cp.LVQ(metric, primary=4, residual=4, keep="f16"),
    "LVQ-8x8": lambda metric: cp.LVQ(metric, primary=8, residual=8),
    "LVQ-4x8-graph": lambda metric: cp.LVQ(metric, primary=4, residual=8, structure="graph"),
    "LVQ-8-graph": lambda metric: cp.LVQ(metric, structure="graph", degree=64, seed=7),
    "LVQ-4-f16-graph": lambda metric: cp.LVQ(metric, primary=4, keep="f16", structure="graph"),
    "LVQ-4-int8": lambda metric: cp.LVQ(metric, primary=4, keep="int8"),
    "LoRANN-4-f32": lambda metric: cp.LoRANN(metric),
    "LoRANN-8-f16": lambda metric: cp.LoRANN(
        metric, n_clusters=5, rank=8, global_dim=20, bits=8, balanced=True, keep="f16", seed=7
    ),
    "LoRANN-4-codes": lambda metric: cp.LoRANN(metric, keep="none"),
    "PQ-8": lambda metric: cp.PQ(metric),
    "PQ-4-f16": lambda metric: cp.PQ(metric, subspaces=11, bits=4, keep="f16", seed=7),
    "RVQ-8": lambda metric: cp.RVQ(metric),
    "RVQ-4-f16": lambda metric: cp.RVQ(metric, stages=5, bits=4, beam=3, keep="f16", seed=7),
    "RVQ-ivf": lambda metric: cp.RVQ(metric, stages=6, structure="ivf"),
    "RVQ-ivf-f16": lambda metric: cp.RVQ(
        metric, stages=7, bits=4, structure="ivf", n_lists=9, keep="f16", seed=7
    ),
    "SymphonyQG": cp.SymphonyQG,
    "SymphonyQG-64": lambda metric: cp.SymphonyQG(metric, degree=64, ef_construction=20, seed=7),
    "SymphonyQG-f16": lambda metric: cp.SymphonyQG(metric, keep="f16"),
    "SymphonyQG-int8": lambda metric: cp.SymphonyQG(metric, keep="int8"),
    "SymphonyQG-pq4": lambda metric: cp.SymphonyQG(metric, edge_codes="pq4"),
    "TurboQuant-4": lambda metric: cp.TurboQuant(metric),
    "TurboQuant-3": lambda metric: cp.TurboQuant(metric, bits=3, seed=7),
    "TurboQuant-2-uncentred": lambda metric: cp.TurboQuant(metric, bits=2, center="none"),
    "TurboQuant-2-axes": lambda metric: cp.TurboQuant(metric, bits=2, allocation="fitted"),
    "TurboQuant-1-f16": lambda metric: cp.TurboQuant(metric, bits=1, keep="f16"),
}


def all_knobs(method: str, n: int) -> dict[str, Any]:
    """Knobs by which a search of n rows passes none over."""
    if method.startswith("SymphonyQG") or method.endswith("graph"):
        return {"ef": n}
    probes = {"n_probe": n} if method.startswith(("LoRANN", "RVQ-ivf")) else {}
    rescored = "-f" in method or "-int8" in method or (method.startswith("LVQ") and "x" in method)
    return probes | ({"rerank": n} if rescored else {})


# The processor's flags that each SIMD level needs.
LEVELS: dict[str, set[str]] = {
    "scalar": set(),
    "avx2": {"avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "popcnt"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512vbmi"},
}


def normal(n: int, d: int, seed: int = 1) -> npt.NDArray[np.float32]:
    """Rows that are nowhere zero."""
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def exact(queries: Array, rows: Array, metric: str) -> npt.NDArray[np.float64]:
    """Distances of all pairs, in float64."""
    queries, rows = queries.astype(np.float64), rows.astype(np.float64)
    if metric == "l2":
        return np.asarray(((queries[:, None, :] - rows[None, :, :]) ** 2).sum(axis=2))
    if metric == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(1.0 - queries @ rows.T)
    return np.asarray(-(queries @ rows.T))


def all_distances(index: Any, queries: Array, **knobs: Any) -> npt.NDArray[np.float64]:
    """Distances to all rows of an index whose ids are 0, 1, 2, …"""
    ids, distances = index.search(queries, len(index), **knobs)
    table = np.empty(ids.shape)
    np.put_along_axis(table, ids, distances.astype(np.float64), axis=1)
    return table


@cache
def words_truth(metric: Any) -> Array:
    """The true neighbours of the bundled queries."""
    words = datasets.load("words")
    return cp.Flat(metric).fit(words.vectors).search(words.queries).ids


def words_recall(found: cp.Result, metric: Any) -> float:
    """Recall@10 of what was found for the bundled queries."""
    words = datasets.load("words")
    return recall_at_k(words.vectors, words.queries, words_truth(metric), found.ids, metric)


def assert_same(found: cp.Result, expected: cp.Result) -> None:
    """Bit for bit."""
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)


def python(
    code: str, *arguments: str, timeout: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run code in another interpreter; a deadlock there is a failure here."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env=os.environ | environment,
    )


def need(level: str) -> None:
    """Skip only what this processor lacks, by the system's word, not the library's."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    if missing := LEVELS[level] - flags:
        pytest.skip(f"this processor lacks {sorted(missing)}")


def assert_stops_at_ctrl_c(code: str, wait: float) -> None:
    """Code that prints "go" and begins is stopped within half a second by a Ctrl-C after `wait`.

    It then prints "interrupted", and "same" if all is as it was.
    """
    for attempt in range(3):  # the machine may be busy with something else
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        watchdog = threading.Timer(60, child.kill)
        watchdog.start()
        assert child.stdout is not None
        with child, child.stdout as out:
            assert out.readline() == "go\n"
            time.sleep(wait)
            sent = time.perf_counter()
            child.send_signal(signal.SIGINT)
            assert out.readline() == "interrupted\n"
            elapsed = time.perf_counter() - sent
            assert out.readline() == "same\n"
        watchdog.cancel()
        assert child.returncode == 0
        if attempt == 2 or elapsed < 0.5:
            break
    assert elapsed < 0.5
