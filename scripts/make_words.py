"""Make the bundled data set "words" from wordnet-minilm.

    python scripts/make_words.py [SOURCE] [TARGET]

SOURCE is the folder with docs.npy, docs.txt.gz, queries.npy and queries.txt.gz; TARGET is the
.npz to write. The sample is seeded: the same source gives the same arrays, whose digest
`counterpoint.datasets` records as WORDS_SHA256.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT.parent / "shared" / "data" / "wordnet-minilm"
TARGET = ROOT / "python" / "counterpoint" / "data" / "words.npz"

SEED = 20241129
DEFINITIONS = 10_000
SENTENCES = 300
# Queries 0-999 are the ones reported on; words takes its own from those used for tuning.
TUNING_QUERIES = range(1_000, 5_500)

Arrays = dict[str, npt.NDArray[Any]]


def sample(source: Path) -> Arrays:
    """Draw the sample, rows in the source's order.

    Returns
    -------
    vectors (10000, 384) and queries (300, 384) in float16, the rows and query_rows they have in
    the source (int32), texts and query_texts as UTF-8 bytes, one text a line (uint8).
    """
    rng = np.random.default_rng(SEED)
    vectors = np.load(source / "docs.npy", mmap_mode="r")
    queries = np.load(source / "queries.npy", mmap_mode="r")
    rows = np.sort(rng.choice(len(vectors), DEFINITIONS, replace=False))
    query_rows = np.sort(rng.choice(np.array(TUNING_QUERIES), SENTENCES, replace=False))
    return {
        "vectors": np.asarray(vectors[rows], np.float16),
        "queries": np.asarray(queries[query_rows], np.float16),
        "rows": rows.astype(np.int32),
        "query_rows": query_rows.astype(np.int32),
        "texts": _lines(source / "docs.txt.gz", rows),
        "query_texts": _lines(source / "queries.txt.gz", query_rows),
    }


def digest(arrays: Arrays) -> str:
    """SHA-256 over the arrays' bytes in the order of their names (not over the compressed file)."""
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()


def _lines(path: Path, rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    lines = gzip.decompress(path.read_bytes()).split(b"\n")
    return np.frombuffer(b"\n".join(lines[row] for row in rows), np.uint8)


def main(source: Path = SOURCE, target: Path = TARGET) -> None:
    """Write the sample and print its digest."""
    arrays = sample(source)
    np.savez_compressed(target, allow_pickle=False, **arrays)
    print(f"{target}: {target.stat().st_size:,} bytes, WORDS_SHA256 = {digest(arrays)}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
