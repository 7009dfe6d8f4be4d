"""SymphonyQG: recall, how its graph changes, filters, threads, files, what is refused."""

from __future__ import annotations

import copy
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import counterpoint as cp
from counterpoint import datasets
from support import METRICS, assert_same, exact, normal, words_recall


@cache
def fitted(metric: Any) -> cp.SymphonyQG:
    """The words by default; not to be changed."""
    return cp.SymphonyQG(metric).fit(datasets.load("words").vectors)


@pytest.mark.parametrize("metric", METRICS)
def test_recall_rises_with_ef(metric: Any) -> None:
    queries = datasets.load("words").queries
    index = fitted(metric)
    found = [words_recall(index.search(queries, ef=ef), metric) for ef in (10, 20, 50, 100, 400)]
    assert found == sorted(found)
    assert found[2] >= 0.9 and found[4] >= 0.99
    assert words_recall(index.search(queries), metric) >= 0.95


def test_learned_codes_of_edges_rank_too() -> None:
    data = datasets.load("words")
    index = cp.SymphonyQG("cosine", edge_codes="pq4").fit(data.vectors)
    found = [words_recall(index.search(data.queries, ef=ef), "cosine") for ef in (20, 50, 400)]
    assert found == sorted(found) and found[1] >= 0.9 and found[2] >= 0.99
    assert index.stats()["edge_codes"] == "pq4"


def test_an_ef_below_k_is_k() -> None:
    queries = datasets.load("words").queries[:50]
    index = fitted("cosine")
    assert_same(index.search(queries, 30, ef=1), index.search(queries, 30, ef=30))
    assert index.search(queries, 700, ef=5).ids.shape == (50, 700)


def test_an_object_says_how_it_was_made() -> None:
    made = cp.SymphonyQG("ip", 64, 20, "int8", 2**64 - 1)
    assert (made.degree, made.ef_construction, made.seed, made.metric) == (64, 20, 2**64 - 1, "ip")
    assert made.keep == "int8"
    for index in (cp.from_bytes(made.to_bytes()), copy.copy(made.fit(normal(99, 20)))):
        assert isinstance(index, cp.SymphonyQG)
        assert (index.degree, index.ef_construction, index.seed) == (64, 20, 2**64 - 1)
        assert index.keep == "int8"
    default = cp.SymphonyQG("l2")
    assert (default.degree, default.keep, default.seed) == (32, "f32", 0)
    assert default.edge_codes == "rabitq"
    learned = cp.from_bytes(cp.SymphonyQG("l2", edge_codes="pq4").to_bytes())
    assert isinstance(learned, cp.SymphonyQG)
    assert learned.edge_codes == "pq4"
    with pytest.raises(ValueError, match='edge_codes: expected "rabitq" or "pq4", got "pq8"'):
        cp.SymphonyQG("l2", edge_codes="pq8")  # type: ignore[arg-type]
    assert repr(cp.SymphonyQG("ip", 64, 20, "f16", 3)) == (
        '<SymphonyQG("ip", degree=64, ef_construction=20, keep="f16", seed=3, '
        'edge_codes="rabitq"): 0 vectors>'
    )


def test_stats() -> None:
    stats = fitted("cosine").stats()
    assert stats["degree"] == 32 and stats["unreachable"] == 0
    assert stats["entry_points"] >= 1 and stats["deleted_share"] == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 34, 64, 65])
def test_few_rows_are_all_found(metric: Any, n: int) -> None:
    rows, queries = normal(n, 7), normal(9, 7, seed=2)
    index = cp.SymphonyQG(metric).fit(rows)
    found = index.search(queries, n)
    truth = exact(queries, rows, metric)
    np.testing.assert_array_equal(np.sort(found.ids, axis=1), np.tile(np.arange(n), (9, 1)))
    np.testing.assert_allclose(found.distances, np.sort(truth, axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3, 31, 33, 64, 65])
@pytest.mark.parametrize("metric", METRICS)
def test_any_dimension(metric: Any, d: int) -> None:
    rows = normal(500, d)
    found = cp.SymphonyQG(metric).fit(rows).search(rows[:50], 1, ef=200)
    truth = exact(rows[:50], rows, metric).min(axis=1)
    np.testing.assert_allclose(found.distances[:, 0], truth, rtol=1e-3, atol=1e-5)


def test_equal_rows() -> None:
    index = cp.SymphonyQG("l2").fit(np.ones((300, 5), np.float32))
    found = index.search(np.ones(5, np.float32), 300)
    assert sorted(found.ids.tolist()) == list(range(300)) and not found.distances.any()


