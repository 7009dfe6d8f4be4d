"""The data sets: shapes, texts, digests, and what is said when files are missing."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
from importlib import resources
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from counterpoint import datasets
from counterpoint._recall import exact_distances, recall_at_k

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_words", ROOT / "scripts" / "make_words.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No data folder, no Debian package, an empty cache and no network."""

    def fail(url: str) -> bytes:
        raise OSError(f"no network for {url}")

    monkeypatch.delenv("COUNTERPOINT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "FASHION_DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(datasets, "_fetch", fail)
    return tmp_path


@pytest.fixture
def tiny_fashion(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Fashion-MNIST's files with 3 and 2 images, and their digests in place of the real ones."""
    files = {}
    for name, count in zip(datasets.FASHION_FILES, (3, 2), strict=True):
        header = np.array([0x0803, count, 28, 28], ">u4").tobytes()
        files[name] = header + (np.arange(count * 784) % 251).astype(np.uint8).tobytes()
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(datasets, "FASHION_FILES", digests)
    return {name: gzip.compress(data) for name, data in files.items()}


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def wordnet_files(rows: int = 5, queries: int = 3) -> dict[str, bytes]:
    files = {}
    for name, count in (("docs", rows), ("queries", queries)):
        out = io.BytesIO()
        np.save(out, np.eye(count, 8, dtype=np.float16))
        files[f"{name}.npy"] = out.getvalue()
        files[f"{name}.txt.gz"] = gzip.compress(b"".join(b"word: %d\n" % i for i in range(count)))
    return files


def assert_unit_length(rows: np.ndarray) -> None:
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=2e-4)


def test_words() -> None:
    words = datasets.load("words")
    assert (words.name, words.metric) == ("words", "cosine")
    assert words.vectors.shape == (10_000, 384) and words.vectors.dtype == np.float32
    assert words.queries.shape == (300, 384) and words.queries.dtype == np.float32
    assert_unit_length(words.vectors)
    assert_unit_length(words.queries)
    assert words.texts is not None and len(set(words.texts)) == 10_000
    assert words.query_texts is not None and len(set(words.query_texts)) == 300
    assert all(": " in text for text in words.texts)
    assert len(repr(words)) < 200


def test_words_are_the_recorded_sample_of_the_tuning_queries() -> None:
    data = resources.files("counterpoint") / "data"
    with (data / "words.npz").open("rb") as file, np.load(file) as arrays:
        bundle = dict(arrays)
    assert maker().digest(bundle) == datasets.WORDS_SHA256
    assert bundle["query_rows"].min() >= 1_000  # 0-999 are reported on
    assert (data / "LICENSE-WordNet.txt").is_file()


@pytest.mark.skipif(not (SHARED / "wordnet-minilm").is_dir(), reason="the full set is not here")
def test_words_can_be_made_again() -> None:
    make = maker()
    assert make.digest(make.sample(SHARED / "wordnet-minilm")) == datasets.WORDS_SHA256


def test_unknown_name_lists_the_names() -> None:
    with pytest.raises(ValueError, match=r"'wrods'.*words, wordnet-minilm, fashion-mnist"):
        datasets.load("wrods")
    assert datasets.names() == ("words", "wordnet-minilm", "fashion-mnist")


@pytest.mark.parametrize("below", ["", "wordnet-minilm"])
def test_wordnet_from_the_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, below: str
) -> None:
    write(tmp_path / below, wordnet_files())
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))
    data = datasets.load("wordnet-minilm")
    assert data.metric == "cosine"
    assert data.vectors.shape == (5, 8) and data.vectors.dtype == np.float32
    assert data.texts == [f"word: {i}" for i in range(5)]
    assert data.query_texts == [f"word: {i}" for i in range(3)]


def test_wordnet_with_texts_missing_is_rejected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path, wordnet_files() | {"docs.txt.gz": gzip.compress(b"one: line\n")})
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="5 rows but 1 texts"):
        datasets.load("wordnet-minilm")


def test_missing_wordnet_says_what_to_set(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"set COUNTERPOINT_DATA .* not set"):
        datasets.load("wordnet-minilm")
    monkeypatch.setenv("COUNTERPOINT_DATA", str(nowhere))
    with pytest.raises(datasets.DatasetNotFoundError, match="COUNTERPOINT_DATA"):
        datasets.load("wordnet-minilm")


@pytest.mark.skipif(not (SHARED / "wordnet-minilm").is_dir(), reason="the full set is not here")
def test_full_wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_DATA", str(SHARED))
    data = datasets.load("wordnet-minilm")
    assert data.vectors.shape == (117_659, 384) and data.queries.shape == (5_500, 384)


