"""What comes in: every legal form means the same; all else is refused and changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import counterpoint as cp
from support import METHODS, assert_same, normal

N, DIM = 70, 6
# Whole numbers that every dtype holds.
BASE = np.random.default_rng(1).integers(1, 100, (N, DIM))


class Arrayish:
    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self.array, dtype)


def misaligned(array: np.ndarray) -> np.ndarray:
    raw = bytearray(array.nbytes + 1)
    view = np.frombuffer(raw, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def packed(array: np.ndarray) -> np.ndarray:
    """A field of a packed record: strides that are no multiple of the item size."""
    record = np.zeros(array.shape, [("pad", "u1"), ("value", array.dtype)])
    record["value"] = array
    return record["value"]


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "contiguous": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every other column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards rows": lambda a: a[::-1].copy()[::-1],
    "backwards columns": lambda a: a[:, ::-1].copy()[:, ::-1],
    "backwards both, fortran": lambda a: np.asfortranarray(a[::-1, ::-1])[::-1, ::-1],
    "read-only": read_only,
    "subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "misaligned": lambda a: misaligned(a) if a.itemsize > 1 else a,
    "packed record": packed,
    "__array__": Arrayish,
    "unmasked": lambda a: np.asarray(np.ma.masked_array(a)),
}


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i1", "u1"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_array_is_the_same(form: str, dtype: str) -> None:
    array = FORMS[form](BASE.astype(dtype))
    plain = BASE.astype(np.float32)
    reference = cp.Flat("l2").fit(plain)
    index = cp.Flat("l2").fit(array)
    assert index.to_bytes() == reference.to_bytes()
    added, expected = cp.Flat("l2").fit(plain[:1]), cp.Flat("l2").fit(plain[:1])
    added.add(array)
    expected.add(plain)
    assert added.to_bytes() == expected.to_bytes()
    index.upsert(array, np.arange(N))
    assert index.to_bytes() == reference.to_bytes()
    assert_same(index.search(array), reference.search(plain))
    row = array if isinstance(array, Arrayish) else array[3]
    if isinstance(row, Arrayish):
        row = Arrayish(row.array[3])
    assert_same(index.search(row), reference.search(plain[3]))


@pytest.mark.parametrize("method", METHODS)
def test_lists_tuples_and_broadcast_arrays(method: str) -> None:
    rows = BASE.astype(np.float32)
    reference = METHODS[method]("l2").fit(rows)
    for same in (rows.tolist(), [tuple(row) for row in BASE.tolist()], [*rows]):
        assert METHODS[method]("l2").fit(same).to_bytes() == reference.to_bytes()
        assert_same(reference.search(same[2]), reference.search(rows[2]))
    one = METHODS[method]("l2").fit(np.broadcast_to(rows[0], (66, DIM)))
    assert one.to_bytes() == METHODS[method]("l2").fit(np.tile(rows[0], (66, 1))).to_bytes()
    column = np.broadcast_to(rows[:, :1], (N, 300))
    wide = METHODS[method]("l2").fit(column)
    assert wide.to_bytes() == METHODS[method]("l2").fit(column.copy()).to_bytes()


def test_memory_maps(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", BASE.astype(np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert cp.Flat("l2").fit(mapped).to_bytes() == cp.Flat("l2").fit(BASE * 1.0).to_bytes()


@settings(max_examples=300, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["f2", "f4", "f8", "i1", "u1", "i4", "u2", "c8", "?", "O", "S3", "M8[s]"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    )
)
def test_any_array_is_taken_or_refused(array: np.ndarray) -> None:
    index = cp.Flat("l2").fit(normal(3, 4))
    before = index.to_bytes()
    legal = array.dtype.char in "efdbB" and array.ndim == 2 and array.shape[1] == 4
    with np.errstate(over="ignore"):
        fine = legal and (np.abs(array.astype(np.float32)) <= 1e15).all()
    if fine:
        assert len(index.add(array)) == len(array)
    else:
        with pytest.raises((ValueError, TypeError), match=r"^X: "):
            index.add(array)
        assert index.to_bytes() == before


@pytest.mark.parametrize("shape", [(0, 5), (0, 0)])
def test_no_rows(shape: tuple[int, int]) -> None:
    array = np.empty(shape)
    index = cp.Flat("l2").fit(normal(2, 5))
    if shape[1]:
        assert index.add(array).tolist() == []
        assert index.search(array[::-1]).ids.shape == (0, 2)
    else:
        with pytest.raises(ValueError, match="X: expected vectors of dimension 5, got 0"):
            index.add(array)


BAD = normal(4, DIM)


def with_value(value: float, dtype: str = "f4") -> np.ndarray:
    array = BAD.astype(dtype)
    array[2, 5] = value
    return array


WRONG_VECTORS: list[tuple[str, Any, type[Exception], str]] = [
    ("dimension", BAD[:, :5], ValueError, "expected vectors of dimension 6, got 5"),
    ("no dimension", BAD[:, :0], ValueError, "expected vectors of dimension 6, got 0"),
    ("nan", with_value(np.nan), ValueError, "expected finite values, got NaN at row 2, column 5"),
    ("inf", with_value(-np.inf), ValueError, "expected finite values, got -inf at row 2, column 5"),
    ("nan f2", with_value(np.nan, "f2"), ValueError, "got NaN at row 2, column 5"),
    ("nan f8", with_value(np.nan, "f8"), ValueError, "got NaN at row 2, column 5"),
    ("f8 beyond f4", with_value(1e300, "f8"), ValueError, "got inf at row 2, column 5"),
    ("too large", with_value(2e15), ValueError, "magnitude at most 1e15, got 2e15 at row 2"),
    ("complex", BAD.astype(complex), TypeError, "got complex128"),
    ("bool", BAD > 0, TypeError, "got bool"),
    ("int64", BAD.astype(np.int64), TypeError, "expected float32, .* got int64"),
    ("uint16", BAD.astype(np.uint16), TypeError, "got uint16"),
    ("object", BAD.astype(object), TypeError, "got object"),
    ("str", np.full((4, DIM), "x"), TypeError, "got <U1"),
    ("datetime", np.zeros((4, DIM), "M8[s]"), TypeError, r"got datetime64\[s\]"),
    ("list of str", [["x"] * DIM], TypeError, "got <U1"),
    ("ragged", [[1.0], [1.0, 2.0]], ValueError, "expected an array"),
    ("masked", np.ma.masked_array(BAD, BAD > 0), TypeError, "got a masked array"),
    ("scalar", 1.5, ValueError, r"got \(\) float64"),
    ("None", None, ValueError, r"got \(\) object"),
    ("3-d", BAD[None], ValueError, r"got \(1, 4, 6\) float32"),
    (
        "huge",
        np.broadcast_to(BAD[:1], (2**33, DIM)),
        ValueError,
        "at most 4294967295 .* 8589934592",
    ),
]


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [case[1:] for case in WRONG_VECTORS],
    ids=[case[0] for case in WRONG_VECTORS],
)
@pytest.mark.parametrize("method", METHODS)
def test_wrong_vectors(method: str, wrong: Any, error: type[Exception], message: str) -> None:
    index = METHODS[method]("l2").fit(normal(9, DIM))
    before = index.to_bytes()
    calls: list[Callable[[], object]] = [lambda: index.add(wrong)]
    if len(getattr(wrong, "shape", ())) == 2 and len(wrong) == 4:
        calls.append(lambda: index.upsert(wrong, np.arange(4)))
    if "dimension" not in message:
        calls.append(lambda: index.fit(wrong))
    for call in calls:
        with pytest.raises(error, match="^X: .*" + message):
            call()
    with pytest.raises(error, match="^Q: .*" + message):
        index.search(wrong)
    assert index.to_bytes() == before


@pytest.mark.parametrize("method", METHODS)
def test_wrong_vectors_are_named_by_the_first_bad_row(method: str) -> None:
    rows = normal(5000, DIM)
    rows[[4999, 1234, 1300]] = np.inf
    for threads in (1, 2, 7):
        with pytest.raises(ValueError, match=r"X: .* row 1234, column 0"):
            METHODS[method]("l2").fit(rows, threads=threads)


@pytest.mark.parametrize("method", METHODS)
def test_zero_vectors(method: str) -> None:
    rows = normal(4, DIM)
    rows[3] = 0
    index = METHODS[method]("cosine").fit(rows[:3])
    before = index.to_bytes()
    for call in (index.fit, index.add):
        with pytest.raises(ValueError, match=r"X: expected nonzero vectors .* at row 3"):
            call(rows)
    with pytest.raises(ValueError, match=r"Q: expected nonzero vectors .* at row 0"):
        index.search(rows[3])
    assert index.to_bytes() == before
    for metric in ("l2", "ip"):
        METHODS[method](metric).fit(rows).search(rows[3])


@pytest.mark.parametrize("method", ["LVQ-4-f16", "LoRANN-8-f16", "TurboQuant-1-f16"])
def test_values_beyond_f16(method: str) -> None:
    with pytest.raises(ValueError, match=r"X: expected values that fit f16 .* at row 0"):
        METHODS[method]("ip").fit(normal(3, DIM) * 1e6)


@pytest.mark.parametrize("method", ["LVQ-8", "LVQ-4x8"])
def test_values_far_beyond_those_fitted(method: str) -> None:
    index = METHODS[method]("l2").fit(normal(30, DIM))
    before = index.to_bytes()
    with pytest.raises(ValueError, match=r"X: expected values that fit f16 .* at row 1"):
        index.add(np.stack([normal(1, DIM)[0], normal(1, DIM)[0] * 1e6]))
    assert index.to_bytes() == before


def test_fit_needs_a_dimension() -> None:
    for columns in (0, 65_537):
        with pytest.raises(ValueError, match="1 to 65536 dimensions, got"):
            cp.Flat("l2").fit(np.ones((1, columns), np.uint8))
    cp.Flat("l2").fit(np.ones((1, 65_536), np.uint8))


WRONG_IDS: list[tuple[Any, type[Exception], str]] = [
    ([1, 2, 3], ValueError, "ids: expected 4 ids, one for each vector, got 3"),
    ([1, 2, 3, 1], ValueError, "ids: expected distinct ids, got 1 more than once"),
    ([1.0, 2.0, 3.0, 4.0], TypeError, "ids: expected integers, got float64"),
    ([True, False, True, False], TypeError, "ids: expected integers, got bool"),
    (["a", "b", "c", "d"], TypeError, "ids: expected integers, got <U1"),
    ([1, 2, 3, 2**64], TypeError, "ids: expected integers, got object"),
    (np.array([1, 2, 3, 2**63], np.uint64), ValueError, "ids: expected ids of at most 9223372036"),
    ([[1, 2], [3, 4]], ValueError, r"ids: expected ids of shape \(n,\), got \(2, 2\)"),
    (7, ValueError, r"ids: expected an array of shape \(n,\), got a single number"),
    (np.empty(0), TypeError, "ids: expected integers, got float64"),
    ([], ValueError, "ids: expected 4 ids, one for each vector, got 0"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG_IDS)
@pytest.mark.parametrize("method", METHODS)
def test_wrong_ids(method: str, wrong: Any, error: type[Exception], message: str) -> None:
    index = METHODS[method]("l2").fit(normal(9, DIM))
    before = index.to_bytes()
    for call in (index.fit, index.add, index.upsert):
        with pytest.raises(error, match=message):
            call(BAD, wrong)
    assert index.to_bytes() == before


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u4", "i8", "u8", ">i4"])
def test_ids_of_any_integer_type(dtype: str) -> None:
    index = cp.Flat("l2").fit(normal(9, 2), np.arange(18).astype(dtype)[::2])
    assert index.ids.tolist() == list(range(0, 18, 2))
    index.remove(np.array([4, 2], dtype))
    index.upsert(normal(1, 2), (2,))
    assert set(index.ids.tolist()) == {0, 2, 6, 8, 10, 12, 14, 16}


NUMBERS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"k": 0}, ValueError, "k: expected at least 1, got 0"),
    ({"k": -(2**70)}, ValueError, "k: expected at least 1, got -1180591620717411303424"),
    ({"k": 1.0}, TypeError, "k: expected an int, got float"),
    ({"k": True}, TypeError, "k: expected an int, got bool"),
    ({"k": None}, TypeError, "k: expected an int, got NoneType"),
    ({"k": "3"}, TypeError, "k: expected an int, got str"),
    ({"threads": 0}, ValueError, "threads: expected at least 1, got 0"),
    ({"threads": -1}, ValueError, "threads: expected at least 1, got -1"),
    ({"threads": 1.5}, TypeError, "threads: expected an int, got float"),
    ({"rerank": -1}, ValueError, "rerank: expected at least 0, got -1"),
    ({"rerank": 2.0}, TypeError, "rerank: expected an int, got float"),
    ({"rerank": 3}, ValueError, 'rerank: .*keep="none"'),
    ({"ef": 3}, ValueError, "ef: this method has no graph to walk through"),
    ({"n_probe": 3}, TypeError, "n_probe"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), NUMBERS)
def test_wrong_numbers(wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    index = cp.LVQ("l2").fit(normal(9, DIM))
    with pytest.raises(error, match=message):
        index.search(BAD, **wrong)
    if "threads" in wrong:
        for call in (index.fit, index.add):
            with pytest.raises(error, match=message):
                call(BAD, **wrong)
        with pytest.raises(error, match=message):
            index.upsert(BAD, [1, 2, 3, 4], **wrong)


def test_numbers_of_any_integer_type() -> None:
    index = cp.LVQ("l2", keep="f16").fit(BAD)
    found = index.search(BAD, 2, threads=1, rerank=3)
    for kind in (np.int8, np.uint64):
        assert_same(index.search(BAD, kind(2), threads=kind(1), rerank=kind(3)), found)
    assert_same(index.search(BAD, 2, threads=2**80), index.search(BAD, 2))


def test_flat_has_no_rerank() -> None:
    with pytest.raises(TypeError, match="rerank"):
        cp.Flat("l2").fit(BAD).search(BAD, rerank=3)  # type: ignore[call-arg]


CONSTRUCTORS: list[tuple[Callable[..., object], dict[str, Any], type[Exception], str]] = [
    (cp.Flat, {}, TypeError, "metric"),
    (cp.Flat, {"metric": "dot"}, ValueError, 'metric: expected "l2", "ip" or "cosine", got "dot"'),
    (cp.Flat, {"metric": None}, TypeError, "metric: expected a str, got NoneType"),
    (cp.Flat, {"metric": "l2", "keep": "f16"}, TypeError, "keep"),
    (cp.LVQ, {"metric": "l2", "primary": 5}, ValueError, "primary: expected 4 or 8, got 5"),
    (cp.LVQ, {"metric": "l2", "primary": 8.0}, TypeError, "primary: expected an int, got float"),
    (cp.LVQ, {"metric": "l2", "residual": 2}, ValueError, "residual: expected 0, 4 or 8, got 2"),
    (cp.LVQ, {"metric": "l2", "residual": "8"}, TypeError, "residual: expected an int, got str"),
    (
        cp.LVQ,
        {"metric": "l2", "residual": 4},
        ValueError,
        "primary and residual: expected 4 and 0, 8 and 0, 4 and 4, 4 and 8, or 8 and 8 bits, "
        "got 8 and 4",
    ),
    (
        cp.LVQ,
        {"metric": "l2", "keep": "f64"},
        ValueError,
        'keep: expected "none", "int8", "f16" or "f32"',
    ),
    (cp.LVQ, {"metric": "l2", "keep": None}, TypeError, "keep: expected a str, got NoneType"),
    (cp.TurboQuant, {"metric": "l2", "bits": 0}, ValueError, "bits: expected 1 to 4, got 0"),
    (cp.TurboQuant, {"metric": "l2", "bits": 5}, ValueError, "bits: expected 1 to 4, got 5"),
    (cp.TurboQuant, {"metric": "l2", "bits": -1}, ValueError, "bits: expected 1 to 4, got -1"),
    (cp.TurboQuant, {"metric": "l2", "bits": 2**70}, ValueError, "bits: expected 1 to 4, got 118"),
    (cp.TurboQuant, {"metric": "l2", "bits": 2.0}, TypeError, "bits: expected an int, got float"),
    (cp.TurboQuant, {"metric": "l2", "bits": True}, TypeError, "bits: expected an int, got bool"),
    (cp.TurboQuant, {"metric": "l2", "bits": None}, TypeError, "bits: .* got NoneType"),
    (cp.TurboQuant, {"metric": "l2", "allocation": "odd"}, ValueError, 'allocation: .* got "odd"'),
    (cp.TurboQuant, {"metric": "l2", "allocation": 1}, TypeError, "allocation: expected a str"),
    (cp.TurboQuant, {"metric": "l2", "center": "zero"}, ValueError, 'center: .* got "zero"'),
    (cp.TurboQuant, {"metric": "l2", "center": None}, TypeError, "center: expected a str"),
    (
        cp.TurboQuant,
        {"metric": "l2", "keep": "f64"},
        ValueError,
        'keep: expected "none", "int8", "f16"',
    ),
    (cp.TurboQuant, {"metric": "l2", "seed": -1}, ValueError, "seed: expected 0 to 18446744.* -1"),
    (cp.TurboQuant, {"metric": "l2", "seed": 2**64}, ValueError, "seed: expected 0 to .* got 184"),
    (cp.TurboQuant, {"metric": "l2", "seed": 0.5}, TypeError, "seed: expected an int, got float"),
    (cp.TurboQuant, {"metric": "l2", "primary": 4}, TypeError, "primary"),
    (cp.TurboQuant, {}, TypeError, "metric"),
    (cp.LoRANN, {"metric": "l2", "n_clusters": 0}, ValueError, "n_clusters: .* at least 1, got 0"),
    (cp.LoRANN, {"metric": "l2", "n_clusters": -5}, ValueError, "n_clusters: .* 1, got -5"),
    (cp.LoRANN, {"metric": "l2", "n_clusters": 8.0}, TypeError, "n_clusters: .* int, got float"),
    (cp.LoRANN, {"metric": "l2", "rank": 0}, ValueError, "rank: .* multiple of 4 .*, got 0"),
    (cp.LoRANN, {"metric": "l2", "rank": 30}, ValueError, "rank: .* multiple of 4 .*, got 30"),
    (cp.LoRANN, {"metric": "l2", "rank": -4}, ValueError, "rank: .* multiple of 4 .*, got -4"),
    (cp.LoRANN, {"metric": "l2", "rank": 2**70}, ValueError, "rank: .* up to 65536, got 118"),
    (cp.LoRANN, {"metric": "l2", "rank": 32.0}, TypeError, "rank: expected an int, got float"),
    (cp.LoRANN, {"metric": "l2", "rank": None}, TypeError, "rank: .* got NoneType"),
    (cp.LoRANN, {"metric": "l2", "global_dim": 0}, ValueError, "global_dim: .* at least 1, got 0"),
    (cp.LoRANN, {"metric": "l2", "global_dim": "8"}, TypeError, "global_dim: .* int, got str"),
    (cp.LoRANN, {"metric": "l2", "bits": 5}, ValueError, "bits: expected 4 or 8, got 5"),
    (cp.LoRANN, {"metric": "l2", "bits": -8}, ValueError, "bits: expected 4 or 8, got -8"),
    (cp.LoRANN, {"metric": "l2", "bits": 8.0}, TypeError, "bits: expected an int, got float"),
    (cp.LoRANN, {"metric": "l2", "balanced": 1}, TypeError, "balanced: expected a bool, got int"),
    (cp.LoRANN, {"metric": "l2", "balanced": None}, TypeError, "balanced: .* got NoneType"),
    (cp.LoRANN, {"metric": "l2", "keep": "f64"}, ValueError, 'keep: expected "none", .*"f64"'),
    (cp.LoRANN, {"metric": "l2", "seed": -1}, ValueError, "seed: expected 0 to 18446744.* -1"),
    (cp.LoRANN, {"metric": "l2", "train_size": 5}, TypeError, "train_size"),
    (cp.LoRANN, {}, TypeError, "metric"),
    (cp.Index, {}, TypeError, "Index"),
]


@pytest.mark.parametrize(("make", "wrong", "error", "message"), CONSTRUCTORS)
def test_wrong_constructors(
    make: Callable[..., object], wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**wrong)


def test_every_constructor_argument_changes_the_index() -> None:
    rows = normal(66, 9)
    makes: list[cp.Index] = [cp.Flat(metric) for metric in ("l2", "ip", "cosine")]
    for metric, levels, keep in itertools.product(
        ("l2", "ip", "cosine"),
        ((4, 0), (8, 0), (4, 4), (4, 8), (8, 8)),
        ("none", "int8", "f16", "f32"),
    ):
        makes.append(cp.LVQ(metric, *levels, keep))  # type: ignore[arg-type]
    for metric, bits, allocation, center, keep, seed in itertools.product(
        ("l2", "ip", "cosine"),
        (1, 2, 3, 4),
        ("even", "fitted"),
        ("mean", "none"),
        ("none", "int8", "f16", "f32"),
        (0, 7),
    ):
        made = cp.TurboQuant(metric, bits, allocation, center, keep, seed)  # type: ignore[arg-type]
        makes.append(made)
    for metric, clusters, rank, dim, bits, balanced, keep, seed in itertools.product(
        ("l2", "ip"), (None, 3), (4, 8), (None, 8), (4, 8), (False, True), ("none", "f32"), (0, 7)
    ):
        arguments = (metric, clusters, rank, dim, bits, balanced, keep, seed)
        makes.append(cp.LoRANN(*arguments))  # type: ignore[arg-type]
    assert len({index.fit(rows).to_bytes() for index in makes}) == len(makes)
    assert len({repr(index) for index in makes}) == len(makes)


def test_every_search_argument_changes_the_result() -> None:
    rows, queries = normal(500, 64), normal(20, 64, seed=2)
    index = cp.LVQ("l2", primary=4, keep="f32").fit(rows)
    default = index.search(queries)
    assert index.search(queries, k=9).ids.shape == (20, 9)
    assert (index.search(queries, filter=range(400)).ids < 400).all()
    for rerank in (0, 10):
        found = index.search(queries, rerank=rerank)
        assert (found.distances != default.distances).any()
    assert_same(index.search(queries, rerank=500), cp.Flat("l2").fit(rows).search(queries))


def test_every_search_argument_of_turboquant_changes_the_result() -> None:
    rows, queries = normal(500, 64), normal(100, 64, seed=2)
    index = cp.TurboQuant("l2", bits=2, keep="f32").fit(rows)
    default = index.search(queries)
    for rerank in (0, 10):
        found = index.search(queries, rerank=rerank)
        assert (found.distances != default.distances).any()
    assert_same(index.search(queries, rerank=500), cp.Flat("l2").fit(rows).search(queries))
    with pytest.raises(ValueError, match="recall"):
        index.search(queries, recall=0.9)  # before it was tuned
    staged = index.search(queries, 100, rerank=0)
    for on, off in ((True, False), (np.True_, np.False_)):
        full = index.search(queries, 100, rerank=0, exact_scan=on)  # type: ignore[arg-type]
        assert (full.distances != staged.distances).any()
        same = index.search(queries, 100, rerank=0, exact_scan=off)  # type: ignore[arg-type]
        assert_same(same, staged)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"exact_scan": 1}, TypeError, "exact_scan: expected a bool, got int"),
        ({"exact_scan": None}, TypeError, "exact_scan: expected a bool, got NoneType"),
        ({"exact_scan": "yes"}, TypeError, "exact_scan: expected a bool, got str"),
        ({"rerank": 3}, ValueError, 'rerank: .*keep="none"'),
        ({"rerank": -1}, ValueError, "rerank: expected at least 0, got -1"),
        ({"rerank": True}, TypeError, "rerank: expected an int, got bool"),
        ({"k": 0}, ValueError, "k: expected at least 1, got 0"),
        ({"ef": 3}, TypeError, "ef"),
    ],
)
def test_wrong_arguments_of_turboquant(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    for index in (cp.TurboQuant("l2"), cp.TurboQuant("l2").fit(normal(9, DIM))):
        with pytest.raises(error, match=message):
            index.search(BAD, **wrong)
    for other in (cp.Flat("l2").fit(BAD), cp.LVQ("l2").fit(BAD)):
        with pytest.raises(TypeError, match="exact_scan"):
            other.search(BAD, exact_scan=True)  # type: ignore[call-arg]


def test_every_search_argument_of_lorann_changes_the_result() -> None:
    rows, queries = normal(1000, 64), normal(100, 64, seed=2)
    index = cp.LoRANN("l2").fit(rows)
    default = index.search(queries)
    for knobs in ({"n_probe": 1}, {"n_probe": 32}, {"rerank": 0}, {"rerank": 10}, {"rerank": 400}):
        found = index.search(queries, **knobs)
        assert (found.distances != default.distances).any()
    for knobs in ({"n_probe": 7}, {"rerank": 100}, {"n_probe": 7, "rerank": 100}):
        assert_same(index.search(queries, **knobs), default)  # a fifth of 32, 8 k + 20
    for more in (32, 33, 10**30):
        exact = index.search(queries, n_probe=more, rerank=1000)
        assert_same(exact, cp.Flat("l2").fit(rows).search(queries))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"n_probe": 0}, ValueError, "n_probe: expected at least 1, got 0"),
        ({"n_probe": -(2**70)}, ValueError, "n_probe: expected at least 1, got -118"),
        ({"n_probe": 2.0}, TypeError, "n_probe: expected an int, got float"),
        ({"n_probe": True}, TypeError, "n_probe: expected an int, got bool"),
        ({"rerank": -1}, ValueError, "rerank: expected at least 0, got -1"),
        ({"rerank": 3}, ValueError, 'rerank: .*keep="none"'),
        ({"n_probe": 3, "recall": 0.5}, ValueError, "n_probe: expected none beside recall"),
        ({"recall": 0.9}, ValueError, "recall: expected an index that was tuned"),
        ({"k": 0}, ValueError, "k: expected at least 1, got 0"),
        ({"exact_scan": True}, TypeError, "exact_scan"),
        ({"clusters_to_search": 3}, TypeError, "clusters_to_search"),
    ],
)
def test_wrong_arguments_of_lorann(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    unfitted, fitted = cp.LoRANN("l2", keep="none"), cp.LoRANN("l2", keep="none")
    for index in (unfitted, fitted.fit(normal(9, DIM))):
        with pytest.raises(error, match=message):
            index.search(BAD, **wrong)


def test_only_methods_with_lists_take_n_probe() -> None:
    for other in (cp.Flat("l2"), cp.LVQ("l2"), cp.TurboQuant("l2")):
        with pytest.raises(TypeError, match="n_probe"):
            other.fit(BAD).search(BAD, n_probe=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("wrong", [1, "x", [print]])
def test_progress_is_called_so_it_must_be_callable(wrong: Any) -> None:
    index = cp.Flat("l2")
    with pytest.raises(TypeError, match="progress: expected a callable"):
        index.fit(BAD, progress=wrong)