def test_the_same_bytes_for_any_threads() -> None:
    rows = datasets.load("words").vectors
    one = cp.SymphonyQG("cosine").fit(rows[:3000], threads=1)
    for threads in (2, 5):
        other = cp.SymphonyQG("cosine").fit(rows[:3000], threads=threads)
        assert other.to_bytes() == one.to_bytes()
    one.add(rows[3000:3500], threads=1)
    other.add(rows[3000:3500], threads=3)
    assert other.to_bytes() == one.to_bytes()
    seeded = cp.SymphonyQG("cosine", seed=1).fit(rows[:3000])
    assert seeded.to_bytes() != one.to_bytes()


def test_batches_are_as_singles() -> None:
    queries = datasets.load("words").queries[:60]
    for metric in METRICS:
        whole = fitted(metric).search(queries, 7, ef=40)
        for row, query in enumerate(queries):
            alone = fitted(metric).search(query, 7, ef=40)
            np.testing.assert_array_equal(alone.ids, whole.ids[row])
            np.testing.assert_array_equal(alone.distances, whole.distances[row])


def test_distances_are_exact_or_estimates() -> None:
    data = datasets.load("words")
    truth = exact(data.queries[:20], data.vectors, "l2")
    found = fitted("l2").search(data.queries[:20], ef=200)
    expected = np.take_along_axis(truth, found.ids, axis=1)
    np.testing.assert_allclose(found.distances, expected, rtol=1e-4, atol=1e-5)
    rough = fitted("l2").search(data.queries[:20], ef=200, rerank=0)
    assert (np.diff(rough.distances, axis=1) >= 0).all()
    errors = rough.distances - np.take_along_axis(truth, rough.ids, axis=1)
    assert 1e-4 < np.abs(errors).mean() < 0.2


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("keep", "most"), [("f32", 0.0), ("f16", 1e-3), ("int8", 5e-3)])
def test_distances_are_to_what_is_kept(metric: Any, keep: Any, most: float) -> None:
    data = datasets.load("words")
    index = cp.SymphonyQG(metric, keep=keep).fit(data.vectors[:3000])
    kept = index.reconstruct(index.ids)
    rows = data.vectors[:3000]
    if metric == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.abs(kept - rows).max() <= max(most, 1e-6)
    found = index.search(data.queries[:100], ef=200)
    queries = data.queries[:100]
    if metric == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    near = kept[found.ids]
    products = np.einsum("qkd,qd->qk", near, queries)
    expected = {
        "l2": ((near - queries[:, None]) ** 2).sum(axis=2),
        "ip": -products,
        "cosine": 1 - products,
    }[metric]
    np.testing.assert_allclose(found.distances, expected, rtol=1e-4, atol=1e-5)
    truth = exact(queries, rows, metric)
    worst = np.sort(truth, axis=1)[:, 9:10] + 4 * max(most, 1e-5)
    assert (np.take_along_axis(truth, found.ids, axis=1) <= worst).mean() >= 0.98


def test_fewer_bytes_find_as_much() -> None:
    data = datasets.load("words")
    sizes = []
    for keep, floor in (("f32", 0.95), ("f16", 0.95), ("int8", 0.94)):
        index = cp.SymphonyQG("cosine", keep=keep).fit(data.vectors)  # type: ignore[arg-type]
        assert words_recall(index.search(data.queries), "cosine") >= floor
        sizes.append(len(index.to_bytes()))
    assert sizes[0] > sizes[1] > sizes[2]


def test_what_f16_cannot_hold_is_refused() -> None:
    rows = normal(40, 5)
    rows[7, 2] = 70_000
    with pytest.raises(ValueError, match="fit f16"):
        cp.SymphonyQG("l2", keep="f16").fit(rows)
    index = cp.SymphonyQG("l2", keep="f16").fit(rows[:7])
    with pytest.raises(ValueError, match="fit f16"):
        index.add(rows[7:9])
    assert len(index) == 7
    cp.SymphonyQG("cosine", keep="f16").fit(rows)
    cp.SymphonyQG("l2", keep="int8").fit(rows)


def test_inner_products_of_unequal_lengths() -> None:
    """Rows a hundred times as long as others, and queries of any length."""
    rows = normal(4000, 48) * np.exp(normal(4000, 1, seed=3)).astype(np.float32)
    queries = normal(200, 48, seed=2)
    truth = np.sort(exact(queries, rows, "ip"), axis=1)[:, 9:10]
    for keep in ("f32", "int8"):
        index = cp.SymphonyQG("ip", keep=keep).fit(rows)
        for length in (1e-3, 1.0, 1e3):
            found = index.search(length * queries)
            assert (found.distances <= length * (truth + 0.01 * np.abs(truth))).mean() >= 0.95


