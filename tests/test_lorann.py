"""LoRANN: what is built, what changes become of it, threads, files, what is refused."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import counterpoint as cp
from counterpoint import datasets
from support import METRICS, assert_same, assert_stops_at_ctrl_c, normal, words_recall

BITS: tuple[Any, ...] = (4, 8)
KEEPS: tuple[Any, ...] = ("none", "int8", "f16", "f32")


@pytest.fixture(scope="module")
def words() -> datasets.Dataset:
    return datasets.load("words")


@cache
def fitted(metric: Any) -> cp.LoRANN:
    """The words by default; not to be changed."""
    return cp.LoRANN(metric).fit(datasets.load("words").vectors)


def test_defaults(words: datasets.Dataset) -> None:
    index = fitted("cosine")
    stats = index.stats()
    assert {"n_clusters": 100, "global_dim": 128, "rank": 64, "bits": 4}.items() <= stats.items()
    assert {"balanced": False, "keep": "f32", "seed": 0, "refit": False}.items() <= stats.items()
    assert index.capabilities["knobs"] == ("n_probe", "rerank")
    default = index.search(words.queries)
    assert_same(index.search(words.queries, n_probe=20, rerank=100), default)
    for d, axes in ((1, 1), (200, 200), (201, 128), (1000, 128), (1001, 256)):
        assert cp.LoRANN("l2").fit(normal(20, d)).stats()["global_dim"] == axes
    for n, clusters in ((1, 1), (2, 1), (30, 5), (31, 6), (1000, 32)):
        assert cp.LoRANN("l2").fit(normal(n, 5)).stats()["n_clusters"] == clusters


def test_what_cannot_be_is_reduced_and_said() -> None:
    index = cp.LoRANN("l2", n_clusters=500, rank=64, global_dim=1000).fit(normal(90, 10))
    stats = index.stats()
    assert (stats["n_clusters"], stats["rank"], stats["global_dim"]) == (90, 10, 10)
    assert (index.n_clusters, index.rank, index.global_dim) == (500, 64, 1000)
    equal = cp.LoRANN("l2", n_clusters=20).fit(np.ones((100, 6), np.float32))
    assert equal.stats()["n_clusters"] == 1
    assert len(cp.LoRANN("ip", n_clusters=10**30, rank=65536).fit(normal(3, 2))) == 3


def test_an_object_says_how_it_was_made() -> None:
    made = cp.LoRANN("ip", 9, 8, 16, 8, True, "f16", 2**64 - 1)
    assert (made.n_clusters, made.rank, made.global_dim, made.bits) == (9, 8, 16, 8)
    assert (made.balanced, made.keep, made.seed, made.metric) == (True, "f16", 2**64 - 1, "ip")
    for index in (cp.from_bytes(made.to_bytes()), copy.copy(made.fit(normal(99, 20)))):
        assert isinstance(index, cp.LoRANN)
        assert (index.n_clusters, index.rank, index.global_dim, index.bits) == (9, 8, 16, 8)
        assert (index.balanced, index.keep, index.seed) == (True, "f16", 2**64 - 1)
    assert repr(cp.from_bytes(cp.LoRANN("ip", 9, 8, 16, 8, True, "f16", 3).to_bytes())) == (
        '<LoRANN("ip", n_clusters=9, rank=8, global_dim=16, bits=8, balanced=True, keep="f16", '
        "seed=3): 0 vectors>"
    )
    default = cp.LoRANN("l2")
    assert (default.n_clusters, default.rank, default.global_dim) == (None, 64, None)
    assert (default.bits, default.balanced, default.keep, default.seed) == (4, False, "f32", 0)
    assert repr(default) == (
        '<LoRANN("l2", n_clusters=None, rank=64, global_dim=None, bits=4, balanced=False, '
        'keep="f32", seed=0): 0 vectors>'
    )


def sizes(index: cp.Index, path: Path) -> list[int]:
    """Of the clusters, by safetensors alone."""
    index.save(path)
    tensors, none = safetensors.numpy.load_file(path), 2**32 - 1
    rows, owners = tensors["list_rows"], tensors["list_of_block"]
    counts = np.zeros(index.stats()["n_clusters"], np.int64)
    np.add.at(counts, owners[: len(rows)], (rows != none).sum(axis=1))
    assert sorted(rows[rows != none].tolist()) == list(range(len(index)))
    return [int(count) for count in counts]


def test_balanced_clusters_are_of_like_size(words: datasets.Dataset, tmp_path: Path) -> None:
    spread = sizes(fitted("cosine"), tmp_path / "x.cp")
    index = cp.LoRANN("cosine", balanced=True)
    even = sizes(index.fit(words.vectors), tmp_path / "x.cp")
    assert sum(spread) == sum(even) == 10_000
    assert max(even) - min(even) < 0.5 * (max(spread) - min(spread))
    assert words_recall(index.search(words.queries, n_probe=50), "cosine") >= 0.96
    added = cp.LoRANN("cosine", balanced=True)
    added.add(words.vectors)
    assert added.to_bytes() == index.to_bytes()


def test_the_same_bytes_for_any_threads(words: datasets.Dataset) -> None:
    makes: tuple[Callable[[], cp.LoRANN], ...] = (
        lambda: cp.LoRANN("l2"),
        lambda: cp.LoRANN("cosine", bits=8, rank=12, n_clusters=37, keep="none", seed=5),
        lambda: cp.LoRANN("ip", balanced=True, keep="f16"),
    )
    for made in makes:
        one = made().fit(words.vectors[:4000], threads=1)
        for threads in (2, 7):
            other = made().fit(words.vectors[:4000], threads=threads)
            assert other.to_bytes() == one.to_bytes()
        one.add(words.vectors[4000:6000], threads=1)
        other.add(words.vectors[4000:6000], threads=3)
        assert other.to_bytes() == one.to_bytes()


def test_the_seed_decides_and_quality_hardly_depends_on_it(words: datasets.Dataset) -> None:
    recalls = []
    for seed in (1, 2, 3):
        index = cp.LoRANN("cosine", seed=seed).fit(words.vectors)
        assert index.to_bytes() != fitted("cosine").to_bytes()
        recalls.append(words_recall(index.search(words.queries, n_probe=50), "cosine"))
    assert min(recalls) >= 0.96


def test_bytes_per_vector(words: datasets.Dataset) -> None:
    for bits, rank in itertools.product(BITS, (64, 32, 12)):
        index = cp.LoRANN("cosine", n_clusters=1, rank=rank, bits=bits, keep="none")
        index.fit(words.vectors)
        parts = index.stats()["bytes"]
        slots = -(-10_000 // 64) * 64
        of_rows = sum(parts[name] for name in ("codes", "scale", "bias", "list_rows"))
        assert of_rows == slots * (-(-rank * bits // 32) * 4 + 10)


# Changes


@pytest.mark.parametrize("metric", METRICS)
def test_doubling_by_add(metric: Any, words: datasets.Dataset) -> None:
    """Within a point of a fresh build, or `stats` says that a refit is due; never far off."""
    order = np.random.default_rng(1).permutation(10_000)
    rows = words.vectors[order]
    fresh = words_recall(fitted(metric).search(words.queries, n_probe=40), metric)
    back = np.argsort(order)
    for first, said in ((8000, False), (6700, False), (6600, True), (5000, True)):
        index = cp.LoRANN(metric, n_clusters=100).fit(rows[:first], order[:first])
        assert index.stats()["refit"] is False
        index.add(rows[first:], order[first:])
        assert index.stats()["refit"] is said
        found = words_recall(index.search(words.queries, n_probe=40), metric)
        assert first > 5000 or said or found >= fresh - 0.01
        # 67 rows in a cluster of rank 64: its model knows them better than those that come.
        assert found >= fresh - 0.07, (first, found, fresh)
        np.testing.assert_array_equal(np.argsort(index.ids), back)
    index.fit(rows)
    assert index.stats()["refit"] is False


def test_first_rows_are_fitted_however_they_come(words: datasets.Dataset) -> None:
    rows = words.vectors[:2000]
    expected = cp.LoRANN("l2").fit(rows).to_bytes()
    added, after_none = cp.LoRANN("l2"), cp.LoRANN("l2").fit(rows[:0])
    added.add(rows)
    after_none.add(rows[:0])
    after_none.upsert(rows, np.arange(2000))
    assert added.to_bytes() == expected == after_none.to_bytes()


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("metric", METRICS)
def test_a_changed_index_is_that_of_its_rows(metric: Any, keep: Any, tmp_path: Path) -> None:
    rows, queries = normal(500, 24), normal(8, 24, seed=2)
    index = cp.LoRANN(metric, n_clusters=7, keep=keep).fit(rows)
    blank = copy.copy(index)
    blank.remove(np.arange(500))
    rng = np.random.default_rng(3)
    now = dict(enumerate(rows))
    for step in range(30):
        gone = rng.choice(sorted(now), 20, replace=False)
        index.remove(gone)
        for i in gone.tolist():
            del now[i]
        fresh = normal(17, 24, seed=100 + step)
        new = range(1000 + 13 * step, 1013 + 13 * step)
        ids = [*rng.choice(sorted(now), 4, replace=False).tolist(), *new]
        index.upsert(fresh, ids)
        now.update(zip(ids, fresh, strict=True))
    index.verify()
    assert {*index.ids.tolist()} == now.keys()
    blank.add(np.array([now[i] for i in index.ids.tolist()]), index.ids)
    everything: dict[str, Any] = {"n_probe": 7} | ({} if keep == "none" else {"rerank": 500})
    expected = index.search(queries, 500, **everything)
    assert_same(blank.search(queries, 500, **everything), expected)
    some = index.search(queries, n_probe=2)
    index.save(tmp_path / "x.cp")
    mapped = cp.load(tmp_path / "x.cp", mmap=True)
    for other in (mapped, cp.load(tmp_path / "x.cp"), pickle.loads(pickle.dumps(index))):
        assert isinstance(other, cp.LoRANN)
        assert_same(other.search(queries, 500, **everything), expected)
        assert_same(other.search(queries, n_probe=2), some)
        # Changed alike, they stay alike.
        for each in (other, second := copy.copy(index)):
            each.remove(each.ids[::3])
            each.add(rows[:50])
        assert other.to_bytes() == second.to_bytes()
    index.compact()
    assert_same(index.search(queries, 500, **everything), expected)


def test_an_emptied_index_may_be_filled_again() -> None:
    rows = normal(300, 12)
    index = cp.LoRANN("l2").fit(rows)
    index.remove(index.ids)
    assert index.search(rows[:3]).ids.shape == (3, 0)
    index.add(rows)
    found = index.search(rows, 1, n_probe=17, rerank=300)
    np.testing.assert_array_equal(found.ids[:, 0], np.arange(300, 600))


# Threads


CTRL_C = """
import numpy as np, counterpoint as cp
rows = np.random.default_rng(1).standard_normal((150_000, 96), dtype=np.float32)
index = cp.LoRANN("l2", n_clusters=1500).fit(rows[:500])
before = index.to_bytes()
print("go", flush=True)
try:
    while True:
        cp.LoRANN.fit(index, rows, threads=1)
        before = index.to_bytes()
