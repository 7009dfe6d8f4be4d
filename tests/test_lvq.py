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
LEVEL_PAIRS: list[Any] = [(4, 0), (8, 0), (4, 4), (4, 8), (8, 8)]


@dataclass
class Encoded:
    """What a file holds, row by row."""

    mean: Array
    scale: Array
    bias: Array
    codes: Array
    residual: Array | None = None
    residual_bits: int = 0

    def decode(self) -> Array:
        s, b = self.scale.astype(np.float64)[:, None], self.bias.astype(np.float64)[:, None]
        codes = self.codes.astype(np.float64)
        if self.residual is not None:
            # Both codes as one of a finer step.
            finer = 2**self.residual_bits - 1
            s, b, codes = s / finer, b - s / 2, codes * finer + self.residual
        return np.asarray(s * codes + b + self.mean)


def lvq(metric: Any, levels: Any, keep: Any = "none") -> cp.LVQ:
    """An index of these levels."""
    primary, residual = levels
    return cp.LVQ(metric, primary, residual, keep)


def prepared(rows: Array, metric: str) -> Array:
    """Rows as they are encoded."""
    rows = rows.astype(F32)
    if metric == "cosine":
        doubles = rows.astype(np.float64)
        norms = np.array([math.sqrt(math.fsum(v * v for v in row)) for row in doubles.tolist()])
        rows = (doubles * (1.0 / norms)[:, None]).astype(F32)
    return rows


def rounded(steps: Array, largest: Any) -> Array:
    """Half away from zero, clamped."""
    assert steps.dtype == F32
    whole = np.trunc(steps)
    nearest = whole + np.sign(steps) * (np.abs(steps - whole) >= 0.5)
    return np.asarray(np.clip(nearest, 0, largest).astype(np.uint8))


def encode(rows: Array, metric: str, bits: int, residual_bits: int = 0) -> Encoded:
    """Definitions 1 and 2 of Aguerrebere et al., VLDB 2023, in float32 (the mean in exact sums)."""
    rows = prepared(rows, metric)
    columns = rows.astype(np.float64).T.tolist()
    mean = np.array([math.fsum(column) / len(rows) for column in columns], dtype=F32)
    centred = rows - mean
    low, high = centred.min(axis=1), centred.max(axis=1)
    largest = F32(2**bits - 1)
    wide = high - low > F32(7e-5) * largest
    # (Published: a scale of 1 where the range is small, so that nothing is left of it.)
    scale = np.where(wide, (high - low) / largest, F32(7e-5)).astype(np.float16)
    bias = low.astype(np.float16)
    s, b = scale.astype(F32)[:, None], bias.astype(F32)[:, None]
    codes = rounded((centred - b) / s, largest)
    if residual_bits == 0:
        return Encoded(mean, scale, bias, codes)
    finest = F32(2**residual_bits - 1)
    missing = centred - (s * codes.astype(F32) + b)
    residual = rounded((missing + s / F32(2)) / (s / finest), finest)
    return Encoded(mean, scale, bias, codes, residual, residual_bits)