def test_churn() -> None:
    """Twenty rounds of removing and adding a tenth: within a point of a fresh build."""
    data = datasets.load("words")
    rng = np.random.default_rng(5)
    pool = data.vectors[:4000]
    index = cp.SymphonyQG("cosine").fit(pool[:3000], np.arange(3000))
    live = np.arange(3000)
    for _ in range(20):
        gone = rng.choice(live, 300, replace=False)
        index.remove(gone)
        live = np.setdiff1d(live, gone)
        new = rng.choice(np.setdiff1d(np.arange(4000), live), 300, replace=False)
        index.add(pool[new], new)
        live = np.union1d(live, new)
    np.testing.assert_array_equal(np.sort(index.ids), live)
    truth = cp.Flat("cosine").fit(pool[live], live).search(data.queries).ids
    fresh = cp.SymphonyQG("cosine").fit(pool[live], live)

    def recall(index: cp.SymphonyQG) -> float:
        found = index.search(data.queries, ef=50).ids
        pairs = zip(found.tolist(), truth.tolist(), strict=True)
        return sum(len({*a} & {*b}) for a, b in pairs) / truth.size

    for _ in range(2):
        assert recall(index) >= recall(fresh) - 0.01
        own = index.search(pool[live], 1, ef=100).ids[:, 0]
        assert (own == live).mean() >= 0.999
        assert index.stats()["unreachable"] == 0
        index.compact()


def test_filters_fill_k() -> None:
    data = datasets.load("words")
    index = fitted("cosine")
    rng = np.random.default_rng(3)
    exact_index = cp.Flat("cosine").fit(data.vectors)
    for share, floor in ((0.5, 0.95), (0.1, 0.9), (0.03, 0.9), (0.01, 1.0), (0.001, 1.0)):
        allowed = np.flatnonzero(rng.random(len(index)) < share)
        found = index.search(data.queries[:200], filter=allowed).ids
        assert found.shape == (200, min(10, len(allowed)))
        assert np.isin(found, allowed).all()
        truth = exact_index.search(data.queries[:200], filter=allowed).ids
        pairs = zip(found.tolist(), truth.tolist(), strict=True)
        assert sum(len({*a} & {*b}) for a, b in pairs) / truth.size >= floor
    assert index.search(data.queries[:2], 30, filter=[5]).ids.tolist() == [[5], [5]]


def test_save_and_load(tmp_path: Path) -> None:
    queries = datasets.load("words").queries[:100]
    index = fitted("cosine")
    index.save(tmp_path / "x.cp")
    expected = index.search(queries, ef=60)
    for other in (
        cp.load(tmp_path / "x.cp"),
        cp.load(tmp_path / "x.cp", mmap=True),
        pickle.loads(pickle.dumps(index)),
    ):
        assert isinstance(other, cp.SymphonyQG)
        assert_same(other.search(queries, ef=60), expected)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"degree": 0}, ValueError, "degree: expected a positive multiple of 32"),
        ({"degree": 31}, ValueError, "degree: .* got 31"),
        ({"degree": 2**70}, ValueError, "degree"),
        ({"degree": 32.0}, TypeError, "degree: expected an int, got float"),
        ({"ef_construction": 0}, ValueError, "ef_construction: expected at least 1, got 0"),
        ({"ef_construction": None}, TypeError, "ef_construction: expected an int, got NoneType"),
        ({"keep": "none"}, ValueError, 'keep: expected "int8", "f16" or "f32", got "none"'),
        ({"keep": "f64"}, ValueError, "keep: expected"),
        ({"keep": 16}, TypeError, "keep: expected a str, got int"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_constructor_refuses(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cp.SymphonyQG("l2", **options)


def test_search_refuses() -> None:
    index = fitted("cosine")
    query = datasets.load("words").queries[0]
    for knobs, error in (
        ({"ef": 0}, ValueError),
        ({"ef": -1}, ValueError),
        ({"ef": 1.5}, TypeError),
        ({"n_probe": 1}, TypeError),
    ):
        with pytest.raises(error):
            index.search(query, **knobs)
    broken = query.copy()
    broken[3] = np.nan
    with pytest.raises(ValueError, match="row 0, column 3"):
        index.search(broken)
