"""Merge, stats, what the package exports, and the examples in its documentation."""

from __future__ import annotations

import doctest
import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import counterpoint as cp
from support import METHODS, METRICS, all_knobs, assert_same, normal, python


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 10, 200])
def test_merged_shards_are_the_whole(method: str, metric: str, k: int) -> None:
    rows, queries = normal(200, 9), normal(7, 9, seed=2)
    rows[50:60] = rows[:10]  # ties, in the order of ids
    whole = METHODS[method](metric).fit(rows)
    shards = []
    for part in np.array_split(np.arange(200), [90, 91, 91]):
        # A shard learns from all rows, as the whole did.
        shard = METHODS[method](metric).fit(rows)
        shard.remove(np.setdiff1d(shard.ids, part))
        shards.append(shard)
    knobs = all_knobs(method, 200)
    found = [shard.search(queries, k, **knobs) for shard in shards]
    expected = whole.search(queries, k, **knobs)
    assert_same(cp.merge(found, k), expected)
    assert_same(cp.merge(reversed(found), k), expected)
    singles = [shard.search(queries[3], k, **knobs) for shard in shards]
    one = cp.merge(singles, k)
    assert isinstance(one, cp.Result)
    assert_same(one, cp.Result(expected.ids[3], expected.distances[3]))


def part(ids: Any, distances: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.array(ids, np.int64), np.array(distances, np.float32)


def test_merge_drops_padding_and_repeats() -> None:
    inf = np.inf
    found = cp.merge(
        [part([[4, -1], [1, 2]], [[0.5, inf], [0.1, 0.9]]), part([[4], [2]], [[0.25], [0.3]])]
    )
    assert found.ids.tolist() == [[4, -1], [1, 2]]
    np.testing.assert_array_equal(found.distances, np.array([[0.25, inf], [0.1, 0.3]], np.float32))
    assert cp.merge([part([[4], [2]], [[0.2], [0.3]])], k=5).ids.tolist() == [[4], [2]]
    assert cp.merge([part([[-1]], [[inf]])]).ids.shape == (1, 0)
    assert cp.merge([part([-1, 3], [0.5, 0.5])]).ids.tolist() == [-1, 3]  # an id like any other
    assert cp.merge([part(np.empty((0, 3)), np.empty((0, 3)))]).ids.shape == (0, 0)


@pytest.mark.parametrize(
    ("wrong", "k", "error", "message"),
    [
        ([], None, ValueError, "results: expected at least one, got none"),
        (5, None, TypeError, "not iterable"),
        ([5], None, TypeError, r"results\[0\]: expected a pair"),
        ([part([1], [0.5]), part([[1]], [[0.5]])], None, ValueError, r"results\[1\]: .* \[1, 1\]"),
        ([part([[1]], [[0.5]]), part([[1]] * 2, [[0.5]] * 2)], None, ValueError, r"results\[1\]"),
        ([part([1, 2], [0.5])], None, ValueError, r"results\[0\]: .* \[2\] and \[1\]"),
        ([part(3, 0.5)], None, ValueError, r"results\[0\]"),
        ([([1.0], [0.5])], None, TypeError, r"results\[0\].ids: .* got float64"),
        ([([1], [2])], None, TypeError, r"results\[0\].distances: .* got int64"),
        ([part([1], [0.5])], 0, ValueError, "k: expected at least 1, got 0"),
        ([part([1], [0.5])], 1.0, TypeError, "k: expected an int, got float"),
    ],
)
def test_wrong_merges(wrong: Any, k: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cp.merge(wrong, k)


def test_a_result_is_a_named_tuple() -> None:
    found = cp.Flat("l2").fit(normal(5, 3)).search(normal(2, 3))
    ids, distances = found
    assert type(found) is cp.Result and found._fields == ("ids", "distances")
    assert found.ids is ids and found[1] is distances
    assert ids.flags.writeable and ids.flags.c_contiguous
    assert_same(pickle.loads(pickle.dumps(found)), found)


@pytest.mark.parametrize("method", METHODS)
def test_stats_capabilities_and_repr(method: str) -> None:
    index = METHODS[method]("ip")
    assert index.dim is None and len(index) == 0
    index.fit(normal(100, 24))
    stats = index.stats()
    assert {"n": 100, "dim": 24, "metric": "ip", "method": index.method}.items() <= stats.items()
    assert stats["bytes_per_vector"] == sum(stats["bytes"].values()) / 100
    assert index.method == type(index).__name__ == stats["method"]
    capabilities = index.capabilities
    assert capabilities["exact"] is (method == "Flat") and capabilities["reconstruct"] is True
    signature = inspect.signature(type(index).search)
    other = {"self", "Q", "k", "filter", "threads", "recall", "exact_scan"}
    if index.method == "LVQ" and "graph" not in repr(index):
        other.add("ef")  # of a graph
    if index.method == "RVQ":
        other.add("stages")  # no knob: recall is for all of them
        other.update(() if "ivf" in repr(index) else ("n_probe",))  # of lists
    assert {*capabilities["knobs"]} == {*signature.parameters} - other
    assert repr(index).startswith(f'<{index.method}("ip"') and "100 vectors" in repr(index)


def test_attributes_cannot_be_set() -> None:
    index = cp.Flat("l2")
    for name in ("metric", "dim", "other"):
        with pytest.raises(AttributeError):
            setattr(index, name, 3)


def test_exports() -> None:
    assert {*cp.__all__} <= {*dir(cp)}
    assert issubclass(cp.FormatError, ValueError)
    assert issubclass(cp.InternalError, RuntimeError)
    assert issubclass(cp.UnsupportedError, ValueError)
    assert cp.simd_level() in ("scalar", "avx2", "avx512", "neon")
    for kind in (cp.Flat, cp.LVQ, cp.LoRANN, cp.PQ, cp.RVQ, cp.SymphonyQG, cp.TurboQuant):
        assert issubclass(kind, cp.Index) and kind.__module__ == "counterpoint"


PUBLIC = [getattr(cp, name) for name in cp.__all__ if name not in ("__version__", "datasets")]


@pytest.mark.parametrize("thing", [cp, *PUBLIC], ids=lambda thing: thing.__name__)
def test_everything_is_documented_and_examples_run(thing: Any) -> None:
    documented = [thing]
    if inspect.isclass(thing) and issubclass(thing, cp.Index):
        public = (name for name in vars(thing) if not name.startswith("_"))
        documented += [getattr(thing, name) for name in public]
    for each in documented:
        assert each.__doc__, each
        test = doctest.DocTestParser().get_doctest(each.__doc__, {}, repr(each), None, None)
        assert doctest.DocTestRunner().run(test).failed == 0


def test_the_scalar_level_can_be_asked_for() -> None:
    ran = python(
        "import counterpoint; print(counterpoint.simd_level())", COUNTERPOINT_SIMD="scalar"
    )
    assert ran.stdout == "scalar\n", ran.stderr