def stored(path: Path) -> Encoded:
    """What is in a file, by safetensors and the layouts of core's simd::int8 and rows alone."""
    tensors, params = safetensors.numpy.load_file(path), cp.info(path)["params"]
    n, d, bits = params["rows"], params["dim"], params["primary"]
    groups = len(tensors["codes"])
    columns = tensors["codes"].reshape(groups, -1, 64, 4)
    if bits == 4:
        columns = np.stack([columns & 15, columns >> 4], axis=3)
    codes = np.moveaxis(columns, 1, 2).reshape(groups * 64, -1)
    assert not codes[n:].any() and not codes[:, d:].any()
    mean = tensors["mean"].reshape(-1)[:d]
    assert params["exponent"] == 0
    constants = (mean, tensors["scale"][:n], tensors["bias"][:n], codes[:n, :d])
    finer = params["residual"]
    if finer == 0:
        assert "residual" not in tensors
        return Encoded(*constants)
    width = d if finer == 8 else (d + 1) // 2
    flat = tensors["residual"]
    assert not flat[n * width :].any()
    residual = flat[: n * width].reshape(n, width)
    if finer == 4:
        residual = np.concatenate([residual & 15, residual >> 4], axis=1)
        assert not residual[:, d:].any()
    return Encoded(*constants, residual[:, :d], finer)


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
@pytest.mark.parametrize("levels", LEVEL_PAIRS)
@pytest.mark.parametrize(("n", "d"), [(1, 5), (63, 1), (64, 3), (130, 8), (500, 100), (70, 1537)])
def test_codes_bit_for_bit(metric: Any, levels: Any, n: int, d: int, tmp_path: Path) -> None:
    rows = rows_of_all_kinds(n, d)
    index = lvq(metric, levels).fit(rows)
    index.save(tmp_path / "x.cp")
    mine, theirs = stored(tmp_path / "x.cp"), encode(rows, metric, *levels)
    np.testing.assert_array_equal(mine.mean, theirs.mean)
    np.testing.assert_array_equal(mine.scale, theirs.scale)
    np.testing.assert_array_equal(mine.bias, theirs.bias)
    np.testing.assert_array_equal(mine.codes, theirs.codes)
    if theirs.residual is not None:
        np.testing.assert_array_equal(mine.residual, theirs.residual)
    decoded = theirs.decode()
    tolerance = 4e-7 * np.abs(decoded).max()
    np.testing.assert_allclose(index.reconstruct(index.ids), decoded, rtol=0, atol=tolerance)


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
@pytest.mark.parametrize("levels", LEVEL_PAIRS)
@pytest.mark.parametrize("d", [1, 7, 64, 300])
def test_distances_are_those_to_the_decoded_rows(
    metric: Any, levels: Any, d: int, tmp_path: Path
) -> None:
    rows, queries = normal(300, d) + 0.5, normal(9, d, seed=2)
    index = lvq(metric, levels).fit(rows)
    index.save(tmp_path / "x.cp")
    code = stored(tmp_path / "x.cp")
    decoded, q = code.decode(), queries.astype(np.float64)
    if metric == "cosine":
        q /= np.linalg.norm(q, axis=1, keepdims=True)
    products = q @ decoded.T
    truth = -products if metric == "ip" else 1 - products
    if metric == "l2":
        # Less what is lost by the codes: a vector is at 0 from itself.
        lost = ((decoded - rows.astype(np.float64)) ** 2).sum(axis=1)
        truth = ((q[:, None] - decoded[None]) ** 2).sum(axis=2) - lost
    knobs: dict[str, Any] = {"rerank": 300} if levels[1] else {}
    ids, distances = index.search(queries, 300, **knobs)
    mine = np.take_along_axis(truth, ids, axis=1)
    # A query is rounded to 16 bits: half a step a dimension, against s·c; twice that under l2.
    centred = q - code.mean if metric == "l2" else q
    sums = code.codes.sum(axis=1, dtype=np.float64) + code.codes.shape[1] * (levels[1] > 0)
    reach = (code.scale.astype(np.float64) * sums)[ids]
    bound = 2.0 * 2.0**-15 * np.abs(centred).max(axis=1)[:, None] * reach
    bound += 2.0**-22 * (np.abs(mine) + (q**2).sum(axis=1)[:, None] + 1)
    if metric == "cosine":
        mine = np.clip(mine, 0, 2)
    elif metric == "l2":
        mine = np.maximum(mine, 0)
    assert (np.abs(distances - mine) <= bound).all()
    # The few nearest are the first of all: nothing is lost on the way.
    for k in (1, 5, 64):
        few = index.search(queries, k, **knobs)
        np.testing.assert_array_equal(few.ids, ids[:, :k])
        np.testing.assert_array_equal(few.distances, distances[:, :k])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("levels", LEVEL_PAIRS)
def test_full_reranking_on_f32_is_exact_search(metric: Any, levels: Any) -> None:
    rows, queries = normal(400, 33), normal(20, 33, seed=2)
    found = lvq(metric, levels, "f32").fit(rows).search(queries, 10, rerank=400)
    exact = cp.Flat(metric).fit(rows).search(queries, 10)
    np.testing.assert_array_equal(found.ids, exact.ids)
    np.testing.assert_array_equal(found.distances, exact.distances)


