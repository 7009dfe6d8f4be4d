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
def fitted(metric: Any, stages: int = 8, bits: Any = 8, keep: Any = "none") -> cp.RVQ:
    """The words; not to be changed."""
    rows = datasets.load("words").vectors
    return cp.RVQ(metric, stages, bits, keep=keep).fit(rows)


@pytest.mark.parametrize("metric", METRICS)
def test_recall_rises_with_stages_and_reranking(metric: Any) -> None:
    queries = datasets.load("words").queries
    found = [words_recall(fitted(metric, stages).search(queries), metric) for stages in (2, 8)]
    assert found == sorted(found) and found[1] >= 0.4, found
    kept = fitted(metric, keep="f16")
    assert words_recall(kept.search(queries), metric) >= 0.95
    assert words_recall(kept.search(queries, rerank=0), metric) == found[1]


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
    made = cp.RVQ("ip", 5, 4, 3, "f16", 2**64 - 1)
    for index in (made, cp.from_bytes(made.to_bytes()), copy.copy(made.fit(normal(99, 20)))):
        assert isinstance(index, cp.RVQ)
        assert (index.stages, index.bits, index.beam, index.keep) == (5, 4, 3, "f16")
        assert index.seed == 2**64 - 1 and index.metric == "ip"
    default = cp.RVQ("l2")
    assert (default.stages, default.bits, default.beam, default.keep) == (8, 8, 16, "none")
    assert repr(cp.RVQ("ip", 5, 4, 3, "f16", 7)) == (
        '<RVQ("ip", stages=5, bits=4, beam=3, keep="f16", seed=7): 0 vectors>'
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stages": 0}, "stages: expected"),
        ({"stages": 65}, "stages: expected"),
        ({"bits": 6}, "bits: expected 4 or 8, got 6"),
        ({"beam": 0}, "beam: expected"),
        ({"beam": 257}, "beam: expected"),
        ({"keep": "f64"}, "keep: expected"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cp.RVQ("l2", **arguments)


def test_without_vectors_there_is_nothing_to_rerank_on() -> None:
    index = cp.RVQ("l2", stages=2).fit(normal(50, 4))
    with pytest.raises(ValueError, match="rerank"):
        index.search(normal(1, 4), rerank=5)