except KeyboardInterrupt:
    print("interrupted", flush=True)
print("same" if len(index) in (500, 150_000) and index.to_bytes() == before else "changed")
"""


@pytest.mark.parametrize("wait", [0.05, 0.4, 1.0, 2.0])
def test_ctrl_c_stops_a_fit_within_half_a_second(wait: float) -> None:
    assert_stops_at_ctrl_c(CTRL_C, wait)


# Files


def patched(path: Path, tensor: str, at: int, value: bytes) -> None:
    """Write over a part of a tensor in a file."""
    data = bytearray(path.read_bytes())
    header = int.from_bytes(data[:8], "little")
    first, last = json.loads(data[8 : 8 + header])[tensor]["data_offsets"]
    assert at + len(value) <= last - first
    where = 8 + header + first + at
    data[where : where + len(value)] = value
    path.write_bytes(data)


NAN, INF = np.float32(np.nan).tobytes(), np.float32(-np.inf).tobytes()
IMPOSSIBLE: list[tuple[str, int, bytes, str]] = [
    *(
        (tensor, 4, value, f"{tensor}: expected finite values")
        for tensor in ("factor_scales", "factor_shifts", "along", "unit", "bias")
        for value in (NAN, INF)
    ),
    ("scale", 2, np.float16(np.inf).tobytes(), "scale: expected finite values"),
    ("projection", 4, NAN, "projection: expected finite values"),
    ("centroids", 64, NAN, "centroids: expected finite values"),
    ("mean", 4, INF, "mean: expected finite values"),
    ("vectors", 8, NAN, "vectors: expected finite values"),
    ("list_rows", 0, np.uint32(200).tobytes(), "list_rows: expected rows below 200, got 200"),
    ("list_rows", 0, np.uint32(2**32 - 1).tobytes(), "list_rows: .*gaps in block 0"),
    ("list_of_block", 0, np.uint32(4).tobytes(), "list_of_block: expected lists below 4, got 4"),
]


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(("tensor", "at", "value", "message"), IMPOSSIBLE)
def test_a_file_of_impossible_values_is_refused(
    tensor: str, at: int, value: bytes, message: str, mmap: bool, tmp_path: Path
) -> None:
    path = tmp_path / "x.cp"
    cp.LoRANN("l2", n_clusters=4).fit(normal(200, 24)).save(path)
    patched(path, tensor, at, value)
    with pytest.raises(cp.FormatError, match=f'damaged tensor "{tensor}"'):
        cp.load(path, mmap=mmap)
    with pytest.raises(cp.FormatError, match=message):
        cp.load(path, mmap=mmap, verify=False)


def test_a_row_in_two_lists_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.cp"
    cp.LoRANN("l2", n_clusters=4).fit(normal(200, 24)).save(path)
    rows = safetensors.numpy.load_file(path)["list_rows"]
    patched(path, "list_rows", 0, rows[1, 0].tobytes())
    with pytest.raises(cp.FormatError, match=f"each row once, got row {rows[1, 0]} twice"):
        cp.load(path, verify=False)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"rank\\":8', b'"rank\\":4'),
        (b'"bits\\":4', b'"bits\\":8'),
        (b'"clusters\\":4', b'"clusters\\":5'),
        (b'"dim\\":24', b'"dim\\":23'),
    ],
)
def test_a_header_of_another_shape_is_refused(before: bytes, after: bytes, tmp_path: Path) -> None:
    """Its digest tells; that such a header is refused even with a right one, the crate tests."""
    path = tmp_path / "x.cp"
    cp.LoRANN("l2", n_clusters=4, rank=8).fit(normal(200, 24)).save(path)
    data = path.read_bytes()
    assert before in data
    path.write_bytes(data.replace(before, after))
    for verify in (True, False):
        with pytest.raises(cp.FormatError, match="header"):
            cp.load(path, verify=verify)


@pytest.mark.parametrize(
    "tensor", ["projection", "mean", "centroids", "factor_scales", "factor_shifts", "along", "unit"]
)
def test_a_file_of_absurd_values_does_no_harm(tensor: str, tmp_path: Path) -> None:
    path = tmp_path / "x.cp"
    rows = normal(300, 24)
    metrics: tuple[Any, ...] = METRICS
    for metric, value in itertools.product(metrics, (3.4e38, -3.4e38, 1e-45)):
        cp.LoRANN(metric, n_clusters=4).fit(rows).save(path)
        patched(path, tensor, 4, np.float32(value).tobytes())
        try:
            index = cp.load(path, verify=False)
        except cp.FormatError:
            continue
        assert isinstance(index, cp.LoRANN)
        for knobs in ({}, {"n_probe": 1}, {"rerank": 0}):
            ids, distances = index.search(rows[:9], 20, **knobs)
            assert not np.isnan(distances).any()
            assert (distances[:, 1:] >= distances[:, :-1]).all()
            assert all(len({*row}) == 20 for row in ids.tolist())
        index.add(rows)
        assert index.search(rows[:9]).ids.shape == (9, 10)
