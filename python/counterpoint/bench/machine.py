"""What a record says of the machine and the versions it was made with."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

# The instruction sets that decide what a kernel can do.
FLAGS = (
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    *("avx512vbmi", "avx512_bf16", "avx512_fp16", "avx512_vpopcntdq", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "sve"),
)


def describe() -> dict[str, Any]:
    """Return processor, instruction sets, cores, memory and system."""
    info: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    present = set((info.get("flags") or info.get("Features") or "").split())
    memory = _read("/proc/meminfo").partition("MemTotal:")[2].split()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "vendor": info.get("vendor_id"),
        "family_model": "/".join(info.get(key, "?") for key in ("cpu family", "model")),
        "flags": [flag for flag in FLAGS if flag in present],
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": int(memory[0]) * 1024 if memory else None,
        "system": platform.platform(),
    }


def versions() -> dict[str, Any]:
    """Return the versions of this package, its SIMD level and commit, Python and NumPy."""
    import counterpoint as cp

    return {
        "counterpoint": cp.__version__,
        "simd": cp.simd_level(),
        "commit": _commit(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def available() -> int | None:
    """Return the bytes of memory that can still be had; None where that cannot be known."""
    words = _read("/proc/meminfo").partition("MemAvailable:")[2].split()
    return int(words[0]) * 1024 if words else None


def _commit() -> str | None:
    """Return the commit of the source tree this package runs from, "+" for a changed tree."""
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    try:
        shown = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return shown.stdout.strip() + ("+" if changed.stdout else "")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
