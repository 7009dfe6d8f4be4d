"""LVQ against an independent NumPy reference, and the same results at every SIMD level."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import counterpoint as cp
from support import LEVELS, METRICS, Array, need, normal, python

F32 = np.float32


@dataclass
class Encoded:
    """What a file holds, row by row."""

    mean: Array
    scale: Array
    bias: Array
    codes: Array

    def decode(self) -> Array:
        s, b = self.scale.astype(np.float64), self.bias.astype(np.float64)
        return np.asarray(s[:, None] * self.codes + b[:, None] + self.mean)


def encode(rows: Array, metric: str, bits: int) -> Encoded:
    """Definitions 1 and 2 of Aguerrebere et al., VLDB 2023, in float32 (the mean in exact sums)."""
    rows = rows.astype(F32)
    if metric == "cosine":
        doubles = rows.astype(np.float64)
        norms = np.array([math.sqrt(math.fsum(v * v for v in row)) for row in doubles.tolist()])
        rows = (doubles * (1.0 / norms)[:, None]).astype(F32)
    columns = rows.astype(np.float64).T.tolist()
    mean = np.array([math.fsum(column) / len(rows) for column in columns], dtype=F32)
    centred = rows - mean
    low, high = centred.min(axis=1), centred.max(axis=1)
    largest = F32(2**bits - 1)
    wide = high - low > F32(7e-5) * largest
    scale = np.where(wide, (high - low) / largest, F32(1)).astype(np.float16)
    bias = low.astype(np.float16)
    steps = (centred - bias.astype(F32)[:, None]) / scale.astype(F32)[:, None]
    assert steps.dtype == F32
    whole = np.trunc(steps)
    rounded = whole + np.sign(steps) * (np.abs(steps - whole) >= 0.5)  # half away from zero
    codes = np.clip(rounded, 0, largest).astype(np.uint8)
    return Encoded(mean, scale, bias, codes)


def stored(path: Path) -> Encoded:
    """What is in a file, by safetensors and the layout of core's simd::int8 alone."""
    tensors, params = safetensors.numpy.load_file(path), cp.info(path)["params"]
    n, d, bits = params["rows"], params["dim"], params["primary"]
    groups = len(tensors["codes"])
    columns = tensors["codes"].reshape(groups, -1, 64, 4)
    if bits == 4:
        columns = np.stack([columns & 15, columns >> 4], axis=3)
    codes = np.moveaxis(columns, 1, 2).reshape(groups * 64, -1)
    assert not codes[n:].any() and not codes[:, d:].any()
    mean = tensors["mean"].reshape(-1)[:d]
    return Encoded(mean, tensors["scale"][:n], tensors["bias"][:n], codes[:n, :d])


def rows_of_all_kinds(n: int, d: int) -> Array:
    """Usual rows, and some that are constant, nearly constant, tiny, or far off."""
    rows: Array = normal(n, d) * np.float32(0.1) + normal(1, d, seed=9)
    rows[::7] = rows[:1]
    rows[1::11] = 0.25
    rows[2::13] = 0.25 + 1e-4 * normal(len(rows[2::13]), d, seed=3)
    rows[3::17] *= 1e-6
    rows[4::19] *= 500
    return rows


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("n", "d"), [(1, 5), (63, 1), (64, 3), (130, 8), (500, 100), (70, 1537)])
def test_codes_bit_for_bit(metric: Any, bits: Any, n: int, d: int, tmp_path: Path) -> None:
    rows = rows_of_all_kinds(n, d)
    cp.LVQ(metric, bits).fit(rows).save(tmp_path / "x.cp")
    mine, theirs = stored(tmp_path / "x.cp"), encode(rows, metric, bits)
    np.testing.assert_array_equal(mine.mean, theirs.mean)
    np.testing.assert_array_equal(mine.scale, theirs.scale)
    np.testing.assert_array_equal(mine.bias, theirs.bias)
    np.testing.assert_array_equal(mine.codes, theirs.codes)


def test_added_rows_are_encoded_around_the_mean_of_the_first(tmp_path: Path) -> None:
    first, more = normal(100, 20), normal(90, 20, seed=2) + 1
    index = cp.LVQ("l2").fit(first)
    index.add(more)
    index.upsert(first[:3] + 2, [10, 64, 189])
    index.remove(np.arange(0, 60))
    index.save(tmp_path / "x.cp")
    mine = stored(tmp_path / "x.cp")
    np.testing.assert_array_equal(mine.mean, encode(first, "l2", 8).mean)
    expected = np.concatenate([first, more])
    expected[[10, 64, 189]] = first[:3] + 2
    error = np.abs(mine.decode() - expected[index.ids])
    assert (error <= 0.51 * mine.scale.astype(F32)[:, None] + 2e-3).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("d", [1, 7, 64, 300])
