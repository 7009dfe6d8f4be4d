"""Vectors from files, each format by the library made for it.

>>> import numpy as np, tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.npy"
>>> np.save(path, np.ones((3, 4), np.float32))
>>> read(path).vectors.shape
(3, 4)
"""

from __future__ import annotations

import errno
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Table", "read", "suffixes"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Table:
    """What a file of vectors holds.

    Attributes
    ----------
    vectors
        (n, d) numbers, of the file's type and mapped from it where that can be done.
    queries
        (nq, d), where the file comes with queries.
    ids
        n int64, where the file names its rows.
    metric
        "l2", "ip" or "cosine", where the file says.
    """

    vectors: Array
    queries: Array | None = None
    ids: npt.NDArray[np.int64] | None = None
    metric: str | None = None


def suffixes() -> tuple[str, ...]:
    """Return the suffixes `read` knows."""
    return tuple(_READERS)


def read(path: str | os.PathLike[str]) -> Table:
    """Read a file of vectors; its suffix says the format.

    Parameters
    ----------
    path
        - .npy: one matrix, mapped. .npz, .safetensors: an array "vectors" (or "train"), or the only
          matrix; "queries" (or "test") and "ids" where there are.
        - .fvecs, .bvecs, .ivecs: each row a 32-bit length and float32, uint8 or int32 values.
        - .fbin, .u8bin, .i8bin: two uint32, rows and columns, then float32, uint8 or int8 values.
        - .hdf5, .h5: the layout of ann-benchmarks: "train", "test", attribute "distance". Its
          neighbours are not read: truth is computed afresh.
        - .parquet, .arrow, .feather: a column of lists, all of one length; an integer column "id".

    Raises
    ------
    FileNotFoundError
        There is no such file (an OSError, as for any file that cannot be read).
    ValueError
        The suffix is unknown, or the file is not what it should be; the message says what was
        expected.
    ModuleNotFoundError
        The library for the format is not installed; the message names it.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}: expected {' '.join(_READERS)}")
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        return _checked(reader(path))
    except ValueError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def _checked(table: Table) -> Table:
    dim = None
    for name, rows in (("vectors", table.vectors), ("queries", table.queries)):
        if rows is None:
            continue
        if rows.ndim != 2 or rows.shape[1] == 0:
            raise ValueError(f"expected {name} of shape (rows, columns), found {rows.shape}")
        if rows.dtype.kind not in "fiu":
            raise ValueError(f"expected {name} of real numbers, found {rows.dtype}")
        if dim is not None and rows.shape[1] != dim:
            raise ValueError(f"expected queries of {dim} columns, found {rows.shape[1]}")
        dim = rows.shape[1]
    if table.ids is not None and table.ids.shape != (len(table.vectors),):
        raise ValueError(f"expected {len(table.vectors)} ids, found shape {table.ids.shape}")
    return table


def _needs(module: str, path: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        name = module.partition(".")[0]
        raise ModuleNotFoundError(
            f"{path}: reading {path.suffix} needs {name}: pip install {name}", name=name
        ) from None


def _npy(path: Path) -> Table:
    return Table(np.load(path, mmap_mode="r", allow_pickle=False))


def _npz(path: Path) -> Table:
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _named(dict(arrays))
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"expected a .npz file: {error}") from error


def _safetensors(path: Path) -> Table:
    _needs("safetensors", path)
    safetensors = _needs("safetensors.numpy", path)
    error: type[Exception] = _needs("safetensors", path).SafetensorError
    try:
        return _named(safetensors.load_file(path))
    except error as reason:
        raise ValueError(f"expected a .safetensors file: {reason}") from reason


def _named(arrays: Mapping[str, Array]) -> Table:
    """Pick vectors, queries and ids from named arrays."""
    found = {name: arrays[name] for name in ("vectors", "train") if name in arrays}
    if not found:
        found = {name: array for name, array in arrays.items() if array.ndim == 2}
        if len(found) != 1:
            raise ValueError(
                f'expected an array "vectors" or a single matrix, found {sorted(arrays) or "none"}'
            )
    queries = next((arrays[name] for name in ("queries", "test") if name in arrays), None)
    vectors = next(iter(found.values()))
    return Table(vectors, None if queries is vectors else queries, _ids(arrays.get("ids")))


def _ids(array: Array | None) -> npt.NDArray[np.int64] | None:
    if array is None:
        return None
    if array.dtype.kind not in "iu":
        raise ValueError(f"expected integer ids, found {array.dtype}")
    return array.astype(np.int64)


def _vecs(value: type[np.generic]) -> Callable[[Path], Table]:
    """Return the reader of .*vecs files of the value type."""

    def reader(path: Path) -> Table:
        size = path.stat().st_size
        head = np.fromfile(path, "<i4", count=1)
        dim = int(head[0]) if len(head) else 0
        row = 4 + dim * np.dtype(value).itemsize
        if dim <= 0 or size % row:
            raise ValueError(
                f"expected rows of a 32-bit length and that many values, found {size} bytes "
                f"and a first length of {dim}"
            )
        layout = np.dtype([("dim", "<i4"), ("values", np.dtype(value).newbyteorder("<"), (dim,))])
        rows = np.memmap(path, layout, mode="r")
        other = np.flatnonzero(rows["dim"] != dim)
        if len(other):
            found = rows["dim"][other[0]]
            raise ValueError(f"expected all rows of length {dim}, found {found} in row {other[0]}")
        return Table(rows["values"])

    return reader


def _bin(value: type[np.generic]) -> Callable[[Path], Table]:
    """Return the reader of .*bin files of the value type."""

    def reader(path: Path) -> Table:
        size = path.stat().st_size
        head = np.fromfile(path, "<u4", count=2)
        n, dim = (int(count) for count in head) if len(head) == 2 else (0, 0)
        wanted = 8 + n * dim * np.dtype(value).itemsize
        if n * dim == 0 or size != wanted:
            raise ValueError(f"expected {n} × {dim} values in {wanted} bytes, found {size} bytes")
        kind = np.dtype(value).newbyteorder("<")
        return Table(np.memmap(path, kind, mode="r", offset=8, shape=(n, dim)))

    return reader


_DISTANCES = {
    "angular": "cosine",
    "cosine": "cosine",
    "euclidean": "l2",
    "l2": "l2",
    "dot": "ip",
    "ip": "ip",
}


def _hdf5(path: Path) -> Table:
    h5py = _needs("h5py", path)
    try:
        with h5py.File(path, "r") as file:
            arrays = {
                name: file[name][:]
                for name in ("train", "test", "vectors", "queries", "ids")
                if name in file
            }
            distance = file.attrs.get("distance")
            if not arrays:
                raise ValueError(f'expected a data set "train", found {sorted(file) or "none"}')
    except OSError as error:
        raise ValueError(f"expected an HDF5 file: {error}") from error
    if distance is not None:
        distance = distance.decode() if isinstance(distance, bytes) else str(distance)
        if distance not in _DISTANCES:
            raise ValueError(f"expected distance {' or '.join(_DISTANCES)}, found {distance!r}")
    found = _named(arrays)
    return Table(found.vectors, found.queries, found.ids, _DISTANCES.get(distance or ""))


def _parquet(path: Path) -> Table:
    parquet = _needs("pyarrow.parquet", path)
    arrow = _needs("pyarrow", path)
    try:
        return _columns(parquet.read_table(path, memory_map=True), arrow)
    except arrow.ArrowException as error:
        raise ValueError(f"expected a Parquet file: {error}") from error


def _arrow(path: Path) -> Table:
    feather = _needs("pyarrow.feather", path)
    arrow = _needs("pyarrow", path)
    try:
        return _columns(feather.read_table(path, memory_map=True), arrow)
    except arrow.ArrowException as error:
        raise ValueError(f"expected an Arrow file: {error}") from error


def _columns(table: Any, arrow: Any) -> Table:
    """Take the column of lists, and the integer column "id" or "ids"."""
    kinds = arrow.types
    lists = [
        field.name
        for field in table.schema
        if kinds.is_fixed_size_list(field.type)
        or kinds.is_list(field.type)
        or kinds.is_large_list(field.type)
    ]
    named = [name for name in lists if name in ("vector", "vectors", "embedding", "train")]
    chosen = named or lists
    if len(chosen) != 1:
        raise ValueError(
            f'expected one column of lists, or one called "vector", found {lists or "none"}'
        )
    column = table.column(chosen[0]).combine_chunks()
    if isinstance(column, arrow.ChunkedArray):
        column = column.chunk(0)
    values = column.flatten()
    if column.null_count or values.null_count:
        raise ValueError(f"expected column {chosen[0]!r} without nulls")
    numbers = values.to_numpy(zero_copy_only=False)
    lengths = arrow.compute.list_value_length(column).to_numpy(zero_copy_only=False)
    if not len(lengths) or (lengths != lengths[0]).any():
        raise ValueError(f"expected lists of one length in column {chosen[0]!r}")
    ids = next(
        (table.column(name).to_numpy() for name in ("id", "ids") if name in table.column_names),
        None,
    )
    if ids is not None and ids.dtype.kind not in "iu":
        ids = None  # names of the rows, which no index takes
    return Table(numbers.reshape(len(column), -1), None, _ids(ids))


_READERS: dict[str, Callable[[Path], Table]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".fvecs": _vecs(np.float32),
    ".bvecs": _vecs(np.uint8),
    ".ivecs": _vecs(np.int32),
    ".fbin": _bin(np.float32),
    ".u8bin": _bin(np.uint8),
    ".i8bin": _bin(np.int8),
    ".hdf5": _hdf5,
    ".h5": _hdf5,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
    ".safetensors": _safetensors,
}
