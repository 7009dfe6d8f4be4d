"""The process of one contender: JSON lines in, JSON lines out.

`python -m counterpoint.bench.worker` reads one request a line and answers each with one line. The
pipe it answers on is a copy of standard output; the real one goes to standard error, because some
libraries print. A request that fails is answered with its kind and reason.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.metadata
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.bench.adapter import Adapter, UnsuitedError, Vectors

STATUS = Path("/proc/self/status")


def memory(field: str) -> int | None:
    """Return VmRSS or VmHWM of this process in bytes; None where there is no /proc."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def reset_peak() -> None:
    """Make VmHWM start again from the memory held now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # the peak then includes what came before: an upper bound


def trim() -> None:
    """Give freed memory back to the system."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return


def unit(vectors: Vectors) -> Vectors:
    """Scale rows to unit length in place."""
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


class Contender:
    """The adapter of this process and the queries."""

    def build(self, request: dict[str, Any]) -> dict[str, Any]:
        """Load the data, build, weigh."""
        module, _, name = request["adapter"].partition(":")
        made: type[Adapter] = getattr(importlib.import_module(module), name)
        importlib.import_module(made.module)
        trim()
        empty = memory("VmRSS")

        vectors: Vectors = np.load(request["vectors"])
        self.queries: Vectors = np.load(request["queries"])
        if request["metric"] == "cosine" and not made.native_cosine:
            unit(vectors)
            unit(self.queries)
        n, dim = vectors.shape
        self.adapter = made(
            request["metric"],
            dim,
            request["threads"],
            request["build_threads"],
            **request["settings"],
        )
        trim()
        reset_peak()
        loaded = memory("VmRSS")
        start = time.perf_counter()
        self.adapter.build(vectors)
        seconds = time.perf_counter() - start
        peak = memory("VmHWM")
        del vectors

        sweep = self.adapter.sweep(n, request["k"])
        self.adapter.set(**sweep[0])
        self.adapter.search(self.queries[:10], request["k"])
        trim()
        held = memory("VmRSS")
        saved = Path(request["scratch"]) / "index"
        try:
            self.adapter.save(saved)
            disk = size(saved)
        finally:
            if saved.is_dir():
                shutil.rmtree(saved)
            else:
                saved.unlink(missing_ok=True)
        return {
            "library": made.library,
            "version": _version(made.library),
            "build_s": seconds,
            "peak_build_bytes": _more(peak, loaded),
            "resident_bytes": _more(held, empty),
            "disk_bytes": disk,
            "sweep": sweep,
        }

    def search(self, request: dict[str, Any]) -> dict[str, Any]:
        """Time all queries once with the knobs; store the ids where asked."""
        k = request["k"]
        self.adapter.set(**request["knobs"])
        if request["single"]:
            calls = [self.queries[row : row + 1] for row in range(len(self.queries))]
            start = time.perf_counter()
            parts = [self.adapter.search(call, k) for call in calls]
            seconds = time.perf_counter() - start
            width = min(part.shape[1] for part in parts)
            ids = np.concatenate([part[:, :width] for part in parts])
        else:
            start = time.perf_counter()
            ids = self.adapter.search(self.queries, k)
            seconds = time.perf_counter() - start
        if request["ids"] is not None:
            np.save(request["ids"], np.asarray(ids).astype(np.int64))
        return {"seconds": seconds}

    def add(self, request: dict[str, Any]) -> dict[str, Any]:
        """Time adding all vectors to an empty index."""
        vectors: Vectors = np.load(request["vectors"])
        if request["metric"] == "cosine" and not self.adapter.native_cosine:
            unit(vectors)
        start = time.perf_counter()
        self.adapter.add(vectors)
        return {"seconds": time.perf_counter() - start}


def _more(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else max(0, after - before)


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _answer(contender: Contender, request: dict[str, Any]) -> dict[str, Any]:
    try:
        verb = {"build": contender.build, "search": contender.search, "add": contender.add}[
            request["do"]
        ]
        return verb(request)
    except ModuleNotFoundError as error:
        return {"error": "missing", "reason": f"not installed: no module {error.name!r}"}
    except UnsuitedError as error:
        return {"error": "unsuited", "reason": str(error)}
    except Exception as error:
        reason = " ".join(str(error).split())
        return {"error": "failed", "reason": f"{type(error).__name__}: {reason}"[:300]}


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    contender = Contender()
    for line in sys.stdin:
        answers.write(json.dumps(_answer(contender, json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
