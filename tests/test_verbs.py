"""Every verb against a dict."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import counterpoint as cp
from support import METHODS, normal

DIM = 5
VECTORS = normal(64, DIM)
MORE_IDS = st.lists(st.integers(-(2**63), 2**63 - 2) | st.integers(0, 30), max_size=6, unique=True)


class Model(RuleBasedStateMachine):
    """An index that keeps its vectors, beside a dict from id to vector."""

    knobs: ClassVar[dict[str, Any]] = {}

    def make(self) -> cp.Index:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.index = self.make()
        self.rows: dict[int, int] = {}
        self.next = 0

    def fill(self, count: int, first: int) -> tuple[np.ndarray, list[int]]:
        picks = [(first + i) % len(VECTORS) for i in range(count)]
        return VECTORS[picks], picks

    def given(self, ids: list[int]) -> None:
        self.next = max([self.next, *(i + 1 for i in ids)])

    @rule(count=st.integers(0, 70), first=st.integers(0, 63))
    def fit(self, count: int, first: int) -> None:
        vectors, picks = self.fill(count, first)
        assert self.index.fit(vectors) is self.index
        self.rows = dict(enumerate(picks))
        self.next = count

    @rule(ids=MORE_IDS, first=st.integers(0, 63))
    def fit_ids(self, ids: list[int], first: int) -> None:
        vectors, picks = self.fill(len(ids), first)
        self.index.fit(vectors, ids)
        self.rows = dict(zip(ids, picks, strict=True))
        self.next = 0
        self.given(ids)

    @precondition(lambda self: self.next < 2**62)
    @rule(count=st.integers(0, 40), first=st.integers(0, 63))
    def add(self, count: int, first: int) -> None:
        vectors, picks = self.fill(count, first)
        ids = self.index.add(vectors).tolist()
        assert ids == list(range(self.next, self.next + count))
        self.rows |= dict(zip(ids, picks, strict=True))
        self.next += count

    @rule(ids=MORE_IDS, first=st.integers(0, 63))
    def add_ids(self, ids: list[int], first: int) -> None:
        vectors, picks = self.fill(len(ids), first)
        before = self.index.to_bytes()
        if self.rows.keys() & set(ids):
            with pytest.raises(ValueError, match=r"ids: expected new ids, got -?\d+"):
                self.index.add(vectors, ids)
            assert self.index.to_bytes() == before
            return
        assert self.index.add(vectors, ids).tolist() == ids
        self.rows |= dict(zip(ids, picks, strict=True))
        self.given(ids)

    @rule(ids=MORE_IDS, first=st.integers(0, 63))
    def upsert(self, ids: list[int], first: int) -> None:
        vectors, picks = self.fill(len(ids), first)
        self.index.upsert(vectors, ids)
        self.rows |= dict(zip(ids, picks, strict=True))
        self.given(ids)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.rows)), unique=True, max_size=20))
        before = self.index.to_bytes()
        with pytest.raises(KeyError, match="no vector has id"):
            self.index.remove([*ids, 2**63 - 1])
        assert self.index.to_bytes() == before
        self.index.remove(ids)
        for gone in ids:
            del self.rows[gone]

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule(way=st.sampled_from(["pickle", "copy", "deepcopy", "bytes"]))
    def renew(self, way: str) -> None:
        before = self.index.to_bytes()
        ways: dict[str, Callable[[], cp.Index]] = {
            "pickle": lambda: pickle.loads(pickle.dumps(self.index)),
            "copy": lambda: copy.copy(self.index),
            "deepcopy": lambda: copy.deepcopy(self.index),
            "bytes": lambda: type(self.index).from_bytes(before),
        }
        self.index = ways[way]()
        assert self.index.to_bytes() == before

    @invariant()
    def agrees(self) -> None:
        ids = self.index.ids
        assert ids.dtype == np.int64
        assert len(self.index) == len(self.rows) and set(ids.tolist()) == self.rows.keys()
        assert all(i in self.index for i in self.rows)
        assert -(2**63) + 1 in self.index or -(2**63) + 1 not in self.rows
        self.index.verify()
        if self.rows:
            picks = list(self.rows.values())
            np.testing.assert_array_equal(self.index.reconstruct(list(self.rows)), VECTORS[picks])
            found, distances = self.index.search(VECTORS[picks[:3]], k=1, **self.knobs)
            assert [self.rows[i] for i in found[:, 0].tolist()] == picks[:3]
            assert (distances == 0).all()


class FlatModel(Model):
    def make(self) -> cp.Index:
        return cp.Flat("l2")


class LVQModel(Model):
    def make(self) -> cp.Index:
        return cp.LVQ("l2", keep="f32")


class TurboQuantModel(Model):
    knobs: ClassVar[dict[str, Any]] = {"rerank": 10_000}  # all

    def make(self) -> cp.Index:
        return cp.TurboQuant("l2", bits=2, keep="f32")


class LoRANNModel(Model):
    knobs: ClassVar[dict[str, Any]] = {"n_probe": 10_000, "rerank": 10_000}  # all

    def make(self) -> cp.Index:
        return cp.LoRANN("l2", n_clusters=3)


SETTINGS = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestFlatModel = FlatModel.TestCase
TestFlatModel.settings = SETTINGS
TestLVQModel = LVQModel.TestCase
TestLVQModel.settings = SETTINGS
TestLoRANNModel = LoRANNModel.TestCase
TestLoRANNModel.settings = SETTINGS
TestTurboQuantModel = TurboQuantModel.TestCase
TestTurboQuantModel.settings = SETTINGS


@pytest.mark.parametrize("method", METHODS)
def test_changes_give_what_a_fresh_index_of_the_same_rows_finds(method: str) -> None:
    rows, queries = normal(200, 20), normal(5, 20, seed=2)
    index = METHODS[method]("l2").fit(rows)
    index.remove(np.arange(0, 200, 3))
    index.upsert(rows[:30] + 1, np.arange(30))
    index.compact()
    kept = {i: rows[i] for i in range(200) if i % 3} | {i: rows[i] + 1 for i in range(30)}
    # What was learned from the data stays: add to an index fitted on the same rows.
    fresh = METHODS[method]("l2").fit(rows)
    fresh.remove(np.arange(200))
    fresh.add(np.array([kept[i] for i in index.ids.tolist()]), index.ids)
    np.testing.assert_array_equal(fresh.ids, index.ids)
    for mine, other in zip(index.search(queries, 200), fresh.search(queries, 200), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_reconstruct(method: str, metric: str) -> None:
    rows = normal(70, 33)
    index = METHODS[method](metric).fit(rows, np.arange(70) * 3)
    if metric == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = index.reconstruct([6, 0, 6])
    assert found.dtype == np.float32 and found.shape == (3, 33)
    tolerance = {
        "Flat": 1e-7,
        "LVQ-8": 0.02,
        "LVQ-4": 0.3,
        "LVQ-4x8": 1e-3,
        "LVQ-4x4-f16": 2e-3,
        "LVQ-8x8": 1e-4,
        "LVQ-4-f16": 2e-3,
        "LVQ-8-f32": 1e-7,
        "LVQ-4-int8": 0.02,
        "LVQ-4x8-graph": 1e-3,
        "LVQ-8-graph": 0.02,
        "LVQ-4-f16-graph": 2e-3,
        "LoRANN-4-f32": 1e-7,
        "LoRANN-8-f16": 2e-3,
        "LoRANN-4-codes": 0.3,
        "PQ-8": 1e-6,
        "PQ-4-f16": 2e-3,
        "RVQ-8": 1.0,
        "RVQ-4-f16": 2e-3,
        "RVQ-ivf": 1.0,
        "RVQ-ivf-f16": 2e-3,
        "SymphonyQG": 1e-7,
        "SymphonyQG-64": 1e-7,
        "SymphonyQG-f16": 2e-3,
        "SymphonyQG-int8": 0.02,
        "SymphonyQG-pq4": 1e-7,
        "TurboQuant-4": 0.3,
        "TurboQuant-3": 0.6,
        "TurboQuant-2-uncentred": 1.2,
        "TurboQuant-2-axes": 1.2,
        "TurboQuant-1-f16": 2e-3,
    }
    np.testing.assert_allclose(found, rows[[2, 0, 2]], atol=tolerance[method])
    one = index.reconstruct(np.int32(9))
    assert one.shape == (33,)
    np.testing.assert_array_equal(one, index.reconstruct([9])[0])
    assert index.reconstruct([]).shape == (0, 33)
    with pytest.raises(KeyError, match="no vector has id 1"):
        index.reconstruct([0, 1])


def test_contains_and_remove_take_any_integer() -> None:
    index = cp.Flat("l2").fit(normal(4, 2))
    assert np.int8(3) in index and 4 not in index and -1 not in index and 2**80 not in index
    for wrong in (1.0, "1", None, True):
        with pytest.raises(TypeError, match="id: expected an int"):
            wrong in index  # type: ignore[operator]  # noqa: B015
    index.remove(3)
    assert index.ids.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="more than once"):
        index.remove([1, 1])


def test_ids_run_out() -> None:
    index = cp.Flat("l2").fit(normal(1, 2), [2**63 - 1])
    with pytest.raises(ValueError, match="give ids"):
        index.add(normal(1, 2))
    index.add(normal(1, 2), [5])
    assert index.ids.tolist() == [2**63 - 1, 5]


def test_fit_replaces_the_dimension_too() -> None:
    index = cp.LVQ("l2").fit(normal(9, 4)).fit(normal(8, 6))
    assert (index.dim, len(index)) == (6, 8)


def test_a_subclass_object_stays_what_it_is() -> None:
    index = cp.LVQ("cosine", primary=4, keep="f16").fit(normal(9, 4))
    for other in (copy.copy(index), copy.deepcopy(index), pickle.loads(pickle.dumps(index))):
        assert isinstance(other, cp.LVQ)
        assert (other.primary, other.keep, other.metric) == (4, "f16", "cosine")
        other.remove(0)
    assert 0 in index