def test_distances_are_those_to_the_decoded_rows(
    metric: Any, bits: Any, d: int, tmp_path: Path
) -> None:
    rows, queries = normal(300, d) + 0.5, normal(9, d, seed=2)
    index = cp.LVQ(metric, bits).fit(rows)
    index.save(tmp_path / "x.cp")
    code = stored(tmp_path / "x.cp")
    decoded, q = code.decode(), queries.astype(np.float64)
    if metric == "cosine":
        q /= np.linalg.norm(q, axis=1, keepdims=True)
    products = q @ decoded.T
    truth = -products if metric == "ip" else 1 - products
    if metric == "l2":
        truth = ((q[:, None] - decoded[None]) ** 2).sum(axis=2)
    ids, distances = index.search(queries, 300)
    mine = np.take_along_axis(truth, ids, axis=1)
    # A query is rounded to 16 bits: half a step a dimension, against s·c; twice that under l2.
    centred = q - code.mean if metric == "l2" else q
    reach = (code.scale.astype(np.float64) * code.codes.sum(axis=1))[ids]
    bound = 2.0 * 2.0**-15 * np.abs(centred).max(axis=1)[:, None] * reach
    bound += 2.0**-22 * (np.abs(mine) + (q**2).sum(axis=1)[:, None] + 1)
    if metric == "cosine":
        mine = np.clip(mine, 0, 2)
    elif metric == "l2":
        mine = np.maximum(mine, 0)
    assert (np.abs(distances - mine) <= bound).all()
    # The few nearest are the first of all: nothing is lost on the way.
    for k in (1, 5, 64):
        few = index.search(queries, k)
        np.testing.assert_array_equal(few.ids, ids[:, :k])
        np.testing.assert_array_equal(few.distances, distances[:, :k])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [4, 8])
def test_full_reranking_on_f32_is_exact_search(metric: Any, bits: Any) -> None:
    rows, queries = normal(400, 33), normal(20, 33, seed=2)
    found = cp.LVQ(metric, bits, "f32").fit(rows).search(queries, 10, rerank=400)
    exact = cp.Flat(metric).fit(rows).search(queries, 10)
    np.testing.assert_array_equal(found.ids, exact.ids)
    np.testing.assert_array_equal(found.distances, exact.distances)


def test_bytes_per_vector() -> None:
    rows = normal(6400, 384)
    for bits in (4, 8):
        index = cp.LVQ("cosine", primary=bits).fit(rows)
        assert len(index.to_bytes()) / 6400 <= 384 * bits / 8 + 8
        assert index.stats()["bytes_per_vector"] <= 384 * bits / 8 + 8


MEASURE = """
import hashlib, json, sys, numpy as np, counterpoint as cp
from counterpoint import datasets
from counterpoint._recall import recall_at_k
data = datasets.load("words")
out = {"level": cp.simd_level()}
truth = cp.Flat("cosine").fit(data.vectors).search(data.queries).ids
doubles = data.vectors.astype(np.float64)
scores = data.queries.astype(np.float64) @ (doubles / np.linalg.norm(doubles, axis=1)[:, None]).T
numpy_truth = np.argsort(-scores, axis=1)[:, :10]
def recall(ids):
    return recall_at_k(data.vectors, data.queries, numpy_truth, ids, "cosine")
out["Flat"] = recall(truth)
same = hashlib.sha256()
for bits in (4, 8):
    for metric in ("cosine", "l2", "ip"):
        index = cp.LVQ(metric, primary=bits).fit(data.vectors)
        same.update(index.to_bytes())
        for queries in (data.queries, data.queries[:3]):
            ids, distances = index.search(queries)
            same.update(ids.tobytes() + distances.tobytes())
        if metric == "cosine":
            out[f"LVQ-{bits}"] = recall(index.search(data.queries).ids)
index = cp.LVQ("cosine", primary=4, keep="f16").fit(data.vectors)
out["LVQ-4-f16"] = recall(index.search(data.queries).ids)
out["sha256"] = same.hexdigest()
print(json.dumps(out))
"""


@cache
def measured(level: str) -> Any:
    ran = python(MEASURE, COUNTERPOINT_SIMD=level, timeout=100)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("level", LEVELS)
def test_recall_floors_at_every_level(level: str) -> None:
    need(level)
    found = measured(level)
    assert found["level"] == level
    assert found["Flat"] == 1.0
    assert found["LVQ-8"] >= 0.99
    assert found["LVQ-4"] >= 0.9
    assert found["LVQ-4-f16"] >= 0.99


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "scalar"])
def test_lvq_is_the_same_at_every_level(level: str) -> None:
    need(level)
    assert measured(level)["sha256"] == measured("scalar")["sha256"]


@pytest.mark.parametrize("level", ["neon", "sse2", "AVX2"])
def test_a_level_that_cannot_run_is_an_import_error(level: str) -> None:
    ran = python("import counterpoint", COUNTERPOINT_SIMD=level)
    assert ran.returncode == 1
    assert "ImportError: COUNTERPOINT_SIMD" in ran.stderr