@pytest.mark.parametrize("levels", LEVEL_PAIRS)
def test_bytes_per_vector(levels: Any) -> None:
    rows = normal(6400, 384)
    for metric, constants in (("cosine", 8), ("l2", 16)):
        index = lvq(metric, levels).fit(rows)
        most = 384 * sum(levels) / 8 + constants
        assert len(index.to_bytes()) / 6400 <= most
        assert index.stats()["bytes_per_vector"] <= most


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("levels", LEVEL_PAIRS)
def test_errors_are_in_the_stats(metric: Any, levels: Any) -> None:
    rows = normal(900, 40)
    index = lvq(metric, levels).fit(rows)
    lost = index.reconstruct(index.ids).astype(np.float64) - prepared(rows, metric)
    stats = index.stats()
    assert 0.9 < stats["mean_squared_error"] / (lost**2).mean() < 1.1
    assert 0.9 * stats["max_error"] < np.abs(lost).max() <= stats["max_error"] + 1e-6
    assert (stats["primary"], stats["residual"]) == levels
    parts = {*stats["bytes"]}
    assert {"codes", "scale", "bias", "radius", "mean"} <= parts
    assert ("residual" in parts) == (levels[1] > 0)
    assert ("residual_square" in parts) == (levels[1] > 0 and metric == "l2")


@pytest.mark.parametrize("mmap", [False, True])
def test_a_residual_is_dropped(mmap: bool, tmp_path: Path) -> None:
    rows, queries = normal(400, 30), normal(20, 30, seed=2)
    path = tmp_path / "x.cp"
    for metric in METRICS:
        for primary, residual in LEVEL_PAIRS:
            index = lvq(metric, (primary, residual)).fit(rows)
            index.remove([5, 9])
            index.tune(X=rows[index.ids])
            index.save(path)
            before = index.to_bytes()
            dropped = cp.LVQ.load(path, mmap=mmap, verify=False).without_residual()
            assert (dropped.primary, dropped.residual) == (primary, 0)
            plain = lvq(metric, (primary, 0)).fit(rows)
            plain.remove([5, 9])
            if residual:
                assert dropped.to_bytes() == plain.to_bytes()
                with pytest.raises(ValueError, match=r"^rerank: "):
                    dropped.search(queries, rerank=3)
            else:
                assert dropped.to_bytes() == before
            found, expected = dropped.search(queries), plain.search(queries)
            np.testing.assert_array_equal(found.ids, expected.ids)
            np.testing.assert_array_equal(found.distances, expected.distances)
            dropped.add(rows[:3])
            assert len(dropped) == 401 and index.to_bytes() == before


def test_compact_goes_by_the_mean_of_the_rows_there_are() -> None:
    rows = normal(600, 16)
    rows[200:] += 4
    for levels in LEVEL_PAIRS:
        index = lvq("l2", levels, "f32").fit(rows[:200])
        index.add(rows[200:])
        whole = lvq("l2", levels, "f32").fit(rows)
        assert index.to_bytes() != whole.to_bytes()
        index.compact()
        assert index.to_bytes() == whole.to_bytes()


@pytest.mark.parametrize("size", [1e-15, 1e-6, 1e6, 1e14])
def test_data_of_any_size(size: float) -> None:
    rows, queries = normal(500, 20), normal(30, 20, seed=2)
    for metric in METRICS:
        for levels in LEVEL_PAIRS:
            one = lvq(metric, levels).fit(rows)
            other = lvq(metric, levels).fit(rows * F32(size))
            found = zip(one.search(queries).ids, other.search(queries * F32(size)).ids, strict=True)
            same = np.mean([np.isin(mine, theirs).sum() for mine, theirs in found])
            assert same >= 9.5, (metric, levels)


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
for bits, more in ((4, 0), (8, 0), (4, 4), (4, 8), (8, 8)):
    for metric in ("cosine", "l2", "ip"):
        index = cp.LVQ(metric, primary=bits, residual=more).fit(data.vectors)
        same.update(index.to_bytes())
        for queries in (data.queries, data.queries[:3]):
            ids, distances = index.search(queries)
            same.update(ids.tobytes() + distances.tobytes())
        if metric == "cosine":
            out[f"LVQ-{bits}" + f"x{more}" * (more > 0)] = recall(index.search(data.queries).ids)
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
    assert found["LVQ-4x4"] >= 0.99
    assert found["LVQ-4x8"] >= 0.999
    assert found["LVQ-8x8"] >= 0.999


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "scalar"])
def test_lvq_is_the_same_at_every_level(level: str) -> None:
    need(level)
    assert measured(level)["sha256"] == measured("scalar")["sha256"]


@pytest.mark.parametrize("level", ["neon", "sse2", "AVX2"])
def test_a_level_that_cannot_run_is_an_import_error(level: str) -> None:
    ran = python("import counterpoint", COUNTERPOINT_SIMD=level)
    assert ran.returncode == 1
    assert "ImportError: COUNTERPOINT_SIMD" in ran.stderr
