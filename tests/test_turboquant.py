"""TurboQuant's codes: what they say of vectors and distances, their length, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings

import counterpoint as cp
from support import METRICS, Array, all_distances, exact, normal

BITS: tuple[Any, ...] = (1, 2, 3, 4)
CENTERS: tuple[Any, ...] = ("mean", "none")
# The mean squared error a dimension: Theorem 1, Table 1.
PUBLISHED = {1: 0.363, 2: 0.1175, 3: 0.0345, 4: 0.0095}

metrics = st.sampled_from(METRICS)
bits_ = st.sampled_from(BITS)
dims = st.integers(1, 40) | st.sampled_from([200, 1000])


def makes() -> st.SearchStrategy[dict[str, Any]]:
    """Arguments of the constructor."""
    return st.fixed_dictionaries(
        {
            "metric": metrics,
            "bits": bits_,
            "center": st.sampled_from(CENTERS),
            "allocation": st.sampled_from(["even", "fitted"]),
            "seed": st.integers(0, 2**64 - 1),
        }
    )


def padded(d: int) -> int:
    return -(-d // 32) * 32


def unit(rows: Array) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@settings(max_examples=60, deadline=None)
@given(makes(), dims, st.integers(1, 130))
def test_distances_are_estimates_from_the_codes(make: dict[str, Any], d: int, n: int) -> None:
    rows, queries = normal(n, d) + 0.5, normal(5, d, seed=2)
    metric, center = make["metric"], make["center"]
    index = cp.TurboQuant(**make).fit(rows)
    v, q = rows.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        v, q = unit(v), unit(q)
    c = v.mean(axis=0) if center == "mean" else np.zeros(d)
    residual = v - c
    squares = (residual**2).sum(axis=1)
    decoded = index.reconstruct(np.arange(n)) - c
    # What codes stand for, s·w·h, is by the same s as long along the vector as that is.
    far = squares > 1e-8
    along = (decoded * residual).sum(axis=1)[far] / squares[far]
    s = along.mean() if far.any() else 1.0
    np.testing.assert_allclose(along, s, rtol=2e-4)
    products = (q - c) @ decoded.T / s
    if metric == "l2":
        expected = ((q - c) ** 2).sum(axis=1)[:, None] + squares - 2 * products
    else:
        expected = -(q @ c)[:, None] - residual @ c - products + (metric == "cosine")
    limits = {"l2": (0, np.inf), "ip": (-np.inf, np.inf), "cosine": (0, 2)}
    expected = np.clip(expected, *limits[metric])
    # Queries are rounded to 16 bits.
    reach = np.linalg.norm(q - c, axis=1)[:, None] * np.linalg.norm(decoded / s, axis=1)
    bound = 2e-4 * reach + 1e-5 * (1 + np.abs(expected))
    found = index.search(queries, n, exact_scan=True)
    assert (np.sort(found.ids) == np.arange(n)).all()
    assert (np.diff(found.distances) >= 0).all()
    full = all_distances(index, queries, exact_scan=True)
    assert (np.abs(full - expected) <= bound).all()
    # A search in stages puts few rows farther away, none nearer.
    staged = all_distances(index, queries)
    assert (staged >= full - 1e-5 * (1 + np.abs(full))).all()


@pytest.mark.parametrize("d", [256, 384, 1000])
@pytest.mark.parametrize("center", CENTERS)
def test_reconstruction_errors_are_as_published(d: int, center: Any) -> None:
    rows = normal(500, d) + 0.3
    around = rows - rows.mean(axis=0) if center == "mean" else rows
    errors = []
    for bits in BITS:
        index = cp.TurboQuant("l2", bits=bits, center=center).fit(rows)
        difference = index.reconstruct(np.arange(500)) - rows
        errors.append(((difference**2).sum(axis=1) / (around**2).sum(axis=1)).mean())
        assert errors[-1] <= 1.04 * PUBLISHED[bits]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize(("bits", "d"), [(1, 64), (2, 100), (3, 64), (4, 384)])
def test_estimates_are_unbiased_over_rotations(metric: Any, center: Any, bits: Any, d: int) -> None:
    # Neither near enough for a negative estimate nor, under cosine, for one that is cut off.
    rows, queries = normal(30, d) + 0.3, normal(10, d, seed=2) + 0.3
    truth = exact(queries, rows, metric)
    tables = []
    for seed in range(300):
        index = cp.TurboQuant(metric, bits=bits, center=center, seed=seed).fit(rows)
        tables.append(all_distances(index, queries, exact_scan=True))
    errors = np.array(tables) - truth
    deviations = errors.mean(axis=0) / (errors.std(axis=0) / np.sqrt(len(errors)))
    assert np.abs(deviations).max() < 5  # of 300 pairs, one in 10,000 runs
    # Over all pairs together: a bias of a thirtieth of one estimate's deviation would show.
    assert abs(errors.mean()) < errors.std() / 30


@settings(max_examples=40, deadline=None)
@given(
    metrics,
    bits_,
    dims,
    st.lists(st.integers(1, 70), min_size=1, max_size=4),
    st.integers(0, 100),
    st.sampled_from(["none", "f16"]),
)
def test_without_fit_codes_depend_on_nothing_but_their_vector(
    metric: Any, bits: Any, d: int, parts: list[int], others: int, keep: Any
) -> None:
    rows = normal(sum(parts), d)
    whole = cp.TurboQuant(metric, bits=bits, keep=keep)
    whole.add(rows)
    pieces = cp.TurboQuant(metric, bits=bits, keep=keep)
    for part in np.split(rows, np.cumsum(parts)[:-1]):
        pieces.add(part)
    assert pieces.to_bytes() == whole.to_bytes()
    # Beside others, before and after them, and once they have gone.
    beside = cp.TurboQuant(metric, bits=bits, keep=keep)
    beside.add(100 * normal(others, d, seed=9) + 7, -1 - np.arange(others))
    beside.add(rows, np.arange(len(rows)))
    ids = np.arange(len(rows))
    np.testing.assert_array_equal(beside.reconstruct(ids), whole.reconstruct(ids))
    beside.remove(-1 - np.arange(others))
    np.testing.assert_array_equal(beside.reconstruct(ids), whole.reconstruct(ids))
    mine, theirs = all_distances(beside, rows[:3]), all_distances(whole, rows[:3])
    np.testing.assert_array_equal(mine, theirs)


def test_without_fit_nothing_is_taken_off() -> None:
    """What `fit` makes without a centre, `add` makes too."""
    rows = normal(100, 20) + 3
    for center in CENTERS:
        index = cp.TurboQuant("l2", center=center)
        index.add(rows)
        fitted = cp.TurboQuant("l2", center="none").fit(rows)
        np.testing.assert_array_equal(index.reconstruct(index.ids), fitted.reconstruct(index.ids))
        assert index.stats()["centered"] is False
    index.fit(rows)
    assert index.stats()["centered"] is False
    assert cp.TurboQuant("l2").fit(rows).stats()["centered"] is True


def test_added_rows_are_coded_around_the_centre_of_the_fit() -> None:
    first, more = normal(100, 64) + 5, normal(90, 64, seed=2) + 5
    index = cp.TurboQuant("l2", keep="none").fit(first)
    index.add(more)
    index.upsert(first[:3] + 2, [10, 64, 189])
    index.remove(np.arange(0, 60))
    expected = np.concatenate([first, more])
    expected[[64, 189]] = first[1:3] + 2
    around = expected[index.ids] - first.mean(axis=0)
    error = ((index.reconstruct(index.ids) - expected[index.ids]) ** 2).sum(axis=1)
    assert (error / (around**2).sum(axis=1)).max() < 4 * PUBLISHED[4]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("d", [1, 32, 33, 384, 1000])
@pytest.mark.parametrize("n", [1, 64, 6400])
def test_bytes_per_vector(bits: Any, d: int, n: int, tmp_path: Path) -> None:
    index = cp.TurboQuant("l2", bits=bits, center="none").fit(np.ones((n, d), np.int8))
    # Rows come in groups of 64, scanned bits in threes of bytes, dimensions in 32s.
    scanned, low = 3 * -(-padded(d) // 24), padded(d) * (bits - 1) // 8
    assert 0 <= scanned + low - padded(d) * bits // 8 <= 2
    expected = -(-n // 64) * 64 * (scanned + low + 8)
    assert sum(index.stats()["bytes"].values()) == expected
    index.save(tmp_path / "x.cp")
    assert (tmp_path / "x.cp").stat().st_size <= expected + 4096


# Errors


def test_fitted_learns_before_it_adds() -> None:
    index = cp.TurboQuant("l2", allocation="fitted")
    before = index.to_bytes()
    for call in (lambda: index.add(normal(9, 6)), lambda: index.upsert(normal(1, 6), [3])):
        with pytest.raises(cp.UnsupportedError, match=r'must be fitted .*allocation="fitted"'):
            call()
        assert (index.to_bytes(), index.dim, len(index)) == (before, None, 0)


def test_another_dimension_is_refused() -> None:
    index = cp.TurboQuant("l2")
    index.add(normal(9, 6))
    before = index.to_bytes()
    for call in (index.add, lambda rows: index.upsert(rows, [1, 2]), index.search):
        with pytest.raises(ValueError, match="expected vectors of dimension 6, got 7"):
            call(normal(2, 7))
    assert index.to_bytes() == before


def patched(path: Path, tensor: str, at: int, value: float) -> None:
    """Write a float over one of a tensor in a file."""
    data = bytearray(path.read_bytes())
    first = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])[tensor]["data_offsets"][0]
    where = 8 + int.from_bytes(data[:8], "little") + first + 4 * at
    data[where : where + 4] = np.float32(value).tobytes()
    path.write_bytes(data)
    assert safetensors.numpy.load_file(path)[tensor].reshape(-1)[at] == value or value != value


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(
    ("tensor", "value", "message"),
    [
        ("scale", np.nan, "scale: expected finite values of at least 0, got NaN"),
        ("scale", np.inf, "scale: expected finite values of at least 0, got inf"),
        ("scale", -1.0, "scale: expected finite values of at least 0, got -1"),
        ("offset", np.nan, "offset: expected finite values, got NaN"),
        ("offset", -np.inf, "offset: expected finite values, got -inf"),
        ("center", np.nan, "center: expected finite values, got NaN"),
        ("center", np.inf, "center: expected finite values, got inf"),
    ],
)
def test_a_file_of_impossible_values_is_refused(
    tensor: str, value: float, message: str, mmap: bool, tmp_path: Path
) -> None:
    path = tmp_path / "x.cp"
    cp.TurboQuant("ip").fit(normal(70, 16)).save(path)
    patched(path, tensor, 5, value)
    with pytest.raises(cp.FormatError, match=f'damaged tensor "{tensor}"'):
        cp.load(path, mmap=mmap)
    with pytest.raises(cp.FormatError, match=message):
        cp.load(path, mmap=mmap, verify=False)


@pytest.mark.parametrize("tensor", ["scale", "offset", "center"])
def test_a_file_of_absurd_values_does_no_harm(tensor: str, tmp_path: Path) -> None:
    path = tmp_path / "x.cp"
    rows = normal(200, 16)
    for bits in BITS:
        for value in (3.4e38, 1e-45, 0.0):
            cp.TurboQuant("l2", bits=bits).fit(rows).save(path)
            patched(path, tensor, 5, value)
            index = cp.load(path, verify=False)
            assert isinstance(index, cp.TurboQuant)
            for scan in (False, True):
                ids, distances = index.search(rows[:9], 20, exact_scan=scan)
                assert (
                    not np.isnan(distances).any() and (distances[:, 1:] >= distances[:, :-1]).all()
                )
                assert all(len(set(row)) == 20 for row in ids.tolist())


def test_a_subclass_object_says_how_it_was_made() -> None:
    made = cp.TurboQuant("ip", 3, "fitted", "none", "f32", 2**64 - 1)
    assert (made.bits, made.allocation, made.center) == (3, "fitted", "none")
    assert (made.keep, made.seed, made.metric) == ("f32", 2**64 - 1, "ip")
    index = cp.from_bytes(made.to_bytes())
    assert isinstance(index, cp.TurboQuant) and repr(index) == repr(made)
    assert (index.bits, index.seed, index.allocation) == (3, 2**64 - 1, "fitted")
    assert repr(made) == (
        '<TurboQuant("ip", bits=3, allocation="fitted", center="none", keep="f32", '
        "seed=18446744073709551615): 0 vectors>"
    )
    default = cp.TurboQuant("l2")
    assert (default.bits, default.allocation, default.center) == (4, "even", "mean")
    assert (default.keep, default.seed) == ("none", 0)
