"""Files of vectors: what is written is read, what is wrong is one line; build and search."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from typer.testing import CliRunner

import counterpoint as cp
from counterpoint import readers
from counterpoint.cli import app

Array = npt.NDArray[Any]
runner = CliRunner()


def write_vecs(path: Path, rows: Array) -> None:
    with path.open("wb") as file:
        for row in rows:
            file.write(np.int32(len(row)).tobytes() + row.tobytes())


def write_bin(path: Path, rows: Array) -> None:
    path.write_bytes(np.array(rows.shape, np.uint32).tobytes() + rows.tobytes())


def write_hdf5(path: Path, rows: Array) -> None:
    with h5py.File(path, "w") as file:
        file["train"] = rows


def fixed(rows: Array) -> Any:
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    return pa.table({"vector": column})


def lists(rows: Array) -> Any:
    return pa.table({"embedding": pa.array(list(rows)), "word": ["x"] * len(rows)})


WRITERS: dict[str, tuple[str, Callable[[Path, Array], object]]] = {
    "npy": ("f4 f8 f2 i1 u1", np.save),
    "npz": ("f4 f8 f2 i1 u1", lambda path, rows: np.savez(path, vectors=rows)),
    "fvecs": ("f4", write_vecs),
    "bvecs": ("u1", write_vecs),
    "ivecs": ("i4", write_vecs),
    "fbin": ("f4", write_bin),
    "u8bin": ("u1", write_bin),
    "i8bin": ("i1", write_bin),
    "hdf5": ("f4 f8 u1", write_hdf5),
    "h5": ("f4", write_hdf5),
    "parquet": ("f4 f8 i1", lambda path, rows: pa.parquet.write_table(fixed(rows), path)),
    "arrow": ("f4", lambda path, rows: pa.feather.write_feather(lists(rows), path)),
    "feather": ("f4 u1", lambda path, rows: pa.feather.write_feather(fixed(rows), path)),
    "safetensors": (
        "f4 f8 f2 i1 u1",
        lambda path, rows: safetensors.numpy.save_file({"vectors": rows}, path),
    ),
}


@pytest.mark.parametrize("suffix", list(WRITERS))
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_what_is_written_is_read(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    kinds, write = WRITERS[suffix]
    dtype = np.dtype(data.draw(st.sampled_from(kinds.split())))
    elements: dict[str, Any] = (
        {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    )
    rows = data.draw(
        hnp.arrays(
            dtype,
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
            elements=hnp.from_dtype(dtype, **elements),
        )
    )
    path = tmp_path / f"rows.{suffix}"
    write(path, rows)
    table = readers.read(path)
    assert table.vectors.dtype == dtype
    np.testing.assert_array_equal(table.vectors, rows)
    assert table.queries is None and table.ids is None and table.metric is None


def test_every_suffix_has_a_writer_here() -> None:
    assert set(readers.suffixes()) == {f".{suffix}" for suffix in WRITERS}


ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)
QUERIES = ROWS[:2] + 1


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_named_arrays(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    arrays = {"train": ROWS, "test": QUERIES, "ids": np.array([7, 5, 3, 1])}
    if suffix == "npz":
        np.savez(path, **arrays)  # type: ignore[arg-type]
    else:
        safetensors.numpy.save_file(arrays, path)
    table = readers.read(path)
    assert table.queries is not None and table.ids is not None
    np.testing.assert_array_equal(table.queries, QUERIES)
    assert table.ids.tolist() == [7, 5, 3, 1] and table.ids.dtype == np.int64


@pytest.mark.parametrize(
    ("distance", "metric"), [("angular", "cosine"), ("euclidean", "l2"), (b"dot", "ip")]
)
def test_ann_benchmarks(tmp_path: Path, distance: str | bytes, metric: str) -> None:
    path = tmp_path / "rows.hdf5"
    with h5py.File(path, "w") as file:
        file["train"], file["test"] = ROWS, QUERIES
        file["neighbors"], file["distances"] = np.zeros((2, 4), int), np.zeros((2, 4))
        file.attrs["distance"] = distance
    table = readers.read(path)
    assert table.metric == metric and table.queries is not None
    np.testing.assert_array_equal(table.queries, QUERIES)


def test_columns_with_ids_in_chunks(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    whole = lists(ROWS).append_column("id", pa.array([4, 3, 2, 1], pa.int32()))
    pa.parquet.write_table(whole, path, row_group_size=2)
    table = readers.read(path)
    np.testing.assert_array_equal(table.vectors, ROWS)
    assert table.ids is not None and table.ids.tolist() == [4, 3, 2, 1]
    names = pa.table({"vector": pa.array(list(ROWS)), "id": list("abcd")})
    pa.feather.write_feather(names, tmp_path / "rows.arrow")
    assert readers.read(tmp_path / "rows.arrow").ids is None


def test_an_npy_file_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    assert isinstance(readers.read(tmp_path / "rows.npy").vectors, np.memmap)


def put(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def put_table(name: str, table: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pa.parquet.write_table(table, folder / name)
        return folder / name

    return make


def put_hdf5(**arrays: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with h5py.File(folder / "rows.hdf5", "w") as file:
            for name, value in arrays.items():
                if name == "distance":
                    file.attrs[name] = value
                else:
                    file[name] = value
        return folder / "rows.hdf5"

    return make


def put_npz(**arrays: Array) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez(folder / "rows.npz", **arrays)  # type: ignore[arg-type]
        return folder / "rows.npz"

    return make


WORD = np.int32(3).tobytes()
RAGGED = WORD + ROWS[0].tobytes() + np.int32(2).tobytes() + ROWS[1].tobytes()
WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "suffix": (put("rows.txt", b""), r"unknown suffix '.txt': expected .npy"),
    "npy": (put("rows.npy", b"nothing"), "pickle|magic|npy"),
    "npz": (put("rows.npz", b"nothing"), "npz|pickle"),
    "safetensors": (put("rows.safetensors", b"nothing"), "expected a .safetensors file"),
    "hdf5": (put("rows.hdf5", b"nothing"), "expected an HDF5 file"),
    "parquet": (put("rows.parquet", b"nothing"), "expected a Parquet file"),
    "arrow": (put("rows.arrow", b"nothing"), "expected an Arrow file"),
    "empty fvecs": (put("rows.fvecs", b""), "expected rows of a 32-bit length"),
    "cut fvecs": (put("rows.fvecs", WORD + b"12345"), "found 9 bytes and a first length of 3"),
    "ragged fvecs": (put("rows.fvecs", RAGGED), "expected all rows of length 3, found 2 in row 1"),
    "negative fvecs": (put("rows.fvecs", np.int32(-1).tobytes()), "a first length of -1"),
    "short fbin": (put("rows.fbin", b"1234"), "found 4 bytes"),
    "cut fbin": (put("rows.fbin", np.array([2, 3], np.uint32).tobytes()), "expected 2 × 3 values"),
    "two matrices": (put_npz(a=ROWS, b=ROWS), r"a single matrix, found \['a', 'b'\]"),
    "one row": (put_npz(vectors=ROWS[0]), r"expected vectors of shape \(rows, columns\)"),
    "words": (put_npz(vectors=np.array([["a"]])), "expected vectors of real numbers, found <U1"),
    "other dim": (put_npz(vectors=ROWS, queries=ROWS[:, :2]), "queries of 3 columns, found 2"),
    "few ids": (put_npz(vectors=ROWS, ids=np.arange(3)), "expected 4 ids"),
    "float ids": (put_npz(vectors=ROWS, ids=np.ones(4)), "expected integer ids"),
    "no train": (put_hdf5(other=ROWS), r"a data set \"train\", found \['other'\]"),
    "hamming": (put_hdf5(train=ROWS, distance="hamming"), "found 'hamming'"),
    "no lists": (put_table("rows.parquet", pa.table({"a": [1]})), "one column of lists"),
    "uneven": (
        put_table("rows.parquet", pa.table({"vector": [[1.0], [1.0, 2.0]]})),
        "expected lists of one length",
    ),
    "nulls": (
        put_table("rows.parquet", pa.table({"vector": [[1.0], None]})),
        "without nulls",
    ),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_what_is_wrong_is_one_line(tmp_path: Path, case: str) -> None:
    make, message = WRONG[case]
    path = make(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        readers.read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", readers.suffixes())
def test_no_file_and_a_folder(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FileNotFoundError):
        readers.read(tmp_path / f"rows{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(IsADirectoryError):
        readers.read(tmp_path / f"folder{suffix}")


@pytest.mark.parametrize(
    ("suffix", "library"),
    [
        ("hdf5", "h5py"),
        ("parquet", "pyarrow"),
        ("arrow", "pyarrow"),
        ("safetensors", "safetensors"),
    ],
)
def test_a_missing_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, library: str
) -> None:
    path = tmp_path / f"rows.{suffix}"
    path.touch()
    for module in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {library}"):
        readers.read(path)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    rows = np.random.default_rng(4).standard_normal((300, 24)).astype(np.float32)
    path = tmp_path / "rows.npz"
    np.savez(path, vectors=rows, queries=rows[:20], ids=np.arange(300) + 1000)
    return path


def run(*arguments: object) -> Any:
    return runner.invoke(app, list(map(str, arguments)))


def test_build_then_search(words: Path, tmp_path: Path) -> None:
    index, out = tmp_path / "rows.cp", tmp_path / "found.npz"
    options = ("--method", "lvq", "--metric", "l2", "--primary", 4, "--keep", "f16")
    built = run("build", words, index, *options, "--threads", 1)
    assert built.exit_code == 0, built.output
    assert built.stdout.startswith(f"{index}: lvq, 300 × 24, ")
    loaded = cp.load(index)
    assert isinstance(loaded, cp.LVQ) and (loaded.primary, loaded.keep) == (4, "f16")

    shown = run("search", index, words, "-k", 3)
    assert shown.exit_code == 0, shown.output
    assert "1000" in shown.stdout and "and 10 more queries" in shown.stdout
    kept = run("search", index, words, "-k", 3, "--rerank", 30, "-o", out)
    assert kept.exit_code == 0, kept.output
    with np.load(out) as found, np.load(words) as arrays:
        wanted = loaded.search(arrays["queries"], 3, rerank=30)
        np.testing.assert_array_equal(found["ids"], wanted.ids)
        np.testing.assert_array_equal(found["distances"], wanted.distances)
        assert found["ids"][:, 0].tolist() == list(range(1000, 1020))


def test_build_then_search_lorann(words: Path, tmp_path: Path) -> None:
    index, out = tmp_path / "rows.cp", tmp_path / "found.npz"
    shape = ("--n-clusters", 9, "--rank", 8, "--global-dim", 16, "--bits", 8, "--balanced")
    options = ("--method", "lorann", "--metric", "ip", *shape, "--keep", "f16", "--seed", 5)
    built = run("build", words, index, *options)
    assert built.exit_code == 0, built.output
    loaded = cp.load(index)
    assert isinstance(loaded, cp.LoRANN)
    with np.load(words) as arrays:
        same = cp.LoRANN("ip", 9, 8, 16, 8, True, "f16", 5)
        same.fit(arrays["vectors"], arrays["ids"])
        assert same.to_bytes() == loaded.to_bytes()
        wanted = loaded.search(arrays["queries"], 3, n_probe=2, rerank=10)
    found = run("search", index, words, "-k", 3, "--n-probe", 2, "--rerank", 10, "-o", out)
    assert found.exit_code == 0, found.output
    with np.load(out) as saved:
        np.testing.assert_array_equal(saved["ids"], wanted.ids)


def test_build_takes_integers_that_no_index_takes(tmp_path: Path) -> None:
    write_vecs(tmp_path / "rows.ivecs", np.arange(12, dtype=np.int32).reshape(4, 3))
    built = run("build", tmp_path / "rows.ivecs", tmp_path / "rows.cp", "--metric", "l2")
    assert built.exit_code == 0, built.output
    assert len(cp.load(tmp_path / "rows.cp")) == 4


def test_build_takes_the_metric_of_the_file(tmp_path: Path) -> None:
    path = put_hdf5(train=ROWS + 1, distance="angular")(tmp_path)
    assert run("build", path, tmp_path / "rows.cp", "--method", "flat").exit_code == 0
    assert cp.load(tmp_path / "rows.cp").metric == "cosine"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["build", "none.npy", "o.cp", "--metric", "l2"], "none.npy: No such file"),
        (["build", "{words}", "o.cp"], "does not say its metric"),
        (["build", "{words}", "o.cp", "--metric", "far"], "far"),
        (["build", "{words}", "o.cp", "--method", "none"], "method is 'none'"),
        (
            ["build", "{words}", "o.cp", "--method", "flat", "--metric", "l2", "--primary", "4"],
            "flat takes no --primary",
        ),
        (["build", "{words}", "o.cp", "--metric", "l2", "--primary", "5"], "5"),
        (["build", "{words}", "/nowhere/o.cp", "--metric", "l2"], "/nowhere"),
        (["search", "none.cp", "{words}"], "none.cp"),
        (["search", "{words}", "{words}"], "rows.npz"),
        (["search", "{index}", "none.npy"], "none.npy: No such file"),
        (["search", "{index}", "{words}", "--rerank", "10"], "takes no --rerank"),
        (["search", "{index}", "{words}", "--n-probe", "3"], "takes no --n-probe"),
        (["build", "{words}", "o.cp", "--metric", "l2", "--n-clusters", "3"], "no --n-clusters"),
        (["search", "{index}", "{words}", "-o", "found.txt"], "ends in .npz"),
    ],
)
def test_mistakes_end_in_one_line(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with np.load(words) as arrays:
        cp.Flat("l2").fit(arrays["vectors"]).save("flat.cp")
    result = run(*(word.format(words=words, index="flat.cp") for word in arguments))
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("counterpoint: ") and reason in result.stderr
    assert result.stderr.count("\n") == 1 and result.stdout == ""
