"""RVQ: recall by bytes and beam, what an index says of itself, what is refused."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest

import counterpoint as cp
from counterpoint import datasets
from support import METRICS, normal, words_recall


@cache
def fitted(
    metric: Any, stages: int = 8, bits: Any = 8, keep: Any = "none", structure: Any = "flat"
) -> cp.RVQ:
    """The words; not to be changed."""
    rows = datasets.load("words").vectors
    return cp.RVQ(metric, stages, bits, structure=structure, keep=keep).fit(rows)


@pytest.mark.parametrize("metric", METRICS)
def test_recall_rises_with_stages_and_reranking(metric: Any) -> None:
    queries = datasets.load("words").queries
    kept = fitted(metric, keep="f16")
    found = [
        words_recall(fitted(metric, 2).search(queries), metric),
        words_recall(kept.search(queries, rerank=0), metric),
        words_recall(kept.search(queries), metric),
    ]
    assert found == sorted(found) and found[1] >= 0.4 and found[2] >= 0.95, found


@pytest.mark.parametrize("metric", METRICS)
def test_lists_make_codes_better_and_take_probes(metric: Any) -> None:
    queries = datasets.load("words").queries
    index = fitted(metric, keep="f16", structure="ivf")
    lists = index.stats()["n_lists"]
    assert lists == round(len(index) ** 0.5)
    found = [
        words_recall(index.search(queries, n_probe=probes, rerank=0), metric)
        for probes in (1, 8, lists)
    ]
    assert found == sorted(found) and found[0] < found[2], found
    flat = fitted(metric, keep="f16").search(queries, rerank=0)
    assert found[2] > words_recall(flat, metric)
    assert index.capabilities["knobs"] == ("n_probe", "rerank")
    assert words_recall(index.search(queries), metric) >= 0.9
    assert words_recall(index.search(queries, n_probe=lists, rerank=400), metric) >= 0.98


@pytest.mark.parametrize("structure", ["flat", "ivf"])
def test_first_stages_find_less(structure: Any) -> None:
    queries = datasets.load("words").queries
    index = fitted("cosine", structure=structure)
    found = [
        words_recall(index.search(queries, stages=stages), "cosine") for stages in (2, 4, 6, 8)
    ]
    assert found == sorted(found) and found[0] < found[3], found
    assert found[3] == words_recall(index.search(queries), "cosine")
    short = words_recall(fitted("cosine", 4, structure=structure).search(queries), "cosine")
    assert found[1] >= 0.85 * short, (found, short)


def test_it_finds_more_than_product_codes_of_as_many_bytes() -> None:
    data = datasets.load("words")
    product = cp.PQ("cosine", subspaces=9).fit(data.vectors)
    ours = words_recall(fitted("cosine").search(data.queries), "cosine")
    theirs = words_recall(product.search(data.queries), "cosine")
    assert ours > theirs, (ours, theirs)


def test_stats_say_what_every_stage_leaves() -> None:
    stats = fitted("cosine").stats()
    left = stats["distortion"]
    assert stats["stages_used"] == 8 and len(left) == 9 and left[0] == 1
    assert sorted(left, reverse=True) == left and left[8] < 0.6
    assert len(stats["dead_codes"]) == 8 and max(stats["dead_codes"]) < 0.01


def test_stages_end_where_there_is_nothing_left() -> None:
    rows = np.repeat(normal(20, 9), 10, axis=0)
    index = cp.RVQ("l2", stages=40).fit(rows)
    stats = index.stats()
    assert stats["stages"] == 40 and 1 <= stats["stages_used"] < 40
    ids, _ = index.search(rows[::10], k=10)
    assert all(set(found) == set(range(10 * i, 10 * i + 10)) for i, found in enumerate(ids))
    constant = cp.RVQ("l2").fit(np.full((50, 3), 2.5))
    assert constant.stats()["stages_used"] == 0
    np.testing.assert_array_equal(constant.reconstruct([7]), np.full((1, 3), 2.5, np.float32))


def test_an_object_says_how_it_was_made() -> None:
    made = cp.RVQ("ip", 5, 4, 3, keep="f16", seed=2**64 - 1)
    for index in (made, cp.from_bytes(made.to_bytes()), copy.copy(made.fit(normal(99, 20)))):
        assert isinstance(index, cp.RVQ)
        assert (index.stages, index.bits, index.beam, index.keep) == (5, 4, 3, "f16")
        assert index.seed == 2**64 - 1 and index.metric == "ip"
    default = cp.RVQ("l2")
    assert (default.stages, default.bits, default.beam, default.keep) == (8, 8, 16, "none")
    assert (default.structure, default.n_lists) == ("flat", None)
    assert repr(cp.RVQ("ip", 5, 4, 3, keep="f16", seed=7)) == (
        '<RVQ("ip", stages=5, bits=4, beam=3, keep="f16", seed=7): 0 vectors>'
    )
    for n_lists in (None, 12):
        made = cp.RVQ("ip", structure="ivf", n_lists=n_lists)
        for index in (made, cp.from_bytes(made.to_bytes()), copy.copy(made.fit(normal(99, 20)))):
            assert isinstance(index, cp.RVQ)
            assert (index.structure, index.n_lists) == ("ivf", n_lists)
        assert f'beam=16, structure="ivf", n_lists={n_lists}, keep="none"' in repr(made)
        assert made.stats()["n_lists"] == (n_lists or 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stages": 0}, "stages: expected"),
        ({"stages": 65}, "stages: expected"),
        ({"bits": 6}, "bits: expected 4 or 8, got 6"),
        ({"beam": 0}, "beam: expected"),
        ({"beam": 257}, "beam: expected"),
        ({"keep": "f64"}, "keep: expected"),
        ({"structure": "graph"}, 'structure: expected "flat" or "ivf", got "graph"'),
        ({"n_lists": 5}, 'n_lists: only for structure="ivf"'),
        ({"structure": "ivf", "n_lists": 0}, "n_lists: expected"),
        ({"structure": "ivf", "n_lists": 2**20 + 1}, "n_lists: expected"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cp.RVQ("l2", **arguments)


@pytest.mark.parametrize(
    ("structure", "knobs", "message"),
    [
        ("flat", {"rerank": 5}, "rerank: expected 0 or none"),
        ("flat", {"n_probe": 5}, "n_probe: this method has no lists"),
        ("ivf", {"n_probe": 0}, "n_probe: expected at least 1, got 0"),
        ("flat", {"stages": 0}, "stages: expected at least 1"),
        ("ivf", {"stages": 3}, "stages: expected at least 1, and no more than"),
        ("flat", {"stages": 1, "recall": 0.5}, "stages: expected none beside recall"),
    ],
)
def test_knobs_that_are_refused(structure: Any, knobs: dict[str, Any], message: str) -> None:
    index = cp.RVQ("l2", stages=2, structure=structure).fit(normal(50, 4))
    with pytest.raises(ValueError, match=message):
        index.search(normal(1, 4), **knobs)
    with pytest.raises(TypeError, match="stages"):
        cp.PQ("l2").fit(normal(50, 4)).search(normal(1, 4), stages=1)  # type: ignore[call-arg]
