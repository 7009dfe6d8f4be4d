"""The parent's side of a contender's process."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)

# What --simd sets, for the libraries that can be told. turbovec 1.1.2 then leaves out the layouts
# and stages that only AVX-512 VBMI and VNNI have; the others choose for themselves.
FORCED = {
    "avx2": {
        "COUNTERPOINT_SIMD": "avx2",
        "FAISS_SIMD_LEVEL": "AVX2",
        "TURBOVEC_NO_VECTOR_MAJOR": "1",
    }
}


def forced(simd: str | None) -> dict[str, str]:
    """Return the environment of workers that forces an instruction set; empty for None.

    Raises
    ------
    ValueError
        The name is unknown, or this processor cannot run it.
    """
    if simd is None:
        return {}
    if simd not in FORCED:
        raise ValueError(f"simd is {simd!r}: expected {', '.join(FORCED)}")
    tried = subprocess.run(
        [sys.executable, "-c", "import counterpoint"],
        env={**os.environ, **FORCED[simd], **_path()},
        capture_output=True,
        text=True,
    )
    if tried.returncode:
        raise ValueError(tried.stderr.strip().rpartition("\n")[2])
    return FORCED[simd]


def _path() -> dict[str, str]:
    """Return the variable that lets a worker find what this process finds."""
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class ContenderError(Exception):
    """A contender could not go on.

    Attributes
    ----------
    status
        "missing", "unsuited", "failed", "died" or "timeout".
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Process:
    """A worker process and the scratch folder it has to itself.

    Parameters
    ----------
    threads
        What every threading library of the process is told before it is loaded. A build with more
        gets them by its library's own call.
    extra
        Further variables of its environment.
    """

    def __init__(self, threads: int, extra: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="counterpoint-bench-")
        self.scratch = Path(self._folder.name)
        self._errors = (self.scratch / "stderr").open("wb")
        limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
        # The worker finds what this process finds, a user's own adapter included.
        environment = {**os.environ, **limits, **extra, **_path()}
        # A worker that is asked to stop must not take the terminal's Ctrl-C for itself.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "counterpoint.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,
        )
        self._answers: queue.Queue[bytes | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    @property
    def resident(self) -> int:
        """Bytes the process holds now; 0 where that cannot be known."""
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a request and return its answer.

        Raises
        ------
        ContenderError
            The answer says so, the process ended, or the time is up (the process is then killed).
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.close()
            doing = {"build": "building", "add": "adding"}.get(request["do"], "searching")
            raise ContenderError("timeout", f"timed out: {doing} for {timeout_s:g} s") from None
        if line is None:
            raise ContenderError("died", self._how_it_ended())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContenderError(answer["error"], answer["reason"])
        return answer

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
            return f"killed by signal {-code}"
        lines = (self.scratch / "stderr").read_text(errors="replace").strip().splitlines()
        said = f": {lines[-1].strip()[:200]}" if lines else ""
        return f"ended its process with status {code}{said}"

    def close(self) -> None:
        """Kill the process and remove its scratch folder."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._errors.close()
        self._folder.cleanup()

    def __enter__(self) -> Process:
        """Return the process."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
