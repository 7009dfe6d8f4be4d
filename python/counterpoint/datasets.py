"""Data sets to try and measure indexes on. Nothing is read or fetched before `load`."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Dataset", "DatasetNotFoundError", "load", "names"]

# SHA-256 of the arrays in data/words.npz, as scripts/make_words.py prints it.
WORDS_SHA256 = "7059808900567981ae3157a2c9f9120a75e0e8daff4731577ede9b6386d722d6"

WORDNET_FILES = ("docs.npy", "docs.txt.gz", "queries.npy", "queries.txt.gz")

FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
# SHA-256 of the decompressed files: Debian's gzip headers differ from the download's.
FASHION_FILES = {
    "train-images-idx3-ubyte.gz": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
}


class DatasetNotFoundError(FileNotFoundError):
    """The files of a data set are not here; the message says how to get them."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Vectors to index, queries to search them with, and the texts they stand for.

    Attributes
    ----------
    name
        The name it was loaded by.
    metric
        The metric the vectors are meant for; unit length (to float16 precision) under "cosine".
    vectors
        (n, d) float32.
    queries
        (nq, d) float32, disjoint from `vectors`.
    texts
        n texts, one per vector, or None.
    query_texts
        nq texts, one per query, or None.
    """

    name: str
    metric: Literal["l2", "ip", "cosine"]
    vectors: npt.NDArray[np.float32] = field(repr=False)
    queries: npt.NDArray[np.float32] = field(repr=False)
    texts: list[str] | None = field(default=None, repr=False)
    query_texts: list[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check that there is one text per row."""
        for rows, texts in ((self.vectors, self.texts), (self.queries, self.query_texts)):
            if texts is not None and len(texts) != len(rows):
                raise ValueError(f"{self.name}: {len(rows)} rows but {len(texts)} texts")


def names() -> tuple[str, ...]:
    """Return the names `load` knows."""
    return tuple(_LOADERS)


def load(name: str) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name
        - "words": 10,000 WordNet definitions and 300 example sentences as queries, d = 384,
          cosine, with texts. Comes with the package.
        - "wordnet-minilm": all 117,659 definitions and 5,500 example sentences, d = 384, cosine,
          with texts. Read from the folder COUNTERPOINT_DATA or its wordnet-minilm.
        - "fashion-mnist": 60,000 training images and 10,000 test images as queries, d = 784, l2.
          Read from COUNTERPOINT_DATA or its fashion-mnist, from Debian's package
          dataset-fashion-mnist, or downloaded once into ~/.cache/counterpoint.

    Raises
    ------
    ValueError
        The name is unknown, or a file is not what it should be.
    DatasetNotFoundError
        The files are neither here nor to be had (an OSError); the message says what to do.
    """
    if name not in _LOADERS:
        raise ValueError(f"unknown data set {name!r}: expected one of {', '.join(_LOADERS)}")
    return _LOADERS[name]()


def _words() -> Dataset:
    bundle = resources.files("counterpoint") / "data" / "words.npz"
    with bundle.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Dataset(
            name="words",
            metric="cosine",
            vectors=arrays["vectors"].astype(np.float32),
            queries=arrays["queries"].astype(np.float32),
            texts=arrays["texts"].tobytes().decode().split("\n"),
            query_texts=arrays["query_texts"].tobytes().decode().split("\n"),
        )


def _wordnet() -> Dataset:
    folder = _data_folder("wordnet-minilm", WORDNET_FILES)
    if folder is None:
        raise DatasetNotFoundError(
            "wordnet-minilm: set COUNTERPOINT_DATA to the folder that holds wordnet-minilm, or to "
            f"wordnet-minilm itself ({', '.join(WORDNET_FILES)}); it is "
            f"{os.environ.get('COUNTERPOINT_DATA') or 'not set'}"
        )
    return Dataset(
        name="wordnet-minilm",
        metric="cosine",
        vectors=np.load(folder / "docs.npy", allow_pickle=False).astype(np.float32),
        queries=np.load(folder / "queries.npy", allow_pickle=False).astype(np.float32),
        texts=_lines(folder / "docs.txt.gz"),
        query_texts=_lines(folder / "queries.txt.gz"),
    )


def _fashion_mnist() -> Dataset:
    files = tuple(FASHION_FILES)
    folder = _data_folder("fashion-mnist", files)
    if folder is None:
        folder = FASHION_DEBIAN if _holds(FASHION_DEBIAN, files) else _fashion_cache()
    train, test = (_images(folder / file) for file in files)
    return Dataset(name="fashion-mnist", metric="l2", vectors=train, queries=test)


def _data_folder(name: str, files: tuple[str, ...]) -> Path | None:
    """Return COUNTERPOINT_DATA/name or COUNTERPOINT_DATA, whichever holds all the files."""
    root = os.environ.get("COUNTERPOINT_DATA")
    if not root:
        return None
    folders = (Path(root) / name, Path(root))
    return next((folder for folder in folders if _holds(folder, files)), None)


def _holds(folder: Path, files: tuple[str, ...]) -> bool:
    return all((folder / file).is_file() for file in files)


def _lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().removesuffix("\n").split("\n")


def _images(path: Path) -> npt.NDArray[np.float32]:
    """Read an idx3 file of bytes: magic, count, height, width (big-endian u32), then pixels."""
    data = gzip.decompress(path.read_bytes())
    magic, count, height, width = struct.unpack_from(">4I", data.ljust(16, b"\0"))
    if magic != 0x0803 or len(data) != 16 + count * height * width:
        raise ValueError(f"{path}: not an idx file of images")
    pixels = np.frombuffer(data, np.uint8, offset=16)
    return pixels.reshape(count, height * width).astype(np.float32)


def _fashion_cache() -> Path:
    """Return the cache folder, downloading what it lacks."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "counterpoint" / "fashion-mnist"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, sha256 in FASHION_FILES.items():
            if not (folder / file).is_file():
                data = _fetch(FASHION_URL + file)
                if hashlib.sha256(gzip.decompress(data)).hexdigest() != sha256:
                    raise OSError(f"{file}: what was downloaded has another digest")
                _replace(folder / file, data)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetNotFoundError(
            f"fashion-mnist: the download from {FASHION_URL} failed ({error}). Instead, "
            "`apt-get install dataset-fashion-mnist`, or set COUNTERPOINT_DATA to a folder with "
            f"{' and '.join(FASHION_FILES)}"
        ) from error
    return folder


def _fetch(url: str) -> bytes:
    import http.client
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            data: bytes = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    return data


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


_LOADERS: dict[str, Callable[[], Dataset]] = {
    "words": _words,
    "wordnet-minilm": _wordnet,
    "fashion-mnist": _fashion_mnist,
}
