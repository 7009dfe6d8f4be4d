"""Flat against NumPy in float64; batches, singles and threads bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import counterpoint as cp
from support import METHODS, METRICS, assert_same, exact, normal

DIMS = (1, 2, 3, 6, 7, 8, 100, 1537)
SIZES = (0, 1, 2, 31, 32, 33, 63, 64, 65, 1000)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("n", SIZES)
def test_against_numpy(metric: str, dim: int, n: int) -> None:
    rows, queries = normal(n, dim), normal(7, dim, seed=2)
    found = cp.Flat(metric).fit(rows).search(queries, 10)  # type: ignore[arg-type]
    width = min(10, n)
    assert found.ids.shape == found.distances.shape == (7, width)
    assert found.ids.dtype == np.int64 and found.distances.dtype == np.float32
    truth = exact(queries, rows, metric)
    scale = 4.0 * (1.0 if metric == "cosine" else np.abs(truth).max(initial=1.0))
    tolerance = scale * 2.0**-24 * (dim + 4)
    mine = np.take_along_axis(truth, found.ids, axis=1)
    np.testing.assert_allclose(found.distances, mine, rtol=0, atol=tolerance)
    nearest = np.sort(truth, axis=1)[:, :width]
    np.testing.assert_allclose(found.distances, nearest, rtol=0, atol=tolerance)
    assert (np.diff(found.distances, axis=1) >= 0).all()
    assert all(len(set(row)) == width for row in found.ids.tolist())


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("n", [5, 64, 700])
def test_ties_come_in_the_order_of_rows(metric: str, n: int) -> None:
    # Small whole numbers: every distance is exact, and most are shared.
    rng = np.random.default_rng(3)
    rows = rng.integers(-1, 2, (n, 6)).astype(np.float32)
    queries = rng.integers(-1, 2, (20, 6)).astype(np.float32)
    ids = rng.permutation(n) + 1000
    found = cp.Flat(metric).fit(rows, ids).search(queries, k=n)  # type: ignore[arg-type]
    truth = exact(queries, rows, metric)
    order = np.argsort(truth, axis=1, kind="stable")
    np.testing.assert_array_equal(found.ids, ids[order])
    np.testing.assert_array_equal(found.distances, np.take_along_axis(truth, order, axis=1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "dim"), [(1, 3), (65, 7), (1000, 100)])
def test_batches_singles_and_threads_agree(method: str, metric: str, n: int, dim: int) -> None:
    rows, queries = normal(n, dim), normal(13, dim, seed=4)
    index = METHODS[method](metric).fit(rows, threads=2)
    assert index.to_bytes() == METHODS[method](metric).fit(rows, threads=1).to_bytes()
    batch = index.search(queries, 11)
    for threads in (1, 2, 7):
        assert_same(index.search(queries, 11, threads=threads), batch)
        for query, ids, distances in zip(queries, *batch, strict=True):
            found = index.search(query, 11, threads=threads)
            assert found.ids.ndim == 1
            assert_same(found, cp.Result(ids, distances))


@pytest.mark.parametrize("method", METHODS)
def test_few_queries_over_many_rows_share_the_rows_out(method: str) -> None:
    rows, queries = normal(20_000, 8), normal(3, 8, seed=5)
    index = METHODS[method]("l2").fit(rows)
    expected = index.search(queries, 50, threads=1)
    for threads in (2, 3, 16):
        assert_same(index.search(queries, 50, threads=threads), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_and_more_neighbours_than_rows(method: str, metric: str) -> None:
    rows = np.repeat(normal(1, 9), 70, axis=0)
    index = METHODS[method](metric).fit(rows)
    ids, distances = index.search(rows[:2], k=10**30)
    np.testing.assert_array_equal(ids, np.tile(np.arange(70), (2, 1)))
    assert (distances == distances[0, 0]).all()


@pytest.mark.parametrize("method", METHODS)
def test_no_queries_and_no_rows(method: str) -> None:
    index = METHODS[method]("l2")
    assert index.search([1.0, 2.0]).ids.shape == (0,)
    assert index.search([[1.0, 2.0]]).ids.shape == (1, 0)
    index.fit(np.empty((0, 4), np.float32))
    assert index.dim == 4 and len(index) == 0
    assert index.search(np.empty((0, 4), np.float32)).ids.shape == (0, 0)
    index.add(normal(3, 4))
    assert index.search(np.empty((0, 4), np.float32)).ids.shape == (0, 3)


def test_distances_do_not_cancel() -> None:
    rows = 1e4 + normal(300, 16) * 1e-2
    ids, distances = cp.Flat("l2").fit(rows).search(rows[:9], 5)
    np.testing.assert_array_equal(ids[:, 0], np.arange(9))
    assert (distances[:, 0] == 0).all()
    truth = np.sort(exact(rows[:9], rows, "l2"), axis=1)[:, :5]
    np.testing.assert_allclose(distances, truth, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-18, 1e15])
@pytest.mark.parametrize("metric", METRICS)
def test_the_extremes_stay_finite(metric: str, scale: float) -> None:
    rows = np.sign(normal(100, 64)) * np.float32(scale)
    found = cp.Flat(metric).fit(rows).search(rows[:5], 3)  # type: ignore[arg-type]
    assert np.isfinite(found.distances).all()
    assert (found.distances[:, 0] <= found.distances[:, 1]).all()
