"""LVQ on a graph: recall, how the graph changes, filters, threads, files, what is refused."""

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


def graph(metric: Any, primary: Any = 4, residual: Any = 8, **settings: Any) -> cp.LVQ:
    return cp.LVQ(metric, primary, residual, structure="graph", **settings)


@cache
def fitted(metric: Any) -> cp.LVQ:
    """The words, in 4 and 8 bits; not to be changed."""
    return graph(metric).fit(datasets.load("words").vectors)


@pytest.mark.parametrize("metric", METRICS)
def test_recall_rises_with_ef(metric: Any) -> None:
    queries = datasets.load("words").queries
    index = fitted(metric)
    found = [words_recall(index.search(queries, ef=ef), metric) for ef in (10, 20, 50, 100, 400)]
    assert found == sorted(found)
    assert found[2] >= 0.9 and found[4] >= 0.99
    assert words_recall(index.search(queries), metric) >= 0.95


def test_an_ef_below_k_is_k() -> None:
    queries = datasets.load("words").queries[:50]
    index = fitted("cosine")
    assert_same(index.search(queries, 30, ef=1), index.search(queries, 30, ef=30))
    assert index.search(queries, 700, ef=5).ids.shape == (50, 700)


def test_an_object_says_how_it_was_made() -> None:
    made = cp.LVQ("ip", 8, 8, "f16", "graph", 64, 20, 2**64 - 1)
    for index in (made, cp.from_bytes(made.to_bytes()), copy.copy(made.fit(normal(99, 20)))):
        assert isinstance(index, cp.LVQ)
        assert (index.primary, index.residual, index.keep) == (8, 8, "f16")
        assert (index.structure, index.degree, index.ef_construction) == ("graph", 64, 20)
        assert index.seed == 2**64 - 1
    flat = cp.LVQ("l2")
    assert (flat.structure, flat.degree, flat.ef_construction, flat.seed) == ("flat", *[None] * 3)
    assert repr(graph("l2", seed=3)) == (
        '<LVQ("l2", primary=4, residual=8, keep="none", structure="graph", degree=32, '
        "ef_construction=64, seed=3): 0 vectors>"
    )
    default = graph("l2")
    assert (default.degree, default.seed) == (32, 0)


@pytest.mark.parametrize("residual", [0, 8])
@pytest.mark.parametrize("keep", ["none", "int8", "f16", "f32"])
def test_what_candidates_are_scored_again_on(residual: Any, keep: Any) -> None:
    words = datasets.load("words")
    index = graph("cosine", 4, residual, keep=keep).fit(words.vectors[:3000])
    truth = cp.Flat("cosine").fit(words.vectors[:3000]).search(words.queries)
    plain = index.search(words.queries, ef=100, rerank=0)
    found = index.search(words.queries, ef=100)
    if residual == 0 and keep == "none":
        assert_same(found, plain)
        with pytest.raises(ValueError, match="neither a residual nor kept vectors"):
            index.search(words.queries, rerank=1)
        return

    def shared(result: cp.Result) -> float:
        pairs = zip(result.ids.tolist(), truth.ids.tolist(), strict=True)
        return sum(len({*a} & {*b}) for a, b in pairs) / truth.ids.size

    assert shared(found) > 0.98 > shared(plain) > 0.85
    few = index.search(words.queries, ef=100, rerank=15)
    assert shared(plain) <= shared(few) <= shared(found) + 0.001


def test_a_residual_can_be_dropped(tmp_path: Path) -> None:
    queries = datasets.load("words").queries[:100]
    both = fitted("cosine")
    one = both.without_residual()
    assert (one.structure, one.residual) == ("graph", 0)
    assert_same(one.search(queries), both.search(queries, rerank=0))
    one.save(tmp_path / "x.cp")
    assert_same(cp.load(tmp_path / "x.cp", mmap=True).search(queries), one.search(queries))


def test_stats() -> None:
    stats = fitted("cosine").stats()
    assert stats["degree"] == 32 and stats["unreachable"] == 0
    assert stats["entry_points"] >= 1 and stats["deleted_share"] == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 34, 64, 65])
def test_few_rows_are_all_found(metric: Any, n: int) -> None:
    rows, queries = normal(n, 7), normal(9, 7, seed=2)
    index = graph(metric).fit(rows)
    found = index.search(queries, n)
    truth = exact(queries, rows, metric)
    np.testing.assert_array_equal(np.sort(found.ids, axis=1), np.tile(np.arange(n), (9, 1)))
    np.testing.assert_allclose(found.distances, np.sort(truth, axis=1), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("d", [1, 2, 3, 31, 33, 64, 65])
@pytest.mark.parametrize("metric", METRICS)
def test_any_dimension(metric: Any, d: int) -> None:
    rows = normal(500, d)
    found = graph(metric).fit(rows).search(rows[:50], 1, ef=200)
    truth = exact(rows[:50], rows, metric).min(axis=1)
    np.testing.assert_allclose(found.distances[:, 0], truth, rtol=1e-2, atol=1e-2)


def test_equal_rows() -> None:
    index = graph("l2").fit(np.ones((300, 5), np.float32))
    found = index.search(np.ones(5, np.float32), 300)
    assert sorted(found.ids.tolist()) == list(range(300))
    assert (found.distances < 1e-12).all()


def test_the_same_bytes_for_any_threads() -> None:
    rows = datasets.load("words").vectors
    one = graph("cosine").fit(rows[:3000], threads=1)
    for threads in (2, 5):
        other = graph("cosine").fit(rows[:3000], threads=threads)
        assert other.to_bytes() == one.to_bytes()
    one.add(rows[3000:3500], threads=1)
    other.add(rows[3000:3500], threads=3)
    assert other.to_bytes() == one.to_bytes()
    seeded = graph("cosine", seed=1).fit(rows[:3000])
    assert seeded.to_bytes() != one.to_bytes()


def test_batches_are_as_singles() -> None:
    queries = datasets.load("words").queries[:60]
    for metric in METRICS:
        whole = fitted(metric).search(queries, 7, ef=40)
        for row, query in enumerate(queries):
            alone = fitted(metric).search(query, 7, ef=40)
            np.testing.assert_array_equal(alone.ids, whole.ids[row])
            np.testing.assert_array_equal(alone.distances, whole.distances[row])


def test_churn() -> None:
    """Twenty rounds of removing and adding a tenth: within a point of a fresh build."""
    data = datasets.load("words")
    rng = np.random.default_rng(5)
    pool = data.vectors[:4000]
    index = graph("cosine").fit(pool[:3000], np.arange(3000))
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
    fresh = graph("cosine").fit(pool[live], live)

    def recall(index: cp.LVQ) -> float:
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
    for share, floor in ((0.5, 0.95), (0.1, 0.9), (0.03, 0.9), (0.01, 0.995), (0.001, 0.995)):
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
        assert isinstance(other, cp.LVQ)
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
        ({"seed": -1}, ValueError, "seed"),
        ({"primary": 8, "residual": 4}, ValueError, "primary and residual"),
    ],
)
def test_constructor_refuses(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        graph("l2", **options)


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


def test_what_is_not_of_a_structure_is_refused() -> None:
    with pytest.raises(ValueError, match='structure: expected "flat" or "graph", got "tree"'):
        cp.LVQ("l2", structure="tree")  # type: ignore[arg-type]
    for name in ("degree", "ef_construction", "seed"):
        with pytest.raises(ValueError, match=f'{name}: only for structure="graph"'):
            cp.LVQ("l2", **{name: 32})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ef: this method has no graph"):
        cp.LVQ("l2").fit(normal(9, 3)).search(normal(1, 3), ef=5)
