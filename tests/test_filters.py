"""Filters against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import counterpoint as cp
from support import METHODS, METRICS, all_knobs, assert_same, normal

N, DIM, QUERIES = 130, 12, 9


def fitted(method: str = "Flat", metric: str = "l2") -> cp.Index:
    return METHODS[method](metric).fit(normal(N, DIM), IDS)


IDS = np.random.default_rng(7).permutation(1000)[:N]
Q = normal(QUERIES, DIM, seed=2)


def expected(
    index: cp.Index, query: np.ndarray, allowed: set[int], k: int, knobs: dict[str, Any]
) -> list[int]:
    """All neighbours, of which the allowed ones are kept."""
    ids = index.search(query, N, **knobs).ids.tolist()
    return [i for i in ids if i in allowed][:k]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [0, 1, 9, 64, N])
def test_ids_and_masks(method: str, metric: str, count: int) -> None:
    index = fitted(method, metric)
    knobs = all_knobs(method, N)
    allowed = np.random.default_rng(count).permutation(IDS)[:count]
    mask = np.isin(IDS, allowed)
    truth = [expected(index, query, set(allowed.tolist()), 10, knobs) for query in Q]
    found = index.search(Q, filter=allowed, **knobs)
    assert found.ids.shape == (QUERIES, min(10, count))
    assert found.ids.tolist() == truth
    unknown = np.concatenate([allowed, [5000, -3], allowed])
    for same in (allowed.tolist(), unknown, unknown.astype(np.int16), mask, mask.tolist()):
        assert_same(index.search(Q, filter=same, **knobs), found)
    assert_same(index.search(Q, filter=np.tile(mask, (QUERIES, 1)), **knobs), found)
    assert_same(index.search(Q, filter=[allowed] * QUERIES, **knobs), found)
    single = index.search(Q[3], filter=mask, **knobs)
    assert_same(single, cp.Result(found.ids[3], found.distances[3]))


@pytest.mark.parametrize("method", METHODS)
def test_one_filter_for_each_query(method: str) -> None:
    index = fitted(method)
    knobs = all_knobs(method, N)
    mask = np.zeros(N, bool)
    mask[[3, 100]] = True
    filters: list[Any] = [None, IDS[:4], [], mask, (int(IDS[9]),), [5000], IDS, ~mask, mask]
    found = index.search(Q, 7, filter=filters, **knobs)
    assert found.ids.shape == (QUERIES, 7)
    for query, ids, distances, wanted in zip(Q, *found, filters, strict=True):
        if wanted is None:
            alone = index.search(query, 7, **knobs)
        else:
            alone = index.search(query, 7, filter=wanted, **knobs)
        width = len(alone.ids)
        assert_same(cp.Result(ids[:width], distances[:width]), alone)
        assert (ids[width:] == -1).all() and np.isposinf(distances[width:]).all()
    assert_same(index.search(Q, 7, filter=tuple(filters), **knobs), found)
    few = index.search(Q[:2], 7, filter=[IDS[:2], IDS[:3]], **knobs)
    assert few.ids.shape == (2, 3) and few.ids[0, 2] == -1


def test_two_dimensional_mask_has_a_row_for_each_query() -> None:
    index = fitted()
    masks = np.random.default_rng(1).random((QUERIES, N)) < 0.3
    found = index.search(Q, 5, filter=masks)
    for query, mask, ids in zip(Q, masks, found.ids, strict=True):
        assert ids.tolist() == index.search(query, 5, filter=mask).ids.tolist()
    assert_same(index.search(Q, 5, filter=np.asfortranarray(masks)), found)
    assert_same(
        index.search(Q[::-1], 5, filter=masks[::-1]),
        cp.Result(found.ids[::-1], found.distances[::-1]),
    )


def test_a_mask_follows_the_order_of_ids() -> None:
    index = fitted()
    index.remove(IDS[0])
    mask = np.zeros(N - 1, bool)
    mask[0] = True
    assert index.search(Q[0], filter=mask).ids.tolist() == [index.ids[0]] == [IDS[-1]]


def test_any_byte_but_zero_is_true() -> None:
    index = fitted()
    raw = np.zeros(N, np.uint8)
    raw[[1, 5, 9]] = [2, 255, 1]
    found = index.search(Q, filter=raw.view(bool))
    assert_same(found, index.search(Q, filter=IDS[[1, 5, 9]]))


def test_an_empty_index_takes_filters() -> None:
    index = cp.Flat("l2")
    assert index.search([[1.0]], filter=[1, 2]).ids.shape == (1, 0)
    assert index.search([[1.0]], filter=np.empty(0, bool)).ids.shape == (1, 0)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.ones(N - 1, bool), ValueError, "filter: expected a mask of 130 entries.* got 129"),
        (np.ones(N + 64, bool), ValueError, "filter: expected a mask of 130 entries.* got 194"),
        (np.ones((QUERIES - 1, N), bool), ValueError, "filter: expected one for each of 9.* got 8"),
        (np.ones((QUERIES, N - 1), bool), ValueError, "filter: expected a mask of 130.* got 129"),
        ([IDS[:2]] * 3, ValueError, "filter: expected one for each of 9 queries, got 3"),
        ([None], ValueError, "filter: expected one for each of 9 queries, got 1"),
        (np.ones((QUERIES, 3), int), ValueError, r"filter: expected ids of shape \(m,\)"),
        (np.ones((2, 2, 2), bool), ValueError, r"filter: expected ids of shape \(m,\)"),
        (np.int64(3), ValueError, r"filter: expected ids of shape \(m,\)"),
        (3, ValueError, r"filter: expected ids of shape \(m,\)"),
        ([1.0, 2.0], TypeError, "filter: expected integer ids or a boolean mask, got float64"),
        (np.empty(0), TypeError, "filter: expected integer ids or a boolean mask, got float64"),
        ("abc", ValueError, "filter"),
        (["a"], ValueError, "filter"),
        ([1, None], TypeError, "filter: expected integer ids or a boolean mask, got object"),
        ([None] * 8 + [[1.5]], TypeError, "filter: expected integer ids"),
        (np.array([2**63], np.uint64), ValueError, "filter: expected ids of at most"),
    ],
)
def test_wrong_filters(wrong: Any, error: type[Exception], message: str) -> None:
    index = fitted()
    with pytest.raises(error, match=message):
        index.search(Q, filter=wrong)


@pytest.mark.parametrize("wrong", [[[1, 2]], [None], np.ones((1, N), bool)])
def test_a_single_query_takes_a_single_filter(wrong: Any) -> None:
    with pytest.raises(ValueError, match="filter: expected ids"):
        fitted().search(Q[0], filter=wrong)