@pytest.mark.parametrize("place", ["env", "env/fashion-mnist", "debian"])
def test_fashion_mnist_from_files(
    nowhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_fashion: dict[str, bytes],
    place: str,
) -> None:
    write(nowhere / place, tiny_fashion)
    monkeypatch.setenv("COUNTERPOINT_DATA", str(nowhere / "env"))
    data = datasets.load("fashion-mnist")
    assert data.metric == "l2" and data.texts is None
    assert data.vectors.shape == (3, 784) and data.vectors.dtype == np.float32
    np.testing.assert_array_equal(data.queries[1, :3], [31, 32, 33])  # 784 % 251


def test_fashion_mnist_is_downloaded_once(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tiny_fashion: dict[str, bytes]
) -> None:
    asked = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return tiny_fashion[url.removeprefix(datasets.FASHION_URL)]

    monkeypatch.setattr(datasets, "_fetch", fetch)
    for _ in range(2):
        assert datasets.load("fashion-mnist").queries.shape == (2, 784)
    assert len(asked) == 2
    cached = nowhere / "cache" / "counterpoint" / "fashion-mnist"
    assert {path.name for path in cached.iterdir()} == set(tiny_fashion)


@pytest.mark.parametrize("body", [None, b"", b"<html>", gzip.compress(b"other")])
def test_failed_download_says_what_to_do_and_leaves_nothing(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, body: bytes | None
) -> None:
    if body is not None:
        monkeypatch.setattr(datasets, "_fetch", lambda url: body)
    with pytest.raises(OSError, match=r"apt-get install dataset-fashion-mnist.*COUNTERPOINT_DATA"):
        datasets.load("fashion-mnist")
    assert not list((nowhere / "cache").rglob("*.gz*"))


def test_not_an_idx_file(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, tiny_fashion: dict[str, bytes]
) -> None:
    for bad in (b"", b"\0" * 20, gzip.decompress(tiny_fashion["t10k-images-idx3-ubyte.gz"])[:-1]):
        write(nowhere, tiny_fashion | {"t10k-images-idx3-ubyte.gz": gzip.compress(bad)})
        monkeypatch.setenv("COUNTERPOINT_DATA", str(nowhere))
        with pytest.raises(ValueError, match="not an idx file"):
            datasets.load("fashion-mnist")


@pytest.mark.skipif(not datasets.FASHION_DEBIAN.is_dir(), reason="Debian's package is not here")
def test_full_fashion_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COUNTERPOINT_DATA", raising=False)
    data = datasets.load("fashion-mnist")
    assert data.vectors.shape == (60_000, 784) and data.queries.shape == (10_000, 784)
    assert data.vectors.max() == 255
    for name, digest in datasets.FASHION_FILES.items():
        raw = gzip.decompress((datasets.FASHION_DEBIAN / name).read_bytes())
        assert hashlib.sha256(raw).hexdigest() == digest


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_exact_distances(metric: str) -> None:
    vectors = np.array([[3, 4], [1, 0], [-2, 1]], np.float32)
    queries = np.array([[1, 2], [0, -1]], np.float32)
    ids = np.array([[0, 2], [1, 1]])
    expected: dict[str, list[list[float]]] = {
        "l2": [[8, 10], [2, 2]],
        "ip": [[-11, 0], [0, 0]],
        "cosine": [[1 - 11 / (5 * 5**0.5), 1], [1, 1]],
    }
    found = exact_distances(vectors, queries, ids, metric)
    np.testing.assert_allclose(found, expected[metric], atol=1e-12)


def test_exact_distances_reject_an_unknown_metric() -> None:
    one = np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match="'l1'"):
        exact_distances(one, one, np.zeros((1, 1), np.int64), "l1")


def test_recall_counts_ties_once_each() -> None:
    vectors = np.array([[1], [2], [-2], [3]], np.float32)
    queries = np.zeros((1, 1), np.float32)
    truth = np.array([[0, 1]])

    def recall(*ids: int) -> float:
        return recall_at_k(vectors, queries, truth, np.array([ids]), "l2")

    assert recall(0, 1) == 1.0
    assert recall(2, 0) == 1.0  # row 2 ties with row 1
    assert recall(1, 2) == 1.0  # both at the k-th distance
    assert recall(0, 3) == 0.5
    assert recall(0, 0) == 0.5
    assert recall(0) == 0.5
